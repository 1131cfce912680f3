"""The graph as Snakemake sees it: built once at smoke scale, then asked what a change reruns."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.machine.scheduling import lift_limit

ROOT = Path(__file__).resolve().parents[1]
TRAVELS = ("Snakefile", "rules", "code", "config", "profiles", "envs", "pyproject.toml")


def clone(folder: Path) -> Path:
    """A copy of what the workflow consists of, without results and without local settings."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "local.yaml")
    for name in TRAVELS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


def snakemake(
    root: Path, *arguments: str, check: bool = True, warm: bool = True
) -> subprocess.CompletedProcess:
    """Snakemake in a clone, with its own package; if not warm, each job starts from nothing."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "code"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    if not warm:
        environment["REFIGURE_WARM"] = "off"
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    if check and done.returncode:
        pytest.fail(
            f"snakemake {' '.join(arguments)}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
    return done


def would_run(root: Path, *targets: str) -> dict[str, int]:
    """Rule -> jobs that a dry run lists; empty where there is nothing to be done."""
    done = snakemake(root, "-n", "--", *targets)
    text = done.stdout + done.stderr
    if "Nothing to be done" in text:
        return {}
    table = re.search(r"Job stats:\n(.*?)\n\n", text, re.DOTALL).group(1)
    rows = [line.split() for line in table.splitlines()[2:]]
    return {row[0]: int(row[1]) for row in rows if row[0] != "total"}


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there, and keep the file's time: times must not matter."""
    text, times = path.read_text(), path.stat()
    assert old in text, f"{path}: no {old!r}"
    path.write_text(text.replace(old, new, 1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 10**10))


ALL = ("results/smoke/all", "results/smoke/report.html")


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A clone in which every figure of every built paper is there, at smoke scale."""
    root = clone(tmp_path_factory.mktemp("smoke") / "clone")
    snakemake(root, "-c", "2", "--", *ALL)
    return root


@pytest.fixture
def changed(built, tmp_path) -> Path:
    """A clone with those results and their metadata, to be changed by a test."""
    root = clone(tmp_path / "clone")
    os.symlink(built / "results", root / "results")
    shutil.copytree(built / ".snakemake" / "metadata", root / ".snakemake" / "metadata")
    return root


def test_every_figure_has_pdf_png_csv_and_an_executed_notebook(built):
    look = Graph(Config(built), "smoke")
    for paper in look.built:
        for name, figure in look.figures(paper).items():
            if figure.optional:  # outside `all`
                continue
            for suffix in ("pdf", "png", "csv"):
                assert look.paths.figure(paper, name, suffix).stat().st_size > 0
            notebook = json.loads(look.paths.notebook(paper, name).read_text())
            code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
            assert all(cell["execution_count"] for cell in code)


def test_every_claim_has_a_verdict_and_the_summary_lists_it(built):
    summary = " ".join((built / "results/smoke/all").read_text().split())  # lines are wrapped
    look = Graph(Config(built), "smoke")
    for paper in look.built:
        record = json.loads((built / f"results/smoke/claims/{paper}.json").read_text())
        assert [claim["id"] for claim in record["claims"]] == list(look.claims(paper))
        for claim in record["claims"]:
            assert claim["verdict"] in ("holds", "fails", "undecided")
            assert " ".join(claim["statement"].split()) in summary


def test_a_second_dry_run_has_nothing_to_be_done(built):
    assert would_run(built, *ALL) == {}


def test_a_clone_beside_existing_results_has_nothing_to_be_done(built, tmp_path):
    root = clone(tmp_path / "clone")
    shutil.copytree(built / "results", root / "results")
    assert not (root / ".snakemake").exists()
    assert would_run(root, *ALL) == {}


def test_a_comment_in_the_package_reruns_nothing(changed):
    for name in (
        "training/optimisers/sgd.py",
        "tables/sphere.py",
        "plotting/__init__.py",
        "claims/verdict.py",
    ):
        path = changed / "code/refigure" / name
        path.write_text("# A comment.\n" + path.read_text())
    assert would_run(changed, *ALL) == {}


def test_an_operator_in_the_optimiser_reruns_its_training_and_all_after(changed):
    optimisers = changed / "code/refigure/training/optimisers/sgd.py"
    edit(optimisers, "self.elr * self.state", "self.elr + self.state")
    jobs = would_run(changed, *ALL)
    assert "prepare" not in jobs
    packs = Graph(Config(changed), "smoke").packs
    # Adam stands in a module of its own.
    adam = {name for name, pack in packs.items() if pack.runs[0].spec.optimiser["name"] == "adam"}
    built = {path.name for path in (changed / "results/smoke/packs").iterdir()}
    assert jobs["train"] == len(built - adam) > 0 and built & adam
    assert {"table", "figure", "claim", "report"} <= set(jobs)


def test_a_change_in_one_notebook_redraws_its_figures_only(changed):
    edit(changed / "code/notebooks/three-regimes/border.ipynb", "import", "import  ")
    assert would_run(changed, *ALL) == {"figure": 1, "summary": 1, "report": 1}
    figure = "results/smoke/figures/three-regimes/fig_border.pdf"
    assert would_run(changed, figure) == {"figure": 1}


def test_a_new_seed_trains_only_its_own_runs(changed):
    before = Graph(Config(changed), "smoke")
    had, packs = set(before.pack_of), set(before.packs)
    # Smoke takes two seeds of three: its limit is what has to give way to a third.
    edit(changed / "config/scales/smoke.yaml", "seeds: 2", "seeds: 3")
    after = Graph(Config(changed), "smoke")
    new = set(after.packs) - packs
    # Packs that start from one that is named anew run too, and adopt all that they have.
    again = set(new)
    for pack in after.packs.values():  # parents come first
        if {after.pack_of[parent.id] for parent in pack.parents} & again:
            again.add(pack.name)
    assert would_run(changed, *ALL)["train"] == len(again) > 0
    # A pack of several seeds is named anew, and adopts all but the new seed's runs.
    runs = [run for name in new for run in after.packs[name].runs if run.id not in had]
    assert {run.spec.seed for run in runs if run.experiment == "sphere_convnet_c10"} == {2}
    # Of each experiment the third seed that it writes, and no other; or the same seeds from a
    # parent that is new.
    for name in {run.experiment for run in runs}:
        seeds = {run.spec.seed for run in before.runs(name)}
        of_new = [run for run in runs if run.experiment == name and run.spec.seed not in seeds]
        (added,) = {run.spec.seed for run in of_new}
        assert len(seeds) == 2
        for run in runs:
            if run.experiment == name and run.spec.seed != added:
                assert run.parent is not None and run.parent.id not in had


def test_neither_cores_nor_warm_processes_change_a_bit(built, tmp_path):
    """By the same rules one at a time, each job and kernel a process that starts from nothing."""
    root = clone(tmp_path / "clone")
    results, theirs = root / "results/smoke", built / "results/smoke"
    tables = ["sphere_a1", "finetune_m1"]
    targets = [results / f"tables/{name}.parquet" for name in tables]
    targets.append(results / "figures/periodic-behavior/fig_minima.pdf")
    targets.append(results / "claims/periodic-behavior/C7.json")
    snakemake(root, "-c", "1", "--", *[str(path.relative_to(root)) for path in targets], warm=False)
    count = {}
    for kind in ("data", "packs", "measures", "tables", "claims", "figures"):
        files = [path for path in (results / kind).rglob("*") if path.is_file()]
        files = [path for path in files if path.name != "run.json"]  # which says how long it took
        for path in files:
            name = path.relative_to(results)
            assert path.read_bytes() == (theirs / name).read_bytes(), name
        count[kind] = len(files)
    assert all(count.values()) and count["figures"] == 3
    assert all(len(pd.read_parquet(results / f"tables/{name}.parquet")) for name in tables)


LIMITED = """
from refigure.machine.scheduling import lift_limit
onstart:
    lift_limit(workflow)
    print("a limit:", workflow.scheduler.job_rate_limiter is not None)
