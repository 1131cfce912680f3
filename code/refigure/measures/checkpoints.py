"""Networks of one's own files: each alone, their ensemble, their soups, and what lies between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.measures import soups
from refigure.measures.accuracy import train_errors
from refigure.measures.members import Group, Member
from refigure.measures.paths import along
from refigure.models.layers import Statistics

Values = Mapping[str, Tensor]


def basin(group: Group, *, points: int = 11, plane: int = 0) -> list[dict[str, Any]]:
    """Networks, ensembles, soups, paths and planes of some checkpoints of one network.

    Batch norm's moments are those of the training set, taken anew, but for `network` and
    `ensemble`, which have those of the files.

    Args:
        group: one role, `networks`, of at least two.
        points: along each path, both ends among them; an odd number, so that one is the middle.
        plane: points along each side of the triangle of the first, the second and the last
            network; 0: no plane.

    Returns:
        what: network, ensemble, soup, greedy, path, middle or plane; members: names of the files,
        joined by " + ", in the order in which they join; size: how many; alpha, from 0 at the
        first to 1, of a path; first, second, third, the shares of the corners of a plane;
        train_accuracy and test_accuracy, percent. Rows `middle` have drop: how far the test
        accuracy in the middle of a path lies below the mean of its ends, percentage points, with
        its standard error over the test images, drop_se; objects, of the test set. The greedy soup
        chooses its members by training accuracy, since no other images are held out.

    Raises:
        UserError: there are fewer than two networks, or an even number of points.

    Source: pretrain-basin, sections 2 and 6.
    """
    members: list[Member] = list(group.roles["networks"])
    if len(members) < 2:
        raise UserError(f"a basin is shared by at least 2 networks, got {len(members)}")
    if points < 3 or points % 2 == 0:
        raise UserError(f"points of a path must be odd and at least 3, got {points}")
    names = [str(member.run.axes["checkpoint"]) for member in members]
    values, task = [member.parameters for member in members], members[0].task
    rows = [*_ensembles(members, names), *_soups(task, values, names)]
    rights = [_right(task, *_anew(task, one)) for one in values]
    for i, j in combinations(range(len(members)), 2):
        pair = {"members": f"{names[i]} + {names[j]}", "size": 2}
        train, test = along(members[i], members[j], points, rescale=False)
        for place in range(points):
            found = {"train_accuracy": float(train[place]), "test_accuracy": float(test[place])}
            rows.append({"what": "path", **pair, "alpha": place / (points - 1), **found})
        middle = soups.average([values[i], values[j]])
        right = _right(task, *_anew(task, middle))
        drop = 100 * ((rights[i] + rights[j]) / 2 - right)
        rows.append(
            {
                "what": "middle",
                **pair,
                "alpha": 0.5,
                "test_accuracy": 100 * float(right.mean()),
                "drop": float(drop.mean()),
                "drop_se": float(drop.std()) / math.sqrt(len(drop)) if len(drop) > 1 else math.nan,
                "objects": len(drop),
            }
        )
    if plane and len(members) > 2:
        corners = [values[0], values[1], values[-1]]
        about = {"members": " + ".join([names[0], names[1], names[-1]]), "size": 3}
        rows += [{"what": "plane", **about, **row} for row in soups.plane(task, corners, plane)]
    columns = ("alpha", "first", "second", "third", "train_accuracy", "test_accuracy")
    empty = dict.fromkeys((*columns, "drop", "drop_se", "objects"), math.nan)
    return [{**empty, **row, "classes": task.data.classes} for row in rows]


def _ensembles(members: list[Member], names: list[str]) -> list[dict[str, Any]]:
    """Each network alone, and the mean of the probabilities of the first 2, 3, ... of them."""
    rows = []
    together: Tensor | None = None
    labels = members[0].task.data.test_labels
    for count, member in enumerate(members, 1):
        own = _logits(member.task, member.parameters, member.statistics).softmax(-1).double()
        together = own if together is None else together + own
        rows.append({"what": "network", "members": names[count - 1], "size": 1})
        rows[-1]["test_accuracy"] = _percent(own, labels)
        if count > 1:
            rows.append({"what": "ensemble", "members": " + ".join(names[:count]), "size": count})
            rows[-1]["test_accuracy"] = _percent(together, labels)
    return rows


def _soups(task: Any, values: list[Values], names: list[str]) -> list[dict[str, Any]]:
    """Uniform soups of the first 2, 3, ... networks, and the greedy soup."""
    rows = []
    for count in range(2, len(values) + 1):
        train, test = soups.uniform(task, values[:count])
        rows.append({"what": "soup", "members": " + ".join(names[:count]), "size": count})
        rows[-1] |= {"train_accuracy": train, "test_accuracy": test}
    chosen, mixed = soups.greedy(values, lambda one: 100 - float(train_errors(task, one)[1]))
    train, test = soups.uniform(task, [mixed])
    members = " + ".join(names[place] for place in chosen)
    rows.append({"what": "greedy", "members": members, "size": len(chosen)})
    rows[-1] |= {"train_accuracy": train, "test_accuracy": test}
    return rows


def _anew(task: Any, values: Values) -> tuple[Values, Statistics]:
    return values, train_errors(task, values)[0]


def _right(task: Any, values: Values, statistics: Statistics) -> Tensor:
    """Whether each test image is classified rightly, (objects,), 0 or 1, float64."""
    answers = _logits(task, values, statistics).argmax(-1)
    return (answers == task.data.test_labels).double()


@torch.no_grad()
def _logits(task: Any, values: Values, statistics: Statistics) -> Tensor:
    running = statistics.in_mode("running")
    return torch.cat(
        [task.logits(values, batch, running)[0] for batch in task.evaluation("test", 1)]
    )


def _percent(scores: Tensor, labels: Tensor) -> float:
    return 100 * float((scores.argmax(-1) == labels).double().mean())
