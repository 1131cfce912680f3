"""Probes and tables of one scale: what they select, and the jobs and files they are made of."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import check_array
from refigure.graph.config import Config
from refigure.graph.experiments import FINAL, SETS, Run, select
from refigure.graph.overrides import at_scale
from refigure.graph.reading import Each, Items, Key, Keys, Kinds, Nullable, keyed, read, suggest
from refigure.graph.runs import Runs
from refigure.graph.spec import canonical, digest

_SCALES = Key(
    {},
    "Scale -> what it writes over this entry, merged key by key; `replace: true` in a mapping "
    "replaces it. A scale that extends another has that one's overrides too.",
    None,
    Each("override", "scale"),
)
_WHERE = Key(
    {},
    "Axis or label -> the value, or list of values, of the runs that are chosen.",
    {"seed": 0, "elr": [0.1, 1.0]},
)
_OPTIONS = Key({}, "Further arguments of the function.", {"points": 21})
_DATA = Key(
    {},
    "Argument of the function -> data of the scale.",
    {"data": "images10"},
    Each(str, "argument"),
)


@dataclass(frozen=True, kw_only=True)
class SelectionKeys:
    """What chooses runs, and networks of them: in a probe, in a table."""

    source: str | list = keyed(
        (str, list), "The experiment, or several.", "sphere_convnet_c10", name="from"
    )
    point: str | None = keyed(
        Nullable(str), "A point of the experiment: which network of each run.", "end"
    )
    predictions: str | None = keyed(
        Nullable(str),
        "In place of a network, the predictions that were kept of it on a set: a pool. Without "
        "`point` those of the network that the run ends with.",
        "test",
    )
    where: Mapping[str, Any] = keyed(_WHERE)
    carry: Mapping[str, str] = keyed(
        {}, "Axis -> the name it has here.", {"elr": "plr"}, Each(str, "axis")
    )
    scales: Mapping[str, Any] = keyed(_SCALES)


@dataclass(frozen=True, kw_only=True)
class ProbeKeys:
    """What writes a probe."""

    measure: str = keyed(
        str,
        "The function under `refigure` that measures one group of networks.",
        "measures.paths.measure",
    )
    of: Mapping[str, Any] = keyed(
        dict,
        "Role -> selection, or list of selections: what a group holds. One selection with `points` "
        "in place of `point` makes each of these points a role.",
        {"net": {"from": "sphere_convnet_c10", "point": "end"}},
        "roles",
    )
    each: list[str] = keyed(
        [],
        "Axes that tell groups apart: a group holds the runs that agree in them.",
        ["elr", "seed"],
        Items(str),
    )
    split: list[str] = keyed(
        [],
        "Axes that tell jobs apart; with none, one job measures every group.",
        ["elr"],
        Items(str),
    )
    options: Mapping[str, Any] = keyed(_OPTIONS)
    data: Mapping[str, str] = keyed(_DATA)
    scales: Mapping[str, Any] = keyed(_SCALES)


@dataclass(frozen=True, kw_only=True)
class TableKeys:
    """What writes a table."""

    compute: str | None = keyed(
        Nullable(str),
        "The function under `refigure` that makes it; without one the table holds what recorders "
        "measured of `runs`, beside their axes.",
        "tables.sphere.regimes",
    )
    runs: Any = keyed(
        Kinds((str, list, dict), {}),
        "The runs whose histories it reads: one selection, or an argument of the function -> "
        "selections.",
        {"from": "sphere_convnet_c10", "where": {"seed": 0}},
        "table_runs",
    )
    grid: Any = keyed(
        Kinds((str, list, dict), {}),
        "Runs of which the function takes axes and specs only: none is trained for it.",
        {"pools": "vgg_pool_c100"},
        "table_runs",
    )
    arrays: Any = keyed(
        Kinds((list, dict), []),
        "Recorded arrays: names, each then an argument with a row a value; or argument -> name, "
        "which is then given as arrays of their own type.",
        ["filter_norm"],
    )
    tables: Mapping[str, str] = keyed(
        {}, "Argument -> another table.", {"runs": "sphere_m1"}, Each(str, "argument")
    )
    probes: Mapping[str, str] = keyed(
        {}, "Argument -> the numbers of a probe.", {"paths": "paths_m1"}, Each(str, "argument")
    )
    data: Mapping[str, str] = keyed(_DATA)
    options: Mapping[str, Any] = keyed(_OPTIONS)
    scales: Mapping[str, Any] = keyed(_SCALES)


@dataclass(frozen=True)
class Probe:
    """A measurement after training.

    Args:
        measure: dotted name under `refigure`, of the function that measures one group.
        roles: role -> (runs, point key or None): what a group holds.
        each: the axes that tell groups apart; roles are joined by them.
        split: the axes that tell jobs apart.
        predictions: role -> evaluation set, of roles that are pools of kept predictions and not of
            networks; their point is None where the network that a run ends with is meant.
        data: argument name -> content id of other data than the runs' own that the function takes,
            None where its source is not configured.
    """

    name: str
    measure: str
    roles: Mapping[str, list[tuple[Run, str | None]]]
    each: list[str]
    split: list[str]
    options: Mapping[str, Any]
    predictions: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str | None] = field(default_factory=dict)

    def told(self, run: Run) -> dict[str, Any]:
        """The run's axes, and those of its labels that tell groups or jobs apart."""
        names = {*self.each, *self.split}
        return {**{k: v for k, v in run.labels.items() if k in names}, **run.axes}

    @cached_property
    def parts(self) -> dict[str, dict[str, list[tuple[Run, str | None]]]]:
        """Job name -> the roles' members that this job measures."""
        if not self.split:
            return {self.name: dict(self.roles)} if any(self.roles.values()) else {}
        parts: dict[tuple, dict] = defaultdict(lambda: {role: [] for role in self.roles})
        for role, members in self.roles.items():
            for run, point in members:
                parts[tuple(run.columns[axis] for axis in self.split)][role].append((run, point))
        return {f"{self.name}-{digest(list(key), 8)}": roles for key, roles in parts.items()}


