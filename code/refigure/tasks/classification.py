"""Image classification: cross-entropy, or the squared distance to the one-hot target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from refigure.data.images.images import Images
from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.reading import suggest
from refigure.graph.spec import Spec
from refigure.models.layers import Model, Noise, Statistics
from refigure.streams import generator
from refigure.tasks.noise import DropoutNoise
from refigure.tasks.order import Order


@dataclass(frozen=True)
class Batch:
    """Images (networks, batch, channels, size, size), labels (networks, batch), and for training
    what dropout draws from, where the model has dropout."""

    images: Tensor
    labels: Tensor
    noise: Noise | None = None


class Classification:
    """A model and data, as the loop and the recorders see them.

    Args:
        model: whose logits are compared with the labels.
        data: on the device of the networks.
        specs: of the networks, equal but for seeds and numbers of the optimiser.
        streams: of each network, what its order and augmentation are drawn from.

    Source: three-regimes, sections 3 and 5.1; the squared loss is its variant A3.
    """

    def __init__(self, model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]):
        spec = specs[0]
        self.model, self.data = model, data
        self.streams = list(streams)
        self.batch_size = spec.batch
        self.squared = spec.task.get("loss") == "squared"
        self.augmentation = None
        if spec.augment is not None:
            self.augmentation = import_entry("augment", spec.augment["name"]).build(
                spec.augment, data
            )
        self.framing = getattr(self.augmentation, "framed", None)
        self.drops = getattr(model, "dropout", 0.0) > 0
        count = len(data.train_labels)
        self.batches = count // spec.batch if spec.drop_last else -(-count // spec.batch)
        self.order = Order(streams, count, data.train_labels.device)

    def batch(self, epoch: int, number: int) -> Batch:
        """The training images of one batch of an epoch, augmented."""
        first = number * self.batch_size
        places = self.order(epoch)[:, first : first + self.batch_size]
        images, labels = self.data.train_images[places], self.data.train_labels[places]
        images = self._augmented(self.data.normalised(images), epoch, number)
        noise = DropoutNoise(self.streams, epoch, number, images.device) if self.drops else None
        return Batch(images, labels, noise)

    def _augmented(
        self, images: Tensor, epoch: int | str, number: int, streams: Sequence[str] | None = None
    ) -> Tensor:
        """Images of one batch, (networks, batch, ...), augmented by each network's own draws."""
        if self.augmentation is None:
            return images
        streams = self.streams if streams is None else streams
        drawn = {
            stream: self.augmentation.draw(
                generator(stream, "augmentation", epoch, number), images.shape[1], self.data.size
            )
            for stream in set(streams)
        }
        draws = torch.stack([drawn[stream] for stream in streams])
        return self.augmentation.apply(images, draws, self.data.black)

    def shown(self, images: Tensor) -> Tensor:
        """Images of the data as an evaluation shows them: standardised, framed, not augmented.

        Args:
            images: (images, channels, size, size), as they are stored.
        """
        images = self.data.normalised(images)
        return images if self.framing is None else self.framing(images)

    @property
    def chance(self) -> float:
        """The error of guessing, percent."""
        return 100 * (1 - 1 / self.data.classes)

    def losses(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """The mean loss of each network on its batch, (networks,)."""
        logits = self.logits(parameters, batch, statistics)
        return self.scores(logits, batch.labels)[0].mean(1)

    def logits(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """The logits of each network on its batch, (networks, batch, classes)."""
        if batch.noise is None:
            return self.model.forward(parameters, batch.images, statistics)
        return self.model.forward(parameters, batch.images, statistics, batch.noise)

    def scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and error (0 or 1) of each image, both (networks, batch).

        The squared loss is (sum_c o_c^2 - 2 o_y + 1) / C: three-regimes, section 5.2.
        """
        classes = logits.shape[-1]
        if self.squared:
            own = logits.gather(-1, labels[..., None])[..., 0]
            loss = (logits.square().sum(-1) - 2 * own + 1) / classes
        else:
            loss = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="none"
            ).view_as(labels)
        return loss, (logits.detach().argmax(-1) != labels).float()

    def evaluation(self, which: str, networks: int) -> Iterator[Batch]:
        """The training or test set in its stored order, the same batches for every network.

        As they are stored, or framed as the augmentation says: resized, and the centre cut out.

        Args:
            which: "train" or "test"; the last batch may be smaller.
            networks: how many read it.
        """
        if which not in ("train", "test"):
            raise UserError(f"unknown evaluation set '{which}'{suggest(which, ('train', 'test'))}")
        images = self.data.train_images if which == "train" else self.data.test_images
        labels = self.data.train_labels if which == "train" else self.data.test_labels
        for first in range(0, len(labels), self.batch_size):
            part = slice(first, first + self.batch_size)
            shown = self.shown(images[part])
            yield Batch(
                shown.expand(networks, *shown.shape),
                labels[part].expand(networks, -1),
            )


def build(
    model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]
) -> Classification:
    """The task of some networks that stack."""
    return Classification(model, data, specs, streams)
