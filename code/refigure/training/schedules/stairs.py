"""Steps down: a part of the learning rate after each of some shares of the epochs."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor, constant within an epoch.

    With t the number of the epoch over that of all, counted from `first_epoch`: `factor` to the
    power of how many of the shares `at` are past. A share is past where t is above it or, with
    `falls: at`, where t has reached it.

    Source: periodic-behavior, section 5 ("discrete", after each quarter, counted from 0);
    memory-split, section 5 (at one half, counted from 1: epoch 100 of 200 is a low one).
    """
    at, ratio = settings["at"], settings["factor"]
    past = operator.ge if settings["falls"] == "at" else operator.gt

    def factor(epoch: float) -> float:
        t = (math.floor(epoch) + settings["first_epoch"]) / epochs
        return ratio ** sum(past(t, share) for share in at)

    return factor
