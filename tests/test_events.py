"""Points of events, runs that go on from them or with something switched, and the log of steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from engine import (
    about,
    graph_of,
    history,
    job,
    packs,
    point,
    prepared,
    project,
    scalars,
    sgd,
    spec,
    trained,
    training,
)
from refigure.graph.catalogue import import_entry, settings
from refigure.models.convnet import ConvNet
from refigure.tables.decay import find_jumps

SAW = [9, 0.5, 0.01, 0.005, 0.5, 0.2, 0.01, 0.008, 0.002, 0.3, 0.1, 0.01, 0.001, 0.4]
"""Jumps with onsets at 4, 9 and 13, by a ratio of 5 over a floor of 0.02."""
STEPS = {"name": "step_norms", "every": {"steps": 1}}


def fired_at(losses: list[list[float]], **keys) -> list[list[int]]:
    """The epochs at which a jump's point is made, of networks beside each other."""
    entry = settings("event", {"name": "jump", **keys}, "test")
    detector = import_entry("event", "jump").build(entry, len(losses))
    rows = torch.tensor(losses, dtype=torch.float64).T
    fired = torch.stack([detector.update(row)[1] for row in rows])
    return [torch.nonzero(column).flatten().tolist() for column in fired.T]


@pytest.mark.parametrize(("index", "onset"), [(1, 4), (2, 9), (3, 13), (4, None)])
def test_a_jump_is_where_the_table_of_jumps_finds_it(index, onset):
    assert fired_at([SAW], index=index, offset=-3) == [[] if onset is None else [onset]]
    found = [jump.onset for jump in find_jumps(np.array(SAW), 5, 0.02)]
    assert found == [4, 9, 13]


def test_a_point_after_a_jump_waits_its_epochs_and_may_never_come():
    assert fired_at([SAW, SAW[::-1]], index=1, offset=2) == [[6], [5]]
    assert fired_at([SAW], index=3, offset=1) == [[]]


