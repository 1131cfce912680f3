"""The claims of where-large-lrs and how-large-lrs as predicates over tables.

The second paper's claims restate the first one's: the same functions decide both. The predicates
are those of the specifications' section 2; what they leave open is said here. A setup is a network
and its data; seeds of one setup are paired, as they begin at the same weights. A setup with one
seed decides nothing. "Regime" is by the borders of `tables.large_lr.bounds`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from refigure.claims.verdict import (
    ABSENT,
    Estimate,
    Finding,
    above,
    all_of,
    any_of,
    at_least,
    at_most,
    below,
    exact,
    finite_or_none,
    missing,
    monotone,
    part_of,
    recorded,
    spearman,
    within,
)
from refigure.tables.large_lr import (
    Best,
    best,
    best_regime_1,
    flr_means,
    optimal_plrs,
    regime,
)

PAIRS = ("low-high", "swa-high", "swa-low")
BARRIERS = ("train_barrier", "test_barrier")

Frames = dict[str, pd.DataFrame]
Judge = Callable[[dict, Frames], Finding]


def fixed_lr_regimes(
    pretrained: pd.DataFrame, bounds: pd.DataFrame, ratio: float, points: float, correlation: float
) -> Finding:
    """C1: test accuracy is best at the last PLR of regime 1 and steady up to it, falls with the PLR
    in regime 2, where it fluctuates, and is a guess in regime 3.

    Args:
        pretrained, bounds: of `tables.large_lr`; accuracy is the mean over the last epochs of
            pre-training, and its deviation over them.
        ratio: of the median deviations in regimes 2 and 1, at least.
        points: between a guess and accuracy in regime 3, at most.
        correlation: of PLR and accuracy in regime 2, seed by seed, below this.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        runs = frames["pretrained"].rename(columns={"test_accuracy_mean": "mean"})
        first, second, third = (_in(runs, names) for names in (["1"], ["2A", "2B"], ["3"]))
        peak = best(runs.assign(test_accuracy=runs["mean"]))
        last = first[first["plr"] == edges["eta12"]].set_index("seed")["mean"]
        findings = [_is_best(peak, (edges["eta12"], last), "pre-training", "eta12")]
        noise = [runs.groupby("seed")["test_accuracy_std"].median() for runs in (second, first)]
        findings.append(
            at_least(_paired(noise[0], ratio * noise[1]), 0, name=f"std in 2 - {ratio:g} std in 1")
        )
        trend = [
            spearman(seed["plr"], seed["mean"])
            for _, seed in second.groupby("seed")
            if len(seed) > 2 and seed["mean"].notna().all()
        ]
        known = Estimate.of(trend, "seeds") if trend and None not in trend else None
        findings.append(below(known, correlation, name="rank correlation of PLR and accuracy in 2"))
        findings += [
            within(value, -points, points, name=f"accuracy less a guess, PLR {plr:g}")
            for plr, value in _by_plr(third.assign(less=third["mean"] - third["chance"]), "less")
        ] or [missing("no PLR in regime 3")]
        return all_of(*findings)

    return _over_setups(judge, bounds, None, pretrained=pretrained)


