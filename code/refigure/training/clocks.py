"""When a recorder measures, counted in epochs; without torch, so that a plan can count too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def epoch_is_due(clock: Mapping[str, Any], epoch: int, epochs: int) -> bool:
    """Whether a clock in epochs strikes at the end of an epoch; the first and last always do.

    Args:
        clock: `{epochs: n}`, or `{log: n, trailing: m}`: n epochs a decade, evenly on the log
            scale, and every m-th epoch of the last quarter.
    """
    if epoch in (0, epochs):
        return True
    if "epochs" in clock:
        return epoch % clock["epochs"] == 0
    if clock["trailing"] and epoch >= 0.75 * epochs and epoch % clock["trailing"] == 0:
        return True
    marks = {round(10 ** (mark / clock["log"])) for mark in range(10 * clock["log"])}
    return epoch in marks
