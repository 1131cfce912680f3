"""The stages by their command line on a folder of a few images, and what jobs adopt."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from engine import (
    EXPERIMENTS,
    about,
    graph_of,
    history,
    job,
    packs,
    prepared,
    project,
    results,
    tensors,
    trained,
)
from refigure.cli import main
from refigure.graph.experiments import Wanted
from refigure.training.jobs.parts import FILES


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with its data."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


# ---------------------------------------------------------------------- command line


def call(root, *words):
    return main(["--root", str(root), *words])


def train_plain(graph):
    """Prepare and train by the command line, and look at what lies there."""
    data = packs(graph, "plain")[0].data
    assert call(graph.config.root, "prepare", data) == 0
    assert graph.paths.data(data).is_file()
    for pack in packs(graph, "plain"):
        assert call(graph.config.root, "train", pack.name) == 0
        assert sorted(path.name for path in graph.paths.pack(pack.name).iterdir()) == sorted(FILES)
        assert not list(graph.paths.state(pack.name).glob("*.state"))


def test_a_folder_of_images_becomes_a_table_by_three_commands(tmp_path, capsys):
    graph = graph_of(project(tmp_path))
    train_plain(graph)
    assert call(tmp_path, "table", "lines") == 0
    table = pd.read_parquet(graph.paths.table("lines"))
    assert set(table["elr"]) == {1e-3, 1e-2}
    assert set(table["seed"]) == {0, 1}
    whole = table[table["step"] % 3 == 0]
    assert whole.groupby(["elr", "seed"]).size().tolist() == [7] * 4
    assert whole["train_loss"].notna().all()
    assert capsys.readouterr().err == ""


def test_a_folder_of_images_becomes_packs_and_their_list(tmp_path, capsys):
    graph = graph_of(project(tmp_path))
    train_plain(graph)
    assert torch.get_num_threads() == 1
    assert call(tmp_path, "index", "plain", "--to", str(tmp_path / "index.tsv")) == 0
    assert list(pd.read_csv(tmp_path / "index.tsv", sep="\t")["status"]) == ["finished"] * 4
    assert capsys.readouterr().err == ""


def refused(root, capsys, *words):
    """The one line that a command ends with."""
    capsys.readouterr()
    assert call(root, *words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_mistakes_are_one_line_that_names_the_thing(tmp_path, capsys):
    graph = graph_of(project(tmp_path))
    data = packs(graph, "plain")[0].data
    [first, *_] = packs(graph, "plain")
    [child] = packs(graph, "longer")
    assert "'nothing'" in refused(tmp_path, capsys, "prepare", "nothing")
    assert "'plain-0'" in refused(tmp_path, capsys, "train", "plain-0")
    assert "'huge'" in refused(tmp_path, capsys, "train", first.name, "--scale", "huge")
    line = refused(tmp_path, capsys, "train", first.name)
    assert line == f"refigure: {graph.paths.data(data)}: no such file"
    assert call(tmp_path, "prepare", data) == 0
    line = refused(tmp_path, capsys, "train", child.name)
    assert "starts from plain" in line and line.endswith("points.safetensors: no such file")
    assert not graph.paths.pack(child.name).exists()
    graph.paths.data(data).write_bytes(b"no arrays")
    assert "not prepared data" in refused(tmp_path, capsys, "train", first.name)
    (tmp_path / "drawn/train/class0/0.png").write_bytes(b"other")
    assert "expected sha256" in refused(tmp_path, capsys, "prepare", data)
    assert "'lines2'" in refused(tmp_path, capsys, "table", "lines2")


def test_a_table_without_its_histories_is_one_line(tmp_path, capsys):
    graph = prepared(graph_of(project(tmp_path)))
    assert "history.parquet" in refused(graph.config.root, capsys, "table", "lines")


# ---------------------------------------------------------------------- adoption


def run(made):
    """Run a job; the ids of the runs that it trained."""
    trained_ids = []
    inner = made._train

    def counted(runs, *rest):
        trained_ids.extend(run.id for run in runs)
        return inner(runs, *rest)

    made._train = counted
    made.run()
    return trained_ids


def test_finished_runs_are_adopted_and_only_the_others_trained(shop, tmp_path):
    [first, second] = packs(shop, "plain")
    stale = trained(shop, "plain")[0]
    both = replace(first, name="both", runs=(*first.runs, *second.runs))
    made = job(shop, both, tmp_path / "out", adoptable=[stale])
    assert run(made) == [run.id for run in second.runs]
    for one in first.runs:
        mine, theirs = (history(folder, one.id) for folder in (tmp_path / "out", stale))
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
        for name in FILES[1:-1]:
            mine, theirs = (
                {key: value for key, value in tensors(folder / name).items() if one.id in key}
                for folder in (tmp_path / "out", stale)
            )
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    # the whole is what training everything gives, to the byte
    straight = job(shop, both, tmp_path / "straight")
    assert len(run(straight)) == 4
    assert results(tmp_path / "straight") == results(tmp_path / "out")


def test_a_pack_cut_otherwise_trains_nothing(shop, tmp_path):
    [first, second] = packs(shop, "plain")
    stale = trained(shop, "plain")
    runs = second.runs[1], first.runs[0]
    # What both left behind: a run goes on from the state of one of them only.
    common = replace(first.wanted, states=first.wanted.states & second.wanted.states)
    crossed = replace(first, name="crossed", runs=runs, wanted=common)
    assert run(job(shop, crossed, tmp_path / "out", adoptable=stale)) == []
    assert set(about(tmp_path / "out")) == {second.runs[1].id, first.runs[0].id}


def test_nothing_is_adopted_from_other_code(shop, tmp_path):
    [first, _] = packs(shop, "plain")
    stale = trained(shop, "plain")
    newer = {"refigure.training.jobs.job": "newer"}
    made = job(shop, first, tmp_path / "out", adoptable=stale, code=newer)
    assert len(run(made)) == 2


@pytest.mark.parametrize(
    "more",
    [
        Wanted(points=frozenset({'{"epoch":5}'})),
        Wanted(predictions=frozenset({'{"epoch":6}|test'})),
        Wanted(records=frozenset({'{"every":{"steps":1},"gradient":false,"name":"train"}'})),
    ],
)
def test_a_run_without_what_is_wanted_now_is_trained_again(shop, tmp_path, more):
    [first, _] = packs(shop, "plain")
    stale = trained(shop, "plain")
    wider = replace(first, wanted=more)
    made = job(shop, wider, tmp_path / "out", adoptable=stale)
    assert run(made) == [one.id for one in first.runs]


def test_less_wanted_is_adopted(shop, tmp_path):
    [first, _] = packs(shop, "plain")
    stale = trained(shop, "plain")
    narrower = replace(first, wanted=Wanted(points=frozenset({'{"epoch":6}'})))
    assert run(job(shop, narrower, tmp_path / "out", adoptable=stale)) == []


def test_a_pack_whose_files_are_not_all_there_is_not_adopted(shop, tmp_path):
    [first, _] = packs(shop, "plain")
    stale = tmp_path / "stale"
    shutil.copytree(trained(shop, "plain")[0], stale)
    (stale / "run.json").unlink()
    assert len(run(job(shop, first, tmp_path / "out", adoptable=[stale]))) == 2


def test_a_child_that_had_no_parent_point_is_looked_at_again(shop, tmp_path):
    [pack] = packs(shop, "orphan")
    stale = trained(shop, "orphan")
    again = run(job(shop, pack, tmp_path / "out", adoptable=stale))
    assert [shop.owned[0][one].axes["plr"] for one in again] == [1e20]


def test_a_new_seed_in_the_configuration_trains_the_new_seed_only(tmp_path, capsys):
    graph = prepared(graph_of(project(tmp_path)))
    for pack in packs(graph, "momentum"):
        assert call(tmp_path, "train", pack.name) == 0
    before = {one.id for one in graph.runs("momentum")}
    text = EXPERIMENTS.replace("{lr: [3.0e-2], seed: [0, 1]}", "{lr: [3.0e-2], seed: [2, 0, 1]}")
    project(tmp_path, text)
    graph = graph_of(tmp_path)
    capsys.readouterr()
    adopted = 0
    for pack in packs(graph, "momentum"):
        assert call(tmp_path, "train", pack.name) == 0
        found = about(graph.paths.pack(pack.name))
        adopted += sum(one["pack"] != pack.name for one in found.values())
    assert adopted == len(before) == 2
    assert "2 of 3 networks adopted" in capsys.readouterr().out


def test_what_a_run_leaves_names_its_spec_code_and_machine(shop):
    folder = trained(shop, "plain")[0]
    for run_id, found in about(folder).items():
        assert found["spec"] == json.loads(json.dumps(shop.owned[0][run_id].spec.identity))
        assert found["code"] == {"refigure.training.jobs.job": "code"}
        assert found["torch"] == torch.__version__
        assert found["status"] == "finished"
        assert found["last_epoch"] == 6