def optimum_above_threshold(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    bounds: pd.DataFrame,
    against: Sequence[str] = ("2B", "3"),
    setups: Sequence[str] | None = None,
) -> Finding:
    """C2: fine-tuning, mean over FLRs, is best from 2A, clearly better than the best of regime 1
    with its best FLR, and clearly better than from elsewhere.

    Args:
        pretrained, finetuned, bounds: of `tables.large_lr`.
        against: the other regimes; a setup trained in the full space has no third.
        setups: that the claim names; all at hand by default.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        alone, tuned = frames["pretrained"], frames["finetuned"]
        means = _labelled(flr_means(tuned), edges)
        inside = best(_in(means, ["2A"]))
        top = best(means)
        r1 = best_regime_1(_in(alone, ["1"]), _in(tuned, ["1"]))
        findings = [_is_best(top, inside, "fine-tuning", "2A"), _clearly(inside, r1, "2A", "1")]
        for name in against:
            other = best(_in(means, [name]))
            if len(other[1]):
                findings.append(_clearly(inside, other, "2A", name))
            else:
                findings.append(missing(f"no PLR in {name}"))
        return all_of(*findings)

    frames = {"pretrained": pretrained, "finetuned": finetuned}
    return _over_setups(judge, bounds, setups, without_2a=_refuted, **frames)


def narrow_interval(
    finetuned: pd.DataFrame,
    bounds: pd.DataFrame,
    points: float,
    decades: float,
    share: float | None = None,
    setups: Sequence[str] | None = None,
) -> Finding:
    """C2n, B2: the PLRs within some points of the best fine-tuning span few decades.

    Args:
        finetuned, bounds: of `tables.large_lr`.
        points: of accuracy, mean over FLRs.
        decades: at most.
        share: of the decades of regime 2, at most; None: not asked.
        setups: that the claim names; all at hand by default.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        optimal = optimal_plrs(frames["finetuned"], points)
        width = float(np.log10(optimal.max() / optimal.min()))
        findings = [at_most(width, decades, name="decades of the optimal interval")]
        grid = np.sort(frames["finetuned"]["plr"].unique())
        findings.append(recorded("decades of the grid's steps, median", _step(grid)))
        if share is not None and not np.isfinite(edges["eta23"]):
            findings.append(missing("regime 2 has no end on the grid"))
        elif share is not None:
            whole = float(np.log10(edges["eta23"] / edges["eta12"]))
            findings.append(at_most(width / whole, share, name="its share of regime 2"))
        return all_of(*findings)

    return _over_setups(judge, bounds, setups, finetuned=finetuned)


def averaging(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    averaged: pd.DataFrame,
    bounds: pd.DataFrame,
    count: int,
    points: float,
    guess: float,
) -> Finding:
    """C3: averaging is best in 2A, there as good as fine-tuning with the best FLR when it takes
    many checkpoints, changes nothing in regime 1 and yields a guess in regime 3.

    Args:
        pretrained, finetuned, averaged, bounds: of `tables.large_lr`.
        count: of checkpoints; "many" is the largest count there is.
        points: by which averages differ from pre-training in regime 1, at most.
        guess: points above a guess in regime 3, at most.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        alone, tuned, averages = (frames[key] for key in ("pretrained", "finetuned", "averaged"))
        few = averages[averages["count"] == count]
        most = averages["count"].max()
        inside = best(_in(few, ["2A"]))
        findings = [_is_best(best(few), inside, f"average of {count}", "2A")]
        at = [runs[runs["plr"] == inside[0]] for runs in (averages, tuned)]
        many = at[0][at[0]["count"] == most].set_index("seed")["test_accuracy"]
        gain = _paired(many, best(at[1], "flr")[1])
        findings.append(
            at_least(gain, 0, name=f"average of {most} less best fine-tuning, PLR {inside[0]:g}")
        )
        own = alone.set_index(["plr", "seed"])["test_accuracy"]
        few = few.set_index(["plr", "seed"])
        few = few.assign(change=few["test_accuracy"] - own, chance=alone["chance"].max())
        few = few.assign(less=few["test_accuracy"] - few["chance"]).reset_index()
        findings += [
            within(value, -points, points, name=f"average less pre-training, PLR {plr:g}")
            for plr, value in _by_plr(_in(few, ["1"]), "change")
        ]
        findings += [
            at_most(value, guess, name=f"average less a guess, PLR {plr:g}")
            for plr, value in _by_plr(_in(few, ["3"]), "less")
        ] or [missing("no PLR in regime 3")]
        return all_of(*findings)

    frames = {"pretrained": pretrained, "finetuned": finetuned, "averaged": averaged}
    return _over_setups(judge, bounds, None, without_2a=_refuted, **frames)


def indifferent_to_flr(
    finetuned: pd.DataFrame, bounds: pd.DataFrame, points: float, ratio: float
) -> Finding:
    """C4, B4: after a PLR of 2A all FLRs give the same accuracy, after one of 2B they do not.

    The spread at a PLR is the difference of the FLRs with the best and the worst mean over seeds;
    in 2A it is allowed two of its standard errors where that is more than `points`.

    Args:
        finetuned, bounds: of `tables.large_lr`.
        points: the largest spread in 2A is at most this.
        ratio: the largest spread in 2B is at least so many times that of 2A.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        tuned = frames["finetuned"]
        if tuned["flr"].nunique() < 2:
            return missing("one FLR")
        (inside_plr, inside), (outside_plr, outside) = (
            _largest_spread(_in(tuned, [name])) for name in ("2A", "2B")
        )
        if inside is None:
            return missing("no spread in 2A")
        allowed = max(points, inside.margin or 0)
        name = f"spread over FLRs in 2A, PLR {inside_plr:g}"
        findings = [at_most(inside, allowed, name=name)]
        if outside is None:
            findings.append(missing("no PLR in 2B"))
        else:
            less = outside - ratio * inside
            other = f"spread in 2B, PLR {outside_plr:g}, less {ratio:g} times that"
            findings += [at_least(less, 0, name=other), recorded("spread in 2B", outside)]
        return all_of(*findings)

    return _over_setups(judge, bounds, None, without_2a=_refuted, finetuned=finetuned)


