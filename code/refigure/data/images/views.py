"""SimCLR's augmentation of whole batches on the device: crop, flip, colour, grey, blur."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from refigure.data.images.boxes import draw_boxes

if TYPE_CHECKING:
    from refigure.data.images.images import Images

GREY = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a pixel: ITU-R 601-2, as in torchvision."""

CROP, FLIP, JITTER = slice(0, 4), 4, 5
ORDER, FACTORS, TO_GREY, SIGMA = slice(6, 10), slice(10, 14), 14, 15
COLUMNS = 16
"""Columns of a draw: top, left, height and width of the crop; whether to flip, to jitter; the order
of brightness, contrast, saturation and hue; their factors; whether to make grey; sigma of blur."""


@dataclass(frozen=True)
class Views:
    """A random resized crop, flip, colour jitter in a random order, grey, and blur.

    Args:
        low_area: least share of the image that a crop covers.
        jitter: strength of the jitter: brightness, contrast and saturation are multiplied by up to
            1 +- jitter, the hue turns by up to +- jitter / 4.
        jittered: share of the images that are jittered at all.
        flip: flip every second image on average.
        grey: share of the images made grey.
        blur: least and largest sigma of the blur, pixels; its kernel has three taps.
        clamp: keep jittered values in [0, 1], as images have them; data with noise beyond that
            range are left as they are.

    Images of one channel have no saturation, hue or grey.

    Source: Chen et al. 2020, arXiv:2002.05709, appendix A; contrastive-memorization, section 3.
    """

    low_area: float
    jitter: float
    jittered: float
    flip: bool
    grey: float
    blur: tuple[float, float]
    clamp: bool

    def draw(self, generator: Generator, batch: int, size: int) -> Tensor:
        """What is random in one batch of one network.

        Args:
            generator: on the CPU, so that every device gets the same draws.
            batch: number of images.
            size: height and width of an image, pixels.

        Returns:
            (batch, 16), float64, on the CPU: see `COLUMNS`. Those of several networks are stacked.
        """

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            drawn = torch.rand(batch, *shape, generator=generator, dtype=torch.float64)
            return low + (high - low) * drawn

        draws = torch.empty(batch, COLUMNS, dtype=torch.float64)
        draws[:, CROP] = draw_boxes(uniform, size, self.low_area)
        draws[:, FLIP] = uniform(0, 1) < 0.5 * self.flip
        draws[:, JITTER] = uniform(0, 1) < self.jittered
        draws[:, ORDER] = uniform(0, 1, 4).argsort(1).double()
        draws[:, FACTORS] = uniform(max(0, 1 - self.jitter), 1 + self.jitter, 4)
        draws[:, FACTORS.stop - 1] = uniform(-self.jitter / 4, self.jitter / 4)
        draws[:, TO_GREY] = uniform(0, 1) < self.grey
        draws[:, SIGMA] = uniform(*self.blur)
        return draws

    def apply(self, images: Tensor, draws: Tensor, black: Tensor) -> Tensor:
        """Each image augmented as drawn for it.

        Args:
            images: (networks, batch, channels, size, size), in [0, 1].
            draws: (networks, batch, 16), from `draw`, on any device.
            black: (channels,), a black pixel; must be 0, since colours of standardised images mean
                nothing.

        Returns:
            As `images`.

        Raises:
            ValueError: the images are standardised.
        """
        if bool(black.any()):
            raise ValueError(
                f"views are of images in [0, 1], got images whose black is {black.tolist()}:"
                " the recipe needs mean 0 and std 1"
            )
        flat, drawn = images.flatten(0, 1), draws.to(images.device).flatten(0, 1)
        flat = crop(flat, drawn[:, CROP].long(), drawn[:, FLIP] == 1)
        chosen = drawn[:, JITTER] == 1
        if bool(chosen.any()):
            order, factors = drawn[chosen][:, ORDER].long(), drawn[chosen][:, FACTORS]
            jittered = jitter(flat[chosen], order, factors.to(flat.dtype), self.clamp)
            flat = flat.index_put((chosen.nonzero()[:, 0],), jittered)
        if flat.shape[1] == 3:
            flat = torch.where((drawn[:, TO_GREY] == 1)[:, None, None, None], grey(flat), flat)
        return blur(flat, drawn[:, SIGMA].to(flat.dtype)).view_as(images)


def crop(images: Tensor, boxes: Tensor, flip: Tensor) -> Tensor:
    """Each image's box resized to the image's own size, then perhaps flipped.

    Bilinear, by two products with a matrix of weights an image.

    Args:
        images: (images, channels, size, size).
        boxes: top, left, height, width, (images, 4), int64, pixels.
        flip: (images,), bool; left and right change places.
    """
    size = images.shape[-1]
    top, left, height, width = boxes.unbind(1)
    rows = _weights(top, height, size, images.dtype)
    columns = _weights(left, width, size, images.dtype)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ images @ columns[:, None].mT


