"""Flat, then half a cosine to 0 at the end of the period, after a linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor.

    The warm-up is linear from `warmup_start` to 1, which epoch `warmup` has, the first after it.
    Where no start is given it is the rise of one epoch, 1 / (`warmup` + 1).

    Source: pretrain-basin, section 5.1, whose Swins start at 0.005 of the rate.
    """
    warmup, flat = settings["warmup"], settings["flat"]
    start = settings["warmup_start"]
    if start is None:
        start = 1 / (warmup + 1)
    period = settings["period"] or epochs - flat - warmup

    def factor(epoch: float) -> float:
        if settings["by"] == "epoch":
            epoch = math.floor(epoch)
        if epoch < warmup:
            return start + (1 - start) * epoch / warmup
        return 0.5 * (1 + math.cos(math.pi * max(0.0, epoch - warmup - flat) / period))

    return factor
