"""What the claims of the two papers on ensembles share: setups, curves of halves, splits.

Predicates take tables of `tables.pools`. Units: a quantity of a curve, such as a fitted exponent,
has its error from the random halves of the pool (a half leaves out as many members as it has, so
that the spread of halves is the error of the whole; Shao and Wu 1989, the delete-d jackknife); a
quality of a split has it from ensembles that share no member. Both are of the networks at hand, on
one test set and one draw of the training data: another draw is another setup, and a claim holds
where it holds in each.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refigure.claims.statistics import Estimate, reading
from refigure.claims.verdict import (
    ABSENT,
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    at_least,
    given,
    missing,
    of_parts,
)
from refigure.tables.pools import BETTER, ENSEMBLES, LEAST_RUNS, fits, on_ladder

FOLDS = 8
FAILED_MOST = 0.5
"""A pool of which more members failed is no pool of networks of its size."""


def over_setups(predicate: Callable[..., Finding]) -> Callable[..., Finding]:
    """The predicate of each setup of its tables; they are joined, and each verdict recorded.

    The predicate takes its first arguments, frames, as rows of one setup. A pool whose members
    mostly failed leaves its setup undecided.
    """

    @functools.wraps(predicate)
    def joined(**arguments: Any) -> Finding:
        frames = {key: one for key, one in arguments.items() if isinstance(one, pd.DataFrame)}
        options = {key: one for key, one in arguments.items() if key not in frames}
        if reading() and "ensembles" in frames:
            frames["ensembles"] = from_published(frames["ensembles"])
            if "fits" in inspect.signature(predicate).parameters:
                frames["fits"] = fits(frames["ensembles"], methods=("r2",))
        names = dict.fromkeys(
            name for frame in frames.values() if len(frame) for name in frame["setup"]
        )
        findings = {}
        for name in names:
            own = {
                key: frame[frame["setup"] == name] if len(frame) else frame
                for key, frame in frames.items()
            }
            findings[name] = given(premises(own.get("ensembles")), predicate(**own, **options))
        return of_parts(findings, names=len(findings) > 1) if findings else missing(ABSENT)

    return joined


def from_published(cells: pd.DataFrame) -> pd.DataFrame:
    """A published table of cells, which stands for ensembles and for their curve at once.

    Args:
        cells: setup, k, j, parameters, n and a quantity, one row a cell.
    """
    own = cells.assign(number=0, failed=0, members=LEAST_RUNS * int(cells["n"].max()))
    both = pd.concat([own.assign(part="ensemble"), own.assign(part="curve")], ignore_index=True)
    return both.reindex(columns=list(ENSEMBLES))


def premises(ensembles: pd.DataFrame | None) -> dict[str, bool]:
    """Premises of a setup: no pool of it lost most of its members."""
    if ensembles is None or not len(ensembles):
        return {}
    pools = ensembles.drop_duplicates("k")
    share = pools["failed"] / (pools["failed"] + pools["members"])
    return {
        f"failed: {one:.0%} of the networks of k = {k}": bool(one <= FAILED_MOST)
        for k, one in zip(pools["k"], share)
    }


def most(findings: Mapping[Any, Finding], share: float, what: str) -> Finding:
    """Whether a share of some findings hold: shown where so many hold, refuted where too many fail.

    Args:
        findings: of widths, say.
        share: in (0, 1].
        what: they are of, in the record.
    """
    if not findings:
        return missing(f"no {what}")
    count = {
        verdict: sum(one.verdict == verdict for one in findings.values())
        for verdict in (HOLDS, FAILS, UNDECIDED)
    }
    needed = math.ceil(share * len(findings) - 1e-9)
    verdict = UNDECIDED
    if count[HOLDS] >= needed:
        verdict = HOLDS
    elif len(findings) - count[FAILS] < needed:
        verdict = FAILS
    numbers: dict[str, Any] = {f"{what} where it holds": float(count[HOLDS])}
    numbers |= {f"{what} where it fails": float(count[FAILS]), what: float(len(findings))}
    for key, finding in findings.items():
        numbers |= {f"{what} {key}, {name}": value for name, value in finding.numbers.items()}
    reason = "" if verdict == HOLDS else f"{count[HOLDS]} hold and {count[FAILS]} fail"
    if verdict != HOLDS:
        reason += f" of {len(findings)} {what}, {needed} needed"
    return Finding(verdict, reason, numbers, {f"{what} where it holds": float(needed)})


def halved(values: Mapping[int, float] | pd.Series, members: int) -> Estimate | None:
    """A quantity of a whole pool with the error that its halves give.

    Args:
        values: half -> the quantity there; -1: of the whole.
        members: of the pool, or of the smallest of several.

    Returns:
        None where the whole has none, or fewer than four halves have one.
    """
    values = pd.Series(values, dtype=float)
    whole, halves = values.get(-1, np.nan), values.drop(-1, errors="ignore")
    if reading():
        return Estimate(whole, None, 1, "readings") if np.isfinite(whole) else None
    if not np.isfinite(whole) or len(halves) < 4 or not np.isfinite(halves).all():
        return None
    # Two halves of one order are complements: half as many are independent.
    freedom = len(halves) / 2 - 1
    return Estimate(whole, float(halves.std(ddof=0)), int(members), "networks", freedom=freedom)


def share_of(answers: pd.DataFrame, members: int, share: float, *, name: str) -> Finding:
    """Whether a share of widths has a property, with the error that the halves of the pools give.

    Args:
        answers: true or false, halves (rows; -1: the whole) by widths.
        members: of the smallest pool.
        share: at least.
    """
    if not answers.size:
        return missing(f"no {name}")
    return at_least(halved(answers.mean(axis=1), members), share, name=f"share of {name}")


def curves(ensembles: pd.DataFrame) -> pd.DataFrame:
    """Means over random ensembles at the n that fits use, with `half`: -1 of the whole pool."""
    own = ensembles[ensembles["part"].isin(["curve", "half"])]
    own = own[own["n"] <= own["members"] // LEAST_RUNS]
    return own.assign(half=own["number"].where(own["part"] == "half", -1))


class Gain(NamedTuple):
    """The best split of a budget less one network.

    Attributes:
        better: by how much it is better; negative where one network is.
        best: its number of networks, by all ensembles; 1 where one network is best.
    """

    better: Estimate
    best: int


def cells(ensembles: pd.DataFrame, j: int, quantity: str) -> dict[int, pd.DataFrame]:
    """The splits of a budget that take part: n -> its ensembles, at least three of them.

    A published number stands alone.
    """
    own = on_ladder(ensembles)
    own = own[(own["budget"] == j) & np.isfinite(own[quantity])]
    found = {int(n): cell.sort_values("number") for n, cell in own.groupby("n")}
    return {n: cell for n, cell in found.items() if reading() or len(cell) >= LEAST_RUNS}


def quality(cell: pd.DataFrame, quantity: str) -> Estimate:
    """The mean over the ensembles of a cell."""
    if reading():
        return Estimate(float(cell[quantity].iloc[0]), None, 1, "readings")
    return Estimate.of(cell[quantity], "disjoint ensembles")


def gain(parts: Mapping[int, pd.DataFrame], quantity: str, without: int = 1) -> Gain | None:
    """How much better the best of some cells is than one other, chosen without looking.

    The ensembles of each cell are dealt to as many folds as the smallest cell has, eight at most.
    The best is chosen by the other folds and read on each. Its squared error is the mean of those
    of the cells chosen. A number read off a picture is chosen and read as it is.

    Args:
        parts: of `cells`, or cells by another key.
        without: the key of the other one.

    Returns:
        None where that one, or all others, are missing.

    Source: memory-split, section 6 ("Selection effect") and trap 4; there with two folds.
    """
    sign = -BETTER.get(quantity, 1.0)
    others = [key for key in parts if key != without]
    if without not in parts or not others:
        return None
    means = {key: sign * cell[quantity].mean() for key, cell in parts.items()}
    best = max(parts, key=means.get)
    whole = {key: quality(cell, quantity) for key, cell in parts.items()}
    count = min(FOLDS, *(len(cell) for cell in parts.values()))
    if count == 1:
        chosen = whole[max(others, key=means.get)]
    else:
        values = {key: sign * parts[key][quantity].to_numpy() for key in others}
        folds = {key: np.arange(len(one)) % count for key, one in values.items()}
        reads, errors = [], []
        for fold in range(count):
            key = max(others, key=lambda key: values[key][folds[key] != fold].mean())
            reads.append(float(values[key][folds[key] == fold].mean()))
            errors.append(whole[key])
        se = math.sqrt(sum(one.se**2 for one in errors) / count)
        least = min(errors, key=lambda one: one.n)
        chosen = replace(least, value=sign * float(np.mean(reads)), se=se)
    return Gain((chosen - whole[without]) * sign, int(best))


def budgets(ensembles: pd.DataFrame, quantity: str) -> list[int]:
    """The budgets S 2^j that have one network and a split that take part."""
    own = on_ladder(ensembles)
    found = sorted({int(j) for j in own["budget"]})
    return [j for j in found if len(parts := cells(ensembles, j, quantity)) > 1 and 1 in parts]


def bootstrapped(
    ensembles: pd.DataFrame, quantity: str, draws: int = 400, seed: int = 0
) -> tuple[list[int], np.ndarray]:
    """The best n of each budget, with the ensembles of each cell drawn anew with replacement.

    Cells of one width share members, so budgets are drawn as if they were independent of each
    other (memory-split, trap 5). Drawing n from n with replacement varies by (n - 1) / n of what n
    new ones would, which of three ensembles is a third too little: means are set further apart.

    Returns:
        The budgets, and log2 of their best n: first as measured, then drawn, (1 + draws, budgets).
    """
    generator = np.random.default_rng(seed)
    sign = BETTER.get(quantity, 1.0)
    known, columns = budgets(ensembles, quantity), []
    for j in known:
        parts = cells(ensembles, j, quantity)
        values = []
        for cell in parts.values():
            one = cell[quantity].to_numpy()
            if reading():
                drawn = np.repeat(one, 2)
            else:
                drawn = one[generator.integers(len(one), size=(draws, len(one)))].mean(1)
                wider = math.sqrt(len(one) / (len(one) - 1))
                drawn = one.mean() + wider * (drawn - one.mean())
            values.append(np.concatenate([[one.mean()], drawn]))
        best = (sign * np.array(values)).argmin(0)
        columns.append(np.log2(np.array(list(parts))[best]))
    return known, np.array(columns).T


def describe(values: Iterable[float]) -> str:
    """Some numbers in a reason."""
    return ", ".join(f"{value:g}" for value in values)
