"""Flat, then half a cosine to 0 at the end of the period, after a linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor."""
    warmup, flat = settings["warmup"], settings["flat"]
    period = settings["period"] or epochs - flat - warmup

    def factor(epoch: float) -> float:
        if settings["by"] == "epoch":
            epoch = math.floor(epoch)
        if epoch < warmup:
            return (epoch + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * max(0.0, epoch - warmup - flat) / period))

    return factor
