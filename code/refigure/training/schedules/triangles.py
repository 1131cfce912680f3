"""Triangles: up from a small learning rate and down again, every few epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, another at every step.

    Each `cycle` epochs the factor rises from `ratio` * `low` to `ratio` in the first half and falls
    back in the second; networks are kept at the low ends.

    Source: Garipov et al. 2018, arXiv:1802.10026, section 5 (FGE); pretrain-basin, section 5.5.
    """
    cycle, ratio, low = settings["cycle"], settings["ratio"], settings["low"]

    def factor(epoch: float) -> float:
        part = (epoch / cycle) % 1
        return ratio * (low + (1 - low) * (1 - abs(2 * part - 1)))

    return factor
