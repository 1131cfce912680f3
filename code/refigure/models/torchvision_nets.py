"""torchvision's networks under this package's protocol: parameters, moments and noise passed in.

The modules are torchvision's; only what would keep a state or draw from the global generator is
replaced: batch norms read and replace the moments they are given, dropout and stochastic depth draw
from the noise they are given. One network at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
import torchvision
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torchvision.ops import StochasticDepth

from refigure.models.layers import Group, Model, Noise, Stacking, Statistics, batch_norm, dropout

POSITIONS = "relative_position_bias_table"
HEADS = ("fc", "head", "classifier", "heads")
"""What torchvision calls the last layer, or the group of layers that ends in it."""


def resnet50(channels: int, size: int, classes: int) -> Model:
    """ResNet-50 with the stride on the 3x3 convolution.

    From scratch it begins as torchvision's does: filters N(0, 2 / fan_out). The released code of
    the paper has PyTorch's own default there (pretrain-basin, section 0).

    Args:
        channels: of an image; 3.
        size: height and width of an image, pixels; at least 32.
        classes: number of logits.

    Source: He et al. 2016, arXiv:1512.03385; pretrain-basin, section 4.
    """
    return torchvision_net(channels, size, classes, architecture="resnet50")


def swin_t(channels: int, size: int, classes: int, *, drop_path: float = 0.1) -> Model:
    """Swin-Tiny: patches of 4, windows of 7, stages of 2, 2, 6 and 2 blocks.

    Args:
        channels: of an image; 3.
        size: height and width of an image, pixels; at least 32.
        classes: number of logits.
        drop_path: rate of stochastic depth in the last block; it grows linearly from 0.

    Source: Liu et al. 2021, arXiv:2103.14030; pretrain-basin, section 4.
    """
    return torchvision_net(channels, size, classes, architecture="swin_t", drop_path=drop_path)


def torchvision_net(
    channels: int, size: int, classes: int, *, architecture: str, drop_path: float | None = None
) -> Model:
    """Any classifier of `torchvision.models`, by its name there.

    Args:
        channels: of an image; 3.
        size: height and width of an image, pixels; at least 32.
        classes: number of logits.
        architecture: such as "resnet18" or "swin_t".
        drop_path: rate of stochastic depth; None: torchvision's own.

    Raises:
        ValueError: images of other than three channels, too small ones, or an unknown name.
    """
    if channels != 3:
        raise ValueError(f"{architecture} takes images of 3 channels, got {channels}")
    if size < 32:
        raise ValueError(f"{architecture} needs images of at least 32x32 pixels, got size {size}")
    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise ValueError(f"torchvision has no classifier '{architecture}'; such as: resnet18")
    if drop_path is not None and not any(
        isinstance(layer, _StochasticDepth) for layer in _module(architecture, 1, None)[0].modules()
    ):
        raise ValueError(f"{architecture} has no stochastic depth, got drop_path {drop_path}")
    return TorchvisionNet(architecture, classes, drop_path)


class _Passed:
    """What a forward pass hands to the replaced layers, by their names."""

    statistics: Statistics
    noise: Noise | None = None


class _BatchNorm(nn.Module):
    def __init__(self, name: str, layer: nn.BatchNorm2d, passed: _Passed):
        super().__init__()
        self.name, self.passed = name, passed
        self.eps, self.momentum = layer.eps, layer.momentum
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        affine = self.weight[None], self.bias[None]
        statistics, options = self.passed.statistics, {"eps": self.eps, "momentum": self.momentum}
        return batch_norm(x[None], self.name, statistics, *affine, **options)[0]


class _Dropout(nn.Module):
    def __init__(self, name: str, rate: float, passed: _Passed):
        super().__init__()
        self.name, self.rate, self.passed = name, rate, passed

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x[None], self.rate, self.passed.noise, self.name)[0]


class _StochasticDepth(nn.Module):
    """Drops the whole branch of an image, as `StochasticDepth` in its mode "row"."""

    def __init__(self, name: str, rate: float, passed: _Passed):
        super().__init__()
        self.name, self.rate, self.passed = name, rate, passed

    def forward(self, x: Tensor) -> Tensor:
        ones = torch.ones(1, len(x), dtype=x.dtype, device=x.device)
        kept = dropout(ones, self.rate, self.passed.noise, self.name)[0]
        return x * kept.view(-1, *[1] * (x.dim() - 1))


@cache
def _module(
    architecture: str, classes: int, drop_path: float | None
) -> tuple[nn.Module, _Passed, dict[str, int]]:
    """A module without values, what is passed to its layers, and its batch norms' channels."""
    passed = _Passed()
    with torch.device("meta"):
        module = _built(architecture, classes)
    normalised: dict[str, int] = {}
    rates = [layer.p for layer in module.modules() if isinstance(layer, StochasticDepth)]
    # torchvision's rates grow linearly to their largest; another largest one scales them all.
    scale = 1.0 if drop_path is None else drop_path / max(rates)
    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            normalised[name] = layer.num_features
            replacement: nn.Module = _BatchNorm(name, layer, passed)
        elif isinstance(layer, nn.Dropout):
            replacement = _Dropout(name, layer.p, passed)
        elif isinstance(layer, StochasticDepth):
            replacement = _StochasticDepth(name, layer.p * scale, passed)
        else:
            continue
        parent, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(parent), attribute, replacement)
    return module, passed, normalised


