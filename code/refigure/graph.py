"""The look-ups of one scale: which runs, packs, tables and claims there are, and what each needs.

Nothing here reads a result: the graph follows from the configuration alone.
"""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.catalogue import CATALOGUE
from refigure.config import RESOURCES, Config
from refigure.errors import UserError
from refigure.experiments import Experiment, Run, Wanted, expand, read_experiment, select
from refigure.fingerprint import fingerprint, notebook_digest
from refigure.packs import Pack, cut
from refigure.paths import Paths
from refigure.reading import Keys, suggest
from refigure.spec import canonical, digest

LOOP = "refigure.training.job"
VERDICT = "refigure.verdict"
PLOTTING = "refigure.plotting"


@dataclass(frozen=True)
class Probe:
    """A measurement after training.

    Args:
        measure: dotted name under `refigure`, of the function that measures one group.
        roles: role -> (runs, point key or None): what a group holds.
        each: the axes that tell groups apart; roles are joined by them.
        split: the axes that tell jobs apart.
    """

    name: str
    measure: str
    roles: Mapping[str, list[tuple[Run, str | None]]]
    each: list[str]
    split: list[str]
    options: Mapping[str, Any]

    def parts(self) -> dict[str, dict[str, list[tuple[Run, str | None]]]]:
        """Job name -> the roles' members that this job measures."""
        if not self.split:
            return {self.name: dict(self.roles)} if any(self.roles.values()) else {}
        parts: dict[tuple, dict] = defaultdict(lambda: {role: [] for role in self.roles})
        for role, members in self.roles.items():
            for run, point in members:
                parts[tuple(run.axes[axis] for axis in self.split)][role].append((run, point))
        return {f"{self.name}-{digest(list(key), 8)}": roles for key, roles in parts.items()}


@dataclass(frozen=True)
class Table:
    """Tidy numbers over a selection of runs, probes and other tables.

    Args:
        compute: dotted name under `refigure`; None: the runs' histories with their axes.
        runs: role -> runs whose histories the function takes.
        arrays: names of recorded arrays that the function takes.
        tables, probes: argument name -> table or probe.
    """

    name: str
    file: str
    compute: str | None
    runs: Mapping[str, list[Run]] = field(default_factory=dict)
    arrays: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A target that a notebook draws."""

    paper: str
    name: str
    notebook: str
    tables: Mapping[str, str]
    parameters: Mapping[str, Any]
    caption: str
    look: str
    alt: str
    design: bool
    optional: bool
    published: Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper with a predicate over tables."""

    paper: str
    name: str
    statement: str
    decide: str
    tables: Mapping[str, str]
    options: Mapping[str, Any]
    figures: tuple[str, ...]
    conditions: str


