"""Which objects networks get right, and whether they agree on which: curves, spreads, tests.

Correctness is an array of networks, steps, views and objects. `p` of an object is the share of
networks (and views) that get it right at a step: how easy the object is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.floating]


def matched(reference: Array, other: Array) -> NDArray[np.integer]:
    """For each step of a method, the step of another with the nearest mean p.

    Args:
        reference: mean p of the first method, (steps,).
        other: of the second, (other steps,).

    Returns:
        Places in `other`, (steps,); the first where several are as near.

    Source: contrastive-memorization, section 6, point 3.
    """
    return np.abs(np.asarray(other)[None, :] - np.asarray(reference)[:, None]).argmin(1)


def first_step(mean: Array, least: float) -> int | None:
    """The first step whose mean p is at least a value; None where none is."""
    reached = np.nonzero(np.asarray(mean) >= least)[0]
    return int(reached[0]) if len(reached) else None


def chi_square(counts: NDArray[np.integer], networks: int) -> float:
    """Pearson's statistic of the histogram of counts against the binomial, no cell pooled.

    Cells that the binomial hardly ever fills make it huge and unstable: it is the authors' number,
    and no verdict rests on it (contrastive-memorization, trap 9).

    Args:
        counts: how many networks get each object right, (objects,).
        networks: of how many.
    """
    share = counts.mean() / networks
    expected = len(counts) * stats.binom.pmf(np.arange(networks + 1), networks, share)
    seen = np.bincount(counts, minlength=networks + 1)
    return float(((seen - expected) ** 2 / expected).sum())


def variance_test(counts: NDArray[np.integer], networks: int) -> tuple[float, float, float]:
    """Whether objects differ in how many networks get them right: the variance test.

    D = sum (count - networks p)^2 / (networks p (1 - p)) is chi-square with objects - 1 degrees of
    freedom where every object has the same chance p.

    Args:
        counts: how many networks get each object right, (objects,).
        networks: of how many.

    Returns:
        D, D / (objects - 1), which is 1 for objects that are alike, and the p-value; NaN where all
        objects are right, or all wrong.

    Source: contrastive-memorization, section 6, point 4.
    """
    share = counts.mean() / networks
    if share in (0, 1):
        return (float("nan"),) * 3
    statistic = float(((counts - networks * share) ** 2).sum() / (networks * share * (1 - share)))
    freedom = len(counts) - 1
    return statistic, statistic / freedom, float(stats.chi2.sf(statistic, freedom))


def distance_to_binomial(
    p: Array, networks: int, draws: int = 10, seed: int = 0
) -> tuple[float, float]:
    """How far a sorted curve lies from sorted binomial shares of the same mean.

    Args:
        p: of each object, (objects,).
        networks: of the binomial.
        draws: of binomial samples.
        seed: of the draws.

    Returns:
        The mean absolute distance, averaged over draws, and its standard deviation over them.

    Source: contrastive-memorization, section 6, point 4, the authors' MAE.
    """
    generator = np.random.default_rng(seed)
    samples = generator.binomial(networks, p.mean(), (draws, len(p))) / networks
    gaps = np.abs(np.sort(samples, axis=1) - np.sort(p)).mean(1)
    return float(gaps.mean()), float(gaps.std(ddof=1))


def curve_distance(first: Array, second: Array) -> float:
    """The mean absolute distance of two sorted curves of equally many objects."""
    return float(np.abs(np.sort(first) - np.sort(second)).mean())


def spreads(correct: NDArray[np.bool_], halvings: int = 20, seed: int = 0) -> tuple[float, float]:
    """The variance of p between objects, and between views of an object, free of sampling noise.

    Networks and views are split in halves: what varies alike in both halves is no noise of a finite
    number of networks. Both variances are over p (1 - p), so that methods and steps compare.

    Args:
        correct: (networks, views, objects), at one step.
        halvings: random splits, averaged.
        seed: of the splits.

    Returns:
        V_obj and V_aug; V_obj needs two networks, and V_aug two views as well: 0 with one view,
        since nothing varies; NaN where all is right or all wrong.

    Source: contrastive-memorization, section 6, point 5.
    """
    networks, views, _ = correct.shape
    share = correct.mean()
    if share in (0, 1) or networks < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    between, within = [], []
    for _ in range(halvings):
        order = generator.permutation(networks)
        first, second = (correct[half].mean(0) for half in np.array_split(order, 2))
        half = generator.permutation(views)
        one, other = half[: max(views // 2, 1)], half[views // 2 :]
        between.append(np.cov(first[one].mean(0), second[other].mean(0))[0, 1])
        if views > 1:
            products = (first - first.mean(0)) * (second - second.mean(0))
            within.append(products.sum(0).mean() / (views - 1))
    scale = share * (1 - share)
    return float(np.mean(between) / scale), float(np.mean(within) / scale) if within else 0.0


def class_means(p: Array, labels: Sequence[int]) -> Array:
    """The mean p of each class's objects, (classes,); NaN of a class without any."""
    labels = np.asarray(labels)
    classes = int(labels.max()) + 1
    sums = np.bincount(labels, p, minlength=classes)
    counts = np.bincount(labels, minlength=classes)
    return np.divide(sums, counts, out=np.full(classes, np.nan), where=counts > 0)
