"""Measures taken during training, so that no checkpoint is read a second time.

A recorder takes the networks at a moment and gives values by name: of one number a network, which
become columns of the history, or of several, which become arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.training.passes import Moment


def train(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """train_loss, train_error, chance; with `gradient`: gradient_norm, effective_gradient_norm;
    with `squared` too: effective_gradient_rms.

    The effective gradient norm is that of the scale-invariant weights times their norm, which a
    rescaling leaves as it is; its root mean square over batches is what balances weight decay
    (periodic-behavior, section 6.2).
    """
    measured = moment.train_pass
    columns = {
        "train_loss": measured.loss,
        "train_error": measured.error,
        "chance": torch.full_like(measured.loss, moment.task.chance),
    }
    if settings["gradient"]:
        columns["gradient_norm"] = measured.gradient_norm
        if measured.invariant_gradient_norm is not None:
            norm = moment.stack.flat[:, : moment.stack.invariant].norm(dim=1)
            columns["effective_gradient_norm"] = measured.invariant_gradient_norm * norm
            if settings["squared"]:
                square = measured.invariant_gradient_square
                columns["effective_gradient_rms"] = square.sqrt() * norm
    return columns


def test(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """test_loss, test_error; with `recomputed`: the error with batch norm's moments re-estimated.

    Running moments lag behind weights that move fast: three-regimes, section 11.3. Without batch
    norm both errors are one.
    """
    loss, error = moment.test(moment.statistics)
    columns = {"test_loss": loss, "test_error": error}
    if settings["recomputed"]:
        normalised = bool(moment.statistics.running)
        again = moment.test(moment.train_pass.statistics)[1] if normalised else error
        columns["test_error_recomputed"] = again
    return columns


def geometry(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """weight_norm, elr (or none), cosine_to_start, distance_to_start, of the weights that count.

    Those are the scale-invariant ones, or all trained ones where there are none. In float64.
    """
    stack = moment.stack
    columns = slice(0, stack.invariant or None)
    now, start = stack.flat[:, columns].double(), moment.start[:, columns].double()
    norm = now.norm(dim=1)
    measured = {
        "weight_norm": norm,
        "cosine_to_start": (now * start).sum(1) / (norm * start.norm(dim=1)),
        "distance_to_start": (now - start).norm(dim=1),
    }
    if stack.invariant:
        measured["elr"] = moment.factor * moment.optimiser.effective_lr(stack)
    return measured


def turn(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """cosine_to_previous: of the weights that count to those at the measure before, in float64.

    NaN at the first. A random walk on a sphere of many dimensions forgets where it was: near 0.
    """
    columns = slice(0, moment.stack.invariant or None)
    now = moment.stack.flat[:, columns].double()
    before = moment.memory.get("turn")
    moment.memory["turn"] = now
    if before is None:
        return {"cosine_to_previous": torch.full_like(now[:, 0], float("nan"))}
    return {"cosine_to_previous": (now * before).sum(1) / (now.norm(dim=1) * before.norm(dim=1))}


def filters(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arrays filter_norm and filter_step, (networks, filters): norms and own effective steps.

    A filter's effective step is its individual ELR times its effective gradient norm,
    lr * g_i / rho_i: three-regimes, section 5.4.
    """
    stack = moment.stack
    norms = stack.filter_norms(stack.flat)
    lr = moment.factor * moment.optimiser.effective_lr(stack) * norms.square().sum(1)
    steps = lr[:, None] * moment.train_pass.filter_gradient_norm / norms
    return {"filter_norm": norms, "filter_step": steps}
