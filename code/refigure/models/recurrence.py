"""The recurrence of an LSTM with group variables, many networks at once, with its own gradient.

Written out by hand because autograd keeps a graph of ten nodes a time step and adds up the gradient
of the recurrent matrix step by step: here it is one product over all steps (`benchmarks/rnn.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def recurrence(
    inputs: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    gates: Tensor | None,
    hidden: Tensor | None,
    present: Tensor | None,
    state: tuple[Tensor, Tensor] | None,
    hard: bool,
) -> tuple[Tensor, Tensor]:
    """Hidden states of every time step, and the last cell states.

        a_k = z^k * (x_k + h W_k) + b_k,  k in i, f, g, o
        c' = act(a_f) * c + act(a_i) * tanh(a_g),  h' = act(a_o) * tanh(c') * z^h

    Args:
        inputs: (networks, steps, batch, 4 H), x: what the inputs add to the preactivations.
        recurrent: (networks, H, 4 H), columns in the order i, f, g, o.
        bias: (networks, 4 H), outside the gates' group variables.
        gates: (networks, batch, 4 H), group variables of the preactivations; None: all 1.
        hidden: (networks, batch, H), group variables of the units; None: all 1.
        present: (networks, steps, batch) of 0 and 1, None: all 1. Steps of 0 come first and leave
            the state, which must be zero then, as it is: padding on the left.
        state: h and c, (networks, batch, H) each, that the first step starts from; None: zeros.
        hard: act is clip(0.2 a + 0.5, 0, 1), else the sigmoid.

    Returns:
        (networks, steps, batch, H) and (networks, batch, H).

    Source: sparse-gated-rnn, section 4.2.
    """
    networks, _, batch, width = inputs.shape
    if state is None:
        zeros = inputs.new_zeros(networks, batch, width // 4)
        state = (zeros, zeros)
    return _Recurrence.apply(inputs, recurrent, bias, gates, hidden, present, *state, hard)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, recurrent, bias, gates, hidden, present, h, c, hard):
        networks, steps, batch, width = inputs.shape
        size = width // 4
        activations = torch.empty_like(inputs)
        states = inputs.new_empty(networks, steps + 1, batch, size)
        cells = torch.empty_like(states)
        states[:, 0], cells[:, 0] = h, c
        squashed = inputs.new_empty(networks, steps, batch, size)
        bias = bias[:, None]
        # Without group variables the bias joins the inputs; with them it stays outside.
        before = None if gates is None else torch.empty_like(inputs)
        if gates is None:
            inputs = inputs + bias[:, None]
        for step in range(steps):
            a = activations[:, step]
            if gates is None:
                torch.baddbmm(inputs[:, step], states[:, step], recurrent, out=a)
            else:
                torch.baddbmm(inputs[:, step], states[:, step], recurrent, out=before[:, step])
                torch.addcmul(bias, before[:, step], gates, out=a)
            i, f, g, o = a.split(size, dim=-1)
            _tanh_(g)
            for gate in (a[..., : 2 * size], o):
                if hard:
                    gate.mul_(0.2).add_(0.5).clamp_(0, 1)
                else:
                    gate.sigmoid_()
            if present is not None:  # closed gates keep a zero state zero
                a.mul_(present[:, step, :, None])
            cell = cells[:, step + 1]
            torch.mul(f, cells[:, step], out=cell)
            cell.addcmul_(i, g)
            tanh = squashed[:, step]
            tanh.copy_(cell)
            _tanh_(tanh)
            state = states[:, step + 1]
            torch.mul(o, tanh, out=state)
            if hidden is not None:
                state.mul_(hidden)
        ctx.hard = hard
        ctx.save_for_backward(
            recurrent, gates, hidden, activations, states, cells, squashed, before
        )
        return states[:, 1:], cells[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_states, grad_cell):
        recurrent, gates, hidden, activations, states, cells, squashed, before = ctx.saved_tensors
        steps, size = activations.shape[1], activations.shape[3] // 4
        slope = _slope(activations, size, ctx.hard)
        grad = torch.empty_like(activations)  # of the preactivations
        behind = grad if gates is None else torch.empty_like(activations)  # of what z^k multiplies
        back = recurrent.mT
        dc = grad_cell.clone()
        dh = torch.zeros_like(dc)
        grad_hidden = None if hidden is None else torch.zeros_like(dc)
        scratch = torch.empty_like(dc)
        for step in reversed(range(steps)):
            i, f, g, o = activations[:, step].split(size, dim=-1)
            tanh = squashed[:, step]
            dh += grad_states[:, step]
            da = grad[:, step]
            di, df, dg, do = da.split(size, dim=-1)
            if hidden is not None:
                torch.mul(o, tanh, out=scratch)
                grad_hidden.addcmul_(dh, scratch)
                dh *= hidden
            torch.mul(dh, tanh, out=do)
            # dc += dh o (1 - tanh^2)
            dh *= o
            dc += dh
            torch.mul(dh, tanh, out=scratch)
            dc.addcmul_(scratch, tanh, value=-1)
            torch.mul(dc, g, out=di)
            torch.mul(dc, cells[:, step], out=df)
            torch.mul(dc, i, out=dg)
            da *= slope[:, step]
            if gates is not None:
                torch.mul(da, gates, out=behind[:, step])
            torch.bmm(behind[:, step], back, out=dh)
            dc *= f
        flat = behind.flatten(1, 2)
        grad_recurrent = torch.bmm(states[:, :-1].flatten(1, 2).mT, flat)
        grad_bias = grad.sum((1, 2))
        grad_gates = None if gates is None else (grad * before).sum(1)
        return behind, grad_recurrent, grad_bias, grad_gates, grad_hidden, None, dh, dc, None


def _tanh_(x: Tensor) -> None:
    # 2 sigmoid(2 x) - 1: torch's sigmoid takes a sixth of the time of its tanh on a CPU.
    x.mul_(2).sigmoid_().mul_(2).sub_(1)


def _slope(activations: Tensor, size: int, hard: bool) -> Tensor:
    """The derivative of each activation by its preactivation, from the activation."""
    if hard:
        slope = ((activations > 0) & (activations < 1)).to(activations.dtype).mul_(0.2)
    else:
        slope = torch.addcmul(activations, activations, activations, value=-1)
    g = activations[..., 2 * size : 3 * size]
    slope[..., 2 * size : 3 * size] = 1 - g * g
    return slope
