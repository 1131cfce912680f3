"""Every step of SGD as it is on the sphere: gradient, norm, and how far the weights turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.training.passes import Moment
from refigure.training.stack import Stack

LAST = ("step_loss", "step_gradient_norm", "step_weight_norm", "step_size", "step_turn")
OF_EPOCH = ("steps", "gradient", "square", "largest", "above")


class StepLog:
    """What the steps of an epoch were, kept on the device: nothing waits for it.

    Of the last step: its batch's loss, the effective norm of its gradient (by the scale-invariant
    weights, times their norm before the step), that norm, the effective step lr / norm^2 times the
    effective gradient norm, and 1 - cos of the angle by which the step turned the weights. Of all
    steps since the epoch began: the sums of effective gradient norms and of squared effective
    steps, the largest step, and how many were beyond the equilibrium of gradient and decay,
    (effective step)^2 > 1 - (1 - lr wd)^2.

    Args:
        stack: the networks; SGD trains them, and they have scale-invariant weights.

    Attributes:
        state: all of that by name, (networks,) float64, for a training state.

    Raises:
        ValueError: there are no scale-invariant weights.

    Source: periodic-behavior, sections 6.2, 6.3 and 6.5.
    """

    def __init__(self, stack: Stack):
        if not stack.invariant:
            raise ValueError("step_norms needs scale-invariant weights, and the model has none")
        names = (*LAST, *OF_EPOCH)
        zeros = torch.zeros(stack.networks, dtype=torch.float64, device=stack.flat.device)
        self.state: dict[str, Tensor] = {name: zeros.clone() for name in names}
        self.before = torch.empty(0)

    def begin_epoch(self) -> None:
        """Forget the steps of the epoch before."""
        for name in OF_EPOCH:
            self.state[name].zero_()

    @torch.no_grad()
    def before_step(
        self, stack: Stack, optimiser: Any, losses: Tensor, gradient: Tensor, factor: float
    ) -> None:
        """Take what a step is about to do.

        Args:
            losses: (networks,) of the batch.
            gradient: (networks, trained), of the loss alone.
            factor: of the learning rate.
        """
        state = self.state
        self.before = stack.flat[:, : stack.invariant].double()
        norm = self.before.norm(dim=1)
        effective = gradient[:, : stack.invariant].double().norm(dim=1) * norm
        size = factor * optimiser.effective_lr(stack) * effective
        decay = factor * (optimiser.lr * optimiser.wd)[:, 0].double()
        state["step_loss"] = losses.double()
        state["step_gradient_norm"], state["step_weight_norm"] = effective, norm
        state["step_size"] = size
        state["steps"] += 1
        state["gradient"] += effective
        state["square"] += size.square()
        state["largest"] = torch.maximum(state["largest"], size)
        state["above"] += size.square() > 1 - (1 - decay).square()

    @torch.no_grad()
    def after_step(self, stack: Stack) -> None:
        """Take what the step has done."""
        old, new = self.before, stack.flat[:, : stack.invariant].double()
        old, new = (rows / rows.norm(dim=1, keepdim=True) for rows in (old, new))
        # Half the squared distance of unit vectors: 1 - cos loses small angles.
        self.state["step_turn"] = (old - new).square().sum(1) / 2


def step_norms(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """step_loss, step_gradient_norm, step_weight_norm, step_size, step_turn of the last step; and
    steps_gradient, steps_rms, steps_largest, steps_above of the steps of this epoch. Nothing before
    the first step.
    """
    if moment.steps is None or not bool(moment.steps.state["steps"].any()):
        return {}
    state = moment.steps.state
    return {name: state[name] for name in LAST} | {
        "steps_gradient": state["gradient"] / state["steps"],
        "steps_rms": (state["square"] / state["steps"]).sqrt(),
        "steps_largest": state["largest"],
        "steps_above": state["above"] / state["steps"],
    }
