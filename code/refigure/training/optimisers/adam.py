"""Adam and AdamW for many networks at once, each with its own rate, decay and clipped gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.training.stack import Stack

BETAS = (0.9, 0.999)
EPSILON = 1.0e-8


class Adam:
    """Adam with betas (0.9, 0.999) and epsilon 1e-8, as torch.optim.Adam and AdamW.

    With g the gradient, clipped to norm `clip`, and t the steps so far: m <- 0.9 m + 0.1 g,
    v <- 0.999 v + 0.001 g^2, w <- w - lr * (m / (1 - 0.9^t)) / (sqrt(v / (1 - 0.999^t)) + eps).
    With `epsilon_hat` the last factor is m * sqrt(1 - 0.999^t) / (1 - 0.9^t) / (sqrt(v) + eps), as
    in Lasagne: small gradients then make smaller first steps.
    Weight decay adds wd * w to g after clipping; `decoupled`, it shrinks w by lr * wd instead and
    leaves the moments alone. A schedule's factor multiplies lr in both places.

    Args:
        settings: of each network: lr, wd and clip may differ; `decay: matrices` spares tensors of
            one axis (biases, scales of norms) and what the model names `undecayed`; `clip` bounds
            the gradient's norm over all trained parameters of a network, as
            torch.nn.utils.clip_grad_norm_.
        stack: the networks, at their initial state.

    Attributes:
        state: mean and square (networks, trained), and steps (networks, 1): what a training state
            and a point gone on from must hold.

    Raises:
        UserError: a layer_decay other than 1.

    Source: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1, and its last paragraph for
    `epsilon_hat`; Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """

    def __init__(self, settings: Sequence[Mapping[str, Any]], stack: Stack):
        for setting in settings:
            if setting["layer_decay"] != 1.0:
                raise UserError(f"adam: layer_decay {setting['layer_decay']}: no code does it yet")
        flat = stack.flat
        self.lr, self.wd = (
            torch.tensor([[setting[key]] for setting in settings]).to(flat) for key in ("lr", "wd")
        )
        self.decoupled = settings[0]["decoupled"]
        self.decays = bool((self.wd != 0).any())
        if settings[0]["decay"] == "matrices":
            # (networks, trained): of each network's decay, nothing in the columns that are spared
            spared = [
                torch.full(
                    (shape.numel(),), len(shape) < 2 or name in stack.undecayed, device=flat.device
                )
                for name, shape in zip(stack.names, stack.shapes)
            ]
            self.wd = self.wd.masked_fill(torch.cat(spared), 0.0)
        self.epsilon_hat = settings[0]["epsilon_hat"]
        bounds = [float("inf") if s["clip"] is None else s["clip"] for s in settings]
        self.clip = torch.tensor(bounds)[:, None].to(flat)
        self.clips = any(bound < float("inf") for bound in bounds)
        self.state: dict[str, Tensor] = {
            "mean": torch.zeros_like(flat),
            "square": torch.zeros_like(flat),
            "steps": torch.zeros(len(flat), 1, dtype=torch.float64, device=flat.device),
        }

    @torch.no_grad()
    def step(self, stack: Stack, gradient: Tensor, factor: float) -> None:
        """One step of every network, in place."""
        flat, lr = stack.flat, factor * self.lr
        mean, square, steps = (self.state[name] for name in ("mean", "square", "steps"))
        if self.clips:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            gradient = gradient * (self.clip / (norm + 1e-6)).clamp(max=1.0)
        if self.decays:
            if self.decoupled:
                flat.mul_(1 - lr * self.wd)
            else:
                gradient = torch.addcmul(gradient, self.wd, flat)
        steps += 1
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        rate = (lr / (1 - BETAS[0] ** steps)).to(flat)
        root = (1 - BETAS[1] ** steps).sqrt().to(flat)
        if self.epsilon_hat:
            flat.addcdiv_(rate * root * mean, square.sqrt().add_(EPSILON), value=-1.0)
        else:
            flat.addcdiv_(rate * mean, (square.sqrt() / root).add_(EPSILON), value=-1.0)

    def effective_lr(self, stack: Stack) -> Tensor:
        """lr / norm of the scale-invariant weights, (networks,).

        The step does not shrink with the gradient, so the norm enters once, not squared as for SGD.

        Source: periodic-behavior, section 5, note on V8.
        """
        return self.lr[:, 0] / stack.flat[:, : stack.invariant].double().norm(dim=1)


def build(settings: Sequence[Mapping[str, Any]], stack: Stack) -> Adam:
    """The optimiser that all networks of a stack share; their numbers may differ."""
    return Adam(settings, stack)
