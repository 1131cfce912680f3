"""What Swin transformers are fine-tuned with: crops, RandAugment of growing strength, erased boxes.

Source: pretrain-basin, section 3: timm's `rand-m9-mstd0.5-inc1` and random erasing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from refigure.data.images import randaugment
from refigure.data.images.resized_crop import COLUMNS as CROPPED
from refigure.data.images.resized_crop import ResizedCrop

if TYPE_CHECKING:
    from refigure.data.images.images import Images

LAYERS = 2
"""Operations on each image."""
CHANCE = 0.5
"""Of each of them to be done at all."""
SPREAD = 0.5
"""Standard deviation of the magnitude."""
STRONGEST = 10
AREA = (0.02, 1 / 3)
RATIO = (0.3, 3.3)
TRIES = 10
PER_LAYER = 3
"""Columns of an operation: its number, -1 where none is done; its magnitude; its sign."""
BOX = 5
"""Columns of erasing: top, left, height and width, which are 0 where nothing is erased; a seed."""


@dataclass(frozen=True)
class Swin:
    """A resized crop and flip, two operations, and a box of noise.

    Args:
        crop: bicubic.
        magnitude: mean of the operations' magnitudes, of 10.
        erase: share of the images of which a box is erased.
        std: (channels,), what pixels in [0, 1] were divided by.
    """

    crop: ResizedCrop
    magnitude: float
    erase: float
    std: Tensor

    def framed(self, images: Tensor) -> Tensor:
        """What an evaluation sees: see `ResizedCrop.framed`."""
        return self.crop.framed(images)

    def draw(self, generator: Generator, batch: int, size: int) -> Tensor:
        """What is random in one batch of one network.

        Args:
            generator: on the CPU, so that every device gets the same draws.
            batch: number of images.
            size: height and width of an image, pixels.

        Returns:
            (batch, 5 + 2 * 3 + 5), float64, on the CPU: of the crop, of each operation, of erasing.
        """

        def uniform(*shape: int) -> Tensor:
            return torch.rand(batch, *shape, generator=generator, dtype=torch.float64)

        parts = [self.crop.draw(generator, batch, size).double()]
        for _ in range(LAYERS):
            which = (uniform(1) * len(OPERATIONS)).floor()
            which = torch.where(uniform(1) < CHANCE, which, torch.full_like(which, -1))
            noise = torch.randn(batch, 1, generator=generator, dtype=torch.float64)
            magnitude = (self.magnitude + SPREAD * noise).clamp(0, STRONGEST)
            parts += [which, magnitude, 1 - 2 * (uniform(1) < 0.5).double()]
        parts.append(self._boxes(uniform))
        parts.append((uniform(1) * 2**52).floor())
        return torch.cat(parts, dim=1)

    def _boxes(self, uniform: Any) -> Tensor:
        """Top, left, height and width of what is erased, (batch, 4); the first try that fits."""
        size = self.crop.size
        area = size * size * (AREA[0] + (AREA[1] - AREA[0]) * uniform(TRIES))
        low, high = map(math.log, RATIO)
        ratio = (low + (high - low) * uniform(TRIES)).exp()
        sides = torch.stack([(area * ratio).sqrt().round(), (area / ratio).sqrt().round()], -1)
        fits = (sides < size).all(-1)
        sides = sides[torch.arange(len(sides)), fits.to(torch.int8).argmax(1)]
        corners = (uniform(2) * (size - sides + 1)).floor()
        chosen = (uniform(1) < self.erase) & fits.any(1, keepdim=True)
        return torch.where(chosen, torch.cat([corners, sides], 1), torch.zeros(len(sides), 4))

    def apply(self, images: Tensor, draws: Tensor, black: Tensor) -> Tensor:
        """Each image transformed as drawn for it.

        Args:
            images: (networks, batch, channels, size, size), normalised; 1 or 3 channels.
            draws: (networks, batch, ...), from `draw`, on the CPU.
            black: (channels,), a normalised black pixel.

        Returns:
            (networks, batch, channels, `crop.size`, `crop.size`).
        """
        cropped = self.crop.apply(images, draws[..., :CROPPED].long(), black)
        std, each = self.std[:, None, None], draws.flatten(0, 1)
        levels = ((cropped - black[:, None, None]) * std * 255).round().clamp(0, 255).flatten(0, 1)
        for layer in range(LAYERS):
            which, magnitude, sign = each[:, CROPPED + PER_LAYER * layer :][:, :PER_LAYER].unbind(1)
            for place in (which >= 0).nonzero()[:, 0].tolist():
                one = levels[place : place + 1]
                levels[place] = operate(
                    one, int(which[place]), float(magnitude[place]), float(sign[place])
                )[0]
        found = levels / 255 / std + black[:, None, None]
        erased = each[:, CROPPED + PER_LAYER * LAYERS :]
        for place in (erased[:, 2] > 0).nonzero()[:, 0].tolist():
            top, left, height, width, seed = map(int, erased[place].tolist())
            noise = torch.randn(
                found.shape[1], height, width, generator=torch.Generator().manual_seed(seed)
            )
            found[place, :, top : top + height, left : left + width] = noise.to(found)
        return found.unflatten(0, images.shape[:2])


OPERATIONS = (
    "auto_contrast",
    "equalize",
    "invert",
    "rotate",
    "posterize",
    "solarize",
    "solarize_add",
    "colour",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)


def strength(name: str, magnitude: float, sign: float, size: int) -> float:
    """What an operation of `randaugment` is given: degrees, bits, levels, factors, slopes, pixels.

    Args:
        name: one of `OPERATIONS`.
        magnitude: from 0 to 10; every operation is stronger with it.
        sign: -1 or 1, of factors; that of angles, slopes and pixels is given apart.
        size: height and width of an image, pixels.
    """
    share = magnitude / STRONGEST
    return {
        "rotate": 30 * share,
        "posterize": 4 - int(4 * share),
        "solarize": 256 - min(256, int(256 * share)),
        "solarize_add": min(128, int(110 * share)),
        "shear_x": 0.3 * share,
        "shear_y": 0.3 * share,
        "translate_x": 0.45 * share * size,
        "translate_y": 0.45 * share * size,
    }.get(name, max(0.1, 1 + 0.9 * share * sign))


def operate(images: Tensor, which: int, magnitude: float, sign: float) -> Tensor:
    """One operation on some images of whole levels, (images, channels, size, size)."""
    name = OPERATIONS[which]
    given = strength(name, magnitude, sign, images.shape[-1])
    if name == "posterize" and given < 1:
        return torch.zeros_like(images)  # no bit is left
    signs = torch.full((len(images),), sign, device=images.device, dtype=images.dtype)
    return randaugment._FUNCTIONS[name](images, given, signs, torch.zeros(len(images), 2))


def build(settings: Mapping[str, Any], data: Images) -> Swin:
    """The augmentation of `{size, resize, magnitude, erase}`, under the name `swin`.

    Raises:
        ValueError: a setting is out of its range.
    """
    size, resize = settings["size"], settings["resize"]
    if not 0 < size <= resize:
        raise ValueError(f"swin: size must be from 1 to resize {resize}, got {size}")
    if not 0 <= settings["magnitude"] <= STRONGEST or not 0 <= settings["erase"] <= 1:
        raise ValueError(
            f"swin: magnitude must be from 0 to {STRONGEST} and erase from 0 to 1, got"
            f" {settings['magnitude']} and {settings['erase']}"
        )
    return Swin(
        ResizedCrop(size, resize, "bicubic"), settings["magnitude"], settings["erase"], data.std
    )
