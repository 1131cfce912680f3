"""Tables of the synthetic task, and of bands whose border is moved.

Runs differ by data set and seed. Seeds of one data set share its points, its test set and the last
layer, so that claims count data sets. `tables.large_lr` does the rest.

Source: specification where-large-lrs, sections 5.2 to 5.6 and 6.6.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from refigure.data.ticks import Ticks
from refigure.tables import large_lr
from refigure.tables.histories import frame_of

FEATURES = {
    "setup": str,
    "plr": float,
    "data": str,
    "seed": "int64",
    "stage": str,
    "rank": "int64",
    "accuracy": float,
    "guess": float,
}
POINTS = {"x1": float, "x2": float, "label": "int64"}
MOVED = {**large_lr.BANDS, "border": "int64"}


def features(features: pd.DataFrame) -> pd.DataFrame:
    """Accuracies on single features by rank.

    Args:
        features: of `measures.features.measure`, with setup, data, plr and seed.

    Returns:
        Columns `FEATURES`. Rank 0 is the test set, 1 the best feature of that network. `guess`:
        what the rank's mean is for networks that know nothing; the best of many guesses is above
        one half.
    """
    if not len(features):
        return frame_of([], FEATURES)
    sizes = features.groupby("rank")["points"].first()
    by_rank = guesses(int(sizes[1]), int(features["rank"].max()))
    guess = [50.0 if rank == 0 else by_rank[rank - 1] for rank in features["rank"]]
    return features.assign(guess=guess)[list(FEATURES)].astype(FEATURES)


def guesses(points: int, sets: int) -> np.ndarray:
    """The mean of the best, second best, ... accuracy of fair guesses on some sets.

    Args:
        points: of each set.
        sets: independent ones.

    Returns:
        (sets,), percent, falling: means of the order statistics of `sets` binomial numbers.
    """
    right = np.arange(points + 1)
    log_ways = [
        math.lgamma(points + 1) - math.lgamma(k + 1) - math.lgamma(points - k + 1) for k in right
    ]
    chances = np.exp(np.array(log_ways) - points * math.log(2))
    above = 1 - chances.cumsum()[:-1].clip(max=1)  # of one set: more than 0, 1, ... right
    means = []
    at_least = np.zeros_like(above)
    for rank in range(sets, 0, -1):
        # chance that exactly `rank` of the sets are above, from all of them down
        ways = math.comb(sets, rank)
        at_least = at_least + ways * above**rank * (1 - above) ** (sets - rank)
        means.append(100 * at_least.sum() / points)
    return np.array(means[::-1])


def points(ticks: Ticks | None, feature: int) -> pd.DataFrame:
    """One feature of the training points: columns `POINTS`.

    Args:
        ticks: None: no row.
        feature: its number, from 0.
    """
    if ticks is None:
        return frame_of([], POINTS)
    x1, x2 = ticks.train_points[:, 2 * feature : 2 * feature + 2].T.double().numpy()
    labels = ticks.train_labels.numpy()
    return pd.DataFrame({"x1": x1, "x2": x2, "label": labels}).astype(POINTS)


def moved_borders(**bands: pd.DataFrame) -> pd.DataFrame:
    """Band accuracies of one setup for several borders between low and middle frequencies.

    Args:
        bands: of `measures.spectra.measure`, a frame a border.

    Returns:
        Columns `MOVED`; `border` is the distance at which the middle band begins.
    """
    frames = [
        large_lr.bands(bands=frame).assign(
            border=frame.loc[frame["band"] == "mid", "first"].iloc[0]
        )
        for frame in bands.values()
        if len(frame)
    ]
    if not frames:
        return frame_of([], MOVED)
    return pd.concat(frames, ignore_index=True)[list(MOVED)].astype(MOVED)
