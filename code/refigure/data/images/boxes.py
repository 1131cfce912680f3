"""The random box of a resized crop, drawn for a batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

RATIO = (3 / 4, 4 / 3)
TRIES = 10


def draw_boxes(uniform: Callable[..., Tensor], size: int, least: float) -> Tensor:
    """A box of each image of a batch: the first try that fits, the whole image where none does.

    Args:
        uniform: low, high and a shape -> numbers of that range, (batch, *shape), float64.
        size: height and width of an image, pixels.
        least: share of the image's area that a box covers at least.

    Returns:
        (batch, 4), float64, whole numbers: top, left, height and width, pixels.

    Source: torchvision's RandomResizedCrop, of a square image.
    """
    area = size * size * uniform(least, 1, TRIES)
    ratio = uniform(math.log(RATIO[0]), math.log(RATIO[1]), TRIES).exp()
    sides = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()], -1)
    fits = ((sides > 0) & (sides <= size)).all(-1)
    sides = sides[torch.arange(len(sides)), fits.to(torch.int8).argmax(1)]
    sides = torch.where(fits.any(1, keepdim=True), sides, torch.full_like(sides, size))
    corners = (uniform(0, 1, 2) * (size - sides + 1)).floor()
    return torch.cat([corners, sides], 1)
