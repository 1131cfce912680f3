"""How alike networks are: by their weights, their answers and their features."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Values = Mapping[str, Tensor]


def distances(
    groups: Mapping[str, str], first: Values, second: Values, depth: int = 1
) -> dict[str, float]:
    """The distance of two networks relative to the norm of the first, by block and as a whole.

    Args:
        groups: of the model; the head is a block of its own and not in "all".
        first, second: parameters by name, each with a leading axis of one network.
        depth: how many parts of a parameter's name tell its block: 1 makes `stage2.block1.conv1`
            part of the block "stage2".

    Returns:
        Block -> ||w_second - w_first|| / ||w_first||, in float64; "all" is all but the head.

    Source: pretrain-basin, section 6.
    """
    squares: dict[str, list[float]] = {}
    for name, group in groups.items():
        if group == "fixed":
            continue
        a, b = first[name].double(), second[name].double()
        block = "head" if group == "head" else ".".join(name.split(".")[:depth])
        moved, own = float((b - a).square().sum()), float(a.square().sum())
        for key in {block, "all"} - ({"all"} if group == "head" else set()):
            sums = squares.setdefault(key, [0.0, 0.0])
            sums[0] += moved
            sums[1] += own
    return {
        block: (moved / own) ** 0.5 if own else float("nan")
        for block, (moved, own) in squares.items()
    }


def normalised_disagreement(
    first: NDArray[np.integer], second: NDArray[np.integer], labels: NDArray[np.integer]
) -> float:
    """The share of objects on which two networks differ, over their mean error.

    1 is what independent errors with answers spread over many classes come to; NaN where neither
    errs.

    Args:
        first, second: each network's class, (objects,).
        labels: (objects,).

    Source: Fort et al. 2019, arXiv:1912.02757; pretrain-basin, section 6.
    """
    error = float(np.mean([(first != labels).mean(), (second != labels).mean()]))
    return float((first != second).mean()) / error if error else float("nan")


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of two networks' features, 0 to 1.

    Args:
        first, second: features of the same objects, (objects, features) each; their numbers of
            features may differ.

    Raises:
        ValueError: the objects differ in number, or features of a network do not vary.

    Source: Kornblith et al. 2019, arXiv:1905.00414, equation 5 with a linear kernel.
    """
    if len(first) != len(second):
        raise ValueError(f"features of {len(first)} and {len(second)} objects cannot be aligned")
    x, y = (part.double() - part.double().mean(0) for part in (first, second))
    across = (x.T @ y).square().sum()
    own = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    if not float(own):
        raise ValueError("features that do not vary cannot be aligned")
    return float(across / own)


def gaussian_kl(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """KL(first || second) of the Gaussians fitted to two sets of features, nats.

    Means and unbiased covariances in float64, determinants by their logarithm, nothing added to the
    diagonal: covariances of collapsed classes are nearly singular.

    Args:
        first, second: (objects, features); more objects than features.

    Raises:
        ValueError: too few objects, or a covariance that is singular.

    Source: contrastive-memorization, section 6, point 7.
    """
    moments = []
    for features in (np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)):
        objects, size = features.shape
        if objects <= size:
            raise ValueError(f"a covariance of {size} features needs more than {objects} objects")
        covariance = np.cov(features, rowvar=False).reshape(size, size)
        sign, logarithm = np.linalg.slogdet(covariance)
        if sign <= 0:
            raise ValueError(f"the covariance of {size} features of {objects} objects is singular")
        moments.append((features.mean(0), covariance, logarithm))
    (mean, covariance, logarithm), (other_mean, other_covariance, other_logarithm) = moments
    gap = other_mean - mean
    solved = np.linalg.solve(other_covariance, np.column_stack([covariance, gap]))
    trace, distance = float(np.trace(solved[:, :-1])), float(gap @ solved[:, -1])
    return 0.5 * (trace + distance + float(other_logarithm - logarithm) - len(mean))
