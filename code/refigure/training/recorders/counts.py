"""The quality of sparse recurrent networks, and what is left of them, as training goes by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refigure.models.rnn import sparsity
from refigure.models.rnn.lstm import folded
from refigure.models.rnn.variational import clipped
from refigure.training.passes import Moment


@torch.no_grad()
def counts(moment: Moment, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """val_loss, metric_val and the test's; sizes before; counts by the authors' and strict rule.

    Source: sparse-gated-rnn, sections 5.2 (means, pruned scalars at 0) and 6.1 to 6.5.
    """
    task, parameters = moment.task, moment.stack.parameters
    plain = folded(clipped(parameters))
    columns: dict[str, Tensor] = {}
    for short, part in (("val", "validation"), ("test", "test")):
        columns[f"{short}_loss"], columns[f"metric_{short}"] = task.quality(plain, part)
    networks = moment.stack.networks
    for name, size in sparsity.sizes(task.model).items():
        columns[name] = torch.full((networks,), float(size))
    alive = sparsity.masks(task.model, parameters)
    for strict, suffix in ((False, ""), (True, "_strict")):
        found = sparsity.counts(task.model, sparsity.structure(task.model, alive, strict))
        columns |= {name + suffix: value for name, value in found.items()}
    return columns
