"""Timing a few steps of one architecture, on images of the right shape made for it.

The only part of the explanations that imports torch. Nothing is trained that is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from refigure.data.images.images import Images
from refigure.data.prepared import load
from refigure.errors import UserError
from refigure.explain.sizes import Shape, shape_of
from refigure.explain.timing import Timed, measures
from refigure.graph.catalogue import CATALOGUE, import_entry
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack
from refigure.graph.spec import Spec
from refigure.models.layers import Statistics
from refigure.streams import stream_of_spec
from refigure.training.initial import initial_values
from refigure.training.jobs.devices import device_of
from refigure.training.loop import Training
from refigure.training.networks import build_model
from refigure.training.points import Points
from refigure.training.stack import Stack

QUICK_S = 0.1  # a step longer than this is timed once, and its passes on an eighth of a batch
REPEATS = 5
EMBEDDED = ("digits", "reference")  # kinds of sources that are there without a download
LARGE = 4096  # objects of data that are no images: passes over more count as steps


class _Enough(Exception):
    """The clock has seen what it needs."""


def calibrate(graph: Graph, pack: Pack, run: Run) -> Timed | None:
    """Times of a run's architecture on this machine; None where its data are not to be had.

    A run that starts from another is timed from an initialisation: it steps as fast.
    """
    print(f"timing a step: {run.spec.model['name']} ({run.experiment})", file=sys.stderr)
    device = device_of(graph.config.user["device"], graph.config.root / "scratch")
    shape = shape_of(graph, run.spec.data)
    try:
        if shape is not None:
            return _of_images(run, pack, shape, device)
        data = _real(graph, run.spec.data, device)
        return data and _of_data(run, pack, data, device)
    except UserError:
        return None  # of no use to say here: the job itself will say it


def _of_images(run: Run, pack: Pack, shape: Shape, device: torch.device) -> Timed:
    batch = min(run.spec.batch, shape.train)
    specs = _specs(run, pack, _made(shape, batch, 1, device), device)
    step, training = _time(specs, _made(shape, batch, 1, device), [], device)
    part = batch if step < QUICK_S else max(8, batch // 8)
    test = max(1, round(part * shape.test / shape.train))
    data = _made(shape, part, test, device)
    alone = step if part == batch else _time(specs, data, [], device)[0]
    batches = shape.train / run.spec.batch
    batches = max(int(batches) if run.spec.drop_last else -int(-batches // 1), 1)
    passes = {}
    for names, records in _together(run, pack, batches).items():
        both, _ = _time(specs, data, records, device)
        passes[names] = max(both - alone, 0.0) * shape.train / part / len(specs)
    return _timed(training, step / len(specs), batches, passes)


def _of_data(run: Run, pack: Pack, data: Any, device: torch.device) -> Timed:
    """Of data that are no images: a few steps on the real ones, passes over all of them."""
    specs = _specs(run, pack, data, device)
    step, training = _time(specs, data, [], device)
    batches = training.task.batches
    passes = {}
    for names, records in _together(run, pack, batches).items():
        if batches * run.spec.batch <= LARGE:
            passes[names] = (_time(specs, data, records, device)[0] - step) / len(specs)
        else:
            passes[names] = batches * step / len(specs)
    step /= batches if run.spec.full_batch else 1
    return _timed(training, step / len(specs), batches, passes)


def _specs(run: Run, pack: Pack, data: Any, device: torch.device) -> list[Spec]:
    """The specs that train side by side with a run's, from an initialisation and for a moment."""
    kind = build_model(run.spec, data).stacking
    names = ("data", "model", "task", "augment", "batch", "epochs", "full_batch")
    alike = [
        other.spec
        for other in pack.runs
        if all(getattr(other.spec, name) == getattr(run.spec, name) for name in names)
    ]
    together = kind == "native" or (kind == "grouped" and device.type == "cuda")
    found = alike if together else [run.spec]
    # Made-up images may be fewer than a batch, which is then not full.
    changed = {"start": None, "stop": None, "epochs": 1 + REPEATS, "drop_last": False}
    return [replace(spec, **changed) for spec in found]


def _together(run: Run, pack: Pack, batches: int) -> dict[str, list[dict[str, Any]]]:
    """The recorders that measure together, by their names, here after every step."""
    records = {record["name"]: record for record in map(json.loads, sorted(pack.wanted.records))}
    return {
        names: [{**records[name], "every": {"steps": 1}} for name in names.split("+")]
        for names in measures(run, pack.wanted, batches)
    }


def _time(
    specs: list[Spec], data: Any, records: list[dict[str, Any]], device: torch.device
) -> tuple[float, Training]:
    """Seconds of a step and the measures after it, of the processor's time on a CPU."""
    model = build_model(specs[0], data)
    frozen = frozenset() if specs[0].head is None else frozenset({"head"})
    stack = Stack(model, [initial_values(model, spec) for spec in specs], frozen, device)
    statistics_ = Statistics.fresh(model.normalised, len(specs), device)
    task = import_entry("task", specs[0].task["name"])
    task = task.build(model, data, specs, [stream_of_spec(spec) for spec in specs])
    training = Training(task, specs, stack, statistics_, Points([]), records)
    times: list[float] = []

    def tick(_: Training) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.process_time() if device.type == "cpu" else time.perf_counter())
        if len(times) > REPEATS or (len(times) > 1 and times[-1] - times[0] > 3 * QUICK_S):
            raise _Enough

    with contextlib.suppress(_Enough):
        training.run(tick)
    return statistics.median(late - early for early, late in itertools.pairwise(times)), training


def _timed(training: Training, step: float, batches: int, passes: Mapping[str, float]) -> Timed:
    weights = sum(value[0].numel() for value in training.stack.parameters.values())
    running = training.statistics.running.values()
    moments = sum(mean[0].numel() + variance[0].numel() for mean, variance in running)
    state = sum(value[0].numel() for value in training.optimiser.state.values())
    return Timed(step, batches, dict(passes), weights + moments, state)


def _made(shape: Shape, train: int, test: int, device: torch.device) -> Images:
    """Random images: what they show does not matter to a clock."""
    source = torch.Generator().manual_seed(0)

    def pixels(count: int) -> torch.Tensor:
        return torch.randn(count, shape.channels, shape.size, shape.size, generator=source).to(
            device
        )

    def labels(count: int) -> torch.Tensor:
        return torch.randint(shape.classes, (count,), generator=source).to(device)

    return Images(
        train_images=pixels(train),
        train_labels=labels(train),
        test_images=pixels(test),
        test_labels=labels(test),
        train_corrupted=torch.zeros(train, dtype=torch.bool, device=device),
        classes=shape.classes,
        black=torch.zeros(shape.channels, device=device),
        std=torch.ones(shape.channels, device=device),
    )


def _real(graph: Graph, name: str, device: torch.device) -> Any:
    """Data that are no images: the prepared ones, or such as the interpreter itself holds."""
    path = graph.paths.data(name)
    if path.is_file():
        return load(path, device)
    recipe = graph.recipes[name]
    given = graph.config.sources_of(recipe)
    if any(source["kind"] not in EMBEDDED for source in given.values()):
        return None
    module = import_entry("recipe", recipe["name"])
    keys = CATALOGUE["recipe"][recipe["name"]].keys
    made = module.prepare(
        module.read(given, graph.paths.sources), {key: recipe[key] for key in keys}
    )
    with tempfile.TemporaryDirectory() as folder:
        module.save(made, Path(folder) / path.name, recipe)
        return load(Path(folder) / path.name, device)
