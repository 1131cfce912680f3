"""Whether networks share a basin, of the probe `measures.checkpoints.basin`."""

from __future__ import annotations

import pandas as pd

from refigure.claims import verdict
from refigure.claims.statistics import Estimate

MOST = 1.0
"""Percentage points: a larger drop in the middle of a path is a barrier."""


def shared(basin: pd.DataFrame, most: float = MOST) -> verdict.Finding:
    """Whether no straight path between two of the networks has a barrier in its middle.

    It holds where every pair's drop is shown to be below the threshold, and fails where one is
    shown to be above it; the error is that of the test images, and never below that of a single
    image that changes sides. The premise is that each network is
    better than chance: between networks that know nothing there is nothing to fall from.

    Args:
        basin: rows of `measures.checkpoints.basin`.
        most: threshold, percentage points.

    Source: pretrain-basin, section 2, C2.
    """
    findings = []
    middles = basin[basin["what"] == "middle"]
    for row in middles.itertuples():
        objects = int(row.objects)
        # Where no image changes sides there is no spread, yet the next one may: at least one did.
        se = max(row.drop_se, 100 / objects) if objects > 1 else None
        found = Estimate(row.drop, se, objects, "images")
        findings.append(verdict.below(found, most, name=f"drop between {row.members}"))
    networks = basin[basin["what"] == "network"]
    chance = 100 / float(networks["classes"].iloc[0])
    better = {
        f"{row.members} is better than chance": row.test_accuracy > 1.5 * chance
        for row in networks.itertuples()
    }
    return verdict.given(better, verdict.all_of(*findings))
