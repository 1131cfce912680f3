"""Statistics of memorisation, against the authors' and on worlds whose spreads are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refigure.tables import memorization

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "contrastive.json"


@pytest.mark.parametrize("name", ["wide", "narrow"])
def test_statistics_of_counts_are_the_authors(name):
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    about = json.loads(REFERENCE.read_text(encoding="utf-8"))["spread"][name]
    k = np.arange(64)
    counts = (3 * k**2 + 5 * k) % 31 if name == "wide" else 10 + (3 * k**2 + 5 * k) % 9
    assert counts.mean() / 30 == pytest.approx(about["p_hat"])
    found = memorization.chi_square(counts, 30)
    assert found == pytest.approx(about["pearson_chi_square"], rel=1e-9)
    statistic, ratio, _ = memorization.variance_test(counts, 30)
    assert statistic == pytest.approx(about["variance_statistic_D"], rel=1e-12)
    assert ratio == pytest.approx(about["D_over_K_minus_1"], rel=1e-12)


def test_objects_that_are_alike_are_found_alike_as_often_as_the_level_says():
    generator = np.random.default_rng(0)
    values = [
        memorization.variance_test(generator.binomial(30, 0.4, 400), 30)[2] for _ in range(400)
    ]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.03)
    easy = generator.beta(4, 6, 400)
    assert memorization.variance_test(generator.binomial(30, easy), 30)[2] < 1e-6


def test_counts_without_variance_have_no_test():
    assert np.isnan(memorization.variance_test(np.full(10, 30), 30)).all()


def a_world(objects: float, views: float, networks: int = 40, count: int = 600) -> np.ndarray:
    """Correctness whose chance varies by that much between objects, and between their views."""
    generator = np.random.default_rng(1)
    chance = 0.5 + objects * generator.choice([-1, 1], (1, 1, count))
    chance = chance + views * generator.choice([-1, 1], (1, 8, count))
    return generator.random((networks, 8, count)) < chance


@pytest.mark.parametrize("objects, views", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3), (0.2, 0.2)])
def test_spreads_are_the_variances_of_the_chances(objects, views):
    v_obj, v_aug = memorization.spreads(a_world(objects, views))
    assert v_obj == pytest.approx(objects**2 / 0.25, abs=0.02)
    assert v_aug == pytest.approx(views**2 / 0.25, abs=0.02)


def test_spreads_do_not_grow_when_networks_are_few():
    few = memorization.spreads(a_world(0.2, 0.2, networks=6))
    many = memorization.spreads(a_world(0.2, 0.2, networks=200))
    np.testing.assert_allclose(few, many, atol=0.05)


def test_one_view_has_no_spread_among_views():
    v_obj, v_aug = memorization.spreads(a_world(0.3, 0.0)[:, :1])
    assert v_aug == 0 and v_obj == pytest.approx(0.36, abs=0.05)


def test_a_curve_of_binomial_shares_lies_near_the_binomial_and_another_far():
    generator = np.random.default_rng(2)
    alike = generator.binomial(30, 0.3, 1024) / 30
    split = (generator.random(1024) < 0.3).astype(float)
    near, deviation = memorization.distance_to_binomial(alike, 30)
    far, _ = memorization.distance_to_binomial(split, 30)
    assert near < 0.01 and deviation < 0.01 and far > 0.3
    assert memorization.distance_to_binomial(alike, 30) == (near, deviation)


def test_steps_are_matched_by_the_nearest_mean():
    other = np.array([0.1, 0.3, 0.5, 0.9])
    assert memorization.matched(np.array([0.12, 0.45, 0.8]), other).tolist() == [0, 2, 3]
    assert (
        memorization.first_step(other, 0.25) == 1 and memorization.first_step(other, 0.95) is None
    )


def test_curves_are_compared_sorted_and_classes_averaged():
    assert memorization.curve_distance(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 0
    means = memorization.class_means(np.array([0.2, 0.4, 1.0]), [0, 0, 2])
    np.testing.assert_allclose(means, [0.3, np.nan, 1.0])
