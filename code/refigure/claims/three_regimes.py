"""The claims of three-regimes as predicates over tables.

The predicates are those of the specification's section 2 with its notes in sections 6 and 10; what
they leave open is said here. Test errors are with re-estimated moments of batch norm, at every
scale. Levels of runs are estimates over seeds. A rate belongs to a regime
where the runs of all its seeds do, so that a rate on a border decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from refigure.claims.statistics import (
    Comparison,
    Estimate,
    by_replicate,
    cells,
    compare_best,
    estimate,
    over_seeds,
    spearman,
)
from refigure.claims.verdict import (
    ABSENT,
    HOLDS,
    Exact,
    Finding,
    above,
    all_of,
    at_least,
    at_most,
    below,
    missing,
    monotone,
    never,
    part_of,
    recorded,
    unanimous,
    within,
    witness,
)
from refigure.tables.sphere import borders, majority, regime_at

LEVELS = {"train_loss": "loss", "effective_gradient_norm": "gradient norm"}


def three_regimes(regimes: pd.DataFrame, families: Sequence[str], count: float) -> Finding:
    """C1, C11, C12: sorted by rate the labels never fall, and each occurs often enough.

    Each seed that has all rates of its family says yes (1) or no (0); the claim is that all say
    yes.

    Args:
        regimes: of `tables.sphere.regimes`.
        families: named in the claim; a name stands for all widths of its family.
        count: how often each label must occur.
    """
    own = regimes[regimes["family"].str.split(" ").str[0].isin(families)]
    if not len(own):
        return missing(ABSENT)
    findings = []
    for family, runs in own.groupby("family", sort=False):
        answers = {
            seed: bool(
                labels.sort_values("rate")["regime"].is_monotonic_increasing
                and all((labels["regime"] == regime).sum() >= count for regime in (1, 2, 3))
            )
            for seed, labels in runs.groupby("seed")
            if len(labels) == runs["rate"].nunique()
        }
        by_seed = pd.Series(answers, index=pd.Index(answers, name="seed"))
        findings.append(unanimous(by_seed, name=f"{family}: share of seeds with three regimes"))
        edges = borders(runs).query("seed == -1").iloc[0]
        noted = {"last_r1": "last R1", "first_r2": "first R2", "last_r2": "last R2"}
        noted |= {"first_r3": "first R3", "epochs": "epochs"}
        findings += [recorded(f"{family}: {words}", edges[edge]) for edge, words in noted.items()]
    have = own["family"].str.split(" ").str[0].unique()
    return part_of(all_of(*findings), have, families)


def better_within_r1(
    regimes: pd.DataFrame,
    equal_loss: pd.DataFrame,
    family: str,
    correlation: float,
    loss_off: float = 0.2,
) -> Finding:
    """C2: over the ELRs of regime 1 the final loss and the test error fall as the ELR grows, and so
    does the gradient norm where the losses are equal.

    Args:
        regimes: of `tables.sphere.regimes`.
        equal_loss: of `tables.sphere.equal_loss`.
        family: that decides.
        correlation: Spearman's, which must be at most this; one value a seed that has all ELRs.
        loss_off: a run whose nearest measured loss is further from the common one, relatively, is
            not compared at equal loss; how many these are is recorded.
    """
    runs = _in_regime(regimes[regimes["family"] == family], 1)
    if not len(runs):
        return missing(ABSENT)
    if runs["rate"].nunique() < 3:
        return missing(f"fewer than 3 ELRs in regime 1 of {family}")
    findings = []
    whole = [seed for _, seed in runs.groupby("seed") if len(seed) == runs["rate"].nunique()]
    if not whole:
        return missing(f"no seed has every ELR of regime 1 of {family}")
    for column, name in (
        ("final_train_loss", "final loss"),
        ("final_test_error_recomputed", "test error"),
    ):
        by_seed = [spearman(seed["rate"], seed[column]) for seed in whole]
        known = None if None in by_seed else Estimate.of(by_seed, "seeds")
        findings.append(at_most(known, correlation, name=f"rank correlation of ELR and {name}"))
    norms = equal_loss[(equal_loss["family"] == family) & equal_loss["elr"].isin(runs["rate"])]
    far = norms["nearest_loss_off"] > loss_off
    findings.append(recorded("runs dropped whose loss is not equal", float(far.sum())))
    norms = norms[~far]
    if norms["elr"].nunique() < runs["rate"].nunique():
        return all_of(*findings, missing("an ELR of regime 1 has no run at the common loss"))
    name = "gradient norm at equal loss, ELR"
    column = "effective_gradient_norm_at_common_loss"
    return all_of(*findings, _trend(norms, "elr", column, "decreasing", 0, name))


def equilibrium_levels(
    regimes: pd.DataFrame, families: Sequence[str], ties: int, core_share: float, slope: float
) -> Finding:
    """C3: in the core of regime 2 the loss is stationary and grows with the ELR, and the effective
    gradient norm falls.

    Args:
        regimes: of `tables.sphere.regimes`; levels are means over the trailing half.
        families: the first of them that there is decides; others are recorded beside it.
        ties: adjacent ties within 2 standard errors that are allowed, of either quantity.
        core_share: of chance; the mean train error of a core run is below it.
        slope: by how much the log of the loss may move over the trailing half.
    """

    def levels(family: str) -> Finding:
        return _levels(regimes[regimes["family"] == family], ties, core_share, slope)

    return _first_decides(families, set(regimes["family"]), levels)


def _levels(own: pd.DataFrame, ties: int, core_share: float, slope: float) -> Finding:
    runs = _core(own, core_share)
    if runs["rate"].nunique() < 3:
        # One tie is allowed, so two ELRs would show nothing.
        return missing(f"{runs['rate'].nunique()} of at least 3 core ELRs in regime 2")
    slopes = _by_rate(runs, "rate", "loss_slope")
    return all_of(
        *(
            within(moved, -slope, slope, name=f"drift of log loss, ELR {elr}")
            for elr, moved in slopes.items()
        ),
        _trend(runs, "rate", "train_loss_half", "increasing", ties, "loss, ELR"),
        _trend(
            runs, "rate", "effective_gradient_norm_half", "decreasing", ties, "gradient norm, ELR"
        ),
    )


def same_equilibrium(
    regimes: pd.DataFrame, switched: pd.DataFrame, families: Sequence[str], difference: float
) -> Finding:
    """C4: at an ELR of regime 2 the levels are those of a run from the initial state, wherever the
    run came from.

    Args:
        regimes: of `tables.sphere.regimes`, holding the families.
        switched: of `tables.sphere.switched`.
        families: the first of them that there is decides; others are recorded beside it.
        difference: relative to the run from the initial state, seed by seed; a seed that lost its
            level, by divergence, leaves its cell open.
    """

    def levels(family: str) -> Finding:
        labels = majority(regimes[regimes["family"] == family])
        return _same_levels(labels, switched[switched["family"] == family], difference)

    return _first_decides(families, set(switched["family"]), levels)


def _same_levels(labels: pd.Series, switched: pd.DataFrame, difference: float) -> Finding:
    findings = []
    for elr, runs in switched.groupby("elr"):
        if regime_at(labels, elr) != 2:
            continue
        fresh = runs[runs["plr"].isna()].set_index("seed")
        for plr, moved in runs.dropna(subset="plr").groupby("plr"):
            for column, level in LEVELS.items():
                own = moved.set_index("seed")[column]
                seeds = own.index.intersection(fresh.index)
                if not len(seeds):
                    reason = f"no seed has ELR {elr:g} both from {plr:g} and from the start"
                    findings.append(missing(reason))
                    continue
                ratio = over_seeds(own[seeds] / fresh.loc[seeds, column] - 1)
                name = f"{level} at ELR {elr:g} from {plr:g}, relative difference"
                findings.append(within(ratio, -difference, difference, name=name))
    return all_of(*findings) if findings else missing("no target ELR in regime 2")


def _first_decides(
    families: Sequence[str], have: Collection[str], judge: Callable[[str], Finding]
) -> Finding:
    """The finding on the first family at hand; those on the others are recorded as parts."""
    present = [family for family in families if family in have]
    if not present:
        return missing(ABSENT)
    found = {family: judge(family) for family in present}
    first, *others = present
    if not others:
        return found[first]
    beside = {
        f"{family} (recorded): {name}": number
        for family in others
        for name, number in found[family].numbers.items()
    }
    return replace(
        found[first],
        numbers={**found[first].numbers, **beside},
        parts={family: (finding.verdict, finding.reason) for family, finding in found.items()},
    )


def random_walk(
    regimes: pd.DataFrame, family: str, distance: float, bounded: float, gradient_from: float
) -> Finding:
    """C5: in regime 3 weights measured one after another are as far apart as those of a random
    walk, and in regime 2 they are not; gradients are larger than at the start.

    The distance is 1 - cos. That the train error is at chance is recorded: by the rule of the
    regime it cannot lie below, and nothing lies above. The smallest ELR of regime 3 lies on the
    border, which the grid knows to one step: where larger ones are there it is recorded alone.

    Args:
        regimes: of `tables.sphere.regimes`.
        family: that decides.
        distance: how far from 1 the distance in regime 3 may be.
        bounded: the distance in regime 2 is below it.
        gradient_from: the ELR from which gradients are compared.
    """
    own = regimes[regimes["family"] == family]
    runs, second = _in_regime(own, 3), _in_regime(own, 2)
    if not len(runs):
        return missing(ABSENT if not len(own) else "no ELR in regime 3")
    runs, second = (
        part.assign(
            beside_chance=part["train_error"] - part["chance"],
            moved=1 - part["cosine_to_previous"],
            growth=part["effective_gradient_norm"] / part["first_gradient_norm"],
        )
        for part in (runs, second)
    )
    border, *inside = _by_rate(runs, "rate", "moved").items()
    findings = [
        within(value, 1 - distance, 1 + distance, name=f"distance between measures, R3, ELR {elr}")
        for elr, value in inside or [border]
    ]
    if inside and border[1] is not None:
        findings.append(recorded(f"distance between measures, border, ELR {border[0]}", border[1]))
    contrast = _by_rate(second, "rate", "moved")
    findings += [
        below(value, bounded, name=f"distance between measures, R2, ELR {elr}")
        for elr, value in contrast.items()
    ]
    if not contrast:
        findings.append(missing("no ELR in regime 2 beside it"))
    large = _by_rate(runs[runs["rate"] >= gradient_from], "rate", "growth")
    findings += [
        above(value, 1, name=f"gradient norm over the first, ELR {elr}")
        for elr, value in large.items()
    ]
    if not large:
        findings.append(missing(f"no ELR in regime 3 from {gradient_from:g}"))
    findings += [
        recorded(f"train error less chance, ELR {elr}", value)
        for elr, value in _by_rate(runs, "rate", "beside_chance").items()
        if value is not None
    ]
    return all_of(*findings)


def slow_border(convergence_times: pd.DataFrame, exponent: float) -> Finding:
    """C6: the time to converge grows with the ELR, and faster than a power of the distance to the
    ELR at which it diverges.

    Decided on the ELRs at which every seed has converged within the cap; that others have not
    agrees with the claim. The exponent is fitted seed by seed. A run that is slower than the cap
    has not diverged, so that ELR* is not bounded by it.

    Args:
        convergence_times: of `tables.sphere.convergence_times`.
        exponent: p of epochs ~ (ELR* - ELR)^-p, which must be above this.
    """
    if not len(convergence_times):
        return missing(ABSENT)
    by_elr = convergence_times.groupby("elr")["epochs_to_converge"]
    whole = convergence_times[by_elr.transform("count") == by_elr.transform("size")]
    if whole["elr"].nunique() < 4:
        return missing("fewer than 4 ELRs converge within the cap")
    name = "epochs to converge, ELR"
    grows = _trend(whole, "elr", "epochs_to_converge", "increasing", 0, name)
    fitted = [
        fit_exponent(seed["elr"], seed["epochs_to_converge"]) for _, seed in whole.groupby("seed")
    ]
    if np.isnan(fitted).any():
        return all_of(grows, missing("exponent not determined: ELR* is at an end of its search"))
    return all_of(grows, above(Estimate.of(fitted, "seeds"), exponent, name="exponent"))


def fit_exponent(elrs: Sequence[float], epochs: Sequence[float], reach: float = 3.0) -> float:
    """p of epochs = c (ELR* - ELR)^-p, by least squares of log epochs.

    ELR* is searched from the largest ELR to a multiple of it. Where it fits best at an end, the
    times are no power of a distance within: NaN.

    Args:
        elrs: that converge, at least 4.
        epochs: of each, positive.
        reach: the multiple.
    """
    elrs, logs = np.asarray(elrs, float), np.log(np.asarray(epochs, float))
    searched = elrs.max() * (1 + (reach - 1) * np.geomspace(1e-4, 1, 400))
    residuals, exponents = [], []
    for critical in searched:
        distance = np.log(critical - elrs)
        line = np.polynomial.Polynomial.fit(distance, logs, 1)
        residuals.append(float(np.square(line(distance) - logs).sum()))
        exponents.append(-float(line.convert().coef[1]))
    best = int(np.argmin(residuals))
    return exponents[best] if 0 < best < searched.size - 1 else np.nan


def better_optima(
    regimes: pd.DataFrame,
    finetuned: pd.DataFrame,
    families: Sequence[str],
    converged_loss: float,
    objects: float = 0,
) -> Finding:
    """C7: fine-tuning from regime 2 ends at a lower test error than the best run of regime 1.

    Cells are those of `tables.sphere.best_cells`: all of their seeds in regime 1, or started in
    regime 2, and converged. Each side's best is chosen by the other seeds. Families of one seed
    decide nothing where another has more; they are recorded.

    Args:
        regimes: of `tables.sphere.regimes`.
        finetuned: of `tables.sphere.finetuned`.
        families: named in the claim.
        converged_loss: final train loss of a converged run.
        objects: of the test set; 0: its error is not counted.
    """
    if not len(finetuned):
        return missing(ABSENT)
    findings = {}
    for family in families:
        comparison = _best_optima(regimes, finetuned, family, converged_loss)
        gain = comparison.gain
        if gain is None:
            continue
        if objects:
            levels = comparison.inside_level, comparison.outside_level
            gain = gain.tested_on(int(objects), *levels)
        plr, target = comparison.inside
        name = f"{family}: gain in test error, {plr:g} then {target:g}"
        name += f" against {_first(comparison.outside):g}"
        findings[family] = above(gain, 0, name=name)
    if not findings:
        return missing("no fine-tuned run from regime 2 has converged")
    single = {family for family, finding in findings.items() if _seeds(finding) == 1}
    if single == set(findings):
        return all_of(*findings.values())
    return all_of(
        *(
            Finding(HOLDS, f"{family} has 1 seed and decides nothing", finding.numbers)
            if family in single
            else finding
            for family, finding in findings.items()
        )
    )


def toy_thresholds(
    toy_levels: pd.DataFrame,
    toy_borders: pd.DataFrame,
    loss: float,
    near: float,
    near_to: float,
    far: float,
    far_to: float,
) -> Finding:
    """C8: the toy converges below ELR 1 / sum(alpha) and stays at the predicted level above.

    How far its measured borders, levels and 2-cycle are from the closed forms is recorded.

    Args:
        toy_levels: of `tables.toy.levels`; `product` is ELR * sum(alpha).
        toy_borders: of `tables.toy.measured_borders`.
        loss: the largest final F of all starts is below it where the product is below 0.99.
        near: relative difference of mean F to the theory, for products of 1.01 to `near_to`.
        near_to: a product.
        far: the same for products of `near_to` to `far_to`.
        far_to: a product.
    """
    small = toy_levels[toy_levels["product"] < 0.99]
    large = toy_levels[toy_levels["product"] >= 1.01]
    if not len(small) or not len(large):
        return missing(ABSENT)
    wrong = (large["loss_mean"] / large["loss_theory"] - 1).abs()
    is_near = large["product"] <= near_to
    is_far = ~is_near & (large["product"] <= far_to)
    kind = toy_borders["quantity"].str.split(" at ").str[0]
    errors = toy_borders["relative_error"].groupby(kind, sort=False).max()
    return all_of(
        below(Exact(small["loss_max"].max()), loss, name="largest F below the threshold"),
        at_most(_largest(wrong[is_near]), near, name=f"difference to theory up to {near_to:g}"),
        at_most(_largest(wrong[is_far]), far, name=f"difference to theory up to {far_to:g}"),
        *(recorded(f"{name}: largest relative error", error) for name, error in errors.items()),
    )


def equal_steps(toy_levels: pd.DataFrame, spread: float) -> Finding:
    """C9: in regime 2 of the toy, the effective steps of all groups are equal.

    Args:
        toy_levels: of `tables.toy.levels`.
        spread: standard deviation over groups of the mean log(1 + s^2), over its mean.
    """
    several = toy_levels["border_convergence"] < toy_levels["border_divergence"]
    second = toy_levels[
        several
        & (toy_levels["elr"] > toy_levels["border_convergence"])
        & (toy_levels["elr"] < toy_levels["border_divergence"])
    ]
    if not len(second):
        return missing(ABSENT)
    worst = second.loc[second["step_spread"].idxmax()]
    return below(
        Exact(worst["step_spread"]),
        spread,
        name=f"largest spread, at alpha {worst['alpha']} and product {worst['product']:g}",
    )


def conventional(
    regimes: pd.DataFrame,
    jumps: pd.DataFrame,
    runs: pd.DataFrame,
    onset_share: float,
    stationary_loss: float,
) -> Finding:
    """C10: with weight decay the instantaneous ELR decides: jumps at the border of regimes 1 and 2,
    an equilibrium inside regime 2.

    The ELR of a jump is that of the epoch measured before its onset: see `tables.decay.jumps`. It
    is bounded from below only; its ratio to the last ELR of regime 1 is recorded. Regime 2 reaches
    from its first ELR to its last; a run that settles in a gap of the grid, between regimes, leaves
    it open.

    Args:
        regimes: of `tables.sphere.regimes`, holding M1.
        jumps: of `tables.decay.jumps`.
        runs: of `tables.decay.runs`.
        onset_share: of the last ELR of regime 1; no jump has a smaller ELR at its onset.
        stationary_loss: a run without jumps and with a stationary loss above this is judged.
    """
    own = regimes[regimes["family"] == "M1"]
    if not len(own) or not len(runs):
        return missing(ABSENT)
    edges = borders(own).query("seed == -1").iloc[0]
    last_r1, first_r3 = edges["last_r1"], edges["first_r3"]
    first_r2, last_r2 = edges["first_r2"], edges["last_r2"]
    if not np.isfinite([last_r1, first_r2, last_r2, first_r3]).all():
        return missing("M1 does not show all three regimes")
    findings = []
    if len(jumps):
        onsets = jumps["elr_before"].dropna()
        early = int((onsets < onset_share * last_r1).sum())
        logs = jumps.assign(log_ratio=np.log(jumps["elr_before"] / last_r1)).dropna(
            subset="log_ratio"
        )
        ratio = estimate(logs.set_index(["run", "jump"])["log_ratio"]) if len(logs) else None
        findings += [
            never(early, len(onsets), name=f"jumps below {onset_share:g} of the last ELR of R1"),
            at_least(ratio, 0, name=f"log ELR at {len(onsets)} jumps over the last of R1"),
        ]
        for jump in jumps.itertuples():
            name = f"ELR before jump {jump.jump} over last R1, {_run_name(jump)}"
            findings.append(recorded(name, jump.elr_before / last_r1))
    else:
        findings.append(missing("no jump in any run"))
    settled = runs[
        (runs["jumps"] == 0) & runs["stationary"] & (runs["trailing_loss"] > stationary_loss)
    ]
    elrs = settled["trailing_elr"]
    outside = int(((elrs <= last_r1) | (elrs >= first_r3)).sum())
    in_gap = int(((elrs < first_r2) | (elrs > last_r2)).sum()) - outside
    findings.append(never(outside, len(settled) - in_gap, name="settled runs outside regime 2"))
    for run in settled.itertuples():
        findings.append(recorded(f"settled ELR, {_run_name(run)}", run.trailing_elr))
    held = runs["elr_held"].max() / first_r2
    findings.append(
        recorded("largest ELR below the floor without a jump over the first of R2", held)
    )
    if in_gap:
        reason = f"{in_gap} settled runs lie in a gap of the grid, between regimes"
        findings.append(missing(reason))
    return all_of(*findings)


def separate_minima(paths: pd.DataFrame, barrier: float) -> Finding:
    """C13: minima of regime 1 of one ELR and the next are not linearly connected, and the barrier
    between them grows with the ELR.

    Args:
        paths: of `tables.sphere.paths`.
        barrier: the log of the train loss on the line exceeds that of its ends by more than this.
    """
    if not len(paths):
        return missing(ABSENT)
    each = paths.drop_duplicates(["kind", "seed", "first_elr", "second_elr"])
    between = each[each["kind"] == "neighbours"]
    if between["first_elr"].nunique() < 2:
        return missing("fewer than 2 pairs of neighbouring ELRs in regime 1")
    barriers = {
        f"{first:g} to {second:g}": over_seeds(values)
        for (first, second), values in between.groupby(["first_elr", "second_elr"])["log_barrier"]
    }
    tuned = each[each["kind"] == "fine-tuned"].groupby(["first_elr", "second_elr"])["log_barrier"]
    return all_of(
        *(above(value, barrier, name=f"log barrier, {pair}") for pair, value in barriers.items()),
        _trend(between, "second_elr", "log_barrier", "increasing", 0, "log barrier, next ELR"),
        *(
            recorded(f"log barrier, {first:g} fine-tuned at {second:g}", over_seeds(values))
            for (first, second), values in tuned
        ),
    )


def mixed_border(regimes: pd.DataFrame, family: str, share: float, alternations: float) -> Finding:
    """C14: between regimes 2 and 3 a run alternates between the levels of both.

    Args:
        regimes: of `tables.sphere.regimes`.
        family: that decides.
        share: of the looks of the trailing half that either level has: of regime 2 a train
            error below 85 % of chance, of regime 3 one above chance less 3 points.
        alternations: changes between the two, at least.
    """
    own = regimes[regimes["family"] == family]
    if not len(own):
        return missing(ABSENT)
    edges = borders(own).query("seed == -1").iloc[0]
    if not np.isfinite([edges["last_r2"], edges["first_r3"]]).all():
        return missing("regimes 2 and 3 are not both seen")
    near = own[(own["rate"] >= edges["last_r2"]) & (own["rate"] <= edges["first_r3"])]
    both = (near["share_r2"] >= share) & (near["share_r3"] >= share)
    mixed = both & (near["alternations"] >= alternations)
    noted = [
        recorded(f"share of looks at the level of regime {regime}, ELR {elr}", value)
        for regime in (2, 3)
        for elr, value in _by_rate(near, "rate", f"share_r{regime}").items()
        if value is not None
    ]
    # A grid that has no ELR between the two says nothing.
    inside = int(((near["rate"] > edges["last_r2"]) & (near["rate"] < edges["first_r3"])).sum())
    shown = witness(
        int(mixed.sum()), len(near), name="runs that alternate", absence_decides=inside > 0
    )
    return all_of(shown, *noted)


def _in_regime(runs: pd.DataFrame, regime: int) -> pd.DataFrame:
    """The runs at the rates where all seeds are in one regime."""
    return runs[(runs["regime"] == regime).groupby(runs["rate"]).transform("all")]


def _trend(
    runs: pd.DataFrame, rate: str, column: str, direction: str, ties: int, name: str
) -> Finding:
    """Monotone in the rate; the ends are compared seed by seed."""
    values = _by_rate(runs, rate, column)
    rates = sorted(runs[rate].unique())
    ends = None
    if len(rates) > 1:
        last, first = (
            by_replicate(runs[runs[rate] == end], column) for end in (rates[-1], rates[0])
        )
        ends = estimate((last - first).dropna())
    return monotone(values, direction, ties=ties, name=name, ends=ends)


def _best_optima(
    regimes: pd.DataFrame, finetuned: pd.DataFrame, family: str, converged_loss: float
) -> Comparison:
    """The best fine-tuned cell beside the best of regime 1, by test error."""
    alone = regimes[regimes["family"] == family]
    counts = (alone["regime"] == 1) & (alone["final_train_loss"] < converged_loss)
    alone = alone[counts.groupby(alone["elr"]).transform("all")]
    tuned = finetuned[finetuned["family"] == family]
    counts = tuned["converged"].astype(bool) & (tuned["start_regime"] == 2)
    tuned = tuned[counts.groupby([tuned["plr"], tuned["elr"]]).transform("all")]
    inside = cells(tuned, ["plr", "elr"], "test_error_recomputed")
    outside = cells(alone, ["elr"], "final_test_error_recomputed")
    return compare_best(inside, outside, largest=False)


def _first(cell: object) -> float:
    return float(cell[0] if isinstance(cell, tuple) else cell)


def _largest(values: pd.Series) -> Exact | None:
    return Exact(values.max()) if len(values) else None


def _core(runs: pd.DataFrame, share: float) -> pd.DataFrame:
    """The runs at the rates where all seeds are in regime 2 and not near to regime 3."""
    core = (runs["regime"] == 2) & (runs["train_error"] < share * runs["chance"])
    return runs[core.groupby(runs["rate"]).transform("all")]


def _by_rate(runs: pd.DataFrame, rate: str, column: str) -> dict[str, Estimate | None]:
    """The estimate over seeds at each rate, in rising order."""
    return {f"{key:g}": over_seeds(values) for key, values in runs.groupby(rate)[column]}


def _run_name(row: NamedTuple) -> str:
    """A run with weight decay, of a row of its table."""
    return f"LR {row.lr:g} WD {row.wd:g} seed {row.seed}"


def _seeds(finding: Finding) -> int:
    return max(number.n for number in finding.numbers.values() if isinstance(number, Estimate))