class Graph:
    """All look-ups at one scale; expanded on first use and kept.

    Args:
        config: read from `config/`.
        scale: its name.
    """

    def __init__(self, config: Config, scale: str):
        self.config = config
        self.scale = config.scale(scale)
        self.paths = Paths(config.root, scale)
        self._runs: dict[str, list[Run]] = {}
        self._expanding: list[str] = []
        self._data: dict[str, str | None] = {}
        self._tables: dict[str, Table] = {}
        self._resolving: list[str] = []

    # ------------------------------------------------------------------ data and runs

    @cached_property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """Content id -> recipe, of every alias of the scale that has data."""
        found = {}
        for alias in self.scale.data:
            recipe = self.config.recipe(self.scale, alias, self.scale.file)
            if recipe is not None:
                found[self.config.data_id(recipe)] = recipe
        return found

    def data_of(self, alias: str, place: str) -> str | None:
        """The content id of an alias; None where its source is not configured."""
        if alias not in self._data:
            recipe = self.config.recipe(self.scale, alias, place)
            self._data[alias] = recipe and self.config.data_id(recipe)
        return self._data[alias]

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """Every experiment that has runs at this scale, in the order of files and keys."""
        found = {}
        for name, (file, written) in self.config.families["experiments"].items():
            self._check_scales(written, f"{file}: {name}")
            experiment = read_experiment(name, written, file, self.scale.chain, self.scale.limits)
            if experiment is not None:
                found[name] = experiment
        return found

    def _check_scales(self, written: Any, place: str) -> None:
        for scale in Keys(Keys(written, place).mapping.get("scales"), f"{place}.scales").mapping:
            if scale not in self.config.scales:
                raise UserError(
                    f"{place}.scales: unknown scale '{scale}'{suggest(scale, self.config.scales)}"
                )

    def experiment(self, name: str, place: str) -> Experiment | None:
        """The experiment of that name; None where it is absent at this scale.

        Raises:
            UserError: no file writes it.
        """
        known = self.config.families["experiments"]
        if name not in known:
            raise UserError(f"{place}: unknown experiment '{name}'{suggest(name, known)}")
        return self.experiments.get(name)

    def runs(self, name: str, place: str = "") -> list[Run]:
        """The runs of an experiment; none where it is absent at this scale."""
        if name not in self._runs:
            experiment = self.experiment(name, place or f"runs of {name}")
            if experiment is None:
                self._runs[name] = []
            elif name in self._expanding:
                way = " -> ".join([*self._expanding, name])
                raise UserError(f"{experiment.where}: starts from itself: {way}")
            else:
                self._expanding.append(name)
                try:
                    self._runs[name] = expand(
                        experiment,
                        self.runs,
                        lambda parent: self.experiment(parent, f"{experiment.where}.start"),
                        self.data_of,
                        self.config.file_id,
                    )
                finally:
                    self._expanding.pop()
        return self._runs[name]

    @cached_property
    def owned(self) -> tuple[dict[str, Run], dict[str, Wanted]]:
        """Every run once, under the first experiment that lists it; and all that it leaves."""
        owners: dict[str, Run] = {}
        wanted: dict[str, Wanted] = {}
        lengths: dict[tuple[str, int], Wanted] = {}
        for name, experiment in self.experiments.items():
            for run in self.runs(name):
                key = (name, run.spec.epochs)
                if key not in lengths:
                    lengths[key] = experiment.wanted(run.spec.epochs)
                mine = lengths[key]
                if run.id in owners:
                    wanted[run.id] = wanted[run.id] | mine
                else:
                    owners[run.id] = run
                    wanted[run.id] = mine
        return owners, wanted

    @cached_property
    def packs(self) -> dict[str, Pack]:
        """Every pack of the scale, by name."""
        owners, wanted = self.owned
        together: dict[tuple[str, int], list[Run]] = defaultdict(list)
        for run in owners.values():
            block = run.block or self.experiments[run.experiment].block or self.scale.block
            together[run.experiment, block].append(run)
        return {
            pack.name: pack
            for (_, block), runs in together.items()
            for pack in cut(runs, wanted, block)
        }

    @cached_property
    def pack_of(self) -> dict[str, str]:
        """Run id -> the name of its pack."""
        return {run.id: pack.name for pack in self.packs.values() for run in pack.runs}

    def packs_of(self, runs: list[Run]) -> list[str]:
        """The packs that hold some runs, each once, in order."""
        return list(dict.fromkeys(self.pack_of[run.id] for run in runs))

    def pack(self, name: str) -> Pack:
        """A pack by its name.

        Raises:
            UserError: no experiment of this scale has such a pack.
        """
        if name not in self.packs:
            raise UserError(
                f"pack '{name}' is not in the configuration at scale '{self.scale.name}'"
                f"{suggest(name, self.packs)}"
            )
        return self.packs[name]

    def resources(self, stage: str, experiment: str | None = None) -> dict[str, int]:
        """What a job asks for: the scale's, with the experiment's over it."""
        asked = self.scale.resources_of(stage)
        if experiment:
            asking = self.experiments[experiment]
            own = Keys(asking.resources, f"{asking.where}.resources")
            asked |= {key: own.take(key, int) for key in RESOURCES if key in own.mapping}
            own.taken += list(RESOURCES)
            own.done()
        return asked

    # ------------------------------------------------------------------ code as a parameter

    def training_code(self, pack: Pack) -> str:
        """The digest of the code that trains a pack: the loop, and what its specs name."""
        recorders = [json.loads(record)["name"] for record in pack.wanted.records]
        events = [json.loads(point).get("event") for point in pack.wanted.points]
        kept = {CATALOGUE["record"][name].module for name in recorders}
        kept |= {CATALOGUE["event"][name].module for name in events if name}
        return fingerprint([LOOP, *pack.modules, *kept])

    def recipe_code(self, data: str) -> str:
        """The digest of the code that prepares some data."""
        recipe = self.recipes[data]
        return fingerprint([CATALOGUE["recipe"][recipe["name"]].module, "refigure.data.sources"])

    def measure_code(self, part: str) -> str:
        """The digest of the code of a probe, with what it measures and its options."""
        probe = self.probe_of_part[part]
        members = {
            role: [[run.id, dict(run.axes), point] for run, point in members]
            for role, members in probe.parts()[part].items()
        }
        words = [probe.measure, members, probe.each, dict(probe.options)]
        return f"{fingerprint([module_of(probe.measure)])} {digest(words)}"

    def table_code(self, name: str) -> str:
        """The digest of the code of a table, with its selection and options."""
        table = self.table(name)
        runs = {
            role: [[run.experiment, run.id, dict(run.axes)] for run in runs]
            for role, runs in table.runs.items()
        }
        words = [table.compute, runs, table.arrays, dict(table.tables), dict(table.probes)]
        module = module_of(table.compute) if table.compute else "refigure.tables.histories"
        code = fingerprint([module, "refigure.tables.histories"])
        return f"{code} {digest([*words, dict(table.options)])}"

    def claim_code(self, paper: str, name: str) -> str:
        """The digest of the code of a claim's predicate, with its text and thresholds."""
        claim = self.claim(paper, name)
        words = [claim.statement, claim.decide, dict(claim.tables), dict(claim.options)]
        words += [claim.figures, claim.conditions]
        return f"{fingerprint([module_of(claim.decide), VERDICT])} {digest(words)}"

    def figure_code(self, paper: str, name: str) -> str:
        """The digest of a figure: its notebook's cells, the plotting module, its parameters."""
        figure = self.figure(paper, name)
        cells = notebook_digest(self.notebook_path(figure))
        words = [dict(figure.tables), dict(figure.parameters), figure.caption]
        words.append(dict(figure.published))
        return f"{cells} {fingerprint([PLOTTING])} {digest(words)}"

    # ------------------------------------------------------------------ probes and tables

    def _selection(self, written: Any, place: str) -> tuple[list[Run], str | None]:
        if isinstance(written, str):
            written = {"from": written}
        keys = Keys(written, place)
        name = keys.take("from", str)
        point = keys.take("point", str, None)
        where = dict(keys.take("where", dict, {}))
        scales = keys.take("scales", dict, {})
        keys.done()
        self._check_scales(written, place)
        for scale in self.scale.chain:
            if scale in scales:
                where = dict(Keys(scales[scale], f"{place}.scales.{scale}").mapping)
        runs = select(self.runs(name, place), where, f"{place}.where", self.scale.limits)
        return runs, point

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """Every probe of the scale, by name."""
        found = {}
        for name, (file, written) in self.config.families["probes"].items():
            place = f"{file}: {name}"
            self._check_scales(written, place)
            keys = Keys(_at_scale(written, self.scale.chain, place), place)
            roles = {}
            for role, selection in keys.take("of", dict).items():
                parts = selection if isinstance(selection, list) else [selection]
                members: list[tuple[Run, str | None]] = []
                for part in parts:
                    runs, point = self._selection(part, f"{place}.of.{role}")
                    for run in runs:
                        experiment = self.experiments[run.experiment]
                        asker = f"{place}.of.{role}"
                        kept = point and canonical(
                            experiment.point_of(point, run.spec.epochs, asker)
                        )
                        members.append((run, kept))
                roles[role] = members
            found[name] = Probe(
                name,
                keys.take("measure", str),
                roles,
                keys.take("each", list, []),
                keys.take("split", list, []),
                keys.take("options", dict, {}),
            )
            keys.done()
            members = [run for role in roles.values() for run, _ in role]
            for axis in (*found[name].each, *found[name].split):
                if members and not any(axis in run.axes for run in members):
                    raise UserError(f"{place}: no axis '{axis}'{suggest(axis, members[0].axes)}")
            for run in members:
                for axis in found[name].split:
                    if axis not in run.axes:
                        raise UserError(f"{place}.split: {run.label} has no axis '{axis}'")
        return found

    @cached_property
    def probe_of_part(self) -> dict[str, Probe]:
        """Job name -> probe."""
        return {part: probe for probe in self.probes.values() for part in probe.parts()}

    def table(self, name: str, place: str = "") -> Table:
        """A table by its name.

        Raises:
            UserError: no file writes it.
        """
        if name in self._tables:
            return self._tables[name]
        known = self.config.families["tables"]
        if name not in known:
            raise UserError(f"{place or 'tables'}: unknown table '{name}'{suggest(name, known)}")
        file, written = known[name]
        place = f"{file}: {name}"
        self._check_scales(written, place)
        keys = Keys(_at_scale(written, self.scale.chain, place), place)
        selections = keys.take("runs", (str, list, dict), {})
        if isinstance(selections, (str, list)) or "from" in selections:
            selections = {"runs": selections}
        runs = {}
        for role, selection in selections.items():
            parts = selection if isinstance(selection, list) else [selection]
            runs[role] = [
                run for part in parts for run in self._selection(part, f"{place}.runs.{role}")[0]
            ]
        table = Table(
            name=name,
            file=file,
            compute=keys.take("compute", str, None),
            runs=runs,
            arrays=tuple(keys.take("arrays", list, [])),
            tables=keys.take("tables", dict, {}),
            probes=keys.take("probes", dict, {}),
            options=keys.take("options", dict, {}),
        )
        keys.done()
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

    def table_files(self, name: str) -> list[str]:
        """The files a table is made of."""
        table = self.table(name)
        runs = [run for members in table.runs.values() for run in members]
        files = []
        for pack in self.packs_of(runs):
            files.append(self.paths.pack(pack) / "history.parquet")
            if table.arrays:
                files.append(self.paths.pack(pack) / "arrays.safetensors")
        files += [
            self.paths.measure(part)
            for probe in table.probes.values()
            for part in self.probes[probe].parts()
        ]
        files += [self.paths.table(other) for other in table.tables.values()]
        return [str(file.relative_to(self.config.root)) for file in files]

    # ------------------------------------------------------------------ papers

    def paper(self, slug: str) -> Mapping[str, Any]:
        """What a paper's file writes.

        Raises:
            UserError: `config.yaml` lists no such paper.
        """
        if slug not in self.config.papers:
            raise UserError(f"unknown paper '{slug}'{suggest(slug, self.config.papers)}")
        return self.config.papers[slug]

    @cached_property
    def built(self) -> list[str]:
        """The papers whose figures are there, in order."""
        return [slug for slug in self.config.papers if self.paper(slug).get("figures")]

    def missing_modules(self, slug: str) -> list[str]:
        """The modules that a paper's experiments name and that are not there yet."""
        names = set()
        for name in self.paper(slug).get("experiments", []):
            for run in self.runs(name, f"config/papers/{slug}.yaml")[:1]:
                names.update(run.spec.modules())
        entries = {entry.module: entry for kind in CATALOGUE.values() for entry in kind.values()}
        return sorted(name for name in names if not entries[name].there())

    def figures(self, slug: str) -> dict[str, Figure]:
        """A paper's figures, in order."""
        found = {}
        file = f"config/papers/{slug}.yaml"
        for name, written in (self.paper(slug).get("figures") or {}).items():
            keys = Keys(written, f"{file}: figures.{name}")
            found[name] = Figure(
                paper=slug,
                name=name,
                notebook=keys.take("notebook", str),
                tables=keys.take("tables", dict, {}),
                parameters=keys.take("parameters", dict, {}),
                caption=keys.take("caption", str),
                look=keys.take("look", str, ""),
                alt=keys.take("alt", str, ""),
                design=keys.take("design", bool, False),
                optional=keys.take("optional", bool, False),
                published=keys.take("published", dict, {}),
            )
            keys.done()
            for table in found[name].tables.values():
                self.table(table, f"{file}: figures.{name}")
        return found

    def figure(self, slug: str, name: str) -> Figure:
        """A figure of a paper.

        Raises:
            UserError: the paper has no such figure.
        """
        figures = self.figures(slug)
        if name not in figures:
            self.must_be_built(slug)
            raise UserError(
                f"config/papers/{slug}.yaml: unknown figure '{name}'{suggest(name, figures)}"
            )
        return figures[name]

    def claim(self, slug: str, name: str) -> Claim:
        """A claim of a paper.

        Raises:
            UserError: the paper has no such claim.
        """
        claims = self.claims(slug)
        if name not in claims:
            self.must_be_built(slug)
            raise UserError(
                f"config/papers/{slug}.yaml: unknown claim '{name}'{suggest(name, claims)}"
            )
        return claims[name]

    def must_be_built(self, slug: str) -> None:
        """Refuse a paper whose code is not there yet.

        Raises:
            UserError: names the paper and what is missing.
        """
        if self.paper(slug).get("figures"):
            return
        missing = ", ".join(Graph(self.config, "paper").missing_modules(slug))
        raise UserError(
            f"paper '{slug}': its figures are not there yet (config/papers/{slug}.yaml lists its"
            f" runs only{'; missing code: ' + missing if missing else ''})"
        )

    def report_code(self) -> str:
        """The digest of the report: its code, its templates and the papers' texts."""
        folder = Path(__file__).parent / "report"
        templates = [path.read_text() for path in sorted(folder.glob("*.j2"))]
        texts = {slug: self.paper(slug) for slug in self.built}
        return f"{fingerprint(['refigure.report.page'])} {digest([templates, texts])}"

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
        return self.probe_of_part[part].parts()[part]

    def notebook_path(self, figure: Figure) -> Path:
        """The notebook that draws a figure.

        Raises:
            UserError: there is no such notebook.
        """
        path = self.config.root / "code/notebooks" / figure.paper / f"{figure.notebook}.ipynb"
        if not path.is_file():
            raise UserError(
                f"config/papers/{figure.paper}.yaml: figures.{figure.name}: no notebook"
                f" {path.relative_to(self.config.root)}"
            )
        return path

    def claims(self, slug: str) -> dict[str, Claim]:
        """A paper's claims, in order."""
        found = {}
        file = f"config/papers/{slug}.yaml"
        paper = self.paper(slug)
        for name, written in (paper.get("claims") or {}).items():
            keys = Keys(written, f"{file}: claims.{name}")
            found[name] = Claim(
                paper=slug,
                name=name,
                statement=keys.take("statement", str),
                decide=keys.take("decide", str),
                tables=keys.take("tables", dict, {}),
                options=keys.take("options", dict, {}),
                figures=tuple(keys.take("figures", list, [])),
                conditions=keys.take("conditions", str, ""),
            )
            keys.done()
            for table in found[name].tables.values():
                self.table(table, f"{file}: claims.{name}")
            for figure in found[name].figures:
                if figure not in (paper.get("figures") or {}):
                    raise UserError(
                        f"{file}: claims.{name}: unknown figure '{figure}'"
                        f"{suggest(figure, paper.get('figures') or {})}"
                    )
        return found

    def claims_of_figure(self, slug: str, figure: str) -> list[str]:
        """The claims that a figure illustrates."""
        return [claim.name for claim in self.claims(slug).values() if figure in claim.figures]


def _at_scale(written: Any, chain: list[str], place: str) -> dict[str, Any]:
    """A probe or table with the overrides of the scale's chain, key by key."""
    merged = dict(Keys(written, place).mapping)
    scales = Keys(merged.pop("scales", None), f"{place}.scales").mapping
    for scale in chain:
        merged |= Keys(scales.get(scale), f"{place}.scales.{scale}").mapping
    return merged


def module_of(dotted: str) -> str:
    """The module of a function named `tables.sphere.regimes`."""
    return f"refigure.{dotted.rpartition('.')[0]}"


def function_of(dotted: str, place: str) -> Any:
    """The function named `tables.sphere.regimes`.

    Raises:
        UserError: there is no such module or function.
    """
    module, name = module_of(dotted), dotted.rpartition(".")[2]
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(f"{place}: no function '{dotted}' ({error})") from None
