"""What networks rely on: single features of the synthetic task, bands of images.

Predicates take a `Setup` with features of `tables.ticks`, or bands of `tables.large_lr`. Seeds of
one data set of the synthetic task share its points, test set and last layer: the data set counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from refigure.claims.large_lr.setups import Setup, clearly, over_setups
from refigure.claims.statistics import by_replicate, estimate
from refigure.claims.verdict import Finding, above, all_of, at_least, below, best_inside, missing


@over_setups(without_2a=missing)
def useful_frequencies(setup: Setup, band: str, stages: Sequence[str]) -> Finding:
    """C7: accuracy on the middle band alone is best from 2A, clearly above that of the best PLR of
    regime 1, after pre-training, fine-tuning at the small FLR and averaging.

    Args:
        setup: with bands.
        band: the middle one.
        stages: that must show it.
    """
    rows = setup.of("bands")
    findings = []
    for stage in stages:
        own = rows[(rows["band"] == band) & (rows["stage"] == stage)]
        inside, first, outside = (
            setup.cells(own[own["regime"].isin(names)], column="accuracy")
            for names in (["2A"], ["1"], ["1", "2B", "3"])
        )
        findings += [
            best_inside(setup.best(inside, outside), f"{band} band, {stage}", "2A"),
            clearly(setup.best(inside, first), f"{stage}: {band} band 2A", "1"),
        ]
    return all_of(*findings)


@over_setups(without_2a=missing)
def sparse_features(setup: Setup, stages: Sequence[str], points: float) -> Finding:
    """C6a: the best single feature is learned much better in 2A than in regime 1.

    Args:
        setup: with features.
        stages: after which it must be so.
        points: of accuracy, by which at least.
    """
    rows = setup.of("features")
    findings = []
    for stage in stages:
        gain = _of_rank(rows, stage, "2A", 1) - _of_rank(rows, stage, "1", 1)
        name = f"best feature, {stage}: 2A less 1"
        findings.append(above(estimate(gain.dropna()), points, name=name))
    return all_of(*findings)


@over_setups(without_2a=missing)
def sparsity_stays(setup: Setup, points: float) -> Finding:
    """C6b: what 2A learned of its best feature survives fine-tuning at a small FLR.

    Args:
        setup: with features.
        points: of accuracy, that may be lost.
    """
    rows = setup.of("features")
    change = _of_rank(rows, "ft_low", "2A", 1) - _of_rank(rows, "pt", "2A", 1)
    name = "best feature in 2A, fine-tuned less before"
    return at_least(estimate(change.dropna()), -points, name=name)


@over_setups(without_2a=missing)
def features_at_the_ends(setup: Setup, accuracy: float, rank: int) -> Finding:
    """C6c: regime 3 learns no feature, regime 1 all about equally little.

    Args:
        setup: with features.
        accuracy: percent, below which the best feature is in regime 3.
        rank: the gap is that of the best feature to the one of this rank; smaller in 1 than in 2A.
    """
    rows = setup.of("features")
    gaps = {
        name: _of_rank(rows, "pt", name, 1) - _of_rank(rows, "pt", name, rank)
        for name in ("1", "2A")
    }
    third = estimate(_of_rank(rows, "pt", "3", 1))
    wider = estimate((gaps["2A"] - gaps["1"]).dropna())
    return all_of(
        below(third, accuracy, name="best feature in regime 3"),
        above(wider, 0, name=f"gap of rank 1 to {rank}, 2A less 1"),
    )


def _of_rank(features: pd.DataFrame, stage: str, regime: str, rank: int) -> pd.Series:
    """Accuracy on the features of one rank by replicate, mean over the PLRs of a regime."""
    rows = features[(features["stage"] == stage) & (features["rank"] == rank)]
    return by_replicate(rows[rows["regime"] == regime], "accuracy")
