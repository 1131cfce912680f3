"""Look-ups and wildcard constraints of all rules; no rules here."""

import gc
import os
import sys
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(workflow.basedir)

# The checkout's own code, whatever environment it is run with: an editable install names one
# checkout only, and Snakemake has imported the logger of that one.
CODE = str(ROOT / "code")
if sys.path[0] != CODE:
    sys.path.insert(0, CODE)
loaded = getattr(sys.modules.get("refigure"), "__file__", CODE)
if not Path(loaded).resolve().is_relative_to(Path(CODE).resolve()):
    for name in [name for name in sys.modules if name.split(".")[0] == "refigure"]:
        del sys.modules[name]

# So have the jobs, which also find `refigure` where nobody has activated the environment; and
# they work in this checkout, whichever another variable names.
for name, folder in {"PYTHONPATH": CODE, "PATH": str(Path(sys.executable).parent)}.items():
    os.environ[name] = os.pathsep.join([folder, *filter(None, [os.environ.get(name)])])
os.environ.pop("REFIGURE_ROOT", None)

from refigure.machine import slurm, warm
from refigure.graph.config import RULES, Config
from refigure.errors import UserError
from refigure.explain.ledger import Ledger
from refigure.graph.lookups import graph_of
from refigure.machine.locks import alone, release_dead
from refigure.machine.scheduling import lift_limit
from refigure.machine.scratch import check_links, clear_accepted, keep_trained
from refigure.graph.reading import NAME
from refigure.graph.steps import Steps, resolve

# One thread a job, and freed memory kept: mapping it anew for each batch costs a tenth of a step.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "1000000000")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "2000000000")

# What the graph is made of lives to the end: looking for garbage in it was a third of a dry run.
gc.set_threshold(100_000, 50, 100)

CONFIG = Config(ROOT, config)


wildcard_constraints:
    scale=NAME,
    data=NAME,
    pack=NAME,
    part=NAME,
    table=NAME,
    experiment=NAME,
    paper=NAME,
    figure=NAME,
    claim=NAME,


def refuse(error):
    """End with the one line of a user's mistake, before a traceback can bury it."""
    sys.exit(f"refigure: {error}")


@cache
def graph(scale):
    """The look-ups of a scale, made when a job of it is first asked for."""
    try:
        return graph_of(CONFIG, scale)
    except UserError as error:
        refuse(error)


SCALES = {}


def steps(scale):
    """The jobs of a scale."""
    if scale not in SCALES:
        SCALES[scale] = Steps(graph(scale))
    return SCALES[scale]


def keep_packs():
    """Keep the packs that are there of the training jobs to run, unless one is asked for by force."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name == "train"]
    if not any(workflow.dag.reason(job).forced for job in jobs):
        keep_trained(ROOT, [(job.wildcards.scale, job.wildcards.pack) for job in jobs])


def start_warm():
    """Have the jobs fork from one process that has imported torch, where they run on this machine."""
    if not workflow.deployment_settings.deployment_method:
        warm.start()


def record_provenance():
    """Note what the digests of these jobs stand for: `refigure why` names functions and keys by it."""
    try:
        for made in SCALES.values():
            Ledger(made.paths.results).record(made.jobs.values())
    except (OSError, UserError) as error:
        print(f"refigure: no notes for `refigure why`: {error}", file=sys.stderr)


def end_left_jobs():
    """End what a killed Snakemake left in Slurm's queue, and begin again: some may be done."""
    if not alone(ALIVE):
        return
    try:
        ended = slurm.end_left(ROOT)
    except UserError as error:
        refuse(error)
    if ended:
        workflow.persistence.unlock()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def check_queue():
    """Refuse what Slurm would never run, before anything is submitted; then watch its queue."""
    global WATCH
    executor = getattr(workflow.scheduler, "_executor", None)
    if type(executor).__module__.partition(".")[0] != "snakemake_executor_plugin_slurm":
        return
    queued = [job for job in workflow.dag.needrun_jobs() if not workflow.is_local(job.rule)]
    try:
        kinds = list(dict.fromkeys(slurm.asked(job, executor) for job in queued))
        slurm.check(kinds, executor.get_status_command())
    except UserError as error:
        refuse(error)
    WATCH = slurm.Watch(ROOT, executor=executor)
    WATCH.start()


def look_at_queue():
    """Say of the last jobs why they failed."""
    if WATCH is not None:
        WATCH.look()


WATCH = None


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


# A job that Snakemake starts elsewhere runs where it is, in what the queue gave it.
if "--target-jobs" in sys.argv:
    warm.forget()
    os.environ.update(REFIGURE_QUEUED="1")  # training.jobs.devices.QUEUED

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


@looked_up
def is_local(rule):
    """Whether the jobs of a rule run where Snakemake itself runs, and never in a queue."""
    return rule not in CONFIG.user["queue"]


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
    CONFIG.scale(default_scale())
    for target in requested():
        resolve(target, CONFIG, default_scale(), steps)


if Path.cwd().resolve() != ROOT.resolve():
    refuse(f"--directory {Path.cwd()}: results lie in the checkout; leave the option out")

looked_up(check_links)(ROOT)
check_requested()

# Kept open while this Snakemake runs; the jobs that it starts elsewhere lock nothing.
ALIVE = None if "--target-jobs" in sys.argv else release_dead(Path(".snakemake"))


# ---- what each rule needs


@looked_up
def step_of(rule, wildcards):
    """The job of a rule that some wildcards name."""
    names = [getattr(wildcards, name) for name in RULES[rule]]
    return steps(wildcards.scale).step(rule, *names)


def inputs_of(rule):
    """The input function of a rule."""
    return looked_up(lambda wildcards: list(step_of(rule, wildcards).inputs))


def param_of(rule, name):
    """The function of one parameter of a rule."""
    return looked_up(lambda wildcards: step_of(rule, wildcards).params[name])


def targets_of(paper, scale):
    """What the target of a paper builds; asked for lazily, since most papers are not asked for."""
    return looked_up(lambda _: steps(scale).of_paper(paper))
