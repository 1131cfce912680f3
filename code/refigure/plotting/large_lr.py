"""Names, colours and borders of the set-ups of the two papers on large learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from refigure.plotting import line, rainbow

SETUPS = (
    "resnet_c10",
    "convnet_c10",
    "convnet_c100",
    "resnet_c100",
    "practical_c10",
    "practical_c100",
    "practical_tiny",
    "vit_c10",
    "vit_c100",
    "ticks",
)
"""The order in which setups are drawn."""
PAIR_COLOURS = {"low-high": "tab:blue", "swa-high": "tab:orange", "swa-low": "tab:green"}
PAIR_NAMES = {
    "low-high": "low FLR, high FLR",
    "swa-high": "average, high FLR",
    "swa-low": "average, low FLR",
}
# Positions among the 30 colours of the paper's palette, for its 5 fine-tuning LRs, or numbers of
# averaged models, descending.
_FALLING_PICKS = (0, 4, 12, 18, 26)


def falling_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float, float]]:
    """A colour for each value, from red for the largest to violet for the smallest.

    For 5 values these are the paper's: picks of seaborn's `gist_rainbow` with 30 colours.

    Source: where-large-lrs, figure 2 (released notebook).
    """
    return rainbow(sorted({float(value) for value in values}, reverse=True), _FALLING_PICKS)


_DASHED = {"color": "black", "linewidth": 0.9, "linestyle": (5, (10, 3))}
_DASHED_NAMES = {"eta12": "1 | 2", "eta23": "2 | 3"}
_EDGES = {"eta12": _DASHED, "eta2AB": _DASHED | {"linestyle": ":"}, "eta23": _DASHED}


def edges(bounds: pd.DataFrame, setup: str) -> dict[str, float]:
    """The borders eta12, eta2AB, eta23 of a setup: the paper's where it draws them, else ours."""
    rows = bounds[bounds["setup"] == setup]
    if not len(rows):
        return dict.fromkeys(_EDGES, np.nan)
    row = rows.iloc[0]
    drawn = {name: row[f"drawn_{name}"] for name in _EDGES}
    known = drawn if np.isfinite(list(drawn.values())).any() else row
    return {name: float(known[name]) for name in _EDGES}


def title(bounds: pd.DataFrame, setup: str | None, lines: bool = True) -> str:
    """Network, width and data of a setup, as its experiments' labels name them.

    Args:
        lines: the data on a line of its own, for the side of a row.
    """
    found = bounds.loc[bounds["setup"] == setup, "title"]
    name = str(found.iloc[0]) if len(found) else ""
    return name.replace(", ", ",\n", 1) if lines else name


def by_data(frame: pd.DataFrame, keys: Iterable[str], column: str) -> pd.DataFrame:
    """Means over the seeds of each data set, where there are several: what an error counts."""
    if frame["data"].nunique() < 2:
        return frame
    return frame.groupby([*keys, "data"], as_index=False)[column].mean()


def mark_edges(axes: Axes, borders: Mapping[str, float], names: bool = True) -> None:
    """Dashed lines at the last PLR of regime 1 and the first of regime 3, a dotted one at the last
    of 2A, and the regimes' names above the panel.

    Call it when the x limits are final, and give the panel's title a pad of 13 points.

    Args:
        borders: as of `edges`.
    """
    low, high = axes.get_xlim()
    known = {name: borders[name] for name in _EDGES if np.isfinite(borders[name])}
    for name, value in known.items():
        axes.axvline(value, zorder=1, **_EDGES[name])
    if names and ("eta12" in known or "eta23" in known):
        first = known.get("eta12", low)
        ends = [first, known.get("eta2AB", first), known.get("eta23", high)]
        before_3 = "2B" if "eta2AB" in known else "2" if "eta12" in known else "1 or 2"
        labels = ("1", "2A", before_3, "3")
        for label, (left, right) in zip(labels, pairwise([low, *ends, high])):
            if right > left * 1.001:
                axes.text(
                    np.sqrt(left * right) if axes.get_xscale() == "log" else (left + right) / 2,
                    1.01,
                    label,
                    transform=axes.get_xaxis_transform(),
                    ha="center",
                    va="bottom",
                    fontsize=8,
                    color="0.3",
                )
    axes.set_xlim(low, high)


def edge_lines(borders: Iterable[Mapping[str, float]]) -> list[Line2D]:
    """Legend entries of what `mark_edges` draws of these borders, in any panel."""
    there = {name for each in borders for name, value in each.items() if np.isfinite(value)}
    lines = []
    if dashed := [name for key, name in _DASHED_NAMES.items() if key in there]:
        lines.append(line(" and ".join(dashed), **_EDGES["eta12"]))
    if "eta2AB" in there:
        lines.append(line("end of 2A", **_EDGES["eta2AB"]))
    return lines
