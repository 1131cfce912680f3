"""Recorders, stacks, points and starts, against slow loops and networks trained one by one."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from engine import (
    CLASSES,
    RECORDS,
    about,
    graph_of,
    history,
    images,
    job,
    packs,
    point,
    prepared,
    project,
    results,
    scalars,
    sgd,
    spec,
    sphere,
    tensors,
    trained,
    training,
)
from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE
from refigure.training.events.calm_end import CalmEnd
from refigure.training.initial import initial_values
from refigure.training.jobs.devices import device_of, free_device

LAST = {"epoch": 2}
FREE = {"model": {"name": "convnet", "k": 2, "norm": "none"}, "head": None}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with its data; what one test trains the next finds."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


def reference(made):
    """The network of a training as plain torch, with batch norm's own modules."""
    net = torch.nn.Module()
    widths = [1, 2, 4, 8, 16]
    for number in range(1, 5):
        conv = torch.nn.Conv2d(widths[number - 1], widths[number], 3, padding=1, bias=False)
        norm = torch.nn.BatchNorm2d(widths[number], affine=False)
        net.add_module(f"conv{number}", conv)
        net.add_module(f"norm{number}", norm)
    net.add_module("linear", torch.nn.Linear(16, CLASSES))
    values = {name: value[0].detach().clone() for name, value in made.stack.parameters.items()}
    for number in range(1, 5):
        mean, variance = made.statistics.running[f"norm{number}"]
        values[f"norm{number}.running_mean"] = mean[0].clone()
        values[f"norm{number}.running_var"] = variance[0].clone()
        values[f"norm{number}.num_batches_tracked"] = torch.tensor(0)
    net.load_state_dict(values)
    return net


def logits(net, x):
    for number in range(1, 5):
        x = getattr(net, f"norm{number}")(getattr(net, f"conv{number}")(x)).relu()
        if number in (2, 3):
            x = F.max_pool2d(x, 2)
    return net.linear(x.amax((2, 3)))


# ---------------------------------------------------------------------- recorders


def test_the_catalogue_names_what_each_recorder_measures_from_the_start_on():
    """By it the configuration refuses a best of a column, or an array, that nobody measures."""
    records = [
        *RECORDS,
        {"name": "group_norms", "every": {"epochs": 1}},
        {"name": "correct", "objects": 8, "held_out": 8, "views": 1, "redrawn": True}
        | {"every": {"epochs": 1}},
    ]
    affine = {"name": "convnet", "k": 2, "norm": "batch_affine"}
    made = training(spec(model=affine, head=None, optimiser=sgd(0.1)), records=records)
    made.run()
    known = [CATALOGUE["record"][record["name"]] for record in records]
    columns = {column for one in known for column in one.columns}
    assert set(made.history.scalars[0]) == columns | {"chance"}
    arrays = {array for one in known for array in one.arrays}
    assert set(made.history.arrays) == arrays - {"correct_second", "correct_redrawn"}  # of pairs
    keys = {"train": {"gradient": False, "squared": False}, "test": {"recomputed": False}}
    bare = [{"name": name, **off, "every": {"epochs": 1}} for name, off in keys.items()]
    fewer = training(spec(), records=bare)
    fewer.run()
    always = {
        column
        for name in keys
        for column, key in CATALOGUE["record"][name].columns.items()
        if not key
    }
    assert set(fewer.history.scalars[0]) == always | {"chance"}


@pytest.fixture(scope="module")
def measured():
    """A network after two epochs on batches of 20, 20, 20 with all recorders, and its history."""
    made = training(spec(optimiser=sphere(0.02)))
    return made, made.run().history


