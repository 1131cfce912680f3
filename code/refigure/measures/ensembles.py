"""Ensembles of every size from one pool of networks: likelihood, calibration, accuracy, diversity.

A pool's predictions are reduced once to the log-probability of each object's label at each of a
grid of temperatures. From that every ensemble whose members are tempered *before* they are averaged
follows by `logaddexp`, at every temperature and on every half of the objects, without another pass
over the classes. Tempering *after* averaging needs the mean probabilities of each ensemble.

Arrays: members, then objects, then classes; an `axis` of temperatures or of sets stands in front.
All likelihoods are negative log-likelihoods (NLL) in nats an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

Array = NDArray[np.floating]

FAILED = 0.15
"""Accuracy at or below which the papers leave a member out (power-laws, section 6.4)."""


def temperature_grid(low: float = 0.25, high: float = 8.0, count: int = 41) -> Array:
    """Temperatures equally spaced in their logarithm, (count,)."""
    return np.geomspace(low, high, count)


def halves(objects: int, repeats: int = 5, seed: int = 0) -> NDArray[np.bool_]:
    """The halves that cross-validation fits a temperature on, (2 * repeats, objects).

    Row 2r and row 2r + 1 are each other's complement: what one fits, the other scores. They are
    drawn once and shared by all ensembles: else the draw would move a curve by more than one more
    member does (power-laws, trap 3).
    """
    rows = []
    for repeat in range(repeats):
        order = np.random.default_rng((seed, repeat)).permutation(objects)
        fit = np.zeros(objects, dtype=bool)
        fit[order[: objects // 2]] = True
        rows += [fit, ~fit]
    return np.array(rows)


def label_log_probabilities(
    chunks: Iterable[NDArray], labels: NDArray[np.integer], temperatures: Array
) -> Array:
    """The log-probability of each object's label, by member, at each temperature.

    One pass over the classes a temperature; a chunk at a time is held as float32.

    Args:
        chunks: logits of some members each, (members, objects, classes), any float type.
        labels: (objects,).
        temperatures: (temperatures,), positive.

    Returns:
        (temperatures, members, objects), float32.

    Raises:
        ValueError: a temperature is not positive, or a logit is not finite.
    """
    if not (np.asarray(temperatures) > 0).all():
        raise ValueError(f"temperatures must be positive, got {float(np.min(temperatures))}")
    found: list[Array] = []
    index = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    for chunk in chunks:
        logits = torch.as_tensor(np.asarray(chunk)).float()
        if not bool(torch.isfinite(logits).all()):
            raise ValueError("logits must be finite, and a member has some that are not")
        # The label's own logit counts from the largest, so that nothing overflows.
        logits -= logits.amax(-1, keepdim=True)
        own = logits.gather(-1, index.expand(len(logits), -1)[..., None])[..., 0]
        rows = torch.empty(len(temperatures), *own.shape)
        for place, temperature in enumerate(temperatures.tolist()):
            rows[place] = own / temperature - (logits / temperature).exp_().sum(-1).log_()
        found.append(rows.numpy())
    return np.concatenate(found, axis=1)


def growing(log_probabilities: Array, order: Sequence[int]) -> Array:
    """Log-probabilities of the ensembles of the first 1, 2, ... members in an order.

    Args:
        log_probabilities: of the labels, (members, objects).
        order: members, in the order in which they join.

    Returns:
        (sizes, objects), float64.
    """
    joined = np.logaddexp.accumulate(log_probabilities[list(order)].astype(np.float64), axis=0)
    return joined - np.log(np.arange(1, len(order) + 1))[:, None]


def disjoint(log_probabilities: Array, size: int) -> Array:
    """Log-probabilities of ensembles of consecutive members that share none.

    Args:
        log_probabilities: of the labels, (members, objects).
        size: members of an ensemble.

    Returns:
        (ensembles, objects), float64; the members left over are in none.
    """
    count = len(log_probabilities) // size
    grouped = log_probabilities[: count * size].astype(np.float64)
    grouped = grouped.reshape(count, size, -1)
    return np.logaddexp.reduce(grouped, axis=1) - np.log(size)


class Likelihoods:
    """The NLL of some ensembles at every temperature, on all objects and on each half.

    Args:
        temperatures: (temperatures,), increasing.
        whole: (temperatures, ensembles), NLL on all objects.
        parts: (temperatures, ensembles, halves), NLL on the halves of `halves`.
    """

    def __init__(self, temperatures: Array, whole: Array, parts: Array):
        self.temperatures, self.whole, self.parts = temperatures, whole, parts

    @classmethod
    def of(
        cls,
        temperatures: Array,
        log_probabilities: Iterable[Array],
        fit_on: NDArray[np.bool_],
    ) -> Likelihoods:
        """From the label's log-probabilities of the ensembles, (ensembles, objects) a temperature.

        Args:
            temperatures: (temperatures,).
            log_probabilities: one array a temperature, in that order.
            fit_on: (halves, objects), of `halves`.
        """
        weights = fit_on / fit_on.sum(1, keepdims=True)
        whole, parts = [], []
        for rows in log_probabilities:
            whole.append(-rows.mean(1))
            parts.append(-rows @ weights.T)
        return cls(np.asarray(temperatures), np.array(whole), np.array(parts))

    def at(self, temperature: float) -> Array:
        """The NLL on all objects at one temperature of the grid, (ensembles,).

        Raises:
            ValueError: the grid has no such temperature.
        """
        [found] = np.nonzero(np.isclose(self.temperatures, temperature))
        if not len(found):
            raise ValueError(f"temperature {temperature} is not on the grid")
        return self.whole[found[0]]

    def best_temperature(self) -> Array:
        """The temperature with the lowest NLL on all objects, (ensembles,)."""
        return np.exp(_minima(np.log(self.temperatures), self.whole)[0])

    def lower_envelope(self) -> Array:
        """The lowest NLL over temperatures on all objects, (ensembles,)."""
        return _minima(np.log(self.temperatures), self.whole)[1]

    def calibrated(self) -> tuple[Array, Array]:
        """Calibrated NLL by cross-validation, and the temperatures fitted, (ensembles,) each.

        Each half fits a temperature that the other scores; the mean over all halves, and the
        geometric mean of their temperatures.

        Source: power-laws, section 6.2.
        """
        logs = np.log(self.temperatures)
        ensembles, count = self.parts.shape[1:]
        columns = self.parts.reshape(len(logs), -1)
        fitted, _ = _minima(logs, columns)
        partner = np.arange(columns.shape[1]) ^ 1  # rows 2r and 2r + 1 of `halves`
        scored = _at(CubicSpline(logs, columns[:, partner]), fitted)
        fitted, scored = fitted.reshape(ensembles, count), scored.reshape(ensembles, count)
        return scored.mean(1), np.exp(fitted.mean(1))


def _minima(logs: Array, curves: Array) -> tuple[Array, Array]:
    """Where the cubic splines through some curves are least near the grid's minimum, and how low.

    Args:
        logs: of the temperatures, (temperatures,).
        curves: (temperatures, curves).

    Returns:
        The logarithm of the temperature and the value, (curves,) each; at an end of the grid
        where the curve still falls there.
    """
    spline = CubicSpline(logs, curves)
    lowest = curves.argmin(0)
    place = logs[lowest]
    value = curves.min(0)
    column = np.arange(curves.shape[1])
    for interval in (np.maximum(lowest - 1, 0), np.minimum(lowest, len(logs) - 2)):
        # On an interval the spline is a cubic; its derivative 3 a t^2 + 2 b t + c is zero at
        # the minimum, which is the root where the derivative rises.
        a, b, c = (spline.c[power][interval, column] for power in range(3))
        inner = np.sqrt(np.maximum(b * b - 3 * a * c, 0))
        with np.errstate(divide="ignore", invalid="ignore"):
            # One of the two forms of the root loses no digits, by the sign of b.
            step = np.where(b > 0, -c / (b + inner), (inner - b) / (3 * a))
        step = np.where(np.isfinite(step), step, 0.0)
        step = np.clip(step, 0, np.diff(logs)[interval])
        at = logs[interval] + step
        found = _at(spline, at)
        better = found < value
        place, value = np.where(better, at, place), np.where(better, found, value)
    return place, value


def _at(spline: CubicSpline, places: Array) -> Array:
    """Each curve of a spline at a place of its own, (curves,)."""
    interval = np.clip(np.searchsorted(spline.x, places, side="right") - 1, 0, len(spline.x) - 2)
    step = places - spline.x[interval]
    column = np.arange(len(places))
    found = np.zeros(len(places))
    for power in range(4):
        found = found * step + spline.c[power][interval, column]
    return found


def calibrated_exactly(
    nll_at: Callable[[float, NDArray[np.bool_]], float], fit_on: NDArray[np.bool_]
) -> tuple[float, list[float]]:
    """Calibrated NLL with each temperature found exactly, for one ensemble at hand.

    Args:
        nll_at: (temperature, objects as booleans) -> mean NLL on those objects.
        fit_on: (halves, objects), of `halves`.

    Returns:
        The calibrated NLL, and the temperature that each half fits.
    """
    values, temperatures = [], []
    for place, fit in enumerate(fit_on):

        def objective(log_temperature: float, fit: NDArray[np.bool_] = fit) -> float:
            return nll_at(float(np.exp(log_temperature)), fit)

        bounds = (np.log(0.05), np.log(20.0))
        found = minimize_scalar(objective, bounds=bounds, method="bounded", options=_EXACT)
        temperatures.append(float(np.exp(found.x)))
        values.append(nll_at(temperatures[-1], fit_on[place ^ 1]))
    return float(np.mean(values)), temperatures


_EXACT = {"xatol": 1e-12, "maxiter": 500}


def softmax(logits: NDArray, temperature: float = 1.0) -> Array:
    """Probabilities at a temperature, over the last axis, float64."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(-1, keepdims=True)
    shares = np.exp(scaled)
    return shares / shares.sum(-1, keepdims=True)