def one_basin(
    geometry: pd.DataFrame,
    bounds: pd.DataFrame,
    barrier: float,
    pairs: Sequence[str] = PAIRS,
    setups: Sequence[str] | None = None,
) -> Finding:
    """C5a, half of B8: from every PLR of 2A the ends are linearly connected, in train and test.

    Args:
        geometry, bounds: of `tables.large_lr`.
        barrier: percentage points, that mean barriers are below.
        pairs: of ends.
        setups: that the claim names; all at hand by default.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        inside = _in(frames["geometry"], ["2A"])
        findings = []
        for pair in pairs:
            for column in BARRIERS:
                found = _by_plr(inside[inside["pair"] == pair], column)
                known = [(plr, value) for plr, value in found if value is not None]
                if len(known) < inside["plr"].nunique() or not known:
                    findings.append(missing(f"no {column} of {pair} at some PLR of 2A"))
                    continue
                plr, worst = max(known, key=lambda item: item[1].value)
                name = f"largest {_words(column)} {pair} in 2A, PLR {plr:g}"
                findings.append(below(worst, barrier, name=name))
        return all_of(*findings)

    return _over_setups(judge, bounds, setups, without_2a=_refuted, geometry=geometry)


def separate_basins(
    geometry: pd.DataFrame, bounds: pd.DataFrame, correlation: float, barrier: float
) -> Finding:
    """C5b, half of B8: from 2B on the train barrier between both FLRs grows with the PLR, and in
    regime 3 it is high.

    Args:
        geometry, bounds: of `tables.large_lr`.
        correlation: of PLR and barrier over 2B and 3, seed by seed, above this.
        barrier: percentage points, that mean barriers of regime 3 are above.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        rows = frames["geometry"]
        rows = rows[rows["pair"] == "low-high"]
        beyond, third = _in(rows, ["2B", "3"]), _in(rows, ["3"])
        if beyond["plr"].nunique() < 3:
            return missing(f"{beyond['plr'].nunique()} of at least 3 PLRs in 2B and 3")
        trend = [
            spearman(seed["plr"], seed["train_barrier"])
            for _, seed in beyond.groupby("seed")
            if len(seed) == beyond["plr"].nunique()
        ]
        known = Estimate.of(trend, "seeds") if trend and None not in trend else None
        findings = [above(known, correlation, name="rank correlation of PLR and train barrier")]
        findings += [
            above(value, barrier, name=f"train barrier low-high, PLR {plr:g}")
            for plr, value in _by_plr(third, "train_barrier")
        ] or [missing("no PLR in regime 3")]
        return all_of(*findings)

    return _over_setups(judge, bounds, None, geometry=geometry)


def basins(
    geometry: pd.DataFrame,
    bounds: pd.DataFrame,
    barrier: float,
    correlation: float,
    barrier_in_3: float,
) -> Finding:
    """B8: `one_basin` for the pair of both FLRs, and `separate_basins`."""
    return all_of(
        one_basin(geometry, bounds, barrier, ["low-high"]),
        separate_basins(geometry, bounds, correlation, barrier_in_3),
    )


