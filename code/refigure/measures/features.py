"""How much a network of the synthetic task learned of each feature by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics
from refigure.training.passes import test_pass


def measure(group: Group) -> list[dict[str, Any]]:
    """Accuracy of every network on the test set and on each single-feature set.

    Args:
        group: any roles; the role is the row's `stage`.

    Returns:
        stage; rank: 0 for the test set, in which every feature tells the class, and 1, 2, ... for
        the single-feature sets, the best of this network first; accuracy, percent; points, of the
        set.

    Source: where-large-lrs, section 6.6.
    """
    rows = []
    for role, members in group.roles.items():
        for member in members:
            task = member.task
            _, error = test_pass(task, member.parameters, member.statistics)
            single = single_features(member).sort(descending=True).values.tolist()
            sizes = [len(task.data.test_labels), *[task.data.single_labels.shape[1]] * len(single)]
            for rank, (accuracy, points) in enumerate(zip([100 - float(error), *single], sizes)):
                rows.append({"stage": role, "rank": rank, "accuracy": accuracy, "points": points})
    return rows


def single_features(member: Member) -> Tensor:
    """Accuracy of one network where one feature alone tells the class, (features,), percent."""
    return accuracies(member.task, member.parameters, member.statistics)[0]


@torch.no_grad()
def accuracies(task: Any, parameters: Mapping[str, Tensor], statistics: Statistics) -> Tensor:
    """Accuracy of some networks on each single-feature set.

    Args:
        task: of `tasks.binary`.
        parameters: by name, each with a leading axis `networks`.

    Returns:
        (networks, features), percent, float64.
    """
    networks = len(next(iter(parameters.values())))
    found = []
    for points, labels in zip(task.data.single_points, task.data.single_labels):
        logits = task.model.forward(parameters, points.expand(networks, -1, -1), statistics)
        _, error = task.scores(logits, labels.expand(networks, -1))
        found.append(100 - 100 * error.double().mean(1))
    return torch.stack(found, dim=1)
