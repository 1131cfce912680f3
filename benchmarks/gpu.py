"""Networks of every architecture one by one and side by side on a GPU, and an epoch of each paper.

For each architecture, stacks of 1 to 64 networks take whole steps (batch, forward, gradient,
update) on random images; printed are steps of one network a second, how many times as fast that is
as one network alone, the operations a second that it stands for, and the most memory taken. Then
one epoch of each paper's main family, measured at its end, against what `refigure plan` foretells.

    python benchmarks/gpu.py [--device cuda] [--networks 1,2,4,8,16,32,64] [--steps 20]
        [--out docs/benchmarks/gpu.json]

`--device cpu --tiny` is a dry run, whose numbers say nothing of a GPU. With `--out`, results are
written as JSON with the device's name and the versions; `refigure plan` reads that file and takes
the rates from it in place of those that `config/devices.yaml` assumes.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import statistics
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from refigure.data.images.images import Images
from refigure.explain.counting import count
from refigure.explain.work import BACKWARD
from refigure.graph.catalogue import import_entry
from refigure.graph.spec import Spec
from refigure.models.layers import Statistics
from refigure.streams import stream_of_spec
from refigure.training.initial import initial_values
from refigure.training.jobs.devices import device_of
from refigure.training.jobs.memory import is_refusal, release
from refigure.training.loop import Training
from refigure.training.networks import build_model
from refigure.training.points import Points
from refigure.training.stack import Stack

ARCHITECTURES: dict[str, tuple[dict[str, Any], int]] = {
    "ConvNet k=32": ({"name": "convnet", "k": 32}, 128),
    "ConvNet k=128": ({"name": "convnet", "k": 128}, 128),
    "ResNet-18 k=32": ({"name": "resnet18", "k": 32}, 128),
    "ResNet-18 k=64": ({"name": "resnet18", "k": 64, "norm": "batch_affine"}, 128),
    "VGG16 k=6": ({"name": "vgg16", "k": 6}, 128),
    "VGG16 k=16": ({"name": "vgg16", "k": 16}, 128),
    "VGG16 k=64": ({"name": "vgg16", "k": 64}, 128),
    "WideResNet-28 k=40": ({"name": "wide_resnet28", "k": 40}, 128),
    "WideResNet-28 k=160": ({"name": "wide_resnet28", "k": 160}, 128),
    "ViT": ({"name": "vit"}, 512),
}
"""Name -> model and batch, of images of 32x32 pixels; what is stacked, and what is not."""
FAMILIES = {
    "three-regimes": "ConvNet k=32",
    "where-large-lrs": "ResNet-18 k=32",
    "periodic-behavior": "ResNet-18 k=64",
    "power-laws": "VGG16 k=64",
    "memory-split": "WideResNet-28 k=160",
}
"""Paper -> the architecture of its main family, of which one epoch is timed with its measures."""
RECORDS = [
    {"name": "train", "gradient": True, "squared": False, "every": {"epochs": 1}},
    {"name": "test", "recomputed": True, "every": {"epochs": 1}},
]
CLASSES = 100


class _Enough(Exception):
    """The steps are taken."""


def images_of(count: int, test: int, size: int, device: torch.device) -> Images:
    """Random images and labels."""
    source = torch.Generator().manual_seed(0)

    def drawn(many: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randn(many, 3, size, size, generator=source)
        return pixels.to(device), torch.randint(CLASSES, (many,), generator=source).to(device)

    (train, labels), (held, held_labels) = drawn(count), drawn(test)
    return Images(
        train_images=train,
        train_labels=labels,
        test_images=held,
        test_labels=held_labels,
        train_corrupted=torch.zeros(count, dtype=torch.bool, device=device),
        classes=CLASSES,
        black=torch.zeros(3, device=device),
        std=torch.ones(3, device=device),
    )


def training_of(model: dict, batch: int, networks: int, data: Images, records: list) -> Training:
    """Some networks before their first step."""
    written = {"data": "made-up", "model": model, "optimiser": {"name": "sgd", "lr": 1e-3}}
    written |= {"batch": batch, "epochs": 1000 if not records else 1}
    specs = [Spec.of({**written, "seed": seed}, "benchmark") for seed in range(networks)]
    built = build_model(specs[0], data)
    device = data.train_images.device
    values = [initial_values(built, one) for one in specs]
    stack = Stack(built, values, frozenset(), device)
    task = import_entry("task", specs[0].task["name"])
    task = task.build(built, data, specs, [stream_of_spec(one) for one in specs])
    moments = Statistics.fresh(built.normalised, networks, device)
    return Training(task, specs, stack, moments, Points([]), records)


def step_seconds(training: Training, steps: int, device: torch.device) -> float:
    """The median of some steps; the first two are left out."""
    times: list[float] = []

    def tick(_: Training) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter())
        if len(times) > steps + 2:
            raise _Enough

    with contextlib.suppress(_Enough):
        training.run(tick)
    gaps = [late - early for early, late in itertools.pairwise(times)]
    return statistics.median(gaps[2:] or gaps)


def stacks(name: str, options: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    """One architecture, with more and more networks side by side."""
    model, batch = ARCHITECTURES[name]
    batch = min(batch, options.batch or batch)
    data = images_of(8 * batch, 8, options.size, device)
    about = SimpleNamespace(kind="images", channels=3, size=options.size, classes=CLASSES)
    counted = count(model, about)
    rows: list[dict[str, Any]] = []
    for networks in options.networks:
        if networks > 1 and counted.stacking == "single":
            break
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        try:
            training = training_of(model, batch, networks, data, [])
            seconds = step_seconds(training, options.steps, device) / networks
        except RuntimeError as error:
            if not is_refusal(error):
                raise
            print(f"{name}: {networks} side by side do not fit the memory")
            break
        finally:
            training = None
            release(device)
        taken = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        operations = batch * (1 + BACKWARD) * counted.forward
        rows.append(
            {
                "architecture": name,
                "stacking": counted.stacking,
                "networks": networks,
                "step_s": seconds,
                "operations_per_s": operations / seconds,
                "memory_bytes": taken,
            }
        )
        gain = rows[0]["step_s"] / seconds
        memory = f", {taken / 1e9:.2f} GB" if taken is not None else ""
        print(
            f"{name}: {networks} side by side: {1 / seconds:.1f} steps of one a second,"
            f" {gain:.2f} times as fast as alone, {operations / seconds / 1e12:.3f} TFLOP/s{memory}"
        )
    return rows


def epoch(name: str, options: argparse.Namespace, device: torch.device) -> float:
    """Seconds of one epoch of one network with the measures at its end."""
    model, batch = ARCHITECTURES[name]
    batch = min(batch, options.batch or batch)
    data = images_of(options.images, max(options.images // 5, 1), options.size, device)
    training = training_of(model, batch, 1, data, RECORDS)
    began = time.perf_counter()
    training.run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def rates(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Kind of stacking -> sustained operations a second: the median over architectures of the
    best stack of each, `single` of one network alone."""
    found: dict[str, list[float]] = {}
    for name in {row["architecture"] for row in rows}:
        own = [row for row in rows if row["architecture"] == name]
        found.setdefault("single", []).append(own[0]["operations_per_s"])
        side = [row["operations_per_s"] for row in own if row["networks"] > 1]
        if side:
            found.setdefault(own[0]["stacking"], []).append(max(side))
    return {kind: statistics.median(values) for kind, values in found.items()}


