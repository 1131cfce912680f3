"""The claims of periodic-behavior as predicates over tables.

The predicates are those of the specification's section 2; what they leave open is said here. That
runs jump is shown by one that does; means are over runs, or over the periods of one run. A run that
never comes below its floor cannot jump by the rule, and says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from refigure.claims.statistics import (
    Estimate,
    estimate,
    spearman,
)
from refigure.claims.verdict import (
    ABSENT,
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    above,
    all_of,
    at_least,
    missing,
    never,
    recorded,
    unanimous,
    within,
    witness,
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
    return all_of(
        witness(len(found), len(_armed(runs)), name=f"runs with {jumps:g} jumps, one late"),
        recorded(f"jumps, {_cell(best)}", float(best["jumps"])),
        recorded("of them in the last third", float(best["last_third_jumps"])),
    )


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
    compared, broken, vacuous, noted = 0, 0, 0, []
    with_decay = jumps[(jumps["family"] == decayed) & ~jumps["early"]]
    for run in others.itertuples():
        same = with_decay[(with_decay["lr"] == run.lr) & (with_decay["onset"] <= run.epochs)]
        counts = same.groupby("run").size()
        if not counts.max() >= late:
            continue
        if not run.late_jumps and not _is_armed(run._asdict()):
            vacuous += 1
            continue
        compared += 1
        broken += run.late_jumps > 0
        name = f"late jumps, {run.family} {_cell(run._asdict())}"
        noted.append(recorded(name, float(run.late_jumps)))
    if not compared and vacuous:
        return missing(f"premise: {vacuous} runs without decay never come below their floor")
    if not compared:
        return missing(f"no run with decay has {late:g} late jumps at an LR of the others")
    noted.append(recorded("runs without decay that cannot jump", float(vacuous)))
    return all_of(never(broken, compared, name="runs without decay that jump late"), *noted)


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
    inside = known["growth"].between(slope_min, slope_max)
    risen_by = jumps["weight_norm_after"] > jumps["weight_norm_before"]
    return all_of(
        recorded("share of calm halves within", inside.mean()),
        within(
            _clustered(known, "growth", "period"),
            slope_min,
            slope_max,
            name="slope of log ELR over 2 lr wd",
        ),
        at_least(
            _clustered(jumps.assign(risen=risen_by.astype(float)), "risen", "jump"),
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
    answers, noted = {}, []
    for seed, own in runs.groupby("seed"):
        kinds = own.sort_values("lr")["kind"]
        words = ", ".join(f"{lr:g} {kind}" for lr, kind in zip(sorted(own["lr"]), kinds))
        if not kinds.isin(list(ORDER)).all():
            return missing(f"seed {seed}: {words}")
        lacking = [
            kind for kind in ("converging", "periodic", "equilibrium") if kind not in set(kinds)
        ]
        ranks = kinds.map(ORDER)
        answers[seed] = bool(ranks.is_monotonic_increasing and not lacking)
        noted += [recorded(f"seed {seed}: {k}", float((kinds == k).sum())) for k in ORDER]
    by_seed = pd.Series(answers, index=pd.Index(answers, name="seed"))
    return all_of(unanimous(by_seed, name="share of seeds with the three classes in order"), *noted)


def shorter_periods(
    runs: pd.DataFrame, periods: pd.DataFrame, correlation: float, count: float
) -> Finding:
    """C5: the larger lr times wd, the shorter the mean period, over the periodic runs.

    The runs are the grid; what has an error is each mean period, over its few and unequal periods.
    The periods of each run are drawn again with replacement, and the rank correlation of the means
    is shown to be below a bound where 97.5 % of the draws are, and not to be where 97.5 % are not.

    Args:
        runs: of `tables.decay.runs`.
        periods: of `tables.decay.periods`, of the same runs.
        correlation: Spearman's, which must be at most this.
        count: of periodic runs, at least; fewer decide nothing.
    """
    found = runs[runs["kind"] == "periodic"]
    if not len(runs):
        return missing(ABSENT)
    if len(found) < count:
        return missing(f"{len(found)} of at least {count:g} periodic runs")
    products = (found["lr"] * found["wd"]).to_numpy()
    lengths = [periods.loc[periods["run"] == run, "iterations"].to_numpy() for run in found["run"]]
    drawn = resampled_ranks(products, lengths)
    rank = spearman(products, [own.mean() for own in lengths])
    name = f"rank correlation of lr wd and mean period, {len(found)} runs"
    noted = [
        recorded(f"period, {_cell(run)}", estimate(_over(own, "period")))
        for (_, run), own in zip(found.iterrows(), lengths)
    ]
    return all_of(by_draws(rank, drawn, correlation, name=name), *noted)


DRAWS = 2000


def resampled_ranks(x: np.ndarray, samples: Sequence[np.ndarray]) -> np.ndarray:
    """Rank correlations of x with the means of samples that are drawn again, (draws,).

    Source: Efron (1979), the bootstrap; its generator has a seed of its own.
    """
    generator = np.random.default_rng(0)
    means = np.stack(
        [own[generator.integers(len(own), size=(DRAWS, len(own)))].mean(1) for own in samples], 1
    )
    return np.array([spearman(x, row) or 0.0 for row in means])


def by_draws(value: float | None, drawn: np.ndarray, bound: float, *, name: str) -> Finding:
    """Whether a number is at most a bound, by 97.5 % of its draws either way."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    numbers = {name: value, f"{name}: low end": float(low), f"{name}: high end": float(high)}
    if high <= bound:
        return Finding(HOLDS, "", numbers, {name: bound})
    said = f"95 % interval {low:.2f} to {high:.2f}"
    return Finding(FAILS if low > bound else UNDECIDED, said, numbers, {name: bound})


