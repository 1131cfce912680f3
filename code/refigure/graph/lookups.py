"""The graph of one scale: all look-ups, and the digests of code that make a result stale.

Nothing here reads a result: the graph follows from the configuration alone.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.config import PUBLISHED, Config
from refigure.graph.fingerprint import PACKAGE, names_of, notebook_modules
from refigure.graph.packs import Pack
from refigure.graph.paths import Paths
from refigure.graph.provenance import Provenance
from refigure.graph.publications import Claim, Publications
from refigure.graph.reading import suggest

ERROR_RATES = Path("config/error_rates.json")
"""The shares that `benchmarks/verdicts.py` measured, for the report."""
LOOP = "refigure.training.setup"
VERDICT = "refigure.claims.verdict"
HISTORIES = "refigure.tables.histories"


class Graph(Publications):
    """What the rules ask: runs, packs, probes, tables, figures, claims, and the code of each."""

    rules: tuple[str, ...] = ()
    """The rules whose jobs it has; all of them where none is named."""

    def training_provenance(self, pack: Pack) -> dict[str, Provenance]:
        """What trains a pack, by module: the loop, and what its specs, records and remains name.

        By module, so that a run which was recorded by more than is wanted can be adopted.
        """
        recorders = [json.loads(record)["name"] for record in pack.wanted.records]
        events = [json.loads(point).get("event") for point in pack.wanted.points]
        kept = {CATALOGUE["record"][name].module for name in recorders}
        kept |= {CATALOGUE["kept"][name].module for name in pack.wanted.kept}
        kept |= {CATALOGUE["event"][name].module for name in events if name}
        return {name: Provenance((name,)) for name in sorted({LOOP, *pack.modules, *kept})}

    def training_code(self, pack: Pack) -> dict[str, str]:
        """The digest of each module that trains a pack."""
        return {
            name: str(provenance) for name, provenance in self.training_provenance(pack).items()
        }

    def recipe_provenance(self, data: str) -> Provenance:
        """What prepares some data."""
        return Provenance((CATALOGUE["recipe"][self.recipes[data]["name"]].module,))

    def measure_provenance(self, part: str) -> Provenance:
        """The code of a probe, what it measures and its options."""
        probe = self.probe_of_part[part]
        members = {
            role: [[run.id, probe.told(run), point] for run, point in members]
            for role, members in probe.parts[part].items()
        }
        configured = {"measure": probe.measure, "of": members, "each": probe.each}
        configured["options"] = dict(probe.options)
        for key in ("predictions", "data"):  # only where written, so that no other probe is stale
            if getattr(probe, key):
                configured[key] = dict(getattr(probe, key))
        file, _ = self.config.families["probes"][probe.name]
        check_function(probe.measure, f"{file}: {probe.name}.measure")
        return Provenance((module_of(probe.measure),), configured)

    def table_provenance(self, name: str) -> Provenance:
        """The code of a table, its selection and options."""
        table = self.table(name)
        runs = {
            role: [[run.experiment, run.id, dict(run.columns)] for run in runs]
            for role, runs in table.runs.items()
        }
        configured = {"compute": table.compute, "runs": runs, "arrays": table.arrays}
        configured |= {"tables": dict(table.tables), "probes": dict(table.probes)}
        configured["options"] = dict(table.options)
        if table.data:
            configured["data"] = dict(table.data)
        if table.recorded:
            configured["recorded"] = dict(table.recorded)
        if table.grid:
            configured["grid"] = {
                role: [[run.experiment, run.id, dict(run.columns)] for run in runs]
                for role, runs in table.grid.items()
            }
        module = HISTORIES
        if table.compute:
            check_function(table.compute, f"{table.file}: {name}.compute")
            module = module_of(table.compute)
        return Provenance((module, HISTORIES), configured)

    def claim_provenance(self, paper: str, name: str) -> Provenance:
        """The code of a claim's predicate, its text and thresholds."""
        claim = self.claim(paper, name)
        configured = {"statement": claim.statement, "decide": claim.decide}
        configured |= {"tables": dict(claim.tables), "options": dict(claim.options)}
        configured |= {"figures": claim.figures, "conditions": claim.conditions}
        check_function(claim.decide, f"config/papers/{paper}.yaml: claims.{name}.decide")
        return Provenance((module_of(claim.decide), VERDICT), configured)

    def claim_files(self, paper: str, name: str) -> dict[str, Path]:
        """The tables that a claim's predicate takes, by argument."""
        tables = self.claim(paper, name).tables
        return {argument: self.paths.table(table) for argument, table in tables.items()}

    def published(self, paper: str) -> dict[str, Path]:
        """The verdicts on a paper's own numbers, by claim, of the claims that it joins."""
        paths = Paths(self.config.root, PUBLISHED)
        claims = self.claims(paper)
        return {
            name: paths.claim(paper, name) for name in self.joined(paper) if claims[name].published
        }

    def figure_provenance(self, paper: str, name: str) -> Provenance:
        """What draws a figure: its notebook's cells, the modules they import, its parameters."""
        figure = self.figure(paper, name)
        notebook = self.notebook_path(figure)
        configured = {"tables": dict(figure.tables), "parameters": dict(figure.parameters)}
        configured |= {"caption": figure.caption, "published": figure.drawn()}
        return Provenance(notebook_modules(notebook), configured, notebook)

    def report_provenance(self) -> Provenance:
        """What writes the report: its code, its templates and the papers' texts."""
        folder = Path(__file__).parents[1] / "report"
        templates = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.j2"))]
        texts = {slug: self.paper(slug) for slug in self.built}
        rates = self.config.root / ERROR_RATES
        measured = rates.read_text(encoding="utf-8") if rates.is_file() else ""
        files = {
            one.file: (self.config.folder / "published" / one.file).read_text(encoding="utf-8")
            for slug in self.built
            for figure in self.figures(slug).values()
            for one in figure.published_tables.values()
        }
        configured = {"templates": templates, "papers": texts, "error_rates": measured}
        configured["published"] = files
        return Provenance(("refigure.report.page",), configured)


