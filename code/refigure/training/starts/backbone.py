"""A start from all of a parent's point but its last layer, which is drawn anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.training.initial import initial_values
from refigure.training.networks import stream_of
from refigure.training.starts.start import Start, moments_of


def begin(
    runs: list[Run],
    points: list[dict[str, Tensor]],
    model: Model,
    parents: Mapping[str, Path],
    device: torch.device,
) -> Start:
    """Parameters and moments of the points, with the head of each run's own stream.

    The stream has the parent in it, so that networks from several checkpoints share no head
    (pretrain-basin, section 0): else an ensemble of them would be less independent than it is said
    to be. A head with a seed of its own (`head: {seed, norm}`) is drawn from that seed, as where
    training begins at an initialisation. The number of classes may be another than the parent's.
    """
    values = []
    for run, point in zip(runs, points):
        drawn = initial_values(model, run.spec, stream_of(run))
        values.append(
            {
                name: drawn[name] if group == "head" else point[name]
                for name, group in model.groups.items()
            }
        )
    return Start(values, moments_of(points, model, device))
