"""A network of three or four convolutions: with batch norm, weight norm, or no normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Generator, Tensor

from refigure.models.layers import (
    Group,
    Model,
    Parameter,
    Stacking,
    Statistics,
    batch_norm,
    conv2d,
    draw,
    global_max_pool,
    linear,
    max_pool,
)

Norm = Literal["batch", "batch_affine", "none", "weight"]


def build(
    channels: int, size: int, classes: int, *, k: int, norm: Norm = "batch", depth: int = 4
) -> Model:
    """The ConvNet of width k: convolutions of k, 2k, 4k and 8k filters of 3x3, then a linear layer.

    The source's last two max pools, 2x2 and 4x4, are one global max pool here: the same function
    at its 32x32 pixels, and right for images of 8x8 and 16x16 too.

    Args:
        channels: of an image.
        size: height and width of an image, pixels; at least 8.
        classes: number of logits.
        k: width.
        norm: "batch": batch norm without affine parameters, all convolutions scale-invariant
            (ConvNetSI); "batch_affine": with them (ConvNetSIAf); "none": biases and no
            normalisation (ConvNetNoBN); "weight": each filter is g v / ||v||, g = ||v|| at
            initialisation and never trained, without batch norm and biases.
        depth: 4, or 3 without the widest convolution: where little data is to be learned, so that
            it is not learned at once.

    Raises:
        ValueError: `norm` or `depth` is unknown, or `size` is below 8.

    Source: Kodryan et al. 2022, arXiv:2209.03695, the authors' code.
    """
    if norm not in get_args(Norm):
        raise ValueError(
            f"norm of convnet must be one of {', '.join(get_args(Norm))}, got {norm!r}"
        )
    if depth not in (3, 4):
        raise ValueError(f"depth of convnet must be 3 or 4, got {depth}")
    if size < 8:
        raise ValueError(f"convnet needs images of at least 8x8 pixels, got size {size}")
    return ConvNet(channels, classes, k, norm, depth)


@dataclass(frozen=True)
class ConvNet:
    """See `build`; the attributes are its arguments."""

    channels: int
    classes: int
    k: int
    norm: Norm
    depth: int = 4

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _numbers(self) -> range:
        return range(1, self.depth + 1)

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}
        inputs = self.channels
        for number in self._numbers:
            outputs = self.k * 2 ** (number - 1)
            conv = f"conv{number}"
            shape, fan_in = (outputs, inputs, 3, 3), 9 * inputs
            if self.norm == "weight":
                parameters[f"{conv}.v"] = Parameter(shape, "invariant", fan_in=fan_in)
                parameters[f"{conv}.g"] = Parameter((outputs,), "fixed", 1.0)
            elif self.norm == "none":
                parameters[f"{conv}.weight"] = Parameter(shape, "free", fan_in=fan_in)
                parameters[f"{conv}.bias"] = Parameter((outputs,), "free", fan_in=fan_in)
            else:
                parameters[f"{conv}.weight"] = Parameter(shape, "invariant", fan_in=fan_in)
            if self.norm == "batch_affine":
                parameters[f"norm{number}.weight"] = Parameter((outputs,), "free", 1.0)
                parameters[f"norm{number}.bias"] = Parameter((outputs,), "free", 0.0)
            inputs = outputs
        parameters["linear.weight"] = Parameter((self.classes, inputs), "head", fan_in=inputs)
        parameters["linear.bias"] = Parameter((self.classes,), "head", fan_in=inputs)
        return parameters

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        if self.norm not in ("batch", "batch_affine"):
            return {}
        return {f"norm{number}": self.k * 2 ** (number - 1) for number in self._numbers}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        values = draw(self._parameters, generator, head_generator)
        if self.norm == "weight":
            for number in self._numbers:
                values[f"conv{number}.g"] = values[f"conv{number}.v"].flatten(1).norm(dim=1)
        return values

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        x = images
        for number in self._numbers:
            x = self._convolve(x, f"conv{number}", parameters)
            if self.norm in ("batch", "batch_affine"):
                norm = f"norm{number}"
                affine = parameters.get(f"{norm}.weight"), parameters.get(f"{norm}.bias")
                x = batch_norm(x, norm, statistics, *affine)
            if number == self.depth:
                x = global_max_pool(x)
            elif number in (2, 3):
                x = max_pool(x, 2)
            # After the pooling, with which it commutes: fewer values to compute.
            x = F.relu(x)
        return linear(x, parameters["linear.weight"], parameters["linear.bias"])

    def _convolve(self, x: Tensor, conv: str, parameters: Mapping[str, Tensor]) -> Tensor:
        if self.norm == "weight":
            direction = parameters[f"{conv}.v"]
            scale = parameters[f"{conv}.g"] / direction.flatten(2).norm(dim=2)
            return conv2d(x, direction * scale[..., None, None, None], padding=1)
        return conv2d(x, parameters[f"{conv}.weight"], parameters.get(f"{conv}.bias"), padding=1)
