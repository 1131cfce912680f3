"""What networks have made of images: probes of the features that their last layer reads.

The model needs a method `features` (see `models.layers.Model`). Images are taken as they are,
without augmentation, and batch norm in eval mode; labels are true ones, also of networks trained on
permuted labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from refigure.data.images.images import Images
from refigure.errors import UserError
from refigure.measures.members import Group, Member
from refigure.measures.similarity import gaussian_kl
from refigure.streams import generator

CHUNK = 500
"""Images of a forward pass."""
LIVELY = 1e-9
"""Activation from which a patch may be improved by its gradient."""
TRIES = 100


@torch.no_grad()
def features_of(member: Member, images: Tensor, stage: int | None = None) -> Tensor:
    """Features of images, (images, features), or the activations after a stage.

    Raises:
        UserError: the model has no method `features`.
    """
    if not hasattr(member.model, "features"):
        name = member.run.spec.model["name"]
        raise UserError(f"model '{name}' has no method `features`, which a representation needs")
    parts = [
        member.model.features(member.parameters, part[None], member.statistics, stage)[0]
        for part in images.split(CHUNK)
    ]
    return torch.cat(parts)


def _device(member: Member) -> torch.device:
    return next(iter(member.parameters.values())).device


def _members(group: Group) -> Iterator[tuple[str, Member]]:
    for role, members in group.roles.items():
        for member in members:
            yield role, member


# ------------------------------------------------------------------ the linear probe


def linear(
    group: Group,
    data: Images | None,
    epochs: int = 10,
    lr: float = 1.0e-3,
    batch: int = 256,
    pixels: bool = True,
) -> list[dict[str, Any]]:
    """Accuracy of a linear layer trained on frozen features, and on raw pixels.

    Args:
        group: any roles, whose name is the row's `method`.
        data: whose labels are the true ones, in the order of the networks' data; None: no rows.
        epochs, lr, batch: of Adam, without weight decay.
        pixels: add a row with the method "pixels".

    Returns:
        method, features, train_accuracy, test_accuracy (percent), objects of the test set.

    Source: contrastive-memorization, section 6, point 8.
    """
    if data is None:
        return []
    rows = []
    asked = [
        (role, *(features_of(one, getattr(one.task.data, f"{part}_images")) for part in PARTS))
        for role, one in _members(group)
    ]
    if pixels:
        asked.append(("pixels", data.train_images.flatten(1), data.test_images.flatten(1)))
    for method, train, test in asked:
        weight, bias = fitted(train, data.train_labels, data.classes, epochs, lr, batch)
        right = [
            100 * float((F.linear(x, weight, bias).argmax(1) == y).double().mean())
            for x, y in ((train, data.train_labels), (test, data.test_labels))
        ]
        rows.append(
            {
                "method": method,
                "features": train.shape[1],
                "train_accuracy": right[0],
                "test_accuracy": right[1],
                "objects": len(test),
            }
        )
    return rows


PARTS = ("train", "test")


def fitted(
    features: Tensor, labels: Tensor, classes: int, epochs: int, lr: float, batch: int
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer trained by Adam with the cross-entropy.

    Args:
        features: (objects, features).
        labels: (objects,).
    """
    start = generator("probe", "initialisation")
    bound = features.shape[1] ** -0.5
    sizes = (classes, features.shape[1]), (classes,)
    values = [
        torch.empty(size).uniform_(-bound, bound, generator=start).to(features.device)
        for size in sizes
    ]
    for value in values:
        value.requires_grad_()
    optimiser = torch.optim.Adam(values, lr=lr)
    for epoch in range(epochs):
        order = torch.randperm(len(labels), generator=generator("probe", "order", epoch))
        for part in order.to(labels.device).split(batch):
            optimiser.zero_grad()
            F.cross_entropy(F.linear(features[part], *values), labels[part]).backward()
            optimiser.step()
    return values[0].detach(), values[1].detach()


# ------------------------------------------------------------------ classes as Gaussians


def divergences(
    group: Group, data: Images | None, components: int | None = None
) -> list[dict[str, Any]]:
    """KL divergences of the Gaussians fitted to the training features of the classes.

    Args:
        group: any roles, whose name is the row's `method`.
        data: whose labels are the true ones, in the order of the networks' data; None: no rows.
        components: take the first principal components of the features; None: the features, of
            which there must then be fewer than objects of a class.

    Returns:
        method, row, column (classes), row_name, column_name, divergence: KL(row || column) in nats,
        NaN where a covariance is singular or has too few objects.

    Source: contrastive-memorization, section 6, point 7.
    """
    if data is None:
        return []
    labels = data.train_labels.cpu().numpy()
    rows = []
    for role, member in _members(group):
        found = features_of(member, member.task.data.train_images).double().cpu().numpy()
        if components is not None:
            found = principal(found, components)
        parts = [found[labels == one] for one in range(data.classes)]
        for row, first in enumerate(parts):
            for column, second in enumerate(parts):
                names = [_name(data, label) for label in (row, column)]
                rows.append(
                    {
                        "method": role,
                        "row": row,
                        "column": column,
                        "row_name": names[0],
                        "column_name": names[1],
                        "divergence": _kl(first, second),
                    }
                )
    return rows


