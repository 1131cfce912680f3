"""The claims of contrastive-memorization as predicates over tables.

The predicates are those of the specification's section 2. What is counted are networks: standard
errors of spreads are those of a bootstrap over networks, with the objects and views as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from refigure.claims.statistics import Estimate
from refigure.claims.verdict import (
    ABSENT,
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    above,
    all_of,
    at_least,
    below,
    given,
    missing,
    part_of,
    recorded,
    within,
)

SIMCLR, SUPERVISED, RANDOM, AUGMENTED = (
    "simclr",
    "supervised",
    "random_labels",
    "random_labels_augmented",
)
METHODS = (SIMCLR, SUPERVISED, RANDOM, AUGMENTED)
QUANTILES = (0.25, 0.5, 0.75)
WORDS = {
    SIMCLR: "SimCLR",
    SUPERVISED: "supervised",
    RANDOM: "random labels",
    AUGMENTED: "random labels, augmented",
    "untrained": "untrained",
}


def objects_differ(points: pd.DataFrame, level: float, alike: float) -> Finding:
    """C1: counts of networks that get a fixed view right are no binomial ones, in each method.

    It fails where objects are shown to be alike: D over its degrees of freedom, which is 1 for
    objects that are alike, is below a bound by more than its error.

    Args:
        points: of `tables.memorization.points`.
        level: of each variance test.
        alike: the bound.
    """
    if not len(points):
        return missing(ABSENT)
    rows = points[points["measure"] == "one"]
    findings = []
    for method in METHODS:
        for q in QUANTILES:
            own = rows[(rows["method"] == method) & np.isclose(rows["q"], q)]
            name = f"{WORDS[method]}, mean {q:g}"
            if not len(own):
                findings.append(missing(f"{name} is not reached"))
                continue
            row = own.iloc[0]
            findings.append(_differ(row, name, level, alike))
    return all_of(*findings)


def _differ(row: pd.Series, name: str, level: float, alike: float) -> Finding:
    p = row["p_value"]
    numbers = {f"{name}: p": None if np.isnan(p) else float(p)}
    bounds = {f"{name}: p": level}
    ratio = row.get("variance_ratio", np.nan)
    if np.isfinite(ratio):
        objects = int(row["objects"])
        found = Estimate(ratio, (2 / (objects - 1)) ** 0.5, objects, "images")
        numbers[f"{name}: D over its freedom"] = found
    if np.isnan(p):
        return Finding(UNDECIDED, "all objects are right, or all wrong", numbers, bounds)
    if p < level:
        return Finding(HOLDS, "", numbers, bounds)
    if np.isfinite(ratio) and below(found, alike, name=name).verdict == HOLDS:
        return Finding(FAILS, f"p = {p:.2g}, D over its freedom {ratio:.3g}", numbers, bounds)
    return Finding(UNDECIDED, f"p = {p:.2g}", numbers, bounds)


def spread_of_one_view(resamples: pd.DataFrame, random: float, supervised: float) -> Finding:
    """C2: under one fixed view SimCLR's curve is as far from the binomial as the supervised one,
    and that of random labels is nearest.

    Args:
        resamples: of `tables.memorization.resamples`.
        random: how many times the distance of random labels SimCLR's is above.
        supervised: the share of the supervised distance that SimCLR's reaches.
    """
    if not len(resamples):
        return missing(ABSENT)
    findings = []
    for q in QUANTILES:
        mae = {m: _spread(resamples, m, "one", q, "mae") for m in (SIMCLR, SUPERVISED, RANDOM)}
        findings += [recorded(f"{WORDS[m]}, mean {q:g}: MAE", one) for m, one in mae.items()]
        beyond = _combined(mae[SIMCLR], mae[RANDOM], random)
        findings.append(
            above(beyond, 0, name=f"mean {q:g}: MAE of SimCLR less {random:g} of random labels")
        )
        beyond = _combined(mae[SIMCLR], mae[SUPERVISED], supervised)
        findings.append(
            at_least(beyond, 0, name=f"mean {q:g}: MAE of SimCLR less {supervised:g} of supervised")
        )
    return all_of(*findings)


def spread_of_all_views(
    resamples: pd.DataFrame, times: float, near: float, random_labels_decide: float
) -> Finding:
    """C3: averaged over views SimCLR lies as near the binomial as random labels, supervised far.

    Args:
        resamples: of `tables.memorization.resamples`.
        times: how many times each other distance the supervised one is above.
        near: the bound on the difference of SimCLR and random labels, either way.
        random_labels_decide: 0 where random labels without augmentation cannot decide.
    """
    if not len(resamples):
        return missing(ABSENT)
    have = [m for m in METHODS if m != RANDOM or random_labels_decide]
    findings = []
    for q in QUANTILES:
        mae = {m: _spread(resamples, m, "views", q, "mae") for m in METHODS}
        findings += [recorded(f"{WORDS[m]}, mean {q:g}: MAE", one) for m, one in mae.items()]
        for method in (SIMCLR, RANDOM, AUGMENTED):
            if method in have:
                beyond = _combined(mae[SUPERVISED], mae[method], times)
                name = f"mean {q:g}: MAE of supervised less {times:g} of {WORDS[method]}"
                findings.append(above(beyond, 0, name=name))
        if RANDOM in have:
            apart = _combined(mae[SIMCLR], mae[RANDOM], 1)
            name = f"mean {q:g}: MAE of SimCLR less random labels"
            findings.append(within(apart, -near, near, name=name))
    names = [WORDS[m] for m in METHODS]
    return part_of(all_of(*findings), [WORDS[m] for m in have], names)


def curves_coincide(matched: pd.DataFrame, share: float) -> Finding:
    """C4: at equal means SimCLR's sorted curve is that of random labels, not the supervised one.

    Args:
        matched: of `tables.memorization.matched_curves`; the first matched step does not count.
        share: of the distance to the supervised curve, below which the others lie.
    """
    if not len(matched):
        return missing(ABSENT)
    findings = []
    for _, rows in matched[matched["place"] > 0].groupby("place"):
        epoch = rows["epoch"].iloc[0]
        by = rows.pivot_table("distance", index="resample", columns="method")
        networks = int(rows["networks"].min())
        for method in (SUPERVISED, RANDOM, AUGMENTED):
            known = _drawn(by[method], networks) if method in by else None
            findings.append(recorded(f"epoch {epoch:g}: distance to {WORDS[method]}", known))
        for method in (RANDOM, AUGMENTED):
            name = f"epoch {epoch:g}: distance to {WORDS[method]} less {share:g} to supervised"
            there = method in by and SUPERVISED in by
            beyond = _drawn(by[method] - share * by[SUPERVISED], networks) if there else None
            findings.append(below(beyond, 0, name=name))
    return all_of(*findings) if findings else missing("one matched step only")


def augmentations_differ(resamples: pd.DataFrame, supervised: float, random: float) -> Finding:
    """C5: in SimCLR views are easy or hard themselves; elsewhere views of an object are alike.

    Args:
        resamples: of `tables.memorization.resamples`.
        supervised, random: how many times V_aug of supervised networks and of random labels with
            augmentation SimCLR's is above, where the mean is a half.
    """
    if not len(resamples):
        return missing(ABSENT)
    methods = (SIMCLR, SUPERVISED, AUGMENTED)
    v_aug = {m: _spread(resamples, m, "views", 0.5, "v_aug") for m in methods}
    findings = [recorded(f"{WORDS[m]}: V_aug", one) for m, one in v_aug.items()]
    for method, times in ((SUPERVISED, supervised), (AUGMENTED, random)):
        beyond = _combined(v_aug[SIMCLR], v_aug[method], times)
        name = f"V_aug of SimCLR less {times:g} of {WORDS[method]}"
        findings.append(above(beyond, 0, name=name))
    return all_of(*findings)


def classes_explain(
    resamples: pd.DataFrame,
    times: float,
    named: float,
    easiest: Sequence[str],
    hardest: Sequence[str],
) -> Finding:
    """C6: class means differ much among supervised networks, and hardly among SimCLR's.

    Args:
        resamples: of `tables.memorization.resamples`.
        times: how many times SimCLR's range of class means the supervised one is above.
        named: 0 where the data have not the classes that the claim names, so cannot decide it.
        easiest, hardest: the classes that may be the easiest, and the hardest, of supervised
            networks: that of a resample must be among them in 97.5 % of the resamples.
    """
    if not len(resamples):
        return missing(ABSENT)
    ranges = {m: _spread(resamples, m, "views", 0.5, "class_range") for m in (SUPERVISED, SIMCLR)}
    findings = [recorded(f"{WORDS[m]}: range", one) for m, one in ranges.items()]
    beyond = _combined(ranges[SUPERVISED], ranges[SIMCLR], times)
    findings.append(above(beyond, 0, name=f"range of supervised less {times:g} of SimCLR's"))
    if named:
        rows = resamples[
            (resamples["method"] == SUPERVISED)
            & (resamples["measure"] == "views")
            & np.isclose(resamples["q"], 0.5)
            & (resamples["resample"] > 0)
        ]
        for column, classes in (("easiest", easiest), ("hardest", hardest)):
            findings.append(_among(rows[column], classes, f"{column} class among the named"))
    premise = {"the data have no classes of animals and vehicles": bool(named)}
    return given(premise, all_of(*findings))


def _among(drawn: pd.Series, classes: Sequence[str], name: str) -> Finding:
    if not len(drawn):
        return missing(f"no resample: {name}")
    share = float(drawn.isin(list(classes)).mean())
    numbers, bounds = {f"{name}, share of resamples": share}, {f"{name}, share of resamples": 0.975}
    if share >= 0.975:
        return Finding(HOLDS, "", numbers, bounds)
    return Finding(FAILS if share <= 0.025 else UNDECIDED, f"in {share:.1%}", numbers, bounds)


def pairs_exchangeable(pairs: pd.DataFrame, share: float, first_epoch: float) -> Finding:
    """C7: the two views of a pair are alike after averaging over views, not within one pair.

    A mean over M pairs that are independent differs by 1 / sqrt(M) of what one pair does: where the
    share is below that, even objects whose views are exchangeable could not show it.

    Args:
        pairs: of `tables.memorization.pairs`.
        share: of the difference in one pair, below which the averaged one is.
        first_epoch: the epochs from this one on decide.
    """
    if not len(pairs):
        return missing(ABSENT)
    findings = []
    for epoch, rows in pairs[pairs["epoch"] >= first_epoch].groupby("epoch"):
        rows = rows.set_index("resample")
        networks = int(rows["networks"].iloc[0])
        for column, words in (("averaged", "over all views"), ("one", "of one pair")):
            known = _drawn(rows[column], networks)
            findings.append(recorded(f"epoch {epoch:g}: difference {words}", known))
        beyond = _drawn(rows["averaged"] - share * rows["one"], networks)
        name = f"epoch {epoch:g}: difference over all views less {share:g} of one pair"
        findings.append(below(beyond, 0, name=name))
    if not findings:
        return missing(f"no epoch from {first_epoch:g} on")
    views = int(pairs["views"].iloc[0])
    reached = views**-0.5 < share
    premise = {f"{views} views average a difference to {views**-0.5:.2g} of it at best": reached}
    return given(premise, all_of(*findings))


def probe_order(probes: pd.DataFrame, decides: float, objects: float = 0) -> Finding:
    """C8: a linear probe of features does best on supervised networks, then SimCLR, then random
    labels with augmentation and without it, and worst on an untrained network.

    Args:
        probes: of `tables.memorization.probes`.
        decides: 0 where the data cannot decide.
        objects: of the test set that all networks share; 0: its error is not counted.
    """
    if not len(probes):
        return missing(ABSENT)
    order = (SUPERVISED, SIMCLR, AUGMENTED, RANDOM, "untrained")
    known = {
        m: _over_networks(probes[probes["method"] == m].set_index("seed")["test_accuracy"])
        for m in order
    }
    findings = [recorded(f"{WORDS[m]}: accuracy", one) for m, one in known.items()]
    for better, worse in pairwise(order):
        a, b = known[better], known[worse]
        gain = None if a is None or b is None else a - b
        if gain is not None and objects:
            gain = gain.tested_on(int(objects), 100 - a.value, 100 - b.value)
        findings.append(above(gain, 0, name=f"{WORDS[better]} less {WORDS[worse]}"))
    premise = {"so few small images do not tell features apart": bool(decides)}
    return given(premise, all_of(*findings))


def classes_lie_densely(
    divergences: pd.DataFrame, times: float, decides: float, row: str, nearest: str
) -> Finding:
    """C9: Gaussians of SimCLR's classes lie near each other, nearest where classes are alike.

    Args:
        divergences: of `tables.memorization.divergences`.
        times: how many times SimCLR's median divergence the supervised one is above.
        decides: 0 where the data cannot decide.
        row, nearest: of class `row` the class `nearest` is the one that SimCLR's is nearest to.
    """
    if not len(divergences):
        return missing(ABSENT)
    apart = divergences[divergences["row"] != divergences["column"]]
    medians = {
        m: _over_networks(
            np.log(apart[apart["method"] == m].groupby("seed")["divergence"].median())
        )
        for m in (SUPERVISED, SIMCLR)
    }
    findings = [recorded(f"{WORDS[m]}: log median", one) for m, one in medians.items()]
    both = None not in medians.values()
    gap = medians[SUPERVISED] - medians[SIMCLR] - float(np.log(times)) if both else None
    findings.append(above(gap, 0, name=f"log median of supervised less {times:g} times SimCLR's"))
    own = apart[(apart["method"] == SIMCLR) & (apart["row_name"] == row)]
    if decides and not len(own):
        findings.append(missing(f"no class '{row}'"))
    elif decides:
        # Of each network: the divergence to the named class beside the least to another.
        named = own["column_name"] == nearest
        least = np.log(own[named].groupby("seed")["divergence"].min()) - np.log(
            own[~named].groupby("seed")["divergence"].min()
        )
        name = f"SimCLR, {row}: log divergence to {nearest} less the least to another"
        findings.append(below(_over_networks(least), 0, name=name))
    premise = {"so few small images have no classes that are alike": bool(decides)}
    return given(premise, all_of(*findings))


# ------------------------------------------------------------------ estimates


def _spread(
    resamples: pd.DataFrame, method: str, measure: str, q: float, column: str
) -> Estimate | None:
    """One number of a method where its mean first reaches q; None where it never does."""
    rows = resamples[
        (resamples["method"] == method)
        & (resamples["measure"] == measure)
        & np.isclose(resamples["q"], q)
    ]
    if not len(rows):
        return None
    values, networks = rows.set_index("resample")[column], int(rows["networks"].iloc[0])
    return _drawn(values, networks, halved=column.startswith("v_"))


def _drawn(values: pd.Series, networks: int, halved: bool = False) -> Estimate | None:
    """Resample 0 with the spread of the others as its standard error, by resample.

    Drawing n from n with replacement varies by (n - 1) / n of what n new ones would; networks of
    split halves are drawn within each half.
    """
    if not len(values) or 0 not in values.index or not np.isfinite(values.loc[0]):
        return None
    drawn = values[values.index > 0].dropna()
    size = networks // 2 if halved else networks
    se = None
    if len(drawn) > 1 and size > 1:
        se = float(drawn.std(ddof=1)) * (size / (size - 1)) ** 0.5
    return Estimate(float(values.loc[0]), se, networks, "networks")


def _combined(first: Estimate | None, second: Estimate | None, times: float) -> Estimate | None:
    """The first less a multiple of the second, of methods whose networks are independent."""
    return None if first is None or second is None else first - times * second


def _over_networks(values: pd.Series) -> Estimate | None:
    numbers = values.dropna().to_numpy(float)
    return Estimate.of(numbers, "networks") if len(numbers) else None
