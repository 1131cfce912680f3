"""A start from an initialisation, drawn from the run's seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.training.initial import initial_values
from refigure.training.starts.start import Start


def begin(
    runs: list[Run],
    points: list[dict[str, Tensor]],
    model: Model,
    parents: Mapping[str, Path],
    device: torch.device,
) -> Start:
    """Initial values of each run; there are no points to start from."""
    return Start([initial_values(model, run.spec) for run in runs])
