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
from refigure.fingerprint import fingerprint, notebook_digest
from refigure.packs import Pack
from refigure.publications import Publications
from refigure.spec import digest

LOOP = "refigure.training.job"
VERDICT = "refigure.verdict"
PLOTTING = "refigure.plotting"


class Graph(Publications):
    """What the rules ask: runs, packs, probes, tables, figures, claims, and the code of each."""

    def training_code(self, pack: Pack) -> dict[str, str]:
        """The code that trains a pack: the job, and what its specs and records name, by module.

        By module, so that a run which was recorded by more than is wanted can be adopted.
        """
        recorders = [json.loads(record)["name"] for record in pack.wanted.records]
        events = [json.loads(point).get("event") for point in pack.wanted.points]
        kept = {CATALOGUE["record"][name].module for name in recorders}
        kept |= {CATALOGUE["event"][name].module for name in events if name}
        return {name: fingerprint([name]) for name in sorted({LOOP, *pack.modules, *kept})}

    def recipe_code(self, data: str) -> str:
        """The digest of the code that prepares some data."""
        recipe = self.recipes[data]
        modules = [CATALOGUE["recipe"][recipe["name"]].module, "refigure.data.images"]
        return fingerprint([*modules, "refigure.data.sources"])

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

    def report_code(self) -> str:
        """The digest of the report: its code, its templates and the papers' texts."""
        folder = Path(__file__).parent / "report"
        templates = [path.read_text() for path in sorted(folder.glob("*.j2"))]
        texts = {slug: self.paper(slug) for slug in self.built}
        return f"{fingerprint(['refigure.report.page'])} {digest([templates, texts])}"


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