def unstable_minima(
    geometry: pd.DataFrame, bounds: pd.DataFrame, angle: float, barrier: float, near: float
) -> Finding:
    """C5c: some PLR of regime 1 ends in a minimum that the larger FLR leaves; none near eta12 does.

    To leave is to end at an angle and behind a train barrier from where the smaller FLR ends.

    Args:
        geometry, bounds: of `tables.large_lr`.
        angle: radians, above which a minimum is left, if also
        barrier: percentage points, is exceeded.
        near: PLRs from eta12 / near to eta12 are near it.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        rows = _in(frames["geometry"], ["1"])
        rows = rows[rows["pair"] == "low-high"]
        leaves, stays = [], []
        angles, barriers = dict(_by_plr(rows, "angle")), dict(_by_plr(rows, "train_barrier"))
        for plr, apart in angles.items():
            names = f"angle low-high, PLR {plr:g}", f"train barrier low-high, PLR {plr:g}"
            wall = barriers[plr]
            leaves.append(
                all_of(above(apart, angle, name=names[0]), above(wall, barrier, name=names[1]))
            )
            if plr >= edges["eta12"] / near * (1 - 1e-9):
                stays.append(
                    any_of(
                        at_most(apart, angle, name=names[0]), at_most(wall, barrier, name=names[1])
                    )
                )
        if not leaves:
            return missing("no PLR in regime 1")
        return all_of(any_of(*leaves), *stays)

    return _over_setups(judge, bounds, None, geometry=geometry)


def useful_frequencies(
    bands: pd.DataFrame, bounds: pd.DataFrame, band: str, stages: Sequence[str]
) -> Finding:
    """C7: accuracy on the middle band alone is best from 2A, clearly above that of the best PLR of
    regime 1, after pre-training, fine-tuning at the small FLR and averaging.

    Args:
        bands, bounds: of `tables.large_lr`.
        band: the middle one.
        stages: that must show it.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        findings = []
        rows = frames["bands"].assign(test_accuracy=frames["bands"]["accuracy"])
        for stage in stages:
            own = rows[(rows["band"] == band) & (rows["stage"] == stage)]
            inside, r1 = best(_in(own, ["2A"])), best(_in(own, ["1"]))
            findings += [
                _is_best(best(own), inside, f"{band} band, {stage}", "2A"),
                _clearly(inside, r1, f"{stage}: {band} band 2A", "1"),
            ]
        return all_of(*findings)

    return _over_setups(judge, bounds, None, without_2a=missing, bands=bands)


def sparse_features(
    features: pd.DataFrame, bounds: pd.DataFrame, stages: Sequence[str], points: float
) -> Finding:
    """C6a: the best single feature is learned much better in 2A than in regime 1.

    Args:
        features: of `tables.ticks.features`.
        bounds: of `tables.large_lr`.
        stages: after which it must be so.
        points: of accuracy, by which at least; and by more than two standard errors.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        findings = []
        for stage in stages:
            gain = _paired(
                _of_rank(frames["features"], stage, "2A", 1),
                _of_rank(frames["features"], stage, "1", 1),
            )
            name = f"best feature, {stage}: 2A less 1"
            findings.append(above(gain, points, name=name))
            findings.append(above(gain, 0, name=f"{name}, clearly", clearly=gain is not None))
        return all_of(*findings)

    return _over_setups(judge, bounds, None, without_2a=missing, features=features)


def sparsity_stays(features: pd.DataFrame, bounds: pd.DataFrame, points: float) -> Finding:
    """C6b: what 2A learned of its best feature survives fine-tuning at a small FLR.

    Args:
        features: of `tables.ticks.features`.
        bounds: of `tables.large_lr`.
        points: of accuracy, that may be lost.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        after, before = (_of_rank(frames["features"], stage, "2A", 1) for stage in ("ft_low", "pt"))
        name = "best feature in 2A, fine-tuned less before"
        return at_least(_paired(after, before), -points, name=name)

    return _over_setups(judge, bounds, None, without_2a=missing, features=features)


