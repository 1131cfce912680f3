"""Lines between networks, against a network whose path is known and statistics taken by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from engine import EXPERIMENTS, graph_of, images, prepared, project, spec, trained
from refigure import stages
from refigure.measures import accuracy, paths
from refigure.measures.members import Group
from refigure.models import convnet
from refigure.models.layers import Statistics
from refigure.tasks.classification import Classification
from torch import Tensor


class Direction:
    """Two weights; an image (x, y) is of class 0 where it lies on their side of the origin."""

    def __init__(self, stacking: str = "grouped"):
        self.stacking, self.groups, self.normalised = stacking, {"weight": "invariant"}, {}

    def forward(self, parameters, images: Tensor, statistics: Statistics) -> Tensor:
        side = images @ parameters["weight"].mT
        return torch.cat([side, -side], -1)


class Sides:
    """Images of class 0, the same for training and testing, in batches of 2."""

    def __init__(self, model: Direction, images):
        self.model, self.images = model, torch.tensor(images)

    def evaluation(self, which: str, networks: int):
        for part in self.images.split(2):
            labels = torch.zeros(networks, len(part), dtype=torch.int64)
            yield SimpleNamespace(images=part.expand(networks, -1, -1), labels=labels)

    def logits(self, parameters, batch, statistics):
        return self.model.forward(parameters, batch.images, statistics)

    def scores(self, logits: Tensor, labels: Tensor):
        error = (logits.argmax(-1) != labels).float()
        return error, error


def ends(images, first, last, stacking: str = "grouped") -> dict[str, list[SimpleNamespace]]:
    """Roles a and b: the directions `first` and `last`, on these images."""
    model = Direction(stacking)
    task = Sides(model, images)
    return {
        role: [SimpleNamespace(model=model, task=task, parameters={"weight": torch.tensor([[w]])})]
        for role, w in (("a", first), ("b", last))
    }


# From (1, 0) to (0, 1) the first image is right up to 1/3 of the way, the second from 2/3 on.
APART = [(1.0, -2.0), (-2.0, 1.0)]
# ... and these from the start to 2/3, from 1/3 to the end.
OVERLAP = [(1.0, -0.5), (-0.5, 1.0)]


@pytest.mark.parametrize("stacking", ["grouped", "native", "single"])
def test_the_accuracy_on_a_known_path_is_found_at_every_point(stacking):
    roles = ends(APART, (1.0, 0.0), (0.0, 1.0), stacking)
    train, test = paths.along(roles["a"][0], roles["b"][0], 11, True)
    assert train.tolist() == test.tolist() == [50.0] * 4 + [0.0] * 3 + [50.0] * 4


def test_a_row_a_pair_has_the_angle_and_the_barriers_of_its_line():
    roles = ends(APART, (1.0, 0.0), (0.0, 1.0))
    roles |= {"c": ends(APART, (1.0, 1.0), (0.0, 1.0))["a"], "d": []}
    pairs = {"a-b": ["a", "b"], "a-c": ["a", "c"], "a-d": ["a", "d"]}
    rows = paths.measure(Group({}, roles), points=7, pairs=pairs, rescale=True)
    assert [row["pair"] for row in rows] == ["a-b", "a-c"]
    assert [row["angle"] for row in rows] == pytest.approx([math.pi / 2, math.pi / 4])
    # At c no image is right: the line from 50 to 0 is 25 high where the path has reached 0, but
    # seen first at 1/2 of the way, where w = (1, 0.4).
    assert rows[0]["train_barrier"] == rows[0]["test_barrier"] == 50
    assert 0 < rows[1]["train_barrier"] < 50


def test_where_both_ends_agree_in_between_there_is_no_barrier():
    roles = ends(OVERLAP, (1.0, 0.0), (0.0, 1.0))
    (row,) = paths.measure(Group({}, roles), points=7, pairs={"p": ["a", "b"]}, rescale=True)
    assert row["train_barrier"] == 0


def test_rescaling_brings_both_ends_to_the_larger_norm():
    roles = ends(APART, (1.0, 0.0), (0.0, 5.0))
    first, last = roles["a"][0], roles["b"][0]
    equal, _ = paths.along(first, last, 11, True)
    assert equal.tolist() == [50.0] * 4 + [0.0] * 3 + [50.0] * 4
    raw, _ = paths.along(first, last, 11, False)  # (1 - a, 5 a): right up to 1/11, and from 2/7 on
    assert raw.tolist() == [50.0] + [0.0] * 2 + [50.0] * 8


def test_a_barrier_is_the_deepest_fall_below_the_chord():
    # Chord 80, 75, 70, 65, 60; falls of -5, 20, 5.
    accuracy_on_line = torch.tensor([80.0, 80.0, 50.0, 60.0, 60.0])
    assert paths.barrier(accuracy_on_line) == pytest.approx(20)
    assert paths.barrier(torch.tensor([10.0, 90.0, 10.0])) == 0


def test_an_angle_is_of_the_scale_invariant_weights_or_else_of_all_that_are_trained():
    groups = {"conv": "invariant", "bias": "free", "head": "head"}
    first = {"conv": torch.tensor([[3.0, 0.0]]), "bias": torch.ones(1, 1), "head": torch.ones(1, 1)}
    last = {**first, "conv": torch.tensor([[0.0, 1e-3]]), "bias": -torch.ones(1, 1)}
    assert paths.angle(groups, first, last) == pytest.approx(math.pi / 2)
    free = {"conv": "free", "bias": "free", "head": "fixed"}
    assert paths.angle(free, first, last) == pytest.approx(
        math.acos(-1 / math.sqrt(10 * (1 + 1e-6)))
    )


@pytest.mark.parametrize("true", [0.0, 1e-9, 1e-3, math.pi - 1e-6])
def test_small_and_large_angles_keep_their_digits(true):
    first = {"w": torch.tensor([[1.0, 0.0]], dtype=torch.float64)}
    last = {"w": torch.tensor([[math.cos(true), math.sin(true)]], dtype=torch.float64) * 7}
    assert paths.angle({"w": "free"}, first, last) == pytest.approx(true, rel=1e-6, abs=1e-15)


def test_one_point_is_no_path():
    roles = ends(APART, (1.0, 0.0), (0.0, 1.0))
    with pytest.raises(ValueError, match="at least 2 points, got 1"):
        paths.along(roles["a"][0], roles["b"][0], 1, True)


# ---------------------------------------------------------------------- with batch norm


def network(seed: int, batch: int) -> SimpleNamespace:
    """A ConvNet of width 2 on 60 training images; its running moments are nonsense."""
    data = images()
    model = convnet.build(1, 8, data.classes, k=2)
    task = Classification(model, data, [spec(batch=batch)], ["0"])
    values = model.initial(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed))
    head = values["linear.weight"]  # without it all images look alike to a fresh network
    values["linear.weight"] = head - head.mean(1, keepdim=True)
    parameters = {name: value[None] for name, value in values.items()}
    return SimpleNamespace(
        run=SimpleNamespace(experiment="tiny"),
        model=model,
        task=task,
        parameters=parameters,
        statistics=Statistics.fresh(model.normalised, 1).in_mode("running"),
    )


def test_accuracies_are_those_with_the_statistics_of_the_whole_training_set():
    member = network(0, batch=60)  # one batch: its moments are those of the set
    data, model = member.task.data, member.model
    moments = {}
    x = data.train_images
    for layer in range(1, 5):
        x = torch.nn.functional.conv2d(x, member.parameters[f"conv{layer}.weight"][0], padding=1)
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=1)
        moments[f"norm{layer}"] = (mean[None], variance[None])
        shape = (1, -1, 1, 1)
        biased = x.var((0, 2, 3), correction=0)
        x = ((x - mean.view(shape)) / (biased.view(shape) + 1e-5).sqrt()).relu()
        if layer in (2, 3):
            x = torch.nn.functional.max_pool2d(x, 2)
    by_hand = Statistics(moments, "running")
    logits = model.forward(member.parameters, data.test_images[None], by_hand)[0]
    assert len(logits.argmax(-1).unique()) > 1
    expected = 100 * float((logits.argmax(-1) == data.test_labels).double().mean())
    train, test = accuracy.accuracies(member.task, member.parameters)
    assert float(test) == pytest.approx(expected)
    train_logits = x.amax((2, 3)) @ member.parameters["linear.weight"][0].T
    right = (train_logits + member.parameters["linear.bias"][0]).argmax(-1) == data.train_labels
    assert float(train) == pytest.approx(100 * float(right.double().mean()))
    stale = accuracy.measure(Group({}, {"net": [member]}))[0]
    assert stale["test_accuracy"] == pytest.approx(expected)
    assert stale["running_test_accuracy"] != pytest.approx(expected)


def test_every_point_of_a_line_has_its_own_statistics():
    first, last = network(0, batch=20), network(1, batch=20)
    train, test = paths.along(first, last, 3, True)
    middle = {}
    scale = {}
    for name, group in first.model.groups.items():
        if group == "invariant":
            for end in (first, last):
                square = end.parameters[name].double().square().sum()
                scale[id(end)] = scale.get(id(end), 0.0) + float(square)
    larger = max(scale.values())
    for name, group in first.model.groups.items():
        factors = [
            math.sqrt(larger / scale[id(end)]) if group == "invariant" else 1.0
            for end in (first, last)
        ]
        parts = [end.parameters[name] * f for end, f in zip((first, last), factors)]
        middle[name] = (parts[0] + parts[1]) / 2
    for place, values in ((0, first.parameters), (1, middle), (2, last.parameters)):
        expected = accuracy.accuracies(first.task, values)
        assert float(train[place]) == pytest.approx(float(expected[0]))
        assert float(test[place]) == pytest.approx(float(expected[1]))


def test_networks_side_by_side_have_the_accuracies_of_each_alone():
    first, last = network(0, batch=20), network(1, batch=20)
    both = {
        name: torch.cat([first.parameters[name], last.parameters[name]])
        for name in first.parameters
    }
    together = torch.stack(accuracy.accuracies(first.task, both))
    alone = [torch.cat(accuracy.accuracies(end.task, end.parameters)) for end in (first, last)]
    torch.testing.assert_close(together, torch.stack(alone, 1))


# ---------------------------------------------------------------------- as a probe

PAIRS = """
probes:
  pairs:
    measure: measures.paths.measure
    of:
      low: {from: tuned, point: end, where: {elr: 3.0e-3}}
      high: {from: tuned, point: end, where: {elr: 3.0e-2}}
      swa: {from: plain, point: swa, carry: {elr: plr}, where: {seed: 0}}
    each: [plr, seed]
    options: {points: 3, pairs: {low-high: [low, high], swa-high: [swa, high]}, rescale: true}