def test_train_measures_equal_a_loop_over_batches_in_stored_order(measured):
    made, found = measured
    net, data = reference(made).train(), images()
    loss = error = 0.0
    norms, invariant, by_filter = [], [], []
    for first in range(0, 60, 20):
        x, y = data.train_images[first : first + 20], data.train_labels[first : first + 20]
        out = logits(net, x)
        batch_loss = F.cross_entropy(out, y)
        loss += 20 * batch_loss.item() / 60
        error += 100 * (out.argmax(1) != y).sum().item() / 60
        net.zero_grad()
        batch_loss.backward()
        grads = [getattr(net, f"conv{number}").weight.grad for number in range(1, 5)]
        norms.append(math.sqrt(sum(grad.double().square().sum() for grad in grads)))
        by_filter.append(torch.cat([grad.flatten(1).double().norm(dim=1) for grad in grads]))
    invariant = [getattr(net, f"conv{number}").weight.detach() for number in range(1, 5)]
    radius = math.sqrt(sum(weight.double().square().sum() for weight in invariant))
    mean = sum(norms) / 3
    assert scalars(found, "train_loss")[-1] == pytest.approx(loss, rel=1e-5)
    assert scalars(found, "train_error")[-1] == pytest.approx(error, rel=1e-6)
    # the frozen last layer is in neither norm
    assert scalars(found, "gradient_norm")[-1] == pytest.approx(mean, rel=1e-4)
    assert scalars(found, "effective_gradient_norm")[-1] == pytest.approx(mean * radius, rel=1e-4)
    filters = torch.cat([weight.flatten(1).double().norm(dim=1) for weight in invariant])
    torch.testing.assert_close(
        found.arrays["filter_norm"][1][-1][0].double(), filters, rtol=1e-5, atol=0
    )
    # individual ELR elr * radius^2 / norm^2, times norm * gradient: three-regimes 5.4
    steps = 0.02 * radius**2 * sum(by_filter) / 3 / filters
    torch.testing.assert_close(
        found.arrays["filter_step"][1][-1][0].double(), steps, rtol=1e-3, atol=1e-7
    )


def test_test_measures_use_running_and_recomputed_moments(measured):
    made, found = measured
    data = images()
    net = reference(made).eval()
    out = logits(net, data.test_images)
    loss = F.cross_entropy(out, data.test_labels).item()
    error = 100 * (out.argmax(1) != data.test_labels).float().mean().item()
    assert scalars(found, "test_loss")[-1] == pytest.approx(loss, rel=1e-5)
    assert scalars(found, "test_error")[-1] == pytest.approx(error, rel=1e-6)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    net.train()
    for first in range(0, 60, 20):
        logits(net, data.train_images[first : first + 20])
    again = (
        100 * (logits(net.eval(), data.test_images).argmax(1) != data.test_labels).float().mean()
    )
    assert scalars(found, "test_error_recomputed")[-1] == pytest.approx(float(again), rel=1e-6)


def test_the_turn_is_that_between_two_measures(measured):
    _, found = measured
    turned = scalars(found, "cosine_to_previous")
    assert math.isnan(turned[0])
    # After the first epoch, what lies before is the start.
    assert turned[1] == pytest.approx(scalars(found, "cosine_to_start")[1], rel=1e-12)
    assert all(-1 <= value < 1 for value in turned[1:])


def test_geometry_is_that_of_the_invariant_weights(measured):
    made, found = measured
    chosen = made.specs[0]
    start = torch.cat(
        [
            value.flatten().double()
            for name, value in initial_values(made.task.model, chosen).items()
            if name.startswith("conv")
        ]
    )
    now = made.stack.flat[0, : made.stack.invariant].double()
    expected = {
        "weight_norm": now.norm(),
        "distance_to_start": (now - start).norm(),
        "cosine_to_start": F.cosine_similarity(now, start, dim=0),
        "elr": 0.02,
    }
    for column, value in expected.items():
        assert scalars(found, column)[-1] == pytest.approx(float(value), rel=1e-6)
    assert scalars(found, "cosine_to_start")[0] == pytest.approx(1, abs=1e-12)
    assert scalars(found, "distance_to_start")[0] == 0


def test_the_running_loss_is_the_mean_over_the_batches_of_the_epoch():
    made = training(spec(), records=[])
    losses = []
    take = made._take_step
    made._take_step = lambda loss, *rest: (losses.append(float(loss)), take(loss, *rest))
    found = made.run().history
    assert scalars(found, "train_loss_running") == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-6
    )
    assert list(found.scalars) == [3, 6]


def test_measuring_moves_nothing():
    made = training(spec())
    made._train_step()
    flat = made.stack.flat.clone()
    moments = {layer: (a.clone(), b.clone()) for layer, (a, b) in made.statistics.running.items()}
    made._measure(made._due())
    assert torch.equal(made.stack.flat, flat)
    for layer, (mean, variance) in made.statistics.running.items():
        assert torch.equal(mean, moments[layer][0])
        assert torch.equal(variance, moments[layer][1])


