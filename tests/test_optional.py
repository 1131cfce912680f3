"""Experiments that are trained only when they are asked for by name, and grids that multiply."""

from __future__ import annotations

import pytest
from refigure.errors import UserError
from refigure.explain.plan import plan
from refigure.explain.plan import text as text_of_plan
from refigure.explain.target import resolve
from refigure.graph.config import Config
from refigure.graph.steps import Steps

PT = "sphere_convnet_c10"
FIGURE = "results/demo/figures/sample/fig1.pdf"
CLAIM = "results/demo/claims/sample/c1.json"


def trains(steps: Steps, file: str) -> set[str]:
    """The experiments that own the packs behind a file."""
    packs = [step.names[0] for step in steps.chain([file]).values() if step.rule == "train"]
    return {steps.graph.pack(name).runs[0].experiment for name in packs}


def test_the_target_of_all_leaves_out_what_rests_on_an_optional_experiment(project):
    steps = Steps(project.graph())
    for file in ("results/demo/all", "results/demo/report.html", *steps.of_paper("sample")):
        assert trains(steps, file) == {PT}
    steps = Steps(project.edit(f"{PT}.optional", True).graph())
    for file in ("results/demo/all", "results/demo/report.html", *steps.of_paper("sample")):
        assert trains(steps, file) == set()
    for file in (FIGURE, CLAIM, f"results/demo/experiments/{PT}.tsv"):
        assert trains(steps, file) == {PT}


def test_what_starts_from_an_optional_experiment_is_left_out_too(project):
    child = f"{PT}_ft"
    project.edit(f"{PT}.optional", True).edit("sample_lines.runs", {"from": child})
    graph = project.graph()
    assert graph.optional_experiments(graph.figure("sample", "fig1")) == [PT]
    assert graph.joined("sample") == []
    assert trains(Steps(graph), "results/demo/all") == set()
    assert trains(Steps(graph), FIGURE) == {PT, child}


def test_a_scale_may_ask_for_an_optional_experiment_and_ids_do_not_change(project):
    before = {run.id for run in project.graph().runs(PT)}
    project.edit(f"{PT}.optional", True)
    project.edit(f"{PT}.scales.demo.optional", False)
    assert {run.id for run in project.graph().runs(PT)} == before
    assert trains(Steps(project.graph()), "results/demo/all") == {PT}
    assert trains(Steps(project.graph("small")), "results/small/all") == set()


def test_a_plan_says_what_it_trains_and_what_it_leaves(project):
    project.edit(f"{PT}.optional", True)
    config = Config(project.root)
    found = plan(resolve(config, "all", "demo"), may_time=False)
    assert found["optional"] == {"trained": [], "left": [PT]}
    shown = " ".join(text_of_plan(found).split())
    assert "1 optional experiment of this scale left out" in shown
    assert f"experiments/{PT}.tsv" in shown
    found = plan(resolve(config, FIGURE), may_time=False)
    assert found["optional"] == {"trained": [PT], "left": []}
    assert f"optional experiments that this target trains: {PT}" in text_of_plan(found)


def test_an_axis_may_multiply_what_the_parent_has_and_whole_numbers_are_rounded_down(project):
    child = f"{PT}_ft"
    project.edit(f"{child}.grid", {"elr": [{"times": 0.5}, {"times": 2}], "seed": [0]})
    project.edit(f"{child}.base.epochs", 25)
    project.edit(f"{child}.cases", [{"epochs": {"times": 0.5}}, {"epochs": {"times": 1}}])
    project.edit(f"{child}.scales", {})
    runs = project.graph().runs(child)
    for run in runs:
        assert run.axes["elr"] == run.spec.optimiser["elr"]
        assert run.axes["epochs"] == run.spec.epochs
    factors = {run.spec.optimiser["elr"] / run.parent.spec.optimiser["elr"] for run in runs}
    assert factors == {0.5, 2}
    assert {run.spec.epochs for run in runs} == {12, 25}


@pytest.mark.parametrize(
    ("experiment", "grid", "message"),
    [
        (f"{PT}_ft", {"elr": [{"time": 2}]}, "time"),
        (f"{PT}_ft", {"elr": [{"times": "twice"}]}, "elr.times"),
        (f"{PT}_ft", {"model.norm": [{"times": 2}]}, "nothing to multiply by 2"),
        (PT, {"elr": [{"times": 2}], "seed": [0]}, "elr"),
    ],
)
def test_a_wrong_multiple_is_one_line(project, experiment, grid, message):
    project.edit(f"{experiment}.scales", {}).edit(f"{experiment}.grid", grid)
    with pytest.raises(UserError, match=message) as error:
        project.graph().runs(experiment)
    assert "\n" not in str(error.value)
