"""What dropout draws from during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from refigure.streams import generator


@dataclass(frozen=True)
class DropoutNoise:
    """The draws of one step, of each network from its own stream and of each layer from its name.

    On the device itself, since masks are as large as activations: a network drops the same units
    alone and beside others, and after a restart, but others on another kind of device.

    Args:
        streams: of each network; equal ones draw the same.
        epoch, number: of the batch.
        device: of the networks.
    """

    streams: Sequence[str]
    epoch: int
    number: int
    device: torch.device

    def __call__(self, layer: str, shape: tuple[int, ...]) -> Tensor:
        """Uniform in [0, 1), of that shape, whose first axis is `networks`."""
        drawn = torch.empty(shape, device=self.device)
        for place, stream in enumerate(self.streams):
            source = generator(
                stream, f"dropout/{layer}", self.epoch, self.number, device=self.device
            )
            drawn[place].uniform_(generator=source)
        return drawn