rule all:
    output: "made"
    shell: "touch {output}"
"""


@pytest.mark.parametrize(
    ("asked", "limited"),
    [
        ([], False),
        (["--max-jobs-per-timespan", "99/1s"], True),
        (["--max-jobs-per-second", "5"], True),
    ],
)
def test_the_limit_of_jobs_a_second_is_lifted_unless_somebody_asked_for_one(
    asked, limited, tmp_path
):
    (tmp_path / "Snakefile").write_text(LIMITED)
    (tmp_path / "code").symlink_to(ROOT / "code")
    done = snakemake(tmp_path, "-c", "1", "--scheduler", "greedy", *asked)
    assert f"a limit: {limited}" in done.stdout + done.stderr
    assert (tmp_path / "made").exists()


def test_a_snakemake_that_keeps_its_limit_elsewhere_is_left_alone():
    for limiter in (None, SimpleNamespace(), SimpleNamespace(max_jobs=100)):
        workflow = SimpleNamespace(scheduler=SimpleNamespace(job_rate_limiter=limiter))
        lift_limit(workflow)
        assert workflow.scheduler.job_rate_limiter is limiter
    lift_limit(SimpleNamespace())


@pytest.mark.parametrize("scale", ["smoke", "demo", "small", "small8", "shakespeare", "paper"])
def test_the_whole_graph_of_a_scale_dry_runs(scale, tmp_path):
    root = clone(tmp_path / "clone")
    jobs = would_run(root, f"results/{scale}/all")
    look = Graph(Config(root), scale)
    figures = [figure for paper in look.built for figure in look.figures(paper).values()]
    claims = {paper: (look.joined(paper), look.published(paper)) for paper in look.built}
    assert jobs["claim"] == sum(len(own) + len(published) for own, published in claims.values())
    asked = [one for one in figures if not (one.optional or look.optional_experiments(one))]
    assert jobs["figure"] == len(asked)
    assert jobs["train"] >= 20


def test_the_training_of_all_ten_papers_dry_runs(tmp_path):
    root = clone(tmp_path / "clone")
    look = Graph(Config(root), "paper")
    names = [name for name in look.experiments if look.runs(name)]
    targets = [f"results/paper/experiments/{name}.tsv" for name in names]
    jobs = would_run(root, *targets)
    assert jobs["train"] == len(look.packs) > 500


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("three-regims", "unknown target 'three-regims'; did you mean 'three-regimes'?"),
        ("results/deno/all", "config/scales: unknown scale 'deno'; did you mean 'demo'?"),
        ("results/demo/figures/three-regimes/fig99.pdf", "unknown figure 'fig99'"),
        ("results/demo/tables/regime.parquet", "unknown table 'regime'; did you mean 'regimes_i'?"),
    ],
)
def test_a_wrong_target_is_one_line_and_writes_nothing(target, line, tmp_path):
    root = clone(tmp_path / "clone")
    done = snakemake(root, "-c", "1", "--", target, check=False)
    assert done.returncode != 0
    said = [text for text in done.stderr.splitlines() if not text.startswith("Using workflow")]
    assert len(said) == 1 and line in said[0]
    assert not (root / "results").exists()
