"""Which of some fixed objects each network gets right, under a few fixed views of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from refigure.data.images import estimation
from refigure.models.layers import Statistics
from refigure.tasks.contrastive import Contrastive, pairs
from refigure.training.passes import Moment

CHUNK = 1024
"""Images of a forward pass, over all networks of a stack."""


@dataclass(frozen=True)
class Question:
    """What every network is asked, at every step the same.

    Args:
        views: (views, objects, channels, size, size), of pairs the first.
        partners: as `views`, the second views of pairs; None where the task has no pairs.
        labels: (objects,).
    """

    views: Tensor
    partners: Tensor | None
    labels: Tensor


_asked: WeakKeyDictionary[Any, dict[str, Question]] = WeakKeyDictionary()


@torch.no_grad()
def correct(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Array correct, (networks, views, bytes) uint8: a bit an object, 1 where it is right.

    With `held_out`: the same of test objects, correct_held_out. Of a task of pairs, where a view is
    right when its partner is the most similar of all other views of the batch, also those of the
    second views, correct_second, and with `redrawn` those of the first views in batches of other
    companions, correct_redrawn. Bits are packed as by `numpy.packbits`; objects are those of
    `data.images.estimation`, in its order. Batch norm is in eval mode.

    Without augmentation all views are the same, and there is one, whatever `views` says.

    Source: contrastive-memorization, section 6, point 1, and traps 1 to 4.
    """
    task, running = moment.task, moment.statistics.in_mode("running")
    parameters = moment.stack.parameters
    found = {}
    for which, suffix in (("train", ""), ("test", "_held_out")):
        wanted = settings["objects"] if which == "train" else settings["held_out"]
        if not wanted:
            continue
        asked = _question(task, which, wanted, settings["views"])
        if not len(asked.labels):
            continue
        if asked.partners is None:
            found[f"correct{suffix}"] = packed(_of_labels(task, parameters, running, asked))
            continue
        first, second, other = _of_pairs(task, parameters, running, asked, settings["redrawn"])
        found[f"correct{suffix}"] = packed(first)
        if which == "train":
            found["correct_second"] = packed(second)
            if other is not None:
                found["correct_redrawn"] = packed(other)
    return found


def packed(bits: Tensor) -> Tensor:
    """Truth values (..., objects) as (..., bytes) uint8, the first in the highest bit.

    The last byte is filled up with zeros.
    """
    missing = -bits.shape[-1] % 8
    bits = torch.nn.functional.pad(bits.to(torch.int32), (0, missing)).unflatten(-1, (-1, 8))
    weights = 2 ** torch.arange(7, -1, -1, dtype=torch.int32, device=bits.device)
    return (bits * weights).sum(-1).to(torch.uint8)


def _question(task: Any, which: str, wanted: int, views: int) -> Question:
    """What is asked of a set; made once for the networks of a stack."""
    known = _asked.setdefault(task, {})
    if which in known:
        return known[which]
    data = task.data
    images = data.train_images if which == "train" else data.test_images
    labels = data.train_labels if which == "train" else data.test_labels
    chosen = estimation.objects(len(labels), wanted, which).to(labels.device)
    images, labels = images[chosen], labels[chosen]
    count = views if task.augmentation is not None else 1

    def made(partner: int) -> Tensor:
        each = [
            estimation.view(task.augmentation, images, data.black, which, number, partner)
            for number in range(count)
        ]
        return torch.stack(each)

    known[which] = Question(made(0), made(1) if isinstance(task, Contrastive) else None, labels)
    return known[which]


def _outputs(task: Any, parameters: Mapping[str, Tensor], running: Statistics, images: Tensor):
    """What each network gives for the images, (networks, images, outputs)."""
    networks = len(next(iter(parameters.values())))
    each = max(CHUNK // networks, 1)
    parts = [
        task.model.forward(parameters, part.expand(networks, *part.shape), running)
        for part in images.split(each)
    ]
    return torch.cat(parts, dim=1)


def _of_labels(
    task: Any, parameters: Mapping[str, Tensor], running: Statistics, asked: Question
) -> Tensor:
    """Right or wrong by the labels, (networks, views, objects)."""
    views, objects = asked.views.shape[:2]
    logits = _outputs(task, parameters, running, asked.views.flatten(0, 1))
    labels = asked.labels.repeat(views).expand(len(logits), -1)
    return (task.scores(logits, labels)[1] == 0).unflatten(1, (views, objects))


def _of_pairs(
    task: Contrastive,
    parameters: Mapping[str, Tensor],
    running: Statistics,
    asked: Question,
    redrawn: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Right or wrong by the partner: first views, second views, and the first among others."""
    views, objects = asked.views.shape[:2]
    both = torch.cat([asked.views.flatten(0, 1), asked.partners.flatten(0, 1)])
    z = _outputs(task, parameters, running, both)
    z = z.unflatten(1, (2, views, objects))

    def right(batches: list[Tensor]) -> Tensor:
        found = torch.zeros(z.shape[:4], dtype=torch.bool, device=z.device)
        for batch in batches:
            batch = batch.to(z.device)
            own = z[:, :, :, batch].transpose(1, 2).flatten(2, 3)
            labels = pairs(own.shape[2], z.device).expand(own.shape[0] * views, -1)
            error = task.scores(own.flatten(0, 1), labels)[1]
            error = error.view(-1, views, 2, len(batch)).transpose(1, 2)
            found[:, :, :, batch] = error == 0
        return found

    first, second = right(estimation.companions(objects, task.batch_size)).unbind(1)
    if not redrawn:
        return first, second, None
    again = right(estimation.companions(objects, task.batch_size, redrawn=True))
    return first, second, again[:, 0]
