"""The synthetic task: its points, its perceptron, networks side by side, averages over steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine import images, sgd, sphere
from engine import spec as image_spec
from refigure.data import ticks
from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.spec import Spec, canonical
from refigure.models import tick_mlp
from refigure.models.layers import Statistics
from refigure.streams import stream_of_spec
from refigure.tasks import binary, classification
from refigure.training.initial import initial_values
from refigure.training.jobs.job import Job
from refigure.training.loop import Training
from refigure.training.networks import build_model
from refigure.training.points import Points
from refigure.training.stack import Stack

RECIPE = {
    **CATALOGUE["recipe"]["ticks"].defaults,
    "seed": 1,
    "train": 128,
    "test": 300,
    "single": 200,
}


@pytest.fixture(scope="module")
def arrays():
    return ticks.prepare(None, RECIPE)


@pytest.fixture(scope="module")
def points(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("ticks") / "ticks.safetensors"
    ticks.save(arrays, path, {"name": "ticks", **RECIPE})
    return ticks.load(path, "cpu")


def spec(elr: float, seed: int = 0, **keys) -> Spec:
    """A run of the synthetic task: 8 steps an epoch."""
    return Spec.of(
        {
            "data": "ticks",
            "model": "tick_mlp",
            "task": "binary",
            "init": "uniform_sphere",
            "head": {"seed": 1, "norm": 10.0},
            "optimiser": sphere(elr, radius=1.0),
            "batch": 16,
            "drop_last": True,
            "epochs": 2,
            "seed": seed,
            **keys,
        },
        "test",
    )


def training(specs, data, points=(), records=(), values=None) -> Training:
    """Networks side by side before their first step, of whatever task."""
    model = build_model(specs[0], data)
    values = values or [initial_values(model, one) for one in specs]
    frozen = frozenset() if specs[0].head is None else frozenset({"head"})
    module = binary if specs[0].task["name"] == "binary" else classification
    return Training(
        module.build(model, data, specs, [stream_of_spec(one) for one in specs]),
        specs,
        Stack(model, values, frozen, torch.device("cpu")),
        Statistics.fresh(model.normalised, len(specs)),
        Points([canonical(point) for point in points]),
        list(records),
    )


def heights(points: np.ndarray) -> np.ndarray:
    """x2 - |x1| of every feature, (points, features)."""
    return points[:, 1::2] - np.abs(points[:, ::2])


# ---------------------------------------------------------------------- points


def test_every_feature_tells_the_class_with_the_margin_to_both_boundaries(arrays):
    height, labels = heights(arrays["train_points"]), arrays["train_labels"]
    distance = np.minimum(np.abs(height), np.abs(height + 2)) / 2**0.5
    assert distance.min() >= 0.1 - 1e-6
    between = (height < 0) & (height > -2)
    assert (between == (labels[:, None] == 0)).all()
    assert np.abs(arrays["train_points"]).max() <= 2


def test_a_class_fills_its_area_evenly():
    drawn = ticks.informative(np.ones(40000, int), 0.1, np.random.default_rng(0))
    # with m = sqrt(2) * 0.1: one triangle of height 2 - m and base 2 (2 - m) above the upper
    # boundary, and in the lower corners two right-angled ones of legs 2 - m: equal areas
    share = (heights(drawn)[:, 0] > 0).mean()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / 200)
    assert (drawn[:, 0] > 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / 200)


def test_a_single_feature_set_tells_the_class_by_that_feature_alone(arrays):
    for feature in (0, 7, 15):
        height, labels = heights(arrays["single_points"][feature]), arrays["single_labels"][feature]
        between = (height < -1e-5) & (height > -2 + 1e-5)
        others = np.arange(16) != feature
        on_boundary = np.minimum(np.abs(height), np.abs(height + 2)) < 1e-5
        assert (between[:, feature] == (labels == 0)).all()
        assert on_boundary[:, others].all() and not on_boundary[:, feature].any()
        assert 0.3 < (height[:, others] > -1).mean() < 0.7


def test_points_follow_from_the_seed_and_single_sets_are_those_of_all_data(arrays):
    again, other = ticks.prepare(None, RECIPE), ticks.prepare(None, RECIPE | {"seed": 2})
    assert all((again[name] == arrays[name]).all() for name in arrays)
    assert (other["single_points"] == arrays["single_points"]).all()
    assert not (other["train_points"] == arrays["train_points"]).any()


# ---------------------------------------------------------------------- the network and the loss


def test_the_perceptron_is_that_of_torch_modules_and_depends_on_the_direction_only(points):
    model = tick_mlp.build(32)
    values = initial_values(model, spec(0.01))
    net = torch.nn.Sequential()
    for number in (1, 2):
        layer = torch.nn.Linear(32, 32, bias=False)
        layer.weight.data = values[f"layer{number}.weight"].T
        norm = torch.nn.LayerNorm(32, eps=1e-7, elementwise_affine=False)
        net.extend([layer, norm, torch.nn.ReLU()])
    head = torch.nn.Linear(32, 1, bias=False)
    head.weight.data = values["linear.weight"][None]
    net.append(head)
    x = points.test_points[:50]
    stacked = {name: torch.stack([value, value]) for name, value in values.items()}
    for name in ("layer1.weight", "layer2.weight"):
        stacked[name][1] *= 3.0
    found = model.forward(stacked, x.expand(2, -1, -1), Statistics.fresh({}, 2))
    assert found.shape == (2, 50, 1)
    torch.testing.assert_close(found[0], net(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)
    assert float(values["linear.weight"].norm()) == pytest.approx(10.0, rel=1e-6)
    made = training([spec(0.01)], points)
    assert made.stack.invariant == 2048
    assert float(made.stack.flat.norm()) == pytest.approx(1.0, rel=1e-6)


def test_loss_and_error_are_torchs_logistic_loss_and_the_sign_of_the_logit(points):
    task = training([spec(0.01)], points).task
    logits, labels = torch.tensor([[[2.0], [-1.0], [0.5], [-3.0]]]), torch.tensor([[1, 1, 0, 0]])
    loss, error = task.scores(logits, labels)
    wanted = F.binary_cross_entropy_with_logits(logits[..., 0], labels.float(), reduction="none")
    torch.testing.assert_close(loss, wanted)
    assert error.tolist() == [[0, 1, 1, 0]]


def test_an_epoch_of_whole_batches_leaves_the_remainder_out(points):
    made = training([spec(0.01, batch=48), spec(0.02, 1, batch=48)], points)
    assert made.steps_per_epoch == 2
    seen = made.task.order(3)[0][:96]
    batches = [made.task.batch(3, number).points[0] for number in range(2)]
    torch.testing.assert_close(torch.cat(batches), points.train_points[seen])
    assert not torch.equal(made.task.order(3)[0], made.task.order(3)[1])


def test_augmentation_of_points_is_refused(points):
    with pytest.raises(UserError, match="crop_flip"):
        training([spec(0.01, augment={"name": "crop_flip"})], points)


# ---------------------------------------------------------------------- side by side

MLP = {"model": {"name": "mlp", "k": 6}, "head": None, "optimiser": sgd(0.05, momentum=0.9)}
KINDS = {
    "tick_mlp": [spec(elr, seed) for seed, elr in enumerate([1e-3, 1e-2, 0.3])],
    "mlp": [image_spec(**MLP, seed=seed) for seed in range(3)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_perceptrons_stack_on_a_cpu(kind, points):
    data = points if kind == "tick_mlp" else images()
    model = build_model(KINDS[kind][0], data)
    assert model.stacking == "native"

    class Shop(Job):
        def __init__(self):
            self.device = torch.device("cpu")

        def _fitting(self, runs, data):
            return [runs]  # memory is tested elsewhere

    class Asked:
        def __init__(self, spec):
            self.spec = spec

    (stack,) = Shop()._stacks([Asked(one) for one in KINDS[kind]], data)
    assert [one.spec for one in stack] == KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_five_steps_side_by_side_are_those_of_each_network_alone_from_any_state(kind, points):
    data, specs = points if kind == "tick_mlp" else images(), KINDS[kind]
    together = training(specs, data)
    # somewhere on the way, in the chaotic regime too
    for _ in range(6):
        together._train_step()
        together.step += 1
    on_the_way = together.stack.flat.clone()
    alone = []
    for place, one in enumerate(specs):
        made = training([one], data)
        made.stack.load(on_the_way[place : place + 1])
        made.optimiser.state = {
            name: value[place : place + 1].clone()
            for name, value in together.optimiser.state.items()
        }
        made.step = 6
        alone.append(made)
    for made in (together, *alone):
        for _ in range(5):
            made._train_step()
            made.step += 1
    for place, made in enumerate(alone):
        difference = (together.stack.flat[place] - made.stack.flat[0]).abs().max()
        moved = (together.stack.flat[place] - on_the_way[place]).abs().max()
        assert float(difference) < 1e-4 < float(moved)


def test_whole_runs_side_by_side_are_those_alone_where_training_converges(points):
    specs = [spec(elr, seed, epochs=40) for seed, elr in enumerate([2e-4, 1e-3])]
    together = training(specs, points)
    together.run()
    for place, one in enumerate(specs):
        made = training([one], points)
        made.run()
        torch.testing.assert_close(
            together.stack.flat[place], made.stack.flat[0], rtol=0, atol=1e-4
        )


# ---------------------------------------------------------------------- averages over steps


def kept_by_hand(made: Training) -> list[torch.Tensor]:
    """The weights after every step of a training."""
    kept = [made.stack.flat.clone()]
    made.run(between_steps=lambda training: kept.append(training.stack.flat.clone()))
    return kept


def test_an_average_backwards_takes_its_steps_and_the_last(points):
    definition = {"average": {"count": 3, "steps": 5, "to": 2}}
    made = training([spec(0.01), spec(0.3, 1)], points, [definition])
    kept = kept_by_hand(made)
    assert len(kept) == 17
    found = made.points.made[canonical(definition)].flat
    torch.testing.assert_close(found, (kept[6] + kept[11] + kept[16]) / 3)


def test_an_average_goes_on_from_a_state_in_its_midst_bit_for_bit(points):
    definition = {"average": {"count": 3, "steps": 5, "to": 2}}
    whole = training([spec(0.05)], points, [definition])
    held = {}

    def hold(training):
        if training.step == 13:
            held.update({name: value.clone() for name, value in training.state().items()})

    whole.run(between_steps=hold)
    resumed = training([spec(0.05)], points, [definition])
    resumed.resume(held)
    resumed.run()
    key = canonical(definition)
    assert torch.equal(resumed.points.made[key].flat, whole.points.made[key].flat)


def test_an_average_that_would_begin_before_the_first_step_is_refused(points):
    with pytest.raises(UserError, match="5 states, 5 steps apart, up to epoch 2 begins before"):
        training([spec(0.01)], points, [{"average": {"count": 5, "steps": 5, "to": 2}}])
