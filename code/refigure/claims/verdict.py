"""Verdicts: a claim's predicate, over measured numbers, in a few readable lines.

    gain = paired(fine_tuned, best_r1)                    # one value a seed, in the same order
    finding = all_of(
        above(gain, 0, name="gain in test accuracy", clearly=True),
        monotone(loss_by_elr, "increasing", ties=0, name="loss"),
        below(final_loss, 1e-6, name="final loss"),       # a plain number: deterministic
    )
    record = claim_record("C7", "Starting in R2 gives better minima.", finding, ["fig2"])

The law (`docs/design.md`, Verdicts) and how it is read here:

- `holds`: the predicate is true as written. Where the specification writes "by more than 2 standard
  errors", that margin is part of the predicate, asked for by `clearly=True`. Where it does not, the
  point estimates decide; if they lie within 2 standard errors of the threshold the verdict still
  is `holds`, and its reason says how near it was.
- `fails`: the opposite is shown, beyond the threshold by more than 2 standard errors, or a
  deterministic predicate is false.
- `undecided`: all else, and always an estimate without a standard error (`1 seed`): one seed
  neither shows a statistical statement nor refutes it.

"2 standard errors" is Student's t (two-sided 95 %) below n = 5. A difference of independent
estimates has the smaller n of the two. A plain number is a deterministic measurement: no standard
error, never undecided. `None` is a number that could not be had: undecided.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
ABSENT = "not at this scale"
"""Why a claim is undecided whose runs are not in a scale."""

_STUDENT_T = {2: 12.706204736174694, 3: 4.302652729749462, 4: 3.182446305283708}
"""Two-sided 95 % quantile at n - 1 degrees of freedom; a table, as scipy.stats loads slowly."""

Bound = float | list[float]


@dataclass(frozen=True)
class Estimate:
    """A measured number: its value, its standard error, and how many of what it rests on.

    Attributes:
        value: finite.
        se: standard error, finite and not negative; None where there is none, as for one seed.
        n: how many were counted, at least 1.
        n_of: what was counted, in the plural: "seeds", "splits", "disjoint ensembles", "images".

    Raises:
        ValueError: a number is not finite, `se` is negative or given for n = 1, or n is below 1.
    """

    value: float
    se: float | None
    n: int
    n_of: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _finite(self.value, f"an estimate over {self.n_of}"))
        if isinstance(self.n, bool) or self.n != int(self.n) or self.n < 1:
            raise ValueError(f"n must be a whole number of {self.n_of}, at least 1, got {self.n}")
        object.__setattr__(self, "n", int(self.n))
        if self.se is None:
            return
        object.__setattr__(self, "se", _finite(self.se, f"a standard error over {self.n_of}"))
        if self.se < 0:
            raise ValueError(f"a standard error cannot be negative, got {self.se}")
        if self.n == 1:
            raise ValueError(f"n = 1 of {self.n_of} has no standard error, got {self.se}")

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, n_of: str) -> "Estimate":
        """Mean and standard error (ddof = 1) of independent values.

        Raises:
            ValueError: there are no values, or one is not finite.
        """
        values = _row(values, n_of)
        if values.size == 1:
            return cls(values[0], None, 1, n_of)
        se = values.std(ddof=1) / math.sqrt(values.size)
        return cls(values.mean(), se, values.size, n_of)

    def __add__(self, other: "Estimate | float") -> "Estimate":
        """Sum with an independent estimate (errors in quadrature, the smaller n) or a number."""
        if not isinstance(other, Estimate):
            return replace(self, value=self.value + _finite(other, "the number added"))
        if other.n_of != self.n_of:
            raise ValueError(f"cannot combine estimates over {self.n_of} and over {other.n_of}")
        known = self.se is not None and other.se is not None
        se = math.hypot(self.se, other.se) if known else None
        return Estimate(self.value + other.value, se, min(self.n, other.n), self.n_of)

    __radd__ = __add__

    def __mul__(self, factor: float) -> "Estimate":
        """The estimate in another unit."""
        factor = _finite(factor, "the factor")
        se = None if self.se is None else self.se * abs(factor)
        return replace(self, value=self.value * factor, se=se)

    __rmul__ = __mul__

    def __neg__(self) -> "Estimate":
        return self * -1

    def __sub__(self, other: "Estimate | float") -> "Estimate":
        """Difference to an independent estimate (errors in quadrature, the smaller n) or number."""
        return self + (-other)

    def __rsub__(self, other: float) -> "Estimate":
        return -self + other

    @property
    def factor(self) -> float:
        """How many standard errors count as shown: 2, or Student's t below n = 5."""
        return _STUDENT_T.get(self.n, 2.0)

    @property
    def margin(self) -> float | None:
        """How far from a threshold the value must lie to be beyond it; None without an error."""
        return None if self.se is None else self.factor * self.se

    def within(self) -> str:
        """The reason of a value too near its threshold, such as "within 2 s.e. (n=8)"."""
        student = f", t={self.factor:.2f}" if self.n in _STUDENT_T else ""
        return f"within 2 s.e. (n={self.n}{student})"

    def without_error(self) -> str:
        """The reason of a value without standard error: "1 seed"."""
        if self.n == 1:
            return f"1 {self.n_of.removesuffix('s')}"
        return f"no standard error over {self.n} {self.n_of}"


