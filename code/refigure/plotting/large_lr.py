"""Names, colours and borders of the set-ups of the two papers on large learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from refigure.plotting import line, rainbow

SETUPS = {
    "resnet_c10": "ResNet-18",
    "convnet_c10": "ConvNet",
    "convnet_c100": "ConvNet, second data",
    "resnet_c100": "ResNet-18, second data",
    "resnet_tiny": "ResNet-18, Tiny ImageNet",
    "practical_c10": "ordinary training",
    "practical_c100": "ordinary training, second data",
    "vit_c10": "ViT",
    "vit_c100": "ViT, second data",
    "ticks": "tick features",
}
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
    if names and "eta12" in known:
        ends = [known["eta12"], known.get("eta2AB", known["eta12"]), known.get("eta23", high)]
        labels = ("1", "2A", "2B" if "eta2AB" in known else "2", "3")
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
    if there & {"eta12", "eta23"}:
        lines.append(line("1 | 2 and 2 | 3", **_EDGES["eta12"]))
    if "eta2AB" in there:
        lines.append(line("end of 2A", **_EDGES["eta2AB"]))
    return lines
