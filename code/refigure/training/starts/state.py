"""A start that goes on from a parent's training state, as if training had never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.training.history import History
from refigure.training.initial import initial_values
from refigure.training.jobs import parts
from refigure.training.loop import Beginning, build_optimiser
from refigure.training.networks import frozen_groups
from refigure.training.stack import Stack
from refigure.training.starts.start import Start, moments_of


def begin(
    runs: list[Run],
    points: list[dict[str, Tensor]],
    model: Model,
    parents: Mapping[str, Path],
    device: torch.device,
) -> Start:
    """Weights, moments, the optimiser's state, the history up to there, and where it all began."""
    values = [{name: point[name] for name in model.groups} for point in points]
    frozen = frozen_groups(runs[0].spec)
    before = frozen_groups(runs[0].parent.spec)
    optimiser = state_of(points, model, values, before, frozen)
    epoch = int(points[0]["epoch"])
    counted = runs[0].spec.start["point"].get("epoch", 0)
    history = parents_history(runs, epoch, parents)
    start = torch.cat([start_of(run.parent, model, frozen, parents) for run in runs])
    beginning = Beginning(epoch, counted, optimiser, history, start)
    return Start(values, moments_of(points, model, device), beginning)


def start_of(run: Run, model: Model, frozen: frozenset[str], parents: Mapping[str, Path]) -> Tensor:
    """The flat parameters at a run's own start, (1, trained), which its measures refer to."""
    if run.spec.start is not None:
        path = parents[run.id] / "points.safetensors"
        values = parts.named_point(parts.read_tensors(path, [run.id], "start"), run.id, "start")
        return Stack(model, [values], frozen, torch.device("cpu")).flat
    stack = Stack(model, [initial_values(model, run.spec)], frozen, torch.device("cpu"))
    build_optimiser([run.spec], stack)  # which may project them
    return stack.flat


def parents_history(runs: list[Run], epoch: int, parents: Mapping[str, Path]) -> History:
    """What the parents measured up to an epoch, so that a longer run has its whole history."""
    history = History()
    frames, arrays = [], []
    for run in runs:
        folder = parents[run.parent.id]
        frame = pd.read_parquet(folder / "history.parquet")
        frame = frame[(frame["run"] == run.parent.id) & (frame["epoch"] <= epoch)]
        frames.append(frame.set_index("step").drop(columns=["run", "epoch"]))
        arrays.append(parts.read_tensors(folder / "arrays.safetensors", [run.parent.id]))
    for step in frames[0].index:
        row = {
            name: torch.tensor([frame.loc[step, name] for frame in frames])
            for name in frames[0].columns
            if not all(pd.isna(frame.loc[step, name]) for frame in frames)
        }
        history.add(int(step), row)
    prefix = f"{runs[0].parent.id}|"
    for name in arrays[0]:
        inner = name[len(prefix) :]
        if "|" in inner:
            continue
        steps = arrays[0][f"{name}|step"]
        for place, step in enumerate(steps.tolist()):
            if step <= int(frames[0].index[-1]):
                rows = [
                    tensors[f"{run.parent.id}|{inner}"][place] for run, tensors in zip(runs, arrays)
                ]
                history.add_array(step, inner, torch.stack(rows))
    return history


def state_of(
    points: list[dict[str, Tensor]],
    model: Model,
    values: list[dict[str, Tensor]],
    before: frozenset[str],
    after: frozenset[str],
) -> dict[str, Tensor]:
    """The optimiser's state at the points of some networks, (networks, ...) each by name.

    A group that is trained from now on and was frozen before begins with a state of zero.

    Args:
        points: of the parents, with `optimiser/...`.
        values: of the networks.
        before, after: what the parents froze, and what the networks freeze.
    """
    names = [name for name in points[0] if name.startswith("optimiser/")]
    state = {
        name.partition("/")[2]: torch.stack([point[name] for point in points]) for name in names
    }
    if before == after or not state:
        return state
    old, new = (Stack(model, values, frozen, torch.device("cpu")) for frozen in (before, after))
    for name, value in state.items():
        if value.shape[1:] == old.flat.shape[1:]:
            known = old.named(value)
            parts = [
                known[leaf].flatten(1) if leaf in old.leaves else torch.zeros_like(part).flatten(1)
                for leaf, part in new.leaves.items()
            ]
            state[name] = torch.cat(parts, dim=1).detach()
    return state
