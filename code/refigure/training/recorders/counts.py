"""The quality of sparse recurrent networks, and what is left of them, as training goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.data.text.baselines import metric_of, pairs, trivial
from refigure.models.rnn import sparsity
from refigure.models.rnn.lstm import folded
from refigure.models.rnn.variational import LIMIT, SUFFIX, clipped, kl
from refigure.training.passes import Moment


@torch.no_grad()
def counts(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """val_loss, metric_val and the test's; sizes before; counts by the authors' and strict rule.

    Beside them the KL term as the loss has it at full weight, in nats an object (`kl`), the least
    that it can be (`kl_least`: every scalar at the limit), and its weight in this epoch; and what
    is the same at every epoch: the metrics of a guess (`trivial_val`, `trivial_test`, of a language
    model also by pairs of symbols, `pairs_test`) and how many words have pre-trained vectors.

    Source: sparse-gated-rnn, sections 5.1, 5.2 (means, pruned scalars at 0) and 6.1 to 6.5.
    """
    task, parameters = moment.task, moment.stack.parameters
    plain = folded(clipped(parameters))
    columns: dict[str, Tensor] = {}
    for short, part in (("val", "validation"), ("test", "test")):
        columns[f"{short}_loss"], columns[f"metric_{short}"] = task.quality(plain, part)
    networks = moment.stack.networks
    columns["kl"] = task.kl(parameters) / task.objects
    for name, size in {**sparsity.sizes(task.model), **_constant(moment)}.items():
        columns[name] = torch.full((networks,), float(size))
    alive = sparsity.masks(task.model, parameters)
    for strict, suffix in ((False, ""), (True, "_strict")):
        found = sparsity.counts(task.model, sparsity.structure(task.model, alive, strict))
        columns |= {name + suffix: value for name, value in found.items()}
    return columns


def _constant(moment: Moment) -> dict[str, float]:
    """What all networks of the stack share at this epoch."""
    task = moment.task
    # Of one scalar, each network's KL term being a sum of them.
    limit = torch.tensor([[LIMIT / 2]])
    least = float(kl(torch.ones(1, 1), limit, task.settings["kl"]))
    parameters = moment.stack.parameters
    scalars = sum(parameters[name][0].numel() for name in parameters if name.endswith(SUFFIX))
    found = {"kl_least": scalars * least / task.objects}
    found["kl_weight"] = task.kl_weight(task.epoch)
    data, objective = task.data, task.objective
    if objective == "documents":
        found |= {"trivial_val": trivial(data, "validation"), "trivial_test": trivial(data, "test")}
        known = 0 if data.pretrained is None else int(data.pretrained[1].sum())
        return found | {"vectors": known}
    losses = {
        "trivial_val": trivial(data, "validation"),
        "trivial_test": trivial(data, "test"),
        "pairs_test": pairs(data, "test"),
    }
    return found | {name: metric_of(loss, objective) for name, loss in losses.items()}
