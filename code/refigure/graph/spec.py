"""A run's spec: what is trained, written once, and the identity that follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from json.encoder import encode_basestring_ascii
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE, settings, value_of
from refigure.graph.reading import (
    MISSING,
    Key,
    Keys,
    Kinds,
    Nullable,
    OneOf,
    default_of,
    keyed,
    not_negative,
    positive,
    read,
    share,
    suggest,
    typed,
)

ID_DIGITS = 12  # hexadecimal: among 20,000 runs two share an id with a chance of 1 in a million

NAMED = ("model", "task", "optimiser", "schedule", "init")
PARTS = (*NAMED, "augment", "head", "stop", "start")
KEYS: dict[str, Key] = {
    "data": Key(str, "What is trained on: a name under `data` of the scale.", "images10"),
    "model": Key(
        dict, "The network: a name, or a name with keys.", {"name": "convnet", "k": 32}, "model"
    ),
    "task": Key(
        Kinds((str, dict), "classification"),
        "What is asked of the network, and its loss.",
        {"name": "classification", "loss": "squared"},
        "task",
    ),
    "optimiser": Key(
        dict, "What takes the steps.", {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "optimiser"
    ),
    "schedule": Key(
        Kinds((str, dict), "constant"),
        "How the learning rate changes.",
        {"name": "cosine", "warmup": 5},
        "schedule",
    ),
    "init": Key(
        Kinds((str, dict), "default"), "How the weights are drawn.", "uniform_sphere", "init"
    ),
    "augment": Key(
        Nullable((str, dict)),
        "What is done to training images at random; null: nothing.",
        {"name": "crop_flip", "padding": 1},
        "augment",
    ),
    "head": Key(
        Nullable(dict),
        "A last layer that is drawn, rescaled and never trained; null: it is trained.",
        {"seed": 228, "norm": 10},
        "head",
    ),
    "stop": Key(
        Nullable(dict),
        "When training ends before its last epoch.",
        {"train_loss_below": 0.01},
        "stop",
    ),
    "batch": Key(positive(int, 128), "Objects of a step.", 256),
    "full_batch": Key(
        False, "Whether an epoch is one step, on the mean gradient of all its batches.", True
    ),
    "drop_last": Key(False, "Whether a last batch that is not full is left out.", True),
    "epochs": Key(
        not_negative(int),
        "How long a run is. Of one that goes on from a state, its parent's epochs are counted.",
        300,
    ),
    "seed": Key(int, "Of the initialisation, the order, augmentation and noise.", 0),
    "precision": Key(
        OneOf(("float32", "bfloat16")), "Numbers that the network is computed in.", "bfloat16"
    ),
}
"""What an experiment's base may write: each is a field of `Spec`, as what it starts from is."""
PLAIN: dict[str, Any] = {
    name: KEYS[name].shape
    for name in ("batch", "full_batch", "drop_last", "epochs", "seed", "precision")
}
PLAIN_DEFAULTS = {key: default_of(shape) for key, shape in PLAIN.items()}
NAMED_DEFAULTS = {"task": "classification", "schedule": "constant", "init": "default"}
AXES: dict[str, tuple[str, ...]] = {
    "elr": ("optimiser", "elr"),
    "lr": ("optimiser", "lr"),
    "wd": ("optimiser", "wd"),
    "momentum": ("optimiser", "momentum"),
    "norm": ("optimiser", "norm"),
    "k": ("model", "k"),
    "dropout": ("model", "dropout"),
    "config": ("model", "config"),
    "ratio": ("schedule", "ratio"),
    "cycle": ("schedule", "cycle"),
    "head_seed": ("head", "seed"),
    "data": ("data",),
    "batch": ("batch",),
    "epochs": ("epochs",),
    "seed": ("seed",),
}
"""Short names of the axes of grids and cases; any other is a dotted path into the spec."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A last layer that is not trained."""

    seed: int | None = keyed(
        Nullable(int), "The seed that it is drawn from; null: the run's own.", 228
    )
    norm: float = keyed(positive(float), "The Frobenius norm that its weight is rescaled to.", 10)


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When training ends before its last epoch: one of two bounds."""

    train_loss_below: float | None = keyed(
        Nullable(positive(float)),
        "At the first epoch whose train loss, measured at its end, is below.",
        0.01,
    )
    train_loss_running_below: float | None = keyed(
        Nullable(positive(float)),
        "At the first epoch whose mean loss over its batches is below.",
        0.01,
    )


@dataclass(frozen=True, kw_only=True)
class Average:
    """A mean of the weights of several moments of a run; their batch norm is estimated anew."""

    count: int = keyed(positive(int), "How many networks are averaged.", 5)
    every: int = keyed(positive(int, 1), "Epochs from one to the next.", 2)
    start: Any = keyed(Nullable((int, str)), "The epoch of the first, or `last`.", 200, name="from")
    to: Any = keyed(
        Nullable((int, str)), "In place of `from`: the epoch of the last, or `last`.", "last"
    )
    steps: int | None = keyed(
        Nullable(positive(int)),
        "In place of `every`, with `to`: optimiser steps from one to the next.",
        10,
    )


@dataclass(frozen=True, kw_only=True)
class Point:
    """A network of a run that is kept. One of five kinds."""

    epoch: Any = keyed(
        Nullable((int, str)), "The end of an epoch; 0 is the start, `last` the end.", "last"
    )
    fraction: float | None = keyed(
        Nullable(share()), "A share of the run's epochs, from 0 to 1.", 0.25
    )
    average: dict | None = keyed(
        Nullable(dict), "A mean of weights.", {"count": 5, "from": 200}, "average"
    )
    best: str | None = keyed(
        Nullable(str), "A column of the history: the epoch at which it is best.", "test_error"
    )
    mode: str = keyed(OneOf(("min", "max")), "With `best`: whether the least is best.", "max")
    event: str | None = keyed(
        Nullable(str), "Something that happens in training; further keys are its own.", "calm_end"
    )


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When a recorder measures: one of three units. The start and the end are always measured."""

    epochs: int | None = keyed(Nullable(positive(int)), "Every n-th epoch.", 5)
    steps: int | None = keyed(Nullable(positive(int)), "Every n-th step.", 100)
    log: int | None = keyed(
        Nullable(positive(int)), "So many epochs of each power of ten, evenly on the log scale.", 8
    )
    trailing: int | None = keyed(
        Nullable(positive(int)), "With `log`: also every n-th epoch of the last quarter.", 10
    )


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, so 1.0 is written 1."""
    kind = type(value)  # numbers and texts first: each of tens of thousands of specs has some
    if kind is int:
        return str(value)
    if kind is str:
        return encode_basestring_ascii(value)
    return _ENCODER.encode(_integral(value))


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _integral(value: Any) -> Any:
    kind = type(value)  # by type: this runs a dozen times for each of tens of thousands of runs
    if kind is str or kind is int:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is dict or isinstance(value, Mapping):
        return {key: _integral(item) for key, item in value.items()}
    return [_integral(item) for item in value] if kind in (list, tuple) else value


def digest(value: Any, digits: int = ID_DIGITS) -> str:
    """The first hexadecimal digits of the SHA-256 of a value's canonical text."""
    return _digits(canonical(value), digits)


