"""Papers at one scale: their figures, claims, and what of their code is not there yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import absent
from refigure.graph.config import Config
from refigure.graph.experiments import Run
from refigure.graph.numbers import Number, NumberTable, check_numbers, check_place
from refigure.graph.reading import Each, Items, Keys, keyed, number, read, suggest
from refigure.graph.selections import Selections


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A target that a notebook draws.

    Args:
        paper, name: which figure.
    """

    paper: str
    name: str
    notebook: str = keyed(
        str, "The notebook that draws it: a file of `code/notebooks/<paper>/`, no ending.", "curves"
    )
    tables: Mapping[str, str] = keyed(
        {}, "Name in the notebook -> table.", {"runs": "lines_fig1"}, Each(str, "name")
    )
    parameters: Mapping[str, Any] = keyed(
        {}, "What the notebook finds in `settings`.", {"rate": "elr", "seed": 0}
    )
    caption: str = keyed(str, "What is shown, for the report.")
    look: str = keyed("", "What to look for, for the report.")
    alt: str = keyed(
        "", "The picture described to somebody who cannot see it; else the caption stands there."
    )
    design: bool = keyed(False, "Whether the figure is ours and not in the paper.", True)
    optional: bool = keyed(
        False, "Whether `all` and the paper's target leave it out; it is drawn when named.", True
    )
    verdicts: bool = keyed(
        False,
        "Whether it tabulates the verdicts of its paper; any other figure depends on its tables "
        "alone.",
        True,
    )
    trains_more: str = keyed(
        "", "Why its tables select more networks than its notebook draws, where they do."
    )
    published: Mapping[str, Number] = keyed(
        {},
        "Numbers that the paper prints: notebooks draw them as crosses at scale `paper`, and the "
        "report and `refigure published` show ours beside them.",
        {"error": {"value": 28, "tolerance": 0.05, "source": "table 1", "column": "test_error"}},
        Each("number", "number"),
        parse=lambda written, place: _each(Number, written, place),
    )
    published_tables: Mapping[str, NumberTable] = keyed(
        {},
        "The same in CSV files, which the notebook does not draw.",
        None,
        Each("number_table", "name"),
        parse=lambda written, place: _each(NumberTable, written, place),
    )

    def drawn(self) -> dict[str, dict[str, Any]]:
        """The published numbers as its notebook finds them."""
        return {name: one.drawn() for name, one in self.published.items()}


