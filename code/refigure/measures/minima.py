"""The minima of the periods of one run: how far apart they lie, and what they predict together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refigure.measures.accuracy import train_errors
from refigure.measures.members import Group, Member
from refigure.measures.paths import angle
from refigure.models.layers import Statistics

ERRORS = ("test_error", "ensemble_error")


@torch.no_grad()
def measure(group: Group) -> list[dict[str, Any]]:
    """Every pair of the networks of the role `minima`, each with itself too.

    Args:
        group: of one run; its networks are in the order of the periods, and those whose period did
            not end are absent.

    Returns:
        first and second, numbers of the periods from 1; cosine, of the scale-invariant weights;
        disagreement, percent of test images that the two classify differently; and where first is
        second: test_error, percent, of that network, and ensemble_error, of the mean softmax of all
        networks up to it, with the running moments of batch norm, which lag; with moments over
        the training set test_error_recomputed and ensemble_error_recomputed, and disagreement.

    Source: periodic-behavior, section 6.6, point 6.
    """
    members = group.roles["minima"]
    softmax = {
        "": [_softmax(member, member.statistics) for member in members],
        "_recomputed": [
            _softmax(member, train_errors(member.task, member.parameters)[0]) for member in members
        ],
    }
    labels = members[0].task.data.test_labels
    answers = [shares.argmax(-1) for shares in softmax["_recomputed"]]
    rows = []
    for one in range(len(members)):
        for other in range(one, len(members)):
            first, second = members[one], members[other]
            turned = angle(first.model.groups, first.parameters, second.parameters)
            row = {
                "first": one + 1,
                "second": other + 1,
                "cosine": float(torch.tensor(turned, dtype=torch.float64).cos()),
                "disagreement": _percent(answers[one] != answers[other]),
                **{f"{name}{kind}": float("nan") for kind in softmax for name in ERRORS},
            }
            if one == other:
                for kind, shares in softmax.items():
                    together = torch.stack(shares[: one + 1]).mean(0).argmax(-1)
                    row[f"test_error{kind}"] = _percent(shares[one].argmax(-1) != labels)
                    row[f"ensemble_error{kind}"] = _percent(together != labels)
            rows.append(row)
    return rows


def _softmax(member: Member, moments: Statistics) -> Tensor:
    """Class probabilities of the test images, (images, classes)."""
    logits = [
        member.model.forward(member.parameters, batch.images, moments)
        for batch in member.task.evaluation("test", 1)
    ]
    return torch.cat(logits, dim=1)[0].softmax(-1)


def _percent(wrong: Tensor) -> float:
    return 100 * float(wrong.float().mean())
