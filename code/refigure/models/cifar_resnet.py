"""The ResNet-18 for small images with batch norm after each convolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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


def build(
    channels: int, size: int, classes: int, *, k: int = 64, outputs: int | None = None
) -> Model:
    """ResNet-18 of width k: a stem of 3x3, four stages of two blocks, a linear layer with bias.

    Unlike `resnet`, this is the usual network: batch norm with affine parameters follows each
    convolution, ReLU follows the sum, and a shortcut that changes shape is a 1x1 convolution and a
    batch norm. The source's last average pool, 4x4, is global here: the same at its 32x32 pixels.

    Args:
        channels: of an image.
        size: height and width of an image, pixels; at least 8.
        classes: of the data.
        k: width of the first stage; the others have 2k, 4k and 8k.
        outputs: of the linear layer; None: one a class. A contrastive network has the dimensions
            of its embedding here, and no further projection.

    Raises:
        ValueError: `size` is below 8.

    Source: Sadrtdinov et al. 2021, arXiv:2107.10143, the authors' code; contrastive-memorization,
    section 4.
    """
    if size < 8:
        raise ValueError(f"cifar_resnet18 needs images of at least 8x8 pixels, got size {size}")
    return CifarResNet18(channels, outputs or classes, k)


@dataclass(frozen=True)
class CifarResNet18:
    """See `build`; `outputs` are those of the linear layer."""

    channels: int
    outputs: int
    k: int

    @property
    def stacking(self) -> Stacking:
        return "grouped"

    @property
    def _blocks(self) -> Iterator[Block]:
        return blocks(self.k, stages=4, depth=2)

    @property
    def _convolutions(self) -> Iterator[tuple[str, str, int, int, int]]:
        """Convolution, the batch norm after it, inputs, outputs and the size of the kernel."""
        yield "stem", "stem_norm", self.channels, self.k, 3
        for block in self._blocks:
            yield f"{block.name}.conv1", f"{block.name}.norm1", block.inputs, block.outputs, 3
            yield f"{block.name}.conv2", f"{block.name}.norm2", block.outputs, block.outputs, 3
            if block.reshapes:
                layer = f"{block.name}.shortcut"
                yield layer, f"{layer}_norm", block.inputs, block.outputs, 1

    @property
    def _parameters(self) -> dict[str, Parameter]:
        parameters = {}
        for layer, norm, inputs, outputs, kernel in self._convolutions:
            shape = (outputs, inputs, kernel, kernel)
            parameters[f"{layer}.weight"] = Parameter(shape, "free", fan_in=inputs * kernel**2)
            parameters[f"{norm}.weight"] = Parameter((outputs,), "free", 1.0)
            parameters[f"{norm}.bias"] = Parameter((outputs,), "free", 0.0)
        features = 8 * self.k
        parameters["linear.weight"] = Parameter((self.outputs, features), "head", fan_in=features)
        parameters["linear.bias"] = Parameter((self.outputs,), "head", fan_in=features)
        return parameters

    @property
    def groups(self) -> dict[str, Group]:
        return {name: parameter.group for name, parameter in self._parameters.items()}

    @property
    def normalised(self) -> dict[str, int]:
        return {norm: outputs for _, norm, _, outputs, _ in self._convolutions}

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        return draw(self._parameters, generator, head_generator)

    @property
    def stages(self) -> int:
        return 4

    def features(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        stage: int | None = None,
    ) -> Tensor:
        """What the linear layer reads, means over pixels; with `stage`, 1 to 4, what it gives."""

        def convolved(x: Tensor, layer: str, norm: str, **options: int) -> Tensor:
            affine = (parameters[f"{norm}.{part}"] for part in ("weight", "bias"))
            x = conv2d(x, parameters[f"{layer}.weight"], **options)
            return batch_norm(x, norm, statistics, *affine)

        x = F.relu(convolved(images, "stem", "stem_norm", padding=1))
        for block in self._blocks:
            first, second = f"{block.name}.conv1", f"{block.name}.conv2"
            out = convolved(x, first, f"{block.name}.norm1", stride=block.stride, padding=1)
            out = convolved(F.relu(out), second, f"{block.name}.norm2", padding=1)
            if block.reshapes:
                layer = f"{block.name}.shortcut"
                x = convolved(x, layer, f"{layer}_norm", stride=block.stride)
            x = F.relu(x + out)
            if block.name == f"stage{stage}.block2":
                return x
        return global_average_pool(x)

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        x = self.features(parameters, images, statistics)
        return linear(x, parameters["linear.weight"], parameters["linear.bias"])