def _each(kind: type, written: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    return {name: read(kind, keys, f"{place}.{name}") for name, keys in written.items()}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A paper's own numbers for a claim."""

    tables: Mapping[str, str | Path] = keyed(
        dict,
        "Argument of the predicate -> a CSV file of `config/published/`.",
        {"regimes": "three-regimes_m1.csv"},
        Each(str, "argument"),
    )
    options: Mapping[str, Any] = keyed(
        {}, "Options of the predicate, over the claim's own.", {"family": "M1"}
    )
    source: str = keyed(str, "Where the numbers are from, in words.", "table 2, read off")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of a paper with a predicate over tables.

    Args:
        paper, name: which claim.
    """

    paper: str
    name: str
    statement: str = keyed(str, "What the paper claims, in a sentence or two.")
    decide: str = keyed(
        str,
        "The predicate: a function under `refigure`, which gives a finding.",
        "claims.three_regimes.better_within_r1",
    )
    tables: Mapping[str, str] = keyed(
        {}, "Argument of the predicate -> table.", {"regimes": "regimes_m1"}, Each(str, "argument")
    )
    options: Mapping[str, Any] = keyed(
        {},
        "Further arguments; a threshold says its source and may differ by scale.",
        {"thresholds": {"gain": {"default": 2, "demo": 1, "source": "table 3"}}},
    )
    figures: tuple[str, ...] = keyed(
        [],
        "The figures of this paper beside which the report shows it.",
        ["fig1"],
        Items(str),
        parse=lambda written, _: tuple(written),
    )
    conditions: str = keyed("", "Under what conditions it is decided, where that is not plain.")
    published: Published | None = keyed(
        {},
        "The paper's own numbers, on which the same predicate decides.",
        None,
        "published",
        parse=lambda written, place: read(Published, written, place) if written else None,
    )
    worlds: Mapping[str, Any] = keyed(
        {},
        "Made-up tables in which the error rates of its verdict are measured: `null` without the "
        "effect, `effect` with it.",
        {"null": {"bands": {"cells": ["stage"], "columns": ["accuracy"]}}},
    )


class Publications(Selections):
    """The papers, over the tables of a scale; each paper's file is taken apart once."""

    def __init__(self, config: Config, scale: str):
        super().__init__(config, scale)
        self._figures: dict[str, dict[str, Figure]] = {}
        self._claims: dict[str, dict[str, Claim]] = {}
        self._optional: dict[str, list[str]] = {}

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
        return absent(names)

    def figures(self, slug: str) -> dict[str, Figure]:
        """A paper's figures, in order."""
        if slug in self._figures:
            return self._figures[slug]
        found = {}
        file = f"config/papers/{slug}.yaml"
        for name in self.paper(slug).get("experiments") or []:
            self.experiment(name, f"{file}: experiments")
        for name, written in (self.paper(slug).get("figures") or {}).items():
            found[name] = read(Figure, written, f"{file}: figures.{name}", paper=slug, name=name)
            for table in found[name].tables.values():
                self.table(table, f"{file}: figures.{name}")
            self._check_published(found[name], f"{file}: figures.{name}")
        self._figures[slug] = found
        return found

    def _check_published(self, figure: Figure, place: str) -> None:
        """Refuse published numbers that lie beside nothing.

        Raises:
            UserError: an entry says too little, or names a table or file that there is not.
        """
        check_numbers(figure.published, figure.tables, f"{place}.published")
        for name, one in figure.published_tables.items():
            where = f"{place}.published_tables.{name}"
            check_place(one, figure.tables, where)
            self.published_file(one.file, f"{where}.file")

    def published_file(self, file: str, place: str) -> Path:
        """A CSV of published numbers.

        Raises:
            UserError: it is not there; `place` begins the line.
        """
        folder = self.config.folder / "published"
        if not (folder / file).is_file():
            known = [path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")]
            raise UserError(f"{place}: no file config/published/{file}{suggest(file, known)}")
        return folder / file

    def figure(self, slug: str, name: str) -> Figure:
        """A figure of a paper.

        Raises:
            UserError: the paper has no such figure.
        """
        return self._one_of("figure", self.figures(slug), slug, name)

    def figure_files(self, figure: Figure) -> dict[str, Path]:
        """What a figure's notebook reads, by the name it has there: its tables, and verdicts."""
        files = {key: self.paths.table(table) for key, table in figure.tables.items()}
        if figure.verdicts:
            files["verdicts"] = self.paths.claims(figure.paper)
        return files

    def drawn(self, figure: Figure) -> tuple[dict[str, Run], dict[str, Run]]:
        """The networks that a figure draws, and those that these start from and it does not draw.

        Its tables are selections of what is drawn; verdicts are drawn by no network of their own.
        """
        own: dict[str, Run] = {}
        for table in figure.tables.values():
            own |= self.selected(table)
        parents: dict[str, Run] = {}
        for run in own.values():
            while run.parent is not None and run.parent.id not in parents:
                run = run.parent
                if run.id not in own:
                    parents[run.id] = run
        return own, parents

    def optional_experiments(self, reader: Figure | Claim) -> list[str]:
        """The optional experiments that a figure or claim rests on, each once, in order."""
        if not any(experiment.optional for experiment in self.experiments.values()):
            return []
        found: dict[str, None] = {}
        for table in reader.tables.values():
            found |= dict.fromkeys(self._optional_behind(table))
        return list(found)

    def _optional_behind(self, table: str) -> list[str]:
        """The optional experiments of a table's runs and of those that these start from."""
        if table not in self._optional:
            found: dict[str, None] = {}
            for run in self.selected(table).values():
                one: Run | None = run
                while one is not None:
                    if self.experiments[one.experiment].optional:
                        found[one.experiment] = None
                    one = one.parent
            self._optional[table] = list(found)
        return self._optional[table]

    def left_out(self, reader: Figure | Claim) -> bool:
        """Whether `all` and a paper's target leave out a figure or claim: it rests on an optional
        experiment, or on a table of no run at a scale that leaves out experiments; or the scale
        names it."""
        return (
            f"{reader.paper}/{reader.name}" in self.without
            or bool(self.optional_experiments(reader))
            or self.lacks(reader)
        )

    @cached_property
    def without(self) -> frozenset[str]:
        """`paper/name` of the figures and claims that the scale leaves out.

        Raises:
            UserError: there is none of that name.
        """
        place, papers = f"{self.scale.file}: without", self.config.papers
        for entry in self.scale.without:
            slug, _, name = entry.partition("/")
            if slug not in papers:
                raise UserError(f"{place}: unknown paper '{slug}'{suggest(slug, papers)}")
            known = [*(papers[slug].get("figures") or {}), *(papers[slug].get("claims") or {})]
            if name not in known:
                raise UserError(f"{place}: '{slug}' has no '{name}'{suggest(name, known)}")
        return frozenset(self.scale.without)

    def lacks(self, reader: Figure | Claim) -> bool:
        """Whether a table of a figure or claim selects runs, and none is left by `only`."""
        if self.scale.only is None:
            return False
        return any(
            self.named(table)
            and not self.selected(table)
            and not any(self.table(table).grid.values())
            for table in reader.tables.values()
        )

    def joined(self, slug: str) -> list[str]:
        """The claims whose verdicts a paper joins: those that are not left out."""
        claims = self.claims(slug)
        return [name for name in claims if not self.left_out(claims[name])]

    @cached_property
    def readers(self) -> dict[str, set[str]]:
        """Run id -> the figures that draw it or what starts from it."""
        found: dict[str, set[str]] = defaultdict(set)
        for slug in self.built:
            for figure in self.figures(slug).values():
                for runs in self.drawn(figure):
                    for key in runs:
                        found[key].add(f"{slug}/{figure.name}")
        return found

    def claim(self, slug: str, name: str) -> Claim:
        """A claim of a paper.

        Raises:
            UserError: the paper has no such claim.
        """
        return self._one_of("claim", self.claims(slug), slug, name)

    def _one_of(self, kind: str, known: Mapping[str, Any], slug: str, name: str) -> Any:
        if name not in known:
            self.must_be_built(slug)
            raise UserError(
                f"config/papers/{slug}.yaml: unknown {kind} '{name}'{suggest(name, known)}"
            )
        return known[name]

    def must_be_built(self, slug: str) -> None:
        """Refuse a paper whose code is not there yet.

        Raises:
            UserError: names the paper and what is missing.
        """
        if self.paper(slug).get("figures"):
            return
        missing = ", ".join(type(self)(self.config, "paper").missing_modules(slug))
        raise UserError(
            f"paper '{slug}': its figures are not there yet (config/papers/{slug}.yaml lists its"
            f" runs only{'; missing code: ' + missing if missing else ''})"
        )

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
        if slug in self._claims:
            return self._claims[slug]
        found = {}
        file = f"config/papers/{slug}.yaml"
        paper = self.paper(slug)
        for name, written in (paper.get("claims") or {}).items():
            claim = read(Claim, written, f"{file}: claims.{name}", paper=slug, name=name)
            found[name] = self._placed(claim, f"{file}: claims.{name}")
            self._check_tables(claim, f"{file}: claims.{name}")
            self._check_thresholds(claim, f"{file}: claims.{name}.options.thresholds")
            for figure in found[name].figures:
                if figure not in (paper.get("figures") or {}):
                    raise UserError(
                        f"{file}: claims.{name}: unknown figure '{figure}'"
                        f"{suggest(figure, paper.get('figures') or {})}"
                    )
        self._claims[slug] = found
        return found

    def _check_tables(self, claim: Claim, place: str) -> None:
        """Refuse a claim over a table that cannot be made.

        Raises:
            UserError: no file writes it, or its entry is wrong.
        """
        for table in claim.tables.values():
            self.table(table, place)

    def _check_thresholds(self, claim: Claim, place: str) -> None:
        """Refuse a threshold of a scale that there is not: its default would stand for it.

        Raises:
            UserError: it is of an unknown scale, or no number.
        """
        for name, written in Keys(claim.options.get("thresholds"), place).mapping.items():
            values = written if isinstance(written, Mapping) else {"default": written}
            for scale, value in values.items():
                if scale == "source":
                    continue
                if scale not in (known := ["default", "source", *self.config.scales]):
                    raise UserError(
                        f"{place}.{name}: unknown scale '{scale}'{suggest(scale, known)}"
                    )
                number(value, f"{place}.{name}.{scale}")

    def _placed(self, claim: Claim, place: str) -> Claim:
        """A claim whose published tables are paths.

        Raises:
            UserError: a table is not there.
        """
        if claim.published is None:
            return claim
        tables = {}
        for argument, file in claim.published.tables.items():
            where = f"{place}.published.tables"
            if argument not in claim.tables:
                near = suggest(argument, claim.tables)
                raise UserError(f"{where}: '{argument}' is no table of the claim{near}")
            tables[argument] = self.published_file(file, f"{where}.{argument}")
        return replace(claim, published=replace(claim.published, tables=tables))
