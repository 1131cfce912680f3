"""Flat, then linear down to a small learning rate, which is kept to the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    With t the number of the epoch (from 1) over that of all: 1 up to t = `flat`, then linear to
    `factor` at t = `end`, then that.

    Source: power-laws, section 5.1; periodic-behavior, section 5, as its default.
    """
    flat, end, last = settings["flat"], settings["end"], settings["factor"]

    def factor(epoch: float) -> float:
        t = (math.floor(epoch) + 1) / epochs
        if t <= flat:
            return 1.0
        return 1 - (1 - last) * (t - flat) / (end - flat) if t < end else last

    return factor
