"""Synthetic points of many two-dimensional features, each of which tells the class by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refigure.data.prepared import read as read_file
from refigure.data.prepared import write

HALF_WIDTH = 2.0
"""A feature lies in [-2, 2]^2."""


@dataclass(frozen=True)
class Ticks:
    """A data set on a device.

    Args:
        train_points: (points, 2 * features), float32; feature f is columns 2f and 2f + 1.
        train_labels: (points,), int64, 0 or 1.
        test_points, test_labels: likewise.
        single_points: (features, points, 2 * features): set f tells the class by feature f alone.
        single_labels: (features, points).
    """

    train_points: Tensor
    train_labels: Tensor
    test_points: Tensor
    test_labels: Tensor
    single_points: Tensor
    single_labels: Tensor

    @property
    def classes(self) -> int:
        """Number of classes."""
        return 2

    @property
    def inputs(self) -> int:
        """Numbers a point."""
        return self.train_points.shape[1]


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> None:
    """Nothing: the points are drawn."""


def prepare(raw: None, recipe: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of `Ticks`, drawn from the recipe's seeds; the same at every call.

    Args:
        raw: nothing.
        recipe: features; margin, between a boundary and the nearest points, perpendicular; train,
            test, single: points of each set; seed: of training and test points; single_seed: the
            set of feature f = 0, 1, ... is drawn from single_seed + f + 1.

    Source: where-large-lrs, section 3.4. The random generator is ours, so points differ from those
    of the authors' code; their distribution does not.
    """
    features, margin = recipe["features"], recipe["margin"]
    source = np.random.default_rng(recipe["seed"])
    arrays = {}
    for part in ("train", "test"):
        labels = source.integers(0, 2, recipe[part])
        points = [informative(labels, margin, source) for _ in range(features)]
        arrays[f"{part}_points"] = np.concatenate(points, axis=1).astype(np.float32)
        arrays[f"{part}_labels"] = labels
    singles = [
        _single(feature, recipe["single"], features, margin, recipe["single_seed"])
        for feature in range(features)
    ]
    points, labels = zip(*singles)
    arrays["single_points"], arrays["single_labels"] = np.stack(points), np.stack(labels)
    return arrays


def informative(labels: np.ndarray, margin: float, source: np.random.Generator) -> np.ndarray:
    """One feature of points of given classes: uniform where the class lies, (points, 2).

    With a = |x1| and m = sqrt(2) * margin, class 0 is the band a - 2 + m <= x2 <= a - m between two
    V-shaped boundaries, class 1 what is above it or below: x2 >= a + m or x2 <= a - 2 - m.

    Source: where-large-lrs, section 3.4.
    """
    m = 2**0.5 * margin
    found = np.empty((len(labels), 2))
    waiting = np.arange(len(labels))
    while len(waiting):
        drawn = source.uniform(-HALF_WIDTH, HALF_WIDTH, (len(waiting), 2))
        above = drawn[:, 1] - np.abs(drawn[:, 0])  # height over the upper boundary
        inside = (above >= m - 2) & (above <= -m)
        outside = (above >= m) | (above <= -2 - m)
        accepted = np.where(labels[waiting] == 0, inside, outside)
        found[waiting[accepted]] = drawn[accepted]
        waiting = waiting[~accepted]
    return found


def uninformative(count: int, source: np.random.Generator) -> np.ndarray:
    """One feature that tells nothing: points on one of the two boundaries, (points, 2).

    x1 is uniform, x2 = |x1| or |x1| - 2 with even odds.

    Source: where-large-lrs, section 3.4.
    """
    x1 = source.uniform(-HALF_WIDTH, HALF_WIDTH, count)
    return np.stack([x1, np.abs(x1) - 2 * source.integers(0, 2, count)], axis=1)


def _single(
    feature: int, count: int, features: int, margin: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed + feature + 1)
    labels = source.integers(0, 2, count)
    points = [
        informative(labels, margin, source) if other == feature else uninformative(count, source)
        for other in range(features)
    ]
    return np.concatenate(points, axis=1).astype(np.float32), labels


def save(prepared: Mapping[str, np.ndarray], path: Path, recipe: Mapping[str, Any]) -> None:
    """Write what `prepare` gave."""
    write(path, prepared, {"recipe": dict(recipe)})


def load(path: Path, device: torch.device | str) -> Ticks:
    """The data of a file that `save` wrote, on a device."""
    arrays, _ = read_file(path, device)
    return Ticks(**arrays)