def tempered_after(mean: Array, labels: NDArray[np.integer], temperatures: Array) -> list[Array]:
    """The label's log-probability where the *mean* probabilities are tempered.

    q(x)^(1 / temperature), renormalised: the practice before the paper's.

    Args:
        mean: of the members' probabilities, (ensembles, objects, classes).
        labels: (objects,).
        temperatures: (temperatures,).

    Returns:
        For each temperature (ensembles, objects).

    Source: power-laws, section 6.1, "after averaging".
    """
    # An average that underflows to 0 would be infinitely wrong: the least float64 stands for it.
    logs = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
    rows = []
    for temperature in np.asarray(temperatures).tolist():
        scaled = logs / temperature
        scaled -= scaled.max(-1, keepdims=True)
        own = np.take_along_axis(scaled, np.asarray(labels)[None, :, None], axis=-1)[..., 0]
        rows.append(own - np.log(np.exp(scaled).sum(-1)))
    return rows


def growing_means(
    chunks: Iterable[NDArray], sizes: Sequence[int], temperature: float = 1.0
) -> Iterator[tuple[int, Array]]:
    """The mean probabilities of the first n members, for each n of `sizes` in turn.

    Args:
        chunks: logits, (members, objects, classes) each, in the order in which members join.
        sizes: increasing; those above the number of members are left out.

    Yields:
        The size and (objects, classes).
    """
    wanted = iter(sizes)
    size = next(wanted, None)
    total, count = 0.0, 0
    for chunk in chunks:
        for logits in chunk:
            if size is None:
                return
            total = total + softmax(logits, temperature)
            count += 1
            if count == size:
                yield size, total / count
                size = next(wanted, None)


