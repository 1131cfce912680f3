"""The conclusions in conventional training: the predicates of the sphere, setup by setup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    connected = one_basin(geometry=geometry, bounds=of["bounds"], setups=setups, barrier=barrier)
    return all_of(
        _about("optimum", optimum_above_threshold(**of, **_over(setups, objects), against=against)),
        _about("connected", connected),
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
    given = {"bounds": bounds, **_over(setups, objects)}
    tuned = {"finetuned": finetuned}
    ended = bounds["eta23"].notna().all()
    return all_of(
        _about("large beats small", large_beats_small(pretrained=pretrained, **tuned, **given)),
        _about(
            "narrow interval",
            narrow_interval(
                **tuned, **given, points=points, decades=decades, share=share if ended else None
            ),
        ),
        _about(
            "same interval",
            same_interval(**tuned, averaged=averaged, **given, count=count, decades=decades_apart),
        ),
    )


def _over(setups: Sequence[str], objects: float | None) -> dict[str, object]:
    """What every predicate over setups is given."""
    return {"setups": setups, "objects": objects}


def _about(words: str, finding: Finding) -> Finding:
    """The finding with what it is about in the names of its parts.

    Findings of several predicates have parts of the same setups, whose verdicts differ.
    """
    return replace(
        finding, parts={f"{words}, {setup}": part for setup, part in finding.parts.items()}
    )
