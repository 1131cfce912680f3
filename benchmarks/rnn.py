"""Training steps of sparse recurrent networks a second, on one CPU core: ours against a plain cell.

Whole steps (noise, forward, KL term, gradient, Adam) on the interpreter's reference text, in one
run: our recurrence with several networks side by side; the same with the cell written as a loop
over time steps for autograd, network after network; and, for language models without groups in the
recurrence, with `torch.nn.LSTM` on one-hot inputs.

    python benchmarks/rnn.py [--networks 3] [--steps 20]

Prints steps a second of one network: the median over the steps, turn by turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from refigure.data.prepared import load
from refigure.data.text import documents, language
from refigure.graph.catalogue import settings
from refigure.graph.spec import Spec
from refigure.models.layers import Statistics
from refigure.models.rnn import lstm
from refigure.models.rnn.recurrence import recurrence
from refigure.training.initial import initial_values
from refigure.training.jobs.devices import device_of
from refigure.training.loop import Training
from refigure.training.networks import build_model
from refigure.training.points import Points
from refigure.training.stack import Stack

TOPICS = [["specialnames"], ["compound"], ["string-methods", "formatstrings"], ["debugger"]]
TASKS = {  # the demo's: recipe, model, batch; and which configurations
    "topics": (
        {"name": "documents", "length": 26, "validation": 0.1, "lower": True, "held_out": 0.2}
        | {"classes": TOPICS},
        {"name": "lstm_classifier", "embedding": 16, "hidden": 24},
        128,
        ("DCDCCD", "LCLCCL", "LLLLLL"),
    ),
    "characters": (
        {"name": "characters", "length": 20, "parts": [40800, 7200, 7200]},
        {"name": "lstm_language", "hidden": 96},
        64,
        ("DCCD", "LCCL", "LLRL"),
    ),
    "words": (
        {"name": "words", "length": 20, "plain": True, "words": 600, "parts": [45000, 6400, 6400]},
        {"name": "lstm_language", "hidden": 48},
        32,
        ("DCCD", "LCCL", "LLRL"),
    ),
}


def plain_cell(inputs, recurrent, bias, gates, hidden, present, state, hard):
    """The recurrence as a loop over time steps, for autograd."""
    networks, steps, batch, width = inputs.shape
    zeros = inputs.new_zeros(networks, batch, width // 4)
    h, c = state or (zeros, zeros)
    found = []
    for step in range(steps):
        a = inputs[:, step] + h @ recurrent
        a = (a if gates is None else a * gates) + bias[:, None]
        i, f, g, o = a.chunk(4, -1)
        if hard:
            i, f, o = ((0.2 * x + 0.5).clamp(0, 1) for x in (i, f, o))
        else:
            i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
        new_c = f * c + i * g.tanh()
        new_h = o * new_c.tanh()
        if hidden is not None:
            new_h = new_h * hidden
        if present is not None:
            here = present[:, step, :, None].bool()
            new_h, new_c = torch.where(here, new_h, h), torch.where(here, new_c, c)
        h, c = new_h, new_c
        found.append(h)
    return torch.stack(found, 1), (h, c)


def data_of(recipe: dict, folder: Path):
    """The data of a recipe on the reference text."""
    name = recipe["name"]
    module = documents if name == "documents" else language
    whole = settings("recipe", {"source": "reference", **recipe}, "benchmark")
    raw = module.read({"source": {"kind": "reference"}}, folder)
    module.save(module.prepare(raw, whole), folder / name, whole)
    return load(folder / name, "cpu")


def training_of(data, model: dict, config: str, objective: str, batch: int, seeds) -> Training:
    """Networks before their first step."""
    written = {
        "data": "benchmark",
        "model": {**model, "config": config},
        "task": {"name": "variational", "objective": objective},
        "optimiser": {"name": "adam", "lr": 0.01, "clip": 1},
        "batch": batch,
        "epochs": 100,
    }
    specs = [Spec.of({**written, "seed": seed}, "benchmark") for seed in seeds]
    from refigure.tasks.variational import build

    made = build_model(specs[0], data)
    values = [initial_values(made, spec) for spec in specs]
    stack = Stack(made, values, frozenset(), torch.device("cpu"))
    streams = [str(seed) for seed in seeds]
    task = build(made, data, specs, streams)
    return Training(task, specs, stack, Statistics.fresh({}, len(specs), "cpu"), Points([]), [])


def main() -> None:
    """Take steps turn by turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        device_of("cpu", folder)
        print("steps of one network a second (times as fast as the plain cell)")
        for task, (recipe, model, batch, configs) in TASKS.items():
            objective = "documents" if task == "topics" else task
            data = data_of(recipe, folder)
            for config in configs:
                seeds = range(options.networks)
                ways = {
                    "ours": (training_of(data, model, config, objective, batch, seeds), recurrence),
                    "plain": (
                        training_of(data, model, config, objective, batch, [0]),
                        plain_cell,
                    ),
                }
                if task != "topics" and config != "LLRL":
                    torchs = training_of(data, model, config, objective, batch, [0])
                    ways["torch.nn.LSTM"] = (torchs, None)
                spent = {way: [] for way in ways}
                for step in range(options.steps + 2):
                    for way, (training, cell) in ways.items():
                        lstm.recurrence = cell
                        lstm.LSTM.by_torch = lambda self, device, cell=cell: cell is None
                        began = time.perf_counter()
                        training._train_step()
                        training.step += 1
                        if step > 1:
                            spent[way].append(time.perf_counter() - began)
                rates = {way: 1 / statistics.median(times) for way, times in spent.items()}
                rates["ours"] *= options.networks
                shown = ", ".join(
                    f"{way} {rate:.0f} ({rate / rates['plain']:.1f})" for way, rate in rates.items()
                )
                print(f"{task:<10} {config:<6} {shown}", flush=True)


if __name__ == "__main__":
    main()
