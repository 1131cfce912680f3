"""Logits of networks on whole sets, in half precision: what ensembles are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refigure.graph.experiments import FINAL, Run, Wanted
from refigure.models.layers import Statistics
from refigure.training.jobs.parts import Part
from refigure.training.loop import Trained, Training


def keep(runs: Sequence[Run], training: Training, trained: Trained, wanted: Wanted) -> Part:
    """Logits of each network at each point and set wanted, under `run|point|set`.

    (objects, classes), float16, in the stored order of the set and in eval mode. Half precision
    moves a likelihood by less than 1e-4 nats (tested), at half of the space. A network that
    diverged, or that never reached the point, has none.
    """
    part = Part()
    for entry in sorted(wanted.predictions):
        point, _, which = entry.rpartition("|")
        if point == FINAL:
            parameters, moments = training.stack.parameters, training.statistics.running
            there = ~trained.diverged
        elif point in trained.points:
            snapshot = trained.points[point]
            parameters, moments = training.stack.named(snapshot.flat), snapshot.moments
            there = snapshot.there.cpu()
        else:
            continue
        logits = predictions(training, parameters, moments, which)
        for place, run in enumerate(runs):
            if bool(there[place]):
                part.predictions[f"{run.id}|{entry}"] = logits[place].clone()
    return part


@torch.no_grad()
def predictions(
    training: Training,
    parameters: Mapping[str, Tensor],
    moments: Mapping[str, tuple[Tensor, Tensor]],
    which: str,
) -> Tensor:
    """Logits on a whole set in eval mode, (networks, objects, classes), float16, on the CPU."""
    running = Statistics(dict(moments), "running")
    found = [
        training.task.logits(parameters, batch, running).to(torch.float16).cpu()
        for batch in training.task.evaluation(which, training.stack.networks)
    ]
    return torch.cat(found, dim=1)
