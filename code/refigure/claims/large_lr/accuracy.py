"""Accuracy by PLR: where it is best, how wide the optimum is, and what comes after it.

Predicates take a `Setup` of `tables.large_lr`: pretrained, finetuned, averaged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from refigure.claims.large_lr.setups import (
    LARGE,
    Setup,
    by_plr,
    clearly,
    over_setups,
    refuted,
)
from refigure.claims.statistics import (
    by_replicate,
    correlations,
    estimate,
    quantile,
    reading,
)
from refigure.claims.verdict import (
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    all_of,
    at_least,
    at_most,
    below,
    best_inside,
    missing,
    recorded,
    within,
)
from refigure.tables.large_lr import regime


@over_setups()
def fixed_lr_regimes(setup: Setup, ratio: float, points: float, correlation: float) -> Finding:
    """C1: test accuracy is best at the last PLR of regime 1 and steady up to it, falls with the PLR
    in regime 2, where it fluctuates, and is a guess in regime 3.

    Accuracy is the mean over the last epochs of pre-training, and its deviation that over them.
    That regime 3 is no better than a guess is so by the rule that finds its border; only that it is
    no worse is tested.

    Args:
        setup: with pretrained.
        ratio: of the median deviations in regimes 2 and 1, at least.
        points: between a guess and accuracy in regime 3, at most.
        correlation: of PLR and accuracy in regime 2, replicate by replicate, below this.
    """
    runs = setup.of("pretrained")
    first, second = setup.of("pretrained", "1"), setup.of("pretrained", *LARGE)
    third = setup.of("pretrained", "3")
    table = setup.cells(runs, column="test_accuracy_mean")
    border = [plr for plr in table.columns if plr == setup.edges["eta12"]]
    comparison = setup.best(table[border], table.drop(columns=border))
    deviations = [
        own.groupby([name for name in ("data", "draw", "seed") if name in own])[
            "test_accuracy_std"
        ].median()
        for own in (second, first)
    ]
    growth = estimate((deviations[0] - ratio * deviations[1]).dropna())
    trend = correlations(second, "plr", "test_accuracy_mean")
    guesses = third.assign(less=third["test_accuracy_mean"] - third["chance"])
    return all_of(
        best_inside(comparison, "pre-training", "eta12"),
        at_least(growth, 0, name=f"std in 2 - {ratio:g} std in 1"),
        below(trend, correlation, name="rank correlation of PLR and accuracy in 2"),
        *(
            within(value, -points, points, name=f"accuracy less a guess, PLR {plr:g}")
            for plr, value in by_plr(guesses, "less")
        ),
        *([] if len(third) else [missing("no PLR in regime 3")]),
    )


@over_setups(without_2a=refuted)
def optimum_above_threshold(setup: Setup, against: Sequence[str] = ("2B", "3")) -> Finding:
    """C2: fine-tuning, mean over FLRs, is best from 2A, clearly better than the best of regime 1
    with its best FLR, and clearly better than from elsewhere.

    Args:
        setup: with pretrained and finetuned.
        against: the other regimes; a setup trained in the full space has no third.
    """
    inside = setup.cells(setup.flr_means("2A"))
    findings = [clearly(setup.best(inside, setup.small()), "2A", "1")]
    for name in against:
        other = setup.cells(setup.flr_means(name))
        if other.size:
            findings.append(clearly(setup.best(inside, other), "2A", name))
        else:
            findings.append(missing(f"no PLR in {name}"))
    return all_of(*findings)


@over_setups()
def narrow_interval(
    setup: Setup,
    points: float,
    decades: float,
    share: float | None = None,
    position: float | None = None,
) -> Finding:
    """C2n, B2: the PLRs within some points of the best fine-tuning span few decades.

    The narrowest interval holds the PLRs that are shown to be within, the widest all that are not
    shown to be outside. It holds where the widest is narrow enough, and fails where the narrowest
    is not.

    Args:
        setup: with finetuned.
        points: of accuracy, mean over FLRs.
        decades: at most.
        share: of the decades of regime 2, at most; None: not asked.
        position: decades from eta12, within which all of the interval lies above it; None: not
            asked.
    """
    table = setup.cells(setup.flr_means())
    if not table.size:
        return missing("no whole cell of fine-tuning")
    narrow, wide = _near_best(table, points)
    width = [float(np.log10(max(plrs) / min(plrs))) for plrs in (narrow, wide)]
    findings = [_between(width, decades, "decades of the optimal interval")]
    grid = np.log10(np.sort(np.asarray(table.columns, float)))
    findings.append(
        recorded("decades of the grid's steps, median", float(np.median(np.diff(grid))))
    )
    eta12, eta23 = setup.edges["eta12"], setup.edges["eta23"]
    if share is not None and not np.isfinite(eta23):
        findings.append(missing("regime 2 has no end on the grid"))
    elif share is not None:
        whole = float(np.log10(eta23 / eta12))
        findings.append(_between([w / whole for w in width], share, "its share of regime 2"))
    if position is not None:
        ends = [float(np.log10(max(plrs) / eta12)) for plrs in (narrow, wide)]
        findings.append(_between(ends, position, "decades from eta12 to its end"))
        large, rest = table[table.columns[table.columns > eta12]], table
        rest = table[table.columns[table.columns <= eta12]]
        findings.append(best_inside(setup.best(large, rest), "fine-tuning", "regime 2"))
    return all_of(*findings)


@over_setups(without_2a=refuted)
def averaging(setup: Setup, count: int, points: float, guess: float) -> Finding:
    """C3: averaging is best in 2A, there as good as fine-tuning with the best FLR when it takes
    many checkpoints, changes nothing in regime 1 and yields a guess in regime 3.

    Args:
        setup: with pretrained, finetuned, averaged.
        count: of checkpoints; "many" is the largest count there is.
        points: by which averages differ from pre-training in regime 1, at most.
        guess: points above a guess in regime 3, at most.
    """
    few = setup.cells(setup.averaged(count))
    inside = setup.cells(setup.averaged(count, "2A"))
    outside = few.drop(columns=[plr for plr in inside.columns if plr in few.columns])
    most = int(setup.of("averaged")["count"].max())
    many = setup.cells(setup.averaged(most, "2A"))
    tuned = setup.cells(setup.of("finetuned", "2A"), "flr")
    gain = setup.best(many, tuned).gain
    findings = [
        best_inside(setup.best(inside, outside), f"average of {count}", "2A"),
        at_least(gain, 0, name=f"2A: average of {most} less best fine-tuning"),
    ]
    alone = setup.of("pretrained")
    for plr, own in setup.averaged(count, "1").groupby("plr"):
        before = by_replicate(alone[alone["plr"] == plr], "test_accuracy")
        change = estimate((by_replicate(own, "test_accuracy") - before).dropna())
        name = f"average less pre-training, PLR {plr:g}"
        findings.append(within(change, -points, points, name=name))
    third = setup.averaged(count, "3")
    third = third.assign(less=third["test_accuracy"] - alone["chance"].max())
    findings += [
        at_most(value, guess, name=f"average less a guess, PLR {plr:g}")
        for plr, value in by_plr(third, "less")
    ] or [missing("no PLR in regime 3")]
    return all_of(*findings)


@over_setups(without_2a=refuted)
def indifferent_to_flr(setup: Setup, points: float, ratio: float) -> Finding:
    """C4, B4: after a PLR of 2A all FLRs give the same accuracy, after one of 2B they do not.

    The spread at a PLR is the best FLR less the worst, each chosen by the other replicates; so is
    the PLR of the largest spread.

    Args:
        setup: with finetuned.
        points: the largest spread in 2A is at most this, whatever its error.
        ratio: the largest spread in 2B is at least so many times that of 2A.
    """
    if setup.of("finetuned")["flr"].nunique() < 2:
        return missing("one FLR")
    inside, outside = (
        _largest_spread(setup.cells(setup.of("finetuned", name), "flr")) for name in LARGE
    )
    if inside is None:
        return missing("no spread in 2A")
    findings = [at_most(estimate(inside), points, name="largest spread over FLRs in 2A")]
    if outside is None:
        return all_of(*findings, missing("no PLR in 2B"))
    less = estimate((outside - ratio * inside).dropna())
    name = f"largest spread in 2B less {ratio:g} times that"
    return all_of(
        *findings, at_least(less, 0, name=name), recorded("spread in 2B", estimate(outside))
    )


@over_setups()
def large_beats_small(setup: Setup) -> Finding:
    """B1: the best of regime 2, fine-tuned, is clearly better than the best of regime 1, by the
    mean over FLRs and by the best FLR.

    Args:
        setup: with pretrained and finetuned.
    """
    small = setup.small()
    by_mean = setup.cells(setup.flr_means(*LARGE))
    by_best = setup.cells(setup.of("finetuned", *LARGE), "flr")
    return all_of(
        clearly(setup.best(by_mean, small), "2, mean over FLRs", "1"),
        clearly(setup.best(by_best, small), "2, best FLR", "1"),
    )


@over_setups(without_2a=refuted)
def same_interval(setup: Setup, count: int, decades: float) -> Finding:
    """B3: the best PLRs for averaging and for fine-tuning are near each other, and both in 2A.

    A best PLR is known up to those that are not shown to be worse: it holds where all of one are
    near all of the other, and fails where none is.

    Args:
        setup: with finetuned and averaged.
        count: of checkpoints.
        decades: between the two, at most.
    """
    tables = {
        "fine-tuning": setup.cells(setup.flr_means()),
        f"average of {count}": setup.cells(setup.averaged(count)),
    }
    if not all(table.size for table in tables.values()):
        return missing("no whole cell")
    findings = []
    for name, table in tables.items():
        regimes = regime(pd.Series(table.columns), setup.edges)
        own = list(table.columns[(regimes == "2A").to_numpy()])
        comparison = setup.best(table[own], table.drop(columns=own))
        findings.append(best_inside(comparison, name, "2A"))
    optima = [np.log10(_near_best(table, 0)[1]) for table in tables.values()]
    gaps = np.abs(np.subtract.outer(*optima))
    findings.append(
        _between([float(gaps.min()), float(gaps.max())], decades, "decades between optima")
    )
    return all_of(*findings)


@over_setups()
def too_large(setup: Setup, count: int) -> Finding:
    """B5: from the upper half of 2B, fine-tuning and averaging are worse than the best of regime 1.

    The upper half holds the larger PLRs, the middle one too where their number is odd.

    Args:
        setup: with pretrained, finetuned, averaged.
        count: of checkpoints.
    """
    plrs = np.sort(setup.of("finetuned", "2B")["plr"].unique())
    upper = plrs[len(plrs) // 2 :]
    if not len(upper):
        return missing("no PLR in 2B")
    small = setup.small()
    findings = []
    averages = setup.averaged(count)
    for name, runs in (("fine-tuning", setup.flr_means()), (f"average of {count}", averages)):
        level = by_replicate(runs[runs["plr"].isin(upper)], "test_accuracy").dropna()
        gain = setup.best(level.to_frame(float(upper[0])), small).gain
        label = f"{name} from PLR {upper[0]:g} on less the best of 1"
        findings.append(below(gain, 0, name=label))
    return all_of(*findings)


@over_setups()
def bad_restart(setup: Setup, points: float) -> Finding:
    """B6: at the highest FLR fine-tuning from regime 3 ends where training from scratch at it does.

    Scratch is pre-training with that FLR as PLR, which may last longer or shorter than fine-tuning
    (how-large-lrs, trap 4).

    Args:
        setup: with pretrained and finetuned.
        points: between the two, at most.
    """
    alone, tuned = setup.of("pretrained"), setup.of("finetuned")
    high = tuned["flr"].max()
    at_high = alone[np.isclose(alone["plr"], high)]
    if not len(at_high):
        return missing(f"no run from scratch at the FLR {high:g}")
    scratch = by_replicate(at_high, "test_accuracy")
    third = setup.of("finetuned", "3")
    findings = [
        within(
            setup.difference(by_replicate(own, "test_accuracy"), scratch),
            -points,
            points,
            name=f"PLR {plr:g}",
        )
        for plr, own in third[third["flr"] == high].groupby("plr")
    ]
    return all_of(*findings) if findings else missing("no PLR in regime 3")


def _near_best(table: pd.DataFrame, points: float) -> tuple[list[float], list[float]]:
    """The PLRs shown to be within some points of the best, and those not shown to be outside."""
    means = table.groupby(level=0).mean()
    best = means.mean().idxmax()
    loss = means.mul(-1).add(means[best], axis=0)
    error = loss.std(ddof=1).fillna(np.inf) / np.sqrt(len(loss))
    margin = error * quantile(len(loss) - 1, 0.975) if len(loss) > 1 else error
    if reading():  # a published number stands as it is read
        margin[:] = 0.0
    margin[best] = 0.0
    inside = loss.mean() + margin <= points
    outside = loss.mean() - margin > points
    return list(map(float, table.columns[inside])), list(map(float, table.columns[~outside]))


def _between(ends: Sequence[float], bound: float, name: str) -> Finding:
    """At most a bound, of a number known to lie between two ends."""
    low, high = ends
    verdict = HOLDS if high <= bound else FAILS if low > bound else UNDECIDED
    reason = "" if verdict == HOLDS else f"{name}: between {low:.3g} and {high:.3g}"
    numbers = {f"{name}, at least": low, f"{name}, at most": high}
    return Finding(verdict, reason, numbers, {f"{name}, at most": bound})


def _largest_spread(table: pd.DataFrame) -> pd.Series | None:
    """Best FLR less worst at the PLR where they differ most, each chosen by the other replicates.

    Args:
        table: cells of (plr, flr).
    """
    if not table.size or table.columns.get_level_values(1).nunique() < 2:
        return None
    plrs = table.columns.get_level_values(0)
    read = {}
    for outer in table.index.get_level_values(0).unique():
        own = table.index.get_level_values(0) == outer
        means = table[~own if (~own).any() else own].mean()
        by = means.groupby(plrs)
        plr = (by.max() - by.min()).idxmax()
        high, low = means[plr].idxmax(), means[plr].idxmin()
        read |= (table.loc[own, (plr, high)] - table.loc[own, (plr, low)]).to_dict()
    return pd.Series(read, index=table.index)
