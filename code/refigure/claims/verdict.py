"""Verdicts: a claim's predicate, over measured numbers, in a few readable lines.

    gain = estimate(by_replicate(fine_tuned, "accuracy") - by_replicate(best_r1, "accuracy"))
    finding = all_of(
        above(gain, 0, name="gain in test accuracy"),
        monotone(loss_by_elr, "increasing", ties=0, name="loss"),
        below(Exact(threshold), 1e-6, name="closed form"),       # arithmetic: no error
    )
    record = claim_record("C7", "Starting in R2 gives better minima.", finding, ["fig2"])

The law (`docs/design.md`, Verdicts) and how it is read here:

- `holds`: the predicate is shown: the number lies beyond its threshold by more than its error
  (Student's t, two-sided 95 %, at every n). A sign alone is no evidence, so that a claim holds in
  at most one of forty worlds that sit on its threshold.
- `fails`: the opposite is shown, by the same margin.
- `undecided`: all else, and always an estimate without a standard error (`1 seed`).
- "The same" is shown by two one-sided tests at 5 % (`within`): bounds are fixed and never grow with
  the noise; without power it is undecided.
- A premise that is not met, such as a collapsed network, leaves a claim undecided, whatever else.

Trained results are estimates with a unit (`claims.statistics`); a number without an error is
`Exact`, for definitions and arithmetic, and a bare float is refused. `None` is a number that could
not be had: undecided.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from refigure.claims.statistics import (
    Comparison,
    Estimate,
    estimate,
    finite,
    finite_or_none,
    reading,
)

HOLDS, FAILS, UNDECIDED = "holds", "fails", "undecided"
ABSENT = "not at this scale"
"""Why a claim is undecided whose runs are not in a scale."""

Bound = float | list[float]


class Exact(float):
    """A number without an error: of a definition, a configuration or a closed form.

    Never of a trained network, which another seed would train otherwise.
    """

    def __new__(cls, value: float) -> Exact:
        """A finite number."""
        return super().__new__(cls, finite(value, "an exact number"))


Number = Estimate | Exact | float | None
"""What a record can hold; what is compared is an `Estimate`, an `Exact` or None."""


@dataclass(frozen=True)
class Finding:
    """What a predicate came to: the verdict, why, and the numbers it rests on.

    Attributes:
        verdict: "holds", "fails" or "undecided".
        reason: why; may be empty where the verdict is "holds".
        numbers: name to number. None is a number that could not be had.
        threshold: name to what the number was compared with: a bound, or [low, high].
        parts: of a claim about several setups, the verdict and reason of each.
    """

    verdict: Literal["holds", "fails", "undecided"]
    reason: str = ""
    numbers: Mapping[str, Number] = field(default_factory=dict)
    threshold: Mapping[str, Bound] = field(default_factory=dict)
    parts: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in (HOLDS, FAILS, UNDECIDED):
            raise ValueError(f"verdict must be holds, fails or undecided, got {self.verdict!r}")
        for name, number in self.numbers.items():
            if number is not None and not isinstance(number, Estimate):
                finite(number, name)


def above(number: Estimate | Exact | None, threshold: float, *, name: str) -> Finding:
    """Whether a number is above a threshold.

    Args:
        number: an estimate (statistical), an exact number (deterministic) or None (undecided).
        threshold: the bound; equal is not above.
        name: of the number, in the record.

    Raises:
        ValueError: the threshold is not finite.
        TypeError: a bare float, whose error nobody knows.
    """
    return _compare(number, threshold, name, +1, "above")


def below(number: Estimate | Exact | None, threshold: float, *, name: str) -> Finding:
    """Whether a number is below a threshold; equal is not below. Arguments as of `above`."""
    return _compare(number, threshold, name, -1, "below")


def at_least(number: Estimate | Exact | None, threshold: float, *, name: str) -> Finding:
    """Whether a number reaches a threshold from above; equal is enough. Arguments as of `above`."""
    return _compare(number, threshold, name, +1, "at least")


def at_most(number: Estimate | Exact | None, threshold: float, *, name: str) -> Finding:
    """Whether a number stays at or under a threshold; equal is enough. Arguments as of `above`."""
    return _compare(number, threshold, name, -1, "at most")


def greater(a: Estimate, b: Estimate, *, names: tuple[str, str]) -> Finding:
    """Whether a is greater than an independent b. Paired values are subtracted first: `above`.

    Args:
        a: the one said to be greater.
        b: the other, over the same kind of thing.
        names: of a and b, in the record; the difference is recorded as "a - b".
    """
    first, second = names
    finding = above(a - b, 0, name=f"{first} - {second}")
    return replace(finding, numbers={first: a, second: b, **finding.numbers})


def within(number: Estimate | Exact | None, low: float, high: float, *, name: str) -> Finding:
    """Whether a number lies in [low, high], by two one-sided tests at 5 %.

    It fails beyond either end by the rule of `above`. Where the error is too large for the
    interval, no value could pass: the reason says so.

    Raises:
        ValueError: the bounds are not finite or not in order.
    """
    low, high = finite(low, f"lower bound of {name}"), finite(high, f"upper bound of {name}")
    if low > high:
        raise ValueError(f"bounds of {name} must be in order, got [{low}, {high}]")
    bounds = {name: [low, high]}
    if not isinstance(number, Estimate) or number.margin is None:
        ends = [at_least(number, low, name=name), at_most(number, high, name=name)]
        worst = next((end for end in ends if end.verdict != HOLDS), ends[0])
        return replace(worst, threshold=bounds)
    numbers, margin = {name: number}, number.margin
    if number.value < low - margin or number.value > high + margin:
        reason = f"{number.value:.4g} is not in [{low:.4g}, {high:.4g}], not {number.within()}"
        return Finding(FAILS, reason, numbers, bounds)
    near = number.one_sided
    if low + near <= number.value <= high - near:
        return Finding(HOLDS, "", numbers, bounds)
    if 2 * near > high - low:
        reason = f"no power: {near:.3g} either way in [{low:.4g}, {high:.4g}] ({number.counts()})"
        return Finding(UNDECIDED, reason, numbers, bounds)
    return Finding(UNDECIDED, f"{number.within()} of an end", numbers, bounds)


def unanimous(answers: pd.Series, *, name: str) -> Finding:
    """Whether every replicate says yes, each by its own: two at least, or it is undecided.

    Args:
        answers: true or false, by replicate.
        name: of the share that says yes, in the record.
    """
    share = estimate(answers.astype(float))
    if share is None or (share.n == 1 and not reading()):
        reason = f"no value of {name}" if share is None else share.without_error()
        return Finding(UNDECIDED, reason, {name: share}, {name: 1.0})
    if share.value in (0.0, 1.0):
        verdict = HOLDS if share.value else FAILS
        return Finding(
            verdict,
            "" if share.value else f"none of {share.n} {share.n_of}",
            {name: share},
            {name: 1.0},
        )
    yes = int(answers.sum())
    return Finding(UNDECIDED, f"{yes} of {len(answers)}", {name: share}, {name: 1.0})


def witness(found: int, searched: int, *, name: str, absence_decides: bool = True) -> Finding:
    """A claim that something exists: one case shows it; none among those searched speaks against.

    Args:
        found: cases that show it.
        searched: cases that could have shown it; 0 leaves it open.
        name: of the cases, in the record.
        absence_decides: whether finding none fails, else it is undecided.
    """
    numbers = {name: float(found), f"{name}, searched": float(searched)}
    if found:
        return Finding(HOLDS, "", numbers)
    absent = f"none of {searched} that could"
    return Finding(FAILS if absence_decides and searched else UNDECIDED, absent, numbers)


def never(broken: int, seen: int, *, name: str) -> Finding:
    """A claim that something never happens: one case refutes it; two at least must have been seen.

    Args:
        broken: cases in which it happened.
        seen: cases in which it could have.
        name: of the cases, in the record.
    """
    numbers = {name: float(broken), f"{name}, seen": float(seen)}
    if broken:
        return Finding(FAILS, f"{broken} of {seen}", numbers, {name: 0.0})
    if seen < 2:
        return Finding(UNDECIDED, f"{seen} of at least 2 cases", numbers, {name: 0.0})
    return Finding(HOLDS, "", numbers, {name: 0.0})


def best_inside(comparison: Comparison, what: str, where: str) -> Finding:
    """Whether the best cell lies in a place: best inside less best outside, by the nested choice.

    Args:
        comparison: of `statistics.compare_best`.
        what: is compared.
        where: the inside.
    """
    name = f"{what}: best in {where} less best outside"
    finding = above(comparison.gain, 0, name=name)
    notes = {f"best cell of {what} in {where}": _cell(comparison.inside)}
    notes |= {f"best cell of {what} outside": _cell(comparison.outside)}
    notes |= {f"{what}: cells outside tied with the best in {where}": float(comparison.ties)}
    ties = f", {comparison.ties} outside tied" if comparison.ties else ""
    reason = f"{finding.reason}{ties}" if finding.reason and finding.verdict != HOLDS else ""
    return replace(finding, reason=reason, numbers={**finding.numbers, **notes})


def given(premises: Mapping[str, bool], finding: Finding) -> Finding:
    """The finding where all premises are met; else undecided, naming those that are not.

    Args:
        premises: what is wrong if it is false ("collapsed: topics W+N") -> whether it is met.
        finding: what the numbers say.
    """
    broken = [words for words, met in premises.items() if not met]
    if not broken:
        return finding
    return replace(finding, verdict=UNDECIDED, reason="premise: " + "; ".join(broken))


def of_parts(findings: Mapping[str, Finding], names: bool = True) -> Finding:
    """The conjunction over setups, with the verdict of each in one table of the record.

    Args:
        findings: setup -> finding; numbers get the setup's name where several are.
        names: False leaves names as they are, which must differ already.
    """
    parts = {key: (finding.verdict, finding.reason) for key, finding in findings.items()}
    if names:
        findings = {key: _named(key, finding) for key, finding in findings.items()}
    return replace(all_of(*findings.values()), parts=parts)


def exact(
    condition: bool,
    *,
    numbers: Mapping[str, Number] | None = None,
    threshold: Mapping[str, Bound] | None = None,
    reason: str = "",
) -> Finding:
    """A deterministic predicate: true holds, false fails. For definitions and arithmetic alone.

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
    return Finding(HOLDS, "", {name: number})


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
    numbers: Mapping[str, Estimate | Exact | None],
    direction: Literal["increasing", "decreasing"],
    *,
    ties: int,
    name: str,
    ends: Estimate | None = None,
) -> Finding:
    """Whether numbers rise or fall in the order given, but for a few adjacent ties.

    The trend must be shown: from the first to the last by more than the error. Each step goes the
    right way by its value, but for ties: steps that go the wrong way by no more than their error.
    A step that goes the wrong way by more fails, and so do ends that do; more ties than allowed
    leave it undecided, and among exact numbers, which have no error, fail.

    Args:
        numbers: label to number, in order: the learning rates to their losses.
        direction: "increasing" or "decreasing".
        ties: adjacent ties that the specification allows.
        name: of the quantity; numbers are recorded as "name label".
        ends: last less first, paired, where the numbers are not independent.

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
    whole = ends if ends is not None else values[-1] - values[0]
    if isinstance(whole, Estimate) and whole.margin is None:
        return Finding(UNDECIDED, whole.without_error(), recorded)
    tied = []
    for left, right, a, b in zip(labels, labels[1:], values, values[1:], strict=False):
        pair, gap, margin = f"{left} to {right}", sign * (b - a), 0.0
        if isinstance(gap, Estimate):
            if gap.margin is None:
                return Finding(UNDECIDED, f"{pair}: {gap.without_error()}", recorded)
            gap, margin = gap.value, gap.margin
        if gap < -margin:
            beyond = " beyond its error" if margin else ""
            return Finding(FAILS, f"not {direction} from {pair}{beyond}", recorded)
        if gap <= 0:
            tied.append(pair)
    said = f"{len(tied)} of {ties} ties allowed: {', '.join(tied)}" if tied else ""
    if not isinstance(whole, Estimate):
        return Finding(HOLDS if len(tied) <= ties else FAILS, said, recorded)
    trend = above(sign * whole, 0, name="last less first" if sign > 0 else "first less last")
    if trend.verdict != HOLDS:
        reason = f"ends: {trend.reason}"
        return Finding(trend.verdict, f"{reason}; {said}" if said else reason, recorded)
    return Finding(HOLDS if len(tied) <= ties else UNDECIDED, said, recorded)


def threshold_at(threshold: Mapping[str, float | str] | float, scale: str) -> float:
    """A threshold at a scale: a number for all, or {"paper": 0.98, "default": 0.97, "source": ...}.

    Raises:
        ValueError: there is neither a value for the scale nor a default, or it is not finite.
    """
    if not isinstance(threshold, Mapping):
        return finite(threshold, "a threshold")
    key = scale if scale in threshold else "default"
    if key not in threshold:
        raise ValueError(f"threshold {dict(threshold)} has no value for scale {scale!r}")
    return finite(threshold[key], f"threshold for scale {scale!r}")


def claim_record(id: str, statement: str, finding: Finding, figures: Sequence[str]) -> dict:
    """What `claims/<paper>/<claim>.json` holds: plain values, in an order that does not vary.

    Numbers and thresholds keep the order in which the predicate names them. A deterministic number
    has null for `se`, `n` and `n_of`; one that could not be had has null for `value` too.
    `threshold` maps names to a bound or [low, high]; null where nothing was compared. `parts`, the
    verdicts of a claim about several setups, is there where it is.
    """
    record = {
        "id": id,
        "statement": statement,
        "verdict": finding.verdict,
        "numbers": {name: _number_record(value) for name, value in finding.numbers.items()},
        "threshold": {name: _bound(value) for name, value in finding.threshold.items()} or None,
        "figures": list(figures),
        "reason": finding.reason,
    }
    if finding.parts:
        record["parts"] = [
            {"of": of, "verdict": verdict, "reason": reason}
            for of, (verdict, reason) in finding.parts.items()
        ]
    return record


def _named(setup: str, finding: Finding) -> Finding:
    return replace(
        finding,
        numbers={f"{setup}: {name}": number for name, number in finding.numbers.items()},
        threshold={f"{setup}: {name}": bound for name, bound in finding.threshold.items()},
        reason=f"{setup}: {finding.reason}" if finding.reason else "",
    )


def _cell(cell: object) -> float | None:
    """A cell's first axis, which is its rate, as a number to record."""
    first = cell[0] if isinstance(cell, tuple) else cell
    return None if first is None else float(first)


