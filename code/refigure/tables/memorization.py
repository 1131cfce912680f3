"""Which objects networks get right, and whether they agree on which: curves, spreads, tests.

Correctness is an array of networks, steps, views and objects. `p` of an object is the share of
networks (and views) that get it right at a step: how easy the object is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from refigure.data.images.estimation import labels_of
from refigure.tables.histories import Recorded, frame_of

if TYPE_CHECKING:
    from refigure.data.images.images import Images

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


def spreads(
    correct: NDArray[np.bool_], halvings: int = 20, seed: int = 0, resampled: bool = False
) -> tuple[float, float]:
    """The variance of p between objects, and between views of an object, free of sampling noise.

    Networks and views are split in halves: what varies alike in both halves is no noise of a finite
    number of networks. Both variances are over p (1 - p), so that methods and steps compare.

    Args:
        correct: (networks, views, objects), at one step.
        halvings: random splits, averaged.
        seed: of the splits.
        resampled: draw the networks of each half from it with replacement, for a bootstrap. One
            halving then: the mean over several would be one of independent resamples, which
            spreads less than a single one.

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
        halves = np.array_split(order, 2)
        if resampled:
            halves = [generator.choice(half, len(half)) for half in halves]
        first, second = (correct[half].mean(0) for half in halves)
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


# ------------------------------------------------------------------ recorded bits

METHODS = ("simclr", "supervised", "random_labels", "random_labels_augmented")
"""The experiments that the tables compare, and so the methods' names."""
LITERAL = "_thesis_literal"
"""What the name of an experiment ends with whose rate is the thesis's to the letter."""
QUANTILES = (0.25, 0.5, 0.75)
"""Means of p whose first steps are compared: contrastive-memorization, section 2."""


@dataclass(frozen=True)
class Bits:
    """What the networks of each method got right, of one set of objects.

    Args:
        epochs: method -> (steps,).
        right: method -> (networks, steps, views, objects), bool.
    """

    epochs: Mapping[str, Array]
    right: Mapping[str, NDArray[np.bool_]]

    def p(self, method: str, step: int | slice = slice(None), one: bool = False) -> Array:
        """p of each object: (objects,) at a step, (steps, objects) of all.

        Args:
            one: under the first view alone.
        """
        right = self.right[method][:, step]
        return (right[..., 0, :] if one else right.mean(-2)).mean(0)


