"""Random crops and flips of whole batches, on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

if TYPE_CHECKING:
    from refigure.data.images.images import Images


@dataclass(frozen=True)
class Augmentation:
    """A random crop of the image padded with black, then perhaps a horizontal flip.

    Args:
        padding: black pixels on each side; the crop has the image's own size, so that it is a
            shift by -padding..padding pixels along both axes.
        flip: flip every second image on average.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2; torchvision's RandomCrop and
    RandomHorizontalFlip, which draw from another stream.
    """

    padding: int
    flip: bool

    def draw(self, generator: Generator, batch: int, size: int) -> Tensor:
        """What is random in one batch of one network: row, column of the crop, and 1 for a flip.

        Args:
            generator: on the CPU, so that every device gets the same draws.
            batch: number of images.
            size: height and width of an image, pixels.

        Returns:
            (batch, 3), int64, on the CPU. Those of several networks are stacked.

        Raises:
            ValueError: a crop could miss the image.
        """
        if self.padding >= size:
            raise ValueError(f"padding must be below the image's size {size}, got {self.padding}")
        corners = torch.randint(2 * self.padding + 1, (batch, 2), generator=generator)
        flips = torch.randint(1 + self.flip, (batch, 1), generator=generator)
        return torch.cat([corners, flips], 1)

    def apply(self, images: Tensor, draws: Tensor, black: Tensor) -> Tensor:
        """Each image cropped and flipped as drawn for it.

        Args:
            images: (networks, batch, channels, size, size), normalised.
            draws: (networks, batch, 3), from `draw`, on any device.
            black: (channels,), a normalised black pixel: torchvision pads before it normalises.

        Returns:
            As `images`.
        """
        size = images.shape[-1]
        row, column, flip = draws.to(images.device)[..., None].unbind(-2)
        places = torch.arange(size, device=images.device)
        rows = row - self.padding + places
        columns = column - self.padding + torch.where(flip == 1, places.flip(0), places)
        inside = _within(rows, size)[..., :, None] & _within(columns, size)[..., None, :]
        rows, columns = rows.clamp(0, size - 1), columns.clamp(0, size - 1)
        pixels = (rows[..., :, None] * size + columns[..., None, :]).flatten(-2)
        pixels = pixels[..., None, :].expand(*images.shape[:-2], -1)
        moved = images.flatten(-2).gather(-1, pixels).view(images.shape)
        return torch.where(inside[..., None, :, :], moved, black[:, None, None])


def build(settings: Mapping[str, Any], data: Images) -> Augmentation:
    """The augmentation of `{padding, flip}`, under the name `crop_flip`, of any images."""
    return Augmentation(settings["padding"], settings["flip"])


def _within(places: Tensor, size: int) -> Tensor:
    return (places >= 0) & (places < size)
