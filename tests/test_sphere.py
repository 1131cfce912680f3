"""One step of an optimiser against its formula, and what training on the sphere must keep."""

from __future__ import annotations

import math

import pytest
import torch
from engine import sgd, spec, sphere, training
from refigure.training.initial import initial_values
from refigure.training.schedules.cosine import build as build_schedule

COSINE = {
    "name": "cosine",
    "by": "step",
    "warmup": 0,
    "warmup_start": None,
    "period": None,
    "flat": 0,
}


def one_step(made):
    """The next step of a training: flat weights before and after, and the gradient."""
    before = made.stack.flat.clone()
    batch = made.task.batch(*divmod(made.step, made.steps_per_epoch))
    losses = made.task.losses(made.stack.parameters, batch, made.statistics.in_mode("train"))
    gradient = made.stack.gradient(losses)
    made._train_step()
    made.step += 1
    return before, made.stack.flat.clone(), gradient


def norm_of(made):
    return made.stack.flat[:, : made.stack.invariant].double().norm(dim=1)


def test_a_sphere_step_is_the_closed_form_on_the_unit_sphere():
    before, after, gradient = one_step(training(spec(optimiser=sphere(0.03))))
    before, gradient = before.double()[0], gradient.double()[0]
    radius = before.norm()
    theta = before / radius
    # the gradient at theta is that at the weights times their norm
    moved = theta - 0.03 * gradient * radius
    torch.testing.assert_close(after[0].double() / radius, moved / moved.norm(), rtol=0, atol=2e-7)


@pytest.mark.parametrize("elr", [1e-3, 1.0])
@pytest.mark.parametrize("keys", [{}, {"momentum": 0.9}, {"radius": 12.0}])
def test_the_norm_after_every_step_is_the_radius(elr, keys):
    made = training(spec(optimiser=sphere(elr, **keys), epochs=4), records=[])
    radius = keys.get("radius") or float(norm_of(made)[0])
    norms = []
    made.run(lambda now: norms.append(float(norm_of(now)[0])))
    assert len(norms) == 12
    assert norms == pytest.approx([radius] * 12, rel=1e-6)


def test_twice_the_initial_weights_at_equal_elr_give_the_same_losses():
    chosen = spec(optimiser=sphere(0.01), epochs=1)
    made = training(chosen, records=[])
    values = initial_values(made.task.model, chosen)
    doubled = {
        name: 2 * value if made.task.model.groups[name] == "invariant" else value
        for name, value in values.items()
    }
    other = training(chosen, records=[], values=[doubled])
    for number in range(3):
        losses = [
            now.task.losses(
                now.stack.parameters, now.task.batch(0, number), now.statistics.in_mode("train")
            )
            for now in (made, other)
        ]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=0)
        for now in (made, other):
            now._train_step()
            now.step += 1


@pytest.mark.parametrize("optimiser", [sphere(0.03), sgd(0.1, wd=0.1, momentum=0.9)])
def test_the_frozen_last_layer_is_bit_identical_after_training(optimiser):
    chosen = spec(optimiser=optimiser)
    made = training(chosen)
    values = initial_values(made.task.model, chosen)
    made.run()
    for name in ("linear.weight", "linear.bias"):
        assert torch.equal(made.stack.parameters[name][0], values[name])
    assert values["linear.weight"].norm() == pytest.approx(10, rel=1e-6)


def test_runs_that_share_a_head_seed_share_the_head_and_nothing_else():
    first, second = (initial_values(training(s).task.model, s) for s in (spec(), spec(seed=1)))
    assert torch.equal(first["linear.weight"], second["linear.weight"])
    assert not torch.equal(first["conv1.weight"], second["conv1.weight"])


def test_fixed_filters_all_have_the_root_mean_square_norm_at_every_step():
    chosen = spec(optimiser=sphere(0.1, fixed="filters"))
    made = training(chosen, records=[])
    total = sum(
        value.square().sum()
        for name, value in initial_values(made.task.model, chosen).items()
        if name.startswith("conv")
    )
    expected = float(total / (2 + 4 + 8 + 16)) ** 0.5

    def check(now):
        norms = now.stack.filter_norms(now.stack.flat)
        assert norms.shape == (1, 30)
        torch.testing.assert_close(norms, torch.full_like(norms, expected), rtol=1e-6, atol=0)

    check(made)
    made.run(check)


def test_the_gradient_is_orthogonal_to_the_weights():
    made = training(spec())
    for number in range(3):
        batch = made.task.batch(0, number)
        losses = made.task.losses(made.stack.parameters, batch, made.statistics.in_mode("train"))
        gradient = made.stack.gradient(losses).double()
        weights = made.stack.flat.double()
        assert abs((gradient * weights).sum()) < 1e-4 * gradient.norm() * weights.norm()


