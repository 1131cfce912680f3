"""A model whose training steps compute in bfloat16 where that is safe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refigure.models.layers import Noise, Statistics


@dataclass(frozen=True)
class Autocast:
    """A model under torch's autocast in its training steps, and as it is in everything else.

    Parameters, gradients and moments stay float32, and so do the logits, of which the loss is
    taken. What is measured or kept is computed in float32 throughout: the authors' saved
    probabilities are, too.

    Args:
        model: any model; what is not `forward` is its own.

    Source: pretrain-basin, section 0.
    """

    model: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        images: Tensor,
        statistics: Statistics,
        noise: Noise | None = None,
    ) -> Tensor:
        """Logits of each network, float32: see `Model.forward`."""
        drawn = () if noise is None else (noise,)
        kind, step = images.device.type, statistics.mode == "train"
        with torch.autocast(kind, torch.bfloat16, enabled=step):
            return self.model.forward(parameters, images, statistics, *drawn).float()
