"""A number of epochs before or after the onset of the n-th jump of the training loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.training.events.calm_end import CalmEnd


class Jump:
    """The state `offset` epochs from the onset of the n-th jump; before it where negative.

    The onset is the first epoch at whose end the loss has jumped, by the rule of `CalmEnd`. For a
    negative offset the last few epochs are kept aside, one slot an epoch in turn.

    Args:
        settings: jump, floor, index (1 is the first jump), offset.
        networks: how many.

    Attributes:
        slots: how many states are kept aside; 0: the point is the present state when it fires.

    Source: periodic-behavior, sections 5 (Z, SW) and 6.5.
    """

    def __init__(self, settings: Mapping[str, Any], networks: int):
        self.detector = CalmEnd(settings, networks)
        self.index = settings["index"]
        self.slots = max(-settings["offset"], 0)
        self.wait = max(settings["offset"], 0)
        # Epochs until the point, once the jump is there; -1: no jump yet, or the point is past.
        self.detector.state["left"] = torch.full((networks,), -1, dtype=torch.int64)

    @property
    def state(self) -> dict[str, Tensor]:
        """What a training state must hold."""
        return self.detector.state

    @state.setter
    def state(self, tensors: dict[str, Tensor]) -> None:
        self.detector.state = tensors

    def update(self, train_loss: Tensor) -> tuple[Tensor, Tensor]:
        """Take the loss at the end of an epoch.

        Args:
            train_loss: (networks,), float64, on the CPU.

        Returns:
            keep: (networks,) bool, whose present state is to be set aside, if there are slots.
            fired: (networks,) bool, who have their point now.
        """
        _, jumped = self.detector.update(train_loss)
        left = self.state["left"]
        left = torch.where(jumped, self.wait, left - (left >= 0).long())
        self.state["left"] = left
        return self.state["jumps"] < self.index, left == 0


def build(settings: Mapping[str, Any], networks: int) -> Jump:
    """The detector of some networks."""
    return Jump(settings, networks)
