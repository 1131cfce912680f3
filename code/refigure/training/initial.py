"""Where a run begins that starts from nothing: weights drawn from its stream."""

from __future__ import annotations

import torch
from torch import Tensor

from refigure.graph.spec import Spec
from refigure.models.layers import Model
from refigure.streams import generator, stream_of_spec


def initial_values(model: Model, spec: Spec, stream: str | None = None) -> dict[str, Tensor]:
    """The parameters of a run's network at epoch 0, by name.

    The last layer of `head: {seed, norm}` is drawn from its own seed, equal in all runs that share
    it, and its weight is rescaled to that Frobenius norm; its bias keeps its values.

    Args:
        stream: what the rest is drawn from; None: the network's own, by its spec alone.

    Source: three-regimes, section 4.3; `init: uniform_sphere` is A8 of three-regimes, section 5.2.
    """
    stream = stream_of_spec(spec) if stream is None else stream
    own = spec.head is None or spec.head["seed"] is None
    head = stream if own else spec.head["seed"]
    values = model.initial(
        generator(stream, "initialisation"), generator(head, "initialisation of the head")
    )
    if spec.head is not None:
        for name, group in model.groups.items():
            if group == "head" and name.endswith("weight"):
                values[name] *= spec.head["norm"] / values[name].norm()
    if spec.init["name"] == "uniform_sphere":
        _uniform_direction(model, values, stream)
    return values


def _uniform_direction(model: Model, values: dict[str, Tensor], stream: str) -> None:
    """Give the scale-invariant weights a direction uniform on the sphere; keep their norm."""
    names = [name for name, group in model.groups.items() if group == "invariant"]
    norm = torch.cat([values[name].flatten() for name in names]).norm()
    source = generator(stream, "uniform direction")
    drawn = {name: torch.randn(values[name].shape, generator=source) for name in names}
    scale = norm / torch.cat([part.flatten() for part in drawn.values()]).norm()
    values.update({name: part * scale for name, part in drawn.items()})
