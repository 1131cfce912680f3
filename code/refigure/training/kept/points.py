"""Weights and batch-norm moments at points, and the weights that a started run began with."""

from __future__ import annotations

import json
from collections.abc import Sequence

from torch import Tensor

from refigure.graph.experiments import Run, Wanted
from refigure.training.jobs.parts import Part
from refigure.training.loop import Trained, Training


def keep(runs: Sequence[Run], training: Training, trained: Trained, wanted: Wanted) -> Part:
    """Every point that a run reached, under `run|point|name`.

    The optimiser's state lies beside the weights where a run goes on from there (`wanted.states`).
    """
    part = Part()
    for place, run in enumerate(runs):
        part.points |= _points_of(run, place, training, trained)
    return part


def _points_of(run: Run, place: int, training: Training, trained: Trained) -> dict[str, Tensor]:
    found = {}
    stack = training.stack
    for key, snapshot in trained.points.items():
        if not bool(snapshot.there[place]):
            continue
        for name, value in stack.named(snapshot.flat).items():
            found[f"{run.id}|{key}|{name}"] = value[place].detach().cpu().clone()
        for layer, (mean, variance) in snapshot.moments.items():
            found[f"{run.id}|{key}|mean/{layer}"] = mean[place].cpu().clone()
            found[f"{run.id}|{key}|variance/{layer}"] = variance[place].cpu().clone()
        if json.loads(key).keys() & {"epoch", "event"}:  # those that a run may go on from
            found[f"{run.id}|{key}|epoch"] = snapshot.epoch[place].clone()
        for name, value in snapshot.optimiser.items():  # where a run does
            found[f"{run.id}|{key}|optimiser/{name}"] = value[place].cpu().clone()
    if run.spec.start is not None:
        for name, value in stack.named(trained.start).items():
            found[f"{run.id}|start|{name}"] = value[place].detach().cpu().clone()
    return found
