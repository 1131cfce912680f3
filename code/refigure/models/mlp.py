"""A perceptron for images: equal hidden layers with biases and ReLU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.models.layers import Group, Stacking, Statistics, linear


def build(channels: int, size: int, classes: int, *, k: int, layers: int = 2) -> MLP:
    """All pixels to `layers` hidden layers of k units, then the logits.

    Weights begin as N(0, 2 / fan_in), those of the last layer as N(0, 1 / fan_in), biases as 0.

    Args:
        channels: of an image.
        size: height and width of an image, pixels.
        classes: number of logits.
        k: width.
        layers: hidden layers.

    Source: power-laws, section 10.1.
    """
    return MLP(channels * size * size, classes, k, layers)


@dataclass(frozen=True)
class MLP:
    """See `build`."""

    inputs: int
    classes: int
    k: int
    layers: int

    @property
    def stacking(self) -> Stacking:
        return "native"

    @property
    def _shapes(self) -> dict[str, tuple[int, int]]:
        """Layer -> outputs and inputs."""
        sizes = [self.inputs, *[self.k] * self.layers, self.classes]
        names = [*[f"layer{number}" for number in range(1, self.layers + 1)], "linear"]
        return {name: (after, before) for name, (before, after) in zip(names, pairwise(sizes))}

    @property
    def groups(self) -> dict[str, Group]:
        return {
            f"{name}.{part}": "head" if name == "linear" else "free"
            for name in self._shapes
            for part in ("weight", "bias")
        }

    @property
    def normalised(self) -> dict[str, int]:
        return {}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        values = {}
        for name, (outputs, inputs) in self._shapes.items():
            head = name == "linear"
            source, gain = (head_generator, 1) if head else (generator, 2)
            drawn = torch.randn(outputs, inputs, generator=source)
            values[f"{name}.weight"] = drawn * (gain / inputs) ** 0.5
            values[f"{name}.bias"] = torch.zeros(outputs)
        return values

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        x = images.flatten(2)
        for number in range(1, self.layers + 1):
            weight, bias = (parameters[f"layer{number}.{part}"] for part in ("weight", "bias"))
            x = F.relu(linear(x, weight, bias))
        return linear(x, parameters["linear.weight"], parameters["linear.bias"])
