"""Runs with weight decay: the jumps of their training loss, the periods between, their class.

Functions take the histories of runs by family (`decay=...`, `v1=...`): one row a run and step,
sorted by run and step, with lr and, where the runs have it, wd among the axes, and with weight_norm
and the effective learning rate `elr`, lr over the squared norm of the scale-invariant weights.
Only epochs' ends with a measured loss count. What cannot be had is NaN.

Source: specification periodic-behavior, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of
from refigure.tables.sphere import slope, trailing

KEY = {
    "family": str,
    "experiment": str,
    "run": str,
    "setting": str,
    "lr": float,
    "wd": float,
    "seed": "int64",
}
SETTINGS = ("data", "k", "norm")
"""Axes besides lr, wd and seed that tell the runs of a family apart."""

ERRORS = ("test_error", "test_error_recomputed")
"""With the running moments of batch norm, and with re-estimated ones, which claims go by."""

MEASURED = ("weight_norm", "elr", "effective_gradient_norm", *ERRORS)
"""What is noted at a jump and at the calm state before it."""

JUMPS = {
    **KEY,
    "jump": "int64",
    "onset": float,
    "calm_end": float,
    "peak": float,
    "norm_max": float,
    "loss_onset": float,
    "loss_min": float,
    "loss_peak": float,
    "early": bool,
    **{f"{name}_{place}": float for name in MEASURED for place in ("onset", "calm_end")},
    "elr_before": float,
    "weight_norm_before": float,
    "weight_norm_after": float,
    "weight_norm_max": float,
    "floor": float,
}
PERIODS = {
    **KEY,
    "period": "int64",
    "start": float,
    "end": float,
    "iterations": float,
    "loss_onset": float,
    "loss_min": float,
    **{name: float for name in ERRORS},
    "effective_gradient_norm": float,
    "growth": float,
    "calm_start": float,
    "calm_elr": float,
    "calm_gradient_min": float,
    "calm_gradient_max": float,
    "time": float,
    "resolution": float,
    "time_min": float,
    "time_max": float,
    "time_min_through": float,
}
RUNS = {
    **KEY,
    "jumps": "int64",
    "late_jumps": "int64",
    "last_third_jumps": "int64",
    "mean_period": float,
    "period_variation": float,
    "loss_at_ends": float,
    **{f"{name}_at_ends": float for name in ERRORS},
    "elr_before_min": float,
    "elr_before_max": float,
    "trailing_loss": float,
    "trailing_elr": float,
    "elr_held": float,
    "loss_slope": float,
    "stationary": bool,
    "kind": str,
    "whole_periods": "int64",
    "step_ratio": float,
    "step_ratio_sampled": float,
    "epochs": float,
    "floor": float,
}

MINIMA = {
    "lr": float,
    "wd": float,
    "seed": "int64",
    "first": "int64",
    "second": "int64",
    "cosine": float,
    "disagreement": float,
    "test_error": float,
    "ensemble_error": float,
    "test_error_recomputed": float,
    "ensemble_error_recomputed": float,
}
BRINKS = {
    "lr": float,
    "wd": float,
    "seed": "int64",
    "jump": "int64",
    "elr_before": float,
    "effective_sharpness": float,
    "elr_sharpness": float,
    "images": "int64",
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
    floor: float,
    ratio: float = 5.0,
    early_share: float = 0.1,
    floors: Mapping[str, float] | None = None,
    **families: pd.DataFrame,
) -> pd.DataFrame:
    """The jumps of every run.

    Args:
        floor: of the loss: 0.02, and 0.05 on harder data.
        ratio: of the loss at a jump to the lowest before it.
        early_share: of the run's epochs: jumps within it are called early.
        floors: of families on other data.
        families: histories.

    Returns:
        Columns `JUMPS`, one row a jump. `loss_peak` is the largest loss until it has come down
        again, reached at epoch `peak`; `weight_norm_max` the largest norm until the next jump,
        from the peak on, at epoch `norm_max`: from onset to peak is phase C of the source, from
        there to `norm_max` A, from there to the next onset B. `_onset` and `_calm_end` are measured
        at the epochs of those names. Within the epoch of the onset the norm has already grown, and
        with few steps an epoch by much: `_before`, of the measured epoch before, is the state that
        became unstable. `weight_norm_after` is measured one tenth of the time to the next jump (or
        to the end of the run) after the onset.

    Source: specification periodic-behavior, section 6.5.
    """
    rows = []
    for key, run in _runs(families):
        own = _floor(key, floor, floors)
        losses = run["train_loss"].to_numpy(float)
        found = find_jumps(losses, ratio, own)
        ends = [jump.onset for jump in found[1:]] + [len(run)]
        for number, (jump, end) in enumerate(zip(found, ends), start=1):
            onset, calm, before = (run.iloc[p] for p in (jump.onset, jump.calm_end, jump.onset - 1))
            after = run[jump.onset : end]
            down = np.flatnonzero(losses[jump.onset : end] < own)
            peak = after["train_loss"].iloc[: down[0] if down.size else None].idxmax()
            risen = after.loc[peak:, "weight_norm"]
            tenth = onset["epoch"] + 0.1 * (
                run["epoch"].iloc[min(end, len(run) - 1)] - onset["epoch"]
            )
            places = {"onset": onset, "calm_end": calm}
            rows.append(
                {
                    **key,
                    "jump": number,
                    "onset": onset["epoch"],
                    "calm_end": calm["epoch"],
                    "peak": run["epoch"][peak],
                    "norm_max": run["epoch"][risen.idxmax()] if risen.notna().any() else np.nan,
                    "loss_onset": onset["train_loss"],
                    "loss_min": calm["train_loss"],
                    "loss_peak": run["train_loss"][peak],
                    "early": bool(onset["epoch"] <= early_share * run["epoch"].max()),
                    **{
                        f"{name}_{place}": row.get(name, np.nan)
                        for name in MEASURED
                        for place, row in places.items()
                    },
                    "elr_before": before["elr"],
                    "weight_norm_before": before["weight_norm"],
                    "weight_norm_after": after.loc[after["epoch"] >= tenth, "weight_norm"].iloc[0],
                    "weight_norm_max": risen.max(),
                    "floor": own,
                }
            )
    return frame_of(rows, JUMPS)


def periods(
    floor: float,
    ratio: float = 5.0,
    floors: Mapping[str, float] | None = None,
    **families: pd.DataFrame,
) -> pd.DataFrame:
    """The whole periods of every run, and what theory says of their calm halves.

    A period runs from one onset to the next, the first from epoch 0. Its calm half are the measured
    epochs of its second half, up to the last before the onset.

    Args:
        floor, ratio, floors: as for `jumps`.
        families: histories.

    Returns:
        Columns `PERIODS`, one row a period. `growth` is the fitted slope of log ELR an iteration in
        the calm half, over 2 lr wd. `time` are the iterations from the start of the calm half to
        the end of the epoch in which the loss jumps, known to `resolution` iterations; `time_min`
        and `time_max` bound the time to the first step that turns the weights by more than
        1 - cos = lr wd / 2, from the first ELR of the calm half and the smallest and largest mean
        effective gradient norm in it; `time_min_through` is the lower bound with the gradient at
        the end of the epoch of the jump counted too, as the theorem asks of a jump that begins with
        a growing gradient.

    Source: specification periodic-behavior, sections 6.2 and 6.4.
    """
    rows = []
    found = jumps(floor, ratio, floors=floors, **families)
    by_run = dict(iter(found.groupby("run")))
    for key, run in _runs(families):
        own = by_run.get(key["run"])
        if own is None:
            continue
        an_epoch = run["step"].iloc[-1] / run["epoch"].iloc[-1]
        starts = [0.0, *own["onset"]]
        for (start, end), jump in zip(pairwise(starts), own.itertuples()):
            calm = run[(run["epoch"] >= (start + end) / 2) & (run["epoch"] < end)]
            row = {
                **key,
                "period": jump.jump,
                "start": start,
                "end": end,
                "iterations": (end - start) * an_epoch,
                "loss_onset": jump.loss_onset,
                "loss_min": jump.loss_min,
                **{name: getattr(jump, f"{name}_calm_end") for name in ERRORS},
                "effective_gradient_norm": jump.effective_gradient_norm_calm_end,
            }
            if len(calm):
                product = key["lr"] * key["wd"]
                row |= _calm(calm, end, an_epoch, product)
                reached = np.fmax(row["calm_gradient_max"], jump.effective_gradient_norm_onset)
                row["time_min_through"] = time_to_jump(row["calm_elr"], np.nan, reached, product)[0]
            rows.append(row)
    return frame_of(rows, PERIODS)


def _calm(calm: pd.DataFrame, end: float, an_epoch: float, product: float) -> dict[str, float]:
    """Growth and times of a calm half, with lr times wd."""
    start = calm["epoch"].iloc[0]
    grown = np.nan
    if len(calm) > 2 and product > 0:
        slopes = np.polynomial.Polynomial.fit(calm["step"], np.log(calm["elr"]), 1).convert().coef
        grown = slopes[1] / (2 * product)
    gradient = calm.get("effective_gradient_norm", pd.Series([np.nan]))
    elr, low, high = calm["elr"].iloc[0], gradient.min(), gradient.max()
    time_min, time_max = time_to_jump(elr, low, high, product)
    return {
        "growth": grown,
        "calm_start": start,
        "calm_elr": elr,
        "calm_gradient_min": low,
        "calm_gradient_max": high,
        "time": (end - start) * an_epoch,
        "resolution": (end - calm["epoch"].iloc[-1]) * an_epoch,
        "time_min": time_min,
        "time_max": time_max,
    }


def time_to_jump(
    elr: float, gradient_min: float, gradient_max: float, product: float, delta: float | None = None
) -> tuple[float, float]:
    """Bounds of the number of steps until one turns the weights by 1 - cos > delta.

    Args:
        elr: at the start.
        gradient_min, gradient_max: of the effective gradient norm on the way.
        product: learning rate times weight decay; NaN where it is not positive.
        delta: below the product, by default half of it.

    Returns:
        The fewest and the most steps; a bound in the past counts as 0.

    Source: specification periodic-behavior, section 6.4.
    """
    if not product > 0:
        return np.nan, np.nan
    delta = product / 2 if delta is None else delta
    turn = (1 - product) * np.sqrt(1 / (1 - delta) ** 2 - 1)
    fewest = np.log(turn / (gradient_max * elr)) / (-2 * np.log1p(-product))
    most = np.log(turn / (gradient_min * elr)) / (2 * np.log((1 - delta) / (1 - product))) + 1
    return np.maximum(fewest, 0.0), np.maximum(most, 0.0)


def runs(
    floor: float,
    ratio: float = 5.0,
    early_share: float = 0.1,
    slope_bound: float = 0.25,
    floors: Mapping[str, float] | None = None,
    **families: pd.DataFrame,
) -> pd.DataFrame:
    """What became of every run.

    Args:
        floor, ratio, early_share, floors: as for `jumps`.
        slope_bound: the log of the loss is stationary over the trailing half if it moves by less.
        families: histories.

    Returns:
        Columns `RUNS`. Means are over the trailing half of the epochs, of the ELR the geometric
        one. `kind`: "periodic" (two jumps or more), "single jump"; without a jump "equilibrium"
        (the loss stationary above the floor), "converging" (below the floor, or falling) or
        "unclear". `mean_period` and its coefficient of variation are of all whole periods, in
        iterations, the first from epoch 0; `_at_ends` are means over the calm states before the
        jumps, `elr_before` ranges over the epochs before them; `elr_held` is the largest ELR at an
        epoch whose loss is below the floor. `step_ratio` is the root mean square of the effective
        step over sqrt(1 - (1 - lr wd)^2), about sqrt(2 lr wd): over the trailing
        half of a run in equilibrium, over the `whole_periods` from the first onset to the last of a
        periodic one. It is of every step that was taken; `step_ratio_sampled` is sampled at the
        ends of epochs, by the mean squared gradient norm of batches, and may be far off where an
        epoch has few steps.
    """
    rows = []
    every = jumps(floor, ratio, early_share, floors, **families)
    by_run = dict(iter(every.groupby("run")))
    for key, run in _runs(families):
        own = _floor(key, floor, floors)
        half = trailing(run, 0.5)
        found = by_run.get(key["run"], every[:0])
        onsets, last = found["onset"].to_numpy(float), run["epoch"].max()
        lengths = np.diff(onsets, prepend=0.0) * (run["step"].iloc[-1] / last)
        moved, loss = slope(half), half["train_loss"].mean()
        stationary = bool(abs(moved) < slope_bound)
        kind = "converging" if loss < own or moved < -slope_bound else "unclear"
        kind = "equilibrium" if stationary and loss > own else kind
        kind = {0: kind, 1: "single jump"}.get(len(found), "periodic")
        window = half if kind == "equilibrium" else run[:0]
        if kind == "periodic":
            window = run[(run["epoch"] > onsets[0]) & (run["epoch"] <= onsets[-1])]
        rows.append(
            {
                **key,
                "jumps": len(found),
                "late_jumps": int((~found["early"].astype(bool)).sum()),
                "last_third_jumps": int((onsets > 2 / 3 * last).sum()),
                "mean_period": lengths.mean() if len(found) > 1 else np.nan,
                "period_variation": lengths.std(ddof=1) / lengths.mean()
                if len(found) > 1
                else np.nan,
                "loss_at_ends": found["loss_min"].mean(),
                **{f"{name}_at_ends": found[f"{name}_calm_end"].mean() for name in ERRORS},
                "elr_before_min": found["elr_before"].min(),
                "elr_before_max": found["elr_before"].max(),
                "trailing_loss": loss,
                "trailing_elr": float(np.exp(np.log(half["elr"]).mean())),
                "elr_held": run.loc[run["train_loss"] < own, "elr"].max(),
                "loss_slope": moved,
                "stationary": stationary,
                "kind": kind,
                "whole_periods": max(len(found) - 1, 0),
                **_step_ratios(window, key["lr"] * key["wd"]),
                "epochs": last,
                "floor": own,
            }
        )
    return frame_of(rows, RUNS)


def _step_ratios(window: pd.DataFrame, product: float) -> dict[str, float]:
    ratios = {"step_ratio": np.nan, "step_ratio_sampled": np.nan}
    if not len(window) or not product > 0:
        return ratios
    equilibrium = np.sqrt(1 - (1 - product) ** 2)
    if "effective_gradient_rms" in window:
        sampled = window["elr"] * window["effective_gradient_rms"]
        ratios["step_ratio_sampled"] = np.sqrt(sampled.pow(2).mean()) / equilibrium
    if "steps_rms" in window:
        ratios["step_ratio"] = np.sqrt(window["steps_rms"].pow(2).mean()) / equilibrium
    return ratios


def minima(minima: pd.DataFrame) -> pd.DataFrame:
    """Pairs of minima of one run.

    Args:
        minima: of the probe `measures.minima`.

    Returns:
        Columns `MINIMA`, one row a pair of periods of a run, each with itself too.
    """
    return frame_of(minima.to_dict("records"), MINIMA)


def brinks(sharpness: pd.DataFrame, jumps: pd.DataFrame) -> pd.DataFrame:
    """ELR times effective sharpness one epoch before a jump; gradient descent is unstable above 2.

    Args:
        sharpness: of the probe `measures.curvature`, at the epochs before the first and second jump
            of each run, in this order.
        jumps: of `jumps`, of the same runs as family `l`.

    Returns:
        Columns `BRINKS`, one row a jump.

    Source: specification periodic-behavior, section 6.4.
    """
    if not len(sharpness):
        return frame_of([], BRINKS)
    axes = ["lr", "wd", "seed"]
    numbered = sharpness.assign(jump=sharpness.groupby(axes, sort=False).cumcount() + 1)
    found = numbered.merge(jumps[jumps["family"] == "l"], on=[*axes, "jump"])
    found["elr_sharpness"] = found["elr_before"] * found["effective_sharpness"]
    return frame_of(found.to_dict("records"), BRINKS)


def _floor(key: Mapping[str, object], floor: float, floors: Mapping[str, float] | None) -> float:
    return (floors or {}).get(key["family"], floor)


def _runs(
    families: Mapping[str, pd.DataFrame],
) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each run's key, and its epochs after the initial state with a measured loss."""
    for family, histories in families.items():
        if not len(histories):
            continue
        for run, rows in histories.groupby("run", sort=False):
            first = rows.iloc[0]
            axes = [name for name in SETTINGS if name in rows and pd.notna(first[name])]
            key = {
                "family": family,
                "experiment": first.get("experiment", ""),
                "run": run,
                "setting": " ".join(f"{name}={_shown(first[name])}" for name in axes),
                "lr": first["lr"],
                "wd": first.get("wd", np.nan),
                "seed": first["seed"],
            }
            measured = rows[(rows["epoch"] > 0) & rows["train_loss"].notna()]
            measured = measured[measured["epoch"] % 1 == 0]
            if len(measured):
                yield key, measured.reset_index(drop=True)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else f"{value:g}"
