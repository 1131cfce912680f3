"""Random resized crops of whole batches on the device, and what an evaluation sees instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.data.images.boxes import draw_boxes

if TYPE_CHECKING:
    from refigure.data.images.images import Images

LEAST = 0.08
"""Share of the image's area that a crop covers at least."""
BOX, FLIP = slice(0, 4), 4
COLUMNS = 5
"""Columns of a draw: top, left, height and width of the crop in pixels, and 1 for a flip."""


@dataclass(frozen=True)
class ResizedCrop:
    """A random box of the image stretched to a square, then perhaps a horizontal flip.

    Args:
        size: height and width of the square, pixels.
        resize: height and width of the whole image of which an evaluation sees the middle, pixels.
        kernel: "bilinear" or "bicubic", without antialiasing, as torchvision resized tensors when
            the authors trained.

    Source: pretrain-basin, section 3; torchvision's RandomResizedCrop and RandomHorizontalFlip,
    which draw from another stream.
    """

    size: int
    resize: int
    kernel: str = "bilinear"

    def draw(self, generator: Generator, batch: int, size: int) -> Tensor:
        """What is random in one batch of one network.

        Args:
            generator: on the CPU, so that every device gets the same draws.
            batch: number of images.
            size: height and width of an image, pixels.

        Returns:
            (batch, 5), int64, on the CPU: see `COLUMNS`. Those of several networks are stacked.
        """

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            drawn = torch.rand(batch, *shape, generator=generator, dtype=torch.float64)
            return low + (high - low) * drawn

        boxes = draw_boxes(uniform, size, LEAST)
        return torch.cat([boxes, uniform(0, 1, 1) < 0.5], 1).long()

    def apply(self, images: Tensor, draws: Tensor, black: Tensor) -> Tensor:
        """Each image cropped, resized and flipped as drawn for it.

        Args:
            images: (networks, batch, channels, size, size), normalised.
            draws: (networks, batch, 5), from `draw`, on any device.
            black: a normalised black pixel; nothing is padded here.

        Returns:
            (networks, batch, channels, `self.size`, `self.size`).
        """
        flat, drawn = images.flatten(0, 1), draws.to(images.device).flatten(0, 1)
        moved = crop(flat, drawn[:, BOX], drawn[:, FLIP] == 1, self.size, self.kernel)
        return moved.unflatten(0, images.shape[:2])

    def framed(self, images: Tensor) -> Tensor:
        """What an evaluation sees: the image resized, and its middle cut out.

        Args:
            images: (images, channels, size, size), normalised.

        Returns:
            (images, channels, `self.size`, `self.size`).
        """
        whole = F.interpolate(
            images, size=(self.resize, self.resize), mode=self.kernel, align_corners=False
        )
        first = round((self.resize - self.size) / 2)
        return whole[..., first : first + self.size, first : first + self.size]


def crop(images: Tensor, boxes: Tensor, flip: Tensor, size: int, kernel: str) -> Tensor:
    """Each image's box stretched to a square, then perhaps flipped.

    By two products with a matrix of weights an image.

    Args:
        images: (images, channels, height, width).
        boxes: top, left, height, width, (images, 4), int64, pixels.
        flip: (images,), bool; left and right change places.
        size: of the square, pixels.
        kernel: "bilinear" or "bicubic".
    """
    top, left, height, width = boxes.unbind(1)
    rows = _weights(top, height, size, images.shape[-2], images.dtype, kernel)
    columns = _weights(left, width, size, images.shape[-1], images.dtype, kernel)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns[:, None].mT


def _weights(
    first: Tensor, length: Tensor, size: int, pixels: int, dtype: torch.dtype, kernel: str
) -> Tensor:
    """What each pixel of a line takes of the image's line, (images, size, pixels).

    Args:
        first, length: of the part that is stretched to the new line, (images,), pixels.
        size: of the new line.
        pixels: of the image's line.
    """
    middle = torch.arange(size, device=first.device, dtype=dtype) + 0.5
    at = middle * (length[:, None].to(dtype) / size) - 0.5
    if kernel == "bilinear":
        at = at.clamp(min=0)
    below = at.floor()
    share = at - below
    taps = [(0, 1 - share), (1, share)] if kernel == "bilinear" else _cubic(share)
    weights = torch.zeros(len(first), size, pixels, dtype=dtype, device=first.device)
    last = length[:, None] - 1
    for step, weight in taps:
        places = (below.long() + step).clamp(min=0).minimum(last) + first[:, None]
        weights.scatter_add_(2, places[..., None], weight[..., None])
    return weights


def _cubic(share: Tensor, a: float = -0.75) -> list[tuple[int, Tensor]]:
    """Keys' kernel at four neighbours, with torch's coefficient.

    Args:
        share: how far a place lies beyond its second neighbour, in [0, 1).
    """

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [(-1, far(share + 1)), (0, near(share)), (1, near(1 - share)), (2, far(2 - share))]


def build(settings: Mapping[str, Any], data: Images) -> ResizedCrop:
    """The augmentation of `{size, resize}`, under the name `resized_crop`, of any images.

    Raises:
        ValueError: the crop is larger than what it is cut from, or has no pixels.
    """
    size, resize = settings["size"], settings["resize"]
    if not 0 < size <= resize:
        raise ValueError(f"resized_crop: size must be from 1 to resize {resize}, got {size}")
    return ResizedCrop(size, resize)