def _compare(
    number: Estimate | Exact | None, threshold: float, name: str, sign: int, words: str
) -> Finding:
    """The one comparison: `sign` is +1 where larger is right, and `words` says which predicate."""
    threshold = finite(threshold, f"threshold of {name}")
    numbers, bounds = {name: number}, {name: threshold}
    if number is None:
        return Finding(UNDECIDED, f"no value of {name}", numbers, bounds)
    inclusive = words in ("at least", "at most")
    if isinstance(number, Exact):
        gap = sign * (number - threshold)
        if gap > 0 or (inclusive and gap == 0):
            return Finding(HOLDS, "", numbers, bounds)
        return Finding(FAILS, f"{number:.4g} is not {words} {threshold:.4g}", numbers, bounds)
    if not isinstance(number, Estimate):
        raise TypeError(
            f"{name} is a bare number ({number!r}): a measured one is an Estimate over replicates,"
            " one of arithmetic is Exact"
        )
    gap, margin = sign * (number.value - threshold), number.margin
    if margin is None:
        return Finding(UNDECIDED, number.without_error(), numbers, bounds)
    if gap < -margin:
        beyond = f"beyond {number.factor:.2f} s.e. ({number.counts()})"
        reason = f"{number.value:.4g} is not {words} {threshold:.4g}, {beyond}"
        return Finding(FAILS, reason, numbers, bounds)
    if gap > margin or (inclusive and gap == margin == 0):
        return Finding(HOLDS, "", numbers, bounds)
    return Finding(UNDECIDED, number.within(), numbers, bounds)


