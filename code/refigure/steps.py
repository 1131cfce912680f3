"""The jobs of a scale: what each reads, writes and is made with, and the way from a target down.

The rules ask here for inputs and parameters, and so do the commands that explain a target: what
they say is what Snakemake runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from refigure.errors import UserError
from refigure.graph import Graph
from refigure.making import Making
from refigure.spec import canonical

NAMES = {
    "prepare": ("data",),
    "train": ("pack",),
    "index": ("experiment",),
    "measure": ("part",),
    "table": ("table",),
    "figure": ("paper", "figure"),
    "claim": ("paper", "claim"),
    "verdicts": ("paper",),
    "summary": (),
    "report": (),
}
"""Rule -> the wildcards that name its job, besides the scale."""
PACK_FILES = ("history.parquet", "points.safetensors", "arrays.safetensors", "run.json")


@dataclass(frozen=True)
class Step:
    """One job.

    Args:
        rule, names: which job of which rule: `("figure", ("three-regimes", "fig1"))`.
        inputs, outputs: paths from the checkout's root.
        makings: parameter -> what it is made with; a mapping of modules for `train`.
        words: parameter -> text that is compared as it is.
    """

    rule: str
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    makings: Callable[[], Mapping[str, Making | Mapping[str, Making]]]
    words: Callable[[], Mapping[str, str]] = dict

    @property
    def label(self) -> str:
        """Rule and names: `figure three-regimes fig1`."""
        return " ".join((self.rule, *self.names))

    @cached_property
    def params(self) -> dict[str, str]:
        """What Snakemake compares with what it recorded."""
        return dict(self.words()) | {
            name: canonical({key: str(one) for key, one in made.items()})
            if isinstance(made, Mapping)
            else str(made)
            for name, made in self.made.items()
        }

    @cached_property
    def made(self) -> Mapping[str, Making | Mapping[str, Making]]:
        """Parameter -> what it is made with."""
        return self.makings()


class Steps:
    """The jobs of one scale, made when they are asked for and kept.

    Args:
        graph: its look-ups.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.paths = graph.paths
        self.asked: dict[tuple[str, tuple[str, ...]], Step] = {}

    def step(self, rule: str, *names: str) -> Step:
        """The job of a rule.

        Raises:
            UserError: the scale has nothing of that name.
        """
        key = (rule, names)
        if key not in self.asked:
            inputs, outputs, *rest = getattr(self, f"_{rule}")(*names)
            files = tuple(map(self._relative, inputs)), tuple(map(self._relative, outputs))
            self.asked[key] = Step(rule, names, *files, *(rest or [dict]))
        return self.asked[key]

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.graph.config.root).as_posix()

    def _prepare(self, data: str):
        def words() -> dict[str, str]:
            return {"recipe": canonical(self.graph.recipes.get(data, {}))}

        making = self.graph.recipe_making
        return [], [self.paths.data(data)], lambda: {"code": making(data)}, words

    def _train(self, name: str):
        pack = self.graph.pack(name)
        inputs = [self.paths.data(pack.data)]
        for parent in self.graph.packs_of(list(pack.parents)):
            inputs += [self.paths.pack(parent) / file for file in PACK_FILES[:3]]

        def words() -> dict[str, str]:
            return {"runs": canonical([run.id for run in pack.runs])}

        outputs = [self.paths.pack(name) / file for file in PACK_FILES]
        return inputs, outputs, lambda: {"code": self.graph.training_making(pack)}, words

    def _index(self, experiment: str):
        packs = self.graph.packs_of(self.graph.runs(experiment))
        inputs = [self.paths.pack(name) / "run.json" for name in packs]
        return inputs, [self.paths.results / "experiments" / f"{experiment}.tsv"]

    def _measure(self, part: str):
        roles = self.graph.measured(part)
        runs = [run for members in roles.values() for run, _ in members]
        packs = self.graph.packs_of(runs)
        inputs = [self.paths.pack(name) / "points.safetensors" for name in packs]
        inputs += [self.paths.data(data) for data in sorted({run.spec.data for run in runs})]
        making = self.graph.measure_making
        return inputs, [self.paths.measure(part)], lambda: {"code": making(part)}

    def _table(self, name: str):
        inputs = self.graph.table_files(name)
        making = self.graph.table_making
        return inputs, [self.paths.table(name)], lambda: {"code": making(name)}

    def _claim(self, paper: str, name: str):
        tables = self.graph.claim(paper, name).tables.values()
        inputs = [self.paths.table(table) for table in tables]
        making = self.graph.claim_making
        outputs = [self.paths.claim(paper, name)]
        return inputs, outputs, lambda: {"code": making(paper, name)}

    def _figure(self, paper: str, name: str):
        tables = self.graph.figure(paper, name).tables.values()
        inputs = [self.paths.table(table) for table in tables]
        claims = self.graph.claims_of_figure(paper, name)
        inputs += [self.paths.claim(paper, claim) for claim in claims]
        outputs = [self.paths.figure(paper, name, suffix) for suffix in ("pdf", "png", "csv")]
        outputs.append(self.paths.notebook(paper, name))
        making = self.graph.figure_making
        return inputs, outputs, lambda: {"code": making(paper, name)}

    def _verdicts(self, paper: str):
        inputs = [self.paths.claim(paper, name) for name in self.graph.claims(paper)]
        return inputs, [self.paths.claims(paper)]

    def _everything(self) -> list[Path]:
        built = self.graph.built
        verdicts = [self.paths.claims(paper) for paper in built]
        return verdicts + [file for paper in built for file in self.figures(paper)]

    def _summary(self):
        making = Making(("refigure.report.summary",))
        return self._everything(), [self.paths.results / "all"], lambda: {"code": making}

    def _report(self):
        outputs = [self.paths.results / "report.html"]
        return self._everything(), outputs, lambda: {"code": self.graph.report_making()}

    def figures(self, paper: str) -> list[Path]:
        """The PDFs of a paper's figures, those that are optional left out."""
        return [
            self.paths.figure(paper, figure.name, "pdf")
            for figure in self.graph.figures(paper).values()
            if not figure.optional
        ]

    def of_paper(self, paper: str) -> list[str]:
        """The files that the target of a paper builds.

        Raises:
            UserError: its code is not there yet.
        """
        self.graph.must_be_built(paper)
        return [self._relative(file) for file in (*self.figures(paper), self.paths.claims(paper))]

    def making(self, file: str) -> Step:
        """The job that writes a file.

        Args:
            file: from the checkout's root, `results/<scale>/...`.

        Raises:
            UserError: no job of this scale does.
        """
        _, _, kind, *rest = PurePosixPath(file).parts
        stem = PurePosixPath(file).stem
        rules = {"data": "prepare", "measures": "measure", "tables": "table"}
        rules |= {"experiments": "index", "figures": "figure", "notebooks": "figure"}
        if kind in ("all", "report.html"):
            return self.step("summary" if kind == "all" else "report")
        if kind == "packs":
            return self.step("train", rest[0])
        if kind == "claims":
            return self.step("claim", rest[0], stem) if rest[1:] else self.step("verdicts", stem)
        if kind not in rules:
            raise UserError(f"target '{file}': no job writes it")
        return self.step(rules[kind], *rest[:-1], stem)

    def chain(self, files: Iterable[str]) -> dict[str, Step]:
        """Every job that some files rest on, by label, inputs before what reads them."""
        found: dict[str, Step] = {}

        @cache
        def visit(file: str) -> None:
            step = self.making(file)
            if step.label in found:
                return
            for needed in step.inputs:
                visit(needed)
            found[step.label] = step

        for file in files:
            visit(file)
        return found
