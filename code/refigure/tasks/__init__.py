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
        carried: what a step hands to the next one of its epoch, rows in the order of the networks;
            a training state holds it. Absent where nothing is carried.
        chance: the error of guessing, percent; of tasks whose `train` recorder is used.
    """

    model: Model
    batches: int

    def batch(self, epoch: int, number: int) -> Any:
        """One training batch of an epoch, for all networks; follows from seeds alone.

        Its `labels`, (networks, objects), are what `scores` compares predictions with.
        """
        ...

    def losses(
        self, parameters: Mapping[str, Tensor], batch: Any, statistics: Statistics
    ) -> Tensor:
        """The loss that each network takes a step on, (networks,): a mean over its batch."""
        ...

    def logits(
        self, parameters: Mapping[str, Tensor], batch: Any, statistics: Statistics
    ) -> Tensor:
        """What each network predicts for its batch, (networks, objects, classes)."""
        ...

    def scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and error (0 or 1) of each object, both (networks, objects)."""
        ...

    def evaluation(self, which: str, networks: int) -> Iterator[Any]:
        """The batches of a whole set ("train", "test"), in stored order, for every network."""
        ...
