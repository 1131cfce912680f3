"""Train loss on straight lines between the minima of one run's sphere: are they one valley?"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics

POINTS = 21


def measure(group: Group) -> list[dict[str, Any]]:
    """Train loss at 21 places between minima of one seed.

    Args:
        group: role `minima`, networks that differ in their ELR; role `tuned`, which may be absent,
            runs that went on from one of them (axis plr) at another.

    Returns:
        kind: "neighbours" (minima of one ELR and the next) or "fine-tuned" (a minimum and what a
        run from it ended at); first_elr, second_elr; alpha, from 0 to 1; train_loss, nats, with
        the batches' own moments, in stored order. Weights on the line are not brought back to the
        sphere: the loss does not depend on their norm.

    Source: three-regimes, section 0, point 4, and section 6.8.
    """
    minima = sorted(group.roles["minima"], key=lambda member: member.run.axes["elr"])
    pairs = [("neighbours", first, second) for first, second in pairwise(minima)]
    by_elr = {member.run.axes["elr"]: member for member in minima}
    for member in sorted(group.roles.get("tuned", []), key=lambda one: one.run.axes["elr"]):
        if (first := by_elr.get(member.run.axes["plr"])) is not None:
            pairs.append(("fine-tuned", first, member))
    return [
        {
            "kind": kind,
            "first_elr": first.run.axes["elr"],
            "second_elr": second.run.axes["elr"],
            "alpha": alpha,
            "train_loss": loss,
        }
        for kind, first, second in pairs
        for alpha, loss in losses_between(first, second)
    ]


@torch.no_grad()
def losses_between(first: Member, second: Member) -> list[tuple[float, float]]:
    """Place on the straight line from one network to another, and the train loss there."""
    alphas = torch.linspace(0, 1, POINTS)
    task = first.task
    weights = {}
    for name in first.model.groups:
        share = alphas.to(first.parameters[name]).view(
            -1, *[1] * (first.parameters[name].dim() - 1)
        )
        weights[name] = (1 - share) * first.parameters[name] + share * second.parameters[name]
    moments = Statistics(dict(first.statistics.running), "batch")
    losses = torch.zeros(POINTS, dtype=torch.float64)
    images = 0
    for batch in task.evaluation("train", POINTS):
        loss, _ = task.scores(task.logits(weights, batch, moments), batch.labels)
        losses += loss.double().sum(1).cpu()
        images += batch.labels.shape[1]
    return list(zip(alphas.tolist(), (losses / images).tolist()))
