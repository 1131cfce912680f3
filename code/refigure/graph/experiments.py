"""Experiments: named families of runs, and the runs that their grids and cases ask for."""

from __future__ import annotations

import itertools
import json
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE, check_column, settings, value_of
from refigure.graph.overrides import at_scale
from refigure.graph.reading import (
    Each,
    Items,
    Key,
    Keys,
    Kinds,
    Nullable,
    OneOf,
    keyed,
    keys_of,
    not_negative,
    positive,
    read,
    suggest,
    typed,
)
from refigure.graph.spec import (
    NAMED,
    NAMED_DEFAULTS,
    PLAIN,
    Part,
    Spec,
    axis_column,
    axis_path,
    canonical,
    resolve_clock,
    resolve_point,
    without_defaults,
)

CASE_KEYS = {
    "seeds": Key(
        Nullable(positive(int)), "How many seeds its runs have: 0, 1, ...; no axis `seed` then.", 64
    ),
    "block": Key(Nullable(positive(int)), "The most of its runs that one job trains.", 8),
    "stack": Key(
        Nullable(positive(int)), "The most of them side by side on a GPU, as `stack` of all.", 8
    ),
}
"""What a case may say beside its axes."""
SOURCED = ("data", "checkpoint")  # axes whose values have no runs where nobody configured a source
SETS = ("test", "train")
OWN_COLUMNS = ("experiment", "run", "step", "epoch")
"""What tables of runs hold beside axes and labels."""
FINAL = "final"  # in the keys of predictions: the network that a run ends with


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the runs of an experiment start from: points of other runs, or files."""

    source: str | None = keyed(
        Nullable(str),
        "The experiment whose runs are the parents.",
        "sphere_convnet_c10",
        name="from",
    )
    file: str | list | None = keyed(
        Nullable((str, list)),
        "In place of `from`: a source of `weights` or several, each a network to start from; its "
        "name becomes the axis `checkpoint`. Of a source of several files each is a network, and "
        "the file's name is that axis.",
        ["byol_1", "byol_2"],
    )
    at: str = keyed("final", "The point of the parents.", "pt")
    take: str = keyed(
        OneOf(("weights", *(n for n in CATALOGUE["start"] if n not in ("initial", "weights")))),
        "What is taken of it; see `take` below.",
        "state",
    )
    carry: Mapping[str, str] = keyed(
        {},
        "Axis of the parent -> the name it has here, for an axis that the runs have of their own.",
        {"elr": "plr"},
        Each(str, "axis"),
    )
    where: Mapping[str, Any] = keyed(
        {},
        "Axis of the parents -> the value, or list of values, of those that are started from.",
        {"seed": [0, 1]},
    )


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The predictions that runs leave."""

    sets: list[str] = keyed(list, "Evaluation sets: `test`, `train`.", ["test"], Items(str))
    points: list[str] = keyed(
        [FINAL],
        "Points of the experiment; `final` is the network that a run ends with.",
        ["end"],
        Items(str),
    )


@dataclass(frozen=True)
class Wanted:
    """What a run leaves behind, besides its history. It never changes the trajectory.

    Args:
        points: canonical text of resolved points.
        records: canonical text of `{name, keys..., every}`.
        predictions: `point|set` of the logits that are kept: the canonical text of a point or
            `final`, and an evaluation set.
        states: those points that hold the optimiser's state too, since a run goes on from them.
    """

    points: frozenset[str] = frozenset()
    records: frozenset[str] = frozenset()
    predictions: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()

    def __or__(self, other: Wanted) -> Wanted:
        return Wanted(
            self.points | other.points,
            self.records | other.records,
            self.predictions | other.predictions,
            self.states | other.states,
        )

    def __le__(self, other: Wanted) -> bool:
        return (
            self.points <= other.points
            and self.records <= other.records
            and self.predictions <= other.predictions
            and self.states <= other.states
        )

    @property
    def kept(self) -> list[str]:
        """The kinds of thing that are left: entries of the catalogue's `kept`."""
        return ["history", "points", *(["predictions"] if self.predictions else [])]

    def as_json(self) -> dict[str, list[str]]:
        """Sorted lists, for `run.json` and for parameters; recorders without their defaults."""
        lists = {key: sorted(getattr(self, key)) for key in ("points", "records", "predictions")}
        if self.states:
            lists["states"] = sorted(self.states)
        return lists | {"records": sorted(_brief(record) for record in self.records)}

    @classmethod
    def from_json(cls, value: Mapping[str, list[str]]) -> Wanted:
        """What `as_json` wrote; a default that a recorder got since then is filled in."""
        sets = {key: frozenset(items) for key, items in value.items()}
        return cls(**sets | {"records": frozenset(_full(record) for record in value["records"])})