class PublishedGraph(Graph):
    """The claims whose paper's own numbers are at hand, under `results/published/claims/`.

    It has no runs, tables or figures of its own: a predicate takes CSVs of `config/published/`, and
    is judged by the thresholds of the papers' scale.
    """

    rules = ("claim",)

    def __init__(self, config: Config):
        super().__init__(config, "paper")
        self.paths = Paths(config.root, PUBLISHED)

    def claims(self, slug: str) -> dict[str, Claim]:
        """The claims of a paper that have published numbers, in order."""
        return {name: claim for name, claim in super().claims(slug).items() if claim.published}

    def _check_tables(self, claim: Claim, place: str) -> None:
        """That the tables are written: only at a scale are they made of runs, and looked up."""
        for table in claim.tables.values():
            self.table_entry(table, place)

    def claim_files(self, paper: str, name: str) -> dict[str, Path]:
        """The published tables that a claim's predicate takes, by argument."""
        return dict(self.claim(paper, name).published.tables)

    def claim_provenance(self, paper: str, name: str) -> Provenance:
        """The code of a claim's predicate, its text and thresholds, and how readings are drawn."""
        made = super().claim_provenance(paper, name)
        published = self.claim(paper, name).published
        configured = {**made.configured, "published": [published.source, dict(published.options)]}
        configured["files"] = {key: path.name for key, path in published.tables.items()}
        return Provenance((*made.modules, "refigure.claims.published"), configured)


def graph_of(config: Config, scale: str) -> Graph:
    """The look-ups of a scale; `published` is that of the papers' own numbers."""
    return PublishedGraph(config) if scale == PUBLISHED else Graph(config, scale)


def module_of(dotted: str) -> str:
    """The module of a function named `tables.sphere.regimes`."""
    return f"refigure.{dotted.rpartition('.')[0]}"


def check_function(dotted: str, place: str) -> None:
    """Refuse the name of a function that there is not, without importing what it rests on.

    Raises:
        UserError: `place` begins the line, which names the nearest one of its module.
    """
    module, name = module_of(dotted), dotted.rpartition(".")[2]
    known = names_of(module)
    if known is None:
        *folder, stem = module.split(".")[1:]
        stems = [path.stem for path in PACKAGE.joinpath(*folder).glob("[!_]*.py")]
        raise UserError(f"{place}: no module of function '{dotted}'{suggest(stem, stems)}")
    if name not in known:
        others = [one for one in known if not one.startswith("_")]
        raise UserError(f"{place}: no function '{dotted}'{suggest(name, others)}")


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
