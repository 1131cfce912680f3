"""Times to converge, stages of pre-training, norms of filters and sharpness."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from refigure.claims.large_lr.setups import LARGE, Setup, by_plr, over_setups, with_units
from refigure.claims.statistics import by_replicate, cells, estimate, replicates
from refigure.claims.verdict import (
    ABSENT,
    Finding,
    above,
    all_of,
    any_of,
    at_least,
    below,
    missing,
    monotone,
    recorded,
    within,
)
from refigure.tables.large_lr import regime


def slow_convergence(
    times: pd.DataFrame,
    finetuned: pd.DataFrame,
    bounds: pd.DataFrame,
    ratio: float,
    objects: float | None = None,
) -> Finding:
    """C8: towards the border the time to converge grows, by a large factor in all, and what has
    converged is still worse than fine-tuning from 2A.

    Judged on PLRs at which every seed converges. Where the cap of epochs allows no such factor, it
    is undecided.

    Args:
        times: of `tables.sphere.convergence_times`, of the network and data of the one setup.
        finetuned, bounds: of `tables.large_lr`.
        ratio: of the times at the last PLR and the first, above this.
        objects: of the test set.
    """
    if not len(times):
        return missing(ABSENT)
    times = times.rename(columns={"elr": "plr"})
    times = times.groupby("plr").filter(lambda cell: cell["epochs_to_converge"].notna().all())
    found = by_plr(times, "epochs_to_converge")
    if len(found) < 2:
        return missing(f"{len(found)} of at least 2 PLRs converge within the cap")
    first, last = (
        by_replicate(times[times["plr"] == found[place][0]], "epochs_to_converge")
        for place in (0, -1)
    )
    name, labels = "epochs, PLR", {f"{plr:g}": epochs for plr, epochs in found}
    ends = estimate((last - first).dropna())
    findings = [monotone(labels, "increasing", ties=0, name=name, ends=ends)]
    growth = estimate((last / first).dropna())
    possible = times["cap"].max() / first.mean()
    if possible > ratio:
        findings.append(above(growth, ratio, name="times at the last PLR over the first"))
    else:
        findings.append(recorded("times at the last PLR over the first", growth))
        findings.append(missing(f"the cap allows a factor of {possible:.3g}, not {ratio:g}"))
    converged = times.assign(setup="", test_accuracy=100 - times["test_error"])
    tuned = _below_tuned(
        finetuned=finetuned,
        bounds=bounds,
        converged=cells(converged, ["plr"], "test_accuracy").to_dict("split"),
        names=replicates(times),
        objects=objects,
    )
    return all_of(*findings, tuned)


@over_setups(without_2a=missing)
def _below_tuned(setup: Setup, converged: dict, names: Sequence[str]) -> Finding:
    """Whether the best that has converged is below the best fine-tuned from 2A."""
    index = pd.Index(converged["index"], name=names[0])
    if len(names) > 1:
        index = pd.MultiIndex.from_tuples(converged["index"], names=names)
    longest = pd.DataFrame(converged["data"], index, converged["columns"])
    comparison = setup.best(longest, setup.cells(setup.flr_means("2A")))
    return below(comparison.gain, 0, name="best converged less fine-tuned from 2A")


def last_stage_decides(
    two_stage: pd.DataFrame, bounds: pd.DataFrame, points: float, objects: float | None = None
) -> Finding:
    """C9: pre-trained in 2B and then in 2A, fine-tuning is as good as from 2A, and clearly better
    than from 2B, at every FLR.

    Where a PLR lies in another regime than the runs are named for, it is undecided.

    Args:
        two_stage: of `tables.large_lr.two_stages`.
        bounds: of the one setup.
        points: that it may be worse than from 2A.
        objects: of the test set.
    """
    if not len(two_stage):
        return missing(ABSENT)
    two_stage = with_units({"runs": two_stage})["runs"]
    findings = [
        _in_regime(start, own["plr"].iloc[0], bounds)
        for start, own in two_stage[two_stage["start"].isin(LARGE)].groupby("start")
    ]
    for flr, runs in two_stage.groupby("flr"):
        of = {start: by_replicate(own, "test_accuracy") for start, own in runs.groupby("start")}
        if not {"2B", "2B, 2A", "2A"} <= set(of):
            findings.append(missing(f"FLR {flr:g}: a start is missing"))
            continue
        setup = Setup({}, {}, int(objects) if objects else None)
        less = setup.difference(of["2B, 2A"], of["2A"])
        gain = setup.difference(of["2B, 2A"], of["2B"])
        findings += [
            at_least(less, -points, name=f"2B, 2A less 2A, FLR {flr:g}"),
            above(gain, 0, name=f"2B, 2A less 2B, FLR {flr:g}"),
        ]
    return all_of(*[finding for finding in findings if finding])


def _in_regime(name: str, plr: float, bounds: pd.DataFrame) -> Finding | None:
    """Undecided where a PLR is not in the regime that it stands for."""
    if not len(bounds):
        return missing("premise: no borders")
    found = regime(pd.Series([plr]), bounds.iloc[0].to_dict()).iloc[0]
    if found == name:
        return None
    where = f"in {found}" if found else "in no known regime"
    return missing(f"premise: PLR {plr:g} is {where}, not in {name}")


def spread_of_norms(norms: pd.DataFrame, bounds: pd.DataFrame, order: Sequence[str]) -> Finding:
    """C10: the logarithms of filters' shares in the norm spread more and more in this order.

    Where the PLR is not in regime 3, it is undecided.

    Args:
        norms: of `tables.large_lr.norms`; a filter that is exactly 0 is left out.
        bounds: of the one setup.
        order: stages.
    """
    if not len(norms):
        return missing(ABSENT)
    norms = with_units({"norms": norms})["norms"]
    premise = _in_regime("3", norms["plr"].iloc[0], bounds)
    finite = norms[np.isfinite(norms["log10_share"])]
    by = ["stage", *replicates(finite)]
    spreads = finite.groupby(by)["log10_share"].std(ddof=0)
    have = set(finite["stage"])
    if absent := [stage for stage in order if stage not in have]:
        return missing(f"no runs of {', '.join(absent)}")
    spread = {stage: spreads.xs(stage, level="stage") for stage in order}
    findings = [
        above(
            estimate((spread[more] - spread[less]).dropna()),
            0,
            name=f"std of log10 norm, {more} - {less}",
        )
        for less, more in pairwise(order)
    ]
    findings += [recorded(f"std, {stage}", estimate(spread[stage])) for stage in order]
    return all_of(*findings, *([premise] if premise else []))


def sharpness_is_no_function(sharpness: pd.DataFrame, factor: float, points: float) -> Finding:
    """C12: two PLRs whose fine-tuned runs have the same test error differ much in sharpness.

    Within a PLR, and over all, both may well go together
    (where-large-lrs, section 0): the claim is that one does
    not tell the other.

    Args:
        sharpness: of `tables.large_lr.sharpness`, at one train loss; runs that do not cross it
            are counted and left out, and so are the others of their PLR and FLR.
        factor: of the mean sharpness, above this.
        points: between the mean test errors, at most, by two one-sided tests.
    """
    if not len(sharpness):
        return missing(ABSENT)
    rows = with_units({"runs": sharpness[sharpness["regime"] != "1"]})["runs"]
    rows = rows.assign(log_sharpness=np.log(rows["sharpness"].where(rows["sharpness"] > 0)))
    left_out = float(rows["log_sharpness"].isna().sum())
    # An FLR counts where every run of its PLR crosses the loss, so that means are over the same.
    rows = rows.groupby(["plr", "lr"]).filter(lambda cell: cell["log_sharpness"].notna().all())
    means = {
        plr: (by_replicate(own, "test_error"), by_replicate(own, "log_sharpness"))
        for plr, own in rows.groupby("plr")
    }
    count = recorded("runs that do not cross the loss", left_out)
    if len(means) < 2:
        return all_of(missing(f"{len(means)} of at least 2 PLRs of regime 2"), count)
    findings = []
    for one, two in combinations(means, 2):
        errors, logs = (means[two][column] - means[one][column] for column in (0, 1))
        apart = estimate(logs.dropna())
        apart = apart if apart is None or apart.value >= 0 else -apart
        pair = f"PLR {one:g} and {two:g}"
        findings.append(
            all_of(
                within(
                    estimate(errors.dropna()), -points, points, name=f"test error apart, {pair}"
                ),
                above(apart, float(np.log(factor)), name=f"log sharpness apart, {pair}"),
            )
        )
    return all_of(any_of(*findings), count)
