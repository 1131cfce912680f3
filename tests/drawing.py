"""A figure's notebook, run in the test's own process as `stages.draw` runs it in another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from refigure.graph.numbers import Number
from refigure.graph.reading import read

ROOT = Path(__file__).parents[1]


def notebook(paper: str, figure: Mapping) -> Path:
    """The notebook of a figure, as its paper's file in `config/papers/` has it."""
    return (ROOT / "code/notebooks" / paper / f"{figure['notebook']}.ipynb").resolve()


def parameters(
    figure: Mapping,
    tables: Path,
    target: Path,
    scale: str = "demo",
) -> dict:
    """What `stages.draw` gives to a notebook.

    Args:
        figure: as in the paper's file.
        tables: folder of `<table>.parquet`, and of `verdicts.json` where a figure tabulates those.
        target: path of the figure without a suffix.
    """
    own = figure.get("tables", {}).items()
    paths = {name: str(tables / f"{table}.parquet") for name, table in own}
    if figure.get("verdicts"):
        paths["verdicts"] = str(tables / "verdicts.json")
    return {
        "tables": paths,
        "target": str(target),
        "settings": {
            **figure.get("parameters", {}),
            "caption": figure["caption"],
            "scale": scale,
            "published": drawn(figure),
        },
    }


def drawn(figure: Mapping) -> dict:
    """The published numbers of a figure, as its paper's file has it, as a notebook finds them."""
    written = figure.get("published", {})
    return {name: read(Number, one, name).drawn() for name, one in written.items()}


HISTORY = ["experiment", "run", "step", "epoch"]
"""What a table of histories keeps where no run is: `tables.histories.histories`."""


def write_tables(folder: Path, tables: Mapping[str, pd.DataFrame], bare: bool = False) -> None:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them.

    Args:
        bare: whether histories lose their scalars in `empty/`, as they do without a run.
    """
    for name, frame in tables.items():
        empty = frame.iloc[:0]
        if bare and set(HISTORY) <= set(frame):
            empty = empty[HISTORY]
        for kind, rows in (("full", frame), ("empty", empty)):
            (folder / kind).mkdir(exist_ok=True)
            rows.to_parquet(folder / kind / f"{name}.parquet")


def draw(paper: str, figure: Mapping, tables: Path, target: Path, *others) -> pd.DataFrame:
    """Run a notebook's cells, and read the CSV that they wrote; arguments as of `parameters`."""
    path = notebook(paper, figure)
    names: dict = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(path), "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names |= parameters(figure, tables, target, *others)
    return pd.read_csv(f"{target}.csv")
