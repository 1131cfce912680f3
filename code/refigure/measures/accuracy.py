"""Accuracy at points, with batch norm's statistics taken over the training set.

A pass takes nothing from the moments that a point came with: weights that were averaged or
interpolated have none of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.measures.members import Group
from refigure.models.layers import Statistics
from refigure.training.passes import test_pass


def measure(group: Group) -> list[dict[str, Any]]:
    """Train and test accuracy of every network, a row each.

    Returns:
        role; experiment; train_accuracy and test_accuracy of `accuracies`, and
        running_test_accuracy, with the running moments that the point was kept with; in percent.
    """
    rows = []
    for role, members in group.roles.items():
        for member in members:
            train, test = accuracies(member.task, member.parameters)
            _, error = test_pass(member.task, member.parameters, member.statistics)
            rows.append(
                {
                    "role": role,
                    "experiment": member.run.experiment,
                    "train_accuracy": float(train),
                    "test_accuracy": float(test),
                    "running_test_accuracy": 100 - float(error),
                }
            )
    return rows


@torch.no_grad()
def accuracies(task: Any, parameters: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Train and test accuracy of some networks, percent, (networks,) each, float64.

    On the training set in train mode: batch norm normalises by the batch, in the run's batches and
    stored order, without augmentation or dropout. On the test set in eval mode, with the moments
    over that pass. Without batch norm both are plain evaluations.

    Args:
        task: model and data; its `scores` tell the errors.
        parameters: by name, each with a leading axis `networks`.

    Source: where-large-lrs, section 6.2.
    """
    moments, errors = train_errors(task, parameters)
    _, test_error = test_pass(task, parameters, moments)
    return 100 - errors, 100 - test_error.double()


@torch.no_grad()
def train_errors(task: Any, parameters: Mapping[str, Tensor]) -> tuple[Statistics, Tensor]:
    """Batch norm's moments over the training set, in mode "running", and its error, percent.

    The error is in train mode, (networks,) float64. Test errors and predictions of every probe go
    by these moments: running ones lag where an epoch has few steps (three-regimes, section 11.3).

    Args:
        task: model and data; its `scores` tell the errors.
        parameters: by name, each with a leading axis `networks`.
    """
    some = next(iter(parameters.values()))
    fresh = Statistics.fresh(task.model.normalised, len(some), some.device)
    moments = fresh.in_mode("recompute")
    errors = torch.zeros(len(some), dtype=torch.float64, device=some.device)
    images = 0
    for batch in task.evaluation("train", len(some)):
        _, error = task.scores(task.logits(parameters, batch, moments), batch.labels)
        errors += error.double().sum(1)
        images += batch.labels.shape[1]
    return moments.in_mode("running"), 100 * errors / images
