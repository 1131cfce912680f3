"""Passes over a whole set, by which recorders measure; no buffer of the networks is moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from refigure.models.layers import Statistics
from refigure.training.stack import Stack


@dataclass
class TrainPass:
    """One pass over the training set in train mode, by which several recorders measure.

    Args:
        loss, error: means over the objects, (networks,); the error in percent.
        gradient_norm: mean over batches of the norm of the batch gradient, (networks,), over all
            trained weights; `invariant_gradient_norm` over the scale-invariant ones.
        invariant_gradient_square: the mean of the squared norm, by the scale-invariant ones.
        filter_gradient_norm: the same mean by filter, (networks, filters).
        statistics: batch norm's moments over the whole training set.
    """

    loss: Tensor
    error: Tensor
    statistics: Statistics
    gradient_norm: Tensor | None = None
    invariant_gradient_norm: Tensor | None = None
    invariant_gradient_square: Tensor | None = None
    filter_gradient_norm: Tensor | None = None


@dataclass
class Moment:
    """The networks at one step, as recorders see them; what two recorders need is made once.

    Args:
        task, stack, statistics, optimiser: of the stack, at this step; `recorders.train` and
            `recorders.test` need a task that scores objects.
        start: the flat parameters at the run's first epoch.
        gradient: whether the pass over the training set takes gradients.
        filters: whether it takes them by filter.
        factor: of the learning rate, by the schedule.
        steps: the log of the epoch's steps, where a recorder wants it.
        memory: what recorders keep from one measure to the next, by name; part of the state.
    """

    task: Any
    stack: Stack
    statistics: Statistics
    optimiser: Any
    start: Tensor
    gradient: bool
    filters: bool = False
    factor: float = 1.0
    steps: Any = None
    memory: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def train_pass(self) -> TrainPass:
        """Loss, error, gradient norms and batch-norm moments over the training set.

        In train mode (batch statistics), in stored order, as the authors' code measures:
        three-regimes, sections 6.1 and 6.2. No buffer of the networks is moved.
        """
        return train_pass(self.task, self.stack, self.statistics, self.gradient, self.filters)

    def test(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """Loss and error (percent) on the test set with given running moments, (networks,) each."""
        return test_pass(self.task, self.stack.parameters, statistics)


def train_pass(
    task: Any, stack: Stack, statistics: Statistics, gradient: bool, filters: bool
) -> TrainPass:
    """See `Moment.train_pass`."""
    moments = statistics.in_mode("recompute")
    networks, parameters = stack.networks, stack.parameters
    names = ("loss", "error", "all", "invariant", "square", "filters")
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    images = batches = 0
    with torch.set_grad_enabled(gradient):
        for batch in task.evaluation("train", networks):
            logits = task.logits(parameters, batch, moments)
            loss, error = task.scores(logits, batch.labels)
            if gradient:
                rows = stack.gradient(loss.mean(1))
                sums["all"] += rows.norm(dim=1)
                if stack.invariant:
                    norm = rows[:, : stack.invariant].norm(dim=1)
                    sums["invariant"] += norm
                    sums["square"] += norm.square()
                if filters:
                    sums["filters"] += stack.filter_norms(rows)
            sums["loss"] += loss.detach().double().sum(1)
            sums["error"] += error.sum(1)
            images += batch.labels.shape[1]
            batches += 1
    measured = TrainPass(sums["loss"] / images, 100 * sums["error"] / images, moments)
    if gradient:
        measured.gradient_norm = sums["all"] / batches
        if stack.invariant:
            measured.invariant_gradient_norm = sums["invariant"] / batches
            measured.invariant_gradient_square = sums["square"] / batches
        if filters:
            measured.filter_gradient_norm = sums["filters"] / batches
    return measured


@torch.no_grad()
def test_pass(
    task: Any, parameters: Mapping[str, Tensor], statistics: Statistics
) -> tuple[Tensor, Tensor]:
    """Mean loss and error (percent) on the test set in eval mode, (networks,) each."""
    running = statistics.in_mode("running")
    networks = len(next(iter(parameters.values())))
    losses = errors = images = 0
    for batch in task.evaluation("test", networks):
        loss, error = task.scores(task.logits(parameters, batch, running), batch.labels)
        losses = losses + loss.double().sum(1)
        errors = errors + error.sum(1)
        images += batch.labels.shape[1]
    return losses / images, 100 * errors / images
