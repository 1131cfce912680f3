"""A tiny project whose jobs take a fraction of a second, and networks built by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from refigure import stages
from refigure.data.images.images import Images
from refigure.data.sources import digest_of
from refigure.graph.catalogue import import_entry
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack
from refigure.graph.spec import Spec, canonical
from refigure.models.layers import Statistics
from refigure.streams import stream_of_spec
from refigure.training.initial import initial_values
from refigure.training.jobs.job import Job
from refigure.training.jobs.parts import FILES, named_point, read_tensors
from refigure.training.loop import Training
from refigure.training.networks import build_model
from refigure.training.points import Points
from refigure.training.stack import Stack
from safetensors import safe_open
from torch import Tensor

CLASSES, SIZE = 3, 8
RECORDS = (
    {"name": "train", "gradient": True, "squared": True, "every": {"epochs": 1}},
    {"name": "test", "recomputed": True, "every": {"epochs": 1}},
    {"name": "geometry", "every": {"epochs": 1}},
    {"name": "turn", "every": {"epochs": 1}},
    {"name": "filters", "every": {"epochs": 1}},
)


def pixels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Grey images in 0..255 (count, 8, 8) whose bright stripe says the class, and labels."""
    source = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = source.normal(100, 40, (count, SIZE, SIZE))
    for image, label in zip(images, labels):
        image[2 * label : 2 * label + 2] += 60
    return images.clip(0, 255).astype(np.uint8), labels


def images(train: int = 60, test: int = 30) -> Images:
    """The images of `pixels`, standardised by hand."""
    arrays = {}
    for part, count, seed in (("train", train, 0), ("test", test, 1)):
        found, labels = pixels(count, seed)
        order = np.random.default_rng(2).permutation(count)
        arrays[f"{part}_images"] = torch.tensor(found[order, None] / 100 - 1.2).float()
        arrays[f"{part}_labels"] = torch.tensor(labels[order])
    corrupted = torch.zeros(train, dtype=torch.bool)
    black, std = torch.tensor([-1.2]), torch.tensor([100 / 255])
    return Images(**arrays, train_corrupted=corrupted, classes=CLASSES, black=black, std=std)


def spec(**written: Any) -> Spec:
    """A scale-invariant ConvNet on the sphere; keys of a spec over that."""
    base: dict[str, Any] = {
        "data": "tiny",
        "model": {"name": "convnet", "k": 2},
        "optimiser": {"name": "sphere_sgd", "elr": 1.0e-2},
        "head": {"seed": 228, "norm": 10.0},
        "batch": 20,
        "epochs": 2,
        "seed": 0,
    }
    return Spec.of({**base, **written}, "test")


def sphere(elr: float, **keys: Any) -> dict[str, Any]:
    """An optimiser's entry."""
    return {"name": "sphere_sgd", "elr": elr, **keys}


def sgd(lr: float, **keys: Any) -> dict[str, Any]:
    """An optimiser's entry."""
    return {"name": "sgd", "lr": lr, **keys}


def training(
    specs: Sequence[Spec] | Spec,
    points: Sequence[Mapping[str, Any]] = (),
    records: Sequence[Mapping[str, Any]] = RECORDS,
    values: Sequence[dict[str, Tensor]] | None = None,
    data: Images | None = None,
    device: str = "cpu",
) -> Training:
    """Networks side by side, whatever the device, before their first step."""
    specs = [specs] if isinstance(specs, Spec) else list(specs)
    data = data or images()
    model = build_model(specs[0], data)
    values = values or [initial_values(model, spec) for spec in specs]
    frozen = frozenset() if specs[0].head is None else frozenset({"head"})
    stack = Stack(model, values, frozen, torch.device(device))
    return Training(
        import_entry("task", specs[0].task["name"]).build(
            model, data, specs, [stream_of_spec(spec) for spec in specs]
        ),
        specs,
        stack,
        Statistics.fresh(model.normalised, len(specs), device),
        Points([canonical(point) for point in points]),
        list(records),
    )


def scalars(history: Any, column: str, place: int = 0) -> list[float]:
    """One column of one network, over the steps that have it."""
    rows = history.scalars
    return [float(rows[step][column][place]) for step in rows if column in rows[step]]


# ---------------------------------------------------------------------- a project on disk