@pytest.mark.parametrize("optimiser", [sphere(0.02), sgd(0.1, wd=0.1, momentum=0.9)])
def test_a_run_with_recorders_and_points_ends_where_one_without_does(optimiser):
    chosen = spec(optimiser=optimiser, epochs=4)
    wanted = [
        {"average": {"count": 2, "every": 1, "from": 1}},
        {"best": "test_loss", "mode": "min"},
    ]
    records = [{**record, "every": {"steps": 2}} for record in RECORDS[:2]] + [*RECORDS[2:]]
    with_all, bare = training(chosen, wanted, records), training(chosen, records=[])
    with_all.run()
    bare.run()
    assert torch.equal(with_all.stack.flat, bare.stack.flat)
    for layer, (mean, variance) in bare.statistics.running.items():
        assert torch.equal(with_all.statistics.running[layer][0], mean)
        assert torch.equal(with_all.statistics.running[layer][1], variance)


# ---------------------------------------------------------------------- stacks


def rows(made, place):
    return made.stack.flat[place]


def test_five_steps_side_by_side_equal_five_steps_alone():
    specs = [
        spec(seed=seed, optimiser=sphere(elr, **keys))
        for seed, elr, keys in (
            (0, 1e-3, {}),
            (1, 0.03, {"momentum": 0.9}),
            (2, 0.1, {"radius": 9.0}),
        )
    ]
    together = training(specs, records=[])
    alone = [training(one, records=[]) for one in specs]
    for made in (together, *alone):
        for _ in range(5):
            made._train_step()
            made.step += 1
    for place, one in enumerate(alone):
        torch.testing.assert_close(rows(together, place), rows(one, 0), rtol=0, atol=1e-4)
        for layer, (mean, variance) in one.statistics.running.items():
            beside = together.statistics.running[layer]
            torch.testing.assert_close(beside[0][place], mean[0], rtol=0, atol=1e-4)
            torch.testing.assert_close(beside[1][place], variance[0], rtol=1e-3, atol=1e-4)


def test_whole_runs_side_by_side_equal_runs_alone_where_they_converge():
    specs = [
        spec(seed=seed, optimiser=sphere(elr), epochs=8) for seed, elr in ((0, 1e-4), (1, 3e-4))
    ]
    wanted = [{"average": {"count": 3, "every": 1, "from": 6}}, {"epoch": 8}]
    together = training(specs, wanted).run()
    for place, one in enumerate(specs):
        alone = training(one, wanted).run()
        for column in ("train_loss", "effective_gradient_norm", "test_loss", "weight_norm"):
            assert scalars(together.history, column, place) == pytest.approx(
                scalars(alone.history, column), rel=1e-3
            )
        for key, snapshot in alone.points.items():
            torch.testing.assert_close(
                together.points[key].flat[place], snapshot.flat[0], rtol=0, atol=1e-3
            )


def test_a_network_that_stops_early_stays_as_it_is_and_keeps_its_end():
    specs = [spec(optimiser=sphere(elr), epochs=6) for elr in (1e-5, 3e-3)]
    stopping = [spec(**written(one), stop={"train_loss_below": 1.0}) for one in specs]
    wanted = [{"epoch": 6}, {"epoch": 5}]
    seen = []
    made = training(stopping, wanted)
    found = made.run(after_epoch=lambda now: seen.append(rows(now, 1).clone()))
    assert found.stopped.tolist() == [False, True]
    last = int(found.last_epoch[1])
    assert 0 < last < 5
    losses = scalars(found.history, "train_loss", 1)
    assert losses[last] < 1 and all(loss >= 1 for loss in losses[:last])
    assert all(math.isnan(loss) for loss in losses[last + 1 :])
    assert all(torch.equal(weights, seen[last - 1]) for weights in seen[last:])
    end, fifth = found.points['{"epoch":6}'], found.points['{"epoch":5}']
    assert end.there.tolist() == [True, True]
    assert torch.equal(end.flat[1], seen[last - 1])
    assert torch.equal(end.flat[0], rows(made, 0))
    assert fifth.there.tolist() == [True, False]
    # the other one trains as it does without a stop
    free = training(specs, wanted)
    free.run()
    assert torch.equal(rows(free, 0), rows(made, 0))


