"""Every figure of pretrain-basin by its notebook, from the made-up world and from no runs."""

from __future__ import annotations

from pathlib import Path

import drawing
import numpy as np
import pandas as pd
import pytest
import yaml
from refigure.claims.worlds import pretrain_basin
from refigure.tables import transfer

ROOT = Path(__file__).parents[1]
FIGURES = yaml.safe_load((ROOT / "config/papers/pretrain-basin.yaml").read_text(encoding="utf-8"))[
    "figures"
]
BARE = [name for name, figure in FIGURES.items() if not figure.get("tables")]


def made_up() -> dict[str, pd.DataFrame]:
    """All tables by name."""
    pairs = (("transfer_target", "own"), ("images10_imagenet", "byol"))
    world = pretrain_basin.world(np.random.default_rng(0), draws=2, pairs=pairs)
    tables = {f"transfer_{name}": frame for name, frame in world.items()}
    fge = world["ensembles"].query("method == 'sse'").assign(method="fge")
    tables["transfer_triangles"] = fge
    grid = [
        {"target": "t", "start": start, "epochs": e, "lr": lr, "wd": wd, "seed": s}
        for start in ("checkpoint", "scratch")
        for e in (30, 60)
        for lr in (0.03, 0.1)
        for wd in (1e-4, 5e-4)
        for s in (0, 1)
    ]
    tuning = pd.DataFrame(grid).assign(accuracy=np.linspace(60, 75, len(grid)))
    tables["transfer_tuning"] = tuning.reindex(columns=list(transfer.TUNING))
    row = {"target": "transfer_target", "part": "source", "classes": 10, "train": 900, "test": 897}
    tables["transfer_data"] = pd.DataFrame([{**row, "metric": "top-1 accuracy"}])
    row = {"target": "transfer_target", "start": "first", "optimiser": "sgd", "lr": 0.1}
    row |= {"wd": 1e-4, "momentum": 0.9, "batch": 32, "epochs": 30, "schedule": "cosine"}
    tables["transfer_settings"] = pd.DataFrame([row])
    return tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    drawing.write_tables(folder, made_up())
    return folder


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_from_its_tables(name, folder, tmp_path):
    numbers = drawing.draw("pretrain-basin", FIGURES[name], folder / "full", tmp_path / name)
    assert len(numbers)
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in BARE])
def test_a_figure_without_runs_says_so(name, folder, tmp_path):
    drawing.draw("pretrain-basin", FIGURES[name], folder / "empty", tmp_path / name)
    assert (tmp_path / f"{name}.png").is_file()


def test_a_curve_is_the_mean_over_draws_of_means_within_them(folder, tmp_path):
    numbers = drawing.draw("pretrain-basin", FIGURES["pb-f02"], folder / "full", tmp_path / "f")
    drawn = numbers.query("method == 'local' and size == 5 and pair.str.contains('own')")
    rows = made_up()["transfer_ensembles"]
    rows = rows.query("method == 'local' and size == 5 and pretrain == 'own'")
    by_draw = rows.groupby("draw")["accuracy"].mean()
    assert drawn["mean"].iloc[0] == pytest.approx(by_draw.mean())
    assert drawn["se"].iloc[0] == pytest.approx(by_draw.sem())
