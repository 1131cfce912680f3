"""`refigure plan`, `show`, `compare` and `export`, on a tiny checkout that is built once."""

from __future__ import annotations

import json
import statistics
import tarfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from engine import graph_of, project
from refigure.errors import UserError
from refigure.explain.compare import compare
from refigure.explain.compare import text as text_of_comparison
from refigure.explain.export import export
from refigure.explain.plan import budgets, plan
from refigure.explain.plan import text as text_of_plan
from refigure.explain.show import show
from refigure.explain.show import text as text_of_show
from refigure.explain.step_times import EMBEDDED
from refigure.explain.target import resolve as resolve_target
from refigure.explain.text import size
from refigure.explain.timing import measures, same_work
from refigure.files import read_json
from refigure.graph import fingerprint
from refigure.graph.config import SOURCE_KEYS, Config
from refigure.graph.lookups import Graph
from refigure.machine.progress import duration
from tiny import ALL, checkout, copied, edit, refigure

DEMO_S = 2500
"""Core-seconds that all experiments may take at demo: half an hour on two cores, with tables and
figures."""


@pytest.fixture(autouse=True)
def package(request, monkeypatch):
    """Fingerprints of the tiny checkout's code, which holds a table and a claim of its own."""
    if "built_tiny" in request.fixturenames:
        root = request.getfixturevalue("built_tiny")
        monkeypatch.setattr(fingerprint, "PACKAGE", root / "code/refigure")
        fingerprint.forget()
    yield
    fingerprint.forget()


def planned(root: Path, target: str = ALL, **keys) -> dict:
    return plan(resolve_target(Config(root), target), **keys)


def by_experiment(found: dict) -> dict[str, dict]:
    return {row["experiment"]: row for row in found["experiments"]}


# ---------------------------------------------------------------------- plan


def test_of_what_is_built_nothing_would_run(built_tiny):
    found = planned(built_tiny)
    assert all(count["run"] == 0 for count in found["jobs"].values())
    assert found["seconds"]["total"] == 0
    assert {name: row["done"] for name, row in by_experiment(found).items()} == {
        "plain": 2,
        "tuned": 2,
    }
    assert "nothing to be done" in text_of_plan(found)


def test_new_seeds_take_as_long_an_epoch_as_the_old_ones_took(built_tiny, tmp_path):
    root = copied(built_tiny, tmp_path / "changed")
    # What is tuned from them takes the same steps: all four of both experiments are their like.
    past = [
        run["core_seconds"] / run["last_epoch"]
        for path in (root / "results/tiny/packs").glob("*/run.json")
        for run in read_json(path)["runs"].values()
    ]
    edit(root / "config/experiments/all.yaml", "seed: [0]", "seed: [0, 1, 2]")
    found = planned(root, "results/tiny/experiments/plain.tsv")
    row = by_experiment(found)["plain"]
    assert (row["networks"], row["train"]) == (6, 4)
    assert row["seconds"] == pytest.approx(4 * 3 * statistics.median(past))
    assert found["longest"]["pack"].startswith("plain-")


def test_what_never_ran_is_timed_once_and_its_disk_is_foretold_within_a_factor_of_two(
    built_tiny, tmp_path, capsys
):
    root = checkout(tmp_path / "fresh")
    target = "results/tiny/experiments/plain.tsv"
    assert by_experiment(planned(root, target, may_time=False))["plain"]["unknown"] == 2
    row = by_experiment(planned(root, target))["plain"]
    assert row["seconds"] > 0 and row["unknown"] == 0
    assert "timing a step: convnet" in capsys.readouterr().err
    again = by_experiment(planned(root, target))["plain"]
    assert again["seconds"] == row["seconds"] and capsys.readouterr().err == ""
    [folder] = (built_tiny / "results/tiny/packs").glob("plain-*")
    there = sum((folder / name).stat().st_size for name in ("points.safetensors",))
    assert 0.5 < row["bytes"] / there < 2


def test_epochs_and_measures_are_counted_as_the_loop_takes_them(tmp_path):
    graph = graph_of(project(tmp_path))
    plain, longer, ragged = (graph.runs(name)[0] for name in ("plain", "longer", "ragged"))
    assert len(plain.own_epochs) == 6 and list(longer.own_epochs) == [7, 8, 9, 10]
    wanted = graph.packs[graph.pack_of[plain.id]].wanted
    # train and test every epoch; filters at 1, 2, 3, 6 (four a decade) and in the last quarter
    counts = measures(plain, wanted, 3)
    assert counts["geometry"] == 6 * 3 // 2
    assert sum(number for names, number in counts.items() if "train" in names.split("+")) == 6
    assert sum(number for names, number in counts.items() if "filters" in names.split("+")) == 5
    assert ragged.spec.stop and sum(measures(ragged, wanted, 3).values()) >= 12