Number = Estimate | float | None


@dataclass(frozen=True)
class Finding:
    """What a predicate came to: the verdict, why, and the numbers it rests on.

    Attributes:
        verdict: "holds", "fails" or "undecided".
        reason: why; may be empty where the verdict is "holds".
        numbers: name to number. None is a number that could not be had.
        threshold: name to what the number was compared with: a bound, or [low, high].
    """

    verdict: Literal["holds", "fails", "undecided"]
    reason: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    threshold: Mapping[str, Bound] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in (HOLDS, FAILS, UNDECIDED):
            raise ValueError(f"verdict must be holds, fails or undecided, got {self.verdict!r}")
        for name, number in self.numbers.items():
            if number is not None and not isinstance(number, Estimate):
                _finite(number, name)


def over_seeds(values: Sequence[float] | np.ndarray) -> Estimate | None:
    """The estimate over seeds; None where there is no value, or one is missing or infinite."""
    numbers = np.asarray(values, dtype=float)
    return Estimate.of(numbers, "seeds") if len(numbers) and np.isfinite(numbers).all() else None


def finite_or_none(value: float | None) -> float | None:
    """A plain number; None where it is missing or infinite, so could not be had."""
    return float(value) if value is not None and math.isfinite(value) else None


def paired(
    a_values: Sequence[float] | np.ndarray, b_values: Sequence[float] | np.ndarray, n_of: str
) -> Estimate:
    """Mean difference a - b of values that belong together one by one, such as of the same seed.

    Raises:
        ValueError: the rows differ in length, are empty, or hold a number that is not finite.
    """
    a, b = _row(a_values, n_of), _row(b_values, n_of)
    if a.size != b.size:
        raise ValueError(f"paired values need equal numbers of {n_of}, got {a.size} and {b.size}")
    return Estimate.of(a - b, n_of)


def above(number: Number, threshold: float, *, name: str, clearly: bool = False) -> Finding:
    """Whether a number is above a threshold.

    Args:
        number: an estimate (statistical), a plain number (deterministic) or None (undecided).
        threshold: the bound; equal is not above.
        name: of the number, in the record.
        clearly: the specification says "by more than 2 standard errors".

    Raises:
        ValueError: the number or threshold is not finite, or `clearly` is asked of a plain number.
    """
    return _compare(number, threshold, name, +1, "above", clearly)


def below(number: Number, threshold: float, *, name: str, clearly: bool = False) -> Finding:
    """Whether a number is below a threshold; equal is not below. Arguments as of `above`."""
    return _compare(number, threshold, name, -1, "below", clearly)


def at_least(number: Number, threshold: float, *, name: str) -> Finding:
    """Whether a number reaches a threshold from above; equal is enough. Arguments as of `above`."""
    return _compare(number, threshold, name, +1, "at least", False)


def at_most(number: Number, threshold: float, *, name: str) -> Finding:
    """Whether a number stays at or under a threshold; equal is enough. Arguments as of `above`."""
    return _compare(number, threshold, name, -1, "at most", False)


