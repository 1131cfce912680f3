"""Barriers and angles between the ends of fine-tuning and averaging.

Predicates take a `Setup` of `tables.large_lr` with geometry.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from refigure.claims.large_lr.setups import Setup, by_plr, over_setups, refuted
from refigure.claims.statistics import correlations
from refigure.claims.verdict import (
    Finding,
    above,
    all_of,
    any_of,
    at_most,
    below,
    missing,
    recorded,
)

PAIRS = ("low-high", "swa-high", "swa-low")
BARRIERS = ("train_barrier", "test_barrier")


@over_setups(without_2a=refuted)
def one_basin(setup: Setup, barrier: float, pairs: Sequence[str] = PAIRS) -> Finding:
    """C5a, half of B8: from the PLRs of 2A the ends are linearly connected, in train and test.

    The text claims "mostly", and sees the connection lost at the end of 2A: its last PLR is
    recorded, and judged only where it is the only one (where-large-lrs, section 0).

    Args:
        setup: with geometry.
        barrier: percentage points, that mean barriers are below.
        pairs: of ends.
    """
    inside = setup.of("geometry", "2A")
    plrs = sorted(inside["plr"].unique())
    judged = plrs[:-1] or plrs
    findings = []
    for pair in pairs:
        for column in BARRIERS:
            words = column.replace("_", " ")
            found = dict(by_plr(inside[inside["pair"] == pair], column))
            if any(found.get(plr) is None for plr in judged) or not judged:
                findings.append(missing(f"no {words} of {pair} at some PLR of 2A"))
                continue
            findings += [
                below(found[plr], barrier, name=f"{words} {pair}, PLR {plr:g}") for plr in judged
            ]
            if len(plrs) > 1 and found.get(plrs[-1]) is not None:
                name = f"{words} {pair}, last PLR of 2A, {plrs[-1]:g}"
                findings.append(recorded(name, found[plrs[-1]]))
    return all_of(*findings)


@over_setups()
def separate_basins(setup: Setup, correlation: float, barrier: float) -> Finding:
    """C5b, half of B8: from 2B on the train barrier between both FLRs grows with the PLR, and in
    regime 3 it is high.

    Args:
        setup: with geometry.
        correlation: of PLR and barrier over 2B and 3, replicate by replicate, above this.
        barrier: percentage points, that mean barriers of regime 3 are above.
    """
    rows = setup.of("geometry", "2B", "3")
    rows = rows[rows["pair"] == "low-high"]
    if rows["plr"].nunique() < 3:
        return missing(f"{rows['plr'].nunique()} of at least 3 PLRs in 2B and 3")
    trend = correlations(rows, "plr", "train_barrier")
    return all_of(
        above(trend, correlation, name="rank correlation of PLR and train barrier"),
        *(
            above(value, barrier, name=f"train barrier low-high, PLR {plr:g}")
            for plr, value in by_plr(rows[rows["regime"] == "3"], "train_barrier")
        ),
        *([] if (rows["regime"] == "3").any() else [missing("no PLR in regime 3")]),
    )


def basins(
    geometry: pd.DataFrame,
    bounds: pd.DataFrame,
    barrier: float,
    correlation: float,
    barrier_in_3: float,
) -> Finding:
    """B8: `one_basin` for the pair of both FLRs, and `separate_basins`.

    Args:
        geometry, bounds: of `tables.large_lr`.
        barrier: of `one_basin`.
        correlation: of `separate_basins`.
        barrier_in_3: its barrier.
    """
    frames = {"geometry": geometry, "bounds": bounds}
    return all_of(
        one_basin(**frames, barrier=barrier, pairs=["low-high"]),
        separate_basins(**frames, correlation=correlation, barrier=barrier_in_3),
    )


@over_setups()
def unstable_minima(setup: Setup, angle: float, barrier: float, near: float) -> Finding:
    """C5c: some PLR of regime 1 ends in a minimum that the larger FLR leaves; none near eta12 does.

    To leave is to end at an angle and behind a train barrier from where the smaller FLR ends.

    Args:
        setup: with geometry.
        angle: radians, above which a minimum is left, if also
        barrier: percentage points, is exceeded.
        near: PLRs from eta12 / near to eta12 are near it.
    """
    rows = setup.of("geometry", "1")
    rows = rows[rows["pair"] == "low-high"]
    angles, barriers = dict(by_plr(rows, "angle")), dict(by_plr(rows, "train_barrier"))
    leaves, stays = [], []
    for plr, apart in angles.items():
        names = f"angle low-high, PLR {plr:g}", f"train barrier low-high, PLR {plr:g}"
        wall = barriers[plr]
        left = above(apart, angle, name=names[0]), above(wall, barrier, name=names[1])
        leaves.append(all_of(*left))
        if plr >= setup.edges["eta12"] / near * (1 - 1e-9):
            kept = at_most(apart, angle, name=names[0]), at_most(wall, barrier, name=names[1])
            stays.append(any_of(*kept))
    if not leaves:
        return missing("no PLR in regime 1")
    return all_of(any_of(*leaves), *stays)
