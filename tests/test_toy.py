"""The toy example against its closed forms, autograd, and the specification's pilot table."""

import numpy as np
import pytest
import torch
from refigure.tables.toy import (
    ALPHAS,
    dynamics,
    gradient,
    levels,
    measured_borders,
    random_points,
    simulate,
    step,
)

ALPHA = (1.0, 2.0, 4.0)


@pytest.fixture(scope="module")
def table():
    return levels([ALPHA], [0.9, 1.01, 1.1, 1.5, 2, 3, 5], steps=4_000).set_index("product")


@pytest.fixture(scope="module")
def borders():
    return measured_borders()


def test_the_gradient_equals_autograd():
    points = torch.tensor(random_points(5, 3, seed=1), requires_grad=True)
    x, y = points[..., 0], points[..., 1]
    (torch.tensor(ALPHA) * x**2 / (x**2 + y**2)).sum().backward()
    np.testing.assert_allclose(gradient(points.detach().numpy(), ALPHA), points.grad, rtol=1e-12)


def test_a_step_turns_each_angle_and_scales_each_norm_as_the_closed_form_says():
    elr, points = 0.3, random_points(5, 3, seed=2)
    x, y = points[..., 0], points[..., 1]
    r2, phi = x**2 + y**2, np.arctan2(x, y)
    s = elr * np.array(ALPHA) / r2
    after = step(points, ALPHA, elr)
    turned = np.arctan2(after[..., 0], after[..., 1])
    expected = phi - np.arctan(s * np.sin(2 * phi))
    np.testing.assert_allclose(np.sin(turned - expected), 0, atol=1e-12)
    grown = r2 * (1 + s**2 * np.sin(2 * phi) ** 2)
    np.testing.assert_allclose((after**2).sum(-1), grown / grown.sum(-1, keepdims=True), rtol=1e-12)


def test_a_simulation_equals_repeated_steps():
    # Ten steps only: beyond eta A = 2 the motion is chaotic and rounding errors grow.
    elrs, start = (0.05, 0.2, 2.0), random_points(4, 3, seed=3)
    points = np.stack([start] * 3)
    for state in simulate(start, ALPHA, elrs, steps=10):
        x2, y2 = points[..., 0] ** 2, points[..., 1] ** 2
        np.testing.assert_allclose(state.r2, x2 + y2, rtol=1e-8)
        np.testing.assert_allclose(state.sin2, x2 / (x2 + y2), rtol=1e-8)
        norms = np.linalg.norm(gradient(points, ALPHA), axis=(-2, -1))
        np.testing.assert_allclose(state.gradient_norm(), norms, rtol=1e-8)
        points = step(points, ALPHA, np.array(elrs)[:, None, None, None])


def test_the_norm_stays_one():
    for state in simulate(random_points(8, 3, seed=0), ALPHA, [0.1, 0.4, 4, 100], steps=500):
        np.testing.assert_allclose(state.r2.sum(-1), 1, rtol=1e-12)


def test_below_the_threshold_the_loss_vanishes():
    assert levels([ALPHA], [0.9], steps=2_000).loss_max[0] < 1e-10


def test_just_above_the_threshold_the_loss_settles_at_the_equilibrium(table):
    total = sum(ALPHA)
    assert abs(table.loss_mean[1.1] - (total - total / 1.1) / 2) < 1e-3 * total


@pytest.mark.parametrize(
    ("product", "loss", "norm"),
    [
        (1.01, 0.03464, 0.98),
        (1.1, 0.31818, 2.92),
        (1.5, 1.1667, 5.22),
        (2, 1.732, 5.95),
        (3, 2.365, 7.50),
    ],
)
def test_levels_are_those_of_the_pilot_table(table, product, loss, norm):
    assert table.loss_mean[product] == pytest.approx(loss, rel=0.02)
    assert table.gradient_norm_mean[product] == pytest.approx(norm, rel=0.02)


def test_the_spread_of_the_group_elrs_is_that_of_the_pilot_table(table):
    assert table.spread_log_elr[2] == pytest.approx(0.59, abs=0.02)
    assert table.spread_log_elr[5] == pytest.approx(1.3, abs=0.1)


def test_effective_steps_are_equal_in_equilibrium_and_undefined_at_rest(table):
    assert (table.step_spread[[1.1, 1.5, 2, 3, 5]] < 0.01).all()
    assert np.isnan(table.step_spread[0.9])


@pytest.mark.parametrize("alpha", ["1", "1,1", "1,2,4", "1,2,4,8,16"])
def test_the_measured_convergence_border_is_one_over_the_sum_of_alpha(borders, alpha):
    row = borders[(borders.alpha == alpha) & (borders.quantity == "convergence border")]
    assert row.measured.item() == pytest.approx(1 / sum(map(float, alpha.split(","))), rel=0.02)


def test_the_other_closed_forms_are_measured(borders):
    error = borders.set_index("quantity").relative_error
    assert (error["divergence border"] < 1e-6).all()
    assert (error["mean loss at eta A = 1.1"] < 1e-3).all()
    assert (error[error.index.str.startswith("2-cycle")] < 1e-9).all()
    assert len(error["convergence border"]) == len(ALPHAS)


def test_dynamics_are_tidy_and_few_enough_to_draw():
    frame = dynamics(steps=1_000)
    assert not frame.duplicated(["product", "step", "group"]).any()
    assert (frame.step.min(), frame.step.max()) == (0, 1_000)
    assert frame.groupby(["product", "group"]).size().between(150, 300).all()
    assert frame.groupby("product").elr.first().to_dict() == {
        product: product / 7 for product in (0.9, 3.0, 30.0)
    }


def test_the_same_seed_gives_the_same_table():
    assert levels([ALPHA], [3], steps=50, trailing=10).equals(
        levels([ALPHA], [3], steps=50, trailing=10)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trailing": 0}, "trailing must lie between 1 and steps=10, got 0"),
        ({"trailing": 11}, "got 11"),
        ({"starts": 1, "trailing": 5}, "at least 2 starts, got 1"),
        ({"alphas": [(1.0, -1.0)], "products": [1], "trailing": 5}, "alpha must be"),
        ({"products": [-1], "trailing": 5}, "elrs must be"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        levels(steps=10, **arguments)