def test_a_stop_may_read_the_mean_over_the_batches():
    """where-large-lrs, section 5: the authors' stop reads the loss while the weights change."""
    specs = [spec(optimiser=sphere(elr), epochs=6) for elr in (1e-5, 3e-3)]
    free = training(specs).run()
    means = scalars(free.history, "train_loss_running", 1)
    losses = scalars(free.history, "train_loss", 1)
    bound = 0.2  # the pass at the end of epoch 2 is below it, the mean not before epoch 3
    assert losses[2] < bound < means[1] and means[2] < bound
    stopping = [spec(**written(one), stop={"train_loss_running_below": bound}) for one in specs]
    seldom = [{**record, "every": {"epochs": 6}} for record in RECORDS]
    found = training(stopping, [{"epoch": 6}], seldom).run()
    assert found.stopped.tolist() == [False, True]
    assert found.last_epoch.tolist() == [6, 3]
    # Its last losses and errors are there, and nothing of the one that goes on.
    for column in ("train_loss", "test_error"):
        [alone] = [
            value
            for step, row in found.history.scalars.items()
            if step == 9
            for name, value in row.items()
            if name == column
        ]
        assert not math.isnan(alone[1]) and math.isnan(alone[0])
    assert found.points['{"epoch":6}'].epoch.tolist() == [6, 3]


def test_a_stop_reads_one_loss():
    for stop in ({}, {"train_loss_below": 0.1, "train_loss_running_below": 0.1}):
        with pytest.raises(UserError, match="one of train_loss_below or train_loss_running_below"):
            spec(stop=stop)


def test_fewer_objects_than_a_batch():
    small = images(train=18)
    assert training(spec(), data=small).steps_per_epoch == 1
    with pytest.raises(UserError, match=r"data tiny: fewer training objects .*batch: 20"):
        training(spec(drop_last=True), data=small)


@pytest.mark.parametrize(
    "keys, words",
    [
        ("model: {name: vit, patch: 3}", "patch 3 does not divide the image's size 8"),
        ("model: {name: wide_resnet28, k: 1}", "sphere_sgd needs scale-invariant weights"),
        ("task: contrastive", "the contrastive task needs an augmentation"),
    ],
)
def test_parts_that_do_not_go_together_are_one_line(tmp_path, keys, words):
    """What can only be seen beside the data is told as any mistake of the configuration is."""
    text = f"""
experiments:
  odd:
    base:
      data: tiny
      model: {{name: convnet, k: 2}}
      optimiser: {{name: sphere_sgd, elr: 1.0e-2}}
      batch: 20
      epochs: 1
      {keys}
    grid: {{seed: [0]}}
"""
    lines = text.splitlines()
    name = keys.split(":")[0]
    text = "\n".join(line for line in lines if line.strip() == keys or f"{name}:" not in line)
    graph = prepared(graph_of(project(tmp_path, text)))
    with pytest.raises(UserError, match=words):
        trained(graph, "odd")


def written(one):
    """The keys of a spec that `spec` takes."""
    return {"optimiser": one.optimiser, "epochs": one.epochs, "seed": one.seed}