def main() -> None:
    """Measure, print, and keep what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--networks", default="1,2,4,8,16,32,64")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=50_000, help="of an epoch")
    parser.add_argument("--only", default="", help="architectures, by the beginning of their names")
    parser.add_argument("--tiny", action="store_true", help="a dry run: few, small, one step")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.networks = [int(one) for one in options.networks.split(",")]
    options.size, options.batch = 32, None
    if options.tiny:
        options.networks, options.steps, options.images, options.batch = [1, 2], 1, 16, 4
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU; --device cpu --tiny is a dry run")
    device = device_of(options.device, Path("scratch"))
    names = [name for name in ARCHITECTURES if name.startswith(tuple(options.only.split(",")))]
    rows = [row for name in names for row in stacks(name, options, device)]
    epochs = {}
    for paper, name in FAMILIES.items():
        if name in names:
            epochs[paper] = epoch(name, options, device)
            print(f"{paper}: an epoch of {name} with measures: {epochs[paper]:.2f} s")
    on_gpu = device.type == "cuda"
    kept = {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.machine(),
        "dry_run": options.tiny or not on_gpu,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "rates": rates(rows),
        "stacks": rows,
        "epochs": epochs,
    }
    print(f"{len(rows)} stacks on {kept['device']}{' (dry run)' if kept['dry_run'] else ''}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
