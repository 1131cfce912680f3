"""The end of the calm before the n-th jump of the training loss, found while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class CalmEnd:
    """The last calm state before the n-th jump of the training loss.

    A period has come down once the loss falls below `floor`; from then on the weights at its
    lowest loss are kept aside, and a loss above `jump` times that is a jump: what was kept aside
    becomes the point. Every network has its own period.

    Args:
        settings: jump, floor, index (1 is the first jump).
        networks: how many.

    Attributes:
        slots: how many states are kept aside.

    Source: periodic-behavior, section 6.5.
    """

    slots = 1

    def __init__(self, settings: Mapping[str, Any], networks: int):
        self.settings = settings
        infinite = torch.full((networks,), float("inf"), dtype=torch.float64)
        self.state = {
            "armed": torch.zeros(networks, dtype=torch.bool),
            "lowest": infinite,
            "jumps": torch.zeros(networks, dtype=torch.int64),
        }

    def update(self, train_loss: Tensor) -> tuple[Tensor, Tensor]:
        """Take the loss at the end of an epoch.

        Args:
            train_loss: (networks,), float64, on the CPU.

        Returns:
            keep: (networks,) bool, whose present weights are to be set aside.
            fired: (networks,) bool, whose weights set aside before become the point now.
        """
        state, floor = self.state, self.settings["floor"]
        jumped = (
            state["armed"]
            & (train_loss > self.settings["jump"] * state["lowest"])
            & (train_loss > floor)
        )
        state["jumps"] += jumped
        fired = jumped & (state["jumps"] == self.settings["index"])
        state["armed"] &= ~jumped
        state["lowest"][jumped] = float("inf")
        came_down = ~state["armed"] & (train_loss < floor)
        state["armed"] |= came_down
        keep = state["armed"] & (train_loss < state["lowest"])
        state["lowest"] = torch.where(keep, train_loss, state["lowest"])
        return keep, fired


def build(settings: Mapping[str, Any], networks: int) -> CalmEnd:
    """The detector of some networks."""
    return CalmEnd(settings, networks)