@pytest.mark.parametrize("how", ["learning rate", "injected NaN", "last step"])
def test_a_network_that_diverges_harms_no_other(how):
    wanted = [{"epoch": 0}, {"epoch": 4}, {"best": "test_loss", "mode": "min"}]
    healthy = [
        spec(**FREE, seed=seed, optimiser=sgd(lr, momentum=0.9), epochs=4)
        for seed, lr in ((0, 0.01), (1, 0.01), (2, 0.02))
    ]
    sick = list(healthy)
    if how == "learning rate":
        sick[1] = spec(**FREE, seed=1, optimiser=sgd(1e20, momentum=0.9), epochs=4)
    good, bad = training(healthy, wanted), training(sick, wanted)

    def spoil(made):
        at = {"injected NaN": 5, "last step": 11}.get(how)
        if made.step == at:
            made.stack.flat[1, 7] = float("nan")

    if how == "last step":
        step = bad.optimiser.step

        def overflowing(stack, gradient, factor):
            step(stack, gradient, factor)
            if bad.step == 11:
                stack.flat[1] *= float("inf")

        bad.optimiser.step = overflowing
    expected = good.run()
    found = bad.run(spoil)
    assert found.diverged.tolist() == [False, True, False]
    assert expected.diverged.tolist() == [False, False, False]
    last = int(found.last_epoch[1])
    end = {"learning rate": 1, "injected NaN": 2, "last step": 4}[how]
    assert last == end or (how == "learning rate" and last <= 2)
    row = found.history.scalars[last * 3]
    assert all(math.isnan(float(value[1])) for value in row.values())
    assert found.points['{"epoch":0}'].there.tolist() == [True, True, True]
    assert found.points['{"epoch":4}'].there.tolist() == [True, False, True]
    for place in (0, 2):
        assert torch.equal(rows(good, place), rows(bad, place))
        for step, values in expected.history.scalars.items():
            for column, value in values.items():
                if step:
                    assert torch.equal(value[place], found.history.scalars[step][column][place])
        best = '{"best":"test_loss","mode":"min"}'
        assert torch.equal(expected.points[best].flat[place], found.points[best].flat[place])


def test_a_diverged_run_says_so_and_its_children_have_no_parent_point(shop):
    folder = trained(shop, "diverging")[0]
    [run] = [run for run in packs(shop, "diverging")[0].runs if run.axes["lr"] == 1e20]
    found = about(folder)[run.id]
    assert found["status"] == "diverged"
    row = history(folder, run.id).iloc[-1]
    assert row["epoch"] == found["last_epoch"]
    assert row.drop(["run", "step", "epoch"]).isna().all()
    assert point(folder, run.id, {"epoch": 0}) is not None
    assert point(folder, run.id, {"epoch": 3}) is None
    assert point(folder, run.id, {"epoch": 6}) is None
    others = [one for one in about(folder).values() if one["status"] == "finished"]
    assert len(others) == 2
    [child] = trained(shop, "orphan")
    statuses = {one["label"].split()[1]: one["status"] for one in about(child).values()}
    assert statuses == {
        "plr=1e+20": "no_parent_point",
        "plr=0.03": "finished",
        "plr=0.01": "finished",
    }
    assert len(set(history(child)["run"])) == 2


# ---------------------------------------------------------------------- points


def test_points_are_the_weights_of_their_epochs():
    wanted = [{"epoch": 0}, {"epoch": 2}, {"best": "test_loss", "mode": "min"}]
    made = training(spec(optimiser=sphere(0.03), epochs=6), wanted)
    start = made.stack.flat.clone()
    epochs = [start]
    found = made.run(after_epoch=lambda now: epochs.append(now.stack.flat.clone()))
    assert torch.equal(found.points['{"epoch":0}'].flat, start)
    assert torch.equal(found.points['{"epoch":2}'].flat, epochs[2])
    losses = scalars(found.history, "test_loss")
    best = found.points['{"best":"test_loss","mode":"min"}']
    assert torch.equal(best.flat, epochs[losses.index(min(losses))])


def test_an_average_is_the_mean_of_its_epochs_with_moments_of_the_whole_training_set():
    wanted = [{"average": {"count": 3, "every": 2, "from": 1}}]
    made = training(spec(optimiser=sphere(0.03), epochs=6), wanted)
    epochs = [made.stack.flat.clone()]
    found = made.run(after_epoch=lambda now: epochs.append(now.stack.flat.clone()))
    [snapshot] = found.points.values()
    mean = (epochs[1].double() + epochs[3].double() + epochs[5].double()) / 3
    torch.testing.assert_close(snapshot.flat.double(), mean, rtol=1e-6, atol=1e-7)
    made.stack.load(snapshot.flat)
    net = reference(made)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for first in range(0, 60, 20):
        logits(net.train(), images().train_images[first : first + 20])
    for number in range(1, 5):
        expected = getattr(net, f"norm{number}")
        mean, variance = snapshot.moments[f"norm{number}"]
        torch.testing.assert_close(mean[0], expected.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variance[0], expected.running_var, rtol=1e-4, atol=1e-5)


