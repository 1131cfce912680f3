"""Every figure of contrastive-memorization by its notebook, from a made-up world and nothing."""

from __future__ import annotations

from pathlib import Path

import drawing
import numpy as np
import pandas as pd
import pytest
import yaml
from memorization_world import DATA, LIKE_THE_PAPER, OBJECTS, RUNS, recorded
from refigure.tables import memorization

ROOT = Path(__file__).parents[1]
PAPER = "contrastive-memorization"
FIGURES = {
    name: figure
    for name, figure in yaml.safe_load(
        (ROOT / f"config/papers/{PAPER}.yaml").read_text(encoding="utf-8")
    )["figures"].items()
    if not figure.get("verdicts")  # drawn by a notebook of three-regimes
}


def representations() -> dict[str, pd.DataFrame]:
    """Tables of the probes: three classes, one network a method."""
    source = np.random.default_rng(0)
    methods = (*memorization.METHODS, "untrained", "pixels")
    probes = [
        {
            "method": method,
            "seed": seed,
            "features": 8,
            "train_accuracy": 90.0,
            "test_accuracy": 80.0 + seed,
            "objects": 30,
        }
        for method in methods
        for seed in range(2)
    ]
    pairs = [
        {
            "method": method,
            "seed": 0,
            "row": row,
            "column": column,
            "row_name": "abc"[row],
            "column_name": "abc"[column],
            "divergence": 100.0 * abs(row - column),
        }
        for method in memorization.METHODS
        for row in range(3)
        for column in range(3)
    ]
    points = [
        {
            "method": method,
            "seed": 0,
            "object": number,
            "label": number % 3,
            "name": "abc"[number % 3],
            "x": source.normal(),
            "y": source.normal(),
        }
        for method in memorization.METHODS
        for number in range(12)
    ]
    patches = [
        {
            "method": method,
            "seed": 0,
            "stage": stage,
            "place": place,
            "channel": place,
            "side": 3,
            "depth": 1,
            "activation": 1.0,
            "pixels": source.normal(size=9).tolist() if place else [],
        }
        for method in memorization.METHODS
        for stage in (1, 2)
        for place in range(5)
    ]
    return {
        "cm_probes": memorization.probes(pd.DataFrame(probes)),
        "cm_kl": memorization.divergences(pd.DataFrame(pairs)),
        "cm_tsne": memorization.neighbours(pd.DataFrame(points)),
        "cm_pseudo_images": memorization.patches(pd.DataFrame(patches)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them."""
    folder = tmp_path_factory.mktemp("tables")
    first = recorded(LIKE_THE_PAPER)
    second = recorded({"simclr": LIKE_THE_PAPER["simclr"]}, salt=1)
    data = (DATA, OBJECTS)
    steps = memorization.steps(RUNS, first, second, first, second, *data, OBJECTS, 2)
    tables = {
        "cm_objects": memorization.objects(RUNS, first, second, DATA, DATA, OBJECTS),
        "cm_steps": steps,
        "cm_steps_thesis_literal": steps[steps["method"] != "simclr"],
        "cm_points": memorization.points(RUNS, first, *data),
        "cm_views": memorization.views(RUNS, first, *data),
        "cm_matched": memorization.matched_curves(RUNS, first, *data, [1, 6, 12, 20], 0),
        "cm_pairs": memorization.pairs(RUNS, first, second, *data, [1, 6, 12], 0),
        "cm_classes": memorization.classes(RUNS, first, *data),
        "cm_correlations": memorization.correlations(RUNS, first, *data, draws=3),
        "cm_held_out": memorization.held_out(RUNS, first, first, *data, OBJECTS),
        **representations(),
    }
    drawing.write_tables(folder, tables)
    return folder


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_and_its_csv_has_rows(name, folder, tmp_path, quick):
    scale = "paper" if FIGURES[name].get("published") else "demo"
    assert len(drawing.draw(PAPER, FIGURES[name], folder / "full", tmp_path / "figure", scale))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "cm-f00"])
def test_a_figure_is_drawn_from_empty_tables(name, folder, tmp_path, quick):
    assert not len(drawing.draw(PAPER, FIGURES[name], folder / "empty", tmp_path / "figure"))


def test_a_design_figure_says_so_in_its_caption():
    for name, figure in FIGURES.items():
        assert ("[design]" in figure["caption"]) == figure.get("design", False), name
        assert figure["look"] and figure["alt"], name
