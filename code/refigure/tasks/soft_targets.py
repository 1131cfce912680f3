"""Classification of images that are mixed in pairs, by mixup or cutmix, with soft labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from refigure.data.images.images import Images
from refigure.graph.spec import Spec
from refigure.models.layers import Model, Statistics
from refigure.streams import generator
from refigure.tasks.classification import Batch, Classification

SWITCH = 0.5
"""Chance of cutmix where both are asked for."""


@dataclass(frozen=True)
class Mixture:
    """How a batch is mixed with its reverse.

    Args:
        share: of an image's own pixels and label.
        box: top, bottom, left, right of what the partner's pixels replace; None: all pixels are
            averages.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class SoftBatch(Batch):
    """A batch whose `targets` are probabilities, (networks, batch, classes)."""

    targets: Tensor | None = None


class SoftTargets(Classification):
    """Cross-entropy with labels that are smoothed and mixed as the images are.

    Every image is mixed with the one in its place from the end of the batch. Evaluations see single
    images with their labels.

    Args:
        model, data, specs, streams: as of `Classification`.

    Source: Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899; timm's Mixup in
    its mode "batch", as pretrain-basin, section 3, has it.
    """

    def __init__(self, model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]):
        super().__init__(model, data, specs, streams)
        task = specs[0].task
        self.mixup, self.cutmix = task["mixup"], task["cutmix"]
        self.smoothing = task["smoothing"]
        if min(self.mixup, self.cutmix) < 0 or not 0 <= self.smoothing < 1:
            raise ValueError(
                "soft_targets: mixup and cutmix must be at least 0 and smoothing in [0, 1), got"
                f" {self.mixup}, {self.cutmix} and {self.smoothing}"
            )

    def batch(self, epoch: int, number: int) -> SoftBatch:
        """The training images of one batch of an epoch, augmented and mixed, with their targets."""
        plain = super().batch(epoch, number)
        size = plain.images.shape[-1]
        drawn = {stream: self.mixture(stream, epoch, number, size) for stream in set(self.streams)}
        mixtures = [drawn[stream] for stream in self.streams]
        images = torch.stack([mixed(one, how) for one, how in zip(plain.images, mixtures)])
        soft = smoothed(plain.labels, self.data.classes, self.smoothing)
        targets = torch.stack(
            [how.share * one + (1 - how.share) * one.flip(0) for one, how in zip(soft, mixtures)]
        )
        return SoftBatch(images, plain.labels, plain.noise, targets)

    def mixture(self, stream: str, epoch: int, number: int, size: int) -> Mixture:
        """How one network's batch is mixed.

        Args:
            stream: of the network.
            epoch, number: of the batch.
            size: height and width of an image, pixels.
        """
        source = generator(stream, "mixture", epoch, number)
        coin, row, column = torch.rand(3, generator=source, dtype=torch.float64).tolist()
        cuts = self.cutmix > 0 and (self.mixup == 0 or coin < SWITCH)
        alpha = self.cutmix if cuts else self.mixup
        if alpha == 0:
            return Mixture(1.0)
        # A ratio of two gamma draws; torch's takes no generator but the global one, which is lent.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=source)))
            share = float(torch.distributions.Beta(alpha, alpha).sample())
        return cut(share, row, column, size) if cuts else Mixture(share)

    def losses(
        self, parameters: Mapping[str, Tensor], batch: SoftBatch, statistics: Statistics
    ) -> Tensor:
        """The mean cross-entropy of each network with its batch's targets, (networks,)."""
        logits = self.logits(parameters, batch, statistics)
        return -(batch.targets * F.log_softmax(logits, -1)).sum(-1).mean(1)


def cut(share: float, row: float, column: float, size: int) -> Mixture:
    """A square of area 1 - share around a pixel, clipped to the image; the share follows it.

    Args:
        share: of the image that should stay.
        row, column: in [0, 1): where the middle of the square lies.
        size: height and width of an image, pixels.
    """
    side = int(size * math.sqrt(1 - share))
    down, across = int(row * size), int(column * size)
    top, bottom = max(down - side // 2, 0), min(down + side // 2, size)
    left, right = max(across - side // 2, 0), min(across + side // 2, size)
    replaced = (bottom - top) * (right - left) / size**2
    return Mixture(1 - replaced, (top, bottom, left, right))


def mixed(images: Tensor, how: Mixture) -> Tensor:
    """The images of a batch mixed with those from its end, (batch, channels, size, size)."""
    if how.box is None:
        return how.share * images + (1 - how.share) * images.flip(0)
    top, bottom, left, right = how.box
    found = images.clone()
    found[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    return found


def smoothed(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """Labels as probabilities: the smoothing is shared by all classes, (..., classes)."""
    return (1 - smoothing) * F.one_hot(labels, classes).float() + smoothing / classes


def build(model: Model, data: Images, specs: Sequence[Spec], streams: Sequence[str]) -> SoftTargets:
    """The task of some networks that stack."""
    return SoftTargets(model, data, specs, streams)
