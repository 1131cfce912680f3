"""What a network must beat: the majority class, symbols by their frequency, and pairs of symbols.

A network that is no better than the first of these has learned nothing of the text, whatever is
left of its weights; a language model that is worse than pairs has learned little.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from refigure.data.text.documents import Documents
from refigure.data.text.language import Text


def trivial(data: Documents | Text, part: str) -> float:
    """Of documents the accuracy of the training part's most frequent class, in percent; of a text
    the loss of its symbols by their frequency in training, one added to each, in nats a symbol.

    Args:
        part: train, validation or test.
    """
    if isinstance(data, Documents):
        usual = data.labels["train"].mode().values
        return 100 * float((data.labels[part] == usual).double().mean())
    chances = _frequencies(data)
    return float(-chances[data.symbols[part]].log().mean())


def pairs(data: Text, part: str) -> float:
    """The loss of a text by the symbol before alone, in nats a symbol.

    The share of each follower in training, mixed with the symbols' frequencies by the number of
    distinct followers.

    Args:
        part: train, validation or test; its first symbol is not predicted.

    Source: Witten and Bell 1991, method C, interpolated.
    """
    train, rows = data.symbols["train"], data.rows
    seen = torch.zeros(rows * rows, dtype=torch.float64, device=train.device)
    seen.index_add_(0, train[:-1] * rows + train[1:], torch.ones_like(train[1:]).double())
    seen = seen.view(rows, rows)
    before, after = data.symbols[part][:-1], data.symbols[part][1:]
    distinct, total = (seen > 0).sum(1).double(), seen.sum(1)
    # A symbol that nothing followed in training leaves the frequencies alone.
    weight = torch.where(total > 0, distinct / (distinct + total).clamp_min(1), 1.0)
    own = seen[before, after] / total[before].clamp_min(1)
    chances = (1 - weight[before]) * own + weight[before] * _frequencies(data)[after]
    return float(-chances.log().mean())


def metric_of(loss: float, objective: str) -> float:
    """A loss in nats as the metric of a language model: bits, or perplexity."""
    return loss / math.log(2) if objective == "characters" else math.exp(loss)


def _frequencies(data: Text) -> Tensor:
    counts = data.counts.double() + 1
    return counts / counts.sum()
