"""Test images that others have corrupted: NumPy files, one a corruption (CIFAR-10-C, CIFAR-100-C).

A file holds the images of five severities one after another, (5 * images, height, width, channels)
in bytes; `labels.npy` their labels. Nothing can be trained on them: they have no training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refigure.data.images.images import load as load
from refigure.data.images.images import save as save
from refigure.data.images.recipes import Prepared
from refigure.data.sources import digest_of
from refigure.errors import UserError

SEVERITIES = 5


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> Path:
    """The folder of the files, its checksum compared; the images are read when they are prepared.

    Raises:
        UserError: there is no such folder, or it has another checksum.
    """
    source = given["source"]
    folder = Path(source["path"]).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of NumPy files")
    found = digest_of(folder)
    if found != source["sha256"]:
        raise UserError(f"{folder}: expected sha256 {source['sha256']}, found {found}")
    return folder


def prepare(folder: Path, recipe: Mapping[str, Any]) -> Prepared:
    """The test images of some corruptions at one severity, one corruption after another.

    Args:
        folder: of `<corruption>.npy` and `labels.npy`.
        recipe: `corruptions`, names of files; `severity`, 1 to 5; `test`, images kept of each, the
            first; `mean` and `std` of each channel, for pixels in [0, 1].

    Returns:
        No training image; classes are named by their numbers.

    Raises:
        UserError: a file is missing or of another shape, or there is no such severity.

    Source: Hendrycks and Dietterich 2019, arXiv:1903.12261; pretrain-basin, section 3.1.
    """
    severity, names = recipe["severity"], recipe["corruptions"]
    if not 1 <= severity <= SEVERITIES:
        raise UserError(f"{folder}: severity must be 1 to {SEVERITIES}, got {severity}")
    if not names:
        raise UserError(f"{folder}: corruptions is an empty list")
    labels = _array(folder / "labels.npy").astype(np.int64)
    each, left = divmod(len(labels), SEVERITIES)
    if labels.ndim != 1 or left:
        raise UserError(f"{folder / 'labels.npy'}: {labels.shape} are not five severities")
    kept = each if recipe.get("test") is None else recipe["test"]
    if not 1 <= kept <= each:
        raise UserError(f"{folder}: asks for {kept} images of a corruption, there are {each}")
    part = slice((severity - 1) * each, (severity - 1) * each + kept)
    images = []
    for name in names:
        found = _array(folder / f"{name}.npy")
        if found.ndim != 4 or len(found) != len(labels) or found.dtype != np.uint8:
            raise UserError(
                f"{folder / name}.npy: expected ({len(labels)}, height, width, channels) bytes, "
                f"found {found.shape} of {found.dtype}"
            )
        images.append(np.ascontiguousarray(found[part].transpose(0, 3, 1, 2)))
    test = np.concatenate(images)
    mean, std = (np.array(recipe[key], np.float32) for key in ("mean", "std"))
    if not len(mean) == len(std) == test.shape[1]:
        raise UserError(f"{folder}: mean and std have not the images' {test.shape[1]} channels")
    none = np.zeros(0, np.int64)
    return Prepared(
        train_images=test[:0],
        train_labels=none,
        test_images=test,
        test_labels=np.tile(labels[part], len(names)),
        mean=mean,
        std=std,
        train_corrupted=none.astype(bool),
        classes=[str(number) for number in range(int(labels.max()) + 1)],
    )


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable: {' '.join(str(error).split())}") from None
