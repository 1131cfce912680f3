"""The operations of a network, counted from shapes.

Those of one object are counted by torch's own counter on the meta device: nothing is computed and
no data are read. A backward pass costs twice a forward one. What runs step by step, the recurrence
of an LSTM, is counted by its closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from refigure.explain.counted import Counted
from refigure.models.layers import Model, Statistics
from refigure.models.rnn.lstm import LSTM
from refigure.training.networks import build_model


class _Kernels(TorchDispatchMode):
    """Counts operations that are no views."""

    VIEWS = ("view", "reshape", "expand", "select", "slice", "unsqueeze", "squeeze", "transpose")
    VIEWS += ("permute", "t", "detach", "alias", "as_strided", "unflatten", "split", "empty")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.__name__.partition(".")[0].strip("_")
        self.count += name not in self.VIEWS
        return function(*args, **(kwargs or {}))


def count(settings: Mapping[str, Any], about: SimpleNamespace) -> Counted:
    """The count of an architecture.

    Args:
        settings: of the model: `{name, keys...}`.
        about: what it is built for: kind (images, ticks or text) and what its `build` needs.
    """
    network = build_model(SimpleNamespace(model=settings, precision="float32"), about)
    if isinstance(network, LSTM):
        return _of_lstm(network, about)
    values = _shapes(network)
    meta = {name: torch.empty((1, *shape), device="meta") for name, shape in values.items()}
    moments = Statistics.fresh(network.normalised, 1, torch.device("meta"))
    shape = (about.channels, about.size, about.size) if about.kind == "images" else (about.inputs,)
    objects = torch.empty((1, 2, *shape), device="meta")
    with torch.no_grad():
        # What a model makes at its first pass is not counted: torchvision's build their layers.
        network.forward(meta, objects, moments)
        with _Kernels() as kernels, FlopCounterMode(display=False) as counter:
            network.forward(meta, objects, moments)
    numbers = sum(shape.numel() for shape in values.values())
    numbers += 2 * sum(network.normalised.values())
    return Counted(counter.get_total_flops() / 2, kernels.count, numbers, network.stacking)


def _shapes(network: Model) -> dict[str, torch.Size]:
    """The shapes of a network's parameters, without drawing numbers where that can be had."""
    source = torch.Generator().manual_seed(0)
    try:
        with FakeTensorMode():
            values = network.initial(source, source)
    except RuntimeError:  # it reads a number that it drew, as torchvision's initialisation does
        values = network.initial(source, source)
    return {name: value.shape for name, value in values.items()}


def _of_lstm(network: LSTM, about: SimpleNamespace) -> Counted:
    """Of a sequence: four gates at each step, and the last layer where something is predicted.

    A language model's inputs are rows that are looked up, not multiplied.
    """
    inputs = 0 if network.embedding is None else network.inputs
    step = 2 * 4 * network.hidden * (inputs + network.hidden)
    head = 2 * network.hidden * network.outputs
    heads = about.length if network.embedding is None else 1
    forward = about.length * step + heads * head
    numbers = sum(torch.Size(shape).numel() for shape in network.shapes.values())
    return Counted(forward, 12 * about.length + 60, 2 * numbers, "native")