def _built(architecture: str, classes: int) -> nn.Module:
    return torchvision.models.get_model(architecture, num_classes=classes)


@dataclass(frozen=True)
class TorchvisionNet:
    """See `torchvision_net`. Parameters have torchvision's own names."""

    architecture: str
    classes: int
    drop_path: float | None = None

    @property
    def stacking(self) -> Stacking:
        return "single"

    @property
    def _module(self) -> tuple[nn.Module, _Passed, dict[str, int]]:
        return _module(self.architecture, self.classes, self.drop_path)

    @property
    def dropout(self) -> float:
        """The largest rate of dropout or stochastic depth; 0 where the network draws nothing."""
        layers = self._module[0].modules()
        return max(
            (layer.rate for layer in layers if isinstance(layer, (_Dropout, _StochasticDepth))),
            default=0.0,
        )

    @property
    def groups(self) -> dict[str, Group]:
        names = [name for name, _ in self._module[0].named_parameters()]
        last = names[-1].rpartition(".")[0]
        if last.split(".")[0] not in HEADS:
            raise ValueError(f"{self.architecture} ends in '{last}', not in one of {HEADS}")
        return {name: "head" if name.rpartition(".")[0] == last else "free" for name in names}

    @property
    def undecayed(self) -> frozenset[str]:
        """Swin's tables of relative positions, which its authors keep from weight decay.

        Source: pretrain-basin, section 5.1.
        """
        return frozenset(name for name in self.groups if name.endswith(POSITIONS))

    @property
    def normalised(self) -> dict[str, int]:
        return self._module[2]

    @property
    def constants(self) -> frozenset[str]:
        """Names of its state dict that are neither parameters nor moments: they follow from its
        architecture, such as Swin's table of relative places."""
        return frozenset(_fixed_buffers(self.architecture, self.classes))

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        """As torchvision initialises; the last layer as a fresh linear layer of PyTorch."""
        # torchvision draws from the global generator: lent to it here, and put back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            drawn = _built(self.architecture, self.classes)
        values = {name: value.detach() for name, value in drawn.named_parameters()}
        head = [name for name, group in self.groups.items() if group == "head"]
        bound = values[next(name for name in head if name.endswith("weight"))].shape[1] ** -0.5
        for name in head:
            values[name].uniform_(-bound, bound, generator=head_generator)
        return values

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        noise: Noise | None = None,
    ) -> Tensor:
        module, passed, _ = self._module
        passed.statistics, passed.noise = statistics, noise
        try:
            values = {name: parameters[name][0] for name in self.groups}
            fixed = _fixed_buffers(self.architecture, self.classes)
            fixed = {name: value.to(images.device) for name, value in fixed.items()}
            return functional_call(module, (values, fixed), (images[0],))[None]
        finally:
            del passed.statistics
            passed.noise = None


@cache
def _fixed_buffers(architecture: str, classes: int) -> dict[str, Tensor]:
    """Buffers that are no moments, such as Swin's table of relative positions."""
    moments = ("running_mean", "running_var", "num_batches_tracked")
    with torch.random.fork_rng(devices=[]):
        built = _built(architecture, classes)
    return {name: value for name, value in built.named_buffers() if not name.endswith(moments)}
