"""Prepared images in one file, and the same images on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from refigure.data.prepared import read, write

if TYPE_CHECKING:
    from refigure.data.images.recipes import Prepared

ARRAYS = (
    "train_images",
    "train_labels",
    "test_images",
    "test_labels",
    "mean",
    "std",
    "train_corrupted",
)


@dataclass(frozen=True)
class Images:
    """A data set on a device, normalised, or in bytes that are normalised a batch at a time.

    Args:
        train_images: (images, channels, size, size), float32; uint8 where the recipe keeps `bytes`.
        train_labels: (images,), int64.
        test_images: as `train_images`.
        test_labels: (images,), int64.
        train_corrupted: (images,), bool: the label was redrawn.
        classes: number of them.
        black: (channels,), float32: a black pixel, normalised.
        std: (channels,), float32: what pixels in [0, 1] were divided by.
        names: of the classes; empty where nobody said.
        mean: (channels,), float32: what was subtracted before; needed where images are in bytes.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    train_corrupted: Tensor
    classes: int
    black: Tensor
    std: Tensor
    names: tuple[str, ...] = ()
    mean: Tensor | None = None

    def normalised(self, images: Tensor) -> Tensor:
        """Some images of this set as networks take them, float32.

        Args:
            images: (..., channels, size, size), of `train_images` or `test_images`.
        """
        if images.dtype != torch.uint8:
            return images
        return _normalised(images, self.mean, self.std)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train_images.shape[1]

    @property
    def size(self) -> int:
        """Height and width of an image, pixels."""
        return self.train_images.shape[-1]


def save(prepared: Prepared, path: Path, recipe: Mapping[str, Any]) -> None:
    """Write prepared arrays, with the recipe and the classes' names as metadata."""
    arrays = {name: getattr(prepared, name) for name in ARRAYS}
    write(path, arrays, {"recipe": dict(recipe), "classes": prepared.classes})


def load(path: Path, device: torch.device | str) -> Images:
    """The images of a file that `save` wrote, normalised, on a device.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    tensors, about = read(path, device)
    mean, std = tensors["mean"], tensors["std"]
    if not about["recipe"].get("bytes"):
        for name in ("train_images", "test_images"):
            tensors[name] = _normalised(tensors[name], mean, std)
    return Images(
        train_images=tensors["train_images"],
        train_labels=tensors["train_labels"],
        test_images=tensors["test_images"],
        test_labels=tensors["test_labels"],
        train_corrupted=tensors["train_corrupted"],
        classes=len(about["classes"]),
        black=(torch.zeros_like(mean) - mean) / std,
        std=std,
        names=tuple(map(str, about["classes"])),
        mean=mean,
    )


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Float images as they are; uint8 ones as torchvision's ToTensor and Normalize give them."""
    if images.dtype != torch.uint8:
        return images
    return images.float().div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])
