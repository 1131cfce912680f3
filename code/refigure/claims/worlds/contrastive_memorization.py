"""Worlds of contrastive-memorization: how many networks get objects right, drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import gammaincc

Tables = Mapping[str, pd.DataFrame]


def counts(tables: Tables, rng: np.random.Generator, spread: float) -> dict[str, pd.DataFrame]:
    """C1: objects whose logits differ by a deviation, at the mean and size of each point.

    Args:
        spread: of the logits; 0: all objects are alike, and counts are binomial.
    """
    frame = tables["points"].copy()
    for row in frame.index[frame["measure"] == "one"]:
        mean, networks = frame["mean"][row], int(frame["networks"][row])
        objects = int(frame["objects"][row])
        logits = np.log(mean / (1 - mean)) + spread * rng.standard_normal(objects)
        right = rng.binomial(networks, 1 / (1 + np.exp(-logits)))
        share = right.mean() / networks
        statistic = ((right - networks * share) ** 2).sum() / (networks * share * (1 - share))
        frame.loc[row, "variance_ratio"] = statistic / (objects - 1)
        frame.loc[row, "p_value"] = gammaincc((objects - 1) / 2, statistic / 2)
    return {"points": frame}


alike, unlike = partial(counts, spread=0.0), partial(counts, spread=1.0)
