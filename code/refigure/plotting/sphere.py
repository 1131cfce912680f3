"""Colours and helpers of the figures of networks on the sphere: regimes, pairs, effective LRs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from refigure.plotting import rainbow

REGIME_COLOURS = {1: "#2c6fbb", 2: "#e08214", 3: "#b2182b"}
PAIRS = {
    "M1": "ConvNet",
    "M2": "ConvNet, second data",
    "M3": "ResNet-18",
    "M4": "ResNet-18, second data",
    "D20": "ConvNet, noisy labels",
}
PAIR_STYLES = {
    "M1": {"color": "#1b6ca8", "marker": "o"},
    "M2": {"color": "#7fb2d9", "marker": "s"},
    "M3": {"color": "#a63603", "marker": "^"},
    "M4": {"color": "#e6955c", "marker": "D"},
    "D20": {"color": "#4d7c3a", "marker": "v"},
}
DECIDES = ("D20", "M1")
"""Families on which the claims about regime 2 are decided, the first that there is."""
# Positions among the 30 colours of the paper's palette, for its 8 ELRs ascending.
_PICKS = (0, 3, 5, 12, 18, 21, 26, 29)


def elr_palette(values: Iterable[float]) -> dict[float, tuple[float, float, float, float]]:
    """A colour for each learning rate, from red for the smallest to magenta for the largest.

    For 8 values these are the paper's: picks of seaborn's `gist_rainbow` with 30 colours. For
    another number the picks are interpolated.

    Source: three-regimes, figure 1 (released notebook).
    """
    return rainbow(sorted({float(value) for value in values}), _PICKS)


def decided(families: Iterable[str]) -> str:
    """The family on which the claims about regime 2 are decided, of those in a table."""
    have = set(families)
    return next((family for family in DECIDES if family in have), DECIDES[-1])


def star(axes: Axes, runs: pd.DataFrame, x: str, y: str) -> None:
    """A black star at the common starting point: the rows of epoch 0."""
    start = runs[runs["epoch"] == 0]
    if len(start.dropna(subset=[x, y])):
        place = start[x].median(), start[y].median()
        axes.plot(*place, "k*", markersize=11, markeredgecolor="white", zorder=7)


PALE = {"alpha": 0.35, "linewidth": 0.9, "zorder": 1}
"""How a test error with the running moments of batch norm stands behind the re-estimated one."""

RUNNING = Line2D([], [], color="0.35", **PALE, label="with running\nmoments")


def running_error(axes: Axes, runs: pd.DataFrame, by: str, palette: Mapping[float, Any]) -> None:
    """Test errors with the running moments, pale: they lag behind weights that move fast."""
    known = runs.dropna(subset="test_error")
    for value, rows in known.groupby(by):
        axes.plot(rows["epoch"], rows["test_error"], color=palette[value], **PALE)


STAR = Line2D(
    [], [], color="black", marker="*", markersize=10, linestyle="none", label="common\nstart"
)


def border_values(borders: pd.DataFrame, family: str) -> tuple[float, float]:
    """The ELRs between regimes 1 and 2, and between 2 and 3, of a family; NaN where not seen.

    Each is the geometric middle of the last value of one regime and the first of the next, by the
    majority over seeds (the rows with seed -1).
    """
    rows = borders[(borders["family"] == family) & (borders["seed"] == -1)]
    if not len(rows):
        return np.nan, np.nan
    names = ["last_r1", "first_r2", "last_r2", "first_r3"]
    row = rows[names].iloc[0].astype(float)
    # A family may pass from one regime to the third without the second between them.
    first = np.nanmin([row["first_r2"], row["first_r3"], np.inf])
    last = np.nanmax([row["last_r1"], row["last_r2"], -np.inf])
    low = np.sqrt(row["last_r1"] * first) if np.isfinite(first) else np.nan
    high = np.sqrt(last * row["first_r3"]) if np.isfinite(last) else np.nan
    return float(low), float(high)


def shade_regimes(axes: Axes, borders: tuple[float, float], names: bool = True) -> None:
    """Dashed lines at the borders, bands in the regimes' colours, and R1, R2, R3 above the panel.

    Call it when the x limits are final, and give the panel's title a pad of 13 points.

    Args:
        borders: as of `border_values`, on the x axis.
    """
    low, high = axes.get_xlim()
    inner = [value for value in borders if np.isfinite(value)]
    if not inner:
        return
    first = 1 if np.isfinite(borders[0]) else 2
    edges = [low, *inner, high]
    for number, (left, right) in enumerate(pairwise(edges), start=first):
        left, right = np.clip([left, right], low, high)
        axes.axvspan(left, right, color=REGIME_COLOURS[number], alpha=0.055, linewidth=0, zorder=0)
        if names and right > left:
            axes.text(
                np.sqrt(left * right) if axes.get_xscale() == "log" else (left + right) / 2,
                1.01,
                f"R{number}",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=8,
                color=REGIME_COLOURS[number],
            )
    for value in inner:
        axes.axvline(value, color="0.35", linestyle="--", linewidth=0.9, zorder=1)
    axes.set_xlim(low, high)