def test_random_losses_jump_online_where_they_jump_in_the_table():
    source = np.random.default_rng(0)
    losses = np.exp(source.normal(-4, 2, (20, 60)))
    assert fired_at(losses.tolist(), index=2, offset=-1) == [
        [jump.onset for jump in find_jumps(row, 5, 0.02)][1:2] for row in losses
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


def onset(folder, run) -> int:
    """The epoch of the first jump in a run of `event`, by the rule that its points have."""
    losses = history(folder, run.id).dropna(subset="train_loss")
    return find_jumps(losses["train_loss"].to_numpy(), 1.2, 5.0)[0].onset


def test_the_points_of_a_jump_are_the_states_around_its_onset(shop):
    [folder] = trained(shop, "event")
    for run in shop.runs("event"):
        assert about(folder)[run.id]["status"] == "finished"
        for offset in (-1, 2):
            event = {"event": "jump", "jump": 1.2, "floor": 5.0, "index": 1, "offset": offset}
            assert int(point(folder, run.id, event)["epoch"]) == onset(folder, run) + offset


@pytest.mark.parametrize("together", [False, True])
def test_a_run_gone_on_from_an_event_repeats_its_parent_bit_for_bit(shop, monkeypatch, together):
    if together:
        monkeypatch.setattr(ConvNet, "stacking", "native")
    [before] = trained(shop, "event")
    for pack in packs(shop, "zoom"):
        folder = shop.config.root / f"out-{together}-{pack.name}"
        job(shop, pack, folder).run()
        for run in pack.runs:
            parent, child = history(before, run.parent.id), history(folder, run.id)
            since = onset(before, run.parent) - 1
            assert child["epoch"].max() == about(folder)[run.id]["last_epoch"] == since + 3
            both = child.merge(parent, on="step", suffixes=("", "_parent"))
            whole = both[both["epoch"] % 1 == 0].dropna(subset="train_loss_parent")
            assert whole["epoch"].tolist() == list(range(since + 4))
            assert (whole["train_loss"] == whole["train_loss_parent"]).all()
            steps = child.dropna(subset="step_size")
            assert steps["step"].tolist() == list(range(3 * since + 1, 3 * since + 10))
            assert point(folder, run.id, {"epoch": 1})["epoch"] == since + 1


def test_a_run_gone_on_from_there_counts_from_the_event_too(shop):
    [folder], [before] = trained(shop, "zoom_longer"), trained(shop, "event")
    for run in shop.runs("zoom_longer"):
        assert about(folder)[run.id]["last_epoch"] == onset(before, run.parent.parent) - 1 + 5


def test_a_switch_turns_decay_off_fixes_the_norm_and_frees_the_head(shop):
    [folder], [before] = trained(shop, "switched"), trained(shop, "event")
    run = next(run for run in shop.runs("switched") if run.axes["lr"] == 5.0)
    since = onset(before, run.parent) + 2
    rows = history(folder, run.id)
    own = rows[rows["epoch"] > since + 1]  # the first step starts from the parent's norm
    assert own["step_weight_norm"].to_numpy() == pytest.approx([4.0] * 2)
    assert own["epoch"].max() == since + 3


def test_a_head_set_free_is_trained_from_where_it_was(shop):
    [freed], [before] = trained(shop, "freed"), trained(shop, "momentum")
    for run in shop.runs("freed"):
        end = {"epoch": 8}
        state = point(freed, run.id, end)
        parent = point(before, run.parent.id, {"epoch": 6})
        assert not torch.equal(state["linear.weight"], parent["linear.weight"])
        assert len(state["optimiser/momentum"]) == sum(
            value.numel() for name, value in parent.items() if "/" not in name and name != "epoch"
        )
        own, other = (history(folder) for folder in (freed, before))
        own, other = own[own["run"] == run.id], other[other["run"] == run.parent.id]
        shown = [frame[frame["epoch"] == 6]["train_loss"].item() for frame in (own, other)]
        assert shown[0] == shown[1]


def test_momentum_of_a_group_that_was_frozen_is_zero_and_of_others_kept():
    from engine import images
    from refigure.training.initial import initial_values
    from refigure.training.networks import build_model
    from refigure.training.starts.state import state_of

    data = images()
    model = build_model(spec(), data)
    values = [initial_values(model, spec(seed=seed)) for seed in (0, 1)]
    frozen = frozenset({"head"})
    width = sum(values[0][name].numel() for name, group in model.groups.items() if group != "head")
    points = [{"optimiser/momentum": torch.arange(width) + 100.0 * seed} for seed in (1, 2)]
    kept = state_of(points, model, values, frozen, frozen)["momentum"]
    assert torch.equal(kept, torch.stack([p["optimiser/momentum"] for p in points]))
    freed = state_of(points, model, values, frozen, frozenset())["momentum"]
    assert torch.equal(freed[:, :width], kept)
    assert freed.shape[1] > width
    assert not freed[:, width:].any()


# ---------------------------------------------------------------------- the log of steps


def logged(optimiser: dict, epochs: int, seeds=(0, 1)):
    """Two networks, every step of which is recorded."""
    chosen = [spec(optimiser=optimiser, epochs=epochs, seed=seed) for seed in seeds]
    records = [STEPS, {"name": "geometry", "every": {"steps": 1}}]
    made = training(chosen, records=records)
    return made.run()


@pytest.mark.parametrize("wd", [0.0, 1e-2])
def test_the_norm_follows_the_recursion_of_sgd_with_weight_decay(wd):
    """Section 6.2: rho^2 <- (1 - lr wd)^2 rho^2 + lr^2 g~^2 / rho^2; section 6.3 for the angle."""
    lr = 0.3
    run = logged(sgd(lr, wd=wd), 34)
    for place in (0, 1):
        norm, gradient, turn, size = (
            np.array(scalars(run.history, f"step_{name}", place))
            for name in ("weight_norm", "gradient_norm", "turn", "size")
        )
        after = np.array(scalars(run.history, "weight_norm", place))
        assert len(norm) == 102
        square = norm[0] ** 2
        for effective in gradient:
            square = (1 - lr * wd) ** 2 * square + lr**2 * effective**2 / square
        assert square == pytest.approx(after[-1] ** 2, rel=1e-4)
        assert norm[1:] == pytest.approx(after[1:-1], rel=1e-6)
        assert size == pytest.approx(lr / norm**2 * gradient, rel=1e-6)
        tangent = size / (1 - lr * wd)
        assert turn == pytest.approx(1 - 1 / np.sqrt(1 + tangent**2), rel=1e-3)


def test_an_epoch_of_steps_is_summed_up_by_its_steps():
    run = logged(sgd(0.3, wd=0.1), 4)
    sizes = np.array(scalars(run.history, "step_size")).reshape(4, 3)
    ends = slice(2, None, 3)
    rms = np.array(scalars(run.history, "steps_rms"))[ends]
    assert rms == pytest.approx(np.sqrt((sizes**2).mean(1)), rel=1e-9)
    gradients = np.array(scalars(run.history, "step_gradient_norm")).reshape(4, 3)
    mean = np.array(scalars(run.history, "steps_gradient"))[ends]
    assert mean == pytest.approx(gradients.mean(1), rel=1e-9)
    largest = np.array(scalars(run.history, "steps_largest"))[ends]
    assert largest == pytest.approx(sizes.max(1), rel=1e-9)
    above = np.array(scalars(run.history, "steps_above"))[ends]
    assert above == pytest.approx((sizes**2 > 1 - 0.97**2).mean(1))


def test_without_a_gradient_the_elr_grows_by_weight_decay_alone():
    """Section 6.5, test 4: ELR after n steps is ELR_0 (1 - lr wd)^(-2 n)."""
    made = training([spec(optimiser=sgd(0.1, wd=0.05))])
    first = made.optimiser.effective_lr(made.stack)
    for _ in range(200):
        made.optimiser.step(made.stack, torch.zeros_like(made.stack.flat), 1.0)
    grown = made.optimiser.effective_lr(made.stack) / first
    torch.testing.assert_close(grown, torch.full_like(grown, 0.995**-400), rtol=1e-4, atol=0)


def test_weight_decay_leaves_the_frozen_layer_as_it_is():
    made = training([spec(optimiser=sgd(0.1, wd=0.05), epochs=3)])
    before = {name: value.clone() for name, value in made.stack.fixed.items()}
    made.run()
    assert before
    for name, value in before.items():
        assert torch.equal(value, made.stack.fixed[name])


def test_the_mean_squared_gradient_is_that_of_the_batches():
    made = training([spec(optimiser=sgd(0.1))])
    squares, norms = [], []
    for batch in made.task.evaluation("train", 1):
        logits = made.task.model.forward(
            made.stack.parameters, batch.images, made.statistics.in_mode("batch")
        )
        rows = made.stack.gradient(made.task.scores(logits, batch.labels)[0].mean(1))
        norms.append(float(rows[:, : made.stack.invariant].norm()))
        squares.append(norms[-1] ** 2)
    made.run()
    rho = float(scalars(made.history, "weight_norm")[0])
    found = [scalars(made.history, f"effective_gradient_{name}")[0] for name in ("norm", "rms")]
    assert found == pytest.approx([np.mean(norms) * rho, np.sqrt(np.mean(squares)) * rho], rel=1e-5)


def test_a_network_without_scale_invariant_weights_has_no_log():
    plain = spec(model={"name": "convnet", "k": 2, "norm": "none"}, optimiser=sgd(0.1), head=None)
    with pytest.raises(ValueError, match="the model has none"):
        training([plain], records=[STEPS])


def test_norms_of_the_last_layer_and_of_batch_norm_are_those_of_their_weights():
    affine = {"name": "convnet", "k": 2, "norm": "batch_affine"}
    records = [{"name": "group_norms", "every": {"epochs": 1}}]
    made = training([spec(model=affine, optimiser=sgd(0.1), head=None)], records=records)
    made.run()
    leaves = {name: value.detach()[0].flatten() for name, value in made.stack.leaves.items()}
    head = torch.cat([value for name, value in leaves.items() if name.startswith("linear")])
    free = [value for name, value in leaves.items() if made.task.model.groups[name] == "free"]
    assert len(free) == 8  # a scale and a shift after each of four convolutions
    assert scalars(made.history, "head_norm")[-1] == pytest.approx(float(head.norm()))
    assert scalars(made.history, "free_norm")[-1] == pytest.approx(float(torch.cat(free).norm()))
    frozen = training([spec(optimiser=sgd(0.1))], records=records)
    frozen.run()
    assert not {"head_norm", "free_norm"} & set().union(*frozen.history.scalars.values())


# ---------------------------------------------------------------------- schedules


def factors(name: str, epochs: int, **keys) -> list[float]:
    entry = settings("schedule", {"name": name, **keys}, "test")
    made = import_entry("schedule", name).build(entry, epochs)
    whole = [made(float(epoch)) for epoch in range(epochs)]
    assert whole == [made(epoch + 0.99) for epoch in range(epochs)]
    return whole


def test_a_ramp_is_flat_for_a_quarter_and_ends_at_a_tenth():
    found = factors("ramp", 8)
    assert found[:2] == [1, 1]
    assert found[2:] == pytest.approx([1 - 0.9 * n / 6 for n in range(1, 7)])
    assert found[-1] == pytest.approx(0.1)


def test_stairs_fall_to_a_tenth_after_each_quarter():
    assert factors("stairs", 8) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3])
    assert factors("stairs", 10, at=[0.5], factor=0.2) == pytest.approx([1] * 5 + [0.2] * 5)


def test_a_linear_tail_is_that_of_power_laws():
    found = factors("linear_tail", 200)  # epochs 1-100 at 1, 101-180 falling, 180-200 at 0.01
    assert found[:100] == [1] * 100
    assert found[100] == pytest.approx(1 - 0.99 / 80)
    assert found[179:] == pytest.approx([0.01] * 21)
    assert np.diff(found[99:180]) == pytest.approx([-0.99 / 80] * 80)


def test_an_exponential_takes_the_same_share_each_epoch():
    assert factors("exponential", 3) == pytest.approx([0.9885, 0.9885**2, 0.9885**3])
    assert json.dumps(factors("exponential", 2, factor=0.5)) == "[0.5, 0.25]"
