"""Networks of one stack made ready to train: model, start, task, points and recorders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run, Wanted
from refigure.models.layers import Statistics
from refigure.training.loop import Training
from refigure.training.networks import build_model, frozen_groups, stream_of
from refigure.training.points import Points
from refigure.training.stack import Stack


def setup(
    runs: Sequence[Run],
    points: Sequence[dict[str, Tensor]],
    data: Any,
    wanted: Wanted,
    parents: Mapping[str, Path],
    device: torch.device,
) -> Training:
    """The training of some runs that can go side by side.

    Args:
        runs: equal but for seeds, numbers of the optimiser and where they start.
        points: of their parents, one a run; empty ones for runs without a parent.
        data: prepared, on the device.
        wanted: what they leave behind.
        parents: parent run id -> the folder of its pack.
        device: where to compute.

    Raises:
        UserError: model, task, optimiser or augmentation do not go with each other or the data.
    """
    try:
        specs = [run.spec for run in runs]
        model = build_model(specs[0], data)
        task = import_entry("task", specs[0].task["name"])
        take = import_entry("start", specs[0].take)
        start = take.begin(list(runs), list(points), model, parents, device)
        stack = Stack(model, start.values, frozen_groups(specs[0]), device)
        statistics = Statistics.fresh(model.normalised, len(runs), device)
        if start.moments:
            statistics.running = start.moments
        return Training(
            task.build(model, data, specs, [stream_of(run) for run in runs]),
            specs,
            stack,
            statistics,
            Points(wanted.points, wanted.states),
            [json.loads(record) for record in sorted(wanted.records)],
            start.beginning,
        )
    except ValueError as error:
        raise UserError(f"experiment {runs[0].experiment}: {error}") from error
