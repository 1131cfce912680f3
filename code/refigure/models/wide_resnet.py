"""WideResNet-28 of any width, as the ensemble papers train it."""

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
    batch_norm,
    conv2d,
    draw,
    dropout,
    global_average_pool,
    linear,
)
from refigure.models.residual import Block, blocks


def build(
    channels: int,
    size: int,
    classes: int,
    *,
    k: int,
    dropout: float = 0.0,
    final_momentum: float = 0.9,
) -> Model:
    """The pre-activation WideResNet-28: a stem of k filters, three stages of four blocks, a head.

    The stages have k, 2k and 4k filters; 160 is the width usually called 28-10. All convolutions
    have biases. A shortcut is a 1x1 convolution of the block's raw input where the shape changes.
    The source's last average pool, 8x8, is global here: the same at its 32x32 pixels.

    Args:
        channels: of an image.
        size: height and width of an image, pixels; at least 4.
        classes: number of logits.
        k: width. The network has 1432 k^2 + (204 + 4 classes) k + classes parameters for images of
            three channels.
        dropout: rate between the two convolutions of a block.
        final_momentum: share of a batch in the running moments of the last batch norm; the source
            has 0.9 there and 0.1 elsewhere, so that its test statistics are those of the last few
            batches (power-laws, trap 13).

    Raises:
        ValueError: `size` is below 4.

    Source: Lobacheva et al. 2020, arXiv:2007.08483, the authors' code; power-laws, section 4.2.
    """
    if size < 4:
        raise ValueError(f"wide_resnet28 needs images of at least 4x4 pixels, got size {size}")
    return WideResNet28(channels, classes, k, dropout, final_momentum)


@dataclass(frozen=True)
class WideResNet28:
    """See `build`; the attributes are its arguments."""

    channels: int
    classes: int
    k: int
    dropout: float = 0.0
    final_momentum: float = 0.9

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _blocks(self) -> Iterator[Block]:
        return blocks(self.k, stages=3, depth=4)

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}

        def convolution(name: str, inputs: int, outputs: int, kernel: int) -> None:
            fan_in = inputs * kernel**2
            shape = (outputs, inputs, kernel, kernel)
            parameters[f"{name}.weight"] = Parameter(shape, "free", fan_in=fan_in)
            parameters[f"{name}.bias"] = Parameter((outputs,), "free", fan_in=fan_in)

        convolution("stem", self.channels, self.k, 3)
        for block in self._blocks:
            convolution(f"{block.name}.conv1", block.inputs, block.outputs, 3)
            convolution(f"{block.name}.conv2", block.outputs, block.outputs, 3)
            if block.reshapes:
                convolution(f"{block.name}.shortcut", block.inputs, block.outputs, 1)
        for layer, filters in self.normalised.items():
            parameters[f"{layer}.weight"] = Parameter((filters,), "free", 1.0)
            parameters[f"{layer}.bias"] = Parameter((filters,), "free", 0.0)
        features = 4 * self.k
        parameters["linear.weight"] = Parameter((self.classes, features), "head", fan_in=features)
        parameters["linear.bias"] = Parameter((self.classes,), "head", fan_in=features)
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
        return layers | {"norm": 4 * self.k}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        noise: Noise | None = None,
    ) -> Tensor:
        def convolved(x: Tensor, layer: str, **options: int) -> Tensor:
            weight, bias = (parameters[f"{layer}.{part}"] for part in ("weight", "bias"))
            return conv2d(x, weight, bias, **options)

        def activated(x: Tensor, layer: str, momentum: float = 0.1) -> Tensor:
            affine = (parameters[f"{layer}.{part}"] for part in ("weight", "bias"))
            return F.relu(batch_norm(x, layer, statistics, *affine, momentum=momentum))

        x = convolved(images, "stem", padding=1)
        for block in self._blocks:
            out = convolved(activated(x, f"{block.name}.norm1"), f"{block.name}.conv1", padding=1)
            out = dropout(out, self.dropout, noise, block.name)
            out = activated(out, f"{block.name}.norm2")
            out = convolved(out, f"{block.name}.conv2", stride=block.stride, padding=1)
            if block.reshapes:
                x = convolved(x, f"{block.name}.shortcut", stride=block.stride)
            x = x + out
        x = activated(x, "norm", self.final_momentum)
        return linear(
            global_average_pool(x), parameters["linear.weight"], parameters["linear.bias"]
        )
