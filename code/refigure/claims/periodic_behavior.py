"""The claims of periodic-behavior as predicates over tables.

The predicates are those of the specification's section 2; what they leave open is said here. Counts
of jumps, classes and bounds are deterministic: what counts are runs, periods and jumps, not seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from refigure.claims.verdict import (
    ABSENT,
    Estimate,
    Finding,
    above,
    all_of,
    at_least,
    at_most,
    exact,
    missing,
    recorded,
    spearman,
    within,
)

ORDER = {"converging": 0, "single jump": 1, "periodic": 2, "equilibrium": 3}
CELL = ["lr", "wd"]


def periodic(runs: pd.DataFrame, jumps: float) -> Finding:
    """C1: some run has several jumps, and still jumps in its last third.

    Args:
        runs: of `tables.decay.runs`.
        jumps: how many it must have.
    """
    if not len(runs):
        return missing(ABSENT)
    found = runs[(runs["jumps"] >= jumps) & (runs["last_third_jumps"] > 0)]
    best = (found if len(found) else runs).sort_values("jumps").iloc[-1]
    numbers = {
        f"jumps, {_cell(best)}": float(best["jumps"]),
        "of them in the last third": float(best["last_third_jumps"]),
        "runs that do": float(len(found)),
    }
    reason = "" if len(found) else f"no run has {jumps:g} jumps and one in its last third"
    return exact(len(found) > 0, numbers=numbers, reason=reason)


def both_needed(runs: pd.DataFrame, jumps: pd.DataFrame, decayed: str, late: float) -> Finding:
    """C2: where a run with weight decay jumps late and often, no run without it or at a fixed norm
    jumps late.

    Compared at equal LR and over the epochs that the run without has.

    Args:
        runs: of `tables.decay.runs`: with weight decay, and of other families without.
        jumps: of `tables.decay.jumps`, of the same runs.
        decayed: the family with weight decay.
        late: late jumps that the run with weight decay must have.
    """
    others = runs[runs["family"] != decayed]
    if not len(others):
        return missing(ABSENT)
    findings = []
    with_decay = jumps[(jumps["family"] == decayed) & ~jumps["early"]]
    for run in others.itertuples():
        same = with_decay[(with_decay["lr"] == run.lr) & (with_decay["onset"] <= run.epochs)]
        counts = same.groupby("run").size()
        if counts.max() >= late:
            name = f"late jumps, {run.family} {_cell(run._asdict())}"
            findings.append(at_most(float(run.late_jumps), 0, name=name))
    if not findings:
        return missing(f"no run with decay has {late:g} late jumps at an LR of the others")
    return all_of(*findings)


def mechanism(
    periods: pd.DataFrame, jumps: pd.DataFrame, slope_min: float, slope_max: float, risen: float
) -> Finding:
    """C3: in the calm half of each period the ELR grows by weight decay alone, and a jump throws
    the norm up.

    Args:
        periods: of `tables.decay.periods`.
        jumps: of `tables.decay.jumps`. The norm at the onset is that of the epoch before: within
            its own epoch it has risen already.
        slope_min, slope_max: of the slope of log ELR an iteration over 2 lr wd.
        risen: share of jumps with a larger norm one tenth of a period later.
    """
    known = periods.dropna(subset="growth")
    if not len(periods):
        return missing(ABSENT)
    if not len(known):
        return missing("no period with three epochs in its calm half")
    growth = known["growth"]
    inside = growth.between(slope_min, slope_max)
    return all_of(
        recorded("median slope of log ELR over 2 lr wd", growth.median()),
        recorded("share of calm halves within", inside.mean()),
        at_least(float(growth.min()), slope_min, name=f"smallest of {len(known)} slopes"),
        at_most(float(growth.max()), slope_max, name=f"largest of {len(known)} slopes"),
        at_least(
            float((jumps["weight_norm_after"] > jumps["weight_norm_before"]).mean()),
            risen,
            name=f"share of {len(jumps)} jumps after which the norm is larger",
        ),
    )


def ordered_classes(runs: pd.DataFrame) -> Finding:
    """C4: along the LR, at a fixed weight decay, runs converge, then are periodic, then stay in an
    equilibrium; seed by seed.

    A single jump stands between convergence and periods.

    Args:
        runs: of `tables.decay.runs`, of one weight decay.
    """
    if not len(runs):
        return missing(ABSENT)
    findings = []
    for seed, own in runs.groupby("seed"):
        kinds = own.sort_values("lr")["kind"]
        words = ", ".join(f"{lr:g} {kind}" for lr, kind in zip(sorted(own["lr"]), kinds))
        if not kinds.isin(list(ORDER)).all():
            findings.append(missing(f"seed {seed}: {words}"))
            continue
        lacking = [
            kind for kind in ("converging", "periodic", "equilibrium") if kind not in set(kinds)
        ]
        ranks = kinds.map(ORDER)
        reason = f"seed {seed}: {words}" + (f"; none {', '.join(lacking)}" if lacking else "")
        count = {f"seed {seed}: {kind}": float((kinds == kind).sum()) for kind in ORDER}
        findings.append(
            exact(ranks.is_monotonic_increasing and not lacking, numbers=count, reason=reason)
        )
    return all_of(*findings)


def shorter_periods(runs: pd.DataFrame, correlation: float, count: float) -> Finding:
    """C5: the larger lr times wd, the shorter the mean period, over the periodic runs.

    Args:
        runs: of `tables.decay.runs`.
        correlation: Spearman's, which must be at most this.
        count: of periodic runs, at least; fewer decide nothing.
    """
    found = runs[runs["kind"] == "periodic"]
    if not len(runs):
        return missing(ABSENT)
    if len(found) < count:
        return missing(f"{len(found)} of at least {count:g} periodic runs")
    rank = spearman(found["lr"] * found["wd"], found["mean_period"])
    name = f"rank correlation of lr wd and period, {len(found)} runs"
    return all_of(
        at_most(rank, correlation, name=name),
        *(recorded(f"period, {_cell(run)}", run["mean_period"]) for _, run in found.iterrows()),
    )


def consistent(
    periods: pd.DataFrame, runs: pd.DataFrame, difference: float, count: float
) -> Finding:
    """C6: in the last third of a long run periods are as in its middle third, by the medians of
    their length and of the loss at their onset.

    Args:
        periods: of `tables.decay.periods`; one belongs to the third in which it ends.
        runs: of `tables.decay.runs`, of the same runs.
        difference: relative to the middle third.
        count: of whole periods, at least.
    """
    if not len(runs):
        return missing(ABSENT)
    findings, few = [], []
    for run in runs[runs["kind"] == "periodic"].itertuples():
        own = periods[periods["run"] == run.run]
        third = own["end"] / run.epochs * 3
        middle, last = own[(third > 1) & (third <= 2)], own[third > 2]
        if len(own) < count or not len(middle) or not len(last):
            few.append(f"{len(own)} of {count:g} periods at {_cell(run._asdict())}")
            continue
        for column, words in (("iterations", "period"), ("loss_onset", "loss at onset")):
            ratio = float(last[column].median() / middle[column].median() - 1)
            name = f"{words}, {_cell(run._asdict())}, relative difference of thirds"
            findings.append(within(ratio, -difference, difference, name=name))
    if findings:
        return all_of(*findings)
    return missing("; ".join(few) or "no periodic run")


def better_minima(periods: pd.DataFrame) -> Finding:
    """C7: the best test error at the end of a later period is lower than that of the first, by more
    than 2 standard errors over the seeds.

    The best of several is below the first by chance alone too; the claim does not allow for that.

    Args:
        periods: of `tables.decay.periods`, of several seeds; a learning rate counts if all its
            seeds have two periods.
    """
    if not len(periods):
        return missing(ABSENT)
    findings = []
    for cell, own in periods.dropna(subset="test_error").groupby(CELL):
        first = own[own["period"] == 1].set_index("seed")["test_error"]
        later = own[own["period"] > 1].groupby("seed")["test_error"].min()
        gain = (first - later).dropna()
        if len(gain) and len(gain) == own["seed"].nunique():
            name = f"gain in test error, {_cell(dict(zip(CELL, cell)))}"
            findings.append(above(Estimate.of(gain, "seeds"), 0, name=name, clearly=True))
    return (
        all_of(*findings) if findings else missing("no learning rate with two periods in each seed")
    )


def equilibrium_steps(
    runs: pd.DataFrame, ratio_min: float, ratio_max: float, whole_periods: float
) -> Finding:
    """C8: the root mean square of effective steps is that of equilibrium, in equilibrium runs over
    the trailing half and in periodic ones over whole periods.

    Every step taken counts. What is sampled at epochs is recorded too, and decides nothing: where
    an epoch has few steps, those of a jump are over before it is sampled, or are all it sees.

    Args:
        runs: of `tables.decay.runs`.
        ratio_min, ratio_max: of the root mean square over sqrt(2 lr wd).
        whole_periods: that a periodic run must have between its first jump and its last.
    """
    if not len(runs):
        return missing(ABSENT)
    findings = []
    for kind in ("equilibrium", "periodic"):
        own = runs[(runs["kind"] == kind) & runs["step_ratio"].notna()]
        if kind == "periodic":
            own = own[own["whole_periods"] >= whole_periods]
        if not len(own):
            findings.append(missing(f"no {kind} run that counts"))
        for run in own.to_dict("records"):
            where = f"{kind}, {_cell(run)}"
            findings.append(
                within(run["step_ratio"], ratio_min, ratio_max, name=f"step ratio, {where}")
            )
            findings.append(recorded(f"sampled at epochs, {where}", run["step_ratio_sampled"]))
    return all_of(*findings)


def times_in_bounds(periods: pd.DataFrame) -> Finding:
    """C9: every time to the next jump lies between the bounds of theory.

    Args:
        periods: of `tables.decay.periods`. The jump came within the `resolution` before `time`.
    """
    if not len(periods):
        return missing(ABSENT)
    known = periods.dropna(subset=["time", "time_min", "time_max"])
    if not len(known):
        return missing("no period with bounds")
    early = known["time"] < known["time_min"]
    late = known["time"] - known["resolution"] > known["time_max"]
    through = known["time"] < known["time_min_through"]
    return all_of(
        at_most(float(early.sum()), 0, name=f"of {len(known)} periods, below the lower bound"),
        at_most(float(late.sum()), 0, name=f"of {len(known)} periods, above the upper bound"),
        recorded("below it with the gradient through the jump", float(through.sum())),
        recorded("median of time over the lower bound", _ratio(known, "time_min")),
        recorded("median of time over the upper bound", _ratio(known, "time_max")),
    )


def remains(
    runs: pd.DataFrame,
    variants: Mapping[str, str],
    optional: Sequence[str],
    jumps: float,
    absence_decides: float,
) -> Finding:
    """C10, C11: in each variant some setting has several jumps.

    Args:
        runs: of `tables.decay.runs`, by family.
        variants: family -> its name, of all that the claim names.
        optional: families that may have none: recorded.
        jumps: how many.
        absence_decides: 1: a variant without them fails the claim; 0: within a short budget and on
            a stand-in it leaves the claim undecided.
    """
    if not len(runs):
        return missing(ABSENT)
    findings = []
    for family, words in variants.items():
        own = runs[runs["family"] == family]
        if not len(own):
            if family not in optional:
                findings.append(missing(f"no run of {words}"))
            continue
        most = float(own["jumps"].max())
        name = f"most jumps, {words}"
        if family in optional:
            findings.append(recorded(name, most))
        elif most >= jumps or absence_decides:
            findings.append(at_least(most, jumps, name=name))
        else:
            finding = missing(f"{words}: {most:g} of {jumps:g} jumps within the budget")
            findings.append(all_of(finding, recorded(name, most)))
    return all_of(*findings)


def _ratio(periods: pd.DataFrame, bound: str) -> float | None:
    known = periods[periods[bound] > 0]
    return float((known["time"] / known[bound]).median()) if len(known) else None


def _cell(run: Mapping[str, object]) -> str:
    parts = [f"LR {run['lr']:g}"]
    if not pd.isna(run["wd"]):
        parts.append(f"WD {run['wd']:g}")
    if run.get("setting"):
        parts.append(str(run["setting"]))
    if run.get("seed"):
        parts.append(f"seed {run['seed']}")
    return " ".join(parts)
