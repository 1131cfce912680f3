"""VGG16 of any width, without batch norm, as the ensemble papers train it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.models.layers import (
    Group,
    Model,
    Noise,
    Parameter,
    Stacking,
    Statistics,
    conv2d,
    draw,
    dropout,
    linear,
    max_pool,
)

BLOCKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Filters of the convolutions of each block, in units of the width."""


def build(channels: int, size: int, classes: int, *, k: int, dropout: float = 0.0) -> Model:
    """VGG16 of width k: 13 convolutions of 3x3 in five blocks and three linear layers, with biases.

    Each block ends with a max pool of 2x2. The source's images have 32x32 pixels and leave one
    pixel after the last block; smaller images are not pooled any more once one pixel is left.

    Args:
        channels: of an image.
        size: height and width of an image, pixels; a power of two, at least 2.
        classes: number of logits.
        k: width; 64 is the standard one. The network has
            3719 k^2 + (109 + 8 classes) k + classes parameters for images of three channels.
        dropout: rate before the first and before the second linear layer.

    Raises:
        ValueError: `size` is not a power of two.

    Source: Lobacheva et al. 2020, arXiv:2007.08483, the authors' code; power-laws, section 4.1.
    """
    if size < 2 or size & (size - 1):
        raise ValueError(f"vgg16 needs images whose size is a power of two, got size {size}")
    return VGG16(channels, size, classes, k, dropout)


@dataclass(frozen=True)
class VGG16:
    """See `build`; the attributes are its arguments."""

    channels: int
    size: int
    classes: int
    k: int
    dropout: float = 0.0

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _convolutions(self) -> Iterator[tuple[str, int, int, bool]]:
        """Name, inputs, outputs, and whether a max pool follows."""
        inputs, size = self.channels, self.size
        for block, widths in enumerate(BLOCKS, 1):
            for number, width in enumerate(widths, 1):
                last = number == len(widths)
                yield f"block{block}.conv{number}", inputs, width * self.k, last and size > 1
                inputs = width * self.k
            size //= 2

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}
        for name, inputs, outputs, _ in self._convolutions:
            parameters[f"{name}.weight"] = Parameter((outputs, inputs, 3, 3), "free", "normal")
            parameters[f"{name}.bias"] = Parameter((outputs,), "free", 0.0)
        features = 8 * self.k
        for name, outputs in (("hidden1", features), ("hidden2", features), ("linear", None)):
            group: Group = "free" if outputs else "head"
            shape = (outputs or self.classes, features)
            parameters[f"{name}.weight"] = Parameter(shape, group, fan_in=features)
            parameters[f"{name}.bias"] = Parameter(shape[:1], group, fan_in=features)
        return parameters

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        return {}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        """Filters begin as N(0, 2 / (9 filters)), their biases as 0, linear layers as torch's."""
        values = draw(self._parameters, generator, head_generator)
        for name, _, outputs, _ in self._convolutions:
            values[f"{name}.weight"] *= (2 / (9 * outputs)) ** 0.5
        return values

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        noise: Noise | None = None,
    ) -> Tensor:
        x = images
        for name, _, _, pooled in self._convolutions:
            x = conv2d(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"], padding=1)
            # After the pooling, with which it commutes: fewer values to compute.
            x = F.relu(max_pool(x, 2) if pooled else x)
        x = x.flatten(2)
        for name in ("hidden1", "hidden2"):
            x = dropout(x, self.dropout, noise, name)
            x = F.relu(linear(x, parameters[f"{name}.weight"], parameters[f"{name}.bias"]))
        return linear(x, parameters["linear.weight"], parameters["linear.bias"])