def bits(recorded: Recorded, objects: int) -> Bits:
    """The recorded bits of each method, of its networks that were recorded to the end.

    Args:
        recorded: an array of `training.recorders.correct`.
        objects: how many bits count.

    Raises:
        ValueError: the bytes are not those of so many objects.
    """
    epochs, right = {}, {}
    names = recorded.axes.get("experiment", pd.Series(dtype=object))
    for method in METHODS:
        rows = [row for row, name in enumerate(names) if str(name).removesuffix(LITERAL) == method]
        longest = max((len(recorded.epochs[row]) for row in rows), default=0)
        rows = [row for row in rows if len(recorded.epochs[row]) == longest]
        if not rows or not longest:
            continue
        packed = np.stack([recorded.values[row] for row in rows])  # noqa: PD011
        if packed.shape[-1] != -(-objects // 8):
            raise ValueError(
                f"{method}: {packed.shape[-1]} bytes a view are not the bits of {objects} objects:"
                " the option `objects` of the table must be that of the recorder"
            )
        epochs[method] = np.asarray(recorded.epochs[rows[0]], dtype=float)
        right[method] = np.unpackbits(packed, axis=-1, count=objects).astype(bool)
    return Bits(epochs, right)


def _count(data: Images | None, objects: int, which: str = "train") -> int:
    labels = data.train_labels if which == "train" else data.test_labels
    return min(len(labels), objects)


def _read(recorded: Recorded, data: Images | None, objects: int, which: str = "train") -> Bits:
    return Bits({}, {}) if data is None else bits(recorded, _count(data, objects, which))


# ------------------------------------------------------------------ tables

OBJECTS = {
    "method": str,
    "epoch": float,
    "object": "int64",
    "label": "int64",
    "permuted": "int64",
    "p": float,
    "p_one": float,
    "p_second": float,
    "p_second_one": float,
}
STEPS = {
    "method": str,
    "epoch": float,
    "networks": "int64",
    "views": "int64",
    "objects": "int64",
    "mean": float,
    "mean_one": float,
    "mean_second": float,
    "mean_held_out": float,
    "mean_redrawn": float,
    "gap": float,
    "gap_se": float,
    "moved": float,
    "v_obj": float,
    "v_aug": float,
}
POINTS = {
    "method": str,
    "measure": str,
    "q": float,
    "epoch": float,
    "mean": float,
    "networks": "int64",
    "views": "int64",
    "objects": "int64",
    "chi_square": float,
    "variance_ratio": float,
    "p_value": float,
    "mae": float,
    "mae_sd": float,
    "v_obj": float,
    "v_aug": float,
}
RESAMPLES = {
    "method": str,
    "measure": str,
    "q": float,
    "networks": "int64",
    "resample": "int64",
    "mae": float,
    "v_obj": float,
    "v_aug": float,
    "class_range": float,
    "easiest": str,
    "hardest": str,
}
VIEWS = {
    "method": str,
    "q": float,
    "epoch": float,
    "object": "int64",
    "view": "int64",
    "p": float,
}
MATCHED = {
    "method": str,
    "place": "int64",
    "epoch": float,
    "matched_epoch": float,
    "mean": float,
    "matched_mean": float,
    "networks": "int64",
    "resample": "int64",
    "distance": float,
}
PAIRS = {
    "epoch": float,
    "networks": "int64",
    "views": "int64",
    "resample": "int64",
    "averaged": float,
    "one": float,
}
CLASSES = {
    "method": str,
    "epoch": float,
    "label": "int64",
    "name": str,
    "objects": "int64",
    "mean": float,
}
CORRELATIONS = {
    "method": str,
    "other": str,
    "epoch": float,
    "other_epoch": float,
    "networks": "int64",
    "correlation": float,
    "se": float,
}
HELD_OUT = {
    "method": str,
    "q": float,
    "epoch": float,
    "set": str,
    "rank": "int64",
    "p": float,
}
PROBES = {
    "method": str,
    "seed": "int64",
    "features": "int64",
    "train_accuracy": float,
    "test_accuracy": float,
    "objects": "int64",
}
DIVERGENCES = {
    "method": str,
    "seed": "int64",
    "row": "int64",
    "column": "int64",
    "row_name": str,
    "column_name": str,
    "divergence": float,
}
NEIGHBOURS = {
    "method": str,
    "seed": "int64",
    "object": "int64",
    "label": "int64",
    "name": str,
    "x": float,
    "y": float,
}
PATCHES = {
    "method": str,
    "seed": "int64",
    "stage": "int64",
    "place": "int64",
    "channel": "int64",
    "side": "int64",
    "depth": "int64",
    "activation": float,
    "pixels": object,
}


def probes(linear: pd.DataFrame) -> pd.DataFrame:
    """Columns `PROBES`, of `measures.representations.linear`."""
    return _columns(linear, PROBES)


def divergences(kl: pd.DataFrame) -> pd.DataFrame:
    """Columns `DIVERGENCES`, of `measures.representations.divergences`."""
    return _columns(kl, DIVERGENCES)


def neighbours(tsne: pd.DataFrame) -> pd.DataFrame:
    """Columns `NEIGHBOURS`, of `measures.representations.neighbours`."""
    return _columns(tsne, NEIGHBOURS)


def patches(patches: pd.DataFrame) -> pd.DataFrame:
    """Columns `PATCHES`, of `measures.representations.patches`."""
    return _columns(patches, PATCHES)


def objects(
    runs: pd.DataFrame,
    correct: Recorded,
    second: Recorded,
    data: Images | None,
    permuted: Images | None,
    objects: int,
) -> pd.DataFrame:
    """p of every object at every step.

    Args:
        runs: not read: the arrays are theirs.
        correct, second: recorded bits of the first views and of the second ones of pairs.
        data, permuted: whose training labels are the true and the permuted ones; None: no rows.
        objects: how many were asked for.

    Returns:
        Columns `OBJECTS`; what a method without pairs has not is NaN.
    """
    first, other = _read(correct, data, objects), _read(second, data, objects)
    frames = []
    for method, epochs in first.epochs.items():
        p = first.p(method)
        steps, count = p.shape
        columns = {
            "method": method,
            "epoch": epochs.repeat(count),
            "object": np.tile(np.arange(count), steps),
            "label": np.tile(labels_of(data, objects).numpy(), steps),
            "permuted": np.tile(labels_of(permuted, objects).numpy(), steps)
            if permuted is not None
            else -1,
            "p": p.ravel(),
            "p_one": first.p(method, one=True).ravel(),
        }
        for name, one in (("p_second", False), ("p_second_one", True)):
            there = method in other.right
            columns[name] = other.p(method, one=one).ravel() if there else np.nan
        frames.append(pd.DataFrame(columns))
    return _joined(frames, OBJECTS)


def steps(
    runs: pd.DataFrame,
    correct: Recorded,
    second: Recorded,
    held_out: Recorded,
    redrawn: Recorded,
    data: Images | None,
    objects: int,
    of_test: int,
    halvings: int = 20,
) -> pd.DataFrame:
    """Means and noise-free spreads at every step.

    Args:
        runs: not read: the arrays are theirs.
        correct, second, held_out, redrawn: recorded bits.
        data: whose objects they are; None: no rows.
        objects, of_test: how many were asked for, of training and of test objects.
        halvings: random splits of networks and views.

    Returns:
        Columns `STEPS`.
    """
    first = _read(correct, data, objects)
    others = {
        "mean_second": _read(second, data, objects),
        "mean_held_out": _read(held_out, data, of_test, "test"),
        "mean_redrawn": _read(redrawn, data, objects),
    }
    rows = []
    for method, epochs in first.epochs.items():
        right = first.right[method]
        networks, _, views, count = right.shape
        for step, epoch in enumerate(epochs):
            now = right[:, step]
            row = {
                "method": method,
                "epoch": epoch,
                "networks": networks,
                "views": views,
                "objects": count,
                "mean": now.mean(),
                "mean_one": now[:, 0].mean(),
            }
            for name, known in others.items():
                there = method in known.right
                row[name] = known.right[method][:, step].mean() if there else np.nan
            row |= dict.fromkeys(("gap", "gap_se", "moved"), np.nan)
            if method in others["mean_held_out"].right:
                apart = now.mean((1, 2)) - others["mean_held_out"].right[method][:, step].mean(
                    (1, 2)
                )
                row["gap"] = apart.mean()
                if networks > 1:
                    row["gap_se"] = apart.std(ddof=1) / networks**0.5
            if method in others["mean_redrawn"].right:
                again = others["mean_redrawn"].p(method, step)
                row["moved"] = np.abs(first.p(method, step) - again).mean()
            row["v_obj"], row["v_aug"] = spreads(now, halvings)
            rows.append(row)
    return frame_of(rows, STEPS)


def points(
    runs: pd.DataFrame, correct: Recorded, data: Images | None, objects: int
) -> pd.DataFrame:
    """Each method at the first steps whose mean p reaches a quarter, a half and three quarters.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects they are; None: no rows.
        objects: how many were asked for.

    Returns:
        Columns `POINTS`; a mean that no step reaches has no row. `measure` is "views", p over all
        views, or "one", over the first view alone, of which counts are binomial where all objects
        are alike: chi_square, variance_ratio and p_value are of it alone.

    Source: contrastive-memorization, sections 2 and 6.
    """
    first = _read(correct, data, objects)
    rows = []
    for method, measure, q, step in _reached(first):
        right = first.right[method][:, step]
        networks, views, count = right.shape
        one = measure == "one"
        p = first.p(method, step, one)
        row = {"method": method, "measure": measure, "q": q, "epoch": first.epochs[method][step]}
        row |= {"mean": p.mean(), "networks": networks, "views": views, "objects": count}
        row |= dict.fromkeys(("chi_square", "variance_ratio", "p_value"), np.nan)
        if one:
            counts = right[:, 0].sum(0)
            row["chi_square"] = chi_square(counts, networks)
            _, row["variance_ratio"], row["p_value"] = variance_test(counts, networks)
        row["mae"], row["mae_sd"] = distance_to_binomial(p, networks)
        row["v_obj"], row["v_aug"] = spreads(right[:, :1] if one else right)
        rows.append(row)
    return frame_of(rows, POINTS)


def resamples(
    runs: pd.DataFrame,
    correct: Recorded,
    data: Images | None,
    objects: int,
    draws: int = 200,
) -> pd.DataFrame:
    """The spreads at the points of `points`, of all networks and of networks drawn from them.

    Of split halves networks are drawn within each half, so that none is in both.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects and labels they are; None: no rows.
        objects: how many were asked for.
        draws: resamples of the bootstrap.

    Returns:
        Columns `RESAMPLES`; resample 0 is of all networks.

    Source: contrastive-memorization, section 2: 200 resamples of networks give standard errors.
    """
    first = _read(correct, data, objects)
    rows = []
    labels = labels_of(data, objects).numpy() if data is not None else None
    for method, measure, q, step in _reached(first):
        right = first.right[method][:, step]
        right = right[:, :1] if measure == "one" else right
        networks = len(right)
        for number in range(draws + 1 if networks > 1 else 1):
            generator = np.random.default_rng([number, int(100 * q)])
            chosen = generator.integers(networks, size=networks) if number else np.arange(networks)
            p = right[chosen].mean((0, 1))
            row = {"method": method, "measure": measure, "q": q, "networks": networks}
            row |= {"resample": number, "mae": distance_to_binomial(p, networks)[0]}
            v_obj, v_aug = spreads(right, 1, number, resampled=True) if number else spreads(right)
            means = class_means(p, labels)
            row |= {"v_obj": v_obj, "v_aug": v_aug}
            row["class_range"] = np.nanmax(means) - np.nanmin(means)
            row["easiest"] = _named(data, int(np.nanargmax(means)))
            row["hardest"] = _named(data, int(np.nanargmin(means)))
            rows.append(row)
    return frame_of(rows, RESAMPLES)


def views(runs: pd.DataFrame, correct: Recorded, data: Images | None, objects: int) -> pd.DataFrame:
    """p of every view of every object at the points of `points` over all views.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects they are; None: no rows.
        objects: how many were asked for.

    Returns:
        Columns `VIEWS`.
    """
    first = _read(correct, data, objects)
    frames = []
    for method, measure, q, step in _reached(first):
        if measure == "one":
            continue
        p = first.right[method][:, step].mean(0)
        count, each = p.shape
        frames.append(
            pd.DataFrame(
                {
                    "method": method,
                    "q": q,
                    "epoch": first.epochs[method][step],
                    "object": np.tile(np.arange(each), count),
                    "view": np.arange(count).repeat(each),
                    "p": p.ravel(),
                }
            )
        )
    return _joined(frames, VIEWS)


def matched_curves(
    runs: pd.DataFrame,
    correct: Recorded,
    data: Images | None,
    objects: int,
    epochs: Sequence[float],
    draws: int = 200,
) -> pd.DataFrame:
    """How far the sorted curves of other methods lie from SimCLR's at steps of equal mean.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects they are; None: no rows.
        objects: how many were asked for.
        epochs: of SimCLR; the nearest that were recorded are taken.
        draws: resamples of the networks, each method's by itself; the steps stay.

    Returns:
        Columns `MATCHED`; resample 0 is of all networks.

    Source: contrastive-memorization, section 6, point 3, and claim C4.
    """
    first = _read(correct, data, objects)
    rows: list[dict[str, Any]] = []
    if METHODS[0] not in first.epochs:
        return frame_of(rows, MATCHED)
    own = first.epochs[METHODS[0]]
    means = {method: first.p(method).mean(1) for method in first.epochs}
    steps = list(dict.fromkeys(int(np.abs(own - epoch).argmin()) for epoch in epochs))
    for place, step in enumerate(steps):
        reference = first.right[METHODS[0]][:, step].mean(1)
        for method in [name for name in first.epochs if name != METHODS[0]]:
            there = int(matched(means[METHODS[0]][step : step + 1], means[method])[0])
            other = first.right[method][:, there].mean(1)
            fewest = min(len(reference), len(other))
            for number in range(draws + 1 if fewest > 1 else 1):
                # The same draw of SimCLR's networks for every other method.
                a, b = (
                    one[np.random.default_rng([number, salt]).integers(len(one), size=len(one))]
                    if number
                    else one
                    for one, salt in ((reference, 0), (other, 1 + METHODS.index(method)))
                )
                rows.append(
                    {
                        "method": method,
                        "place": place,
                        "epoch": own[step],
                        "matched_epoch": first.epochs[method][there],
                        "mean": means[METHODS[0]][step],
                        "matched_mean": means[method][there],
                        "networks": fewest,
                        "resample": number,
                        "distance": curve_distance(a.mean(0), b.mean(0)),
                    }
                )
    return frame_of(rows, MATCHED)


def pairs(
    runs: pd.DataFrame,
    correct: Recorded,
    second: Recorded,
    data: Images | None,
    objects: int,
    epochs: Sequence[float],
    draws: int = 200,
) -> pd.DataFrame:
    """How far p of the first views of SimCLR's pairs lies from p of the second ones.

    Args:
        runs: not read: the arrays are theirs.
        correct, second: recorded bits.
        data: whose objects they are; None: no rows.
        objects: how many were asked for.
        epochs: the nearest that were recorded are taken.
        draws: resamples of the networks.

    Returns:
        Columns `PAIRS`: mean absolute differences over all views, and of the first pair alone;
        resample 0 is of all networks.
    """
    first, other = _read(correct, data, objects), _read(second, data, objects)
    rows: list[dict[str, Any]] = []
    method = METHODS[0]
    if method not in first.epochs or method not in other.epochs:
        return frame_of(rows, PAIRS)
    own = first.epochs[method]
    for step in dict.fromkeys(int(np.abs(own - epoch).argmin()) for epoch in epochs):
        a, b = first.right[method][:, step], other.right[method][:, step]
        for number in range(draws + 1 if len(a) > 1 else 1):
            chosen = np.arange(len(a))
            if number:
                chosen = np.random.default_rng(number).integers(len(a), size=len(a))
            gap = a[chosen].mean(0) - b[chosen].mean(0)
            rows.append(
                {
                    "epoch": own[step],
                    "networks": len(a),
                    "views": a.shape[1],
                    "resample": number,
                    "averaged": np.abs(gap.mean(0)).mean(),
                    "one": np.abs(gap[0]).mean(),
                }
            )
    return frame_of(rows, PAIRS)


def classes(
    runs: pd.DataFrame, correct: Recorded, data: Images | None, objects: int
) -> pd.DataFrame:
    """Mean p of the objects of each true class at every step.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects and labels they are; None: no rows.
        objects: how many were asked for.

    Returns:
        Columns `CLASSES`.

    Source: contrastive-memorization, section 6, point 6.
    """
    first = _read(correct, data, objects)
    rows = []
    for method, epochs in first.epochs.items():
        labels = labels_of(data, objects).numpy()
        sizes = np.bincount(labels)
        for epoch, p in zip(epochs, first.p(method), strict=True):
            for label, mean in enumerate(class_means(p, labels)):
                rows.append((method, epoch, label, _named(data, label), sizes[label], mean))
    return frame_of(rows, CLASSES)


def correlations(
    runs: pd.DataFrame,
    correct: Recorded,
    data: Images | None,
    objects: int,
    q: float = 0.5,
    draws: int = 200,
) -> pd.DataFrame:
    """Spearman's correlation of p between methods, where the mean first reaches q.

    Args:
        runs: not read: the arrays are theirs.
        correct: recorded bits.
        data: whose objects they are; None: no rows.
        objects: how many were asked for.
        q: mean of p.
        draws: resamples of each method's networks, for the standard error; of the diagonal, splits.

    Returns:
        Columns `CORRELATIONS`; of a method with itself the correlation of two halves of its
        networks, which is what noise leaves of 1, and its standard deviation over splits.

    Source: contrastive-memorization, section 7, E1.
    """
    first = _read(correct, data, objects)
    at = {m: step for m, measure, one, step in _reached(first) if measure == "views" and one == q}
    right = {method: first.right[method][:, step].mean(1) for method, step in at.items()}
    rows = []
    for method, a in right.items():
        for other, b in right.items():
            found = []
            for number in range(draws):
                generator = np.random.default_rng(number)
                if method == other:
                    halves = np.array_split(generator.permutation(len(a)), 2)
                    x, y = (a[half].mean(0) if len(half) else None for half in halves)
                    if y is None:
                        break
                else:
                    # In the order of the methods, so that the matrix is symmetric.
                    x, y = (
                        one[
                            np.random.default_rng([number, METHODS.index(name)]).integers(
                                len(one), size=len(one)
                            )
                        ].mean(0)
                        for name, one in ((method, a), (other, b))
                    )
                found.append(stats.spearmanr(x, y).statistic)
            value = np.mean(found) if found else np.nan
            if method != other:
                value = stats.spearmanr(a.mean(0), b.mean(0)).statistic
            epochs = [first.epochs[name][at[name]] for name in (method, other)]
            fewest = min(len(a), len(b))
            se = np.std(found, ddof=1) if len(found) > 1 and fewest > 1 else np.nan
            rows.append((method, other, *epochs, fewest, value, se))
    return frame_of(rows, CORRELATIONS)


def held_out(
    runs: pd.DataFrame,
    correct: Recorded,
    held_out: Recorded,
    data: Images | None,
    objects: int,
    of_test: int,
) -> pd.DataFrame:
    """Sorted p of training and of held-out objects at the points of `points` over all views.

    Args:
        runs: not read: the arrays are theirs.
        correct, held_out: recorded bits.
        data: whose objects they are; None: no rows.
        objects, of_test: how many were asked for, of training and of test objects.

    Returns:
        Columns `HELD_OUT`; `set` is "train" or "test".

    Source: contrastive-memorization, section 7, E2.
    """
    first, other = _read(correct, data, objects), _read(held_out, data, of_test, "test")
    rows = []
    for method, measure, q, step in _reached(first):
        for name, known in (("train", first), ("test", other)):
            if measure == "one" or method not in known.right:
                continue
            epoch = first.epochs[method][step]
            for rank, p in enumerate(np.sort(known.p(method, step))):
                rows.append((method, q, epoch, name, rank, p))
    return frame_of(rows, HELD_OUT)


def _columns(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    return frame[list(columns)].astype(dict(columns)) if len(frame) else frame_of([], columns)


def _named(data: Images, label: int) -> str:
    return data.names[label] if label < len(data.names) else str(label)


def _reached(first: Bits) -> Iterator[tuple[str, str, float, int]]:
    """Method, measure, q and step, of each mean that is reached."""
    for method in first.epochs:
        for measure in ("views", "one"):
            mean = first.p(method, one=measure == "one").mean(1)
            for q in QUANTILES:
                step = first_step(mean, q)
                if step is not None:
                    yield method, measure, q, step


def _joined(frames: list[pd.DataFrame], columns: Mapping[str, Any]) -> pd.DataFrame:
    if not frames:
        return frame_of([], columns)
    return pd.concat(frames, ignore_index=True)[list(columns)].astype(dict(columns))