def _over(values: np.ndarray, level: str) -> pd.Series:
    return pd.Series(values, index=pd.RangeIndex(1, len(values) + 1, name=level))


def consistent(
    periods: pd.DataFrame, runs: pd.DataFrame, difference: float, count: float
) -> Finding:
    """C6: in the last third of a long run periods are as in its middle third, by the mean
    logarithms of their length and of the loss at their onset.

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
            logs = [
                Estimate.of(np.log(third[column].to_numpy()), "periods") for third in (last, middle)
            ]
            name = f"log {words}, {_cell(run._asdict())}, last third less middle"
            low, high = np.log([1 - difference, 1 + difference])
            findings.append(within(logs[0] - logs[1], low, high, name=name))
    if findings:
        return all_of(*findings)
    return missing("; ".join(few) or "no periodic run")


def better_minima(periods: pd.DataFrame) -> Finding:
    """C7: the test error at the ends of later periods, their mean, is lower than that of the first.

    With re-estimated moments of batch norm: running ones lag by more than minima differ. The best
    of several is below the first by chance alone too; it is recorded.

    Args:
        periods: of `tables.decay.periods`, of several seeds; a learning rate counts if all its
            seeds have two periods.
    """
    if not len(periods):
        return missing(ABSENT)
    findings, noted = [], []
    error = "test_error_recomputed"
    for cell, own in periods.dropna(subset=error).groupby(CELL):
        first = own[own["period"] == 1].set_index("seed")[error]
        later = own[own["period"] > 1].groupby("seed")[error].agg(["mean", "min"])
        gain = (first - later["mean"]).dropna()
        if not len(gain) or len(gain) < own["seed"].nunique():
            continue
        words = _cell(dict(zip(CELL, cell)))
        finding = above(estimate(gain), 0, name=f"gain in test error, {words}")
        best = estimate((first - later["min"]).dropna())
        noted.append(recorded(f"gain of the best later, {words}", best))
        if len(gain) > 1:
            findings.append(finding)
        else:
            noted.append(recorded(f"gain in test error, {words}", estimate(gain)))
    if not findings:
        reason = "no learning rate with two periods in each of two seeds"
        return all_of(missing("1 seed" if noted else reason), *noted)
    return all_of(*findings, *noted)


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
            continue
        steps = estimate(own.set_index(_runs_index(own))["step_ratio"])
        findings.append(within(steps, ratio_min, ratio_max, name=f"step ratio, {kind} runs"))
        for run in own.to_dict("records"):
            where = f"{kind}, {_cell(run)}"
            findings.append(recorded(f"step ratio, {where}", run["step_ratio"]))
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
        never(int(early.sum()), len(known), name="periods below the lower bound"),
        never(int(late.sum()), len(known), name="periods above the upper bound"),
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
        else:
            found = int((own["jumps"] >= jumps).sum())
            shown = witness(
                found,
                len(_armed(own)),
                name=f"{words}: runs with {jumps:g} jumps",
                absence_decides=bool(absence_decides),
            )
            if shown.verdict != HOLDS:
                shown = replace(shown, reason=f"{words}: {shown.reason}")
            findings.append(all_of(shown, recorded(name, most)))
    return all_of(*findings)


def _is_armed(run: Mapping[str, object]) -> bool:
    """Whether the rule could see a jump: the run jumped, or its loss ends below its floor."""
    return bool(run["jumps"] > 0 or run["trailing_loss"] < run["floor"] or run["floor"] == 0)


def _armed(runs: pd.DataFrame) -> list[dict]:
    return [run for run in runs.to_dict("records") if _is_armed(run)]


def _runs_index(frame: pd.DataFrame) -> pd.Index:
    return pd.Index(frame["run"], name="run")


def _clustered(frame: pd.DataFrame, column: str, inner: str) -> Estimate | None:
    """The mean over runs, or over the periods or jumps of the one run there is."""
    if len(frame["run"].unique()) > 1:
        index = pd.MultiIndex.from_arrays([frame["run"], frame[inner]], names=["run", inner])
    else:
        index = pd.Index(frame[inner], name=inner)
    return estimate(pd.Series(frame[column].to_numpy(), index=index))


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
