"""Measured scalars as rows, and measured arrays as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from refigure.graph.experiments import Run, Wanted
from refigure.training.history import History
from refigure.training.jobs.parts import Part
from refigure.training.loop import Trained, Training


def keep(runs: Sequence[Run], training: Training, trained: Trained, wanted: Wanted) -> Part:
    """One row a run and step up to where the run ended; each array with its steps and epochs."""
    part, frames = Part(), []
    per_epoch = training.steps_per_epoch
    for place, run in enumerate(runs):
        last = int(trained.last_epoch[place]) * per_epoch
        frames.append(_rows_of(run, place, trained.history, last, per_epoch))
        part.arrays |= _arrays_of(run, place, trained.history, last, per_epoch)
    part.history = pd.concat(frames, ignore_index=True)
    return part


def _rows_of(run: Run, place: int, history: History, last: int, per_epoch: int) -> pd.DataFrame:
    steps = [step for step in history.scalars if step <= last]
    columns = sorted({name for step in steps for name in history.scalars[step]})
    frame = pd.DataFrame(
        {"run": run.id, "step": steps, "epoch": [step / per_epoch for step in steps]}
    )
    for name in columns:
        frame[name] = [
            float(history.scalars[step][name][place]) if name in history.scalars[step] else None
            for step in steps
        ]
    return frame.astype({name: "float64" for name in columns})


def _arrays_of(
    run: Run, place: int, history: History, last: int, per_epoch: int
) -> dict[str, Tensor]:
    found = {}
    for name, (steps, values) in history.arrays.items():
        kept = [number for number, step in enumerate(steps) if step <= last]
        found[f"{run.id}|{name}"] = torch.stack([values[number][place] for number in kept])
        found[f"{run.id}|{name}|step"] = torch.tensor([steps[number] for number in kept])
        found[f"{run.id}|{name}|epoch"] = torch.tensor(
            [steps[number] / per_epoch for number in kept], dtype=torch.float64
        )
    return found
