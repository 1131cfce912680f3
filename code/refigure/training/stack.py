"""Networks of one architecture side by side: their parameters as one matrix, a row a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refigure.models.layers import Model


class Stack:
    """The trained parameters of some networks, flat, and the same memory as named tensors.

    One matrix makes an optimiser a few operations, however many layers a model has. Scale-invariant
    parameters come first, so that they are one block of columns.

    Args:
        model: says which parameters there are and what they are.
        values: of each network, by name, without a leading axis.
        frozen: groups that are not trained, besides "fixed".
        device: where the tensors live.

    Attributes:
        flat: (networks, trained), float32.
        invariant: how many of its columns, the first ones, are scale-invariant.
        filters: (first column, filters, size) of each scale-invariant tensor, in order.
        undecayed: names that the model keeps from weight decay whatever their shape.
    """

    def __init__(
        self,
        model: Model,
        values: Sequence[Mapping[str, Tensor]],
        frozen: frozenset[str],
        device: torch.device,
    ):
        groups = model.groups
        self.undecayed = getattr(model, "undecayed", frozenset())
        untrained = {"fixed", *frozen}
        names = [name for name, group in groups.items() if group == "invariant"]
        self.filters = []
        column = 0
        for name in names:
            shape = values[0][name].shape
            self.filters.append((column, shape[0], shape.numel() // shape[0]))
            column += shape.numel()
        self.invariant = column
        names += [name for name, group in groups.items() if group not in untrained | {"invariant"}]
        self.names = names
        self.fixed = {
            name: torch.stack([network[name] for network in values]).to(device)
            for name, group in groups.items()
            if group in untrained
        }
        rows = [torch.cat([network[name].flatten() for name in names]) for network in values]
        self.flat = torch.stack(rows).to(device)
        self.shapes = [values[0][name].shape for name in names]
        self._point_at_flat()

    def _point_at_flat(self) -> None:
        sizes = [shape.numel() for shape in self.shapes]
        parts = self.flat.split(sizes, dim=1)
        self.leaves = {
            name: part.unflatten(1, shape).detach().requires_grad_()
            for name, part, shape in zip(self.names, parts, self.shapes)
        }

    @property
    def networks(self) -> int:
        """How many there are."""
        return len(self.flat)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name, each (networks, ...); the trained share memory with `flat`."""
        return {**self.leaves, **self.fixed}

    def load(self, flat: Tensor) -> None:
        """Overwrite the trained parameters, in place."""
        with torch.no_grad():
            self.flat.copy_(flat)

    def gradient(self, losses: Tensor, out: Tensor | None = None) -> Tensor:
        """The gradient of each network's loss, (networks, trained).

        The sum over networks has each network's own gradient in its own row: a network that
        diverged leaves the others as they are.

        Args:
            losses: (networks,).
            out: where it is written; memory that is fresh at every step costs a sixth of a step of
                small networks.
        """
        parts = torch.autograd.grad(losses.sum(), list(self.leaves.values()))
        return torch.cat([part.flatten(1) for part in parts], dim=1, out=out)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """A matrix like `flat` as parameters by name, with the fixed ones."""
        parts = flat.split([shape.numel() for shape in self.shapes], dim=1)
        named = {
            name: part.unflatten(1, shape)
            for name, part, shape in zip(self.names, parts, self.shapes)
        }
        return {**named, **self.fixed}

    def filter_norms(self, flat: Tensor) -> Tensor:
        """The norm of each scale-invariant filter, (networks, filters); in float64, since the
        squares of tiny filters underflow in float32."""
        norms = [
            flat[:, first : first + count * size].double().unflatten(1, (count, size)).norm(dim=2)
            for first, count, size in self.filters
        ]
        return torch.cat(norms, dim=1) if norms else flat.new_zeros(len(flat), 0).double()
