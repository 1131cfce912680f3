"""Parameters, multiplications and activations of the networks of ensembles, by closed forms.

A model is what a run's spec writes, `{"name": "vgg16", "k": 64, ...}`. Of pools at the papers'
scale no network need be built to be counted; tests compare the forms with the networks themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Size(NamedTuple):
    """What a network costs.

    Attributes:
        parameters: trained weights and biases, batch norm's too; no running moments.
        macs: multiplications of convolutions and linear layers for one image; no biases, no norms.
        activations: numbers that the convolutions and linear layers give out for one image.
    """

    parameters: int
    macs: int
    activations: int


def size_of(model: Mapping[str, Any], channels: int, pixels: int, classes: int) -> Size:
    """The size of a network.

    Args:
        model: with its `name`, one of `vgg16`, `wide_resnet28`, `mlp`, `convnet`, and its width k.
        channels: of an image.
        pixels: height and width of an image.
        classes: number of logits.

    Raises:
        ValueError: no form is known for this model.

    Source: power-laws, sections 4.1 and 4.2.
    """
    forms = {"vgg16": _vgg, "wide_resnet28": _wide_resnet, "mlp": _mlp, "convnet": _convnet}
    name = model["name"]
    if name not in forms:
        raise ValueError(f"the size of a network must be of {', '.join(forms)}, got {name!r}")
    return forms[name](model, channels, pixels, classes)


class _Count:
    def __init__(self) -> None:
        self.parameters = self.macs = self.activations = 0

    def conv(self, inputs: int, outputs: int, pixels: int, kernel: int = 3, bias: int = 1) -> None:
        """A convolution that gives out `outputs` maps of `pixels` by `pixels`."""
        weights = kernel * kernel * inputs * outputs
        self.parameters += weights + bias * outputs
        self.macs += weights * pixels * pixels
        self.activations += outputs * pixels * pixels

    def linear(self, inputs: int, outputs: int) -> None:
        self.conv(inputs, outputs, 1, kernel=1)

    @property
    def size(self) -> Size:
        return Size(self.parameters, self.macs, self.activations)


def _vgg(model: Mapping[str, Any], channels: int, pixels: int, classes: int) -> Size:
    k, count, inputs = model["k"], _Count(), channels
    for factor, layers in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
        for _ in range(layers):
            count.conv(inputs, factor * k, pixels)
            inputs = factor * k
        pixels //= 2
    count.linear(inputs * max(pixels, 1) ** 2, 8 * k)
    count.linear(8 * k, 8 * k)
    count.linear(8 * k, classes)
    return count.size


def _wide_resnet(model: Mapping[str, Any], channels: int, pixels: int, classes: int) -> Size:
    k, count = model["k"], _Count()
    count.conv(channels, k, pixels)
    inputs = k
    for stage, stride in enumerate((1, 2, 2)):
        outputs = k * 2**stage
        for block in range(4):
            step = stride if block == 0 else 1
            count.parameters += 2 * inputs + 2 * outputs  # the two norms
            count.conv(inputs, outputs, pixels)
            pixels //= step
            count.conv(outputs, outputs, pixels)
            if inputs != outputs or step > 1:
                count.conv(inputs, outputs, pixels, kernel=1)
            inputs = outputs
    count.parameters += 2 * inputs
    count.linear(inputs, classes)
    return count.size


def _mlp(model: Mapping[str, Any], channels: int, pixels: int, classes: int) -> Size:
    count, inputs = _Count(), channels * pixels * pixels
    for _ in range(model.get("layers", 2)):
        count.linear(inputs, model["k"])
        inputs = model["k"]
    count.linear(inputs, classes)
    return count.size


def _convnet(model: Mapping[str, Any], channels: int, pixels: int, classes: int) -> Size:
    if model["norm"] != "none":
        raise ValueError(f"of convnet only norm none is counted, got {model['norm']!r}")
    count, inputs = _Count(), channels
    for number in range(model["depth"]):
        outputs = model["k"] * 2**number
        count.conv(inputs, outputs, pixels)
        inputs = outputs
        if number in (1, 2):  # the max pools; the last one is global
            pixels //= 2
    count.linear(inputs, classes)
    return count.size
