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
from refigure.graph.config import PUBLISHED, RULES, Config
from refigure.graph.lookups import Graph, graph_of
from refigure.graph.provenance import Provenance
from refigure.graph.reading import suggest
from refigure.graph.spec import canonical

KINDS = {
    "all": "summary",
    "claims": "claim",
    "data": "prepare",
    "experiments": "index",
    "figures": "figure",
    "measures": "measure",
    "notebooks": "figure",
    "packs": "train",
    "report.html": "report",
    "tables": "table",
}
"""What lies under `results/<scale>/` -> the rule that writes it."""
PACK_FILES = (
    "history.parquet",
    "points.safetensors",
    "arrays.safetensors",
    "predictions.safetensors",
    "run.json",
)

POOL_FILES = ("predictions.safetensors", "run.json")
"""What a pool of predictions is read from."""


@dataclass(frozen=True)
class Step:
    """One job.

    Args:
        rule, names: which job of which rule: `("figure", ("three-regimes", "fig1"))`.
        inputs, outputs: paths from the checkout's root.
        provenance_of: parameter -> what it is made with; a mapping of modules for `train`.
        configured_of: parameter -> text that is compared as it is.
    """

    rule: str
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    provenance_of: Callable[[], Mapping[str, Provenance | Mapping[str, Provenance]]]
    configured_of: Callable[[], Mapping[str, str]] = dict

    @property
    def label(self) -> str:
        """Rule and names: `figure three-regimes fig1`; those of the papers' own numbers apart."""
        apart = (PUBLISHED,) if self.outputs[0].startswith(f"results/{PUBLISHED}/") else ()
        return " ".join((self.rule, *self.names, *apart))

    @cached_property
    def params(self) -> dict[str, str]:
        """What Snakemake compares with what it recorded."""
        return dict(self.configured_of()) | {
            name: canonical({key: str(one) for key, one in made.items()})
            if isinstance(made, Mapping)
            else str(made)
            for name, made in self.provenance.items()
        }

    @cached_property
    def provenance(self) -> Mapping[str, Provenance | Mapping[str, Provenance]]:
        """Parameter -> what it is made with."""
        return self.provenance_of()