def features_at_the_ends(
    features: pd.DataFrame, bounds: pd.DataFrame, accuracy: float, rank: int
) -> Finding:
    """C6c: regime 3 learns no feature, regime 1 all about equally little.

    Args:
        features: of `tables.ticks.features`.
        bounds: of `tables.large_lr`.
        accuracy: percent, below which the best feature is in regime 3.
        rank: the gap is that of the best feature to the one of this rank; smaller in 1 than in 2A.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        rows = frames["features"]
        gaps = {
            name: _of_rank(rows, "pt", name, 1) - _of_rank(rows, "pt", name, rank)
            for name in ("1", "2A")
        }
        third = _of_rank(rows, "pt", "3", 1)
        known = Estimate.of(third.to_numpy(), "seeds") if len(third) else None
        return all_of(
            below(known, accuracy, name="best feature in regime 3"),
            above(_paired(gaps["2A"], gaps["1"]), 0, name=f"gap of rank 1 to {rank}, 2A less 1"),
        )

    return _over_setups(judge, bounds, None, without_2a=missing, features=features)


def _of_rank(features: pd.DataFrame, stage: str, regime: str, rank: int) -> pd.Series:
    """Accuracy on the features of one rank by run, mean over the PLRs of a regime."""
    rows = features[(features["stage"] == stage) & (features["rank"] == rank)]
    return _in(rows, [regime]).groupby("seed")["accuracy"].mean()


def slow_convergence(
    times: pd.DataFrame, finetuned: pd.DataFrame, bounds: pd.DataFrame, ratio: float
) -> Finding:
    """C8: towards the border the time to converge grows, by a large factor in all, and what has
    converged is still worse than fine-tuning from 2A.

    Judged on PLRs at which every seed converges. Where the cap of epochs allows no such factor, it
    is undecided.

    Args:
        times: of `tables.sphere.convergence_times`, of the network and data of the one setup.
        finetuned, bounds: of `tables.large_lr`.
        ratio: of the times at the last PLR and the first, above this.
    """
    if not len(times):
        return missing(ABSENT)
    times = times.rename(columns={"elr": "plr"})
    times = times.groupby("plr").filter(lambda cell: cell["epochs_to_converge"].notna().all())
    cells = _by_plr(times, "epochs_to_converge")
    if len(cells) < 2:
        return missing(f"{len(cells)} of at least 2 PLRs converge within the cap")
    findings = [
        monotone({f"{plr:g}": n for plr, n in cells}, "increasing", ties=0, name="epochs, PLR")
    ]
    by_seed = times.set_index(["plr", "seed"])["epochs_to_converge"]
    first, last = by_seed[cells[0][0]], by_seed[cells[-1][0]]
    growth = Estimate.of((last / first).dropna().to_numpy(), "seeds")
    possible = times["cap"].max() / first.mean()
    if possible > ratio:
        findings.append(above(growth, ratio, name="times at the last PLR over the first"))
    else:
        findings.append(recorded("times at the last PLR over the first", growth))
        findings.append(missing(f"the cap allows a factor of {possible:.3g}, not {ratio:g}"))

    def judge(edges: dict, frames: Frames) -> Finding:
        inside = best(_in(_labelled(flr_means(frames["finetuned"]), edges), ["2A"]))
        longest = best(times.assign(test_accuracy=100 - times["test_error"]))
        name = f"best converged less fine-tuned from 2A, PLR {inside[0]:g}"
        return below(_paired(longest[1], inside[1]), 0, name=name)

    findings.append(_over_setups(judge, bounds, None, without_2a=missing, finetuned=finetuned))
    return all_of(*findings)


def last_stage_decides(two_stage: pd.DataFrame, points: float) -> Finding:
    """C9: pre-trained in 2B and then in 2A, fine-tuning is as good as from 2A, and clearly better
    than from 2B, at every FLR.

    Args:
        two_stage: of `tables.large_lr.two_stages`.
        points: that it may be worse than from 2A.
    """
    if not len(two_stage):
        return missing(ABSENT)
    findings = []
    for flr, runs in two_stage.groupby("flr"):
        of = {start: own.set_index("seed")["test_accuracy"] for start, own in runs.groupby("start")}
        if not {"2B", "2B, 2A", "2A"} <= set(of):
            findings.append(missing(f"FLR {flr:g}: a start is missing"))
            continue
        both = of["2B, 2A"]
        less = _paired(both, of["2A"])
        gain = _paired(both, of["2B"])
        findings += [
            at_least(less, -points, name=f"2B, 2A less 2A, FLR {flr:g}"),
            above(gain, 0, name=f"2B, 2A less 2B, FLR {flr:g}", clearly=gain is not None),
        ]
    return all_of(*findings)


def spread_of_norms(norms: pd.DataFrame, order: Sequence[str]) -> Finding:
    """C10: the logarithms of filters' shares in the norm spread more and more in this order.

    Args:
        norms: of `tables.large_lr.norms`; a filter that is exactly 0 is left out.
        order: stages.
    """
    finite = norms[np.isfinite(norms["log10_share"])]
    spread = {
        stage: own.groupby("seed")["log10_share"].std(ddof=0)
        for stage, own in finite.groupby("stage")
    }
    if not len(norms):
        return missing(ABSENT)
    if absent := [stage for stage in order if stage not in spread]:
        return missing(f"no runs of {', '.join(absent)}")
    findings = [
        above(_paired(spread[more], spread[less]), 0, name=f"std of log10 norm, {more} - {less}")
        for less, more in pairwise(order)
    ]
    findings += [recorded(f"std, {stage}", Estimate.of(spread[stage], "seeds")) for stage in order]
    return all_of(*findings)


def practice(
    setups: Sequence[str], against: Sequence[str], barrier: float, **frames: pd.DataFrame
) -> Finding:
    """C11: `optimum_above_threshold` and `one_basin` on conventional training.

    Args:
        setups: that the claim names.
        against: as of `optimum_above_threshold`.
        barrier: as of `one_basin`.
        frames: pretrained, finetuned, geometry and bounds; what begins with one of these words and
            an underscore is further setups.
    """
    of = {
        key: pd.concat([frame for name, frame in frames.items() if name.split("_")[0] == key])
        for key in ("pretrained", "finetuned", "geometry", "bounds")
    }
    return all_of(
        optimum_above_threshold(of["pretrained"], of["finetuned"], of["bounds"], against, setups),
        one_basin(of["geometry"], of["bounds"], barrier, setups=setups),
    )


def sharpness_is_no_function(sharpness: pd.DataFrame, correlation: float, runs: int) -> Finding:
    """C12: among the runs fine-tuned from one PLR of regime 2, sharpness and test error are hardly
    related, or related in opposite ways from different PLRs.

    Args:
        sharpness: of `tables.large_lr.sharpness`.
        correlation: rank correlations are smaller in size, or differ in sign.
        runs: that a PLR needs to count.
    """
    if not len(sharpness):
        return missing(ABSENT)
    found = {}
    for plr, own in sharpness[sharpness["regime"] != "1"].groupby("plr"):
        if len(own) >= runs:
            found[plr] = spearman(own["sharpness"], own["test_error"])
    known = {plr: value for plr, value in found.items() if value is not None}
    if len(known) < 2:
        return missing(f"{len(known)} of at least 2 PLRs of regime 2 with {runs:g} runs or more")
    if len(set(sharpness["seed"])) == 1:
        return missing("1 seed")
    values = np.array(list(known.values()))
    small = bool((np.abs(values) < correlation).all())
    differ = bool(values.min() < 0 < values.max())
    numbers = {f"rank correlation, PLR {plr:g}": value for plr, value in known.items()}
    reason = "signs differ" if differ else ""
    if not small and not differ:
        reason = f"all of one sign, and not all below {correlation:g} in size"
    return exact(small or differ, numbers=numbers, reason=reason)


def large_beats_small(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    bounds: pd.DataFrame,
    setups: Sequence[str] | None = None,
) -> Finding:
    """B1: the best of regime 2, fine-tuned, is clearly better than the best of regime 1, by the
    mean over FLRs and by the best FLR.

    Args:
        pretrained, finetuned, bounds: of `tables.large_lr`.
        setups: that the claim names; all at hand by default.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        alone, tuned = frames["pretrained"], frames["finetuned"]
        r1 = best_regime_1(_in(alone, ["1"]), _in(tuned, ["1"]))
        means = _labelled(flr_means(tuned), edges)
        return all_of(
            _clearly(best(_in(means, ["2A", "2B"])), r1, "2, mean over FLRs", "1"),
            _clearly(best(_in(tuned, ["2A", "2B"]), "flr"), r1, "2, best FLR", "1"),
        )

    frames = {"pretrained": pretrained, "finetuned": finetuned}
    return _over_setups(judge, bounds, setups, **frames)