def _digits(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


class Part(dict):
    """What a spec holds under one key. It is never changed, so what follows from it is made once.

    Args:
        key: of the spec.
        value: `{name, keys...}` of the catalogue, or the keys of a head, a stop or a start.
    """

    def __init__(self, key: str, value: Mapping[str, Any]):
        super().__init__(value)
        self.key = key
        self._with: dict[tuple[str, Any], Part] = {}
        self._without: dict[tuple[str, ...], str] = {}

    @cached_property
    def brief(self) -> dict[str, Any]:
        """What an identity holds of it: the keys that differ from their default."""
        if self.key in CATALOGUE and self.key != "start":
            return without_defaults(self.key, self)
        kept = {key: value for key, value in self.items() if value is not None}
        if "event" in kept.get("point", ()):
            event = {**kept["point"], "name": kept["point"]["event"]}
            del event["event"]
            kept["point"] = {"event": without_defaults("event", event)}
        return kept

    @cached_property
    def text(self) -> str:
        """The canonical text of `brief`."""
        return canonical(self.brief)

    def text_without(self, keys: tuple[str, ...]) -> str:
        """The canonical text of all of it but some keys; made once."""
        if keys not in self._without:
            rest = {key: value for key, value in self.items() if key not in keys}
            self._without[keys] = canonical(rest)
        return self._without[keys]

    @cached_property
    def is_default(self) -> bool:
        """Whether an identity leaves it out."""
        return self.key in NAMED and self.brief == {"name": NAMED_DEFAULTS.get(self.key)}

    def having(self, key: str, value: Any) -> Part:
        """It with another value of one key; the same object each time."""
        if isinstance(value, list):
            return Part(self.key, {**self, key: value})
        found = self._with.get((key, value))
        if found is None:
            found = self._with[key, value] = Part(self.key, {**self, key: value})
        return found


@dataclass(frozen=True)
class Spec:
    """What is trained. Two equal specs are the same run, whatever experiment asks for them.

    Args:
        data: content id of the prepared data.
        model, task, optimiser, schedule, init: `{name, keys...}` of the catalogue, all keys there.
        augment: the same, or None.
        head: None (the last layer is trained, drawn from the run's seed) or `{seed, norm}`: the
            last layer is drawn from `seed` (None: the run's), rescaled to `norm` and frozen.
        stop: None, or `{train_loss_below}` or `{train_loss_running_below}`: training ends at the
            first epoch below it, of the pass at its end or of the mean over its batches.
        start: None, or `{run, point, take}` (the parent's id and the resolved point), or
            `{file, take}` (the content id of a declared file).
        batch: images a step; `full_batch`: one step an epoch on gradients of all batches.
        epochs: how long, counted from the initial state; for `take: state` the parent's included,
            but from an event's point, whose epoch nobody knows beforehand, counted from there.
        seed: of initialisation, order, augmentation and noise.
    """

    data: str
    model: Mapping[str, Any]
    task: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    schedule: Mapping[str, Any]
    init: Mapping[str, Any]
    augment: Mapping[str, Any] | None
    head: Mapping[str, Any] | None
    stop: Mapping[str, Any] | None
    start: Mapping[str, Any] | None
    batch: int
    full_batch: bool
    drop_last: bool
    epochs: int
    seed: int
    precision: str

    @classmethod
    def of(cls, written: Mapping[str, Any], where: str) -> Spec:
        """The spec a mapping writes, defaults filled in.

        Raises:
            UserError: an unknown or missing key, or a value of another type; names key and place.
        """
        keys = Keys(written, where)
        values: dict[str, Any] = {"data": keys.take("data", str)}
        for kind in NAMED:
            values[kind] = settings(
                kind, keys.take(kind, object, NAMED_DEFAULTS.get(kind, {})), f"{where}.{kind}"
            )
        augment = keys.take("augment", object, None)
        values["augment"] = augment and settings("augment", augment, f"{where}.augment")
        values["head"] = _head(keys.take("head", dict, None), f"{where}.head")
        values["stop"] = _stop(keys.take("stop", dict, None), f"{where}.stop")
        values["start"] = keys.take("start", dict, None)
        for key, shape in PLAIN.items():
            default = default_of(shape)
            if key in written or default is not MISSING:
                values[key] = value_of(shape, keys.take(key, object, default), f"{where}.{key}")
            else:
                values[key] = keys.take(key)
        keys.done()
        for key in PARTS:
            if values[key] is not None:
                values[key] = Part(key, values[key])
        return cls(**values)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the id is made of: the keys that differ from their default, and nothing else."""
        return {
            key: value.brief if isinstance(value, Part) else value
            for key, value in self.told().items()
        }

    def told(self) -> dict[str, Any]:
        """The keys that differ from their default, with the values that they have here."""
        told: dict[str, Any] = {"data": self.data}
        for key in PARTS:
            value = getattr(self, key)
            if value is None:
                continue
            if type(value) is not Part:
                value = Part(key, value)
            if not value.is_default:
                told[key] = value
        for key, default in PLAIN_DEFAULTS.items():
            value = getattr(self, key)
            if value != default:
                told[key] = value
        return told

    def texts(self) -> dict[str, str]:
        """The canonical text of each key that differs from its default."""
        return {
            key: value.text if type(value) is Part else canonical(value)
            for key, value in self.told().items()
        }

    @cached_property
    def id(self) -> str:
        """The run's identity: the digest of its canonical text."""
        # `digest(self.identity)`, from the texts of its parts, which many runs share
        texts = [f'"{key}":{text}' for key, text in sorted(self.texts().items())]
        return _digits(f"{{{','.join(texts)}}}", ID_DIGITS)

    @property
    def take(self) -> str:
        """The kind of its start: an entry of the catalogue's `start`."""
        return self.start["take"] if self.start else "initial"

    def modules(self) -> list[str]:
        """The modules that this spec names: what a change of code can make stale."""
        named = [(kind, getattr(self, kind)["name"]) for kind in NAMED]
        named.append(("start", self.take))
        if self.augment:
            named.append(("augment", self.augment["name"]))
        return sorted({CATALOGUE[kind][name].module for kind, name in named})

    def with_axis(self, axis: str, value: Any, where: str) -> Spec:
        """This spec with the value of one axis of a grid.

        Raises:
            UserError: there is no such axis, or the value is of another type.
        """
        return replace(self, **self.changed({axis: value}, where))

    def changed(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The fields that differ with the values of some axes.

        Raises:
            UserError: there is no such axis, or a value is of another type.
        """
        fields_changed: dict[str, Any] = {}
        for axis, value in row.items():
            key, changed = self._field(axis, value, fields_changed, where)
            fields_changed[key] = changed
        return fields_changed

    def _field(self, axis: str, value: Any, changed: Mapping, where: str) -> tuple[str, Any]:
        path = axis_path(axis, where)
        if len(path) == 1:
            key = path[0]
            shape = str if key == "data" else PLAIN.get(key)
            if shape is None:
                raise UserError(f"{where}: '{key}' is no axis: it takes several keys")
            return key, value_of(shape, value, f"{where}.{axis}")
        kind, key = path
        written = changed.get(kind) or getattr(self, kind)
        if written is None:
            raise UserError(f"{where}: the spec has no '{kind}' for axis '{axis}'")
        if kind in CATALOGUE:
            name = written["name"]
            entry = CATALOGUE[kind][name]
            if key not in entry.keys:
                raise UserError(
                    f"{where}: {kind} '{name}' has no key '{key}'{suggest(key, entry.keys)}"
                )
            value = entry.value(key, value, f"{where}.{axis}")
        elif key not in written:
            raise UserError(f"{where}: '{kind}' has no key '{key}'{suggest(key, written)}")
        elif kind in ("head", "stop"):
            read = _head if kind == "head" else _stop
            value = read({**written, key: value}, f"{where}.{kind}")[key]
        part = written if type(written) is Part else Part(kind, written)
        return kind, part.having(key, value)


@cache
def axis_path(axis: str, where: str) -> tuple[str, ...]:
    """Where in a spec an axis lies: `elr` is `optimiser.elr`."""
    path = AXES.get(axis) or tuple(axis.split("."))
    if path[0] not in {field.name for field in fields(Spec)} or len(path) > 2:
        raise UserError(f"{where}: unknown axis '{axis}'{suggest(axis, AXES)}")
    return path


def axis_column(axis: str) -> str:
    """The column an axis becomes in tables: the last part of its name."""
    return axis.rpartition(".")[2]


def without_defaults(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a catalogue's entry that differ from their default: what identities hold."""
    defaults = CATALOGUE[kind][value["name"]].defaults
    return {key: item for key, item in value.items() if key == "name" or item != defaults[key]}


def _head(written: Any, where: str) -> dict[str, Any] | None:
    if written is None:
        return None
    return vars(read(Head, written, where))


def _stop(written: Any, where: str) -> dict[str, Any] | None:
    if written is None:
        return None
    stop = vars(read(Stop, written, where))
    if sum(bound is not None for bound in stop.values()) != 1:
        raise UserError(f"{where}: one of {' or '.join(stop)} is needed, got {dict(written)}")
    return stop


CLOCK_UNITS = ("epochs", "log", "steps")
"""The keys of `Clock` of which one says when it measures."""
POINT_KINDS = ("average", "best", "epoch", "event", "fraction")
"""The keys of `Point` of which one says what the point is."""


def resolve_point(written: Any, epochs: int, where: str) -> dict[str, Any]:
    """A point's definition with every number written out, which is also the key it is kept under.

    Args:
        written: the keys of a `Point`; an event's own stand beside it.
        epochs: of the run, which `last` stands for.

    Raises:
        UserError: an unknown key, two kinds of point, or an epoch outside the run.
    """
    keys = Keys(written, where)
    kinds = [kind for kind in POINT_KINDS if keys.mapping.get(kind) is not None]
    if len(kinds) != 1:
        near = _near(keys.mapping, POINT_KINDS)
        raise UserError(
            f"{where}: a point is one of {', '.join(POINT_KINDS)}, got {dict(keys.mapping)}{near}"
        )
    kind = kinds[0]
    if kind == "event":
        name = keys.take("event", str)
        rest = {key: value for key, value in keys.mapping.items() if key != "event"}
        event = settings("event", {"name": name, **rest}, where)
        return {"event": event.pop("name"), **event}
    point = read(Point, keys.mapping, where)
    if kind != "best" and "mode" in keys.mapping:
        raise UserError(f"{where}: mode is a key of a point that is best, got {kind}")
    if kind == "best":
        return {"best": point.best, "mode": point.mode}
    if kind == "average":
        return {"average": _average(point.average, epochs, f"{where}.average")}
    if kind == "fraction":
        return {"epoch": round(point.fraction * epochs)}
    epoch = _epoch(point.epoch, epochs, where)
    if epoch < 0:
        raise UserError(f"{where}: epoch must not be negative, got {epoch}")
    if epoch > epochs:
        raise UserError(f"{where}: epoch {epoch} is after the run's last, {epochs}")
    return {"epoch": epoch}


def _near(written: Mapping[str, Any], kinds: tuple[str, ...]) -> str:
    """The kind that a key written wrongly is near to."""
    hints = [suggest(key, kinds) for key in written if key not in kinds]
    return next((hint for hint in hints if "did you mean" in hint), "")


def _average(written: Any, epochs: int, where: str) -> dict[str, int]:
    """The numbers of an `Average`: of epochs from the first on, or of steps up to the last."""
    mean = read(Average, written, where)
    if (mean.start is None) == (mean.to is None):
        raise UserError(f"{where}: one of from, to is needed, got {dict(written)}")
    if mean.steps is not None:
        if mean.to is None or "every" in written:
            raise UserError(f"{where}: steps stands in place of every, with to: {dict(written)}")
        to = _epoch(mean.to, epochs, where)
        if not 1 <= to <= epochs:
            raise UserError(f"{where}: averages epochs outside 0 to {epochs}: {dict(written)}")
        return {"count": mean.count, "steps": mean.steps, "to": to}
    span = (mean.count - 1) * mean.every
    if mean.to is None:
        first = _epoch(mean.start, epochs, where)
    else:
        first = _epoch(mean.to, epochs, where) - span
    if first < 0 or first + span > epochs:
        raise UserError(f"{where}: averages epochs outside 0 to {epochs}: {dict(written)}")
    return {"count": mean.count, "every": mean.every, "from": first}


def _epoch(written: Any, epochs: int, where: str) -> int:
    return epochs if written == "last" else typed(written, int, f"{where}: epoch")


def resolve_clock(written: Any, where: str) -> dict[str, Any]:
    """When a recorder measures, by the one unit that the keys of a `Clock` name.

    Raises:
        UserError: an unknown key, two units or none, or no number of at least 1.
    """
    mapping = Keys(written, where).mapping
    units = [unit for unit in CLOCK_UNITS if unit in mapping]
    if len(units) != 1:
        near = _near(mapping, CLOCK_UNITS)
        raise UserError(
            f"{where}: a clock is one of {', '.join(CLOCK_UNITS)}, got {dict(mapping)}{near}"
        )
    clock, unit = read(Clock, mapping, where), units[0]
    if clock.trailing is not None and unit != "log":
        raise UserError(f"{where}: trailing is a key of a clock that is log, got {unit}")
    found = {unit: getattr(clock, unit)} | ({"trailing": clock.trailing} if unit == "log" else {})
    if found[unit] is None:
        raise UserError(f"{where}.{unit} must be a whole number, got None")
    return found