class Steps:
    """The jobs of one scale, made when they are asked for and kept.

    Args:
        graph: its look-ups.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.paths = graph.paths
        self.jobs: dict[tuple[str, tuple[str, ...]], Step] = {}

    def step(self, rule: str, *names: str) -> Step:
        """The job of a rule.

        Raises:
            UserError: the scale has nothing of that name.
        """
        key = (rule, names)
        if self.graph.rules and rule not in self.graph.rules:
            raise UserError(
                f"results/{self.paths.results.name}/ holds no job of rule {rule}, but those of"
                f" {', '.join(self.graph.rules)}"
            )
        if key not in self.jobs:
            inputs, outputs, *rest = getattr(self, f"_{rule}")(*names)
            files = tuple(map(self._relative, inputs)), tuple(map(self._relative, outputs))
            self.jobs[key] = Step(rule, names, *files, *(rest or [dict]))
        return self.jobs[key]

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.graph.config.root).as_posix()

    def _prepare(self, data: str):
        if data not in self.graph.recipes:
            known = suggest(data, self.graph.recipes)
            raise UserError(f"data '{data}' is not in {self.graph.scale.file}{known}")

        def configured() -> dict[str, str]:
            return {"recipe": canonical(self.graph.recipes[data])}

        provenance = self.graph.recipe_provenance
        return [], [self.paths.data(data)], lambda: {"code": provenance(data)}, configured

    def _train(self, name: str):
        pack = self.graph.pack(name)
        inputs = [self.paths.data(pack.data)]
        for parent in self.graph.packs_of(list(pack.parents)):
            inputs += [self.paths.pack(parent) / file for file in PACK_FILES[:3]]

        def configured() -> dict[str, str]:
            return {"runs": canonical([run.id for run in pack.runs])}

        outputs = [self.paths.pack(name) / file for file in PACK_FILES]
        return inputs, outputs, lambda: {"code": self.graph.training_provenance(pack)}, configured

    def _index(self, experiment: str):
        place = f"target 'results/{self.graph.scale.name}/experiments/{experiment}.tsv'"
        packs = self.graph.packs_of(self.graph.runs(experiment, place))
        inputs = [self.paths.pack(name) / "run.json" for name in packs]
        return inputs, [self.paths.results / "experiments" / f"{experiment}.tsv"]

    def _measure(self, part: str):
        roles = self.graph.measured(part)
        probe = self.graph.probe_of_part[part]
        runs = [run for members in roles.values() for run, _ in members]
        inputs = []
        for role, members in roles.items():
            packs = self.graph.packs_of([run for run, _ in members])
            kept = POOL_FILES if role in probe.predictions else ("points.safetensors",)
            inputs += [self.paths.pack(name) / file for name in packs for file in kept]
        inputs = list(dict.fromkeys(inputs))
        data = {run.spec.data for run in runs} | {data for data in probe.data.values() if data}
        inputs += [self.paths.data(one) for one in sorted(data)]
        provenance = self.graph.measure_provenance
        return inputs, [self.paths.measure(part)], lambda: {"code": provenance(part)}

    def _table(self, name: str):
        inputs = self.graph.table_files(name)
        provenance = self.graph.table_provenance
        return inputs, [self.paths.table(name)], lambda: {"code": provenance(name)}

    def _claim(self, paper: str, name: str):
        inputs = list(dict.fromkeys(self.graph.claim_files(paper, name).values()))
        provenance = self.graph.claim_provenance
        outputs = [self.paths.claim(paper, name)]
        return inputs, outputs, lambda: {"code": provenance(paper, name)}

    def _figure(self, paper: str, name: str):
        figure = self.graph.figure(paper, name)
        inputs = list(self.graph.figure_files(figure).values())
        outputs = [self.paths.figure(paper, name, suffix) for suffix in ("pdf", "png", "csv")]
        outputs.append(self.paths.notebook(paper, name))
        provenance = self.graph.figure_provenance
        return inputs, outputs, lambda: {"code": provenance(paper, name)}

    def _verdicts(self, paper: str):
        self.graph.must_be_built(paper)
        inputs = [self.paths.claim(paper, name) for name in self.graph.joined(paper)]
        return inputs + list(self.graph.published(paper).values()), [self.paths.claims(paper)]

    def _everything(self) -> list[Path]:
        built = self.graph.built
        verdicts = [self.paths.claims(paper) for paper in built]
        return verdicts + [file for paper in built for file in self.figures(paper)]

    def _summary(self):
        provenance = Provenance(("refigure.report.summary",))
        return self._everything(), [self.paths.results / "all"], lambda: {"code": provenance}

    def _report(self):
        outputs = [self.paths.results / "report.html"]
        return self._everything(), outputs, lambda: {"code": self.graph.report_provenance()}

    def figures(self, paper: str) -> list[Path]:
        """The PDFs of a paper's figures; what is optional or rests on such runs is left out."""
        return [
            self.paths.figure(paper, figure.name, "pdf")
            for figure in self.graph.figures(paper).values()
            if not figure.optional and not self.graph.left_out(figure)
        ]

    def of_paper(self, paper: str) -> list[str]:
        """The files that the target of a paper builds.

        Raises:
            UserError: its code is not there yet.
        """
        self.graph.must_be_built(paper)
        return [self._relative(file) for file in (*self.figures(paper), self.paths.claims(paper))]

    def writing(self, file: str) -> Step:
        """The job that writes a file.

        Args:
            file: from the checkout's root, `results/<scale>/...`.

        Raises:
            UserError: no job of this scale does.
        """
        _, scale, *rest = PurePosixPath(file).parts
        if scale == PUBLISHED != self.paths.results.name:
            return self.published.writing(file)
        kind = rest[0] if rest else ""
        if kind not in KINDS:
            raise UserError(f"target '{file}': unknown kind '{kind}'{suggest(kind, KINDS)}")
        stem = PurePosixPath(file).stem
        if kind == "claims":
            job = ("claim", rest[1], stem) if len(rest) == 3 else ("verdicts", stem)
        elif kind == "packs":
            job = ("train", rest[1]) if len(rest) == 3 else ()
        elif RULES[KINDS[kind]]:
            job = (KINDS[kind], *rest[1:-1], stem)
        else:
            job = (KINDS[kind],)
        if not job or len(job) != 1 + len(RULES[job[0]]):
            raise UserError(f"target '{file}': no job writes it")
        return self.step(*job)

    @cached_property
    def published(self) -> Steps:
        """The jobs that judge the papers' own numbers."""
        return Steps(graph_of(self.graph.config, PUBLISHED))

    def chain(self, files: Iterable[str]) -> dict[str, Step]:
        """Every job that some files rest on, by label, inputs before what reads them."""
        found: dict[str, Step] = {}

        @cache
        def visit(file: str) -> None:
            step = self.writing(file)
            if step.label in found:
                return
            for needed in step.inputs:
                if needed.startswith("results/"):  # else a file that the checkout has
                    visit(needed)
            found[step.label] = step

        for file in files:
            visit(file)
        return found


def resolve(
    target: str, config: Config, scale: str, steps_of: Callable[[str], Steps]
) -> tuple[Steps, tuple[str, ...]]:
    """What a target asks for: the jobs of its scale, and the files it builds.

    Args:
        target: as Snakemake takes it: a file under `results/<scale>/`, a paper, or `all`.
        scale: of a paper or `all`.
        steps_of: scale -> its jobs.

    Raises:
        UserError: there is nothing of that name.
    """
    parts = PurePosixPath(target).parts
    if parts[:1] == ("results",):
        if len(parts) < 3:
            raise UserError(f"target '{target}': no job writes it{suggest('', KINDS)}")
        steps = steps_of(parts[1])
        steps.writing(target)
        return steps, (target,)
    known = ["all", *config.papers]
    if target not in known:
        if len(parts) > 2:  # a path: what its first part should have been
            known = [str(PurePosixPath("results", *parts[1:]))]
        raise UserError(f"unknown target '{target}'{suggest(target, known)}")
    steps = steps_of(scale)
    if target == "all":
        return steps, (f"results/{scale}/all",)
    return steps, tuple(steps.of_paper(target))