def test_sgd_equals_that_of_torch_over_twenty_steps():
    chosen = spec(optimiser=sgd(0.02, wd=0.01, momentum=0.9), head=None, epochs=7)
    made = training(chosen, records=[])
    leaf = made.stack.flat.clone().requires_grad_()
    reference = torch.optim.SGD([leaf], lr=0.02, weight_decay=0.01, momentum=0.9)
    other = training(chosen, records=[])
    for step in range(20):
        made._train_step()
        made.step += 1
        batch = other.task.batch(*divmod(step, 3))
        statistics = other.statistics.in_mode("train")
        losses = other.task.losses(other.stack.parameters, batch, statistics)
        leaf.grad = other.stack.gradient(losses)
        reference.step()
        other.stack.load(leaf.detach())
    torch.testing.assert_close(made.stack.flat, leaf.detach(), rtol=1e-5, atol=1e-6)


def test_the_norm_follows_its_recursion_over_a_hundred_steps():
    # periodic-behavior 6.2: rho'^2 = (1 - lr wd)^2 rho^2 + lr^2 |grad|^2
    lr, wd = 0.1, 0.05
    made = training(spec(optimiser=sgd(lr, wd=wd), epochs=34), records=[])
    square = float(norm_of(made)[0]) ** 2
    for _ in range(100):
        _, _, gradient = one_step(made)
        square = (1 - lr * wd) ** 2 * square + lr**2 * float(gradient.double().square().sum())
    assert float(norm_of(made)[0]) ** 2 == pytest.approx(square, rel=1e-4)


def test_without_a_gradient_the_elr_grows_as_weight_decay_says():
    made = training(spec(optimiser=sgd(0.3, wd=0.01)))
    first = float(made.optimiser.effective_lr(made.stack)[0])
    for _ in range(50):
        made.optimiser.step(made.stack, torch.zeros_like(made.stack.flat), 1.0)
    expected = first * (1 - 0.3 * 0.01) ** (-2 * 50)
    assert float(made.optimiser.effective_lr(made.stack)[0]) == pytest.approx(expected, rel=1e-5)


def test_sgd_with_a_norm_holds_the_invariant_weights_at_it():
    made = training(spec(optimiser=sgd(0.3, wd=0.01, norm=2.5)), records=[])
    made.run(lambda now: norm_of(now)[0].item() == pytest.approx(2.5, rel=1e-6) or pytest.fail())


def test_full_batch_is_one_step_on_the_mean_gradient_of_all_images():
    # 60 images in batches of 25, 25 and 10: batch gradients weighted by their images
    chosen = spec(optimiser=sgd(0.1), batch=25, full_batch=True, epochs=1)
    made, other = training(chosen, records=[]), training(chosen, records=[])
    total = 0
    for number in range(3):
        batch = other.task.batch(0, number)
        statistics = other.statistics.in_mode("train")
        losses = other.task.losses(other.stack.parameters, batch, statistics)
        total = total + other.stack.gradient(losses).double() * batch.labels.shape[1]
    made.run()
    assert made.step == 1
    expected = other.stack.flat.double() - 0.1 * total / 60
    torch.testing.assert_close(made.stack.flat.double(), expected, rtol=0, atol=1e-6)


def test_a_cosine_goes_from_one_to_zero_through_a_half():
    factor = build_schedule(COSINE, 10)
    assert [factor(epoch) for epoch in (0, 5, 10)] == pytest.approx([1, 0.5, 0], abs=1e-15)
    assert factor(2.5) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    by_epoch = build_schedule({**COSINE, "by": "epoch"}, 10)
    assert by_epoch(2.9) == factor(2)
    flat = build_schedule({**COSINE, "flat": 4}, 10)
    assert [flat(epoch) for epoch in (0, 4, 7, 10)] == pytest.approx([1, 1, 0.5, 0], abs=1e-15)
    warm = build_schedule({**COSINE, "warmup": 3}, 13)
    assert [warm(epoch) for epoch in (0, 1, 2, 3, 8, 13)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 0.5, 0], abs=1e-15
    )


def test_the_schedule_scales_the_step_that_is_taken():
    # epoch 1 of 2 of a cosine: a factor of 1/2 on the first step of the second epoch
    plain = training(spec(optimiser=sgd(0.05)), records=[])
    cosine = training(spec(optimiser=sgd(0.1), schedule=COSINE), records=[])
    for made in (plain, cosine):
        made.step = 3
        one_step(made)
    torch.testing.assert_close(plain.stack.flat, cosine.stack.flat, rtol=0, atol=1e-7)
