"""The files of a pack, whole or in parts: histories, points, arrays, and what is known of each run.

A part holds some runs of a pack in the same files as the pack: a stack that has been trained,
or runs adopted from another pack. When all runs are there the parts become the pack.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError, safe_open
from torch import Tensor

from refigure.errors import UserError
from refigure.files import read_json, read_parquet, remove, write_json, write_parquet
from refigure.graph.experiments import Run, Wanted
from refigure.graph.packs import adoptable
from refigure.graph.steps import PACK_FILES as FILES
from refigure.training.jobs.states import write

HISTORY, RUNS = FILES[0], FILES[-1]
TENSORS = ("points", "arrays", "predictions")
KEY = ["run", "step", "epoch"]


@dataclass
class Part:
    """Results of some runs.

    Args:
        history: one row a run and step: run, step, epoch, and the scalars.
        points: `run|point|name` -> tensor.
        arrays: `run|name` -> (moments, ...), and `run|name|epoch` -> (moments,).
        predictions: `run|point|set` -> logits, (objects, classes).
        runs: run id -> what `run.json` says of it.
    """

    history: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=KEY))
    points: dict[str, Tensor] = field(default_factory=dict)
    arrays: dict[str, Tensor] = field(default_factory=dict)
    predictions: dict[str, Tensor] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the files, `run.json` last: its presence says that the part is whole."""
        remove(folder / RUNS)
        rows = self.history.sort_values(["run", "step"], kind="stable").reset_index(drop=True)
        # In an order that does not depend on which part came first.
        columns = [*KEY, *sorted(set(rows.columns) - set(KEY))]
        write_parquet(rows[columns], folder / HISTORY)
        for name in TENSORS:
            write(folder / f"{name}.safetensors", dict(sorted(getattr(self, name).items())), {})
        write_json({"runs": dict(sorted(self.runs.items()))}, folder / RUNS)


def join(parts: Iterable[Part]) -> Part:
    """Several parts as one."""
    whole = Part()
    frames = []
    for part in parts:
        if len(part.history):
            frames.append(part.history)
        for name in TENSORS:
            getattr(whole, name).update(getattr(part, name))
        whole.runs |= part.runs
    if frames:
        whole.history = pd.concat(frames, ignore_index=True)
    return whole


def load(folder: Path, runs: Sequence[str] | None = None) -> Part:
    """The part in a folder, or only some of its runs."""
    about = read_json(folder / RUNS)["runs"]
    chosen = set(about if runs is None else runs)
    history = read_parquet(folder / HISTORY)
    return Part(
        history[history["run"].isin(chosen)],
        *(read_tensors(folder / f"{name}.safetensors", chosen) for name in TENSORS),
        {run: value for run, value in about.items() if run in chosen},
    )


def read_tensors(path: Path, runs: Iterable[str], point: str | None = None) -> dict[str, Tensor]:
    """The tensors of some runs, or of one of their points.

    Raises:
        UserError: the file is missing or damaged.
    """
    chosen = set(runs)
    try:
        with safe_open(path, framework="pt") as file:
            return {
                name: file.get_tensor(name)
                for name in file.keys()  # noqa: SIM118
                if name.split("|", 1)[0] in chosen
                and (point is None or name.split("|", 2)[1] == point)
            }
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not readable: {' '.join(str(error).split())}") from None


def adopt(
    wanted: Sequence[Run], want: Wanted, code: Mapping[str, str], folders: Iterable[Path]
) -> Part:
    """Finished runs that another pack holds: same spec, same code, nothing wanted missing.

    Args:
        wanted: the runs of the new pack.
        want: what they must leave behind.
        code: module -> digest, that they must have been trained by; more modules do no harm.
        folders: of packs that may hold them. One that is damaged is passed over, with a line.
    """
    missing = {run.id: run for run in wanted}
    parts = []
    for folder in folders:
        if not missing or not all((folder / name).is_file() for name in FILES):
            continue
        try:
            about = read_json(folder / RUNS)["runs"]
            found = [run for run in missing if run in about and adoptable(about[run], want, code)]
            part = load(folder, found) if found else None
        except (UserError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, UserError) else f"{folder}: not one of ours"
            print(f"nothing adopted: {reason}", file=sys.stderr)
            continue
        if part:
            for run in found:
                part.runs[run]["experiment"] = missing[run].experiment
                part.runs[run]["label"] = missing[run].label
                del missing[run]
            parts.append(part)
    return join(parts)


def named_point(tensors: Mapping[str, Tensor], run: str, point: str) -> dict[str, Tensor] | None:
    """One point of one run, without the prefix; None where the run has none."""
    prefix = f"{run}|{point}|"
    found = {
        name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)
    }
    return found or None
