"""Where everything lands under `results/<scale>/`; the rules spell the same patterns."""

from __future__ import annotations

import os
from pathlib import Path


def placed(root: Path, written: str) -> Path:
    """Where a path that a user wrote leads: `~` and `$NAME` put in, else from the checkout.

    Every command reads a source's path by this.
    """
    return root / Path(os.path.expandvars(written)).expanduser()


class Paths:
    """The files of one scale.

    Args:
        root: the folder of the checkout.
        scale: its name.
    """

    def __init__(self, root: Path, scale: str):
        self.root = root
        self.results = root / "results" / scale
        self.scratch = root / "scratch" / scale
        self.sources = root / "results" / "sources"

    def data(self, data: str) -> Path:
        """Prepared arrays, by content id."""
        return self.results / "data" / f"{data}.safetensors"

    def pack(self, pack: str) -> Path:
        """The folder of a pack: its history, points, arrays and run.json."""
        return self.results / "packs" / pack

    def measure(self, measure: str) -> Path:
        """The tidy numbers of one part of a probe."""
        return self.results / "measures" / f"{measure}.parquet"

    def table(self, table: str) -> Path:
        """A tidy table, one row a key."""
        return self.results / "tables" / f"{table}.parquet"

    def figure(self, paper: str, figure: str, suffix: str) -> Path:
        """A figure's `pdf`, `png` or `csv`."""
        return self.results / "figures" / paper / f"{figure}.{suffix}"

    def notebook(self, paper: str, figure: str) -> Path:
        """The executed notebook of a figure."""
        return self.results / "notebooks" / paper / f"{figure}.ipynb"

    def log(self, paper: str, figure: str) -> Path:
        """Where the notebook of a figure is executed."""
        return self.results / "logs" / "figure" / paper / f"{figure}.ipynb"

    def claim(self, paper: str, claim: str) -> Path:
        """The verdict of one claim."""
        return self.results / "claims" / paper / f"{claim}.json"

    def claims(self, paper: str) -> Path:
        """The verdicts of a paper, joined."""
        return self.results / "claims" / f"{paper}.json"

    def state(self, pack: str) -> Path:
        """The folder of the training states of a pack that is not finished."""
        return self.scratch / pack
