"""The objects and the fixed views on which every network of a paper is asked the same question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from refigure.streams import generator

if TYPE_CHECKING:
    from refigure.data.images.images import Images

STREAM = "estimation"


def objects(count: int, wanted: int, which: str = "train") -> Tensor:
    """The places of the objects that correctness is estimated on, without replacement.

    They depend on nothing but these numbers: the same for every network, method and epoch.

    Args:
        count: of the objects that there are.
        wanted: how many; all where there are fewer.
        which: "train" or "test", which are drawn apart.

    Returns:
        (min(count, wanted),), int64, on the CPU, in an order that is random too.

    Source: contrastive-memorization, section 3, and trap 3, which says why there is no replacement.
    """
    return torch.randperm(count, generator=generator(STREAM, f"objects of {which}"))[:wanted]


def view(
    augmentation: Any, images: Tensor, black: Tensor, which: str, number: int, partner: int = 0
) -> Tensor:
    """One fixed view of each image: the same draws for whoever asks.

    Args:
        augmentation: with `draw` and `apply`; None: the images as they are.
        images: (images, channels, size, size).
        black: (channels,), a black pixel.
        which: "train" or "test".
        number: of the view.
        partner: 0 for the first view of a pair, 1 for the second.
    """
    if augmentation is None:
        return images
    drawn = augmentation.draw(
        generator(STREAM, f"views of {which}", number, partner), len(images), images.shape[-1]
    )
    return augmentation.apply(images[None], drawn[None], black)[0]


def companions(count: int, batch: int, redrawn: bool = False) -> list[Tensor]:
    """The objects in batches of nearly equal size, as few as hold no more than `batch` each.

    Args:
        count: of objects.
        batch: the most in a batch.
        redrawn: in another order than the one they stand in, as a check of what companions matter.

    Returns:
        Places among the objects, one tensor a batch; each object is in one.
    """
    order = torch.arange(count)
    if redrawn:
        order = torch.randperm(count, generator=generator(STREAM, "other companions"))
    return list(order.tensor_split(max(-(-count // batch), 1)))


def labels_of(images: Images, wanted: int) -> Tensor:
    """The training labels of the objects of `objects`, (objects,) int64, on the CPU."""
    labels = images.train_labels.cpu()
    return labels[objects(len(labels), wanted)]
