"""Names and colours of the ways of training of contrastive-memorization, and palettes it draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

METHODS = {
    "simclr": "SimCLR",
    "supervised": "Supervised",
    "random_labels": "Random labels",
    "random_labels_augmented": "Random labels, augmented",
}
COLOURS = {
    "simclr": "tab:blue",
    "supervised": "tab:orange",
    "random_labels": "tab:green",
    "random_labels_augmented": "tab:red",
    "untrained": "0.45",
    "pixels": "0.7",
}
QUANTILE_COLOURS = {
    mean: mpl.colormaps["turbo"](place) for mean, place in ((0.25, 0.1), (0.5, 0.42), (0.75, 0.88))
}
"""Blue, green and red of the first steps whose mean p is a quarter, a half, three quarters."""
NAMES = METHODS | {"untrained": "Untrained network", "pixels": "Raw pixels"}


def present(frame: pd.DataFrame) -> list[str]:
    """The methods that a table has rows of, in their order."""
    return [method for method in METHODS if method in set(frame["method"])]


def palette(name: str, count: int) -> list[Any]:
    """So many colours from end to end of a colour map, neither end itself.

    Source: seaborn's `color_palette`, which the authors' notebooks call.
    """
    return [mpl.colormaps[name](place) for place in np.linspace(0, 1, count + 2)[1:-1]]


def epoch_name(epoch: float) -> str:
    """An epoch as it stands in legends: whole, or with two digits where it is not."""
    return f"{epoch:.2f}".rstrip("0").rstrip(".")


def ranks(values: Sequence[float]) -> np.ndarray:
    """Sorted values' places on an axis of objects, from 0 to their number."""
    return np.linspace(0, len(values), len(values))
