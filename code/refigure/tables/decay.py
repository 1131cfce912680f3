"""Runs with weight decay: the jumps of their training loss, and their class.

Functions take the histories of runs with axes lr and wd: one row a run and epoch, sorted by run and
step, with weight_norm and the effective learning rate `elr`, lr over the squared norm of the
scale-invariant weights.

Source: specification periodic-behavior, section 6.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from refigure.tables.sphere import slope, trailing

KEY = {"lr": float, "wd": float, "seed": "int64"}
MEASURED = ("weight_norm", "elr", "effective_gradient_norm", "test_error")
"""What is noted at a jump and at the calm state before it."""

JUMPS = {
    **KEY,
    "jump": "int64",
    "onset": float,
    "calm_end": float,
    "loss_min": float,
    "loss_peak": float,
    "early": bool,
    **{f"{name}_{place}": float for name in MEASURED for place in ("onset", "calm_end")},
    "elr_before": float,
    "weight_norm_max": float,
}
RUNS = {
    **KEY,
    "jumps": "int64",
    "trailing_loss": float,
    "trailing_elr": float,
    "loss_slope": float,
    "stationary": bool,
    "kind": str,
    "epochs": float,
}


class Jump(NamedTuple):
    """Places in a row of losses: where a jump begins, and the lowest loss before it."""

    onset: int
    calm_end: int


def find_jumps(losses: np.ndarray, ratio: float, floor: float) -> list[Jump]:
    """The jumps of one run.

    A period has come down once the loss is below the floor. From then on the lowest loss is
    remembered, and a loss above the floor and above `ratio` times the lowest is a jump; the loss
    has to come down again before there can be another.

    Args:
        losses: (epochs,), those after epoch 0. NaN is never a jump.
        ratio: J in the source.
        floor: of the loss.

    Source: specification periodic-behavior, section 6.5.
    """
    jumps = []
    calm_end = None
    for place, loss in enumerate(losses):
        if calm_end is None:
            calm_end = place if loss < floor else None
        elif loss > max(ratio * losses[calm_end], floor):
            jumps.append(Jump(place, calm_end))
            calm_end = None
        elif loss < losses[calm_end]:
            calm_end = place
    return jumps


def jumps(
    decay: pd.DataFrame, floor: float, ratio: float = 5.0, early_share: float = 0.1
) -> pd.DataFrame:
    """The jumps of every run.

    Args:
        decay: histories.
        floor: of the loss: 0.02, and 0.05 on harder data.
        ratio: of the loss at a jump to the lowest before it.
        early_share: of the run's epochs: jumps within it are called early.

    Returns:
        Columns `JUMPS`, one row a jump. `loss_peak` is the largest loss until it has come down
        again, `weight_norm_max` the largest norm until the next jump; `_onset` and `_calm_end` are
        measured at the epochs of those names. Within the epoch of the onset the norm has already
        grown, and with few steps an epoch by much: `elr_before`, of the measured epoch before, is
        the ELR at which the run became unstable.
    """
    rows = []
    for key, run in _runs(decay):
        losses = run["train_loss"].to_numpy(float)
        found = find_jumps(losses, ratio, floor)
        ends = [jump.onset for jump in found[1:]] + [len(run)]
        for number, (jump, end) in enumerate(zip(found, ends), start=1):
            onset, calm, after = (
                run.iloc[jump.onset],
                run.iloc[jump.calm_end],
                run[jump.onset : end],
            )
            down = np.flatnonzero(losses[jump.onset : end] < floor)
            peak = after["train_loss"].iloc[: down[0] if down.size else None].max()
            places = {"onset": onset, "calm_end": calm}
            rows.append(
                {
                    **key,
                    "jump": number,
                    "onset": onset["epoch"],
                    "calm_end": calm["epoch"],
                    "loss_min": calm["train_loss"],
                    "loss_peak": peak,
                    "early": bool(onset["epoch"] <= early_share * run["epoch"].max()),
                    **{
                        f"{name}_{place}": row[name]
                        for name in MEASURED
                        for place, row in places.items()
                    },
                    "elr_before": run["elr"].iloc[jump.onset - 1],
                    "weight_norm_max": after["weight_norm"].max(),
                }
            )
    return _frame(rows, JUMPS)


def runs(
    decay: pd.DataFrame, jumps: pd.DataFrame, floor: float, slope_bound: float = 0.25
) -> pd.DataFrame:
    """What became of every run.

    Args:
        decay: histories.
        jumps: of `jumps`, of the same runs.
        floor: of the loss, as for `jumps`.
        slope_bound: the log of the loss is stationary over the trailing half if it moves by less.

    Returns:
        Columns `RUNS`. Means are over the trailing half of the epochs, of the ELR the geometric
        one. `kind`: "periodic" (two jumps or more), "single jump"; without a jump "equilibrium"
        (the loss stationary above the floor), "converging" (below the floor, or falling) or
        "unclear".
    """
    rows = []
    counts = jumps.groupby([*KEY]).size()
    for key, run in _runs(decay):
        half = trailing(run, 0.5)
        count = int(counts.get(tuple(key.values()), 0))
        moved, loss = slope(half), half["train_loss"].mean()
        stationary = bool(abs(moved) < slope_bound)
        kind = "converging" if loss < floor or moved < -slope_bound else "unclear"
        kind = "equilibrium" if stationary and loss > floor else kind
        rows.append(
            {
                **key,
                "jumps": count,
                "trailing_loss": loss,
                "trailing_elr": float(np.exp(np.log(half["elr"]).mean())),
                "loss_slope": moved,
                "stationary": stationary,
                "kind": {0: kind, 1: "single jump"}.get(count, "periodic"),
                "epochs": run["epoch"].max(),
            }
        )
    return _frame(rows, RUNS)


def _runs(decay: pd.DataFrame) -> Iterator[tuple[dict[str, float], pd.DataFrame]]:
    """Each run's lr, wd and seed, and its epochs after the initial state with a measured loss."""
    if not len(decay):
        return
    for _, run in decay.groupby("run", sort=False):
        key = {name: run[name].iloc[0] for name in KEY}
        measured = run[(run["epoch"] > 0) & run["train_loss"].notna()]
        yield key, measured.reset_index(drop=True)


def _frame(rows: list[dict], columns: dict[str, type | str]) -> pd.DataFrame:
    """Rows as a table of these columns and types, also where there are none."""
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)
