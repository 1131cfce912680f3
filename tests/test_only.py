"""A scale that names its experiments, and how many networks train side by side on a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine import graph_of, job, packs, prepared
from engine import project as tiny
from refigure.errors import UserError
from refigure.explain.plan import plan
from refigure.explain.target import resolve
from refigure.graph.config import Config
from refigure.graph.steps import Steps

PT, FT = "sphere_convnet_c10", "sphere_convnet_c10_ft"


def few(project, *names: str):
    """The project's graph at a scale with these experiments alone."""
    project.write("scales/few.yaml", f"extends: demo\nonly: [{', '.join(names)}]\n")
    return project.graph("few")


def test_experiments_that_are_not_named_have_no_runs_and_others_keep_theirs(project):
    demo, graph = project.graph(), few(project, PT)
    assert {run.experiment for pack in graph.packs.values() for run in pack.runs} == {PT}
    assert {run.id for run in graph.runs(PT)} == {run.id for run in demo.runs(PT)}
    assert graph.runs(FT) == []


def test_what_would_be_drawn_or_decided_on_others_alone_is_left_out(project):
    assert "results/few/figures/sample/fig1.pdf" in Steps(few(project, PT)).of_paper("sample")
    graph = few(project, "decay_lr")
    assert Steps(graph).of_paper("sample") == ["results/few/claims/sample.json"]
    assert graph.joined("sample") == []
    found = plan(resolve(Config(project.root), "results/few/all"), may_time=False)
    assert found["jobs"]["train"]["all"] if "train" in found["jobs"] else True
    assert "figure" not in found["jobs"] and "claim" not in found["jobs"]


def test_a_table_of_several_stays_where_one_of_them_is_there(project):
    project.edit("sample_lines.runs", {"from": [PT, "decay_lr"]})
    graph = few(project, "decay_lr")
    assert not graph.lacks(graph.figure("sample", "fig1"))


def test_a_table_whose_grid_is_left_out_is_left_out_too(project):
    project.edit("sample_lines", {"compute": "tables.sphere.regimes", "grid": {"of": PT}})
    graph = few(project, "decay_lr")
    assert graph.lacks(graph.figure("sample", "fig1"))
    assert not few(project, PT).lacks(graph.figure("sample", "fig1"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([FT], f"only: '{FT}' starts from '{PT}': name it too"),
        (["sphere_convnet_c11"], "only: unknown experiment 'sphere_convnet_c11'; did you mean"),
    ],
)
def test_a_name_that_is_wrong_is_one_line(project, names, said):
    with pytest.raises(UserError, match=f"config/scales/few.yaml: {said}"):
        few(project, *names).packs  # noqa: B018


# ---------------------------------------------------------------------- side by side


def test_the_nearest_stack_counts_case_experiment_scale(project):
    def of(graph) -> set:
        return {pack.stack for pack in graph.packs.values() if pack.runs[0].experiment == PT}

    before = set(project.graph().packs)
    assert of(project.graph()) == {None}
    project.edit("scales/demo.stack", 3)
    assert of(project.graph()) == {3}
    project.edit(f"{PT}.stack", 2)
    assert of(project.graph()) == {2}
    first, *others = project.graph().experiments[PT].cases
    assert set(project.graph().packs) == before  # only how a pack is trained, not what it is
    project.edit(f"{PT}.scales.demo.cases", [{**first, "stack": 1}, *others])
    assert of(project.graph()) == {1, 2}


@pytest.mark.parametrize("path", ["scales/demo.stack", f"{PT}.stack"])
def test_a_stack_of_none_is_refused(project, path):
    with pytest.raises(UserError, match="stack must be at least 1, got 0"):
        project.edit(path, 0).graph().packs  # noqa: B018


@pytest.mark.parametrize(("stack", "sizes"), [(None, [4]), (3, [2, 2]), (1, [1, 1, 1, 1])])
def test_a_job_trains_so_many_side_by_side_on_a_gpu(tmp_path, stack, sizes):
    """Of grouped convolutions; how stacks are formed is asked without a GPU."""
    graph = prepared(graph_of(tiny(tmp_path)))
    runs = [run for pack in packs(graph, "plain") for run in pack.runs]
    one = job(graph, replace(packs(graph, "plain")[0], runs=tuple(runs), stack=stack))
    one.device = torch.device("cuda")
    one._fitting = lambda runs, data: [runs]
    from refigure.data.prepared import load

    data = load(graph.paths.data(runs[0].spec.data), torch.device("cpu"))
    assert [len(found) for found in one._stacks(runs, data)] == sizes