def _brief(record: str) -> str:
    keys = json.loads(record)
    every = keys.pop("every")
    return canonical({**without_defaults("record", keys), "every": every})


def _full(record: str) -> str:
    keys = json.loads(record)
    every = keys.pop("every")
    return canonical({**settings("record", keys, "run.json"), "every": every})


@dataclass(frozen=True)
class Run:
    """One network trained by one spec, as one experiment asks for it.

    Args:
        axes: the values of the experiment's axes and what it carries from its parent, by column.
        parent: the run it starts from, if any; `point` the key of the point it starts at.
        block: the most runs of its case that one job trains; None: as many as of the experiment.
        stack: the most of them that train side by side on a GPU; None: likewise.
        labels: what its experiment is called: constant columns beside the axes, no part of the
            identity.
    """

    spec: Spec
    experiment: str
    axes: Mapping[str, Any]
    parent: Run | None = None
    point: str | None = None
    block: int | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    stack: int | None = None

    @cached_property
    def id(self) -> str:
        """The identity: of the spec alone."""
        return self.spec.id

    @property
    def columns(self) -> Mapping[str, Any]:
        """Labels and axes: what tells the run apart in tables, groups and selections."""
        return {**self.labels, **self.axes} if self.labels else self.axes

    @property
    def label(self) -> str:
        """A readable name: `sphere_pt elr=0.001 seed=0 (312305ba64c1)`."""
        shown = " ".join(f"{key}={_shown(value)}" for key, value in self.axes.items())
        return f"{self.experiment} {shown} ({self.id})".replace("  ", " ")

    @property
    def own_epochs(self) -> range:
        """The epochs that it trains: of one that goes on from a state, those after it.

        Where the state is an event's, its epoch is not known before the training, and they are
        counted from 1.
        """
        start = self.spec.start
        since = start["point"].get("epoch", 0) if start and start["take"] == "state" else 0
        return range(since + 1, self.spec.epochs + 1)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A named family of runs at one scale: base, axes, start, and what its runs leave behind.

    Args:
        labels: column -> value that all its runs have in tables, beside their axes; a run that
            starts from another has that one's labels, with its own over them.
        optional: whether it is trained only for a figure, claim or list of runs that is asked for
            by name: the target of a scale or of a paper leaves out what rests on it.
    """

    name: str
    file: str
    base: Mapping[str, Any] = keyed(
        {},
        "What is trained. Of an experiment that starts from another, what differs from the parent.",
        None,
        "base",
    )
    grid: Mapping[str, list] = keyed(
        {},
        "Axis -> its values: every combination is a run. An axis is a short name such as `elr`, "
        "`lr`, `wd`, `k`, `seed`, or a path such as `model.depth`. Of runs that start from others, "
        "`{times: 0.5}` is half of what the parent has.",
        {"elr": [0.1, 1.0], "seed": [0, 1, 2]},
        "grid",
    )
    cases: list[Mapping[str, Any]] = keyed(
        [{}],
        "Rows of axes that change together, each combined with the grid. All have the same axes.",
        [{"lr": 0.1, "wd": 1.0e-4}, {"lr": 0.05, "wd": 1.0e-3}],
        Items("case"),
        parse=lambda written, place: _cases(written, place),
    )
    start: Start | None = keyed(
        Nullable(dict),
        "What the runs start from; without it, from an initialisation.",
        {"from": "sphere_convnet_c10", "at": "pt", "carry": {"elr": "plr"}},
        "start",
        parse=lambda written, place: None if written is None else read(Start, written, place),
    )
    points: Mapping[str, Mapping[str, Any]] = keyed(
        {},
        "Name -> the networks of a run that are kept: an epoch, an average of epochs, or an event.",
        {"end": {"epoch": "last"}},
        Each("point", "point"),
    )
    record: Mapping[str, Mapping[str, Any]] = keyed(
        {},
        "Recorder -> its keys and its clock, `every`: what is measured while runs train.",
        {"train": {"every": {"epochs": 1}}, "test": {"every": {"epochs": 5}}},
        "record",
    )
    predictions: Kept = keyed(
        Kinds((list, dict), []),
        "Evaluation sets on which the logits of the last network are kept; or `sets` and `points`.",
        ["test"],
        "predictions",
        parse=lambda written, place: _predictions(written, place),
    )
    block: int | None = keyed(
        Nullable(positive(int)),
        "The most runs that one job trains; without it, as many as the scale says.",
        8,
    )
    stack: int | None = keyed(
        Nullable(positive(int)),
        "The most networks of grouped convolutions that a job trains side by side on a GPU; "
        "without it, as many as the scale says.",
        8,
    )
    by_seed: bool = keyed(True, "Whether a job trains runs of one seed only.", False)
    budget: float = keyed(
        not_negative(float, 0.0),
        "Core-seconds that its runs may cost at `demo`: see `refigure plan --budgets`.",
        8,
    )
    resources: Mapping[str, int] = keyed(
        {},
        "What a training job asks for, over what the scale says.",
        {"mem_mb": 64000},
        "resources",
    )
    limits: Mapping[str, int] = field(default_factory=dict)
    optional: bool = keyed(
        False,
        "Whether its runs are trained only for a figure, claim or list of runs asked for by name.",
        True,
    )
    labels: Mapping[str, Any] = keyed(
        {},
        "Column -> a value that all its runs have in tables, beside their axes; no part of what "
        "they are. Probes group and selections choose by it.",
        {"network": "ConvNet"},
        Each((str, int, float), "column"),
        parse=lambda written, place: _labels(written, place),
    )
    absent: bool = keyed(False, "Whether it has no runs; for overrides of a scale.", True)
    scales: Mapping[str, Any] = keyed(
        {},
        "Scale -> what it writes over this entry, merged key by key; a key that is none of these "
        "is one of `base`, so that `model.k` stands for `base.model.k`.",
        {"demo": {"model.k": 8, "epochs": 50, "grid.elr": [0.1]}},
        Each("override", "scale"),
    )

    @property
    def where(self) -> str:
        """File and experiment, as messages name it."""
        return f"{self.file}: {self.name}"

    @property
    def axes(self) -> list[str]:
        """The columns of its own axes, in the order they are written."""
        written = [axis for case in self.cases for axis in _axes_of(case)]
        return list(dict.fromkeys(axis_column(axis) for axis in [*written, *self.grid]))

    def point_of(self, name: str, epochs: int, asker: str = "") -> dict[str, Any]:
        """The resolved point of that name, in a run of that many epochs.

        Args:
            asker: file and key that name the point, where that is not this experiment.

        Raises:
            UserError: the experiment has no such point.
        """
        if name not in self.points:
            place = f"{asker}: '{self.name}' has" if asker else f"{self.where}:"
            raise UserError(f"{place} no point '{name}'{suggest(name, self.points)}")
        written = (
            _clipped(self.points[name], epochs) if "epochs" in self.limits else self.points[name]
        )
        return resolve_point(written, epochs, f"{self.where}.points.{name}")

    def wanted(self, epochs: int) -> Wanted:
        """What its runs of that length leave behind."""
        records, recorders = [], []
        for name, written in self.record.items():
            where = f"{self.where}.record.{name}"
            keys = dict(Keys(written, where).mapping)
            clock = resolve_clock(keys.pop("every", {"epochs": 1}), f"{where}.every")
            recorders.append(settings("record", {"name": name, **keys}, where))
            records.append(canonical({**recorders[-1], "every": clock}))
        for name, point in self.points.items():
            if isinstance(point, Mapping) and isinstance(point.get("best"), str):
                where = f"{self.where}.points.{name}.best"
                check_column(point["best"], recorders, where, f"'{self.name}'")
        return Wanted(
            frozenset(canonical(self.point_of(name, epochs)) for name in self.points),
            frozenset(records),
            frozenset(self._predictions(epochs)),
        )

    def _predictions(self, epochs: int) -> Iterator[str]:
        """`point|set` of each prediction: see `Wanted`."""
        for point in self.predictions.points:
            text = point if point == FINAL else canonical(self.point_of(point, epochs))
            for which in self.predictions.sets:
                yield f"{text}|{which}"


def read_experiment(
    name: str, written: Any, file: str, chain: list[str], limits: Mapping[str, int]
) -> Experiment | None:
    """The experiment a file writes, at the scale whose chain of names is given (root first).

    Returns:
        None where the scale says `absent: true`.

    Raises:
        UserError: an unknown key, or a value of another type.
    """
    where = f"{file}: {name}"
    merged = at_scale(written, chain, where, "base", TOP)
    if typed(merged.pop("absent", False), bool, f"{where}.absent"):
        return None
    experiment = read(Experiment, merged, where, name=name, file=file, limits=limits)
    for axis, values in experiment.grid.items():
        _check_values(axis, values, where)
    both = [axis for case in experiment.cases for axis in _axes_of(case) if axis in experiment.grid]
    if both:
        raise UserError(f"{where}: axis '{both[0]}' is in its grid and in its cases")
    columns = [sorted(_axes_of(case)) for case in experiment.cases]
    for case in columns:
        if case != columns[0]:
            raise UserError(f"{where}.cases: rows differ in their keys: {columns[0]} and {case}")
    return experiment


def _cases(written: list, place: str) -> list[dict[str, Any]]:
    cases = [dict(Keys(case, place).mapping) for case in written]
    if not cases:
        raise UserError(f"{place} must be a list of rows, got []")
    for index, case in enumerate(cases):
        if case in cases[:index]:
            raise UserError(f"{place}: {case} is written twice")
        for key, one in CASE_KEYS.items():
            one.take(Keys(case, place), key)
    return cases


def _predictions(written: Any, place: str) -> Kept:
    """A list alone are sets, of the network that a run ends with."""
    found = read(Kept, {"sets": written} if isinstance(written, list) else written, place)
    for kept in found.sets:
        if kept not in SETS:
            raise UserError(f"{place}: unknown set '{kept}'; known: {', '.join(SETS)}")
    return found


def _check_values(axis: str, values: Any, where: str) -> None:
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}.grid.{axis} must be a list of values, got {values!r}")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise UserError(f"{where}.grid.{axis}: {value!r} is written twice")


def _labels(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    for name in written:
        if name in OWN_COLUMNS:
            raise UserError(f"{where}: '{name}' is a column that every table of runs has")
    return dict(written)


def _thawed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _thawed(item) for key, item in value.items()}
    return value


TOP = tuple(keys_of(Experiment))
"""The keys of an experiment: an override that begins with none of them is of `base`."""


def _clipped(written: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """A point moved into a run that a limit has shortened: the shape stays, the epochs shrink."""
    if not isinstance(written, Mapping):
        return written
    written = dict(written)
    if isinstance(written.get("epoch"), int):
        written["epoch"] = min(written["epoch"], epochs)
    average = written.get("average")
    if isinstance(average, Mapping) and isinstance(average.get("count"), int):
        average = dict(written["average"])
        average.pop("steps", None)
        average["every"] = 1
        average["count"] = min(average["count"], epochs + 1)
        average.pop("to", None)
        average["from"] = epochs + 1 - average["count"]
        written["average"] = average
    return written


def expand(
    experiment: Experiment,
    runs_of: Callable[[str], list[Run]],
    experiment_of: Callable[[str], Experiment | None],
    data_of: Callable[[str, str], str | None],
    files_of: Callable[[str, str], Mapping[str, Mapping[str, Any]]],
) -> list[Run]:
    """All runs of an experiment, in the order of what they start from, of its cases and grid.

    Args:
        runs_of: the runs of another experiment (the parents').
        experiment_of: another experiment, None where it is absent at this scale.
        data_of: (alias, place) -> content id; None where the source is not configured.
        files_of: (name, place) -> content ids of the files of a source to start from, each with
            its `label`; none likewise.

    Returns:
        No run where the data, the file or the parents are absent at this scale.
    """
    limited = "seeds" in experiment.limits
    seeds = _seeds(experiment) if limited else []
    runs: list[Run] = []
    for origin in _origins(experiment, runs_of, experiment_of, files_of):
        spec = _base_spec(experiment, origin, data_of)
        if spec is None:
            continue
        for case in experiment.cases:
            for row in _rows(experiment, case):
                if limited and "seed" in row and row["seed"] not in seeds:
                    continue
                run = _run(experiment, origin, spec, row, case, data_of)
                if run is not None:
                    runs.append(run)
    return runs


@dataclass(frozen=True)
class Origin:
    """What some runs start from.

    Args:
        start: as in a spec; None: from an initialisation.
        axes: the columns that the runs get from it.
        parent: the run it is a point of, if any; `point` the key of the point.
        epoch: from which training goes on, where it does and the epoch is known.
    """

    start: Mapping[str, Any] | None = None
    axes: Mapping[str, Any] = field(default_factory=dict)
    parent: Run | None = None
    point: str | None = None
    epoch: int | None = None


def _origins(experiment, runs_of, experiment_of, files_of) -> Iterator[Origin]:
    if experiment.start is None:
        yield Origin()
        return
    place = f"{experiment.where}.start"
    start = experiment.start
    take = start.take
    if start.file is not None:
        if start.source is not None:
            raise UserError(f"{place}: 'from' and 'file' are both written")
        if take == "state":
            raise UserError(f"{place}: a file holds no training state to go on from, only weights")
        for name in [start.file] if isinstance(start.file, str) else start.file:
            for file, found in files_of(name, place).items():
                yield Origin({"file": file, "take": take}, {"checkpoint": found["label"]})
        return
    if start.source is None:
        raise UserError(f"{place}: key 'from' is missing")
    source = experiment_of(start.source)
    if source is None:
        return
    for parent in select(runs_of(source.name), start.where, f"{place}.where", experiment.limits):
        point = source.point_of(start.at, parent.spec.epochs, f"{place}.at")
        if take == "state" and not ("epoch" in point or "event" in point):
            raise UserError(
                f"{place}: only an epoch's or event's point can be gone on from, got {point}"
            )
        begun = Part("start", {"run": parent.id, "point": point, "take": take})
        since = point.get("epoch") if take == "state" else None
        yield Origin(begun, _carried(experiment, parent), parent, canonical(point), since)


def _seeds(experiment: Experiment) -> list:
    """The first of the seeds that are written, as many as the limit leaves."""
    seeds = list(experiment.grid.get("seed", []))
    for case in experiment.cases:
        seeds += range(_count(experiment, case)) if "seeds" in case else [case.get("seed")]
    seeds = list(dict.fromkeys(seed for seed in seeds if seed is not None))
    return seeds[: experiment.limits["seeds"]]


def _count(experiment: Experiment, case: Mapping[str, Any]) -> int:
    if "seed" in (*case, *experiment.grid):
        raise UserError(f"{experiment.where}.cases: 'seeds' and 'seed' are both written")
    return case["seeds"]


def select(
    runs: list[Run], where: Mapping[str, Any], place: str, limits: Mapping[str, int]
) -> list[Run]:
    """The runs whose axes and labels have the wanted values, in their own order.

    Args:
        where: column -> a value, a list of values, or `{min, max, is}`: bounds, both included, and
            what it must be equal to. Each of them is a number or the name of another column, so
            that `elr: {is: low}` selects by what each experiment calls low in its labels.

    Raises:
        UserError: a column that the runs do not have, or a value that none of them has (but for
            labels, for seeds, which a limit may have cut, and for what may have no source).
    """
    if not runs:
        return []
    tests: list[Callable[[Mapping[str, Any]], bool]] = []
    columns = [run.columns for run in runs]
    for axis, wanted in where.items():
        for own in columns:
            if axis not in own:
                raise UserError(f"{place}: no axis '{axis}'{suggest(axis, own)}")
        if isinstance(wanted, Mapping):
            tests.append(_bounded(axis, wanted, f"{place}.{axis}"))
            continue
        have = {_comparable(own[axis]) for own in columns}
        values = wanted if isinstance(wanted, list) else [wanted]
        cut = axis in SOURCED or axis in runs[0].labels or (axis == "seed" and "seeds" in limits)
        for value in values:
            if _comparable(value) not in have and not cut:
                shown = ", ".join(_shown(item) for item in sorted(have, key=str))
                raise UserError(f"{place}: {axis}={_shown(value)} is not among {shown}")
        accepted = {_comparable(value) for value in values}
        tests.append(lambda own, axis=axis, ok=accepted: _comparable(own[axis]) in ok)
    return [run for run, own in zip(runs, columns) if all(test(own) for test in tests)]


COMPARE = {"min": operator.ge, "max": operator.le, "is": operator.eq}


def _bounded(axis: str, written: Mapping[str, Any], place: str) -> Callable[[Mapping], bool]:
    """Whether a run's value of an axis is within `{min, max, is}`."""
    keys = Keys(written, place)
    bounds = {name: keys.take(name, (int, float, str), None) for name in COMPARE}
    keys.done()

    def test(own: Mapping[str, Any]) -> bool:
        for name, bound in bounds.items():
            if isinstance(bound, str):
                if bound not in own:
                    raise UserError(f"{place}.{name}: no axis '{bound}'{suggest(bound, own)}")
                bound = own[bound]
            if bound is not None and not COMPARE[name](own[axis], bound):
                return False
        return True

    return test


def _comparable(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rows(experiment: Experiment, case: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    grid = dict(experiment.grid)
    if "seeds" in case:
        grid["seed"] = list(range(_count(experiment, case)))
    axes = _axes_of(case)
    for values in itertools.product(*grid.values()):
        yield {**axes, **dict(zip(grid, values))}


def _axes_of(case: Mapping[str, Any]) -> dict[str, Any]:
    return {axis: value for axis, value in case.items() if axis not in CASE_KEYS}


def _base_spec(experiment: Experiment, origin: Origin, data_of) -> Spec | None:
    written = dict(experiment.base)
    where = f"{experiment.where}.base"
    if "data" in written:
        written["data"] = data_of(typed(written["data"], str, f"{where}.data"), where)
        if written["data"] is None:
            return None
    if origin.parent is None:
        if origin.start is not None:
            written["start"] = origin.start
        first = {axis: values[0] for axis, values in experiment.grid.items()}
        first |= _axes_of(experiment.cases[0])
        spec = Spec.of(_with_first_values(written, first, where, data_of), where)
    else:
        spec = replace(_updated(origin.parent.spec, written, where), start=origin.start)
    if "epochs" in experiment.limits:
        shortest = min(spec.epochs, experiment.limits["epochs"])
        spec = replace(spec, epochs=shortest)
    return spec


def _with_first_values(written: dict, first: dict[str, Any], where: str, data_of) -> dict[str, Any]:
    """The base with the first value of each axis, so that it can be checked as a whole once."""
    written = _thawed(written)
    written.setdefault("seed", 0)
    for axis, value in first.items():
        path = axis_path(axis, where.removesuffix(".base"))
        if path == ("data",):
            value = data_of(value, where) or "absent"
        target = written
        for part in path[:-1]:
            inner = target.setdefault(part, {})
            if isinstance(inner, str):
                inner = target[part] = {"name": inner}
            target = inner
        target[path[-1]] = value
    return written


def _updated(spec: Spec, written: Mapping[str, Any], where: str) -> Spec:
    """A parent's spec with what the child's base writes: whole where it names, else key by key."""
    changes: dict[str, Any] = {}
    for key, value in written.items():
        if key in (*NAMED, "augment"):
            if isinstance(value, Mapping) and "name" not in value:
                value = {**(getattr(spec, key) or {}), **value}
            if value is None and key in NAMED_DEFAULTS:
                value = NAMED_DEFAULTS[key]
            if value is None and key == "augment":
                changes[key] = None
            else:
                changes[key] = Part(key, settings(key, value, f"{where}.{key}"))
        elif key in ("head", "stop"):
            full = {
                "data": spec.data,
                "model": spec.model,
                "optimiser": spec.optimiser,
                "epochs": 1,
                "seed": 0,
                key: value,
            }
            changes[key] = getattr(Spec.of(full, where), key)
        elif key == "data":
            changes[key] = value
        elif key in PLAIN:
            changes[key] = value_of(PLAIN[key], value, f"{where}.{key}")
        else:
            raise UserError(f"{where}: unknown key '{key}'{suggest(key, [*NAMED, *PLAIN])}")
    return replace(spec, **changes)


def _carried(experiment: Experiment, parent: Run) -> dict[str, Any]:
    """The parent's axes under the names that the child gives them; the seed goes along."""
    where = f"{experiment.where}.start.carry"
    names = experiment.start.carry
    for axis in names:
        if axis not in parent.axes:
            raise UserError(f"{where}: no axis '{axis}'{suggest(axis, parent.axes)}")
    own = set(experiment.axes)
    return {
        names.get(axis, axis): value
        for axis, value in parent.axes.items()
        if axis in names or axis not in own
    }


def _run(experiment, origin, spec, row, case, data_of) -> Run | None:
    where = f"{experiment.where}.grid"
    data = {"data": data_of(row["data"], where)} if "data" in row else {}
    if None in data.values():
        return None
    if origin.parent is not None:
        row = {axis: _multiplied(spec, axis, value, where) for axis, value in row.items()}
    spec = replace(spec, **spec.changed({**row, **data}, where))
    axes = dict(origin.axes)
    for axis, value in row.items():
        first, *rest = axis_path(axis, where)
        found = getattr(spec, first)
        axes[axis_column(axis)] = value if axis == "data" else found[rest[0]] if rest else found
    if "epochs" in row and "epochs" in experiment.limits:
        spec = replace(spec, epochs=min(spec.epochs, experiment.limits["epochs"]))
    since = origin.epoch
    if since is not None:
        if "epochs" in experiment.limits:
            spec = replace(spec, epochs=since + spec.epochs)
        if spec.epochs <= since:
            raise UserError(
                f"{experiment.where}.start: goes on from epoch {since} to {spec.epochs}"
            )
    labels = {**(origin.parent.labels if origin.parent else {}), **experiment.labels}
    if taken := set(labels) & set(axes):
        name = sorted(taken)[0]
        raise UserError(f"{experiment.where}.labels: '{name}' is an axis of its runs")
    how = {"block": case.get("block"), "stack": case.get("stack")}
    return Run(spec, experiment.name, axes, origin.parent, origin.point, labels=labels, **how)


def _multiplied(spec: Spec, axis: str, value: Any, where: str) -> Any:
    """An axis's value; `{times: 0.5}` is half of what the parent has, whole numbers rounded down.

    Raises:
        UserError: the parent has no number there, or another key is written.
    """
    if not isinstance(value, Mapping):
        return value
    place = f"{where}.{axis}"
    keys = Keys(value, place)
    factor = keys.take("times", float)
    keys.done()
    first, *rest = axis_path(axis, where)
    found = getattr(spec, first)
    if rest:
        found = (found or {}).get(rest[0])
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise UserError(f"{place}: nothing to multiply by {factor:g}: the parent has {found!r}")
    return type(found)(found * factor)