def fired_at(losses, index=1, jump=5.0, floor=0.02):
    """Epoch at which the event fires and the epoch whose weights were last kept, or None."""
    detector = CalmEnd({"jump": jump, "floor": floor, "index": index}, 1)
    kept = None
    for epoch, loss in enumerate(losses):
        keep, fired = detector.update(torch.tensor([loss], dtype=torch.float64))
        if fired.any():
            return epoch, kept
        if keep.any():
            kept = epoch
    return None


def test_calm_ends_are_exactly_the_lows_before_the_jumps_of_a_saw_tooth():
    tooth = [1.0, 0.3, 0.1, 0.015, 0.01, 0.005, 0.006]
    losses = tooth * 4
    # the low is the sixth epoch of a tooth; the jump the first of the next one
    assert [fired_at(losses, index) for index in (1, 2, 3, 4)] == [(7, 5), (14, 12), (21, 19), None]


def test_flat_noise_above_the_floor_has_no_jump():
    source = torch.Generator().manual_seed(0)
    noise = 1 + 0.5 * torch.randn(500, generator=source).clamp(-1.5, 1.5)
    assert noise.max() > 5 * noise.min()
    assert fired_at(noise.tolist()) is None


def test_a_rise_below_the_floor_is_no_jump():
    assert fired_at([1, 0.01, 0.001, 0.015, 0.012, 0.001]) is None
    assert fired_at([1, 0.01, 0.001, 0.021]) == (3, 2)


def test_the_event_points_are_the_weights_at_the_calm_ends():
    settings = {"jump": 5.0, "floor": 0.3}
    wanted = [{"event": "calm_end", **settings, "index": index} for index in (1, 2, 3)]
    made = training(spec(optimiser=sgd(3.0, wd=0.1), epochs=40), wanted)
    epochs = [made.stack.flat.clone()]
    found = made.run(after_epoch=lambda now: epochs.append(now.stack.flat.clone()))
    losses = scalars(found.history, "train_loss")
    expected = [fired_at(losses, index, **settings) for index in (1, 2, 3)]
    assert expected[0] is not None and expected[1] is not None
    keys = sorted(made.points.definitions)
    for key, fired in zip(keys, expected):
        if fired is None:
            assert key not in found.points
        else:
            assert torch.equal(found.points[key].flat, epochs[fired[1]])


def test_event_points_of_a_stack_fire_for_each_network_at_its_own_time():
    wanted = [{"event": "calm_end", "jump": 5.0, "floor": 0.3, "index": 1}]
    specs = [spec(optimiser=sgd(lr, wd=0.1), epochs=14) for lr in (0.03, 3.0, 1.0)]
    made = training(specs, wanted)
    epochs = [made.stack.flat.clone()]
    found = made.run(after_epoch=lambda now: epochs.append(now.stack.flat.clone()))
    [snapshot] = found.points.values()
    fired = [fired_at(scalars(found.history, "train_loss", n), floor=0.3) for n in range(3)]
    assert snapshot.there.tolist() == [one is not None for one in fired]
    assert fired[0] is None and fired[1] is not None
    for place, one in enumerate(fired):
        if one is not None:
            assert torch.equal(snapshot.flat[place], epochs[one[1]][place])


# ---------------------------------------------------------------------- starts

STRAIGHT = """
  straight:
    base: {data: tiny, model: {name: convnet, k: 2}, batch: 20, epochs: 10, @}
    grid: {seed: [0]}
    points: {end: {epoch: last}}
    record: &record
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}, recomputed: true}
      geometry: {every: {steps: 5}}
      filters: {every: {log: 5, trailing: 1}}
  first:
    base: {data: tiny, model: {name: convnet, k: 2}, batch: 20, epochs: 4, @}
    grid: {seed: [0]}
    points: {end: {epoch: last}}
    record: *record
  second:
    start: {from: first, at: end, take: state}
    base: {epochs: 6}
    points: {start: {epoch: 0}, end: {epoch: last}}
    record: *record
  third:
    start: {from: second, at: end, take: state}
    base: {epochs: 10}
    points: {end: {epoch: last}}
    record: *record
"""
BASES = {
    "sphere": "optimiser: {name: sphere_sgd, elr: 0.03}, head: {seed: 1, norm: 10}",
    "radius": "optimiser: {name: sphere_sgd, elr: 0.03, radius: 7}, head: {seed: 1, norm: 10}",
    "filters": "optimiser: {name: sphere_sgd, elr: 0.03, fixed: filters}, head: {norm: 10}",
    "momentum": "optimiser: {name: sgd, lr: 0.1, wd: 0.01, momentum: 0.9}",
    "norm": "optimiser: {name: sgd, lr: 0.1, norm: 3}",
    "full batch": "optimiser: {name: sgd, lr: 0.3}, full_batch: true",
    "augmented": "optimiser: {name: sgd, lr: 0.1}, augment: crop_flip",
}