def greater(a: Estimate, b: Estimate, *, names: tuple[str, str], clearly: bool = False) -> Finding:
    """Whether a is greater than an independent b. For paired values take `above(paired(...), 0)`.

    Args:
        a: the one said to be greater.
        b: the other, over the same kind of thing.
        names: of a and b, in the record; the difference is recorded as "a - b".
        clearly: the specification says "by more than 2 standard errors".
    """
    first, second = names
    finding = above(a - b, 0, name=f"{first} - {second}", clearly=clearly)
    return replace(finding, numbers={first: a, second: b, **finding.numbers})


def within(number: Number, low: float, high: float, *, name: str) -> Finding:
    """Whether a number lies in [low, high]; it fails beyond either end by the rule of `above`.

    Raises:
        ValueError: the bounds are not finite or not in order.
    """
    low, high = _finite(low, f"lower bound of {name}"), _finite(high, f"upper bound of {name}")
    if low > high:
        raise ValueError(f"bounds of {name} must be in order, got [{low}, {high}]")
    ends = [at_least(number, low, name=name), at_most(number, high, name=name)]
    worst = next((end for end in ends if end.verdict == FAILS), None)
    worst = worst or next((end for end in ends if end.verdict == UNDECIDED), None)
    nearest = worst or next((end for end in ends if end.reason), ends[0])
    return replace(nearest, threshold={name: [low, high]})


def exact(
    condition: bool,
    *,
    numbers: Mapping[str, Number] | None = None,
    threshold: Mapping[str, Bound] | None = None,
    reason: str = "",
) -> Finding:
    """A deterministic predicate: true holds, false fails.

    Raises:
        TypeError: `condition` is not a truth value; a number would be true by accident.
    """
    if not isinstance(condition, bool | np.bool_):
        raise TypeError(f"condition must be true or false, got {condition!r}")
    return Finding(HOLDS if condition else FAILS, reason, numbers or {}, threshold or {})


def missing(reason: str) -> Finding:
    """Undecided for want of data: "source not configured", "not at this scale", "no run of M2"."""
    return Finding(UNDECIDED, reason)


def recorded(name: str, number: Number) -> Finding:
    """A number that decides nothing; one that is not finite could not be had."""
    if not isinstance(number, Estimate):
        number = finite_or_none(number)
    return exact(True, numbers={name: number})


def all_of(*findings: Finding) -> Finding:
    """The conjunction: any fails, fails; else any undecided, undecided; else holds.

    Numbers and thresholds are joined under their names. Of the reasons those that decide are kept,
    each with the names of the numbers it is about.

    Raises:
        ValueError: there are no findings, or two give one name to different numbers.
    """
    return _join(findings, (FAILS, UNDECIDED, HOLDS))


def any_of(*findings: Finding) -> Finding:
    """The disjunction: any holds, holds; else any undecided, undecided; else fails. As `all_of`."""
    return _join(findings, (HOLDS, UNDECIDED, FAILS))


def part_of(finding: Finding, have: Collection[str], want: Sequence[str]) -> Finding:
    """A finding on those at hand of the things that the claim names: at most undecided.

    A counterexample stays one: `fails` on a part is `fails`. Where the specification says that the
    reduced set decides, do not call this.

    Args:
        finding: evaluated on `have`.
        have: the names at hand.
        want: the names in the claim.

    Raises:
        ValueError: a name at hand is not in the claim.
    """
    if strangers := [name for name in have if name not in want]:
        raise ValueError(f"the claim names {', '.join(want)}, not {', '.join(strangers)}")
    absent = [name for name in want if name not in have]
    if not absent:
        return finding
    present = ", ".join(name for name in want if name in have) or "none"
    part = f"on {len(want) - len(absent)} of {len(want)}: {present}; without {', '.join(absent)}"
    return replace(
        finding,
        verdict=FAILS if finding.verdict == FAILS else UNDECIDED,
        reason=f"{finding.reason}; {part}" if finding.reason else part,
    )


