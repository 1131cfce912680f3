"""Measures, tables and figures of the synthetic task, on made-up data."""

from __future__ import annotations

from pathlib import Path

import drawing
import large_lr_world
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from refigure.data.ticks import Ticks
from refigure.graph.spec import Spec
from refigure.measures import features as measure
from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics
from refigure.tables import ticks
from refigure.tasks.binary import Binary

ROOT = Path(__file__).parents[1]
PAPER = yaml.safe_load((ROOT / "config/papers/where-large-lrs.yaml").read_text(encoding="utf-8"))
MINE = ("fig4", "fig5", "fig17")  # the others are drawn in test_large_lr_notebooks


# ---------------------------------------------------------------------- measures


class Reader:
    """A network whose logit is one of its inputs."""

    normalised = {}  # noqa: RUF012

    def __init__(self, column: int):
        self.column = column

    def forward(self, parameters, points, statistics):
        return points[..., self.column : self.column + 1] * parameters["sign"][:, None, None]


def drawn_ticks() -> Ticks:
    """Three features; the first number of each says the class where it is informative, else it is
    positive."""
    source = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (4, 200), generator=source)
    signs = 2.0 * labels - 1
    test = signs[0][:, None].repeat(1, 6)
    singles = torch.ones(3, 200, 6)
    for feature in range(3):
        singles[feature, :, 2 * feature] = signs[feature + 1]
    return Ticks(test, labels[0], test, labels[0], singles, labels[1:])


def member(column: int, sign: float = 1.0) -> Member:
    spec = Spec.of(
        {
            "data": "ticks",
            "model": "tick_mlp",
            "task": "binary",
            "optimiser": {"name": "sphere_sgd", "elr": 0.1},
            "epochs": 1,
            "seed": 0,
        },
        "test",
    )
    model, data = Reader(column), drawn_ticks()
    task = Binary(model, data, [spec], ["0"])
    parameters = {"sign": torch.tensor([sign])}
    return Member(None, model, task, parameters, Statistics({}, "running"))


def test_a_network_that_reads_one_feature_knows_that_one_and_guesses_on_the_others():
    data = drawn_ticks()
    found = measure.single_features(member(2))
    share = 100 * data.single_labels.double().mean(1)  # always "class 1" on the others
    assert found[1] == 100
    torch.testing.assert_close(found[[0, 2]], share[[0, 2]])
    rows = pd.DataFrame(measure.measure(Group({}, {"pt": [member(2)], "swa5": [member(2, -1.0)]})))
    assert rows["rank"].tolist() == [0, 1, 2, 3] * 2
    good = rows[rows["stage"] == "pt"].set_index("rank")["accuracy"]
    assert good[0] == 100 and good[1] == 100 and good[1] >= good[2] >= good[3]
    bad = rows[rows["stage"] == "swa5"].set_index("rank")["accuracy"]
    assert bad[0] == 0 and bad[3] == 0
    assert rows["points"].unique().tolist() == [200]


# ---------------------------------------------------------------------- tables


def test_the_best_of_many_guesses_is_above_one_half():
    found = ticks.guesses(1000, 16)
    source = np.random.default_rng(0)
    drawn = np.sort(source.binomial(1000, 0.5, (20_000, 16)), axis=1)[:, ::-1] / 10
    np.testing.assert_allclose(found, drawn.mean(0), atol=0.03)
    assert found.mean() == pytest.approx(50)
    assert ticks.guesses(100, 1) == pytest.approx(50)


def test_features_carry_the_guess_of_their_rank():
    rows = [
        {
            "setup": "ticks",
            "data": "ticks_1",
            "plr": 0.1,
            "seed": 4,
            "stage": "pt",
            "rank": rank,
            "accuracy": 60.0,
        }
        for rank in range(4)
    ]
    found = ticks.features(pd.DataFrame(rows).assign(points=100))
    assert found["guess"].tolist() == pytest.approx([50, *ticks.guesses(100, 3)])
    assert set(found["data"]) == {"ticks_1"} and set(found["seed"]) == {4}
    assert list(ticks.features(pd.DataFrame())) == list(found)


def test_points_of_a_feature_are_its_two_numbers():
    data = drawn_ticks()
    found = ticks.points(data, 1)
    np.testing.assert_allclose(found["x1"], data.train_points[:, 2])
    np.testing.assert_allclose(found["x2"], data.train_points[:, 3])
    assert not len(ticks.points(None, 1))


def test_moved_borders_are_told_apart():
    bands = large_lr_world.world("vit_c10")["bands"]
    found = ticks.moved_borders(one=bands.assign(first=5), other=bands.assign(first=17))
    assert len(found) == 2 * len(bands) and set(found["border"]) == {5, 17}
    assert not len(ticks.moved_borders(one=pd.DataFrame()))


# ---------------------------------------------------------------------- figures


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Every table of these figures, in `full` with rows and in `empty` without."""
    folder = tmp_path_factory.mktemp("tables")
    tables = {
        "lr_bounds_ticks": large_lr_world.world("ticks")["bounds"],
        "tick_features": large_lr_world.features("ticks"),
        "tick_points": ticks.points(drawn_ticks(), 1),
    }
    for kind in ("full", "empty"):
        (folder / kind).mkdir()
        for name, frame in tables.items():
            frame = frame if kind == "full" else frame.iloc[:0]
            frame.to_parquet(folder / kind / f"{name}.parquet")
    return folder


def draw(figure: str, folder: Path, target: Path, scale: str = "demo") -> pd.DataFrame:
    """Draw a figure from made-up tables."""
    return drawing.draw("where-large-lrs", PAPER["figures"][figure], folder, target, scale)


@pytest.mark.parametrize("figure", MINE)
def test_a_figure_is_drawn_at_paper_scale_with_published_numbers(figure, made, tmp_path, quick):
    assert len(draw(figure, made / "full", tmp_path / figure, "paper"))


@pytest.mark.parametrize("figure", ["fig4", "fig17"])
def test_a_figure_is_drawn_from_empty_tables(figure, made, tmp_path, quick):
    assert not len(draw(figure, made / "empty", tmp_path / figure))


def test_ranks_are_averaged_over_runs(made, tmp_path, quick):
    drawn = draw("fig17", made / "full", tmp_path / "fig17")
    table = pd.read_parquet(made / "full/tick_features.parquet")
    own = table.query("stage == 'swa5' and rank == 3 and plr == 0.02")["accuracy"]
    row = drawn.query("stage == 'swa5' and rank == 3 and plr == 0.02").iloc[0]
    assert row["mean"] == pytest.approx(own.mean())
    assert row["std"] == pytest.approx(own.std(ddof=0))
