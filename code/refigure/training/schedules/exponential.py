"""A constant factor an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    `factor` to the power of the number of the epoch (from 1), whatever the length.

    Source: memory-split, section 5 (M-sched), whose epochs count from 1 as those of power-laws do.
    """
    return lambda epoch: settings["factor"] ** (math.floor(epoch) + 1)
