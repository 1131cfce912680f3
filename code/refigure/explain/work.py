"""How much work training is, and how long a device takes for it.

Operations are counted once an architecture (`explain/counting.py`, with torch) and kept in
`scratch/`. Time is operations over a sustained rate, and launches of kernels, which the networks of
a stack share: `config/devices.yaml` states both. Of past jobs on the same device their own times
are taken.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from refigure.errors import UserError
from refigure.explain.counted import Counted
from refigure.explain.sizes import Shape, shape_of, text_of
from refigure.explain.timing import Timed, measures
from refigure.files import read_json, write_json
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.experiments import Run
from refigure.graph.fingerprint import fingerprint
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack
from refigure.graph.reading import Keys, read_yaml, suggest
from refigure.graph.spec import canonical, digest

FILE = Path("config/devices.yaml")
KEPT = Path("scratch/work.json")
MEASURED = Path("docs/benchmarks/gpu.json")
"""What `benchmarks/gpu.py --out` wrote on a GPU."""
BACKWARD = 2
"""Operations of a backward pass, in forward passes."""
KINDS = ("single", "native", "grouped", "bfloat16")
PROBES = 3.0
"""Forward passes over the training set of a network that a probe measures, where nothing else is
known: one that re-estimates moments, one that measures, one over the test set and all else."""
POINTS = ("points", "steps", "sides")
"""Options of probes that say how many networks one member is: along a path, on a plane."""


@dataclass(frozen=True)
class Device:
    """A class of devices.

    Args:
        key, name: in `config/devices.yaml`, and as torch calls it.
        rates: kind of stacking, or bfloat16 -> sustained operations a second.
        launch_s: of a kernel.
        memory: bytes.
    """

    key: str
    name: str
    rates: Mapping[str, float]
    launch_s: float
    memory: float


def device_class(root: Path, key: str | None = None) -> Device:
    """A device of `config/devices.yaml`, the default one without a name; with the rates that were
    measured on such a device, where there are any.

    Raises:
        UserError: there is none of that name, or a key of the file is wrong.
    """
    written = read_yaml(root / FILE)
    default = written.pop("default", None)
    key = key or default
    if key not in written:
        raise UserError(f"unknown device '{key}'{suggest(str(key), written)}")
    keys = Keys(written[key], f"{FILE}: {key}")
    rates = keys.take("tflops", dict)
    found = Device(
        key,
        keys.take("name", str),
        {kind: 1e12 * float(rates[kind]) for kind in KINDS},
        1e-6 * keys.take("launch_us", float),
        1e9 * keys.take("memory_gb", float),
    )
    keys.done()
    return replace(found, rates={**found.rates, **_measured(root, found.name)})


def _measured(root: Path, name: str) -> dict[str, float]:
    """Kind of stacking -> operations a second that were measured on a device of that name."""
    if not (root / MEASURED).is_file():
        return {}
    found = read_json(root / MEASURED)
    if found["dry_run"] or not found["device"].startswith(name):
        return {}
    return {kind: float(rate) for kind, rate in found["rates"].items() if kind in KINDS}


def timed(graph: Graph, run: Run, pack: Pack, device: Device) -> Timed | None:
    """Predicted times of a run's architecture on a device; None where its data are unknown."""
    spec = run.spec
    sizes = sizes_of(graph, spec.data)
    if sizes is None:
        return None
    counted = counted_of(graph, run)
    batch = sizes.objects if spec.full_batch else min(spec.batch, sizes.objects)
    batches = sizes.objects / spec.batch
    batches = max(int(batches) if spec.drop_last else -int(-batches // 1), 1)
    if spec.full_batch:
        batches = 1
    views = 2 if spec.task["name"] == "contrastive" else 1
    together = 1 if counted.stacking == "single" else len(pack.runs)
    if counted.stacking == "grouped":
        together = min(together, pack.stack or together)
    kind = counted.stacking if together > 1 or counted.stacking == "native" else "single"
    rate = device.rates["bfloat16" if spec.precision == "bfloat16" else kind]
    launches = device.launch_s * counted.kernels / together

    def passed(objects: float, passes: float, calls: float) -> float:
        return objects * passes * counted.forward / rate + calls * launches

    step = passed(batch * views, 1 + BACKWARD, (1 + BACKWARD) * 1.5)
    every = {}
    for names in measures(run, pack.wanted, batches):
        every[names] = sum(
            passed(sizes.objects * share, 1, share * batches)
            for share in _passes(names.split("+"), pack, sizes)
        )
    adam = spec.optimiser["name"].startswith("adam")
    held = 2 if adam else int(spec.optimiser.get("momentum", 0) != 0)
    return Timed(step, batches, every, counted.parameters, held * counted.parameters)


def probe_seconds(
    graph: Graph, members: Sequence[Run], options: Mapping[str, Any], device: Device
) -> float | None:
    """Predicted seconds of a probe's part; None where data are unknown."""
    total = 0.0
    for run in members:
        sizes = sizes_of(graph, run.spec.data)
        if sizes is None:
            return None
        counted = counted_of(graph, run)
        found = [options[key] for key in POINTS if isinstance(options.get(key), int)]
        networks = found[0] if found else 1
        total += networks * PROBES * sizes.objects * counted.forward / device.rates["single"]
        total += networks * PROBES * sizes.objects / 500 * counted.kernels * device.launch_s
    return total


def counted_of(graph: Graph, run: Run) -> Counted:
    """The count of a run's architecture, at the size to which its augmentation takes images."""
    about = dict(vars(sizes_of(graph, run.spec.data)))
    if "size" in (run.spec.augment or {}):
        about["size"] = run.spec.augment["size"]
    sizes = canonical(about)
    return _counted(graph.config.root, canonical(run.spec.model), sizes)


def _passes(names: list[str], pack: Pack, sizes: SimpleNamespace) -> list[float]:
    """Forward passes over the training set that some recorders make when they measure together."""
    records = {one["name"]: one for one in map(json.loads, pack.wanted.records)}
    found = []
    for name in names:
        record = records.get(name, {})
        if name == "train":
            found.append(1 + BACKWARD * bool(record.get("gradient", True)))
        elif name == "test":
            found.append(sizes.test / sizes.objects)
            if record.get("recomputed") and "train" not in names:
                found.append(1.0)
        elif name == "correct":
            found.append(record.get("objects", 1024) * record.get("views", 10) / sizes.objects)
        elif name == "counts":
            found.append(sizes.test / sizes.objects)
    return found


@cache
def sizes_of(graph: Graph, data: str) -> SimpleNamespace | None:
    """What an architecture is built for and how many objects an epoch has; None where unknown."""
    recipe = graph.recipes.get(data)
    if recipe is None:
        return None
    shape = shape_of(graph, data)
    if isinstance(shape, Shape):
        return SimpleNamespace(
            kind="images",
            channels=shape.channels,
            size=shape.size,
            classes=shape.classes,
            objects=shape.train,
            test=shape.test,
        )
    if recipe["name"] == "ticks":
        inputs = 2 * recipe["features"]
        return SimpleNamespace(
            kind="ticks", inputs=inputs, classes=2, objects=recipe["train"], test=recipe["test"]
        )
    text = text_of(graph, data)
    return None if text is None else SimpleNamespace(kind="text", pretrained=None, **text)


@cache
def _counted(root: Path, model: str, sizes: str) -> Counted:
    """The count of an architecture for some sizes, both as canonical text; kept in `scratch/`."""
    settings = json.loads(model)
    module = CATALOGUE["model"][settings["name"]].module
    key = digest([settings, json.loads(sizes), fingerprint((module,))])
    store = _store(root)
    if key not in store:
        from refigure.explain.counting import count  # with torch

        store[key] = vars(count(settings, SimpleNamespace(**json.loads(sizes))))
        with contextlib.suppress(OSError, UserError):  # it is counted anew next time
            (root / KEPT).parent.mkdir(parents=True, exist_ok=True)
            write_json(store, root / KEPT)
    return Counted(**store[key])


@cache
def _store(root: Path) -> dict[str, dict[str, Any]]:
    """What was counted before, by what was counted."""
    with contextlib.suppress(UserError):  # not there yet, or damaged
        return read_json(root / KEPT)
    return {}