def principal(features: NDArray[np.floating], components: int) -> NDArray[np.floating]:
    """The first principal components of features, (objects, at most components)."""
    centred = features - features.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:components].T


def _kl(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    if first is second:
        return 0.0
    try:
        return gaussian_kl(first, second)
    except ValueError:
        return float("nan")


def _name(data: Images, label: int) -> str:
    return data.names[label] if label < len(data.names) else str(label)


# ------------------------------------------------------------------ a map in the plane


def neighbours(
    group: Group,
    data: Images | None,
    share: float | None = 0.25,
    split_seed: int = 100,
    seed: int = 201,
) -> list[dict[str, Any]]:
    """t-SNE of the training features in the plane, with the parameters of early 2021.

    Args:
        group: any roles, whose name is the row's `method`.
        data: whose labels are the true ones, in the order of the networks' data; None: no rows.
        share: of the training images, stratified by class; None: all.
        split_seed: of the choice of images.
        seed: of the first role's map; the others' follow.

    Returns:
        method, object, label, name, x, y.

    Source: contrastive-memorization, section 6, point 9, and trap 13.
    """
    from sklearn.manifold import TSNE
    from sklearn.model_selection import train_test_split

    if data is None:
        return []
    labels = data.train_labels.cpu().numpy()
    chosen = np.arange(len(labels))
    if share is not None:
        chosen, _ = train_test_split(
            chosen, train_size=share, random_state=split_seed, stratify=labels
        )
    rows = []
    for place, (role, member) in enumerate(_members(group)):
        images = member.task.data.train_images[torch.as_tensor(chosen).to(_device(member))]
        found = features_of(member, images).cpu().numpy()
        perplexity = min(30.0, (len(chosen) - 1) / 3)
        flat = TSNE(
            perplexity=perplexity, init="random", learning_rate=200.0, random_state=seed + place
        ).fit_transform(found)
        for number, (x, y) in zip(chosen, flat, strict=True):
            label = int(labels[number])
            row = {"method": role, "object": int(number), "label": label}
            rows.append(row | {"name": _name(data, label), "x": float(x), "y": float(y)})
    return rows


# ------------------------------------------------------------------ what a channel answers to


def patches(
    group: Group,
    sides: Sequence[int],
    strides: Sequence[int],
    steps: int = 1000,
    channels: int = 36,
    lr: float = 1.0,
    penalty: float = 0.01,
) -> list[dict[str, Any]]:
    """Patches that make one channel of a stage most active at the central pixel.

    Args:
        group: any roles, whose name is the row's `method`.
        sides: of the patches of stage 1, 2, ..., pixels; strides: of those stages.
        steps: of gradient descent, instead of a limit of time.
        channels: the first ones of a permutation; all where there are fewer.
        lr: of a step.
        penalty: times the squared norm of the patch is added to the loss.

    Returns:
        method, stage, place (in the mosaic), channel, side, depth (colour channels), activation,
        pixels: a list (depth * side * side) in the units of the network's data; empty where no
        start among some draws excites the channel.

    Source: contrastive-memorization, section 6, point 10; the penalty is in the authors' code.
    """
    rows = []
    for role, member in _members(group):
        depth = member.task.data.channels
        for stage, (side, stride) in enumerate(zip(sides, strides, strict=True), 1):
            middle = (side - 1) // (2 * stride)
            blank = torch.zeros(1, depth, side, side, device=_device(member))
            width = features_of(member, blank, stage).shape[1]
            order = np.random.RandomState(42).permutation(width)[:channels]
            chosen = torch.as_tensor(order, device=_device(member))

            central = partial(_central, member, stage, middle)
            x, alive = _starts(central, chosen, depth, side)
            for _ in range(steps):
                x.requires_grad_()
                loss = penalty * x.square().sum() - central(x, chosen).sum()
                (gradient,) = torch.autograd.grad(loss, x)
                x = (x - lr * gradient).detach()
            with torch.no_grad():
                active = central(x, chosen)
            for place, channel in enumerate(order.tolist()):
                there = bool(alive[place])
                rows.append(
                    {
                        "method": role,
                        "stage": stage,
                        "place": place,
                        "channel": channel,
                        "side": side,
                        "depth": depth,
                        "activation": float(active[place]) if there else float("nan"),
                        "pixels": x[place].flatten().tolist() if there else [],
                    }
                )
    return rows


def _central(member: Member, stage: int, middle: int, x: Tensor, channels: Tensor) -> Tensor:
    """What each patch's own channel gives at the central pixel, (patches,)."""
    found = member.model.features(member.parameters, x[None], member.statistics, stage)[0]
    return found[torch.arange(len(x), device=x.device), channels, middle, middle]


@torch.no_grad()
def _starts(central: Any, chosen: Tensor, depth: int, side: int) -> tuple[Tensor, Tensor]:
    """Uniform patches that excite their channels, and which do, after some draws."""
    shape = (len(chosen), depth, side, side)
    x = torch.rand(shape, generator=generator("patches", "start", 0)).to(chosen.device)
    alive = central(x, chosen) > LIVELY
    for attempt in range(1, TRIES):
        if bool(alive.all()):
            break
        again = torch.rand(shape, generator=generator("patches", "start", attempt))
        x = torch.where(alive[:, None, None, None], x, again.to(chosen.device))
        alive = central(x, chosen) > LIVELY
    return x, alive
