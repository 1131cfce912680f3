"""Ensembles, soups, paths and distances of fine-tuned networks: tables of pretrain-basin.

Functions take the rows of probes of `measures.transfer`, whose key `data` names a target: its draw
is the number at its end, 0 where there is none. A table of no rows has its columns.

Source: pretrain-basin, sections 2, 6 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of

SCHEME = {
    "target": str,
    "draw": "int64",
    "pretrain": str,
    "method": str,
    "lr_ratio": float,
    "ep_ratio": float,
    "checkpoint": "int64",
    "seed": "int64",
}
ENSEMBLES = SCHEME | {
    "size": "int64",
    "accuracy": float,
    "member_accuracy": float,
    "last_accuracy": float,
    "disagreement": float,
    "first_last": float,
    "gap": float,
    "nll": float,
    "cnll": float,
    "brier": float,
    "ece": float,
    "objects": "int64",
}
SOUPS = SCHEME | {
    "size": "int64",
    "soup_accuracy": float,
    "greedy_accuracy": float,
    "greedy_size": float,
}
LINES = SCHEME | {
    "pair": str,
    "alpha": float,
    "train_accuracy": float,
    "test_accuracy": float,
}
BARRIERS = SCHEME | {"pair": str, "train_barrier": float, "test_barrier": float}
PLANES = SCHEME | {
    "first": float,
    "second": float,
    "third": float,
    "train_accuracy": float,
    "test_accuracy": float,
}
SIMILARITIES = SCHEME | {
    "member": "int64",
    "block": str,
    "from_first": float,
    "from_checkpoint": float,
    "cka": float,
}
SHIFTS = SCHEME | {
    "shift": str,
    "severity": "int64",
    "accuracy": float,
    "soup_accuracy": float,
}
TUNING = {
    "target": str,
    "start": str,
    "epochs": "int64",
    "lr": float,
    "wd": float,
    "seed": "int64",
    "accuracy": float,
}
DATA = {
    "target": str,
    "part": str,
    "classes": "int64",
    "train": "int64",
    "test": "int64",
    "metric": str,
}
SETTINGS = {
    "target": str,
    "start": str,
    "optimiser": str,
    "lr": float,
    "wd": float,
    "momentum": float,
    "batch": "int64",
    "epochs": "int64",
    "schedule": str,
}


def ensembles(ensembles: pd.DataFrame) -> pd.DataFrame:
    """Every ensemble of every size, of `measures.transfer.ensembles`."""
    return _table(ensembles, ENSEMBLES)


def soups(soups: pd.DataFrame) -> pd.DataFrame:
    """Every soup of every size, of `measures.transfer.soup`."""
    return _table(soups, SOUPS)


def lines(lines: pd.DataFrame) -> pd.DataFrame:
    """Accuracy along lines, of `measures.transfer.lines`."""
    return _table(lines, LINES)


def planes(planes: pd.DataFrame) -> pd.DataFrame:
    """Accuracy on planes, of `measures.transfer.planes`."""
    return _table(planes, PLANES)


def similarities(similarities: pd.DataFrame) -> pd.DataFrame:
    """Distances and alignment, of `measures.transfer.similarities`."""
    return _table(similarities, SIMILARITIES)


def shifts(shifts: pd.DataFrame) -> pd.DataFrame:
    """Accuracy under shift, of `measures.transfer.shifts`."""
    return _table(shifts, SHIFTS)


def barriers(lines: pd.DataFrame) -> pd.DataFrame:
    """How far accuracy falls below the chord between the ends of each line, at most.

    Unlike `measures.paths.barrier` it may be negative: the chord may lie below the whole line, as
    where an average of two networks is better than both.

    Args:
        lines: of `lines`.
    """
    if not len(lines):
        return _typed(pd.DataFrame(), BARRIERS)
    keys = [*SCHEME, "pair"]
    inner = lines.sort_values("alpha", kind="stable")
    grouped = inner.groupby(keys, dropna=False, sort=False)
    rows = []
    for key, line in grouped:
        row = dict(zip(keys, key))
        alpha = line["alpha"].to_numpy()
        for which in ("train", "test"):
            values = line[f"{which}_accuracy"].to_numpy()
            chord = (1 - alpha) * values[0] + alpha * values[-1]
            row[f"{which}_barrier"] = float((chord - values)[1:-1].max())
        rows.append(row)
    return _typed(pd.DataFrame(rows), BARRIERS)


def tuning(transfer: pd.DataFrame, scratch: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end of each network of a grid of constants.

    Args:
        transfer, scratch: histories of the grids from a checkpoint and from an initialisation.
    """
    frames = []
    for start, runs in (("checkpoint", transfer), ("scratch", scratch)):
        if not len(runs):
            continue
        # `epochs` is an axis of the grid; `epoch` the moment.
        last = runs.sort_values("step", kind="stable").groupby("run", sort=False).tail(1)
        frames.append(
            last.assign(target=last["data"], start=start, accuracy=100 - last["test_error"])
        )
    return _typed(pd.concat(frames) if frames else pd.DataFrame(), TUNING)


def data(**prepared: Any) -> pd.DataFrame:
    """Sizes of the data sets.

    Args:
        prepared: `part_draw` -> images; None where their source is not configured.
    """
    rows = []
    for name, images in prepared.items():
        if images is None:
            continue
        part, _, target = name.partition("_of_")
        rows.append(
            {
                "target": target,
                "part": part.replace("_", " "),
                "classes": images.classes,
                "train": len(images.train_labels),
                "test": len(images.test_labels),
                "metric": "top-1 accuracy",
            }
        )
    return _typed(pd.DataFrame(rows), DATA)


def settings(**grid: pd.DataFrame) -> pd.DataFrame:
    """The constants that each family of runs is trained with, by target.

    Args:
        grid: role -> the runs as rows before any is trained.
    """
    frames = []
    for start, runs in grid.items():
        if not len(runs):
            continue
        named = pd.DataFrame(
            {
                "target": [target_of(name)[0] for name in runs["data"]],
                "start": start,
                "optimiser": runs["optimiser.name"].to_numpy(),
                "lr": runs["optimiser.lr"].to_numpy(),
                "wd": runs["optimiser.wd"].to_numpy(),
                "momentum": runs.get(
                    "optimiser.momentum", pd.Series(np.nan, runs.index)
                ).to_numpy(),
                "batch": runs["batch"].to_numpy(),
                "epochs": runs["epochs"].to_numpy(),
                "schedule": runs["schedule.name"].to_numpy(),
            }
        )
        frames.append(named.drop_duplicates())
    return _typed(pd.concat(frames) if frames else pd.DataFrame(), SETTINGS)


def target_of(data: str) -> tuple[str, int]:
    """The target of a data set's name and its draw: `transfer_target_2` is draw 2 of one target."""
    name, _, number = data.rpartition("_")
    return (name, int(number)) if name and number.isdigit() else (data, 0)


def _table(rows: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    if not len(rows):
        return _typed(rows, columns)
    named = [target_of(name) for name in rows["data"]]
    rows = rows.assign(target=[target for target, _ in named], draw=[number for _, number in named])
    return _typed(rows, columns)


def _typed(rows: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    return frame_of(rows, columns).reset_index(drop=True)
