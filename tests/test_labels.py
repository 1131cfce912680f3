"""Labels of experiments: constant columns of their runs, no part of the identity."""

from __future__ import annotations

import pytest
from refigure.errors import UserError
from refigure.graph.experiments import select

PT = "sphere_convnet_c10"
CHILD = f"{PT}_ft"


@pytest.fixture
def project(projects):
    """A project whose experiments have no labels yet."""
    made = projects()
    for name in (PT, CHILD):
        made.edit(f"{name}.labels", {})
    return made.edit(f"{PT}.scales.demo.labels", {})


def test_labels_change_no_id_and_go_to_the_children(project):
    before = {name: {run.id for run in project.graph().runs(name)} for name in (PT, CHILD)}
    project.edit(f"{PT}.labels", {"setup": "main", "width": 8})
    project.edit(f"{CHILD}.labels", {"setup": "tuned"})
    graph = project.graph()
    assert {name: {run.id for run in graph.runs(name)} for name in (PT, CHILD)} == before
    for name, setup in ((PT, "main"), (CHILD, "tuned")):
        for run in graph.runs(name):
            assert run.labels == {"setup": setup, "width": 8}
            assert dict(run.columns) == {**run.labels, **run.axes}


def test_packs_keep_their_names(project):
    before = set(project.graph().packs)
    project.edit(f"{PT}.labels", {"setup": "main"})
    assert set(project.graph().packs) == before


def test_a_label_is_a_column_and_makes_its_tables_stale(project):
    name = "sample_lines"
    before = str(project.graph().table_provenance(name))
    project.edit(f"{PT}.labels", {"setup": "main"})
    assert str(project.graph().table_provenance(name)) != before


def test_a_scale_has_other_labels(project):
    project.edit(f"{PT}.labels", {"setup": "main", "data": "CIFAR-10"})
    project.edit(f"{PT}.scales.demo.labels", {"data": "digits"})
    assert project.graph().runs(PT)[0].labels == {"setup": "main", "data": "digits"}


def test_a_label_may_not_be_an_axis(project):
    project.edit(f"{PT}.labels", {"seed": "main"})
    with pytest.raises(UserError, match=f"{PT}.labels: 'seed' is an axis of its runs"):
        project.graph().runs(PT)


def test_a_label_is_a_text_or_a_number(project):
    project.edit(f"{PT}.labels", {"setup": ["main"]})
    with pytest.raises(UserError, match=r"labels\.setup must be a text or a number"):
        project.graph().runs(PT)


def test_a_selection_may_choose_by_a_label(project):
    project.edit(f"{PT}.labels", {"setup": "main"})
    runs = project.graph().runs(PT)
    assert select(runs, {"setup": "main"}, "here", {}) == runs
    assert select(runs, {"setup": "other"}, "here", {}) == []  # it may have no source


def test_a_probe_of_two_experiments_groups_and_splits_by_the_label(projects):
    project = projects().edit(f"{PT}.labels.setup", "main").edit(f"{CHILD}.labels.setup", "tuned")
    point = {"from": [PT, CHILD], "point": "end"}
    probe = {"measure": "measures.norms.measure", "of": {"net": point}}
    project.edit("sample_probe", {**probe, "each": ["setup", "elr", "seed"], "split": ["setup"]})
    probe = project.graph().probes["sample_probe"]
    runs = [{run.columns["setup"] for run, _ in roles["net"]} for roles in probe.parts.values()]
    assert runs == [{"main"}, {"tuned"}]
    run = probe.roles["net"][0][0]
    assert probe.told(run) == {"setup": "main", **run.axes}


def test_a_selection_may_be_bounded_by_a_number_or_by_a_label(project):
    project.edit(f"{PT}.labels", {"last": 0.05, "low": 0.01})
    runs = project.graph().runs(PT)
    for where, test in (
        ({"min": 0.01}, lambda elr: elr >= 0.01),
        ({"min": 0.01, "max": "last"}, lambda elr: 0.01 <= elr <= 0.05),
        ({"is": "low"}, lambda elr: elr == 0.01),
        ({}, lambda elr: True),
    ):
        expected = [run for run in runs if test(run.axes["elr"])]
        assert expected and select(runs, {"elr": where}, "here", {}) == expected
    for where, message in (({"max": "lats"}, "no axis 'lats'; did you"), ({"mx": 1}, "key 'mx'")):
        with pytest.raises(UserError, match=message):
            select(runs, {"elr": where}, "here", {})