def test_seeds_and_numbers_are_the_same_work_and_widths_and_records_are_not(tmp_path):
    graph = graph_of(project(tmp_path))
    run = graph.runs("plain")[0]
    wanted = graph.packs[graph.pack_of[run.id]].wanted
    work = same_work(run.spec, wanted)
    assert {same_work(other.spec, wanted) for other in graph.runs("plain")} == {work}
    wider = replace(run.spec, model={**run.spec.model, "k": 4})
    assert same_work(wider, wanted) != work
    assert same_work(replace(run.spec, batch=10), wanted) != work
    assert same_work(run.spec, replace(wanted, records=frozenset())) != work


def test_demo_s_budgets_stay_below_what_design_allows(committed):
    graph = Graph(Config(committed), "demo")
    stated = {
        row["experiment"]: row["budget"] for row in budgets(resolve_target(graph.config, ALL_DEMO))
    }
    assert set(stated) == {pack.runs[0].experiment for pack in graph.packs.values()}
    assert sum(stated.values()) <= DEMO_S


ALL_DEMO = "results/demo/all"


def test_budgets_are_set_against_what_was_measured(built_tiny):
    rows = {row["experiment"]: row for row in budgets(resolve_target(Config(built_tiny), ALL))}
    assert rows["plain"]["budget"] == 5 and rows["plain"]["measured"] > 0


@pytest.mark.parametrize("target", ["results/demo/all", "results/small/all"])
def test_a_plan_is_readable_in_80_columns(target, committed):
    found = plan(resolve_target(Config(committed), target), may_time=False)
    assert max(map(len, text_of_plan(found).splitlines())) <= 80
    json.dumps(found)


def test_times_and_sizes_are_told_as_people_say_them():
    assert [duration(seconds) for seconds in (0.4, 42, 438, 12240, 4.3e6)] == [
        "0.4 s",
        "42 s",
        "7.3 min",
        "3.4 h",
        "1,194 h",
    ]
    assert [size(count) for count in (8.1e5, 3.44e9)] == ["810 kB", "3.4 GB"]


# ---------------------------------------------------------------------- show


def test_a_run_is_shown_by_the_beginning_of_its_id_and_with_what_reads_it(built_tiny):
    graph = Graph(Config(built_tiny), "tiny")
    run = graph.runs("plain")[0]
    found = show(graph, run.id[:6])
    assert found["run"] == run.id and found["seed"] == 0
    assert found["trained"]["status"] == "finished" and found["trained"]["last_epoch"] == 3
    assert found["used"]["tables"] == ["lines"]
    assert found["used"]["figures"] == ["sample fig1"] and found["used"]["claims"] == ["sample c1"]
    assert len(found["used"]["runs"]) == 1  # the one that is tuned from it
    said = text_of_show(found)
    assert max(map(len, said.splitlines())) <= 80 and "optimiser.elr" in said


def test_a_pack_is_shown_with_its_runs_and_a_wrong_name_is_one_line(built_tiny):
    graph = Graph(Config(built_tiny), "tiny")
    [name] = [name for name in graph.packs if name.startswith("tuned")]
    found = show(graph, name)
    assert [run["status"] for run in found["runs"]] == ["finished"] * 2
    assert found["starts_from"][0].startswith("plain-") and found["bytes"] > 0
    assert max(map(len, text_of_show(found).splitlines())) <= 80
    with pytest.raises(UserError, match=f"did you mean '{name}'"):
        show(graph, f"{name[:-1]}0")
    with pytest.raises(UserError, match="no run or pack '0'"):
        show(graph, "0")


def test_without_a_name_show_prints_the_verdicts(built_tiny):
    assert "Verdicts at scale 'tiny'" in refigure(built_tiny, "show").stdout


# ---------------------------------------------------------------------- compare


@pytest.fixture
def other(built_tiny, tmp_path) -> Path:
    """Results that differ from the built ones in one column and one verdict, by known amounts."""
    root = copied(built_tiny, tmp_path / "other")
    table = root / "results/tiny/tables/lines.parquet"
    rows = pd.read_parquet(table)
    twice = pd.concat([rows, rows.assign(seed=1)])  # two seeds, of which the second moves more
    twice.to_parquet(table.with_name("twice.parquet"))
    mine = built_tiny / "results/tiny/tables/twice.parquet"
    twice.assign(train_loss=twice["train_loss"] + 0.1 * (1 + twice["seed"])).to_parquet(mine)
    path = root / "results/tiny/claims/sample/c1.json"
    record = read_json(path)
    record["verdict"] = "fails"
    record["numbers"]["after"] |= {"value": record["numbers"]["after"]["value"] + 1.0, "se": 0.3}
    path.write_text(json.dumps(record))
    yield root
    mine.unlink()