SCALE = """
data:
  tiny: {source: drawn, standardise: global}
  tale:
    name: words
    source: reference
    plain: true
    words: 30
    streams: 4
    length: 5
    parts: [120, 40, 40]
  letters: {name: characters, source: reference, length: 6, parts: [150, 40, 40]}
block: 8
"""
EXPERIMENTS = """
experiments:
  plain:
    base: &base
      data: tiny
      model: {name: convnet, k: 2}
      optimiser: {name: sphere_sgd}
      head: {seed: 228, norm: 10}
      batch: 20
      epochs: 6
    grid: {elr: [1.0e-3, 1.0e-2], seed: [0, 1]}
    points: &points
      start: {epoch: 0}
      mid: {epoch: 3}
      end: {epoch: last}
      swa: {average: {count: 3, from: 4}}
      best: {best: test_loss}
    record: &record
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}, recomputed: true}
      geometry: {every: {steps: 2}}
      filters: {every: {log: 4, trailing: 1}}
    predictions: {sets: [test, train], points: [final, mid, swa]}
  tuned:
    start: {from: plain, at: mid, take: weights, carry: {elr: plr}, where: {seed: 0}}
    base: {epochs: 4}
    grid: {elr: [3.0e-3]}
    points: {end: {epoch: last}}
    record: *record
  transferred:
    start: {from: plain, at: mid, take: backbone, carry: {elr: plr}, where: {seed: 0}}
    base: {epochs: 2, head: null}
    grid: {elr: [3.0e-3], seed: [0, 1]}
    points: {start: {epoch: 0}}
    record: *record
  longer:
    start: {from: plain, at: end, take: state, where: {seed: 0}}
    base: {epochs: 10}
    points: {end: {epoch: last}, swa: {average: {count: 2, to: last}}}
    record: *record
  momentum:
    base: {<<: *base, optimiser: {name: sgd, wd: 1.0e-2, momentum: 0.9}}
    grid: {lr: [3.0e-2], seed: [0, 1]}
    points: *points
    record: *record
  longer_momentum:
    start: {from: momentum, at: end, take: state}
    base: {epochs: 10}
    points: {end: {epoch: last}}
    record: *record
  event:
    base: {<<: *base, epochs: 10, optimiser: {name: sgd, wd: 1.0e-1}}
    grid: {lr: [5.0, 8.0], seed: [0]}
    points:
      calm1: {event: calm_end, jump: 1.2, floor: 5.0}
      calm2: {event: calm_end, jump: 1.2, floor: 5.0, index: 2}
      before: {event: jump, jump: 1.2, floor: 5.0, offset: -1}
      after: {event: jump, jump: 1.2, floor: 5.0, offset: 2}
      end: {epoch: last}
    record: *record
  zoom:
    start: {from: event, at: before, take: state}
    base: {epochs: 3}
    points: {first: {epoch: 1}, end: {epoch: last}}
    record:
      train: {every: {steps: 1}, squared: true}
      step_norms: {every: {steps: 1}}
  zoom_longer:
    start: {from: zoom, at: end, take: state}
    base: {epochs: 5}
    points: {end: {epoch: last}}
    record: *record
  switched:
    start: {from: event, at: after, take: state}
    base: {epochs: 3, optimiser: {wd: 0.0, norm: 4.0}, head: null}
    record: {train: {every: {epochs: 1}}, step_norms: {every: {epochs: 1}}}
  freed:
    start: {from: momentum, at: end, take: state}
    base: {epochs: 8, head: null}
    points: {end: {epoch: last}}
    record: *record
  freed_longer:
    start: {from: freed, at: end, take: state}
    base: {epochs: 9}
    points: {end: {epoch: last}}
    record: *record
  ragged:
    base: {<<: *base, epochs: 12, stop: {train_loss_below: 0.4}}
    grid: {elr: [1.0e-4, 3.0e-3, 1.0e-2], seed: [0]}
    points: *points
    record: *record
  diverging:
    base:
      <<: *base
      model: {name: convnet, k: 2, norm: none}
      head: null
      optimiser: {name: sgd}
    grid: {lr: [3.0e-2, 1.0e+20, 1.0e-2], seed: [0]}
    points: *points
    record:
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}}
    predictions: [test]
  orphan:
    start: {from: diverging, at: mid, take: weights, carry: {lr: plr}}
    base: {epochs: 2}
    grid: {lr: [1.0e-3]}
    points: {end: {epoch: last}}
    record:
      train: {every: {epochs: 1}}
  words:
    base: &words
      data: tale
      model: {name: lstm_language, hidden: 4, config: LLRL}
      task: {name: variational, objective: words}
      optimiser: {name: adam, lr: 1.0e-2, clip: 1}
      batch: 4
      epochs: 6
    grid: {seed: [0, 1]}
    points: &language
      mid: {epoch: 3}
      end: {epoch: last}
      best: {best: metric_val}
    record: &counted {counts: {every: {epochs: 2}}}
  letters:
    base: {<<: *words, data: letters, batch: 8, task: {name: variational, objective: characters}}
    grid: {seed: [0, 1]}
    points: *language
    record: *counted
  longer_words:
    start: {from: words, at: mid, take: state}
    base: {epochs: 8}
    points: *language
    record: *counted
tables:
  lines: {runs: plain}
"""


