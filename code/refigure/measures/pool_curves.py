"""What a pool of networks says of ensembles of every size: one pass, curves over n, their errors.

An ensemble is a row of weights over the members of its pool. So all ensembles of a pool, whichever
estimator wants them, are one matrix, and their NLL at a temperature is one product with the
members' probabilities of the labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from refigure.measures import ensembles
from refigure.measures.members import Group

Array = NDArray[np.floating]
Chunks = Callable[[], Iterable[NDArray]]

HOT = 2.0
"""The second fixed temperature (power-laws, section 2, C1)."""
SIX = 6
"""Networks of a repetition of the prediction (power-laws, section 6.9)."""


@dataclass(frozen=True)
class Plan:
    """The ensembles that are formed of a pool.

    Args:
        orders: random orders of the pool; each is cut into two halves, in which ensembles are
            formed that share no member. Their means are the curves; how the curves of halves
            differ is the error of whatever follows from a curve.
        most: ensembles of a size in a half, at most; all of one network.
        repetitions: of the prediction from six networks, at most.
        whole: ensembles of a size whose mean probabilities are kept, at most: of those the
            temperature after averaging, Brier's score and the calibration error are measured.
        seed: of the orders.
    """

    orders: int = 12
    most: int = 16
    repetitions: int = 10
    whole: int = 16
    seed: int = 0


def sizes_up_to(members: int) -> list[int]:
    """1, 2, 3, 4, then twice and three times powers of two: the numbers of networks of a curve."""
    found = {2**power for power in range(members.bit_length())}
    found |= {3 * 2**power for power in range(members.bit_length())}
    return sorted(size for size in found if size <= members)


def measure(
    group: Group,
    orders: int = 12,
    most: int = 16,
    repetitions: int = 10,
    whole: int = 16,
    seed: int = 0,
    chunk: int = 32,
) -> Iterator[dict[str, Any]]:
    """The rows of `of_logits` for the pool of a group; arguments as of `Plan`.

    Args:
        chunk: members whose logits are in memory at once.
    """
    [pool] = group.roles.values()
    plan = Plan(orders, most, repetitions, whole, seed)
    yield from of_logits(lambda: pool.chunks(chunk), pool.labels, plan, len(pool.failed))


def of_logits(
    chunks: Chunks, labels: NDArray[np.integer], plan: Plan, failed: int = 0
) -> Iterator[dict[str, Any]]:
    """Likelihood, calibration and accuracy of the ensembles of a pool, a row an ensemble or curve.

    Members at or below the accuracy `ensembles.FAILED` are left out and counted as failed.

    Args:
        chunks: gives the logits anew at each call, (members, objects, classes) a chunk.
        labels: (objects,).
        failed: members that have no logits at all.

    Yields:
        part: "ensemble" (of `n` consecutive members that no other of that size shares, the number
        of it in `number`), "curve" (means over random subsets of the pool), "half" (the same of a
        random half of it), "six" (of six networks) or "temperature" (the curve's NLL at each of
        the grid's temperatures, and the theory's limit and gain there). Columns that a part does
        not have are absent.

    Source: power-laws, sections 6.1, 6.2, 6.4 to 6.6 and 6.9; memory-split, section 6.
    """
    works = ensembles.working(chunks(), labels)
    about = {"members": int(works.sum()), "failed": failed + int((~works).sum())}
    if not works.any():
        yield {"part": "ensemble", "number": 0, "n": 0, **about}
        return
    temperatures = ensembles.temperature_grid(0.125, 8.0, 37)  # 1 and 2 are on it
    logs = ensembles.label_log_probabilities(_kept(chunks(), works), labels, temperatures)
    formed = _Formed(logs.shape[1], plan)
    fit_on = ensembles.halves(len(labels))
    found = ensembles.Likelihoods.of(temperatures, (formed.joined(rows) for rows in logs), fit_on)
    cnll, fitted = found.calibrated()
    values = {
        "nll": found.at(1.0),
        "nll_hot": found.at(HOT),
        "cnll": cnll,
        "log_temperature": np.log(fitted),
    }
    whole = _whole(_kept(chunks(), works), labels, temperatures, fit_on, plan.whole, len(logs[0]))
    fixed = [int(np.argmin(np.abs(temperatures - one))) for one in (1.0, HOT)]
    theories = {
        key: [ensembles.theory(logs[place][members]) for place in fixed]
        for key, members in formed.members.items()
        if len(members) > 1
    }
    for part, number, n, places in formed.curves:
        row: dict[str, Any] = {"part": part, "number": number, "n": n, **about}
        row |= {name: float(value[places].mean()) for name, value in values.items()}
        row["temperature"] = float(np.exp(row.pop("log_temperature")))
        if part in ("curve", "half"):
            mean = found.whole[:, places].mean(1)
            low = ensembles.Likelihoods(temperatures, mean[:, None], mean[:, None, None])
            row["envelope"] = float(low.lower_envelope()[0])
            row["best_temperature"] = float(low.best_temperature()[0])
            for suffix, theory in zip(("", "_hot"), theories.get((part, number), [])):
                row |= {f"limit{suffix}": theory[0], f"gain{suffix}": theory[1]}
        if part == "ensemble":
            row |= whole.get((n, number), {})
        yield row
    for place, temperature in enumerate(temperatures.tolist()):
        theory = ensembles.theory(logs[place]) if about["members"] > 1 else (None, None)
        for part, _, n, places in formed.curves:
            if part == "curve":
                yield {
                    "part": "temperature",
                    "number": place,
                    "n": n,
                    **about,
                    "temperature": temperature,
                    "nll": float(found.whole[place, places].mean()),
                    "limit": theory[0],
                    "gain": theory[1],
                }


def _kept(chunks: Iterable[NDArray], works: NDArray[np.bool_]) -> Iterator[NDArray]:
    """The logits of the members that work."""
    first = 0
    for chunk in chunks:
        own = works[first : first + len(chunk)]
        first += len(chunk)
        if own.any():
            yield np.asarray(chunk)[own]


class _Formed:
    """All ensembles of a pool as rows of weights.

    Each random order of the pool is cut into two halves, and ensembles are formed inside of each:
    so a curve of the whole pool and those of its halves are means over the same ensembles. Those
    larger than a half are the first of each order.

    Attributes:
        curves: (part, number, n, places of its ensembles among all), in order.
        members: (part, number) -> the members that its ensembles are of.
    """

    def __init__(self, count: int, plan: Plan):
        self.curves: list[tuple[str, int, int, list[int]]] = []
        self.members: dict[tuple[str, int], np.ndarray] = {}
        self._places: dict[tuple[int, ...], int] = {}
        everyone = np.arange(count)
        for n in sizes_up_to(count):
            for number in range(count // n):
                self._add("ensemble", number, n, [everyone[number * n : (number + 1) * n]])
        whole: dict[int, list[np.ndarray]] = {n: [] for n in sizes_up_to(count)}
        half = count // 2
        for one in range(plan.orders):
            order = np.random.default_rng((plan.seed, one)).permutation(count)
            for side in range(2 if half else 0):
                own = order[side * half : (side + 1) * half]
                for n in sizes_up_to(half):
                    most = half if n == 1 else min(half // n, plan.most)
                    groups = [own[at * n : (at + 1) * n] for at in range(most)]
                    whole[n] += groups
                    self._add("half", 2 * one + side, n, groups)
                self.members["half", 2 * one + side] = own
            for n in whole:
                if n > half:
                    whole[n].append(order[:n])
        whole[1] = [everyone[at : at + 1] for at in everyone]
        for n, groups in whole.items():
            self._add("curve", 0, n, groups)
        self.members["curve", 0] = everyone
        for repetition in range(min(plan.repetitions, count // SIX)):
            own = everyone[repetition * SIX : (repetition + 1) * SIX]
            for n in (1, 2, 3, 4):
                groups = [own[at * n : (at + 1) * n] for at in range(SIX // n)]
                self._add("six", repetition, n, groups)
        self._weights = np.zeros((len(self._places), count))
        for group, place in self._places.items():
            self._weights[place, list(group)] = 1
        self._sizes = self._weights.sum(1)

    def _add(self, part: str, number: int, n: int, groups: Sequence[np.ndarray]) -> None:
        keys = [tuple(sorted(group.tolist())) for group in groups]
        places = [self._places.setdefault(key, len(self._places)) for key in keys]
        self.curves.append((part, number, n, places))

    def joined(self, logs: Array) -> Array:
        """Log-probabilities of the label by every ensemble, (ensembles, objects), float64.

        Args:
            logs: of the members, (members, objects).
        """
        logs = logs.astype(np.float64)
        largest = logs.max(0)
        sums = self._weights @ np.exp(logs - largest)
        with np.errstate(divide="ignore"):
            found = np.log(sums) + largest - np.log(self._sizes)[:, None]
        # Where all of an ensemble underflow beside another member, the long way (trap 2).
        for ensemble, thing in np.argwhere(sums < 1e-280):
            own = self._weights[ensemble] > 0
            found[ensemble, thing] = logsumexp(logs[own, thing]) - np.log(own.sum())
        return found


def _whole(
    chunks: Iterable[NDArray],
    labels: NDArray[np.integer],
    temperatures: Array,
    fit_on: NDArray[np.bool_],
    most: int,
    count: int,
) -> dict[tuple[int, int], dict[str, float]]:
    """What of disjoint ensembles needs their mean probabilities: (n, number) -> columns.

    One pass over the members, with the running sum of one ensemble of each size.
    """
    sizes = sizes_up_to(count)
    sums: dict[int, Any] = dict.fromkeys(sizes, 0.0)
    answers: list[np.ndarray] = []
    found: dict[tuple[int, int], dict[str, float]] = {}
    member = 0
    for chunk in chunks:
        for logits in chunk:
            shares = ensembles.softmax(logits)
            answers.append(shares.argmax(-1))
            member += 1
            for n in sizes:
                sums[n] = sums[n] + shares
                if member % n:
                    continue
                number, mean, sums[n] = member // n - 1, sums[n] / n, 0.0
                own = {"accuracy": 100 * float(ensembles.accuracy(mean, labels))}
                if n > 1:
                    own["disagreement"] = 100 * ensembles.disagreement(np.array(answers[-n:]))
                if number < most and n & (n - 1) == 0:
                    own["brier"] = ensembles.brier(mean, labels)
                    own["calibration_error"] = 100 * ensembles.calibration_error(mean, labels)
                    rows = ensembles.tempered_after(mean[None], labels, temperatures)
                    after = ensembles.Likelihoods.of(temperatures, rows, fit_on)
                    value, fitted = after.calibrated()
                    own["cnll_after"] = float(value[0])
                    own["temperature_after"] = float(fitted[0])
                found[n, number] = own
    return found
