"""Histories of selected runs with their axes as columns: what every other table starts from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


def frame_of(rows: list, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Rows as a table of these columns and types, also where there are none."""
    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))


def histories(rows: pd.DataFrame, axes: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One row a run and step, sorted by the runs' order, with the values of the axes.

    Args:
        rows: of some packs: run, step, epoch and scalars.
        axes: run id -> experiment and axes, in the order that is wanted; other runs are left out.

    Returns:
        Columns experiment, the axes, run, step, epoch, then the scalars. No row where no run is. A
        scalar that is an axis too (the ELR of sphere runs) is left out, but where a run has no such
        axis (it starts from one that has) it fills the column.
    """
    described = pd.DataFrame.from_dict(axes, orient="index")
    described.index.name = "run"
    described = described.reset_index()
    described["order"] = range(len(described))
    if not len(described) or not len(rows):
        return pd.DataFrame({name: [] for name in ("experiment", "run", "step", "epoch")})
    joined = described.merge(rows, on="run", how="inner", suffixes=("", "_measured"))
    for name in [name for name in described.columns if f"{name}_measured" in joined]:
        joined[name] = joined[name].fillna(joined.pop(f"{name}_measured"))
    joined = joined.sort_values(["order", "step"], kind="stable").drop(columns="order")
    first = [name for name in described.columns if name not in ("order", "run")]
    rest = [name for name in joined.columns if name not in (*first, "run", "step", "epoch")]
    return joined[[*first, "run", "step", "epoch", *rest]].reset_index(drop=True)


def long_arrays(arrays: Mapping[str, Any], runs: Iterable[str], name: str) -> pd.DataFrame:
    """One recorded array of some runs as rows: run, epoch, index, and the value under its name.

    Args:
        arrays: `run|name` -> (moments, values), and `run|name|epoch` -> (moments,), numpy.
    """
    frames = []
    for run in runs:
        values = arrays.get(f"{run}|{name}")
        if values is None:
            continue
        epochs = arrays[f"{run}|{name}|epoch"]
        moments, count = values.shape
        frames.append(
            pd.DataFrame(
                {
                    "run": run,
                    "epoch": epochs.repeat(count),
                    "index": list(range(count)) * moments,
                    name: values.reshape(-1).astype("float64"),
                }
            )
        )
    if not frames:
        return pd.DataFrame({key: [] for key in ("run", "epoch", "index", name)})
    return pd.concat(frames, ignore_index=True)


@dataclass(frozen=True)
class Recorded:
    """One recorded array of some runs, in the type it was recorded in.

    Args:
        axes: one row a run that recorded it: experiment, the axes and run.
        values: of each row, (moments, ...).
        epochs: of each row, (moments,): when they were recorded.
    """

    axes: pd.DataFrame
    values: list[np.ndarray]
    epochs: list[np.ndarray]

    def stacked(self) -> np.ndarray:
        """All runs in one array, (runs, moments, ...).

        Raises:
            ValueError: they were recorded at different moments.
        """
        if any(not np.array_equal(self.epochs[0], epochs) for epochs in self.epochs):
            raise ValueError("the runs recorded at different moments: take `values` one by one")
        return np.stack(self.values)


def recorded(
    arrays: Mapping[str, Any], about: Mapping[str, Mapping[str, Any]], name: str
) -> Recorded:
    """One recorded array of some runs.

    Args:
        arrays: `run|name` -> (moments, ...), and `run|name|epoch` -> (moments,), numpy.
        about: run id -> experiment and axes, in the order that is wanted.
    """
    there = [run for run in about if f"{run}|{name}" in arrays]
    return Recorded(
        pd.DataFrame([{**about[run], "run": run} for run in there]),
        [arrays[f"{run}|{name}"] for run in there],
        [arrays[f"{run}|{name}|epoch"] for run in there],
    )