def _weights(first: Tensor, length: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """What each pixel of a line takes of the line's pixels, (images, size, size).

    Args:
        first, length: of the part that is stretched to the whole line, (images,), pixels.
    """
    middle = torch.arange(size, device=first.device) + 0.5
    at = middle * length[:, None].to(dtype) / size - 0.5
    at = at.clamp(min=0).minimum((length[:, None] - 1).to(dtype))
    below = at.floor()
    share = (at - below)[..., None]
    below = below.long()
    above = (below + 1).minimum(length[:, None] - 1)
    eye = torch.eye(size, dtype=dtype, device=first.device)
    return (1 - share) * eye[below + first[:, None]] + share * eye[above + first[:, None]]


def grey(images: Tensor) -> Tensor:
    """The brightness of each pixel in every channel, of (images, 3, size, size)."""
    weights = torch.tensor(GREY, dtype=images.dtype, device=images.device)
    return torch.einsum("ichw,c->ihw", images, weights)[:, None].expand_as(images)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian blur of three taps, with the border mirrored.

    Args:
        images: (images, channels, size, size).
        sigma: (images,), pixels.
    """
    size = images.shape[-1]
    side = torch.exp(-0.5 / sigma**2)
    middle = 1 / (1 + 2 * side)
    side = side * middle
    eye = torch.eye(size, dtype=images.dtype, device=images.device)
    near = torch.zeros_like(eye)
    places = torch.arange(size, device=images.device)
    for step in (-1, 1):
        mirrored = (places + step).abs()
        mirrored = torch.where(mirrored == size, size - 2, mirrored)
        near = near + eye[mirrored]
    taps = middle[:, None, None] * eye + side[:, None, None] * near
    return taps[:, None] @ images @ taps[:, None].mT


def jitter(images: Tensor, order: Tensor, factors: Tensor, clamp: bool) -> Tensor:
    """Brightness, contrast, saturation and hue changed, in each image's own order.

    Args:
        images: (images, channels, size, size).
        order: (images, 4), the operation that comes first, second, ...: places in `factors`.
        factors: (images, 4), of brightness, contrast and saturation; of the hue its turn.
        clamp: keep values in [0, 1].
    """
    operations = [_brightness, _contrast]
    if images.shape[1] == 3:
        operations += [_saturation, _hue]
    for place in range(4):
        for number, operation in enumerate(operations):
            chosen = (order[:, place] == number).nonzero()[:, 0]
            if len(chosen):
                factor = factors[chosen, number][:, None, None, None]
                changed = operation(images[chosen], factor)
                if clamp and operation is not _hue:
                    changed = changed.clamp(0, 1)
                images = images.index_put((chosen,), changed)
    return images


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return factor * images


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    bright = grey(images) if images.shape[1] == 3 else images
    return factor * images + (1 - factor) * bright.mean((1, 2, 3), keepdim=True)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    return factor * images + (1 - factor) * grey(images)


def _hue(images: Tensor, turn: Tensor) -> Tensor:
    """The hue turned by a share of the circle; values and saturations stay.

    In hue, saturation, value: channel n is v - v s max(0, min(k, 4 - k, 1)) with k = (n + 6 h)
    mod 6 and n = 5, 3, 1 for red, green, blue.
    """
    value, low = images.amax(1), images.amin(1)
    spread = value - low
    red, green, blue = images.unbind(1)
    safe = torch.where(spread == 0, torch.ones_like(spread), spread)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turn[:, 0]
    channels = []
    for n in (5.0, 3.0, 1.0):
        k = (n + hue).remainder(6)
        channels.append(value - spread * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)


def build(settings: Mapping[str, Any], data: Images) -> Views:
    """The augmentation named `simclr`, of any images in [0, 1].

    Raises:
        ValueError: a setting is out of its range.
    """
    low_area, blurred = settings["low_area"], settings["blur"]
    if not 0 < low_area <= 1:
        raise ValueError(f"low_area of simclr must be in (0, 1], got {low_area}")
    if len(blurred) != 2 or not 0 < blurred[0] <= blurred[1]:
        raise ValueError(f"blur of simclr must be two positive sigmas in order, got {blurred}")
    return Views(
        low_area,
        settings["jitter"],
        settings["jittered"],
        settings["flip"],
        settings["grey"],
        (float(blurred[0]), float(blurred[1])),
        settings["clamp"],
    )
