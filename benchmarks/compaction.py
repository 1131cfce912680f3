"""Time of a step of a compacted LSTM against the whole one, one text at a time, on one CPU core.

Networks of the papers' sizes whose words, dimensions, units and gates survive in the numbers that
the authors' logs give for W+G+N (sparse-gated-rnn, section 8.1), with random weights; texts are the
interpreter's reference text. Outputs are compared with those of the masked network. The same of
trained networks is in the table `rnn_latency` of each scale.

    python benchmarks/compaction.py [--steps 200] [--repeats 20]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from refigure.data.reference import topics
from refigure.data.text.documents import split
from refigure.graph.spec import Spec
from refigure.measures.sparsity import difference, timings
from refigure.models.rnn import sparsity
from refigure.models.rnn.compaction import compacted
from refigure.models.rnn.lstm import folded, lstm_classifier, lstm_language
from refigure.models.rnn.variational import SUFFIX, clipped
from refigure.training.initial import initial_values
from refigure.training.jobs.devices import device_of

NETWORKS = {  # the model, and what survives of it: words, inputs, units, gates
    "IMDb": (("lstm_classifier", 20_003, 1, 300, 128), (307, 1, 7, 8)),
    "AG News": (("lstm_classifier", 20_003, 4, 300, 512), (2295, 46, 14, 39)),
    "Char PTB": (("lstm_language", 50, 50, None, 1000), (50, 50, 404, 1563)),
    "Word PTB": (("lstm_language", 10_000, 10_000, None, 256), (9972, 9972, 117, 201)),
}


def network(kind: str, rows: int, outputs: int, embedding: int | None, hidden: int, left: tuple):
    """A model and the parameters of one network of which that much survives."""
    words, inputs, units, gates = left
    if kind == "lstm_classifier":
        config = "LLLLLL"
        model = lstm_classifier(
            rows, outputs, None, embedding=embedding, hidden=hidden, config=config
        )
    else:
        config = "LLLL"
        model = lstm_language(rows, hidden=hidden, config=config)
    written = {"data": "x", "model": {"name": kind, "hidden": hidden, "config": config}}
    written["model"] |= {} if embedding is None else {"embedding": embedding}
    written |= {"optimiser": {"name": "adam", "lr": 1.0}, "epochs": 1, "seed": 0}
    values = initial_values(model, Spec.of(written, "benchmark"))
    parameters = {name: value[None] for name, value in values.items()}
    source = torch.Generator().manual_seed(0)
    kept = torch.randperm(hidden, generator=source)[:units]
    of_kept = (torch.arange(4)[:, None] * hidden + kept).flatten()
    survivors = {
        "z_words": torch.randperm(rows, generator=source)[:words],
        "z_x": torch.randperm(model.inputs, generator=source)[:inputs],
        "z_h": kept,
        "z_gates": of_kept[torch.randperm(4 * units, generator=source)[:gates]],
    }
    for name in model.shapes:
        if name + SUFFIX in parameters:
            pruned = name in survivors
            parameters[name + SUFFIX] = parameters[name + SUFFIX].fill_(8.0 if pruned else -30.0)
            if pruned:
                parameters[name + SUFFIX][0, survivors[name]] = -3.0
    return model, parameters


def main() -> None:
    """Print the ratio for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    device_of("cpu", Path(tempfile.gettempdir()))
    text = "\n".join(topics().values())
    for name, (shape, left) in NETWORKS.items():
        model, parameters = network(*shape, left)
        symbols = list(text[: 50 * options.steps]) if name.startswith("Char") else split(text)
        place = {word: row for row, word in enumerate(dict.fromkeys(symbols))}
        tokens = np.array([place[word] % (model.rows - 3) + 3 for word in symbols])[: options.steps]
        if model.embedding is None:
            tokens = tokens % model.rows
        plain = folded(clipped(parameters))
        alive = sparsity.masks(model, parameters)
        small = compacted(model, plain, sparsity.structure(model, alive, strict=True))
        full = compacted(model, plain, None)
        spent = np.median(timings([full, small], tokens, options.repeats), axis=1)
        whole, compact = spent / options.steps * 1e6
        member = SimpleNamespace(model=model, parameters=parameters)
        print(
            f"{name:<9} {full.macs:>9,} products a step, compacted {small.macs:>7,};"
            f" {whole:7.1f} us a step, compacted {compact:6.1f} us: {whole / compact:5.1f} times"
            f" as fast; outputs differ by {difference(member, small, [tokens]):.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
