"""Predicates of memory-split, over tables of `tables.pools`, each by setup.

A budget is S 2^j; a split is n networks of S 2^j / n parameters each. Gains are of the best split
over one network, and errors are over disjoint ensembles (`claims.pools`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refigure.claims.pools import (
    bootstrapped,
    budgets,
    cells,
    gain,
    over_setups,
    quality,
)
from refigure.claims.statistics import Estimate, reading, spearman
from refigure.claims.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Exact,
    Finding,
    above,
    all_of,
    at_least,
    given,
    missing,
    of_parts,
    within,
)


def _advantage(ensembles: pd.DataFrame, quantity: str, errors: float) -> Finding:
    """M1 of one setup."""
    known = budgets(ensembles, quantity)
    if len(known) < 2:
        return missing("fewer than two budgets with splits")
    gains = {j: gain(cells(ensembles, j, quantity), quantity) for j in known}
    numbers = {f"gain at S 2^{j}": one.better for j, one in gains.items()}
    numbers |= {f"best n at S 2^{j}": float(one.best) for j, one in gains.items()}
    shown, refuted = None, False
    for first in range(len(known) - 1):
        own = [gains[j] for j in known[first:]]
        mean = _mean([one.better for one in own])
        split = all(one.best >= 2 and one.better.value > 0 for one in own)
        if split and shown is None and mean.margin is not None and _beyond(mean, errors):
            shown = (known[first], mean)
        refuted = mean.margin is not None and mean.value < -mean.margin
    if shown:
        j, mean = shown
        numbers |= {"smallest budget, log2 of S": float(j), "mean gain from it on": mean}
        return Finding(HOLDS, "", numbers, {"mean gain from it on": 0.0})
    numbers["mean gain of the two largest budgets"] = mean
    reason = f"no budget from which on splits win by more than {errors:g} s.e."
    return Finding(FAILS if refuted else UNDECIDED, reason, numbers, {"mean gain": 0.0})


def _mean(gains: list[Estimate]) -> Estimate:
    """The mean of gains of several budgets, with the error as if all moved together.

    Budgets share networks (trap 5): the mean of their errors is an upper bound.
    """
    whole = sum(one.value for one in gains) / len(gains)
    if any(one.se is None for one in gains):
        return Estimate(whole, None, 1, gains[0].n_of)
    se = sum(one.se for one in gains) / len(gains)
    freedom = min(one.freedom for one in gains)
    return Estimate(whole, se, min(one.n for one in gains), gains[0].n_of, freedom=freedom)


def _beyond(number: Estimate, errors: float) -> bool:
    """Whether a number is above 0 by its margin and by so many standard errors."""
    return number.value > max(number.margin, errors * (number.se or 0.0))


@over_setups
def advantage(ensembles: pd.DataFrame, quantity: str, errors: float) -> Finding:
    """M1: from some budget on the best number of networks is larger than one.

    Two budgets at least lie there, each is better split by its value, and the mean gain is above 0
    by its margin and by `errors` standard errors.

    Source: memory-split, section 2, M1.
    """
    return _advantage(ensembles, quantity, errors)


@over_setups
def at_common_size(
    ensembles: pd.DataFrame,
    quantity: str,
    points: float,
    pair: str = "wrn_c100",
    n: int = 16,
) -> Finding:
    """M2: the effect holds at the common size; of the abstract's pair, by so many points at its n.

    Source: memory-split, section 2, M2, and section 8.
    """
    parts = cells(ensembles, 0, quantity)
    found = gain(parts, quantity)
    if found is None:
        return missing("no split of the common size with three ensembles")
    findings = [
        above(found.better, 0, name="gain at S"),
        _noted({"best n at S": float(found.best)}),
    ]
    if ensembles["setup"].iloc[0] == pair and quantity == "accuracy":
        if n in parts:
            more = quality(parts[n], quantity) - quality(parts[1], quantity)
            findings.append(at_least(more, points, name=f"gain of {n} networks at S"))
        else:
            findings.append(missing(f"no split into {n}"))
    return all_of(*findings)


def _noted(numbers: Mapping[str, float]) -> Finding:
    return Finding(HOLDS, "", dict(numbers))


@over_setups
def one_is_best(ensembles: pd.DataFrame, quantity: str, largest: float) -> Finding:
    """M3: at the smallest budget that can be split, one network is best, better than each split.

    Args:
        largest: log2 of the smallest budget over S, at most: a ladder that begins higher has no
            small budget, and decides nothing.

    Source: memory-split, sections 0 and 2, M3.
    """
    known = budgets(ensembles, quantity)
    if not known:
        return missing("no budget with splits")
    j, parts = known[0], cells(ensembles, known[0], quantity)
    sign = 1 if quantity == "accuracy" else -1
    findings = [
        above(
            (quality(parts[1], quantity) - quality(cell, quantity)) * sign,
            0,
            name=f"one network less {n} at S 2^{j}",
        )
        for n, cell in parts.items()
        if n > 1
    ]
    premise = {f"the smallest budget is S 2^{j}, not S 2^{largest:g} or less": j <= largest}
    return given(premise, all_of(*findings))


def general(ensembles: pd.DataFrame, sizes: pd.DataFrame, quantity: str, errors: float) -> Finding:
    """M4: the effect is there with every pair of network and data.

    Undecided where there are fewer than two architectures.

    Source: memory-split, section 2, M4.
    """
    names = list(dict.fromkeys(ensembles["setup"])) if len(ensembles) else []
    if not names:
        return missing("not at this scale")
    findings = {
        name: _advantage(ensembles[ensembles["setup"] == name], quantity, errors) for name in names
    }
    models = set(sizes[sizes["setup"].isin(names)]["model"]) if len(sizes) else set()
    return given({f"one architecture: {', '.join(models)}": len(models) != 1}, of_parts(findings))


@over_setups
def optimum_grows(ensembles: pd.DataFrame, quantity: str, correlation: float) -> Finding:
    """M5: the best number of networks grows with the budget.

    Its error is that of the best n when the ensembles of each split are drawn anew.

    Source: memory-split, section 2, M5.
    """
    known, best = bootstrapped(ensembles, quantity)
    if len(known) < 3:
        return missing("fewer than three budgets with splits")
    ranks = np.array([spearman(known, row) or 0.0 for row in best])
    growth = best[:, -1] - best[:, 0]
    counts = [len(cell) for j in known for cell in cells(ensembles, j, quantity).values()]
    findings = []
    for values, threshold, name in (
        (ranks, correlation, "rank correlation of budget and best n"),
        (growth, 1.0, "steps from the best n of the smallest to that of the largest budget"),
    ):
        value, se = float(values[0]), float(values[1:].std(ddof=1))
        number = Estimate(value, None, 1, "readings")
        if not reading():
            number = Estimate(value, se, min(counts), "disjoint ensembles", freedom=len(values) - 2)
        findings.append(at_least(number, threshold, name=name))
    notes = {f"best n at S 2^{j}": float(2**n) for j, n in zip(known, best[0])}
    return all_of(*findings, _noted(notes))


@over_setups
def rises_then_falls(ensembles: pd.DataFrame, quantity: str) -> Finding:
    """M6: at the common size quality rises with n, then falls: too thin members hurt.

    Source: memory-split, section 2, M6.
    """
    parts = cells(ensembles, 0, quantity)
    found = gain(parts, quantity)
    if found is None or len(parts) < 3:
        return missing("fewer than three splits of the common size with three ensembles")
    most = max(parts)
    fall = gain({n: cell for n, cell in parts.items() if n > 1}, quantity, without=most)
    return all_of(
        above(found.better, 0, name="gain of the best split over one network"),
        above(fall.better, 0, name=f"the best split less {most} networks"),
        _noted({"best n at S": float(found.best)}),
    )


@over_setups
def without_regularisation(ensembles: pd.DataFrame, quantity: str) -> Finding:
    """M7: the effect is there at the common size with regularisation and without.

    The setups of the tables are those with and those without.

    Source: memory-split, section 2, M7.
    """
    found = gain(cells(ensembles, 0, quantity), quantity)
    if found is None:
        return missing("no split of the common size with three ensembles")
    return all_of(
        above(found.better, 0, name="gain at S"), _noted({"best n at S": float(found.best)})
    )


def no_more_computation(
    sizes: pd.DataFrame, low: float, high: float, widths: Mapping[str, int]
) -> Finding:
    """M9: a split multiplies as often as one network of the same total size: by arithmetic.

    Args:
        low, high: of the ratio of n MAC(k) to MAC of the one network.
        widths: of each model, the smallest width that is asked.

    Source: memory-split, section 2, M9.
    """
    if not len(sizes):
        return missing("not at this scale")
    findings = {}
    for setup, own in sizes[np.isfinite(sizes["j"])].groupby("setup"):
        macs = own.drop_duplicates("j").set_index("j")["macs"]
        ratios = {}
        for _, row in own[own["k"] >= own["model"].map(widths)].iterrows():
            for j in macs.index[macs.index > row["j"]]:
                ratios[row["k"], j] = 2 ** (j - row["j"]) * row["macs"] / macs[j]
        if not ratios:
            continue
        ends = [Exact(min(ratios.values())), Exact(max(ratios.values()))]
        findings[setup] = all_of(
            within(ends[0], low, high, name="least ratio of multiplications"),
            within(ends[1], low, high, name="largest ratio of multiplications"),
        )
    return of_parts(findings, names=len(findings) > 1) if findings else missing("no split")
