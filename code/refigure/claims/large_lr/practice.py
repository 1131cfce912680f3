"""The conclusions in conventional training: the predicates of the sphere, setup by setup."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from refigure.claims.large_lr.accuracy import (
    large_beats_small,
    narrow_interval,
    optimum_above_threshold,
    same_interval,
)
from refigure.claims.large_lr.basins import one_basin
from refigure.claims.large_lr.setups import joined
from refigure.claims.verdict import Finding, all_of


def practice(
    setups: Sequence[str],
    against: Sequence[str],
    barrier: float,
    objects: float | None = None,
    **frames: pd.DataFrame,
) -> Finding:
    """C11: `optimum_above_threshold` and `one_basin` on conventional training.

    Args:
        setups: that the claim names.
        against: as of `optimum_above_threshold`.
        barrier: as of `one_basin`.
        objects: of the test sets.
        frames: pretrained, finetuned, geometry and bounds, see `setups.over_setups`.
    """
    of = joined(frames)
    geometry = of.pop("geometry")
    return all_of(
        optimum_above_threshold(**of, setups=setups, objects=objects, against=against),
        one_basin(geometry=geometry, bounds=of["bounds"], setups=setups, barrier=barrier),
    )


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
    objects: float | None = None,
) -> Finding:
    """B7: `large_beats_small`, `narrow_interval` and `same_interval` on conventional training.

    Where regime 2 has no end on the grid, as without a third regime, its share is not asked.

    Args:
        pretrained, finetuned, averaged, bounds: of `tables.large_lr`.
        setups: that the claim names.
        points, decades, share: of `narrow_interval`.
        count, decades_apart: of `same_interval`.
        objects: of the test sets.
    """
    over = {"bounds": bounds, "setups": setups, "objects": objects}
    tuned = {"finetuned": finetuned}
    ended = bounds["eta23"].notna().all()
    return all_of(
        large_beats_small(pretrained=pretrained, **tuned, **over),
        narrow_interval(
            **tuned, **over, points=points, decades=decades, share=share if ended else None
        ),
        same_interval(**tuned, averaged=averaged, **over, count=count, decades=decades_apart),
    )
