"""The graph of one scale: all look-ups, and the digests of code that make a result stale.

Nothing here reads a result: the graph follows from the configuration alone.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from refigure.catalogue import CATALOGUE
from refigure.errors import UserError
from refigure.making import Making
from refigure.packs import Pack
from refigure.publications import Publications

LOOP = "refigure.training.job"
VERDICT = "refigure.verdict"
PLOTTING = "refigure.plotting"
HISTORIES = "refigure.tables.histories"


class Graph(Publications):
    """What the rules ask: runs, packs, probes, tables, figures, claims, and the code of each."""

    def training_making(self, pack: Pack) -> dict[str, Making]:
        """What trains a pack, by module: the job, and what its specs and records name.

        By module, so that a run which was recorded by more than is wanted can be adopted.
        """
        recorders = [json.loads(record)["name"] for record in pack.wanted.records]
        events = [json.loads(point).get("event") for point in pack.wanted.points]
        kept = {CATALOGUE["record"][name].module for name in recorders}
        kept |= {CATALOGUE["event"][name].module for name in events if name}
        return {name: Making((name,)) for name in sorted({LOOP, *pack.modules, *kept})}

    def training_code(self, pack: Pack) -> dict[str, str]:
        """The digest of each module that trains a pack."""
        return {name: str(making) for name, making in self.training_making(pack).items()}

    def recipe_making(self, data: str) -> Making:
        """What prepares some data."""
        return Making((CATALOGUE["recipe"][self.recipes[data]["name"]].module,))

    def measure_making(self, part: str) -> Making:
        """The code of a probe, what it measures and its options."""
        probe = self.probe_of_part[part]
        members = {
            role: [[run.id, dict(run.axes), point] for run, point in members]
            for role, members in probe.parts[part].items()
        }
        words = {"measure": probe.measure, "of": members, "each": probe.each}
        words["options"] = dict(probe.options)
        return Making((module_of(probe.measure),), words)

    def table_making(self, name: str) -> Making:
        """The code of a table, its selection and options."""
        table = self.table(name)
        runs = {
            role: [[run.experiment, run.id, dict(run.axes)] for run in runs]
            for role, runs in table.runs.items()
        }
        words = {"compute": table.compute, "runs": runs, "arrays": table.arrays}
        words |= {"tables": dict(table.tables), "probes": dict(table.probes)}
        words["options"] = dict(table.options)
        if table.data:
            words["data"] = dict(table.data)
        module = module_of(table.compute) if table.compute else HISTORIES
        return Making((module, HISTORIES), words)

    def claim_making(self, paper: str, name: str) -> Making:
        """The code of a claim's predicate, its text and thresholds."""
        claim = self.claim(paper, name)
        words = {"statement": claim.statement, "decide": claim.decide}
        words |= {"tables": dict(claim.tables), "options": dict(claim.options)}
        words |= {"figures": claim.figures, "conditions": claim.conditions}
        return Making((module_of(claim.decide), VERDICT), words)

    def figure_making(self, paper: str, name: str) -> Making:
        """What draws a figure: its notebook's cells, the plotting module, its parameters."""
        figure = self.figure(paper, name)
        words = {"tables": dict(figure.tables), "parameters": dict(figure.parameters)}
        words |= {"caption": figure.caption, "published": dict(figure.published)}
        return Making((PLOTTING,), words, self.notebook_path(figure))

    def report_making(self) -> Making:
        """What writes the report: its code, its templates and the papers' texts."""
        folder = Path(__file__).parent / "report"
        templates = [path.read_text() for path in sorted(folder.glob("*.j2"))]
        texts = {slug: self.paper(slug) for slug in self.built}
        return Making(("refigure.report.page",), {"templates": templates, "papers": texts})


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