@pytest.mark.parametrize("base", list(BASES))
def test_going_on_from_a_state_twice_is_bit_equal_to_never_having_stopped(tmp_path, base):
    text = "experiments:" + STRAIGHT.replace("@", BASES[base])
    graph = prepared(graph_of(project(tmp_path, text)))
    folders = {name: trained(graph, name)[0] for name in ("straight", "third")}
    runs = {name: graph.runs(name)[0].id for name in folders}
    frames = [history(folders[name], runs[name]).drop(columns="run") for name in folders]
    assert list(frames[0]["step"]) == list(frames[1]["step"])
    for column in frames[0].columns:
        assert frames[0][column].equals(frames[1][column]), column
    ends = [point(folders[name], runs[name], {"epoch": 10}) for name in folders]
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    arrays = [tensors(folders[name] / "arrays.safetensors") for name in folders]
    assert len(arrays[0]) == len(arrays[1]) == 6
    for name, value in arrays[0].items():
        other = arrays[1][name.replace(runs["straight"], runs["third"])]
        assert torch.equal(value, other), name


def test_a_run_from_weights_begins_at_its_parents_point_with_its_moments(shop):
    [folder] = trained(shop, "tuned")
    for run in packs(shop, "tuned")[0].runs:
        parent = shop.paths.pack(shop.pack_of[run.parent.id])
        there = point(parent, run.parent.id, {"epoch": 3})
        start = tensors(folder / "points.safetensors")
        for name, value in there.items():
            if name.startswith(("conv", "linear")):
                assert torch.equal(start[f"{run.id}|start|{name}"], value)
        parents = history(parent, run.parent.id).set_index("epoch").loc[3.0]
        first = history(folder, run.id).set_index("epoch").loc[0.0]
        for column in ("train_loss", "test_loss", "test_error_recomputed", "gradient_norm"):
            assert first[column] == parents[column]
        assert first["elr"] == pytest.approx(3e-3)
        assert run.axes["plr"] == run.parent.axes["elr"]
        assert run.axes["seed"] == run.parent.axes["seed"]
        assert first["distance_to_start"] == 0


def test_a_child_without_its_parents_file_is_one_line(shop, tmp_path):
    [pack] = packs(shop, "longer")
    nowhere = {run.id: tmp_path / "nowhere" for run in pack.parents}
    with pytest.raises(UserError, match=r"longer .* starts from plain .*: no such file"):
        job(shop, pack, tmp_path / "out", parents=nowhere).run()


# ---------------------------------------------------------------------- same bits


def test_training_twice_gives_the_same_bytes_on_one_thread(shop, tmp_path):
    for experiment in ("plain", "momentum", "ragged"):
        [folder, *_] = trained(shop, experiment)
        pack = packs(shop, experiment)[0]
        made = job(shop, pack, tmp_path / experiment)
        made.run()
        assert torch.get_num_threads() == 1
        assert results(folder) == results(tmp_path / experiment)


def test_a_device_makes_a_job_one_thread(tmp_path):
    torch.set_num_threads(2)
    assert device_of("cpu", tmp_path).type == "cpu"
    assert torch.get_num_threads() == 1
    with pytest.raises(UserError, match="'gpu'"):
        device_of("gpu", tmp_path)


def test_jobs_take_one_gpu_each_and_the_first_when_all_are_held(tmp_path):
    holder = "from refigure.training.jobs.devices import free_device as take; import sys, pathlib;"
    holder += "print(take(2, pathlib.Path(sys.argv[1])), flush=True); sys.stdin.read()"
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", holder, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert {one.stdout.readline().strip() for one in holders} == {"0", "1"}
    assert free_device(2, tmp_path) == 0
    for one in holders:
        one.communicate("")
    assert free_device(1, tmp_path / "none") == 0 and not (tmp_path / "none").exists()


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
