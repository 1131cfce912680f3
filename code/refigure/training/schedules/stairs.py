"""Steps down: a part of the learning rate after each of some shares of the epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    With t the number of the epoch (from 1) over that of all: `factor` to the power of how many of
    the shares `at` lie below t.

    Source: periodic-behavior, section 5 ("discrete", at each quarter); memory-split, section 5
    (at one half).
    """
    at, ratio = settings["at"], settings["factor"]

    def factor(epoch: float) -> float:
        t = (math.floor(epoch) + 1) / epochs
        return ratio ** sum(t > share for share in at)

    return factor