def project(root: Path, experiments: str = EXPERIMENTS) -> Path:
    """Write a configuration, and a folder of a few images that it reads."""
    folder = root / "drawn"
    if not folder.exists():
        for part, count, seed in (("train", 60, 0), ("test", 30, 1)):
            for number, (image, label) in enumerate(zip(*pixels(count, seed))):
                path = folder / part / f"class{label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    for name in ("scales", "experiments", "papers"):
        (root / "config" / name).mkdir(parents=True, exist_ok=True)
    source = {"images": "drawn", "sha256": digest_of(folder)}
    config = {
        "scale": "tiny",
        "device": "cpu",
        "papers": [],
        "sources": {"drawn": source, "reference": {"kind": "reference"}},
    }
    (root / "config/config.yaml").write_text(json.dumps(config))
    (root / "config/scales/tiny.yaml").write_text(SCALE)
    (root / "config/experiments/all.yaml").write_text(experiments)
    return root


def graph_of(root: Path) -> Graph:
    """The graph of what is written now."""
    return Graph(Config(root), "tiny")


def prepared(graph: Graph) -> Graph:
    """The same, with its data prepared."""
    for data in graph.recipes:
        if not graph.paths.data(data).is_file():
            stages.prepare(graph, data)
    return graph


def packs(graph: Graph, experiment: str) -> list[Pack]:
    """The packs of an experiment."""
    return [graph.packs[name] for name in graph.packs_of(graph.runs(experiment))]


def job(graph: Graph, pack: Pack, folder: Path | None = None, **keys: Any) -> Job:
    """The training of a pack as its stage makes it, into another folder if wanted."""
    settings = {
        "pack": pack,
        "code": {"refigure.training.jobs.job": "code"},
        "data": graph.paths.data(pack.data),
        "folder": folder or graph.paths.pack(pack.name),
        "scratch": (folder / "scratch") if folder else graph.paths.state(pack.name),
        "parents": {run.id: graph.paths.pack(graph.pack_of[run.id]) for run in pack.parents},
        "adoptable": [],
        "device": torch.device("cpu"),
        "interval_s": 1e9,
    }
    return Job(**(settings | keys))


def trained(graph: Graph, experiment: str) -> list[Path]:
    """Train an experiment, and what it starts from, where it is not there; its folders."""
    folders = []
    for pack in packs(graph, experiment):
        for run in pack.parents:
            trained(graph, run.experiment)
        folder = graph.paths.pack(pack.name)
        if not (folder / FILES[-1]).is_file():
            job(graph, pack).run()
        folders.append(folder)
    return folders


def tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def history(folder: Path, run: str | None = None) -> pd.DataFrame:
    """The history of a pack, or of one of its runs."""
    frame = pd.read_parquet(folder / FILES[0])
    return frame if run is None else frame[frame["run"] == run].reset_index(drop=True)


def about(folder: Path) -> dict[str, Any]:
    """What `run.json` says of each run."""
    return json.loads((folder / FILES[-1]).read_text())["runs"]


def point(folder: Path, run: str, definition: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """One point of a run by its definition."""
    return named_point(read_tensors(folder / FILES[1], [run]), run, canonical(definition))


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of a pack's results, without what times and machines are in."""
    return {name: (folder / name).read_bytes() for name in FILES[:-1]}