def test_results_compared_with_themselves_are_equal(built_tiny):
    found = compare(Config(built_tiny), "tiny", str(built_tiny / "results/tiny"))
    assert found["claims"][0]["verdicts"][0] == found["claims"][0]["verdicts"][1]
    assert all(
        column["largest"] == 0 for table in found["tables"] for column in table["columns"].values()
    )
    assert "equal: after, lines" in text_of_comparison(found)


def test_differences_come_with_their_standard_errors(built_tiny, other):
    found = compare(Config(built_tiny), str(other), "tiny")
    [claim] = found["claims"]
    assert claim["verdicts"][0] == "fails"
    number = claim["numbers"]["after"]
    se = read_json(built_tiny / "results/tiny/claims/sample/c1.json")["numbers"]["after"]["se"]
    assert number["difference"] == pytest.approx(-1.0)
    assert number["se"] == pytest.approx((0.3**2 + se**2) ** 0.5)
    [table] = [table for table in found["tables"] if table["table"] == "twice"]
    column = table["columns"]["train_loss"]
    assert table["matched"] == 4 and column["n"] == 2
    assert column["difference"] == pytest.approx(0.15)  # 0.1 and 0.2
    assert column["se"] == pytest.approx(0.05)
    said = text_of_comparison(found).replace(str(other), "other")  # however long its path is
    assert "<-" in said and max(map(len, said.splitlines())) <= 80


def test_what_is_neither_a_scale_nor_results_is_one_line(built_tiny):
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        compare(Config(built_tiny), "tinny", "tiny")


# ---------------------------------------------------------------------- export


def test_a_figure_is_redrawn_from_the_archive_by_the_documented_command(built_tiny, tmp_path):
    found = export(Graph(Config(built_tiny), "tiny"), tmp_path / "tiny.tar.gz")
    with tarfile.open(found["archive"]) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "refigure-tiny"
    assert not (root / "results/tiny/packs").exists() and not (root / "results/tiny/data").exists()
    assert not (root / "config/local.yaml").exists()
    before = (root / "results/tiny/figures/sample/fig1.csv").read_bytes()
    for path in (root / "results/tiny/figures/sample").iterdir():
        path.unlink()
    *_, command = found["redraw"]
    assert command in (root / "REDRAW.md").read_text()
    assert command == "refigure draw sample fig1 --scale tiny"
    refigure(root, *command.split()[1:])
    assert (root / "results/tiny/figures/sample/fig1.csv").read_bytes() == before
    assert (root / "results/tiny/figures/sample/fig1.pdf").stat().st_size > 0


def test_figures_of_own_data_are_redrawn_and_no_path_of_the_machine_travels(built_tiny, tmp_path):
    """Own data are configured in `local.yaml`: without its checksums their tables have no name."""
    root = copied(built_tiny, tmp_path / "own")
    config = yaml.safe_load((root / "config/config.yaml").read_text())
    own = config["sources"].pop("drawn")
    (root / "config/config.yaml").write_text(yaml.safe_dump(config))
    own["images"] = str((root / own["images"]).resolve())
    (root / "config/local.yaml").write_text(yaml.safe_dump({"sources": {"drawn": own}}))
    found = export(Graph(Config(root), "tiny"), tmp_path / "own.tar.gz")
    with tarfile.open(found["archive"]) as archive:
        archive.extractall(tmp_path, filter="data")
    there = tmp_path / "refigure-tiny"
    local = (there / "config/local.yaml").read_text()
    assert own["sha256"] in local and str(tmp_path) not in local
    (there / "results/tiny/figures/sample/fig1.pdf").unlink()
    refigure(there, "draw", "sample", "fig1", "--scale", "tiny")
    assert (there / "results/tiny/figures/sample/fig1.pdf").is_file()


def test_equal_files_give_an_equal_archive(built_tiny, tmp_path):
    graph = Graph(Config(built_tiny), "tiny")
    first, second = (export(graph, tmp_path / name)["archive"] for name in ("a.tar.gz", "b.tgz"))
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_sources_that_are_timed_without_a_download_are_kinds_of_sources():
    assert set(EMBEDDED) <= set(SOURCE_KEYS)


def test_an_archive_is_refused_where_verdicts_are_missing_or_its_name_is_no_tar(tmp_path):
    root = checkout(tmp_path / "fresh")
    graph = Graph(Config(root), "tiny")
    with pytest.raises(UserError, match="not there yet"):
        export(graph, tmp_path / "a.tar.gz")
    with pytest.raises(UserError, match=r"must end in \.tar\.gz"):
        export(graph, tmp_path / "a.zip")
    assert not list(tmp_path.glob("*.tar.gz"))


def test_readme_documents_these_commands():
    text = (ROOT / "README.md").read_text()
    for name in ("plan", "why", "show", "accept", "compare", "export", "prune"):
        assert f"refigure {name}" in text
