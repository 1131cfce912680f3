"""Worlds of three-regimes that change the tables at hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refigure.claims.worlds import Redrawn, redraw
from refigure.tables.sphere import CORE, borders

Tables = Mapping[str, pd.DataFrame]

JITTER = 0.05
"""Decades by which the borders of single runs lie off: those of the demo's convergence times."""

LOOKS = 13
"""Measures in the trailing half of a run of the demo."""


def in_order(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Each run has the regime of its rate, between borders that lie a little off for each run."""
    frame = tables["regimes"].copy()
    for family, own in frame.groupby("family"):
        edges = borders(own).query("seed == -1").iloc[0]
        first, second = (
            np.log10(edges[low] * edges[high]) / 2
            for low, high in (("last_r1", "first_r2"), ("last_r2", "first_r3"))
        )
        rates = np.log10(own["rate"]) + JITTER * rng.standard_normal(len(own))
        frame.loc[frame["family"] == family, "regime"] = 1 + (rates > first) + (rates > second)
    return {"regimes": frame}


def no_gain(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C7: whatever was fine-tuned is as good as the best ELR of regime 1, and no better."""
    error = "final_test_error_recomputed"
    how = Redrawn(("family", "rate"), (error,), by=("family",), where={"regime": [1]})
    alone = redraw(tables["regimes"], how, rng)
    how = Redrawn(
        ("family", "plr", "elr"), ("test_error_recomputed",), flat=("plr", "elr"), by=("family",)
    )
    tuned = redraw(tables["finetuned"], how, rng)
    for family, own in tables["regimes"].query("regime == 1").groupby("family"):
        best = own.groupby("rate")[error].mean().min()
        chosen = tuned["family"] == family
        known = tables["finetuned"].loc[chosen, "test_error_recomputed"]
        tuned.loc[chosen, "test_error_recomputed"] += best - known.mean()
    return {"regimes": alone, "finetuned": tuned}


def one_level(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C14: the looks of a run lie about a level of its own, with the spread of regime 2."""
    levels = tables["regimes"]["train_error"].to_numpy()
    # Near chance a train error has the error of its images alone.
    spread = np.where(levels < 0.8 * tables["regimes"]["chance"], 10.0, 3.0)
    looks = levels[:, None] + spread[:, None] * rng.standard_normal((len(levels), LOOKS))
    return {"regimes": _seen(tables["regimes"], looks)}


def two_levels(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C14: runs are at either level, for three looks on average."""
    frame = tables["regimes"]
    high = np.cumsum(rng.random((len(frame), LOOKS)) < 1 / 3, axis=1) % 2 == 1
    levels = np.where(high, frame["chance"].iloc[0], 0.75 * frame["chance"].iloc[0])
    return {"regimes": _seen(frame, levels + 2.0 * rng.standard_normal(levels.shape))}


def _seen(frame: pd.DataFrame, looks: np.ndarray) -> pd.DataFrame:
    """The table with what `tables.sphere.regimes` would say of such looks at the train error."""
    chance = frame["chance"].to_numpy()[:, None]
    second, third = looks < CORE * chance, looks > chance - 3
    changes = []
    for low, high in zip(second, third):
        known = high[low | high]
        changes.append(float((known[1:] != known[:-1]).sum()))
    return frame.assign(share_r2=second.mean(1), share_r3=third.mean(1), alternations=changes)
