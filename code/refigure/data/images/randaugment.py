"""RandAugment of whole batches on the device, then a random crop and flip."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.data.images.augment import Augmentation

if TYPE_CHECKING:
    from refigure.data.images.images import Images

STRONGEST = 30
"""Magnitudes are of 30."""

GREY = (125.0, 123.0, 114.0)
"""What a cut-out square is filled with."""


@dataclass(frozen=True)
class RandAugment:
    """Some operations drawn for each image, with replacement, then `Augmentation`.

    Each operation is as Pillow does it to an image of 8 bits: values are rounded to whole levels
    before, and again after each operation, where Pillow does.

    Args:
        crop: what follows the operations.
        operations: on each image.
        magnitude: of 30, of each operation: see `OPERATIONS`.
        std: (channels,), what the pixels in [0, 1] were divided by.

    Source: where-large-lrs, section 3.3; Cubuk et al. 2020, arXiv:1909.13719, in the variant of 16
    operations that names CutoutAbs and TranslateXabs.
    """

    crop: Augmentation
    operations: int
    magnitude: int
    std: Tensor

    def draw(self, generator: Generator, batch: int, size: int) -> Tensor:
        """What is random in one batch of one network.

        Args:
            generator: on the CPU, so that every device gets the same draws.
            batch: number of images.
            size: height and width of an image, pixels.

        Returns:
            (batch, 3 + 4 * operations), float32, on the CPU: of the crop; and for each operation
            its number, whether its sign flips, and the place of a cut-out as shares of the size.
        """
        parts = [self.crop.draw(generator, batch, size).float()]
        for _ in range(self.operations):
            which = torch.randint(len(OPERATIONS), (batch, 1), generator=generator)
            flipped = torch.randint(2, (batch, 1), generator=generator)
            place = torch.rand(batch, 2, generator=generator)
            parts += [which.float(), flipped.float(), place]
        return torch.cat(parts, dim=1)

    def apply(self, images: Tensor, draws: Tensor, black: Tensor) -> Tensor:
        """Each image transformed, cropped and flipped as drawn for it.

        Args:
            images: (networks, batch, channels, size, size), normalised; 1 or 3 channels.
            draws: (networks, batch, ...), from `draw`, on the CPU.
            black: (channels,), a normalised black pixel.

        Returns:
            As `images`.
        """
        std = self.std[:, None, None]
        levels = ((images - black[:, None, None]) * std * 255).round().clamp(0, 255).flatten(0, 1)
        each = draws.flatten(0, 1)
        for number in range(self.operations):
            first = 3 + 4 * number
            which, flipped, place = (
                each[:, first],
                each[:, first + 1],
                each[:, first + 2 : first + 4],
            )
            for operation, (name, low, high) in enumerate(OPERATIONS):
                (rows,) = (which == operation).nonzero(as_tuple=True)
                if len(rows):
                    strength = low + self.magnitude / STRONGEST * (high - low)
                    sign = 1 - 2 * flipped[rows]
                    chosen = rows.to(levels.device)
                    levels[chosen] = _FUNCTIONS[name](
                        levels[chosen], strength, sign.to(levels), place[rows].to(levels)
                    )
        images = (levels / 255 / std + black[:, None, None]).view_as(images)
        return self.crop.apply(images, draws[..., :3].long(), black)


OPERATIONS = (
    ("auto_contrast", 0, 1),
    ("equalize", 0, 1),
    ("invert", 0, 1),
    ("rotate", 0, 30),
    ("posterize", 0, 4),
    ("solarize", 0, 256),
    ("solarize_add", 0, 110),
    ("colour", 0.1, 1.9),
    ("contrast", 0.1, 1.9),
    ("brightness", 0.1, 1.9),
    ("sharpness", 0.1, 1.9),
    ("shear_x", 0.0, 0.3),
    ("shear_y", 0.0, 0.3),
    ("cutout", 0, 40),
    ("translate_x", 0, 100),
    ("translate_y", 0, 100),
)
"""Name, and what magnitudes 0 and 30 stand for: degrees, bits, levels, factors, slopes, pixels."""


def build(settings: Mapping[str, Any], data: Images) -> RandAugment:
    """The augmentation of `{padding, operations, magnitude}`, under the name `randaugment`."""
    return RandAugment(
        Augmentation(settings["padding"], flip=True),
        settings["operations"],
        settings["magnitude"],
        data.std,
    )


# Each takes images, (images, channels, size, size), whole numbers from 0 to 255; strength; sign,
# (images,), -1 or 1; place, (images, 2), in [0, 1). Each gives whole numbers again.


def _auto_contrast(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    # In float64, as Pillow: a product in float32 falls below whole numbers. Tensor by tensor: a
    # number by a tensor is its reciprocal times the number, one ulp off for 54 of the 255 spans.
    low, high = (of(x.double(), dim=(-2, -1), keepdim=True) for of in (torch.amin, torch.amax))
    span = (high - low).clamp(min=1)
    scale = torch.full_like(span, 255) / span
    stretched = (x * scale + -low * scale).trunc().clamp(0, 255)
    return torch.where(high > low, stretched.to(x), x)


def _equalize(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    levels = x.long().flatten(-2)
    counts = torch.zeros(*x.shape[:2], 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(-1, levels, torch.ones_like(levels))
    last = counts.gather(-1, levels.amax(-1, keepdim=True))
    step = (levels.shape[-1] - last) // 255
    below = counts.cumsum(-1) - counts
    table = (step // 2 + below) // step.clamp(min=1)
    even = table.gather(-1, levels).clamp(max=255).view_as(x)
    return torch.where(step[..., None] > 0, even.to(x), x)


def _invert(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return 255 - x


def _posterize(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    # at least one bit stays
    step = 2 ** (8 - max(int(strength), 1))
    return x - x % step


def _solarize(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return torch.where(x < strength, x, 255 - x)


def _solarize_add(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _solarize((x + strength).clamp(0, 255).trunc(), 128, sign, place)


def _grey(x: Tensor) -> Tensor:
    """The luma of an image, (images, 1, size, size)."""
    if x.shape[1] == 1:
        return x
    weights = torch.tensor([19595, 38470, 7471], device=x.device)
    total = (x.long() * weights[:, None, None]).sum(1, keepdim=True) + 0x8000
    return (total // 0x10000).to(x)


def _blend(other: Tensor, x: Tensor, factor: float) -> Tensor:
    """`other` where the factor is 0, `x` where it is 1."""
    return (other + factor * (x - other)).clamp(0, 255).trunc()


def _colour(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _blend(_grey(x), x, strength)


def _contrast(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    mean = (_grey(x).double().mean((-3, -2, -1), keepdim=True) + 0.5).trunc()
    return _blend(mean.to(x), x, strength)


def _brightness(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _blend(torch.zeros_like(x), x, strength)


def _sharpness(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    kernel = torch.ones(1, 1, 3, 3, device=x.device, dtype=x.dtype)
    kernel[..., 1, 1] = 5
    inner = F.conv2d(x.flatten(0, 1).unsqueeze(1), kernel)[:, 0].unflatten(0, x.shape[:2])
    smooth = x.clone()  # the border stays
    smooth[..., 1:-1, 1:-1] = (inner / 13 + 0.5).trunc()
    return _blend(smooth, x, strength)


def _affine(x: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """Pixel (column, row) from the nearest to (a, b, c; d, e, f) times it; black from outside."""
    size = x.shape[-1]
    centres = torch.arange(size, device=x.device, dtype=torch.float64) + 0.5
    across, down = centres[None, None, :], centres[None, :, None]
    a, b, c, d, e, f = (value.double().view(-1, 1, 1) for value in (a, b, c, d, e, f))
    columns, rows = a * across + b * down + c, d * across + e * down + f
    inside = (columns >= 0) & (columns < size) & (rows >= 0) & (rows < size)
    places = (rows.floor() * size + columns.floor()).long().clamp(0, size * size - 1)
    places = places.flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(-2).gather(-1, places).view_as(x) * inside[:, None]


def _rotate(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    angle = -sign.double() * math.radians(strength)
    cos, sin = angle.cos(), angle.sin()
    middle = x.shape[-1] / 2
    across = middle - cos * middle - sin * middle
    down = middle + sin * middle - cos * middle
    return _affine(x, cos, sin, across, -sin, cos, down)


def _moved(x: Tensor, **matrix: Tensor) -> Tensor:
    one, none = torch.ones(len(x), device=x.device), torch.zeros(len(x), device=x.device)
    same = {"a": one, "b": none, "c": none, "d": none, "e": one, "f": none}
    return _affine(x, **(same | matrix))


def _shear_x(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _moved(x, b=sign.double() * strength)


def _shear_y(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _moved(x, d=sign.double() * strength)


def _translate_x(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _moved(x, c=sign.double() * strength)


def _translate_y(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    return _moved(x, f=sign.double() * strength)


def _cutout(x: Tensor, strength: float, sign: Tensor, place: Tensor) -> Tensor:
    size = x.shape[-1]
    first = (place.double() * size - strength / 2).clamp(min=0).trunc()  # of column, of row
    last = (first + strength).clamp(max=size).trunc()  # which is filled too, as Pillow draws
    pixels = torch.arange(size, device=x.device)
    across, down = (
        (pixels >= a[:, None]) & (pixels <= b[:, None]) for a, b in zip(first.T, last.T)
    )
    filled = down[:, None, :, None] & across[:, None, None, :]
    grey = torch.tensor(GREY, device=x.device, dtype=x.dtype)
    if x.shape[1] == 1:
        grey = grey.mean(0, keepdim=True).round()
    return torch.where(filled, grey[:, None, None], x)


_FUNCTIONS: dict[str, Callable[[Tensor, float, Tensor, Tensor], Tensor]] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "colour": _colour,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "cutout": _cutout,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
}
