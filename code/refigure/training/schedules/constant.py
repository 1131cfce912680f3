"""No schedule: the learning rate stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def build(settings: Mapping[str, Any], epochs: int) -> Callable[[float], float]:
    """Epoch (a real number, counted from 0) -> factor: always 1."""
    return lambda epoch: 1.0
