"""Every figure of the two papers on ensembles, by its notebook, from the made-up world."""

from __future__ import annotations

from pathlib import Path

import drawing
import pandas as pd
import pool_world
import pytest
import yaml

ROOT = Path(__file__).parents[1]
FIGURES = {
    (slug, name): figure
    for slug in ("power-laws", "memory-split")
    for name, figure in yaml.safe_load(
        (ROOT / f"config/papers/{slug}.yaml").read_text(encoding="utf-8")
    )["figures"].items()
    if not figure.get("verdicts")
}
KINDS = ("predicted_splits", "predictions", "temperatures", "ensembles", "splits", "sizes", "fits")
SLOTS = {"main": "digits", "vgg_c10": "digits_2", "wrn_c100": "digits_flipped"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Every table in `full/`, and in `empty/` as a scale without its runs has it."""
    folder = tmp_path_factory.mktemp("tables")
    worlds = {setup: pool_world.tables((setup,)) for setup in ("digits", "digits_flipped")}
    both = pool_world.sizes(("digits", "digits_flipped"))
    worlds = {setup: tables | {"sizes": both} for setup, tables in worlds.items()}
    made = {}
    for table in {table for figure in FIGURES.values() for table in figure["tables"].values()}:
        kind = next(kind for kind in KINDS if table.startswith(f"pool_{kind}"))
        setup = "digits_flipped" if table.endswith(("wrn_c100", "free", "descent")) else "digits"
        made[table] = worlds[setup][kind]
    drawing.write_tables(folder, made)
    return folder


SHAPES = list({figure["notebook"]: key for key, figure in FIGURES.items()}.values())


@pytest.mark.parametrize("key", [*SHAPES, ("memory-split", "ms3")], ids="/".join)
def test_a_figure_is_drawn_and_its_csv_has_rows(key, folder, tmp_path, quick):
    assert len(drawing.draw(key[0], FIGURES[key], folder / "full", tmp_path / "figure"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("key", SHAPES, ids="/".join)
def test_a_figure_without_runs_is_drawn_and_says_so(key, folder, tmp_path, quick):
    drawing.draw(key[0], FIGURES[key], folder / "empty", tmp_path / "figure")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_the_published_map_and_lines_are_the_tables_read_off_the_pictures():
    shared = ROOT.parent / "shared" / "reference"
    files = {
        ("power-laws", "fig1"): "powerlaws_vgg_cifar100_cnll.csv",
        ("memory-split", "ms0"): "memorysplit_vgg_cifar100_cnll.csv",
    }
    for key, name in files.items():
        if not (shared / name).is_file():
            pytest.skip(f"{name} is not there")
        table = pd.read_csv(shared / name, index_col=0).filter(regex=r"^(s=|n\d)")
        written = FIGURES[key]["published"].values()
        assert sorted(entry["value"] for entry in written) == sorted(table.melt()["value"].dropna())