"""
ENDS = """
probes:
  ends:
    measure: measures.accuracy.measure
    of: {start: {from: diverging, point: start}, end: {from: diverging, point: end}}
    each: [lr, seed]
"""


def test_roles_of_other_axes_are_joined_by_the_name_they_share(tmp_path):
    text = EXPERIMENTS.replace("grid: {elr: [3.0e-3]}", "grid: {elr: [3.0e-3, 3.0e-2]}")
    graph = prepared(graph_of(project(tmp_path, text + PAIRS)))
    trained(graph, "tuned")
    stages.measure(graph, "pairs")
    rows = pd.read_parquet(graph.paths.measure("pairs"))
    assert rows[["plr", "seed", "pair"]].to_records(index=False).tolist() == [
        (plr, 0, pair) for plr in (1e-3, 1e-2) for pair in ("low-high", "swa-high")
    ]
    # A rate of 3e-2 throws what was trained at 1e-3 far away, and what was trained at 1e-2 not.
    angles = rows[rows["pair"] == "low-high"].set_index("plr")["angle"]
    assert 0 < angles[1e-2] < 0.5 < 1 < angles[1e-3] < 1.6


def test_a_group_is_measured_without_a_role_that_its_run_did_not_reach(tmp_path):
    graph = prepared(graph_of(project(tmp_path, EXPERIMENTS + ENDS)))
    trained(graph, "diverging")
    stages.measure(graph, "ends")
    rows = pd.read_parquet(graph.paths.measure("ends"))
    lrs = rows.groupby("role", sort=False)["lr"].apply(list).to_dict()
    assert lrs == {"start": [3e-2, 1e20, 1e-2], "end": [3e-2, 1e-2]}  # 1e20 has diverged before
