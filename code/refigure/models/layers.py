"""Operations on many networks at once, and what every model offers.

Every tensor carries a leading axis `networks`, so that a model is written once. One network runs
through the plain operations of torch; several are folded into the channel axis, (networks, images,
channels, ...) to (images, networks * channels, ...), where one grouped operation serves them all.
Folding and unfolding are views as long as a tensor stays between these operations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

Stacking = Literal["native", "grouped", "single"]
Group = Literal["invariant", "free", "head", "fixed"]
Mode = Literal["train", "batch", "running", "recompute"]
Noise = Callable[[str, tuple[int, ...]], Tensor]
"""Numbers uniform in [0, 1) for a layer's name and a shape whose first axis is `networks`."""


class Model(Protocol):
    """What training and measures know of a model.

    A model may have a method `features(parameters, images, statistics, stage)` as well: what its
    last layer reads, (networks, images, features), or, where `stage` is a number from 1 to the
    model's `stages`, the activations after that stage, (networks, images, channels, height, width).
    Probes of representations need it.

    Attributes:
        stacking: how networks stack: "native" (batched products, good on every device), "grouped"
            (convolutions folded into channels, which pays on a GPU) or "single" (one at a time).
        groups: each parameter's name, in a fixed order, and what it is: "invariant" (scaling all
            of these together leaves the output as it is), "free" (trained, not invariant), "head"
            (the last layer) or "fixed" (never trained).
        normalised: each batch-norm layer's name and its channels; empty where there is none.
    """

    @property
    def stacking(self) -> Stacking: ...

    @property
    def groups(self) -> dict[str, Group]: ...

    @property
    def normalised(self) -> dict[str, int]: ...

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        """Parameters of one network, without the leading axis, on the CPU.

        Args:
            generator: draws all parameters but the head's.
            head_generator: draws the head, so that runs can share one.
        """
        ...

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        """Logits of each network.

        A model with dropout has an attribute `dropout`, its rate, and takes a fourth argument
        `noise: Noise | None = None`; without it nothing is dropped. One with an attribute
        `undecayed` names parameters that weight decay of matrices spares, though they are some.

        Args:
            parameters: by name, each with a leading axis `networks`.
            images: (networks, images, channels, height, width).
            statistics: batch norm's, whose mode says what is read and what is replaced.

        Returns:
            (networks, images, classes).
        """
        ...


@dataclass(frozen=True)
class Parameter:
    """One parameter of one network: what it is and how it begins.

    Attributes:
        shape: without the leading axis of networks.
        group: see `Model.groups`.
        begins: "uniform" within +-1/sqrt(fan_in), PyTorch's default for weights and biases of
            linear and convolutional layers, "normal" with mean 0 and variance 1, or the constant
            that fills it.
        fan_in: inputs of one output unit; needed for "uniform" only.
    """

    shape: tuple[int, ...]
    group: Group
    begins: Literal["uniform", "normal"] | float = "uniform"
    fan_in: int = 1


def draw(
    parameters: Mapping[str, Parameter], generator: Generator, head_generator: Generator
) -> dict[str, Tensor]:
    """Initial values of one network's parameters, drawn in the order they are listed.

    A layer listed weight first, then bias, gets the values that torch's own module draws from a
    generator in the same state, up to rounding.

    Args:
        parameters: by name.
        generator: for all groups but "head".
        head_generator: for the group "head".

    Returns:
        float32 tensors on the CPU, without the leading axis of networks.
    """
    values = {}
    for name, parameter in parameters.items():
        values[name] = torch.empty(parameter.shape)
        source = head_generator if parameter.group == "head" else generator
        if parameter.begins == "uniform":
            bound = parameter.fan_in**-0.5
            values[name].uniform_(-bound, bound, generator=source)
        elif parameter.begins == "normal":
            values[name].normal_(generator=source)
        else:
            values[name].fill_(parameter.begins)
    return values


def _fold(x: Tensor) -> Tensor:
    # squeeze, not x[0]: the backward pass of indexing would fill and copy a whole tensor
    return x.squeeze(0) if len(x) == 1 else x.transpose(0, 1).flatten(1, 2)


def _unfold(x: Tensor, networks: int) -> Tensor:
    return x.unsqueeze(0) if networks == 1 else x.unflatten(1, (networks, -1)).transpose(0, 1)


def conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0
) -> Tensor:
    """Convolution of each network's images with its own filters.

    Args:
        x: (networks, images, channels, height, width).
        weight: (networks, filters, channels, kernel height, kernel width).
        bias: (networks, filters).
        stride: of the filters, pixels.
        padding: zeros on each side, pixels.

    Returns:
        (networks, images, filters, height, width).
    """
    networks = len(weight)
    if stride > 1 and weight.shape[-2:] == (1, 1) and not padding:
        # A filter of one pixel sees only the pixels that the stride lands on. oneDNN's own kernel
        # for it (jit_1x1:avx2, channels last, backward to the filters) writes past its memory
        # where the channels are no multiple of eight, so it never gets to see the others.
        x, stride = x[..., ::stride, ::stride], 1
    folded = F.conv2d(
        _fold(x),
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        stride,
        padding,
        groups=networks,
    )
    if networks == 1 and folded.device.type == "cpu":
        # Channels last makes a step on a CPU 1.3 to 1.7 times as fast; what follows keeps the
        # layout, so only the first convolution of a network pays for a copy.
        folded = folded.contiguous(memory_format=torch.channels_last)
    return _unfold(folded, networks)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each network's own linear map.

    Args:
        x: (networks, images, inputs).
        weight: (networks, outputs, inputs).
        bias: (networks, outputs).

    Returns:
        (networks, images, outputs).
    """
    if bias is None:
        return x @ weight.mT
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """The last axis normalised, then scaled and shifted by each network's own weight and bias.

    Args:
        x: (networks, images, ..., channels).
        weight, bias: (networks, channels).
        eps: added to the variance.
    """
    channels = x.shape[-1:]
    if len(x) == 1:
        return F.layer_norm(x, channels, weight[0], bias[0], eps)
    own = (len(x), *[1] * (x.dim() - 2), -1)
    return torch.addcmul(bias.view(own), F.layer_norm(x, channels, eps=eps), weight.view(own))


def dropout(x: Tensor, rate: float, noise: Noise | None, layer: str) -> Tensor:
    """Each number zeroed with a chance of `rate`, the others scaled up by 1 / (1 - rate).

    Args:
        x: (networks, images, ...).
        noise: where randomness is from; None: evaluation, `x` as it is.
        layer: names the draws of this layer.
    """
    if noise is None or rate == 0:
        return x
    return x * ((noise(layer, tuple(x.shape)) >= rate) / (1 - rate))


def max_pool(x: Tensor, size: int) -> Tensor:
    """Maximum over windows of size x size pixels side by side; a remainder is left out.

    Args:
        x: (networks, images, channels, height, width).
        size: pixels.
    """
    return _unfold(F.max_pool2d(_fold(x), size), len(x))


def average_pool(x: Tensor, size: int) -> Tensor:
    """Mean over windows of size x size pixels side by side; a remainder is left out.

    Args:
        x: (networks, images, channels, height, width).
        size: pixels.
    """
    return _unfold(F.avg_pool2d(_fold(x), size), len(x))


def global_max_pool(x: Tensor) -> Tensor:
    """Maximum over all pixels: (networks, images, channels, height, width) without the last two."""
    # not amax: it shares a gradient among ties, pooling gives it to the first
    return _unfold(F.max_pool2d(_fold(x), x.shape[-2:]).flatten(1), len(x))


def global_average_pool(x: Tensor) -> Tensor:
    """Mean over all pixels: (networks, images, channels, height, width) without the last two."""
    return x.mean((-2, -1))


@dataclass(eq=False)
class Statistics:
    """Batch norm's running moments of many networks, and what a forward pass does with them.

    Tensors in `running` are replaced, never changed in place, so `dict(statistics.running)` is a
    snapshot, and the moments may be kept, compared and saved like any other tensors.

    Attributes:
        running: layer name to (mean, variance), each (networks, channels).
        mode: "train": normalise by the batch and move `running` towards its moments, as torch does;
            "batch": normalise by the batch, replace nothing;
            "running": normalise by `running`, replace nothing;
            "recompute": normalise by the batch and replace `running` by the mean, over the batches
            seen in this mode and weighted by their images, of the batch means and of the unbiased
            batch variances. That is torch's `momentum=None`, which weighs batches equally, when all
            batches are of one size. The variance of the batch means is not in it.

    Raises:
        ValueError: `mode` is none of these.
    """

    running: dict[str, tuple[Tensor, Tensor]]
    mode: Mode = "train"
    _images: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(
                f"batch-norm mode must be one of {', '.join(get_args(Mode))}, got {self.mode!r}"
            )

    @classmethod
    def fresh(
        cls,
        channels_by_layer: Mapping[str, int],
        networks: int,
        device: torch.device | str = "cpu",
    ) -> Statistics:
        """Zero means and unit variances in mode "train", where a new network begins."""
        return cls(
            {
                layer: (
                    torch.zeros(networks, channels, device=device),
                    torch.ones(networks, channels, device=device),
                )
                for layer, channels in channels_by_layer.items()
            }
        )

    def in_mode(self, mode: Mode) -> Statistics:
        """The same moments in another mode; "recompute" begins anew.

        The tensors are shared, not copied. What a pass replaces is read from the `running` of what
        is returned; `self` stays as it is.
        """
        return Statistics(dict(self.running), mode)


def batch_norm(
    x: Tensor,
    layer_name: str,
    statistics: Statistics,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Tensor:
    """Each network's channels normalised, then scaled and shifted where weight and bias are given.

    Args:
        x: (networks, images, channels, height, width) or (networks, images, channels).
        layer_name: key of `statistics.running`.
        statistics: see there for what each mode reads and replaces.
        weight: (networks, channels).
        bias: (networks, channels).
        eps: added to the variance.
        momentum: share of the new batch in the running moments, mode "train" only.

    Returns:
        The shape of `x`.

    Raises:
        KeyError: `statistics` has no moments for `layer_name` (all modes but "batch").
    """
    mean = variance = None
    if statistics.mode != "batch":
        mean, variance = statistics.running[layer_name]
    if statistics.mode == "recompute":
        images = x.shape[1]
        seen = statistics._images.get(layer_name, 0)
        statistics._images[layer_name] = seen + images
        momentum = images / (seen + images)  # this update rule then is the weighted mean so far
        if seen == 0:  # even weight 0 would let NaN of the old moments through
            mean, variance = torch.zeros_like(mean), torch.zeros_like(variance)
    if statistics.mode in ("train", "recompute"):
        mean, variance = mean.clone(), variance.clone()  # F.batch_norm updates what it is given
        statistics.running[layer_name] = (mean, variance)
    folded = F.batch_norm(
        _fold(x),
        None if mean is None else mean.view(-1),
        None if variance is None else variance.view(-1),
        None if weight is None else weight.flatten(),
        None if bias is None else bias.flatten(),
        training=statistics.mode != "running",
        momentum=momentum,
        eps=eps,
    )
    return _unfold(folded, len(x))