@dataclass(frozen=True)
class Table:
    """Tidy numbers over a selection of runs, probes and other tables.

    Args:
        compute: dotted name under `refigure`; None: the runs' histories with their axes.
        runs: role -> runs whose histories the function takes.
        arrays: names of recorded arrays that the function takes as long rows.
        recorded: argument name -> recorded array that the function takes as `Recorded` arrays,
            with their own types.
        grid: role -> runs whose axes and specs the function takes; none of them is trained for it.
        tables, probes: argument name -> table or probe.
        data: argument name -> content id of the prepared data that the function takes, None where
            its source is not configured.
    """

    name: str
    file: str
    compute: str | None
    runs: Mapping[str, list[Run]] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)
    grid: Mapping[str, list[Run]] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str | None] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


class Selections(Runs):
    """The probes and tables of a scale, over its runs."""

    def __init__(self, config: Config, scale: str):
        super().__init__(config, scale)
        self._tables: dict[str, Table] = {}
        self._resolving: list[str] = []
        self._selected: dict[str, dict[str, Run]] = {}

    def _runs_of(self, selections: Any, key: str, place: str) -> dict[str, list[Run]]:
        """Role -> runs, of what a table writes under a key: whole runs, no points of them."""
        alone = isinstance(selections, (str, list)) or bool({"from", "where"} & set(selections))
        if alone:
            selections = {key: selections}
        found: dict[str, list[Run]] = {}
        for role, selection in selections.items():
            found[role] = []
            for part in selection if isinstance(selection, list) else [selection]:
                where = f"{place}.{key}" if alone else f"{place}.{key}.{role}"
                if isinstance(part, Mapping) and "predictions" in part:
                    raise UserError(f"{where}.predictions: a table reads none; a probe does")
                found[role] += self._selection(part, where)[0]
        return found

    def _selection(self, written: Any, place: str) -> tuple[list[Run], str | None]:
        if isinstance(written, str):
            written = {"from": written}
        self._check_scales(written, place)
        asked = read(SelectionKeys, at_scale(written, self.scale.chain, place), place)
        if asked.predictions is not None and asked.predictions not in SETS:
            raise UserError(
                f"{place}.predictions: unknown set '{asked.predictions}'"
                f"{suggest(asked.predictions, SETS)}"
            )
        names = [asked.source] if isinstance(asked.source, str) else asked.source
        runs = [run for name in names for run in self.runs(name, place)]
        runs = select(runs, asked.where, f"{place}.where", self.scale.limits)
        return [_renamed(run, asked.carry, f"{place}.carry") for run in runs], asked.point

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """Every probe of the scale, by name."""
        found = {}
        points: dict[tuple[str, str | None, int], str] = {}  # the same for many runs
        for name, (file, written) in self.config.families["probes"].items():
            place = f"{file}: {name}"
            self._check_scales(written, place)
            asked = read(ProbeKeys, at_scale(written, self.scale.chain, place), place)
            roles, predictions = {}, {}
            for role, selection in _roles(asked.of, place).items():
                parts = selection if isinstance(selection, list) else [selection]
                members: list[tuple[Run, str | None]] = []
                sets = {
                    part.get("predictions") if isinstance(part, Mapping) else None for part in parts
                }
                if len(sets) > 1:
                    raise UserError(f"{place}.of.{role}: its parts differ in their predictions")
                if sets and None not in sets:
                    predictions[role] = sets.pop()
                for part in parts:
                    runs, point = self._selection(part, f"{place}.of.{role}")
                    if runs and point is None and role not in predictions:
                        raise UserError(
                            f"{place}.of.{role}: names no network to measure: add `point`, a point "
                            "of its experiment, or `predictions`, an evaluation set"
                        )
                    for run in runs:
                        where = (run.experiment, point, run.spec.epochs)
                        if point and where not in points:
                            definition = self.experiments[run.experiment].point_of(
                                point, run.spec.epochs, f"{place}.of.{role}"
                            )
                            points[where] = canonical(definition)
                        at = points.get(where)
                        members.append((run, at))
                        if role in predictions:
                            self._check_kept(run, at, predictions[role], f"{place}.of.{role}")
                roles[role] = members
            found[name] = Probe(
                name,
                asked.measure,
                roles,
                asked.each,
                asked.split,
                asked.options,
                predictions,
                self._data_of(asked.data, place),
            )
            members = [run for role in roles.values() for run, _ in role]
            for axis in (*found[name].each, *found[name].split):
                if members and not any(axis in run.columns for run in members):
                    near = suggest(axis, members[0].columns)
                    raise UserError(f"{place}: no axis '{axis}'{near}")
            for run in members:
                for axis in found[name].split:
                    if axis not in run.columns:
                        raise UserError(f"{place}.split: {run.label} has no axis '{axis}'")
        return found

    def _check_kept(self, run: Run, point: str | None, which: str, place: str) -> None:
        """Refuse a pool of predictions that a run does not leave.

        Raises:
            UserError: names the experiment.
        """
        if f"{point or FINAL}|{which}" not in self.owned[1][run.id].predictions:
            at = f" at {point}" if point else ""
            raise UserError(
                f"{place}.predictions: '{run.experiment}' keeps none of set '{which}'{at}; add it"
                " to its `predictions`"
            )

    def _check_recorded(self, array: str, table: Table, place: str) -> None:
        """Refuse an array that none of a table's runs leaves.

        Raises:
            UserError: names the nearest array, or the experiments.
        """
        runs = [run for members in table.runs.values() for run in members]
        if runs:
            records = {record for run in runs for record in self.owned[1][run.id].records}
            recorders = {json.loads(record)["name"] for record in records}
            names = ", ".join(f"'{name}'" for name in dict.fromkeys(run.experiment for run in runs))
            check_array(array, recorders, place, names)

    @cached_property
    def probe_of_part(self) -> dict[str, Probe]:
        """Job name -> probe."""
        return {part: probe for probe in self.probes.values() for part in probe.parts}

    def table(self, name: str, place: str = "") -> Table:
        """A table by its name.

        Raises:
            UserError: no file writes it.
        """
        if name in self._tables:
            return self._tables[name]
        file, written = self.table_entry(name, place)
        place = f"{file}: {name}"
        self._check_scales(written, place)
        asked = read(TableKeys, at_scale(written, self.scale.chain, place), place)
        by_name = isinstance(asked.arrays, dict)
        table = Table(
            name=name,
            file=file,
            compute=asked.compute,
            runs=self._runs_of(asked.runs, "runs", place),
            arrays=() if by_name else tuple(asked.arrays),
            recorded=asked.arrays if by_name else {},
            grid=self._runs_of(asked.grid, "grid", place),
            tables=asked.tables,
            probes=asked.probes,
            data=self._data_of(asked.data, place),
            options=asked.options,
        )
        for array in (*table.arrays, *table.recorded.values()):
            self._check_recorded(array, table, f"{place}.arrays")
        if name in self._resolving:
            raise UserError(f"{place}: made of itself: {' -> '.join([*self._resolving, name])}")
        self._resolving.append(name)
        try:
            for other in table.tables.values():
                self.table(other, place)
        finally:
            self._resolving.pop()
        for probe in table.probes.values():
            if probe not in self.probes:
                raise UserError(f"{place}: unknown probe '{probe}'{suggest(probe, self.probes)}")
        self._tables[name] = table
        return table

    def table_entry(self, name: str, place: str = "") -> tuple[str, dict[str, Any]]:
        """The file that writes a table, and its entry as it is written.

        Raises:
            UserError: no file writes it.
        """
        known = self.config.families["tables"]
        if name not in known:
            raise UserError(f"{place or 'tables'}: unknown table '{name}'{suggest(name, known)}")
        return known[name]

    def _data_of(self, aliases: Mapping[str, str], place: str) -> dict[str, str | None]:
        return {
            argument: self.data_of(alias, f"{place}.data") for argument, alias in aliases.items()
        }

    def selected(self, name: str) -> dict[str, Run]:
        """The runs that a table is a selection of, by id: its own, its probes', its tables'."""
        if name not in self._selected:
            table = self.table(name)
            found = {run.id: run for runs in table.runs.values() for run in runs}
            for probe in table.probes.values():
                for members in self.probes[probe].roles.values():
                    found |= {run.id: run for run, _ in members}
            for other in table.tables.values():
                found |= self.selected(other)
            self._selected[name] = found
        return self._selected[name]

    def named(self, name: str) -> set[str]:
        """The experiments that a table's selections name, its probes' and its tables' too, whether
        they have runs at this scale or not."""
        written = self._at_scale("tables", name)
        found = set(self._sources(written.get("runs"))) | set(self._sources(written.get("grid")))
        for probe in (written.get("probes") or {}).values():
            found |= set(self._sources(self._at_scale("probes", probe)["of"]))
        for other in (written.get("tables") or {}).values():
            found |= self.named(other)
        return found

    def _at_scale(self, kind: str, name: str) -> dict[str, Any]:
        file, written = self.config.families[kind][name]
        return at_scale(written, self.scale.chain, f"{file}: {name}")

    def _sources(self, selections: Any) -> Iterator[str]:
        """The experiments of selections, however they are nested in roles and lists."""
        if isinstance(selections, str):
            yield selections
        elif isinstance(selections, list):
            for one in selections:
                yield from self._sources(one)
        elif isinstance(selections, Mapping):
            if "from" in selections:
                yield from self._sources(at_scale(selections, self.scale.chain, "from")["from"])
            else:
                for one in selections.values():
                    yield from self._sources(one)

    def table_files(self, name: str) -> list[Path]:
        """The files a table is made of."""
        table = self.table(name)
        runs = [run for members in table.runs.values() for run in members]
        files: list[Path] = []
        for pack in self.packs_of(runs):
            files.append(self.paths.pack(pack) / "history.parquet")
            if table.arrays or table.recorded:
                files.append(self.paths.pack(pack) / "arrays.safetensors")
        files += [
            self.paths.measure(part)
            for probe in table.probes.values()
            for part in self.probes[probe].parts
        ]
        files += [self.paths.table(other) for other in table.tables.values()]
        return files + [self.paths.data(data) for data in table.data.values() if data]

    def measured(self, part: str) -> dict[str, list[tuple[Run, str | None]]]:
        """The members that one part of a probe measures, by role.

        Raises:
            UserError: no probe of this scale has such a part.
        """
        if part not in self.probe_of_part:
            raise UserError(
                f"measure '{part}' is not in the configuration at scale '{self.scale.name}'"
                f"{suggest(part, self.probe_of_part)}"
            )
        return self.probe_of_part[part].parts[part]


def _roles(written: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Role -> selection; of one selection with several `points` each point is a role."""
    if "points" not in written:
        return written
    keys = Keys(written, f"{place}.of")
    rest = {key: value for key, value in written.items() if key != "points"}
    return {point: {**rest, "point": point} for point in keys.take("points", list)}


def _renamed(run: Run, names: Mapping[str, str], place: str) -> Run:
    """The run with some axes under other names: the ELR of a parent is the PLR of its children."""
    if not names:
        return run
    for axis in names:
        if axis not in run.axes:
            raise UserError(f"{place}: no axis '{axis}'{suggest(axis, run.axes)}")
    axes = {names.get(axis, axis): value for axis, value in run.axes.items()}
    if taken := set(axes) & set(run.labels):
        raise UserError(f"{place}: '{sorted(taken)[0]}' is a label of {run.experiment}")
    return replace(run, axes=axes)
