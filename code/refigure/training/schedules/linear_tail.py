"""Flat, then linear down to a small learning rate, which is kept to the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    With t the number of the epoch over that of all, counted from `first_epoch`: 1 up to t = `flat`,
    then linear to `factor` at t = `end`, then that.

    Source: power-laws, section 5.1, whose code counts from 1; periodic-behavior, section 5, has the
    same as its default and counts from 0.
    """
    flat, end, last = settings["flat"], settings["end"], settings["factor"]

    def factor(epoch: float) -> float:
        t = (math.floor(epoch) + settings["first_epoch"]) / epochs
        if t <= flat:
            return 1.0
        return 1 - (1 - last) * (t - flat) / (end - flat) if t < end else last

    return factor