def _join(findings: Sequence[Finding], order: tuple[str, str, str]) -> Finding:
    """Findings joined; the verdict is the first of `order` that occurs."""
    if not findings:
        raise ValueError("nothing to join: give at least one finding")
    if len(findings) == 1:
        return findings[0]
    verdicts = {finding.verdict for finding in findings}
    verdict = next(verdict for verdict in order if verdict in verdicts)
    numbers, threshold, parts = {}, {}, {}
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        tables = (parts, finding.parts), (numbers, finding.numbers)
        for joined, own in (*tables, (threshold, finding.threshold)):
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
    return Finding(verdict, "; ".join(said), numbers, threshold, parts)


def _bound(bound: Bound) -> Bound:
    if isinstance(bound, Sequence):
        return [finite(end, "an end of a range") for end in bound]
    return finite(bound, "a bound")


def _number_record(number: Number) -> dict[str, float | int | str | None]:
    if isinstance(number, Estimate):
        more = [number.inner, f"{number.objects} test objects" if number.objects else ""]
        more = ", ".join(filter(None, more))
        n_of = f"{number.n_of} ({more})" if more else number.n_of
        return {"value": number.value, "se": number.se, "n": number.n, "n_of": n_of}
    value = None if number is None else finite(number, "a number")
    return {"value": value, "se": None, "n": None, "n_of": None}
