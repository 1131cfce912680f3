"""Norms of trained weights that are not scale-invariant: the last layer, batch norm's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from refigure.training.passes import Moment


def group_norms(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """head_norm, and free_norm of what is neither scale-invariant nor of the last layer (the scales
    and shifts of batch norm), in float64; only of groups that are trained.

    The scale-invariant weights' is `weight_norm`, of the recorder `geometry`.

    Source: periodic-behavior, section 7, `fig_all_params`.
    """
    groups = moment.task.model.groups
    squares: dict[str, Tensor] = {}
    for name, value in moment.stack.leaves.items():
        if groups[name] in ("head", "free"):
            square = value.detach().double().flatten(1).square().sum(1)
            squares[groups[name]] = squares.get(groups[name], 0) + square
    return {f"{group}_norm": square.sqrt() for group, square in squares.items()}
