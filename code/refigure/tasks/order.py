"""The order in which an epoch takes the training objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refigure.streams import generator


class Order:
    """Draws the order of each epoch, and keeps the last one drawn.

    Args:
        streams: of each network, what its order is drawn from; equal ones have one order.
        count: objects.
        device: where the order is used.
    """

    def __init__(self, streams: Sequence[str], count: int, device: torch.device):
        self.streams, self.count, self.device = list(streams), count, device
        self._last: tuple[int, Tensor] = (-1, torch.empty(0))

    def __call__(self, epoch: int) -> Tensor:
        """Places of the objects in an epoch, (networks, objects)."""
        if self._last[0] != epoch:
            drawn = {
                stream: torch.randperm(self.count, generator=generator(stream, "order", epoch))
                for stream in set(self.streams)
            }
            order = torch.stack([drawn[stream] for stream in self.streams])
            self._last = (epoch, order.to(self.device))
        return self._last[1]
