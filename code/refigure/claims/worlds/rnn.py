"""Worlds of the two recurrent papers that change the tables at hand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

Tables = Mapping[str, pd.DataFrame]

SPREAD = 0.3
"""Relative deviation over seeds of how far a metric moves: that of Original's overfitting."""


def overfitting(tables: Tables, rng: np.random.Generator, sparse: float) -> dict[str, pd.DataFrame]:
    """B6: the last epoch of Original is a tenth above its best, that of SparseVD by `sparse`."""
    frame = tables["networks"].copy()
    wide = np.where(frame["method"] == "Original", 0.1, sparse)
    gap = wide * np.exp(SPREAD * rng.standard_normal(len(frame)) - SPREAD**2 / 2)
    frame["valid_last"] = frame["valid_best"] * (1 + gap)
    return {"networks": frame}


def moving(tables: Tables, rng: np.random.Generator, share: float) -> dict[str, pd.DataFrame]:
    """B7: from the smallest threshold to the largest the metric moves by a share of itself."""
    frame = tables["thresholds"].copy()
    keys = ["task", "method", "seed"]
    by = frame.groupby(keys)
    middle = by["test"].transform("median")
    low, high = (by["threshold"].transform(end) for end in ("min", "max"))
    place = (frame["threshold"] - low) / (high - low) - 0.5
    which = by.ngroup().to_numpy()
    factor = np.exp(SPREAD * rng.standard_normal(which.max() + 1) - SPREAD**2 / 2)[which]
    return {"thresholds": frame.assign(test=middle * (1 + share * factor * place))}


def telling(tables: Tables, rng: np.random.Generator, share: float) -> dict[str, pd.DataFrame]:
    """B8: the measured differences, times `share`, with one error for all networks of a text.

    They read the same words, so that their errors go together: the worst case for a conjunction.
    """
    frame = tables["interpretability"].copy()
    which = frame.groupby(["task", "method"]).ngroup().to_numpy()
    error = rng.standard_normal(which.max() + 1)[which] * frame["difference_se"]
    return {"interpretability": frame.assign(difference=share * frame["difference"] + error)}


overfits, does_not_overfit = (partial(overfitting, sparse=gap) for gap in (0.02, 0.002))
moves, stays = partial(moving, share=0.01), partial(moving, share=0.003)
silent, tells = partial(telling, share=0.0), partial(telling, share=1.0)