def monotone(
    numbers: Mapping[str, Number],
    direction: Literal["increasing", "decreasing"],
    *,
    ties: int,
    name: str,
) -> Finding:
    """Whether numbers strictly rise or fall in the order given, but for a few adjacent ties.

    A tie is an adjacent pair that does not go the right way, yet goes the wrong way by no more than
    2 standard errors of its difference. A pair that goes the wrong way by more fails; more ties
    than allowed leave it undecided, and among plain numbers, which have no error, fail.

    Args:
        numbers: label to number, in order: the learning rates to their losses. Independent.
        direction: "increasing" or "decreasing".
        ties: adjacent ties that the specification allows.
        name: of the quantity; numbers are recorded as "name label".

    Raises:
        ValueError: the direction is unknown, or `ties` is negative.
    """
    if direction not in ("increasing", "decreasing"):
        raise ValueError(f"direction must be increasing or decreasing, got {direction!r}")
    if ties < 0:
        raise ValueError(f"ties must not be negative, got {ties}")
    recorded = {f"{name} {label}": number for label, number in numbers.items()}
    if absent := [label for label, number in recorded.items() if number is None]:
        return Finding(UNDECIDED, f"no value of {', '.join(absent)}", recorded)
    if len(recorded) < 2:
        return Finding(UNDECIDED, f"{len(recorded)} of at least 2 values of {name}", recorded)
    labels, values = list(numbers), list(numbers.values())
    sign = 1 if direction == "increasing" else -1
    tied, doubts, unknown = [], [], []
    for left, right, a, b in zip(labels, labels[1:], values, values[1:], strict=False):
        pair, gap, margin = f"{left} to {right}", sign * (b - a), 0.0
        if isinstance(gap, Estimate):
            if gap.margin is None:
                unknown.append(gap.without_error())
                continue
            if -gap.margin <= gap.value <= 0:
                doubts.append(gap.within())
            gap, margin = gap.value, gap.margin
        if gap < -margin:
            beyond = " beyond 2 s.e." if margin else ""
            return Finding(FAILS, f"not {direction} from {pair}{beyond}", recorded)
        if gap <= 0:
            tied.append(pair)
    if unknown:
        return Finding(UNDECIDED, "; ".join(dict.fromkeys(unknown)), recorded)
    reason = f"{len(tied)} of {ties} ties allowed: {', '.join(tied)}" if tied else ""
    if len(tied) <= ties:
        return Finding(HOLDS, reason, recorded)
    if doubts:
        return Finding(UNDECIDED, "; ".join([*dict.fromkeys(doubts), reason]), recorded)
    return Finding(FAILS, reason, recorded)


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where all of a row is equal.

    Rounded to 12 digits: correlations of few points are small fractions, -0.8 among them, and a
    rounding error must not decide a predicate "at most -0.8".

    Raises:
        ValueError: the rows differ in length, are shorter than 2, or hold a number not finite.
    """
    x, y = _row(x, "values"), _row(y, "values")
    if x.size != y.size or x.size < 2:
        raise ValueError(
            f"a rank correlation needs equal rows of 2 or more, got {x.size}, {y.size}"
        )
    ranks = np.stack([_ranks(x), _ranks(y)])
    if (ranks.std(1) == 0).any():
        return None
    return round(float(np.corrcoef(ranks)[0, 1]), 12)


def threshold_at(threshold: Mapping[str, float | str] | float, scale: str) -> float:
    """A threshold at a scale: a number for all, or {"paper": 0.98, "default": 0.97, "source": ...}.

    Raises:
        ValueError: there is neither a value for the scale nor a default, or it is not finite.
    """
    if not isinstance(threshold, Mapping):
        return _finite(threshold, "a threshold")
    key = scale if scale in threshold else "default"
    if key not in threshold:
        raise ValueError(f"threshold {dict(threshold)} has no value for scale {scale!r}")
    return _finite(threshold[key], f"threshold for scale {scale!r}")


def claim_record(id: str, statement: str, finding: Finding, figures: Sequence[str]) -> dict:
    """What `claims/<paper>/<claim>.json` holds: plain values, in an order that does not vary.

    Numbers and thresholds keep the order in which the predicate names them. A deterministic number
    has null for `se`, `n` and `n_of`; one that could not be had has null for `value` too.
    `threshold` maps names to a bound or [low, high]; null where nothing was compared.
    """
    return {
        "id": id,
        "statement": statement,
        "verdict": finding.verdict,
        "numbers": {name: _number_record(value) for name, value in finding.numbers.items()},
        "threshold": {name: _bound(value) for name, value in finding.threshold.items()} or None,
        "figures": list(figures),
        "reason": finding.reason,
    }


def _finite(value: float, what: str) -> float:
    if value is None or isinstance(value, str) or not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, got {value!r}")
    return float(value)


def _row(values: Sequence[float] | np.ndarray, n_of: str) -> np.ndarray:
    row = np.asarray(values, dtype=float)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(f"an estimate needs a row of {n_of}, got shape {row.shape}")
    if not np.isfinite(row).all():
        raise ValueError(f"{n_of} must be finite numbers, got {row.tolist()}")
    return row


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def _compare(
    number: Number, threshold: float, name: str, sign: int, words: str, clearly: bool
) -> Finding:
    """The one comparison: `sign` is +1 where larger is right, and `words` says which predicate."""
    threshold = _finite(threshold, f"threshold of {name}")
    numbers, bounds = {name: number}, {name: threshold}
    if number is None:
        return Finding(UNDECIDED, f"no value of {name}", numbers, bounds)
    inclusive = words in ("at least", "at most")
    if not isinstance(number, Estimate):
        if clearly:
            raise ValueError(f"{name} is a plain number: it has no standard error to be clear of")
        gap = sign * (_finite(number, name) - threshold)
        if gap > 0 or (inclusive and gap == 0):
            return Finding(HOLDS, "", numbers, bounds)
        return Finding(FAILS, f"{number:.4g} is not {words} {threshold:.4g}", numbers, bounds)
    gap, margin = sign * (number.value - threshold), number.margin
    if margin is None:
        return Finding(UNDECIDED, number.without_error(), numbers, bounds)
    if gap < -margin:
        reason = f"{number.value:.4g} is not {words} {threshold:.4g}, beyond 2 s.e. (n={number.n})"
        return Finding(FAILS, reason, numbers, bounds)
    if gap > margin:
        return Finding(HOLDS, "", numbers, bounds)
    if not clearly and (gap > 0 or (inclusive and gap == 0)):
        return Finding(HOLDS, f"true as written, though {number.within()}", numbers, bounds)
    return Finding(UNDECIDED, number.within(), numbers, bounds)


def _join(findings: Sequence[Finding], order: tuple[str, str, str]) -> Finding:
    """Findings joined; the verdict is the first of `order` that occurs."""
    if not findings:
        raise ValueError("nothing to join: give at least one finding")
    if len(findings) == 1:
        return findings[0]
    verdicts = {finding.verdict for finding in findings}
    verdict = next(verdict for verdict in order if verdict in verdicts)
    numbers, threshold = {}, {}
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        for joined, own in ((numbers, finding.numbers), (threshold, finding.threshold)):
            for name, value in own.items():
                if name in joined and joined[name] != value:
                    raise ValueError(f"{name!r} names both {joined[name]} and {value}")
                joined[name] = value
        if finding.reason and finding.verdict == verdict:
            subject = [next(iter(finding.threshold))] if len(finding.threshold) == 1 else []
            reasons.setdefault(finding.reason, []).extend(subject)
    said = [
        f"{', '.join(dict.fromkeys(subjects))}: {reason}" if subjects else reason
        for reason, subjects in reasons.items()
    ]
    return Finding(verdict, "; ".join(said), numbers, threshold)


def _bound(bound: Bound) -> Bound:
    if isinstance(bound, Sequence):
        return [_finite(end, "an end of a range") for end in bound]
    return _finite(bound, "a bound")


def _number_record(number: Number) -> dict[str, float | int | str | None]:
    if isinstance(number, Estimate):
        return {"value": number.value, "se": number.se, "n": number.n, "n_of": number.n_of}
    value = None if number is None else _finite(number, "a number")
    return {"value": value, "se": None, "n": None, "n_of": None}
