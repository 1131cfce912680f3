"""What is learned: a loss on a batch, and the scores of an evaluation. One file a kind of task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor

from refigure.models.layers import Model, Statistics


class Task(Protocol):
    """What the loop knows of a task; recorders of a kind of task may know more.

    Attributes:
        model: of the networks.
        batches: training batches in an epoch.
    """

    model: Model
    batches: int

    def batch(self, epoch: int, number: int) -> Any:
        """One training batch of an epoch, for all networks; follows from seeds alone."""
        ...

    def losses(
        self, parameters: Mapping[str, Tensor], batch: Any, statistics: Statistics
    ) -> Tensor:
        """The mean loss of each network on its batch, (networks,)."""
        ...

    def evaluation(self, which: str, networks: int) -> Iterator[Any]:
        """The batches of a whole set, in stored order, the same for every network."""
        ...
