"""Predicates of power-laws, over tables of `tables.pools`, each by setup."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from refigure.claims.pools import (
    bootstrapped,
    cells,
    curves,
    gain,
    halved,
    most,
    over_setups,
    quality,
    share_of,
)
from refigure.claims.statistics import Estimate, reading, spearman
from refigure.claims.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    above,
    all_of,
    at_least,
    at_most,
    exact,
    given,
    missing,
    monotone,
    recorded,
    within,
)


@over_setups
def fixed_temperature(
    ensembles: pd.DataFrame, low: float, high: float, share: float, sizes: Sequence[int] = (8, 16)
) -> Finding:
    """C1: at a fixed temperature NLL_n tends to c + b / n, with c and b computed from the members.

    rho_n = n (NLL_n - c) / b lies in [low, high] at temperatures 1 and 2 and at each n that is at
    most a quarter of the pool (the specification has half of it: but a half of the pool, which the
    error comes from, must hold two ensembles itself). c and b of a half come from its members.
    That NLL_n does not rise is a theorem for the ensembles measured, and is recorded as a check of
    the arithmetic.

    Source: power-laws, section 2, C1, and section 6.5.
    """
    own = ensembles[ensembles["part"].isin(["curve", "half"])]
    own = own.assign(half=own["number"].where(own["part"] == "half", -1))
    answers, noted = {}, []
    for k, pool in own.groupby("k"):
        members = int(pool["members"].iloc[0])
        inside = []
        for n in [n for n in sizes if n <= members // 4]:
            rows = pool[pool["n"] == n].set_index("half")
            for name, suffix in (("1", ""), ("2", "_hot")):
                value, limit = rows[f"nll{suffix}"], rows[f"limit{suffix}"]
                rho = n * (value - limit) / rows[f"gain{suffix}"]
                inside.append(rho.between(low, high))
                label = f"k = {k}: rho of n = {n} at temperature {name}"
                noted.append(recorded(label, halved(rho, members)))
        if inside:
            answers[k] = pd.concat(inside, axis=1).all(axis=1)
    if not answers:
        return missing("no pool of four times as many networks")
    table, least = pd.DataFrame(answers), int(own["members"].min())
    share_inside = share_of(table, least, share, name="widths where rho is inside")
    return all_of(share_inside, *noted, _never_rises(ensembles))


def _never_rises(ensembles: pd.DataFrame) -> Finding:
    """Twice as many networks, formed of the same ones, are never worse at a fixed temperature."""
    largest = -math.inf
    for _, pool in ensembles[ensembles["part"] == "ensemble"].groupby("k"):
        values = pool.pivot_table("nll", index="number", columns="n")
        for n in [n for n in values if 2 * n in values]:
            doubled = values[2 * n].dropna()
            pairs = values[n].iloc[: 2 * len(doubled)].to_numpy().reshape(-1, 2).mean(1)
            largest = max(largest, float((doubled.to_numpy() - pairs).max(initial=-math.inf)))
    if not math.isfinite(largest):
        return missing("no ensembles of two sizes")
    numbers = {"largest rise of NLL from n to 2 n": largest}
    return exact(largest <= 1e-6, numbers=numbers, reason="" if largest <= 1e-6 else "NLL rose")


def _by_half(fits: pd.DataFrame, column: str, **where: object) -> pd.DataFrame:
    """A column of the fits of one kind: halves (rows) by what is fixed (columns)."""
    own = fits[fits["method"] == "r2"]
    for key, value in where.items():
        own = own[own[key] == value]
    return own.pivot_table(column, index="half", columns="fixed", dropna=False)


def _members(ensembles: pd.DataFrame) -> pd.Series:
    return ensembles.groupby("k")["members"].first()


@over_setups
def calibrated_power_law(
    ensembles: pd.DataFrame, fits: pd.DataFrame, r2: float, low: float, high: float, share: float
) -> Finding:
    """C2: CNLL_n is a power law from n = 1 on, with an exponent above that of NLL_n.

    Args:
        r2: that the median over widths reaches.
        low, high: of the median exponent.
        share: of the widths at which CNLL has the larger exponent.

    Source: power-laws, section 2, C2.
    """
    members = _members(ensembles)
    kind = {"axis": "n", "quantity": "cnll"}
    quality_of, exponent = (_by_half(fits, column, **kind) for column in ("r2", "a"))
    if not exponent.size or exponent.loc[-1].isna().all():
        return missing("no fit: fewer than four numbers of networks")
    plain = _by_half(fits, "a", axis="n", quantity="nll")
    least = int(members.min())
    # Of the paper's own map only CNLL is known, and only its exponent is judged.
    known = [k for k in exponent if k in plain and np.isfinite(plain[k].get(-1, np.nan))]
    less = exponent[known] - plain[known]
    noted = [recorded(f"k = {k}: a of CNLL less of NLL", halved(less[k], members[k])) for k in less]
    larger = share_of(less > 0, least, share, name="widths with a larger exponent of CNLL")
    return all_of(
        at_least(halved(quality_of.median(axis=1), least), r2, name="median r2 of CNLL_n"),
        within(halved(exponent.median(axis=1), least), low, high, name="median exponent of CNLL_n"),
        *([] if reading() and not known else [larger]),
        *noted,
    )


@over_setups
def lower_envelope(
    ensembles: pd.DataFrame, fits: pd.DataFrame, distance: float, share: float
) -> Finding:
    """C3: CNLL_n is the lower envelope of the NLL_n at fixed temperatures.

    The largest distance over n, in parts of CNLL_1 - c, at most `distance` at a share of widths.

    Source: power-laws, section 2, C3.
    """
    own = curves(ensembles)
    own = own.assign(distance=(own["cnll"] - own["envelope"]).abs())
    asymptote = _by_half(fits, "c", axis="n", quantity="cnll")
    findings = {}
    for k, pool in own.groupby("k"):
        if k not in asymptote:
            continue
        first = pool[pool["n"] == 1].set_index("half")["cnll"]
        ratio = pool.groupby("half")["distance"].max() / (first - asymptote[k])
        name = "distance from the envelope in parts of the gain"
        findings[k] = at_most(halved(ratio, pool["members"].iloc[0]), distance, name=name)
    return most(findings, share, "widths")


@over_setups
def temperature_falls(ensembles: pd.DataFrame, correlation: float) -> Finding:
    """C4: the temperature that is best for ensembles of n networks falls with n, at every width.

    Source: power-laws, section 2, C4.
    """
    findings = {}
    for k, pool in curves(ensembles).groupby("k"):
        table = pool.pivot_table("best_temperature", index="half", columns="n").dropna(axis=1)
        if table.shape[1] < 3:
            continue
        members = pool["members"].iloc[0]
        ranks = {half: spearman(list(table), row) or 0.0 for half, row in table.iterrows()}
        fall = table.iloc[:, 0] - table.iloc[:, -1]
        findings[k] = all_of(
            at_most(halved(ranks, members), correlation, name="rank correlation of n and it"),
            above(halved(fall, members), 0, name="temperature of one less of most"),
        )
    return most(findings, 1.0, "widths")


@over_setups
def after_averaging(fits: pd.DataFrame) -> Finding:
    """C5: with the temperature after averaging, CNLL_n is a worse power law than with it before.

    Both are fitted to the same disjoint ensembles; r2 before less after, over the pools of all
    widths. The specification's median is tested as their mean, which has an error.

    Source: power-laws, section 2, C5.
    """
    whole = {
        name: _by_half(fits, "r2", axis="n", quantity=name)
        for name in ("cnll_disjoint", "cnll_after")
    }
    if not all(one.size for one in whole.values()):
        return missing("no fit: fewer than four numbers of networks")
    less = (whole["cnll_disjoint"] - whole["cnll_after"]).loc[-1].dropna()
    if not len(less):
        return missing("no fit: fewer than four numbers of networks")
    return all_of(
        above(Estimate.of(less, "pools"), 0, name="r2 before less after averaging"),
        recorded("its median", float(less.median())),
    )


@over_setups
def double_descent(
    ensembles: pd.DataFrame, fits: pd.DataFrame, r2: float, low: float, high: float
) -> Finding:
    """C6: NLL of one network rises and falls with its size, CNLL falls all along, as a power law.

    The three sizes of the bump are chosen by the networks of even number and compared on the
    others.

    Args:
        r2, low, high: of the fit of CNLL_s at n = 1 and its exponent.

    Source: power-laws, section 2, C6.
    """
    one = ensembles[(ensembles["part"] == "ensemble") & (ensembles["n"] == 1)]
    one = one.sort_values(["parameters", "number"])
    if reading():  # CNLL alone is published
        bump: list[Finding] = []
        steps = {f"{s:g}": quality(own, "cnll") for s, own in one.groupby("parameters")}
    else:
        bump = _bump(one)
        steps = {
            f"k = {own['k'].iloc[0]}": Estimate.of(own["cnll"], "networks")
            for _, own in one.groupby("parameters")
        }
    least = int(one["members"].min()) if len(one) else 0
    where = {"axis": "s", "quantity": "cnll"}
    quality_of, exponent = (_by_half(fits, column, **where) for column in ("r2", "a"))
    if 1.0 not in exponent:
        return missing("fewer than four sizes")
    return all_of(
        *bump,
        monotone(steps, "decreasing", ties=len(steps), name="CNLL of one network"),
        at_least(halved(quality_of[1.0], least), r2, name="r2 of CNLL_s"),
        within(halved(exponent[1.0], least), low, high, name="exponent of CNLL_s"),
    )


def _bump(one: pd.DataFrame) -> list[Finding]:
    values = {k: own["nll"].to_numpy() for k, own in one.groupby("k")}
    widths = sorted(values)
    if len(widths) < 3 or any(len(own) < 4 for own in values.values()):
        return [missing("fewer than three sizes of four networks")]
    chooses = [values[k][::2].mean() for k in widths]
    heights = {
        place: chooses[place] - max(min(chooses[:place]), min(chooses[place + 1 :]))
        for place in range(1, len(widths) - 1)
    }
    top = max(heights, key=heights.get)
    left = int(np.argmin(chooses[:top]))
    right = top + 1 + int(np.argmin(chooses[top + 1 :]))
    read = {
        place: Estimate.of(values[widths[place]][1::2], "networks") for place in (left, top, right)
    }
    return [
        above(
            read[top] - read[place], 0, name=f"NLL of k = {widths[top]} less of k = {widths[place]}"
        )
        for place in (left, right)
    ]


@over_setups
def finite_best_size(ensembles: pd.DataFrame, large: float) -> Finding:
    """C7: for large n the best size of a member is not the largest.

    Decided at the largest n of which every size has three ensembles, if it is `large`; the others
    are recorded.

    Source: power-laws, section 2, C7.
    """
    own = ensembles[ensembles["part"] == "ensemble"]
    counts = own.pivot_table("cnll", index="n", columns="k", aggfunc="size")
    least = 1 if reading() else 3
    usable = [int(n) for n in counts.index if n > 1 and counts.loc[n].min() >= least]
    if not usable:
        return missing("no n above 1 with three ensembles at every size")
    if own["parameters"].nunique() < 2:
        return missing("one size")
    findings = {}
    for n in usable:
        parts = {
            size: cell.sort_values("number")
            for size, cell in own[own["n"] == n].groupby("parameters")
        }
        found = gain(parts, "cnll", without=max(parts))
        widths = own.set_index("parameters")["k"].to_dict()
        findings[n] = all_of(
            above(found.better, 0, name=f"n = {n}: best smaller size less the largest"),
            recorded(f"n = {n}: best k", float(widths[found.best])),
        )
    decides = findings.pop(max(usable))
    decides = given({f"n of {max(usable)} is not large": max(usable) >= large}, decides)
    noted = {
        name: value for finding in findings.values() for name, value in finding.numbers.items()
    }
    return Finding(decides.verdict, decides.reason, {**decides.numbers, **noted}, decides.threshold)


@over_setups
def budget_power_law(ensembles: pd.DataFrame, fits: pd.DataFrame, r2: float) -> Finding:
    """C8: CNLL of the best split is a power law in the budget, with an asymptote below all CNLL.

    Source: power-laws, section 2, C8.
    """
    own = fits[(fits["axis"] == "B") & (fits["method"] == "r2")].set_index("half")
    if not len(own) or not np.isfinite(own["a"].get(-1, np.nan)):
        return missing("no fit: fewer than four budgets")
    least = int(ensembles["members"].min())
    observed = curves(ensembles).groupby("half")["cnll"].min()
    return all_of(
        at_least(halved(own["r2"], least), r2, name="r2 of CNLL_B"),
        at_least(halved(observed - own["c"], least), 0, name="least CNLL less c_B"),
        recorded("exponent of CNLL_B", halved(own["a"], least)),
    )


@over_setups
def several_beat_one(ensembles: pd.DataFrame) -> Finding:
    """C9: at the common size several networks beat one of the same total size, and the best number
    of networks does not fall as the budget grows, but for one step.

    Its order is judged by the best n of each budget, and refuted where no choice among those that
    are not shown to be worse has it: the best in one of forty draws at least, over the number of
    budgets, of which each could err.

    Source: power-laws, section 2, C9.
    """
    found = gain(cells(ensembles, 0, "cnll"), "cnll")
    if found is None:
        return missing("no split of the common size with three ensembles")
    known, draws = bootstrapped(ensembles, "cnll")
    allowed = [
        sorted({one for one in set(column) if (column == one).mean() >= 0.025 / len(known)})
        for column in draws.T
    ]
    chain = [float(one) for one in draws[0]]
    straight = _rising(chain)
    possible = _some_rising(allowed)
    verdict = HOLDS if straight else UNDECIDED if possible else FAILS
    numbers = {f"best n at S 2^{j}": 2.0**one for j, one in zip(known, chain)}
    reason = "" if straight else "the best number of networks falls by more than a step"
    return all_of(
        above(found.better, 0, name="CNLL of one network less of the best split at S"),
        Finding(verdict, reason, numbers),
    )


def _rising(chain: Sequence[float]) -> bool:
    """Whether no later value lies more than a step, of one power of two, below an earlier one."""
    return all(later >= max(chain[:place]) - 1 for place, later in enumerate(chain) if place)


def _some_rising(allowed: Sequence[Sequence[float]]) -> bool:
    """Whether some choice of one value each is `_rising`: the lowest possible maximum decides."""
    most_so_far = -math.inf
    for values in allowed:
        fitting = [value for value in values if value >= most_so_far - 1]
        if not fitting:
            return False
        most_so_far = max(most_so_far, min(fitting))
    return True


@over_setups
def predicted_ensembles(predictions: pd.DataFrame, share: float, part: float) -> Finding:
    """C10: power laws through n = 1 to 4, of six networks, predict the CNLL of large ensembles.

    Args:
        share: of pairs of width and repetition where they err less than CNLL_4 does.
        part: of CNLL_1 - CNLL_n at the largest n, that the median error is at most.

    Source: power-laws, section 2, C10.
    """
    own = predictions[predictions["repetition"] >= 0]
    if not len(own):
        return missing("no pool of six networks with n above 4")
    squares = own.assign(
        law=(own["predicted"] - own["measured"]) ** 2,
        plain=(own["constant"] - own["measured"]) ** 2,
    )
    errors = squares.groupby(["k", "repetition"]).agg(
        law=("law", "mean"),
        plain=("plain", "mean"),
        first=("first", "first"),
        last=("last", "first"),
    )
    errors[["law", "plain"]] **= 0.5
    better = (errors["law"] < errors["plain"]).groupby("k").mean()
    ratio = (errors["law"] / (errors["first"] - errors["last"])).groupby("k").median()
    return all_of(
        at_least(
            Estimate.of(better, "pools"), share, name="share of pairs where the law is better"
        ),
        at_most(Estimate.of(ratio, "pools"), part, name="error in parts of the gain"),
        recorded("median error of the law", float(errors["law"].median())),
        recorded("median error of CNLL_4", float(errors["plain"].median())),
    )


@over_setups
def predicted_best_split(predicted_splits: pd.DataFrame, share: float) -> Finding:
    """C11: the same laws predict the best split of a budget.

    Args:
        share: of budgets where the predicted n is at most one step from the best.

    Source: power-laws, section 2, C11.
    """
    own = predicted_splits
    if not len(own):
        return missing("no budget whose splits are all predicted")
    near = (np.log2(own["n_predicted"]) - np.log2(own["n_best"])).abs() <= 1
    shares = near.groupby(own["repetition"]).mean()
    excess = (own["cnll_of_predicted"] - own["cnll_best"]).groupby(own["repetition"]).mean()
    allowed = 2 * float(own["cnll_best_se"].mean())
    return all_of(
        at_least(Estimate.of(shares, "rounds"), share, name="share of budgets within a step"),
        at_most(
            Estimate.of(excess - allowed, "rounds"),
            0,
            name="CNLL of the predicted split less the best, less 2 s.e. of it",
        ),
    )
