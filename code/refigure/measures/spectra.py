"""What a network sees in an image: accuracy on bands of its spectrum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from refigure.data.images.images import Images
from refigure.measures.accuracy import train_errors
from refigure.measures.members import Group, Member

Ends = Mapping[str, float]
"""Name of a band -> the last distance in it as a share of the image's size; the bands follow one
another, the first holds the constant and ends at 0, the last ends at 1."""
Bands = Mapping[str, Sequence[int]]
"""Name of a band -> its smallest and largest distance."""

EXAMPLE = {
    "band": str,
    "quantity": str,
    "channel": "int64",
    "row": "int64",
    "column": "int64",
    "value": float,
}


def bands_of(size: int, ends: Ends) -> dict[str, tuple[int, int]]:
    """The smallest and largest distance of each band of images of a size.

    Raises:
        ValueError: a band is empty, or the last does not end with the last distance.
    """
    bands, first = {}, 0
    for band, end in ends.items():
        last = round(end * size)
        if last < first:
            raise ValueError(f"band '{band}' of {size} pixels is empty: it ends at {end:g}")
        bands[band], first = (first, last), last + 1
    if first != size + 1:
        raise ValueError(f"bands of {size} pixels must end at 1, got {dict(ends)}")
    return bands


def measure(group: Group, *, ends: Ends) -> list[dict[str, Any]]:
    """Test accuracy of every network on each band of the images alone, a row a network and band.

    Batch norm's moments are re-estimated over the training set for every stage, as those of an
    average must be; running ones lag where an epoch has few steps (three-regimes, section 11.3).

    Two ways to feed a band without constant part: `accuracy` on the exact split of the normalised
    image, whose bands sum to it; `accuracy_raw` on the band of the pixels in [0, 1], neither
    centred nor divided by their deviation, as the authors' code does for the ViT. The band with the
    constant part is normalised like an image in both.

    Args:
        group: any roles; the role is the row's `stage`.
        ends: see `Ends`.

    Returns:
        stage; band; first, its smallest distance; accuracy and accuracy_raw, percent, in eval mode,
        and running_accuracy, with the moments that the point was kept with; accuracy_raw is NaN
        where the data's pixels have no deviation.

    Source: where-large-lrs, section 6.5.
    """
    return [
        {"stage": role, "band": band, **found}
        for role, members in group.roles.items()
        for member in members
        for band, found in band_accuracies(member, ends).items()
    ]


@torch.no_grad()
def band_accuracies(member: Member, ends: Ends) -> dict[str, dict[str, float]]:
    """First distance and accuracies of one network by band: see `measure`."""
    fresh, _ = train_errors(member.task, member.parameters)
    scale = None if member.pixel_std is None else member.pixel_std[:, None, None]
    right: dict[str, np.ndarray] = {}
    images = 0
    for batch in member.task.evaluation("test", 1):
        images += batch.labels.shape[1]
        bands = bands_of(batch.images.shape[-1], ends)
        for band, part in split(batch.images, bands).items():
            raw = part * scale if scale is not None and bands[band][0] > 0 else part
            fed = ((part, fresh), (part, member.statistics), (raw, fresh))
            for place, (pixels, moments) in enumerate(fed):
                logits = member.model.forward(member.parameters, pixels, moments)
                _, error = member.task.scores(logits, batch.labels)
                count = float((1 - error.double()).sum())
                right.setdefault(band, np.zeros(3))[place] += count
    return {
        band: {
            "first": bands[band][0],
            "accuracy": 100 * found[0] / images,
            "running_accuracy": 100 * found[1] / images,
            "accuracy_raw": 100 * found[2] / images if scale is not None else np.nan,
        }
        for band, found in right.items()
    }


def distances(size: int) -> Tensor:
    """The L1 distance of each coefficient of a 2-D discrete Fourier transform from the constant.

    Returns:
        (size, size), int64, 0 to `size`, in the order of `torch.fft.fft2`.
    """
    along = (torch.fft.fftfreq(size) * size).round().long().abs()
    return along[:, None] + along[None, :]


def split(images: Tensor, bands: Bands) -> dict[str, Tensor]:
    """The parts of images whose frequencies lie in each band; they sum to the images.

    Args:
        images: (..., size, size).
        bands: name -> smallest and largest distance; together they hold each distance once.

    Raises:
        ValueError: a distance is in no band, or in several.
    """
    size = images.shape[-1]
    far = distances(size).to(images.device)
    masks = {band: (far >= low) & (far <= high) for band, (low, high) in bands.items()}
    if not (sum(mask.long() for mask in masks.values()) == 1).all():
        raise ValueError(f"bands must hold each distance of 0 to {size} once, got {dict(bands)}")
    spectrum = torch.fft.fft2(images)
    return {band: torch.fft.ifft2(spectrum * mask).real for band, mask in masks.items()}


def example(images: Images | None, ends: Ends, image: int) -> pd.DataFrame:
    """One test image, its bands, and the log amplitudes of its spectrum band by band.

    Args:
        images: normalised; None: no row.
        ends: see `Ends`.
        image: its number in the test set.

    Returns:
        Columns `EXAMPLE`, one row a pixel or coefficient. `quantity`: "pixels", of the band "image"
        normalised by channel to [0, 1] over the whole image, of the background by the same scale,
        of the others each to [0, 1] by itself; "log_amplitude", of the coefficients in the band,
        the sum over channels (channel 0), with the constant coefficient at (size/2, size/2).
    """
    if images is None:
        return pd.DataFrame(columns=list(EXAMPLE)).astype(EXAMPLE)
    picture = images.test_images[image].cpu().double()
    size = picture.shape[-1]
    bands = bands_of(size, ends)
    low, high = picture.amin((1, 2), keepdim=True), picture.amax((1, 2), keepdim=True)
    shown = {"image": (picture - low) / (high - low)}
    for band, part in split(picture, bands).items():
        own = (low, high)
        if bands[band][0] > 0:
            own = part.amin((1, 2), keepdim=True), part.amax((1, 2), keepdim=True)
        shown[band] = ((part - own[0]) / (own[1] - own[0])).clamp(0, 1)
    frames = [_long(values, band, "pixels") for band, values in shown.items()]
    amplitude = torch.fft.fft2(picture).abs().clamp(min=1e-12).log().sum(0)
    amplitude, far = (torch.fft.fftshift(values) for values in (amplitude, distances(size)))
    spectra = {"image": amplitude}
    for band, (nearest, farthest) in bands.items():
        inside = (far >= nearest) & (far <= farthest)
        spectra[band] = torch.where(inside, amplitude, torch.nan)
    frames += [_long(values[None], band, "log_amplitude") for band, values in spectra.items()]
    return pd.concat(frames, ignore_index=True).astype(EXAMPLE)


def _long(values: Tensor, band: str, quantity: str) -> pd.DataFrame:
    channels, height, width = values.shape
    channel, row, column = np.indices((channels, height, width)).reshape(3, -1)
    return pd.DataFrame(
        {
            "band": band,
            "quantity": quantity,
            "channel": channel,
            "row": row,
            "column": column,
            "value": values.flatten().numpy(),
        }
    ).dropna()
