"""Contrastive learning of images: two views of each, told apart from all other views of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from refigure.data.images.images import Images
from refigure.graph.spec import Spec
from refigure.models.layers import Model
from refigure.tasks.classification import Batch, Classification


class Contrastive(Classification):
    """NT-Xent: the normalised temperature-scaled cross-entropy of SimCLR.

    A batch of B images is a batch of 2B views: all first views, then all second ones. For a view
    the other view of its image is the right answer, among the 2B - 1 others.

    Args:
        model: whose outputs are the embedding.
        data, specs, streams: as of `Classification`.

    Raises:
        ValueError: the specification has no augmentation, without which the views are equal.

    Source: Chen et al. 2020, arXiv:2002.05709, equation 1; contrastive-memorization, section 5.
    """

    def __init__(self, model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]):
        if specs[0].augment is None:
            raise ValueError("the contrastive task needs an augmentation: its views would be equal")
        super().__init__(model, data, specs, streams)
        self.temperature = specs[0].task["temperature"]

    def batch(self, epoch: int, number: int) -> Batch:
        """Both views of the images of one batch of an epoch, (networks, 2B, ...)."""
        first = number * self.batch_size
        places = self.order(epoch)[:, first : first + self.batch_size]
        places = torch.cat([places, places], dim=1)
        images = self._augmented(self.data.train_images[places], epoch, number)
        return Batch(images, pairs(places.shape[1], places.device).expand(len(places), -1))

    @property
    def chance(self) -> float:
        """The error of guessing, percent: one of the 2B - 1 other views is right."""
        return 100 * (1 - 1 / (2 * self.batch_size - 1))

    def scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and error (0 or 1) of each view, both (networks, views).

        Args:
            logits: the embeddings, (networks, views, dimensions).
            labels: the place of each view's partner, (networks, views).
        """
        similarities = similarity(logits, self.temperature)
        loss = F.cross_entropy(
            similarities.flatten(0, 1), labels.flatten(), reduction="none"
        ).view_as(labels)
        return loss, (similarities.detach().argmax(-1) != labels).float()

    def evaluation(self, which: str, networks: int) -> Iterator[Batch]:
        """The first views of a fixed draw beside the second ones, in batches of the stored order.

        The draw is the same for every network and at every call, so that measures of two networks
        or of two epochs see the same views.

        Args:
            which: "train" or "test"; a last batch of a single image is left out, since nothing is
                there to be told apart from.
            networks: how many read it.
        """
        for number, batch in enumerate(super().evaluation(which, 1)):
            views = torch.cat([batch.images, batch.images], dim=1)
            if views.shape[1] < 4:
                continue
            views = self._augmented(views, which, number, ["views"])
            labels = pairs(views.shape[1], views.device)[None]
            yield Batch(views.expand(networks, *views.shape[1:]), labels.expand(networks, -1))


def pairs(views: int, device: torch.device | str = "cpu") -> Tensor:
    """The place of each view's partner, (views,): first views lie before all second ones."""
    return torch.arange(views, device=device).roll(views // 2)


def similarity(embeddings: Tensor, temperature: float) -> Tensor:
    """The cosine of each two views over the temperature; of a view with itself minus infinity.

    Args:
        embeddings: (networks, views, dimensions).
        temperature: positive.

    Returns:
        (networks, views, views).
    """
    directions = F.normalize(embeddings, dim=-1)
    products = directions @ directions.mT / temperature
    own = torch.eye(products.shape[-1], dtype=torch.bool, device=products.device)
    return products.masked_fill(own, -torch.inf)


def build(model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]) -> Contrastive:
    """The task of networks that train side by side."""
    return Contrastive(model, data, specs, streams)