def same_interval(
    finetuned: pd.DataFrame,
    averaged: pd.DataFrame,
    bounds: pd.DataFrame,
    count: int,
    decades: float,
    setups: Sequence[str] | None = None,
) -> Finding:
    """B3: the best PLRs for averaging and for fine-tuning are near each other, and both in 2A.

    Args:
        finetuned, averaged, bounds: of `tables.large_lr`.
        count: of checkpoints.
        decades: between the two, at most.
        setups: that the claim names; all at hand by default.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        means = _labelled(flr_means(frames["finetuned"]), edges)
        few = frames["averaged"]
        few = few[few["count"] == count]
        tops = {"fine-tuning": means, f"average of {count}": few}
        findings = [
            _is_best(best(runs), best(_in(runs, ["2A"])), name, "2A") for name, runs in tops.items()
        ]
        apart = [np.log10(best(runs)[0]) for runs in tops.values()]
        gap = finite_or_none(abs(apart[0] - apart[1]))
        return all_of(*findings, at_most(gap, decades, name="decades between the optima"))

    frames = {"finetuned": finetuned, "averaged": averaged}
    return _over_setups(judge, bounds, setups, without_2a=_refuted, **frames)


def too_large(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    averaged: pd.DataFrame,
    bounds: pd.DataFrame,
    count: int,
) -> Finding:
    """B5: from the upper half of 2B, fine-tuning and averaging are worse than the best of regime 1.

    The upper half holds the larger PLRs, the middle one too where their number is odd.

    Args:
        pretrained, finetuned, averaged, bounds: of `tables.large_lr`.
        count: of checkpoints.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        alone, tuned, averages = (frames[key] for key in ("pretrained", "finetuned", "averaged"))
        plrs = np.sort(_in(tuned, ["2B"])["plr"].unique())
        upper = plrs[len(plrs) // 2 :]
        if not len(upper):
            return missing("no PLR in 2B")
        _, r1 = best_regime_1(_in(alone, ["1"]), _in(tuned, ["1"]))
        few = averages[averages["count"] == count]
        findings = []
        for name, runs in (("fine-tuning", flr_means(tuned)), (f"average of {count}", few)):
            level = runs[runs["plr"].isin(upper)].groupby("seed")["test_accuracy"].mean()
            label = f"{name} from PLR {upper[0]:g} on less the best of 1"
            findings.append(below(_paired(level, r1), 0, name=label))
        return all_of(*findings)

    frames = {"pretrained": pretrained, "finetuned": finetuned, "averaged": averaged}
    return _over_setups(judge, bounds, None, **frames)


def bad_restart(
    pretrained: pd.DataFrame, finetuned: pd.DataFrame, bounds: pd.DataFrame, points: float
) -> Finding:
    """B6: at the highest FLR fine-tuning from regime 3 ends where training from scratch at it does.

    Scratch is pre-training with that FLR as PLR, which may last longer or shorter than fine-tuning
    (how-large-lrs, trap 4).

    Args:
        pretrained, finetuned, bounds: of `tables.large_lr`.
        points: between the two, at most.
    """

    def judge(edges: dict, frames: Frames) -> Finding:
        alone, tuned = frames["pretrained"], frames["finetuned"]
        high = tuned["flr"].max()
        scratch = alone[np.isclose(alone["plr"], high)].set_index("seed")["test_accuracy"]
        if not len(scratch):
            return missing(f"no run from scratch at the FLR {high:g}")
        third = _in(tuned, ["3"])
        third = third[third["flr"] == high].set_index("seed")
        findings = [
            within(_paired(own["test_accuracy"], scratch), -points, points, name=f"PLR {plr:g}")
            for plr, own in third.groupby("plr")
        ]
        return all_of(*findings) if findings else missing("no PLR in regime 3")

    frames = {"pretrained": pretrained, "finetuned": finetuned}
    return _over_setups(judge, bounds, None, **frames)


def in_practice(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    averaged: pd.DataFrame,
    bounds: pd.DataFrame,
    setups: Sequence[str],
    points: float,
    decades: float,
    share: float,
    count: int,
    decades_apart: float,
) -> Finding:
    """B7: `large_beats_small`, `narrow_interval` and `same_interval` on conventional training."""
    return all_of(
        large_beats_small(pretrained, finetuned, bounds, setups),
        narrow_interval(finetuned, bounds, points, decades, share, setups),
        same_interval(finetuned, averaged, bounds, count, decades_apart, setups),
    )


def _over_setups(
    judge: Judge,
    bounds: pd.DataFrame,
    setups: Sequence[str] | None,
    without_2a: Callable[[str], Finding] | None = None,
    **frames: pd.DataFrame,
) -> Finding:
    """The conjunction of a predicate over setups; numbers have the setup's name where several are.

    Args:
        judge: (borders of a setup, its rows of each frame with their `regime`) -> finding.
        setups: that the claim names; None: those at hand.
        without_2a: of a claim about 2A, what it comes to where regime 2 shows but no PLR of it is
            as good as regime 1: C2 to C5a are `_refuted` (where-large-lrs, section 5.6), others
            cannot be told and are `missing`.
    """
    findings = {}
    for edges in bounds.to_dict("records"):
        setup = edges["setup"]
        own = {
            key: _labelled(frame[frame["setup"] == setup], edges) for key, frame in frames.items()
        }
        if any(not len(frame) for frame in own.values()):
            continue
        if max(frame["seed"].nunique() for frame in own.values()) == 1:
            findings[setup] = missing("1 seed")
        elif not np.isfinite(edges["eta12"]):
            findings[setup] = missing("no PLR converges for all seeds: regime 1 is not seen")
        elif not any(frame["regime"].isin(["2A", "2B"]).any() for frame in own.values()):
            findings[setup] = missing("no PLR in regime 2")
        elif without_2a and not np.isfinite(edges["eta2AB"]):
            findings[setup] = without_2a("2A is empty")
        else:
            findings[setup] = judge(edges, own)
    if not findings:
        return missing(ABSENT)
    if len(findings) > 1 or setups:
        findings = {setup: _named(setup, finding) for setup, finding in findings.items()}
    finding = all_of(*findings.values())
    return part_of(finding, list(findings), setups) if setups else finding


def _refuted(reason: str) -> Finding:
    """Fails, whatever else is measured."""
    return exact(False, reason=reason)


def _named(setup: str, finding: Finding) -> Finding:
    return replace(
        finding,
        numbers={f"{setup}: {name}": number for name, number in finding.numbers.items()},
        threshold={f"{setup}: {name}": bound for name, bound in finding.threshold.items()},
        reason=f"{setup}: {finding.reason}" if finding.reason else "",
    )


def _labelled(runs: pd.DataFrame, edges: dict) -> pd.DataFrame:
    return runs.assign(regime=regime(runs["plr"], edges))


def _in(runs: pd.DataFrame, regimes: Sequence[str]) -> pd.DataFrame:
    return runs[runs["regime"].isin(regimes)]


def _is_best(top: Best, inside: Best, what: str, where: str) -> Finding:
    """Whether the best cell of all is the best one in a place; if not, by how much it is better.

    Another cell that is better by less than two standard errors leaves it open.
    """
    noted = recorded(f"best PLR of {what}", top[0])
    if top[0] == inside[0]:
        return noted
    lost = _paired(inside[1], top[1])
    return all_of(noted, at_least(lost, 0, name=f"{what}: best in {where} less best of all"))


def _clearly(high: Best, low: Best, names: str, other: str) -> Finding:
    """Whether one cell is better than another by more than two standard errors."""
    gain = _paired(high[1], low[1])
    name = f"{names} (PLR {high[0]:g}) - {other} (PLR {low[0]:g})"
    return above(gain, 0, name=name, clearly=gain is not None)


def _largest_spread(tuned: pd.DataFrame) -> tuple[float, Estimate | None]:
    """The PLR at which the best and the worst FLR differ most, and by how much."""
    found: list[tuple[float, Estimate]] = []
    for plr, runs in tuned.groupby("plr"):
        means = runs.groupby("flr")["test_accuracy"].mean()
        by_flr = runs.set_index(["flr", "seed"])["test_accuracy"]
        spread = _paired(by_flr[means.idxmax()], by_flr[means.idxmin()]) if len(means) > 1 else None
        if spread is not None:
            found.append((plr, spread))
    return max(found, key=lambda item: item[1].value, default=(np.nan, None))


def _by_plr(runs: pd.DataFrame, column: str) -> list[tuple[float, Estimate | None]]:
    """The estimate over seeds at each PLR, ascending; None where a value is missing."""
    return [
        (plr, None if values.isna().any() else Estimate.of(values.to_numpy(), "seeds"))
        for plr, values in runs.groupby("plr")[column]
    ]


def _paired(first: pd.Series, second: pd.Series) -> Estimate | None:
    """The mean difference over the seeds that both have; None where there is none."""
    difference = (first - second).dropna()
    return Estimate.of(difference.to_numpy(), "seeds") if len(difference) else None


def _step(grid: np.ndarray) -> float:
    return float(np.median(np.diff(np.log10(grid)))) if len(grid) > 1 else np.nan


def _words(column: str) -> str:
    return column.replace("_", " ")
