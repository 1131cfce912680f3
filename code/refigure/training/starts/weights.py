"""A start from the weights and batch-norm moments of a parent's point, at epoch 0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.training.starts.start import Start, moments_of


def begin(
    runs: list[Run],
    points: list[dict[str, Tensor]],
    model: Model,
    parents: Mapping[str, Path],
    device: torch.device,
) -> Start:
    """All parameters and moments of the points; the optimiser begins anew."""
    values = [{name: point[name] for name in model.groups} for point in points]
    return Start(values, moments_of(points, model, device))
