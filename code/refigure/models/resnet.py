"""The pre-activation ResNet-18 whose convolutions are scale-invariant as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    global_average_pool,
    linear,
)
from refigure.models.residual import Block, blocks

Norm = Literal["batch", "batch_affine"]


def build(channels: int, size: int, classes: int, *, k: int, norm: Norm = "batch") -> Model:
    """The ResNet-18 of width k: a stem, four stages of two blocks, a linear layer without bias.

    Where a block changes shape, its shortcut normalises once more before its 1x1 convolution. Only
    all convolutions scaled together leave the output as it is: stem, shortcuts and second
    convolutions add into one stream. The source's last average pool, 4x4, is global here: the same
    function at its 32x32 pixels.

    Args:
        channels: of an image.
        size: height and width of an image, pixels; at least 8.
        classes: number of logits.
        k: width of the first stage; the others have 2k, 4k and 8k.
        norm: "batch": batch norm without affine parameters (ResNet18SI); "batch_affine": with them
            in every batch norm (ResNet18SIAf).

    Raises:
        ValueError: `norm` is unknown, or `size` is below 8.

    Source: Kodryan et al. 2022, arXiv:2209.03695; the width of its follow-up's code.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm of resnet must be one of {', '.join(get_args(Norm))}, got {norm!r}")
    if size < 8:
        raise ValueError(f"resnet needs images of at least 8x8 pixels, got size {size}")
    return ResNet18(channels, classes, k, norm)


@dataclass(frozen=True)
class ResNet18:
    """See `build`; the attributes are its arguments."""

    channels: int
    classes: int
    k: int
    norm: Norm

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _blocks(self) -> Iterator[Block]:
        return blocks(self.k, stages=4, depth=2, first=0)

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}

        def convolution(name: str, inputs: int, outputs: int, kernel: int) -> None:
            shape = (outputs, inputs, kernel, kernel)
            fan_in = inputs * kernel**2
            parameters[f"{name}.weight"] = Parameter(shape, "invariant", fan_in=fan_in)

        convolution("stem", self.channels, self.k, 3)
        for block in self._blocks:
            convolution(f"{block.name}.conv1", block.inputs, block.outputs, 3)
            convolution(f"{block.name}.conv2", block.outputs, block.outputs, 3)
            if block.reshapes:
                convolution(f"{block.name}.shortcut", block.inputs, block.outputs, 1)
        if self.norm == "batch_affine":
            for layer, channels in self.normalised.items():
                parameters[f"{layer}.weight"] = Parameter((channels,), "free", 1.0)
                parameters[f"{layer}.bias"] = Parameter((channels,), "free", 0.0)
        features = 8 * self.k
        parameters["linear.weight"] = Parameter((self.classes, features), "head", fan_in=features)
        return parameters

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        layers = {}
        for block in self._blocks:
            layers[f"{block.name}.norm1"] = block.inputs
            layers[f"{block.name}.norm2"] = block.outputs
            if block.reshapes:
                layers[f"{block.name}.shortcut_norm"] = block.inputs
        return layers | {"norm": 8 * self.k}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        def normalised(x: Tensor, layer: str) -> Tensor:
            affine = parameters.get(f"{layer}.weight"), parameters.get(f"{layer}.bias")
            return batch_norm(x, layer, statistics, *affine)

        x = conv2d(images, parameters["stem.weight"], padding=1)
        for block in self._blocks:
            conv1, conv2 = (
                parameters[f"{block.name}.{conv}.weight"] for conv in ("conv1", "conv2")
            )
            h = F.relu(normalised(x, f"{block.name}.norm1"))
            out = conv2d(h, conv1, stride=block.stride, padding=1)
            out = F.relu(normalised(out, f"{block.name}.norm2"))
            out = conv2d(out, conv2, padding=1)
            if block.reshapes:
                shortcut = parameters[f"{block.name}.shortcut.weight"]
                h = normalised(h, f"{block.name}.shortcut_norm")
                x = conv2d(h, shortcut, stride=block.stride)
            x = x + out
        x = F.relu(normalised(x, "norm"))
        return linear(global_average_pool(x), parameters["linear.weight"])
