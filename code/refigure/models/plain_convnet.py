"""A small network of strided convolutions with batch norm, for reduced scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

Head = Literal["pool", "flatten"]


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    widths: Sequence[int],
    head: Head = "pool",
    outputs: int | None = None,
) -> Model:
    """3x3 convolutions of the given widths, then a linear layer with bias.

    Each convolution has a batch norm with affine parameters and a ReLU after it; all but the first
    have stride 2.

    Args:
        channels: of an image.
        size: height and width of an image, pixels.
        classes: of the data.
        widths: filters of each convolution.
        head: "pool": the linear layer reads the mean over pixels; "flatten": all pixels, without
            which a small network cannot memorise its data.
        outputs: of the linear layer; None: one a class.

    Raises:
        ValueError: there is no width, or `head` is unknown.

    Source: our own, of contrastive-memorization, section 10, and pretrain-basin, section 10.
    """
    if head not in get_args(Head):
        known = ", ".join(get_args(Head))
        raise ValueError(f"head of plain_convnet must be one of {known}, got {head!r}")
    if not widths or min(widths) < 1:
        raise ValueError(f"widths of plain_convnet must be positive numbers, got {list(widths)}")
    return PlainConvNet(channels, size, outputs or classes, tuple(widths), head)


@dataclass(frozen=True)
class PlainConvNet:
    """See `build`; `outputs` are those of the linear layer."""

    channels: int
    size: int
    outputs: int
    widths: tuple[int, ...]
    head: Head

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _convolutions(self) -> Iterator[tuple[int, int, int, int]]:
        """Number, inputs, outputs and stride of each convolution."""
        inputs = self.channels
        for number, outputs in enumerate(self.widths, 1):
            yield number, inputs, outputs, 1 if number == 1 else 2
            inputs = outputs

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}
        size = self.size
        for number, inputs, outputs, stride in self._convolutions:
            shape = (outputs, inputs, 3, 3)
            parameters[f"conv{number}.weight"] = Parameter(shape, "free", fan_in=9 * inputs)
            parameters[f"norm{number}.weight"] = Parameter((outputs,), "free", 1.0)
            parameters[f"norm{number}.bias"] = Parameter((outputs,), "free", 0.0)
            size = -(-size // stride)
        features = self.widths[-1] * (size**2 if self.head == "flatten" else 1)
        parameters["linear.weight"] = Parameter((self.outputs, features), "head", fan_in=features)
        parameters["linear.bias"] = Parameter((self.outputs,), "head", fan_in=features)
        return parameters

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        return {f"norm{number}": outputs for number, _, outputs, _ in self._convolutions}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    @property
    def stages(self) -> int:
        return len(self.widths)

    def features(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        stage: int | None = None,
    ) -> Tensor:
        """What the linear layer reads; with `stage`, from 1, what that convolution's ReLU gives."""
        x = images
        for number, _, _, stride in self._convolutions:
            affine = (parameters[f"norm{number}.{part}"] for part in ("weight", "bias"))
            x = conv2d(x, parameters[f"conv{number}.weight"], stride=stride, padding=1)
            x = F.relu(batch_norm(x, f"norm{number}", statistics, *affine))
            if number == stage:
                return x
        return global_average_pool(x) if self.head == "pool" else x.flatten(2)

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        x = self.features(parameters, images, statistics)
        return linear(x, parameters["linear.weight"], parameters["linear.bias"])
