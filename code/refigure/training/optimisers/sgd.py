"""Gradient steps on the parameters of many networks at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refigure.training.stack import Stack


class SGD:
    """SGD with momentum and coupled weight decay, a learning rate a network.

    w <- w - lr * b,  b <- momentum * b + (grad + wd * w), as torch.optim.SGD. Where `norm` is
    given, the scale-invariant weights are rescaled to it after each step by one common factor.

    Args:
        settings: of each network, from its spec; they may differ in every number.
        stack: the networks, at their initial state.

    Attributes:
        state: what a training state and a point gone on from must hold.

    Source: periodic-behavior, section 5; the fixed norm is its family FX.
    """

    def __init__(self, settings: Sequence[Mapping[str, Any]], stack: Stack):
        self.lr = _column(settings, "lr", stack)
        self.wd = _column(settings, "wd", stack)
        self.momentum = _column(settings, "momentum", stack)
        self.decays = bool((self.wd != 0).any())
        self.state: dict[str, Tensor] = {}
        if (self.momentum != 0).any():
            self.state["momentum"] = torch.zeros_like(stack.flat)
        fixed = [setting["norm"] for setting in settings]
        self.norm = None if fixed[0] is None else _column(settings, "norm", stack)

    @torch.no_grad()
    def step(self, stack: Stack, gradient: Tensor, factor: float) -> None:
        """One step of every network, in place."""
        flat = stack.flat
        if self.decays:
            gradient = gradient + self.wd * flat
        flat.addcmul_(_with_momentum(self.state, self.momentum, gradient), self.lr, value=-factor)
        if self.norm is not None:
            _rescale(flat[:, : stack.invariant], self.norm)

    def effective_lr(self, stack: Stack) -> Tensor:
        """lr / norm^2 of the scale-invariant weights, (networks,)."""
        return self.lr[:, 0] / stack.flat[:, : stack.invariant].double().square().sum(1)


class SphereSGD:
    """Projected SGD on the sphere of the scale-invariant weights, at a fixed effective rate.

    w <- w - elr * radius^2 * b, then w <- w * radius / ||w|| by one factor for all scale-invariant
    weights; on the unit sphere that is theta <- (theta - elr * grad) / ||.||. With `fixed: filters`
    every filter is held at the root-mean-square filter norm instead.

    Args:
        settings: of each network: elr, radius (None: the norm it starts with), fixed, momentum.
        stack: the networks, at their initial state; with `fixed: filters` its filters are rescaled.

    Raises:
        ValueError: a network has no scale-invariant weights.

    Source: three-regimes, sections 5.1 and 5.4 (family I).
    """

    def __init__(self, settings: Sequence[Mapping[str, Any]], stack: Stack):
        if not stack.invariant:
            raise ValueError("sphere_sgd needs scale-invariant weights, and the model has none")
        norms = _norms(stack.flat[:, : stack.invariant])
        radius = torch.tensor(
            [setting["radius"] or norm for setting, norm in zip(settings, norms[:, 0].tolist())]
        )
        self.state = {"radius": radius[:, None].to(stack.flat)}
        self.elr = _column(settings, "elr", stack)
        self.momentum = _column(settings, "momentum", stack)
        if (self.momentum != 0).any():
            self.state["momentum"] = torch.zeros_like(stack.flat)
        self.by_filter = settings[0]["fixed"] == "filters"
        with torch.no_grad():
            self._project(stack)

    @torch.no_grad()
    def step(self, stack: Stack, gradient: Tensor, factor: float) -> None:
        """One step of every network and its projection, in place."""
        lr = self.elr * self.state["radius"].square()
        moved = _with_momentum(self.state, self.momentum, gradient)
        stack.flat.addcmul_(moved, lr, value=-factor)
        self._project(stack)

    def _project(self, stack: Stack) -> None:
        radius = self.state["radius"]
        if not self.by_filter:
            _rescale(stack.flat[:, : stack.invariant], radius)
            return
        filters = sum(count for _, count, _ in stack.filters)
        for first, count, size in stack.filters:
            block = stack.flat[:, first : first + count * size].view(-1, count, size)
            norms = block.double().norm(dim=2, keepdim=True)
            block.mul_((radius[:, :, None] / filters**0.5 / norms).to(block.dtype))

    def effective_lr(self, stack: Stack) -> Tensor:
        """The effective learning rate, (networks,): it is fixed."""
        return self.elr[:, 0].double()


def build(settings: Sequence[Mapping[str, Any]], stack: Stack) -> SGD | SphereSGD:
    """The optimiser that all networks of a stack share; their numbers may differ."""
    kinds = {"sgd": SGD, "sphere_sgd": SphereSGD}
    return kinds[settings[0]["name"]](settings, stack)


def _column(settings: Sequence[Mapping[str, Any]], key: str, stack: Stack) -> Tensor:
    return torch.tensor([[setting[key]] for setting in settings]).to(stack.flat)


def _with_momentum(state: dict[str, Tensor], momentum: Tensor, gradient: Tensor) -> Tensor:
    if "momentum" not in state:
        return gradient
    return state["momentum"].mul_(momentum).add_(gradient)


def _norms(block: Tensor) -> Tensor:
    return torch.linalg.vector_norm(block, dim=1, keepdim=True)


def _rescale(block: Tensor, norm: Tensor) -> None:
    block.mul_(norm / _norms(block))
