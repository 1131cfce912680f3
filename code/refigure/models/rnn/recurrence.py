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
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Hidden states of every time step, and the last hidden and cell states.

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
        (networks, steps, batch, H); and h and c, (networks, batch, H) each.

    Source: sparse-gated-rnn, section 4.2.
    """
    networks, _, batch, width = inputs.shape
    if state is None:
        zeros = inputs.new_zeros(networks, batch, width // 4)
        state = (zeros, zeros)
    states, last, cells = _Recurrence.apply(
        inputs, recurrent, bias, gates, hidden, present, *state, hard
    )
    return states, (last, cells)


def _columns(like: Tensor, size: int, hard: bool) -> tuple[Tensor, Tensor]:
    """What preactivations are scaled by and shifted by, (4 H,) each, so that a step is few calls.

    The slope and offset of the hard sigmoid; tanh(a) = 2 sigmoid(2 a) - 1, since torch's sigmoid
    takes a sixth of the time of its tanh on a CPU.
    """
    scale, shift = like.new_full((4 * size,), 0.2 if hard else 1.0), like.new_zeros(4 * size)
    if hard:
        shift.fill_(0.5)
    scale[2 * size : 3 * size], shift[2 * size : 3 * size] = 2.0, 0.0
    return scale, shift


class _Recurrence(torch.autograd.Function):
    """Holds C = 2 c and G = 2 g in place of c and g: tanh(c) = 2 sigmoid(C) - 1."""

    @staticmethod
    def forward(ctx, inputs, recurrent, bias, gates, hidden, present, h, c, hard):
        ctx.set_materialize_grads(False)
        networks, steps, batch, width = inputs.shape
        size = width // 4
        scale, shift = _columns(inputs, size, hard)
        activations = torch.empty_like(inputs)
        states = inputs.new_empty(networks, steps + 1, batch, size)
        cells = torch.empty_like(states)
        torch.mul(c, 2, out=cells[:, 0])
        states[:, 0] = h
        tanhs = inputs.new_empty(networks, steps, batch, size)
        recurrent = recurrent * scale
        bias = torch.addcmul(shift, bias, scale)[:, None]
        # Without group variables the bias joins the inputs; with them it stays outside.
        if gates is None:
            before = None
            inputs = torch.addcmul(bias[:, None], inputs, scale)
        else:
            before = inputs = inputs * scale
        closed = None if present is None else present[..., None].unbind(1)
        minus_one, minus_two = inputs.new_tensor(-1.0), inputs.new_tensor(-2.0)
        at, x = activations.unbind(1), inputs.unbind(1)
        i, f, g, o = (part.unbind(1) for part in activations.split(size, dim=3))
        if_ = activations[..., : 2 * size].unbind(1)
        state, cell, tanh = states.unbind(1), cells.unbind(1), tanhs.unbind(1)
        for step in range(steps):
            if gates is None:
                torch.baddbmm(x[step], state[step], recurrent, out=at[step])
            else:
                x[step].baddbmm_(state[step], recurrent)
                torch.addcmul(bias, x[step], gates, out=at[step])
            if hard:
                if_[step].clamp_(0, 1)
                o[step].clamp_(0, 1)
                g[step].sigmoid_()
            else:
                at[step].sigmoid_()
            torch.add(minus_two, g[step], alpha=4, out=g[step])
            if closed is not None:  # closed gates keep a zero state zero
                at[step].mul_(closed[step])
            torch.mul(f[step], cell[step], out=cell[step + 1])
            cell[step + 1].addcmul_(i[step], g[step])
            torch.sigmoid(cell[step + 1], out=tanh[step])
            torch.add(minus_one, tanh[step], alpha=2, out=tanh[step])
            torch.mul(o[step], tanh[step], out=state[step + 1])
            if hidden is not None:
                state[step + 1].mul_(hidden)
        ctx.hard = hard
        ctx.save_for_backward(recurrent, gates, hidden, activations, states, cells, tanhs, before)
        return states[:, 1:], state[-1].clone(), cell[-1] / 2

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_states, grad_last, grad_cell):
        recurrent, gates, hidden, activations, states, cells, tanhs, before = ctx.saved_tensors
        steps, size = activations.shape[1], activations.shape[3] // 4
        scale, _ = _columns(activations, size, ctx.hard)
        slopes = _slopes(activations, size, ctx.hard).unbind(1)
        tanh_slopes = torch.addcmul(tanhs.new_tensor(0.5), tanhs, tanhs, value=-0.5).unbind(1)
        grad = torch.empty_like(activations)  # of the scaled preactivations
        behind = grad if gates is None else torch.empty_like(activations)  # of what z^k multiplies
        back = recurrent.mT
        zeros = torch.zeros_like(states[:, 0])
        dc = zeros.clone() if grad_cell is None else grad_cell / 2
        dh = zeros.clone() if grad_last is None else grad_last.clone()
        grad_hidden = None if hidden is None else zeros.clone()
        scratch = torch.empty_like(dc)
        outer = None if grad_states is None else grad_states.unbind(1)
        da, db = grad.unbind(1), behind.unbind(1)
        di, df, dg, do = (part.unbind(1) for part in grad.split(size, dim=3))
        i, f, g, o = (part.unbind(1) for part in activations.split(size, dim=3))
        cell, tanh = cells.unbind(1), tanhs.unbind(1)
        for step in reversed(range(steps)):
            if outer is not None:
                dh += outer[step]
            if hidden is not None:
                torch.mul(o[step], tanh[step], out=scratch)
                grad_hidden.addcmul_(dh, scratch)
                dh *= hidden
            torch.mul(dh, tanh[step], out=do[step])
            dh *= o[step]
            dc.addcmul_(dh, tanh_slopes[step])
            torch.mul(dc, g[step], out=di[step])
            torch.mul(dc, cell[step], out=df[step])
            torch.mul(dc, i[step], out=dg[step])
            da[step].mul_(slopes[step])
            if gates is not None:
                torch.mul(da[step], gates, out=db[step])
            torch.bmm(db[step], back, out=dh)
            dc *= f[step]
        grad_recurrent = torch.bmm(states[:, :-1].flatten(1, 2).mT, behind.flatten(1, 2))
        grad_bias = grad.sum((1, 2)) * scale
        grad_gates = None if gates is None else (grad * before).sum(1)
        return (
            behind * scale,
            grad_recurrent * scale,
            grad_bias,
            grad_gates,
            grad_hidden,
            None,
            dh,
            dc * 2,
            None,
        )


def _slopes(activations: Tensor, size: int, hard: bool) -> Tensor:
    """The derivative of each activation (of G, twice g) by its scaled preactivation."""
    if hard:
        slopes = ((activations > 0) & (activations < 1)).to(activations.dtype)
    else:
        slopes = torch.addcmul(activations, activations, activations, value=-1)
    g = activations[..., 2 * size : 3 * size]
    torch.addcmul(g.new_tensor(1.0), g, g, value=-0.25, out=slopes[..., 2 * size : 3 * size])
    return slopes
