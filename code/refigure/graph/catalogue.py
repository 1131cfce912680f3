"""What a spec may name: models, tasks, optimisers, schedules, recorders; their keys and defaults.

Read by the configuration, so it imports nothing heavy: an entry holds the module that implements
it and the keys that module's `build` takes. A key's entry is its default value, or a type where
there is none. Defaults may be added but never changed: they are left out of a run's identity.

Entries of papers whose code is not there yet name their module all the same: the graph of their
runs is known and counted, and asking for their targets says in one line what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from refigure.errors import UserError
from refigure.graph.reading import suggest, typed


@dataclass(frozen=True)
class OneOf:
    """A key that takes one of a few values; the first is its default."""

    words: tuple[Any, ...]


@dataclass(frozen=True)
class Nullable:
    """A key that may be null, which is its default where none other is given."""

    kind: type
    default: Any = None


@dataclass(frozen=True)
class Entry:
    """One thing a spec may name.

    Args:
        module: where `build` (models, tasks, ...) is defined.
        keys: key -> default value, type (no default), `OneOf` or `Nullable`.
    """

    module: str
    keys: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """Key -> default; of a key without one, a value that equals nothing."""
        return {key: default_of(shape) for key, shape in self.keys.items()}

    def there(self) -> bool:
        """Whether the module exists (it is looked up, not imported)."""
        # Not by importlib's find_spec: that imports the parent package, and with it perhaps torch.
        path = Path(__file__).parents[1].joinpath(*self.module.split(".")[1:])
        return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _one_of(*words: Any) -> OneOf:
    return OneOf(words)


_IMAGES = {
    "source": str,
    "order_seed": Nullable(int, 0),
    "classes": Nullable(list),
    "skip": 0,
    "train": Nullable(int),
    "test": Nullable(int),
    "per_class": False,
    "validation": 0,
    "stratified": Nullable(int),
    "pool": Nullable(int),
    "standardise": _one_of("published", "channel", "global"),
    "mean": [0.4914, 0.4822, 0.4465],
    "std": [0.2023, 0.1994, 0.2010],
    "noise": Nullable(dict),
    "label_noise": Nullable(dict),
    "corruption": Nullable(dict),
}

CATALOGUE: dict[str, dict[str, Entry]] = {
    "model": {
        "convnet": Entry(
            "refigure.models.convnet",
            {"k": int, "norm": _one_of("batch", "batch_affine", "none", "weight"), "depth": 4},
        ),
        "resnet18": Entry(
            "refigure.models.resnet", {"k": int, "norm": _one_of("batch", "batch_affine")}
        ),
        "tick_mlp": Entry("refigure.models.tick_mlp", {"width": 32, "layers": 2}),
        "vit": Entry(
            "refigure.models.vit",
            {"patch": 4, "dim": 512, "depth": 6, "heads": 8, "mlp": 512, "dropout": 0.1},
        ),
        "mlp": Entry("refigure.models.mlp", {"k": int, "layers": 2}),
        "vgg16": Entry("refigure.models.vgg", {"k": int, "dropout": 0.0}),
        "wide_resnet28": Entry(
            "refigure.models.wide_resnet", {"k": int, "dropout": 0.0, "final_momentum": 0.9}
        ),
        "plain_convnet": Entry(
            "refigure.models.plain_convnet",
            {"widths": list, "head": _one_of("pool", "flatten"), "outputs": Nullable(int)},
        ),
        "resnet50": Entry("refigure.models.torchvision_nets", {}),
        "swin_t": Entry("refigure.models.torchvision_nets", {"drop_path": 0.1}),
        "torchvision_net": Entry(
            "refigure.models.torchvision_nets", {"architecture": str, "drop_path": Nullable(float)}
        ),
        "cifar_resnet18": Entry(
            "refigure.models.cifar_resnet", {"k": 64, "outputs": Nullable(int)}
        ),
        "lstm_classifier": Entry(
            "refigure.models.rnn.lstm",
            {"embedding": int, "hidden": int, "config": str},
        ),
        "lstm_language": Entry(
            "refigure.models.rnn.lstm", {"hidden": int, "config": str, "forget_bias": 0.0}
        ),
    },
    "task": {
        "classification": Entry(
            "refigure.tasks.classification", {"loss": _one_of("cross_entropy", "squared")}
        ),
        "binary": Entry("refigure.tasks.binary"),
        "soft_targets": Entry(
            "refigure.tasks.soft_targets", {"mixup": 0.8, "cutmix": 1.0, "smoothing": 0.1}
        ),
        "contrastive": Entry("refigure.tasks.contrastive", {"temperature": 0.07}),
        "variational": Entry(
            "refigure.tasks.variational",
            {
                "objective": _one_of("documents", "characters", "words"),
                "kl": _one_of("authors", "molchanov"),
                "kl_warmup": Nullable(list),
                "z_sampling": _one_of("object", "batch"),
            },
        ),
    },
    "optimiser": {
        "sphere_sgd": Entry(
            "refigure.training.optimisers.sgd",
            {
                "elr": float,
                "radius": Nullable(float),
                "fixed": _one_of("total", "filters"),
                "momentum": 0.0,
            },
        ),
        "sgd": Entry(
            "refigure.training.optimisers.sgd",
            {"lr": float, "wd": 0.0, "momentum": 0.0, "norm": Nullable(float)},
        ),
        "adam": Entry(
            "refigure.training.optimisers.adam",
            {
                "lr": float,
                "wd": 0.0,
                "decoupled": False,
                "decay": _one_of("all", "matrices"),
                "layer_decay": 1.0,
                "clip": Nullable(float),
                # whether epsilon is added before the bias correction, as in Lasagne and TensorFlow
                "epsilon_hat": False,
            },
        ),
    },
    "schedule": {
        "constant": Entry("refigure.training.schedules.constant"),
        "cosine": Entry(
            "refigure.training.schedules.cosine",
            {
                "by": _one_of("step", "epoch"),
                "warmup": 0,
                # the factor of the first epoch of the warm-up; null: 1 / (warmup + 1)
                "warmup_start": Nullable(float),
                "period": Nullable(int),
                "flat": 0,
            },
        ),
        # first_epoch: the number of the first epoch where a schedule counts them
        "linear_tail": Entry(
            "refigure.training.schedules.linear_tail",
            {"flat": 0.5, "end": 0.9, "factor": 0.01, "first_epoch": _one_of(1, 0)},
        ),
        "ramp": Entry(
            "refigure.training.schedules.ramp",
            {"flat": 0.25, "factor": 0.1, "first_epoch": _one_of(1, 0)},
        ),
        # falls: after the epoch that is the share, or at it
        "stairs": Entry(
            "refigure.training.schedules.stairs",
            {
                "at": [0.25, 0.5, 0.75],
                "factor": 0.1,
                "first_epoch": _one_of(1, 0),
                "falls": _one_of("after", "at"),
            },
        ),
        "exponential": Entry("refigure.training.schedules.exponential", {"factor": 0.9885}),
        "triangles": Entry(
            "refigure.training.schedules.triangles",
            {"cycle": int, "ratio": float, "low": 0.01},
        ),
    },
    "augment": {
        "crop_flip": Entry("refigure.data.images.augment", {"padding": 4, "flip": True}),
        "randaugment": Entry(
            "refigure.data.images.randaugment", {"padding": 4, "operations": 2, "magnitude": 14}
        ),
        "resized_crop": Entry("refigure.data.resized_crop", {"size": 224}),
        "swin": Entry("refigure.data.resized_crop", {"size": 224, "magnitude": 9}),
        "simclr": Entry(
            "refigure.data.images.views",
            {
                "low_area": 0.08,
                "jitter": 0.8,
                "jittered": 0.8,
                "flip": True,
                "grey": 0.2,
                "blur": [0.1, 2.0],
                "clamp": True,
            },
        ),
    },
    "init": {
        "default": Entry("refigure.training.initial"),
        "uniform_sphere": Entry("refigure.training.initial"),
    },
    "start": {
        "initial": Entry("refigure.training.starts.initial"),
        "weights": Entry("refigure.training.starts.weights"),
        "state": Entry("refigure.training.starts.state"),
        "backbone": Entry("refigure.training.starts.backbone"),
    },
    "kept": {
        "history": Entry("refigure.training.kept.history"),
        "points": Entry("refigure.training.kept.points"),
        "predictions": Entry("refigure.training.kept.predictions"),
    },
    "record": {
        "train": Entry("refigure.training.recorders.basic", {"gradient": True, "squared": False}),
        "test": Entry("refigure.training.recorders.basic", {"recomputed": False}),
        "geometry": Entry("refigure.training.recorders.basic"),
        "turn": Entry("refigure.training.recorders.basic"),
        "filters": Entry("refigure.training.recorders.basic"),
        "step_norms": Entry("refigure.training.recorders.step_norms"),
        "group_norms": Entry("refigure.training.recorders.group_norms"),
        "correct": Entry(
            "refigure.training.recorders.correct",
            {"objects": 1024, "held_out": 0, "views": 10, "redrawn": False},
        ),
        "counts": Entry("refigure.training.recorders.counts"),
    },
    "recipe": {
        "images": Entry("refigure.data.images.recipes", _IMAGES),
        "shuffled_labels": Entry(
            "refigure.data.images.shuffled_labels", _IMAGES | {"label_seed": 0}
        ),
        # test images that were corrupted already, in NumPy files: CIFAR-10-C, CIFAR-100-C
        "corrupted": Entry(
            "refigure.data.images.corrupted",
            {
                "source": str,
                "corruptions": list,
                "severity": int,
                "test": Nullable(int),
                "mean": [0.4914, 0.4822, 0.4465],
                "std": [0.2023, 0.1994, 0.2010],
            },
        ),
        "ticks": Entry(
            "refigure.data.ticks",
            {
                "features": 16,
                "margin": 0.1,
                "train": 512,
                "test": 2000,
                "seed": int,
                "single": 1000,
                "single_seed": 1,
            },
        ),
        "documents": Entry(
            "refigure.data.text.documents",
            {
                "source": str,
                "length": int,
                "words": 20000,
                "validation": float,
                "shuffle_seed": 113,
                "vectors": Nullable(str),
                "lower": False,
                "held_out": 0.0,
                "classes": Nullable(list),
                "chunk": 25,
                "header": True,
            },
        ),
        "characters": Entry(
            "refigure.data.text.language", {"source": str, "length": 100, "parts": Nullable(list)}
        ),
        "words": Entry(
            "refigure.data.text.language",
            {
                "source": str,
                "length": 35,
                "streams": 32,
                "parts": Nullable(list),
                "plain": False,
                "words": Nullable(int),
            },
        ),
    },
    "event": {
        "calm_end": Entry(
            "refigure.training.events.calm_end", {"jump": 5.0, "floor": 0.02, "index": 1}
        ),
        # offset: epochs from the jump's onset; before it where negative (the last few are held)
        "jump": Entry(
            "refigure.training.events.jump", {"jump": 5.0, "floor": 0.02, "index": 1, "offset": int}
        ),
    },
}


def entry(kind: str, name: Any, where: str) -> Entry:
    """The catalogue's entry of that kind and name.

    Raises:
        UserError: there is none; the nearest name is suggested.
    """
    known = CATALOGUE[kind]
    if name not in known:
        raise UserError(f"{where}: unknown {kind} '{name}'{suggest(name, known)}")
    return known[name]


def settings(kind: str, written: Any, where: str) -> dict[str, Any]:
    """`{name: ..., key: ...}` with every key of that entry, defaults filled in and types checked.

    Raises:
        UserError: an unknown name or key, a missing key, a value of another type.
    """
    if isinstance(written, str):
        written = {"name": written}
    written = dict(typed(written, dict, where))
    if "name" not in written:
        raise UserError(f"{where}: key 'name' is missing{suggest('', CATALOGUE[kind])}")
    name = written.pop("name")
    keys = entry(kind, name, where).keys
    for key in written:
        if key not in keys:
            raise UserError(f"{where}: {kind} '{name}' has no key '{key}'{suggest(key, keys)}")
    return {"name": name} | {
        key: value_of(shape, written.get(key, _UNSET), f"{where}.{key}")
        for key, shape in keys.items()
    }


_UNSET = object()


def default_of(shape: Any) -> Any:
    """The default a key's entry states; a type has none."""
    if isinstance(shape, OneOf):
        return shape.words[0]
    if isinstance(shape, Nullable):
        return shape.default
    return _UNSET if isinstance(shape, type) else shape


def value_of(shape: Any, written: Any, where: str) -> Any:
    """The value of one key, checked against its entry."""
    if written is _UNSET:
        value = default_of(shape)
        if value is _UNSET:
            raise UserError(f"{where} is missing")
        return value
    if isinstance(shape, OneOf):
        if written not in shape.words or isinstance(written, bool):
            known = map(str, shape.words)
            raise UserError(f"{where}: unknown value '{written}'{suggest(str(written), known)}")
        return written
    if isinstance(shape, Nullable):
        return None if written is None else typed(written, shape.kind, where)
    return typed(written, shape if isinstance(shape, type) else type(shape), where)


def absent(modules: Iterable[str]) -> list[str]:
    """Of modules that entries name, those whose code is not written yet."""
    entries = {entry.module: entry for kind in CATALOGUE.values() for entry in kind.values()}
    return sorted(module for module in set(modules) if not entries[module].there())


def import_entry(kind: str, name: str) -> ModuleType:
    """The module of an entry: imported by name, and so fingerprinted by name."""
    return import_module(CATALOGUE[kind][name].module)