def accuracy(mean: Array, labels: NDArray[np.integer]) -> Array:
    """The share of objects whose most probable class is their label, over the axes in front."""
    return (mean.argmax(-1) == labels).mean(-1)


def working(chunks: Iterable[NDArray], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which members of a pool have an accuracy above `FAILED`, (members,).

    Source: power-laws, section 6.4 and trap 11: the share that failed is to be reported.
    """
    return np.concatenate([accuracy(np.asarray(chunk), labels) > FAILED for chunk in chunks])


def theory(log_probabilities: Array) -> tuple[float, float]:
    """c and b of the proposition NLL_n -> c + b / n, from a pool at one temperature.

    With mu and sigma^2 the mean and the unbiased variance over members of an object's probability
    of its label: b = mean sigma^2 / (2 mu^2) and c = mean(-log mu) - b / members, where the last
    term takes off the first-order bias of the plugged-in mean.

    Args:
        log_probabilities: of the labels, (members, objects); at least two members.

    Source: power-laws, section 6.5.
    """
    members = len(log_probabilities)
    logs = log_probabilities.astype(np.float64)
    largest = logs.max(0)  # probabilities in units of the largest: sigma / mu does not depend on it
    shares = np.exp(logs - largest)
    mean = shares.mean(0)
    b = float(np.mean(shares.var(0, ddof=1) / (2 * mean**2)))
    c = float(np.mean(-np.log(mean) - largest)) - b / members
    return c, b


def disagreement(answers: NDArray[np.integer]) -> float:
    """The share of objects on which two members differ, averaged over all pairs.

    Args:
        answers: each member's class, (members, objects); at least two members.
    """
    members, objects = answers.shape
    pairs = 0
    for one in np.unique(answers):
        alike = (answers == one).sum(0).astype(np.int64)
        pairs += int((alike * (alike - 1)).sum())
    return 1 - pairs / (objects * members * (members - 1))


def brier(mean: Array, labels: NDArray[np.integer]) -> float:
    """The mean squared distance of the probabilities from the label's indicator, 0 to 2.

    Args:
        mean: (objects, classes).
        labels: (objects,).
    """
    own = mean[np.arange(len(labels)), labels]
    return float(np.mean((mean**2).sum(-1) - 2 * own + 1))


def calibration_error(mean: Array, labels: NDArray[np.integer], bins: int = 15) -> float:
    """Expected calibration error: |accuracy - confidence| averaged over bins of confidence.

    Args:
        mean: (objects, classes).
        labels: (objects,).
        bins: of equal width on (0, 1].

    Source: Guo et al. 2017, arXiv:1706.04599, section 2.
    """
    confidence, right = mean.max(-1), mean.argmax(-1) == labels
    place = np.minimum(np.ceil(confidence * bins).astype(int) - 1, bins - 1)
    gaps = np.bincount(place, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
