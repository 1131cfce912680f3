"""Every figure of the two large-learning-rate papers that is drawn from tables `lr_*`, by its
notebook, from the made-up world."""

from __future__ import annotations

import re
from pathlib import Path

import drawing
import large_lr_world
import numpy as np
import pandas as pd
import pytest
import yaml
from engine import images
from refigure import plotting
from refigure.claims.large_lr import by_setup
from refigure.measures import spectra
from refigure.tables import large_lr, ticks

ROOT = Path(__file__).parents[1]
SETUPS = {
    "main": ["convnet_c10"],
    "border": ["convnet_c10"],
    "others": ["resnet_c10", "convnet_c100", "resnet_c100"],
    "practical": ["practical_c10", "practical_c100"],
    "vit": ["vit_c10", "vit_c100"],
    "ticks": ["ticks"],
}
FIGURES = {
    (slug, name): figure
    for slug in ("where-large-lrs", "how-large-lrs")
    for name, figure in yaml.safe_load(
        (ROOT / f"config/papers/{slug}.yaml").read_text(encoding="utf-8")
    )["figures"].items()
    if all(
        table.startswith("lr_") or table == "convergence_times"
        for table in figure["tables"].values()
    )
}
SHAPES = list({figure["notebook"].split("/")[-1]: key for key, figure in FIGURES.items()}.values())


def made_up() -> dict[str, pd.DataFrame]:
    """All tables by name."""
    tables: dict[str, pd.DataFrame] = {}
    worlds = {
        setup: large_lr_world.world(setup, 1 if group == "others" else 4)
        for group, setups in SETUPS.items()
        for setup in setups
    }
    for group, setups in SETUPS.items():
        for kind in worlds[setups[0]]:
            joined = pd.concat([worlds[setup][kind] for setup in setups], ignore_index=True)
            tables[f"lr_{kind}_{group}"] = joined
        own = [tables[f"lr_{kind}_{group}"] for kind in ("pretrained", "finetuned", "averaged")]
        tables[f"lr_summary_{group}"] = large_lr.summary(*own, tables[f"lr_bounds_{group}"])
    tables["lr_bands_all"] = pd.concat([tables["lr_bands_main"], tables["lr_bands_others"]])
    vit = tables["lr_bands_vit"].query("setup == 'vit_c10'")
    tables["lr_bands_moved"] = ticks.moved_borders(
        one=vit.assign(first=5), other=vit.assign(first=9)
    )
    frames = {
        f"{kind}_{group}": tables[f"lr_{kind}_{group}"]
        for kind in ("pretrained", "finetuned", "averaged", "geometry", "bounds")
        for group in ("main", "others")
    }
    tables["lr_verdicts"] = by_setup.verdicts({"C5a": {"barrier": 1}}, [], **frames)
    tables["lr_two_stages"] = large_lr_world.two_stage()
    tables["lr_norms"] = large_lr_world.norms()
    tables["lr_sharpness"] = large_lr_world.sharpness()
    tables["convergence_times"] = large_lr_world.times()
    ends = {"background": 0, "low": 0.25, "mid": 0.75, "high": 1}
    tables["lr_band_example"] = spectra.example(images(), ends, 0)
    return tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them."""
    folder = tmp_path_factory.mktemp("tables")
    drawing.write_tables(folder, made_up())
    return folder


OWN = sorted({drawing.notebook(key[0], figure) for key, figure in FIGURES.items()})


def draw(
    key: tuple[str, str], folder: Path, kind: str, target: Path, scale: str = "demo"
) -> pd.DataFrame:
    """Draw a figure from made-up tables."""
    return drawing.draw(key[0], FIGURES[key], folder / kind, target, scale)


@pytest.mark.parametrize("key", [*SHAPES, ("where-large-lrs", "fig18")], ids="/".join)
def test_a_figure_is_drawn_and_its_csv_has_rows(key, folder, tmp_path, quick):
    assert len(draw(key, folder, "full", tmp_path / "figure"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("key", SHAPES, ids="/".join)
def test_a_figure_is_drawn_from_empty_tables(key, folder, tmp_path, quick):
    assert not len(draw(key, folder, "empty", tmp_path / "figure"))


PUBLISHED = [
    key for key in FIGURES if FIGURES[key].get("published") and key[1] != "tab1"
]  # a table has no crosses


@pytest.mark.parametrize("key", PUBLISHED, ids="/".join)
def test_published_numbers_are_drawn_at_paper_scale(key, folder, tmp_path, quick, monkeypatch):
    crosses = []
    monkeypatch.setattr(plotting, "cross", lambda axes, x, entry, *_: crosses.append(entry))
    # The world's one ConvNet stands for the paper's ResNet.
    for entry in FIGURES[key]["published"].values():
        at = entry["at"]
        if at.get("setup") == "resnet_c10":
            monkeypatch.setitem(at, "setup", "convnet_c10")
        if key[1] == "fig12":
            monkeypatch.setitem(at, "flr", {1e-5: 1e-3, 3e-4: 1e-2}[at["flr"]])
    draw(key, folder, "full", tmp_path / "figure", scale="paper")
    # The made-up world lacks some of the paper's setups: their numbers have no panel.
    group = next(iter(FIGURES[key]["tables"].values())).rpartition("_")[2]
    entries = FIGURES[key]["published"].values()
    there = [own for own in entries if own["at"].get("setup") in (None, *SETUPS.get(group, []))]
    assert there and len(crosses) == len(there)


def test_a_design_figure_says_so_in_its_caption():
    for key, figure in FIGURES.items():
        assert ("[design]" in figure["caption"]) == figure.get("design", False), key
        assert figure["look"] and figure["alt"], key


def test_accuracies_are_means_over_seeds_with_standard_errors(folder, tmp_path, quick):
    numbers = draw(("where-large-lrs", "fig2"), folder, "full", tmp_path / "fig2")
    runs = pd.read_parquet(folder / "full/lr_finetuned_main.parquet")
    own = runs.query("plr == 0.02 and flr == 0.001")["test_accuracy"]
    drawn = numbers.query("plr == 0.02 and flr == 0.001").iloc[0]
    assert drawn["n"] == 4
    assert drawn["mean"] == pytest.approx(own.mean(), rel=1e-9)
    assert drawn["se"] == pytest.approx(own.std(ddof=1) / np.sqrt(4), rel=1e-8)


def test_geometry_may_be_medians_with_quartiles(folder, tmp_path, quick, monkeypatch):
    key = ("where-large-lrs", "fig3")
    monkeypatch.setitem(FIGURES[key], "parameters", {"floor": 0.1, "middle": "median"})
    numbers = draw(key, folder, "full", tmp_path / "fig3")
    runs = pd.read_parquet(folder / "full/lr_geometry_main.parquet")
    own = runs.query("plr == 0.02 and pair == 'low-high'")["train_barrier"]
    drawn = numbers.query(
        "plr == 0.02 and pair == 'low-high' and quantity == 'train_barrier'"
    ).iloc[0]
    expected = own.quantile([0.25, 0.5, 0.75]).to_numpy()
    assert drawn[["low", "middle", "high"]].to_numpy(float) == pytest.approx(expected)


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_names_tables_that_exist(path):
    files = [
        ROOT / f"config/experiments/{name}.yaml" for name in ("large_lr_tables", "ticks", "vit")
    ]
    known = {name for file in files for name in yaml.safe_load(file.read_text())["tables"]}
    named = set(re.findall(r"tables/(\w+)\.parquet", path.read_text()))
    assert named <= known | {"convergence_times"}
