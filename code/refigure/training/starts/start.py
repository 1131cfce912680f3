"""What every kind of start gives, and how a parent's point is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.graph.experiments import Run
from refigure.models.layers import Model
from refigure.training.jobs import parts
from refigure.training.loop import Beginning

Moments = dict[str, tuple[Tensor, Tensor]]


@dataclass
class Start:
    """Where some networks begin.

    Args:
        values: of each network, parameters by name without an axis of networks.
        moments: batch norm's, layer -> (mean, variance), each (networks, channels); empty: fresh.
        beginning: what else training goes on from; None where it begins at epoch 0.
    """

    values: list[dict[str, Tensor]]
    moments: Moments = field(default_factory=dict)
    beginning: Beginning | None = None


def point_of(run: Run, parents: Mapping[str, Path]) -> dict[str, Tensor] | None:
    """The point of its parent that a run starts from; None where the parent never reached it.

    Args:
        run: with a parent.
        parents: parent run id -> the folder of its pack.

    Raises:
        UserError: the pack's file is not there.
    """
    path = parents[run.parent.id] / "points.safetensors"
    if not path.is_file():
        raise UserError(f"{run.label} starts from {run.parent.label}: {path}: no such file")
    tensors = parts.read_tensors(path, [run.parent.id], run.point)
    return parts.named_point(tensors, run.parent.id, run.point)


def moments_of(points: list[dict[str, Tensor]], model: Model, device: torch.device) -> Moments:
    """Batch norm's moments at some points, one a network."""
    return {
        layer: tuple(
            torch.stack([point[f"{kind}/{layer}"] for point in points]).to(device)
            for kind in ("mean", "variance")
        )
        for layer in model.normalised
    }
