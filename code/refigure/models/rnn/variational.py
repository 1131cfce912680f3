"""Sparse variational dropout: posteriors N(mean, sigma^2) under a log-uniform prior.

A probabilistic tensor `x` is two parameters, the mean `x` and `x.log_sigma`; a deterministic one
is its mean alone.

Source: Molchanov et al. 2017, arXiv:1701.05369; sparse-gated-rnn, section 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Approximation = Literal["authors", "molchanov"]
SUFFIX = ".log_sigma"
THRESHOLD = 3.0
"""A scalar whose log alpha is at least this is pruned: a signal-to-noise ratio below 0.05."""

LIMIT = 8.0
"""The KL term sees log alpha within -8..8, with no gradient outside."""

# KL(a) = HALF log(1 + e^-a) + shift - weight sigmoid(slope a + offset)
CONSTANTS: dict[str, tuple[float, float, float, float]] = {
    # shift, weight, slope, offset
    "authors": (-0.03, 0.64, 1.5, 1.5 * 1.3),
    "molchanov": (0.63576, 0.63576, 1.48695, 1.87320),
}


def log_alpha(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log(sigma^2 / mean^2) of each scalar, the noise-to-signal ratio."""
    # |mean|, not mean^2, and away from 0: its square underflows, and log 0 has no gradient.
    return 2 * (log_sigma - mean.abs().clamp_min(1e-12).log())


def kl(mean: Tensor, log_sigma: Tensor, approximation: Approximation = "authors") -> Tensor:
    """The KL divergence from posterior to prior, summed over each network's scalars, (networks,).

    The authors' approximation tends to -0.67 for large log alpha, Molchanov's to 0; else they
    differ by that constant within 0.0081.

    Args:
        mean, log_sigma: (networks, ...).

    Raises:
        ValueError: `approximation` is unknown.

    Source: sparse-gated-rnn, section 5.1; the authors' code, and Molchanov et al. 2017.
    """
    if approximation not in get_args(Approximation):
        raise ValueError(f"kl must be one of {', '.join(CONSTANTS)}, got {approximation!r}")
    return _KL.apply(mean, log_sigma, CONSTANTS[approximation])


class _KL(torch.autograd.Function):
    """With its own gradient: autograd would keep a dozen tensors of the size of the weights."""

    @staticmethod
    def forward(ctx, mean, log_sigma, constants):
        shift, weight, slope, offset = constants
        ratio = log_alpha(mean, log_sigma)
        outside = ratio.abs() >= LIMIT
        ratio.clamp_(-LIMIT, LIMIT)
        gate = (slope * ratio).add_(offset).sigmoid_()
        noise = ratio.neg_().exp_()
        # log(1 + x) loses nothing to speak of: x is at least e^-8. torch's log1p is slow on a CPU.
        value = (1 + noise).log_().mul_(0.5).sub_(gate, alpha=weight)
        total = value.flatten(1).sum(1) + shift * mean[0].numel()
        # 2 d KL / d log alpha = -x / (1 + x) - 2 weight slope gate (1 - gate)
        grad = noise.div_(noise + 1).neg_()
        grad.sub_(gate.addcmul_(gate, gate, value=-1), alpha=2 * weight * slope)
        grad.masked_fill_(outside, 0)
        ctx.save_for_backward(mean, grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, outer):
        mean, grad = ctx.saved_tensors
        grad = grad * outer.view(-1, *[1] * (grad.dim() - 1))
        # d log alpha / d mean = -2 / mean, none where |mean| is held away from 0
        by_mean = (grad / mean).neg_().masked_fill_(mean.abs() <= 1e-12, 0)
        return by_mean, grad, None


def sample(mean: Tensor, log_sigma: Tensor, noise: Tensor) -> Tensor:
    """mean + sigma noise, of the shape that the three broadcast to."""
    return torch.addcmul(mean, log_sigma.exp(), noise)


def mask(mean: Tensor, log_sigma: Tensor | None, threshold: float = THRESHOLD) -> Tensor:
    """Which scalars survive, bool; all of a deterministic tensor."""
    if log_sigma is None:
        return torch.ones_like(mean, dtype=torch.bool)
    return log_alpha(mean, log_sigma) < threshold


def clipped(parameters: Mapping[str, Tensor], threshold: float = THRESHOLD) -> dict[str, Tensor]:
    """Means by name, 0 where a scalar is pruned: what is evaluated."""
    return {
        name: value * mask(value, parameters[name + SUFFIX], threshold)
        if name + SUFFIX in parameters
        else value
        for name, value in parameters.items()
        if not name.endswith(SUFFIX)
    }
