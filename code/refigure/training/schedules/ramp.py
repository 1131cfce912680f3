"""Flat, then linear down to a part of the learning rate at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    With t the number of the epoch over that of all, counted from `first_epoch`: 1 up to t = `flat`,
    then linear to `factor` at t = 1.

    Source: periodic-behavior, section 5 ("continuous", flat 1/4), whose code counts from 0.
    """
    flat, last = settings["flat"], settings["factor"]

    def factor(epoch: float) -> float:
        t = (math.floor(epoch) + settings["first_epoch"]) / epochs
        return 1.0 if t <= flat else last + (1 - last) * (1 - t) / (1 - flat)

    return factor
