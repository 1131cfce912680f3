"""Look-ups and wildcard constraints of all rules; no rules here."""

import os
import sys
from functools import cache
from pathlib import Path, PurePosixPath

from refigure.config import Config
from refigure.errors import UserError
from refigure.graph import Graph
from refigure.spec import canonical
from refigure.targets import check

ROOT = Path(workflow.basedir)

# One thread a job, and freed memory kept: mapping it anew for each batch costs a tenth of a step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000000")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "2000000000")

CONFIG = Config(ROOT, config)


wildcard_constraints:
    scale="[a-z][a-z0-9_]*",
    data="[a-z0-9_]+-[0-9a-f]{10}",
    pack="[a-z0-9_]+-[0-9a-f]{10}",
    part="[a-z0-9_]+(-[0-9a-f]{8})?",
    table="[a-z0-9_]+",
    experiment="[a-z0-9_]+",
    paper="[a-z0-9-]+",
    figure="[A-Za-z0-9_-]+",
    claim="[A-Za-z0-9_]+",


def refuse(error):
    """End with the one line of a user's mistake, before a traceback can bury it."""
    sys.exit(f"refigure: {error}")


@cache
def graph(scale):
    """The look-ups of a scale, made when a job of it is first asked for."""
    try:
        return Graph(CONFIG, scale)
    except UserError as error:
        refuse(error)


def looked_up(function):
    """A look-up whose mistakes of the user are one line."""

    def checked(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            refuse(error)

    return checked


def results(scale, *parts):
    """A path under results/<scale>/."""
    return str(PurePosixPath("results", scale, *parts))


# The jobs read files, not Snakemake's --config: there only the default scale means something.
for key in config:
    if key != "scale":
        refuse(f"--config {key}: write it to config/local.yaml, where the jobs read it")


@looked_up
def default_scale():
    return CONFIG.user["scale"]


@looked_up
def papers():
    return list(CONFIG.papers)


def resource(stage, key, experiment=None):
    """What a job of a stage asks for: of its scale, with its experiment's over it."""

    @looked_up
    def of(wildcards):
        owner = (
            graph(wildcards.scale).pack(wildcards.pack).runs[0].experiment if experiment else None
        )
        return graph(wildcards.scale).resources(stage, owner)[key]

    return of


def requested():
    """The targets on the command line, after `--`; none in the jobs that Snakemake itself starts."""
    if "--" not in sys.argv or "--target-jobs" in sys.argv:
        return []
    return sys.argv[sys.argv.index("--") + 1 :]


@looked_up
def check_requested():
    for target in requested():
        check(CONFIG, target)


check_requested()


# ---- what each rule needs


@looked_up
def recipe_of(wildcards):
    return canonical(graph(wildcards.scale).recipes.get(wildcards.data, {}))


@looked_up
def recipe_code_of(wildcards):
    return graph(wildcards.scale).recipe_code(wildcards.data)


@looked_up
def data_of(wildcards):
    pack = graph(wildcards.scale).pack(wildcards.pack)
    return results(wildcards.scale, "data", f"{pack.data}.safetensors")


@looked_up
def parents_of(wildcards):
    look = graph(wildcards.scale)
    return [
        results(wildcards.scale, "packs", name, file)
        for name in look.packs_of(list(look.pack(wildcards.pack).parents))
        for file in ("history.parquet", "points.safetensors", "arrays.safetensors")
    ]


@looked_up
def runs_of(wildcards):
    return canonical([run.id for run in graph(wildcards.scale).pack(wildcards.pack).runs])


@looked_up
def training_code_of(wildcards):
    look = graph(wildcards.scale)
    return canonical(look.training_code(look.pack(wildcards.pack)))


@looked_up
def points_of(wildcards):
    look = graph(wildcards.scale)
    roles = look.measured(wildcards.part)
    runs = [run for members in roles.values() for run, _ in members]
    packs = [
        results(wildcards.scale, "packs", name, "points.safetensors")
        for name in look.packs_of(runs)
    ]
    data = sorted({run.spec.data for run in runs})
    return packs + [results(wildcards.scale, "data", f"{name}.safetensors") for name in data]


@looked_up
def measure_code_of(wildcards):
    return graph(wildcards.scale).measure_code(wildcards.part)


@looked_up
def table_inputs_of(wildcards):
    return graph(wildcards.scale).table_files(wildcards.table)


@looked_up
def table_code_of(wildcards):
    return graph(wildcards.scale).table_code(wildcards.table)


@looked_up
def figure_inputs_of(wildcards):
    look = graph(wildcards.scale)
    figure = look.figure(wildcards.paper, wildcards.figure)
    tables = [
        results(wildcards.scale, "tables", f"{name}.parquet") for name in figure.tables.values()
    ]
    claims = look.claims_of_figure(wildcards.paper, wildcards.figure)
    return tables + [claim_file(wildcards.scale, wildcards.paper, name) for name in claims]


@looked_up
def figure_code_of(wildcards):
    return graph(wildcards.scale).figure_code(wildcards.paper, wildcards.figure)


@looked_up
def claim_inputs_of(wildcards):
    claim = graph(wildcards.scale).claim(wildcards.paper, wildcards.claim)
    return [results(wildcards.scale, "tables", f"{name}.parquet") for name in claim.tables.values()]


@looked_up
def claim_code_of(wildcards):
    return graph(wildcards.scale).claim_code(wildcards.paper, wildcards.claim)


def claim_file(scale, paper, claim):
    return results(scale, "claims", paper, f"{claim}.json")


@looked_up
def claims_of(wildcards):
    names = graph(wildcards.scale).claims(wildcards.paper)
    return [claim_file(wildcards.scale, wildcards.paper, name) for name in names]


@looked_up
def index_inputs_of(wildcards):
    look = graph(wildcards.scale)
    packs = look.packs_of(look.runs(wildcards.experiment))
    return [results(wildcards.scale, "packs", name, "run.json") for name in packs]


@looked_up
def figures_of(paper, scale):
    """A paper's figures, those that are optional left out."""
    figures = graph(scale).figures(paper).values()
    return [
        results(scale, "figures", paper, f"{figure.name}.pdf")
        for figure in figures
        if not figure.optional
    ]


def targets_of(paper, scale):
    """What the target of a paper builds; asked for lazily, since most papers are not asked for."""

    @looked_up
    def of(_):
        graph(scale).must_be_built(paper)
        return [*figures_of(paper, scale), results(scale, "claims", f"{paper}.json")]

    return of


@looked_up
def verdicts_of(wildcards):
    return [
        results(wildcards.scale, "claims", f"{name}.json") for name in graph(wildcards.scale).built
    ]


@looked_up
def all_figures_of(wildcards):
    return [
        file
        for paper in graph(wildcards.scale).built
        for file in figures_of(paper, wildcards.scale)
    ]


@looked_up
def report_code_of(wildcards):
    return graph(wildcards.scale).report_code()
