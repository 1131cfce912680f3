"""The perceptron of the synthetic task: scale-invariant layers with layer norm, one logit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.models.layers import Group, Parameter, Stacking, Statistics, draw

EPSILON = 1.0e-7


def build(inputs: int, *, width: int = 32, layers: int = 2) -> TickMLP:
    """`layers` times a linear map, layer norm and ReLU, then one logit; no biases.

    Layer norm has no affine parameters and epsilon 1e-7, so that the output depends on the
    direction of the layers' weights only, together: they are scale-invariant.

    Args:
        inputs: numbers a point.
        width: of the hidden layers.
        layers: how many.

    Source: where-large-lrs, section 4.6.
    """
    return TickMLP(inputs, width, layers)


@dataclass(frozen=True)
class TickMLP:
    """See `build`; the attributes are its arguments.

    Weights are kept (inputs, outputs): the gradients of a batched product then come in the layout
    of the stack's flat matrix, which saves a quarter of a training step on a CPU.
    """

    inputs: int
    width: int
    layers: int

    @property
    def stacking(self) -> Stacking:
        return "native"

    @property
    def _parameters(self) -> dict[str, Parameter]:
        sizes = [self.inputs, *[self.width] * self.layers]
        parameters = {
            f"layer{number}.weight": Parameter((fan_in, fan_out), "invariant", fan_in=fan_in)
            for number, (fan_in, fan_out) in enumerate(pairwise(sizes), start=1)
        }
        return parameters | {"linear.weight": Parameter((self.width,), "head", fan_in=self.width)}

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        return {}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    def forward(
        self, parameters: Mapping[str, Tensor], points: Tensor, statistics: Statistics
    ) -> Tensor:
        """(networks, points, inputs) to (networks, points, 1)."""
        x = points
        for number in range(1, self.layers + 1):
            x = x @ parameters[f"layer{number}.weight"]
            x = F.relu(F.layer_norm(x, (self.width,), eps=EPSILON))
        return x @ parameters["linear.weight"].unsqueeze(-1)
