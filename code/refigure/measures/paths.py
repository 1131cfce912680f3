"""Straight lines between networks: how far apart two points are, and what lies between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refigure.measures.accuracy import accuracies
from refigure.measures.members import Group, Member

Values = Mapping[str, Tensor]


def measure(
    group: Group, *, points: int, pairs: Mapping[str, Sequence[str]], rescale: bool
) -> list[dict[str, Any]]:
    """Angle and barriers between the networks of two roles, a row a pair and network.

    Args:
        group: with one network a role; a pair of which one is absent is left out.
        points: on the line, both ends among them.
        pairs: name -> the roles of its two ends.
        rescale: bring the scale-invariant weights of both ends to one norm before.

    Returns:
        pair; angle, radians; train_barrier and test_barrier, percentage points.

    Raises:
        ValueError: a role holds several networks.

    Source: where-large-lrs, section 6.
    """
    rows = []
    for pair, ends in pairs.items():
        members = [group.roles.get(role, []) for role in ends]
        if any(len(found) > 1 for found in members):
            raise ValueError(f"pair {pair}: one network a role, got {[len(m) for m in members]}")
        if not all(members):
            continue
        (first,), (last,) = members
        train, test = along(first, last, points, rescale)
        rows.append(
            {
                "pair": pair,
                "angle": angle(first.model.groups, first.parameters, last.parameters),
                "train_barrier": barrier(train),
                "test_barrier": barrier(test),
            }
        )
    return rows


def compared(groups: Mapping[str, str]) -> list[str]:
    """The parameters by which networks are compared: the scale-invariant ones, else all trained."""
    invariant = [name for name, group in groups.items() if group == "invariant"]
    return invariant or [name for name, group in groups.items() if group != "fixed"]


def angle(groups: Mapping[str, str], first: Values, last: Values) -> float:
    """The angle between two networks as vectors of their `compared` parameters.

    Args:
        groups: of the model.
        first, last: parameters by name, each with a leading axis of one network.

    Returns:
        Radians, from 0 to pi, by float64.
    """
    names = compared(groups)
    a, b = (torch.cat([ends[name].double().flatten() for name in names]) for ends in (first, last))
    # Half the angle by its tangent: an arccosine loses half of the digits near 0.
    a, b = a / a.norm(), b / b.norm()
    return 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))


def along(first: Member, last: Member, points: int, rescale: bool) -> tuple[Tensor, Tensor]:
    """Train and test accuracy on the straight line from one network to another.

    All trained parameters move, w(alpha) = (1 - alpha) w_first + alpha w_last, at alphas evenly
    from 0 to 1. Batch norm's statistics are taken over the training set at each of them, the ends
    among them: see `accuracies`.

    Args:
        first, last: networks of one model and data.
        points: at least 2.
        rescale: bring the scale-invariant weights of both ends to the larger of their norms
            before: an average of points of a sphere lies inside it.

    Returns:
        (points,) each, percent, on the CPU.

    Raises:
        ValueError: fewer than 2 points.
    """
    if points < 2:
        raise ValueError(f"a path needs at least 2 points, got {points}")
    model, task = first.model, first.task
    ends = [dict(first.parameters), dict(last.parameters)]
    if rescale:
        _to_one_norm(ends, [name for name, group in model.groups.items() if group == "invariant"])
    device = next(iter(ends[0].values())).device
    alphas = torch.linspace(0, 1, points, dtype=torch.float64, device=device)
    # Several networks at once where that pays: see `layers`.
    together = points if model.stacking == "native" or device.type != "cpu" else 1
    if model.stacking == "single":
        together = 1
    found = [
        accuracies(task, {name: _between(ends, name, part) for name in model.groups})
        for part in alphas.split(together)
    ]
    train, test = zip(*found)
    return torch.cat(train).cpu(), torch.cat(test).cpu()


def barrier(accuracy: Tensor) -> float:
    """How far the accuracy falls below the straight line between its ends, at most.

    Args:
        accuracy: (points,), at places evenly from one end to the other.

    Returns:
        In the unit of the accuracy; 0 where it falls nowhere.

    Source: where-large-lrs, section 6.3.
    """
    accuracy = accuracy.double()
    alphas = torch.linspace(0, 1, len(accuracy), dtype=torch.float64)
    chord = (1 - alphas) * accuracy[0] + alphas * accuracy[-1]
    return max(float((chord - accuracy).max()), 0.0)


def _to_one_norm(ends: list[dict[str, Tensor]], names: list[str]) -> None:
    norms = [
        math.sqrt(sum(float(values[name].double().square().sum()) for name in names))
        for values in ends
    ]
    for values, norm in zip(ends, norms):
        if norm and norm != max(norms):
            values.update({name: values[name] * (max(norms) / norm) for name in names})


def _between(ends: Sequence[Values], name: str, alphas: Tensor) -> Tensor:
    first, last = ends[0][name], ends[1][name]
    share = alphas.to(first.dtype).view(-1, *[1] * (first.dim() - 1))
    # Exactly the end where alpha is 0 or 1.
    return (1 - share) * first + share * last
