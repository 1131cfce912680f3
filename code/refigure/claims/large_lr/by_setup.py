"""The verdict of each setup on the claims that are about every setup: one table.

A claim of the papers is decided on its main setup; here the same predicates are asked of all of
them, also where a claim is expected to fail, as C5a for averages on CIFAR-100 (where-large-lrs,
section 8).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from refigure.claims.large_lr.accuracy import averaging, optimum_above_threshold
from refigure.claims.large_lr.basins import one_basin, separate_basins, unstable_minima
from refigure.claims.large_lr.setups import Decide, joined
from refigure.tables.histories import frame_of

VERDICTS = {"setup": str, "title": str, "claim": str, "verdict": str, "reason": str}

ASKED: Mapping[str, tuple[Decide, tuple[str, ...]]] = {
    "C2": (optimum_above_threshold, ("pretrained", "finetuned")),
    "C3": (averaging, ("pretrained", "finetuned", "averaged")),
    "C5a": (one_basin, ("geometry",)),
    "C5b": (separate_basins, ("geometry",)),
    "C5c": (unstable_minima, ("geometry",)),
}
"""Claim -> its predicate and the tables that it takes."""


def verdicts(
    options: Mapping[str, Mapping[str, object]],
    without_third: list[str],
    objects: float | None = None,
    **frames: pd.DataFrame,
) -> pd.DataFrame:
    """What each setup says to each claim.

    Args:
        options: claim -> the options of its predicate; those without are not asked.
        without_third: setups trained in the full space, which have no third regime: C2 does not
            compare with it there (how-large-lrs, trap 7).
        objects: of the test sets.
        frames: pretrained, finetuned, averaged, geometry and bounds of `tables.large_lr`; what
            begins with one of these words and an underscore is further setups.

    Returns:
        Columns `VERDICTS`, in the order of the borders' tables and of the claims.
    """
    of = joined(frames)
    bounds = of["bounds"]
    rows = []
    for setup in bounds["setup"]:
        own = {key: frame[frame["setup"] == setup] for key, frame in of.items()}
        for claim, asked in options.items():
            decide, names = ASKED[claim]
            asked = dict(asked)
            if claim == "C2" and setup in without_third:
                asked["against"] = ["2B"]
            tables = {name: own[name] for name in (*names, "bounds")}
            finding = decide(**tables, **asked, objects=objects)
            title = own["bounds"]["title"].iloc[0]
            rows.append((setup, title, claim, finding.verdict, finding.reason))
    return frame_of(rows, VERDICTS)
