"""What is left of sparse recurrent networks after training: gates, words, histograms, speed.

Each probe takes a group with one network under the role `net`.

Source: sparse-gated-rnn, sections 6 and 8.3; bayesian-compression-nlp, sections 6 and 7.2.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refigure.data.text.documents import SPECIALS
from refigure.measures.members import Group, Member
from refigure.models.rnn import sparsity
from refigure.models.rnn.compaction import Compact, compacted, gate_constants
from refigure.models.rnn.lstm import GATES, folded
from refigure.models.rnn.variational import SUFFIX, clipped
from refigure.models.rnn.variational import log_alpha as log_ratio
from refigure.streams import generator

LOWEST, HIGHEST, WIDTH = -12.0, 12.0, 0.5  # of the histograms' bins of log alpha


def gates(group: Group) -> Iterator[dict[str, Any]]:
    """One row a unit and gate: unit, gate, alive, nonconstant (both rules), bias, constant.

    `constant` is the value the gate has where only its bias moves it.
    """
    member = _net(group)
    alive = sparsity.masks(member.model, member.parameters)
    found = sparsity.structure(member.model, alive)
    strict = sparsity.structure(member.model, alive, strict=True)
    bias = member.parameters["bias"][0].cpu().numpy().reshape(4, -1)
    values = gate_constants(bias, member.model.hard)
    for place, gate in enumerate(GATES):
        for unit in range(member.model.hidden):
            yield {
                "unit": unit,
                "gate": gate,
                "alive": bool(found.units[0, unit]),
                "nonconstant": bool(found.gates[0, place, unit]),
                "nonconstant_strict": bool(strict.gates[0, place, unit]),
                "bias": float(bias[place, unit]),
                "constant": float(values[place, unit]),
            }


def kept_words(group: Group) -> Iterator[dict[str, Any]]:
    """One row a row of the vocabulary: what it is, how often it occurs, and whether it is kept.

    Documents also give, by class k from 1, the training documents with the word (`docs_k`) and all
    of them (`n_docs_k`); the same of the test documents (`test_docs_k`), on which nothing was
    trained, and of training documents whose classes were dealt out anew (`shuffled_docs_k`).
    """
    member = _net(group)
    data, parameters = member.task.data, member.parameters
    found = sparsity.structure(member.model, sparsity.masks(member.model, parameters))
    name, words = ("embedding", "z_words") if "embedding" in parameters else ("w_x", "z_x")
    plain = folded(clipped(parameters))[name][0]
    # Of the row itself: for a language model before inputs are dropped by their groups.
    own = sparsity.masks(member.model, parameters)[name][0].sum(1)
    ratio = None
    if words in parameters:
        ratio = log_ratio(parameters[words], parameters[words + SUFFIX])[0].tolist()
    documents = {}
    if hasattr(data, "presence"):
        labels = {part: data.labels[part].cpu() for part in ("train", "test")}
        order = torch.randperm(len(labels["train"]), generator=generator(0, "shuffled classes"))
        for part, of_each, kind in (
            ("train", labels["train"], ""),
            ("test", labels["test"], "test_"),
            ("train", labels["train"][order], "shuffled_"),
        ):
            documents |= _documents(data.tokens[part].cpu(), of_each, data.rows, data.classes, kind)
    for row, token in enumerate(data.words):
        yield {
            "row": row,
            "token": token,
            "train_count": int(data.counts[row]),
            **{column: values[row] for column, values in documents.items()},
            "log_alpha_z": float("nan") if ratio is None else ratio[row],
            "n_alive_weights": int(own[row]),
            "row_norm": float(plain[row].norm()),
            "kept": bool(found.words[0, row]),
        }


def _documents(
    tokens: Tensor, labels: Tensor, rows: int, classes: int, kind: str
) -> dict[str, list[int]]:
    """Documents of each class that hold each row, and all of the class, by column."""
    holding = torch.zeros(len(tokens), rows, dtype=torch.bool)
    holding[torch.arange(len(tokens))[:, None], tokens] = True
    found = {}
    for label in range(classes):
        own = holding[labels == label]
        found[f"{kind}docs_{label + 1}"] = own.sum(0).tolist()
        found[f"n_{kind}docs_{label + 1}"] = [len(own)] * rows
    return found


def thresholds(
    group: Group, values: Sequence[float] = (2.0, 2.5, 3.0, 3.5, 4.0)
) -> Iterator[dict[str, Any]]:
    """Quality and size at other thresholds of log alpha than the one that was trained for.

    None of a network in which nothing is probabilistic.
    """
    member = _net(group)
    if not _probabilistic(member):
        return
    for threshold in values:
        plain = folded(clipped(member.parameters, threshold))
        alive = sparsity.masks(member.model, member.parameters, threshold)
        numbers = sparsity.counts(member.model, sparsity.structure(member.model, alive))
        yield {
            "threshold": float(threshold),
            "metric_val": float(member.task.quality(plain, "validation")[1]),
            "metric_test": float(member.task.quality(plain, "test")[1]),
            **{name: float(numbers[name]) for name in ("C", "n_voc", "n_h")},
        }


def log_alpha(group: Group) -> Iterator[dict[str, Any]]:
    """Histograms of log alpha, one row a tensor and bin; the outermost bins hold all beyond."""
    member = _net(group)
    edges = np.arange(LOWEST, HIGHEST + WIDTH / 2, WIDTH)
    for name in _probabilistic(member):
        ratio = log_ratio(member.parameters[name], member.parameters[name + SUFFIX])
        held = ratio.flatten().clamp(LOWEST, HIGHEST).cpu().numpy()
        count = np.histogram(held, edges)[0]
        for low, number in zip(edges, count.tolist()):
            yield {
                "tensor": name,
                "low": float(low),
                "high": float(low + WIDTH),
                "count": number,
                "share": number / held.size,
            }


def latency(group: Group, steps: int = 200, repeats: int = 50) -> Iterator[dict[str, Any]]:
    """Time of a step for one text at a time, of the whole network and of the compacted one.

    Both run the same code, turn by turn; a language model predicts at every step. `latency_share`
    is the time over that of the whole network in the same turn: a machine that is busy, or slows
    its clock, slows both. `difference` is the largest between outputs of the compacted network and
    those of the masked one, on real text.

    Args:
        steps: words or characters of the text that is timed.
        repeats: of which the median and quartiles are taken.
    """
    member = _net(group)
    plain = folded(clipped(member.parameters))
    alive = sparsity.masks(member.model, member.parameters)
    strict = sparsity.structure(member.model, alive, strict=True)
    nets = {
        "full": compacted(member.model, plain, None),
        "compacted": compacted(member.model, plain, strict),
    }
    texts = texts_of(member)
    timed = np.concatenate(texts)
    timed = np.resize(timed, steps)
    measured = timings(list(nets.values()), timed, repeats)
    for (name, net), spent in zip(nets.items(), measured):
        low, middle, high = np.quantile(spent / measured[0], [0.25, 0.5, 0.75])
        yield {
            "net": name,
            "latency_us": float(np.median(spent)) / steps * 1e6,
            "latency_share": float(middle),
            "latency_share_low": float(low),
            "latency_share_high": float(high),
            "difference": difference(member, net, texts),
            "n_x": net.vectors.shape[1] if net.w_x is not None else len(net.vectors) - 1,
            "n_h": len(net.w_h),
            "macs": net.macs,
            "macs_dense": net.dense.size,
        }


def timings(nets: Sequence[Compact], tokens: np.ndarray, repeats: int) -> np.ndarray:
    """Seconds of each network for one text, taken turn by turn: (networks, repeats).

    Of the processor's time: on a busy machine the clock also counts the turns of others, at random.
    """
    spent = np.empty((len(nets), repeats))
    for net in nets:
        net.outputs(tokens)
    for repeat in range(repeats):
        for place, net in enumerate(nets):
            began = time.process_time()
            net.outputs(tokens)
            spent[place, repeat] = time.process_time() - began
    return spent


def texts_of(member: Member, texts: int = 64, steps: int = 200) -> list[np.ndarray]:
    """Some texts of the test part, (steps,) rows of the vocabulary each, without padding."""
    data = member.task.data
    if hasattr(data, "presence"):
        documents = data.tokens["test"][:texts].cpu().numpy()
        return [document[document != SPECIALS.index("<pad>")] for document in documents]
    return [data.symbols["test"][:steps].cpu().numpy()]


@torch.no_grad()
def difference(member: Member, net: Compact, texts: Sequence[np.ndarray]) -> float:
    """The largest absolute difference between a compact network's outputs and the masked one's."""
    plain = folded(clipped(member.parameters))
    found = 0.0
    for text in texts:
        tokens = torch.from_numpy(text)[None, :, None].to(member.parameters["bias"].device)
        expected: Tensor = member.model.evaluate(plain, tokens)[0][0]
        own = np.atleast_2d(net.outputs(text))
        found = max(found, float(np.abs(expected.cpu().numpy() - own).max()))
    return found


def _net(group: Group) -> Member:
    (member,) = group.roles["net"]
    return member


def _probabilistic(member: Member) -> list[str]:
    return [name for name in member.model.kinds if name + SUFFIX in member.parameters]
