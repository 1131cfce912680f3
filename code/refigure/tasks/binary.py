"""Classification of points into two classes by one logit: logistic loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from refigure.data.ticks import Ticks
from refigure.errors import UserError
from refigure.graph.reading import suggest
from refigure.graph.spec import Spec
from refigure.models.layers import Model, Statistics
from refigure.tasks.order import Order

EVALUATED = 512
"""Points a batch of an evaluation, whatever a training batch is: no statistics depend on it."""


@dataclass(frozen=True)
class Batch:
    """Points (networks, batch, inputs) and labels (networks, batch), 0 or 1."""

    points: Tensor
    labels: Tensor


class Binary:
    """A model and data, as the loop and the recorders see them.

    Args:
        model: of one logit, that of class 1.
        data: on the device of the networks.
        specs: of the networks, equal but for seeds and numbers of the optimiser.
        streams: of each network, what its order is drawn from.

    Raises:
        UserError: the spec asks for augmentation.

    Source: where-large-lrs, sections 3.4 and 5.
    """

    def __init__(self, model: Model, data: Ticks, specs: Sequence[Spec], streams: Sequence[str]):
        spec = specs[0]
        if spec.augment is not None:
            raise UserError(f"task binary knows no augmentation, got {spec.augment['name']}")
        self.model, self.data = model, data
        self.batch_size = spec.batch
        count = len(data.train_labels)
        self.batches = count // spec.batch if spec.drop_last else -(-count // spec.batch)
        self.order = Order(streams, count, data.train_labels.device)

    @property
    def chance(self) -> float:
        """The error of guessing, percent."""
        return 100 * (1 - 1 / self.data.classes)

    def batch(self, epoch: int, number: int) -> Batch:
        """The training points of one batch of an epoch."""
        first = number * self.batch_size
        places = self.order(epoch)[:, first : first + self.batch_size]
        return Batch(self.data.train_points[places], self.data.train_labels[places])

    def losses(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """The mean loss of each network on its batch, (networks,)."""
        return self._loss(self.logits(parameters, batch, statistics), batch.labels).mean(1)

    def logits(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """The logit of class 1, (networks, batch, 1)."""
        return self.model.forward(parameters, batch.points, statistics)

    def scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and error (0 or 1) of each point, both (networks, batch).

        Class 1 is predicted where the logit is positive.
        """
        error = ((logits.detach()[..., 0] > 0) != labels.bool()).float()
        return self._loss(logits, labels), error

    @staticmethod
    def _loss(logits: Tensor, labels: Tensor) -> Tensor:
        """-log p(label), by softplus of the logit towards the other class."""
        return F.softplus(logits[..., 0] * (1 - 2 * labels))

    def evaluation(self, which: str, networks: int) -> Iterator[Batch]:
        """The training or test set in its stored order, the same batches for every network.

        Args:
            which: "train" or "test".
            networks: how many read it.
        """
        if which not in ("train", "test"):
            raise UserError(f"unknown evaluation set '{which}'{suggest(which, ('train', 'test'))}")
        points = self.data.train_points if which == "train" else self.data.test_points
        labels = self.data.train_labels if which == "train" else self.data.test_labels
        for some, their in zip(points.split(EVALUATED), labels.split(EVALUATED)):
            yield Batch(some.expand(networks, -1, -1), their.expand(networks, -1))


def build(model: Model, data: Ticks, specs: Sequence[Spec], streams: Sequence[str]) -> Binary:
    """The task of some networks that stack."""
    return Binary(model, data, specs, streams)
