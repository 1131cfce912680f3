"""`refigure why` and `accept`: what would run is what Snakemake runs, and because of what."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from refigure.explain.ledger import Ledger
from refigure.files import read_json
from tiny import ALL, checkout, copied, edit, refigure, snakemake, would_run

FIGURE = "results/tiny/figures/sample/fig1.pdf"
OPTIMISER = "code/refigure/training/optimisers/sgd.py"
STEP = 'lr = self.elr * self.state["radius"].square()'


@pytest.fixture
def changed(built_tiny, tmp_path) -> Path:
    """A built checkout once more, to be changed."""
    return copied(built_tiny, tmp_path / "changed")


def why(root: Path, target: str = ALL) -> dict:
    """What `refigure why --json` says."""
    return json.loads(refigure(root, "why", target, "--json").stdout)


def stale(found: dict) -> dict[str, int]:
    """Rule -> jobs that would run."""
    return dict(Counter(job["rule"] for job in found["jobs"] if job["stale"]))


def agreed(root: Path, target: str = ALL) -> dict:
    """What `why` says, which must be what Snakemake would do."""
    found = why(root, target)
    assert stale(found) == would_run(root, target)
    return found


def changes(found: dict, rule: str) -> set[tuple[str, str]]:
    """(name, part) of all changes of the jobs of a rule."""
    return {
        (change["name"], change["part"])
        for job in found["jobs"]
        if job["rule"] == rule
        for reason in job["reasons"]
        for change in reason["changes"]
    }


def test_what_is_built_is_up_to_date_from_the_figure_down_to_the_specs(built_tiny):
    found = agreed(built_tiny, FIGURE)
    assert stale(found) == {}
    rules = [job["rule"] for job in found["jobs"]]
    assert rules[0] == "figure" and rules[-1] == "prepare"
    assert {spec["experiment"]: spec["runs"] for spec in found["specs"]} == {"plain": 2}
    [plain] = [spec for spec in found["specs"] if spec["experiment"] == "plain"]
    assert plain["shared"]["optimiser.name"] == "sphere_sgd" and plain["axes"]["elr"] == [
        1e-3,
        1e-2,
    ]


def test_an_operator_changed_in_the_optimiser_is_named_by_module_and_function(changed):
    edit(changed / OPTIMISER, STEP, STEP.replace("*", "+"))
    found = agreed(changed, FIGURE)
    assert changes(found, "train") == {("refigure.training.optimisers.sgd", "SphereSGD.step")}
    assert stale(found) == {"train": 1, "table": 1, "figure": 1}
    said = refigure(changed, "why", FIGURE).stdout
    assert "refigure.training.optimisers.sgd: SphereSGD.step changed" in said
    assert max(map(len, said.splitlines())) <= 80


def test_code_outside_functions_and_added_functions_are_named(changed):
    path = changed / "code/refigure/tables/sample.py"
    path.write_text("LIMIT = 3\n" + path.read_text() + "\n\ndef first(runs):\n    return runs\n")
    found = why(changed)
    assert changes(found, "table") == {
        ("refigure.tables.sample", "outside functions"),
        ("refigure.tables.sample", "first"),
    }


def test_a_key_changed_in_the_configuration_is_named_with_both_values(changed):
    edit(changed / "config/experiments/all.yaml", "column: train_loss}", "column: train_error}")
    edit(changed / "config/papers/sample.yaml", "most: 3.0", "most: 2.5")
    found = agreed(changed)
    assert changes(found, "table") == {("options.column", "")}
    assert changes(found, "claim") == {("options.thresholds.most", "")}
    said = refigure(changed, "why", ALL).stdout
    assert 'options.column "train_loss" -> "train_error"' in said


def test_a_changed_cell_is_named_and_only_the_figure_is_stale(changed):
    edit(changed / "code/notebooks/sample/fig1.ipynb", "axes.plot", "axes.semilogx")
    found = agreed(changed, FIGURE)
    assert changes(found, "figure") == {("fig1.ipynb", "cell 4")}
    assert stale(found) == {"figure": 1}


def test_a_touched_file_is_not_a_changed_one_and_a_missing_pack_may_be_of_no_use(changed):
    table = changed / "results/tiny/tables/lines.parquet"
    os.utime(table)
    shutil.rmtree(changed / "results/tiny/packs")
    assert stale(agreed(changed, FIGURE)) == {}


def test_a_file_of_other_content_is_named_and_what_a_missing_one_needs_is_trained(changed):
    table = changed / "results/tiny/tables/lines.parquet"
    table.write_bytes(table.read_bytes() + b" ")
    shutil.rmtree(changed / "results/tiny/packs")
    found = why(changed, FIGURE)
    assert stale(found) == {"figure": 1}
    files = [reason["files"] for job in found["jobs"] for reason in job["reasons"]]
    assert ["results/tiny/tables/lines.parquet"] in files
    (changed / "results/tiny/tables/after.parquet").unlink()
    assert stale(agreed(changed))["train"] == 2


def test_a_new_value_is_a_new_pack_that_adopts_what_is_there(changed):
    edit(changed / "config/experiments/all.yaml", "[1.0e-3, 1.0e-2]", "[1.0e-3, 1.0e-2, 2.0e-2]")
    found = agreed(changed)
    said = [
        reason["text"]
        for job in found["jobs"]
        if job["rule"] == "train" and "plain" in job["job"]
        for reason in job["reasons"]
    ]
    assert "2 of its 3 networks will be adopted" in said
    assert ("optimiser.elr", "") in changes(found, "train")


def test_without_snakemakes_records_nothing_reruns_and_the_note_says_what_differs(changed):
    shutil.rmtree(changed / ".snakemake")
    edit(changed / OPTIMISER, STEP, STEP.replace("*", "+"))
    found = agreed(changed, FIGURE)
    assert stale(found) == {}
    of_pack, of_all = found["notes"]
    assert "SphereSGD.step" in of_pack
    assert of_all.startswith(f"Snakemake has no record of {len(found['jobs'])} results")


# ---------------------------------------------------------------------- accept


def test_accepted_code_reruns_nothing_and_its_runs_are_adopted(changed):
    edit(changed / OPTIMISER, STEP, 'lr = self.state["radius"].square() * self.elr')
    times = {path: path.stat().st_mtime_ns for path in (changed / "results").rglob("*.*")}
    done = refigure(changed, "accept", ALL, "--because", "factors in another order")
    assert "SphereSGD.step" in done.stdout
    assert stale(agreed(changed, ALL)) == {}
    same = [path for path in times if path.stat().st_mtime_ns != times[path]]
    assert [path.name for path in same] == ["made_with.jsonl"]
    [line] = (changed / "results/tiny/accepted.log").read_text().splitlines()
    assert json.loads(line)["because"] == "factors in another order"
    edit(changed / "config/experiments/all.yaml", "[1.0e-3, 1.0e-2]", "[1.0e-3, 1.0e-2, 2.0e-2]")
    snakemake(changed, "-c", "1", "--", "results/tiny/experiments/plain.tsv")
    [pack] = [
        path
        for path in (changed / "results/tiny/packs").glob("plain-*")
        if len(read_json(path / "run.json")["runs"]) == 3
    ]
    adopted = [one["pack"] != pack.name for one in read_json(pack / "run.json")["runs"].values()]
    assert sum(adopted) == 2


def test_a_later_change_is_told_from_the_accepted_one(changed):
    edit(changed / OPTIMISER, STEP, 'lr = self.state["radius"].square() * self.elr')
    refigure(changed, "accept", ALL, "--because", "factors in another order")
    edit(
        changed / "code/refigure/models/convnet.py",
        "def build",
        "def unused():\n    pass\n\n\ndef build",
    )
    assert changes(why(changed), "train") == {("refigure.models.convnet", "unused")}


@pytest.mark.parametrize(
    ("break_it", "line"),
    [
        (lambda root: edit(root / "config/papers/sample.yaml", "3.0", "2.5"), "options.thresholds"),
        (lambda root: (root / FIGURE).unlink(), "not there"),
        (lambda root: edit(root / "config/experiments/all.yaml", "seed: [0]", "seed: [1]"), "runs"),
    ],
)
def test_only_code_is_accepted_and_nothing_is_written_otherwise(break_it, line, changed):
    edit(changed / OPTIMISER, STEP, STEP.replace("*", "+"))
    break_it(changed)
    before = {
        path: path.read_bytes() for path in (changed / ".snakemake").rglob("*") if path.is_file()
    }
    done = refigure(changed, "accept", ALL, "--because", "no reason", check=False)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert line in done.stderr and "only a change of code" in done.stderr
    assert {path: path.read_bytes() for path in before} == before
    assert not (changed / "results/tiny/accepted.log").exists()


def test_nothing_is_accepted_without_a_reason_or_while_snakemake_runs(changed):
    done = refigure(changed, "accept", ALL, "--because", " ", check=False)
    assert done.stderr.startswith("refigure: --because")
    lock = changed / ".snakemake/locks/0.input.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("")
    done = refigure(changed, "accept", ALL, "--because", "x", check=False)
    assert done.returncode == 1 and "Snakemake is at work" in done.stderr


# ---------------------------------------------------------------------- the ledger


def test_the_ledger_survives_a_line_cut_short_and_writes_nothing_twice(tmp_path):
    from engine import graph_of, project
    from refigure.graph.steps import Steps

    graph = graph_of(project(tmp_path))
    steps = Steps(graph).chain(["results/tiny/tables/lines.parquet"]).values()
    assert Ledger(tmp_path).record(steps) > 5
    assert Ledger(tmp_path).record(steps) == 0
    path = tmp_path / "made_with.jsonl"
    path.write_text(path.read_text()[:-9])
    assert Ledger(tmp_path).record(steps) == 1
    assert Ledger(tmp_path).record(steps) == 0


def test_a_dry_run_records_nothing(built_tiny, tmp_path):
    root = checkout(tmp_path / "fresh")
    snakemake(root, "-n", "--", FIGURE)
    assert not (root / "results").exists()
    assert (built_tiny / "results/tiny/made_with.jsonl").is_file()
