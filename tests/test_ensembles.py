"""Likelihood and calibration of ensembles, against the authors' functions and closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from refigure.measures import ensembles

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "power_laws_cnll.json"


def synthetic() -> tuple[np.ndarray, np.ndarray]:
    """The logits and labels of the reference, by its formula: 6 members, 60 objects, 5 classes."""
    i, x, c = np.ogrid[:6, :60, :5]
    logits = 3 * np.sin(1.3 * x + 2.1 * c) + 1.5 * np.sin(0.7 * i + 1.9 * x + 0.9 * c * i)
    labels = 7 * np.arange(60) % 5
    return logits + 1.2 * (c == (7 * x) % 5), labels


@pytest.fixture(scope="module")
def reference() -> dict:
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def likelihoods(temperatures, logits, labels, fit_on) -> ensembles.Likelihoods:
    rows = ensembles.label_log_probabilities([logits], labels, temperatures)
    joined = (ensembles.growing(one, range(len(logits))) for one in rows)
    return ensembles.Likelihoods.of(temperatures, joined, fit_on)


def test_fixed_temperatures_are_the_authors(reference):
    logits, labels = synthetic()
    np.testing.assert_allclose(logits[0, :3], reference["logits_first_member_first_3_objects"])
    about = reference["fixed_temperature"]
    taus = np.array(about["taus"])
    found = likelihoods(taus, logits, labels, ensembles.halves(60))
    for n, values in about["before_averaging_nll_of_first_n_members"].items():
        np.testing.assert_allclose(found.whole[:, int(n) - 1], values, rtol=2e-6)
    sizes = [1, 2, 3, 4, 5, 6]
    for n, mean in ensembles.growing_means([logits[:4], logits[4:]], sizes):
        rows = ensembles.tempered_after(mean[None], labels, taus)
        values = [-row.mean() for row in rows]
        after = about["after_averaging_nll_of_first_n_members"][str(n)]
        np.testing.assert_allclose(values, after, rtol=1e-10)
        right = about["accuracy_of_first_n_members"][str(n)]
        assert ensembles.accuracy(mean, labels) == pytest.approx(right)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_calibrated_likelihood_is_the_exact_minimum_and_near_the_authors(reference, place, n):
    logits, labels = synthetic()
    fit_on = np.zeros((len(reference["splits"]), 60), dtype=bool)
    for row, split in zip(fit_on, reference["splits"], strict=True):
        row[split["fit_on"]] = True
    objects = np.arange(60)

    def nll_at(temperature: float, chosen: np.ndarray) -> float:
        if place == "before":
            mean = ensembles.softmax(logits[:n], temperature).mean(0)
            return float(-np.log(mean[objects, labels])[chosen].mean())
        mean = ensembles.softmax(logits[:n]).mean(0)
        rows = ensembles.tempered_after(mean[None], labels, np.array([temperature]))
        return float(-rows[0][0, chosen].mean())

    about = reference["cnll_of_first_n_members"][str(n)][f"cnll_{place}_averaging"]
    value, temperatures = ensembles.calibrated_exactly(nll_at, fit_on)
    assert value == pytest.approx(about["exact_minimum"], abs=1e-8)
    assert value == pytest.approx(about["authors_nelder_mead"], abs=1e-4)
    np.testing.assert_allclose(temperatures, about["exact_temperatures"], rtol=1e-5)


def test_the_grid_of_temperatures_finds_what_the_exact_search_finds():
    logits, labels = synthetic()
    fit_on = ensembles.halves(60)
    found, temperature = likelihoods(
        ensembles.temperature_grid(), logits, labels, fit_on
    ).calibrated()
    objects = np.arange(60)
    for n in (1, 3, 6):

        def nll_at(tau: float, chosen: np.ndarray, n: int = n) -> float:
            mean = ensembles.softmax(logits[:n], tau).mean(0)
            return float(-np.log(mean[objects, labels])[chosen].mean())

        value, temperatures = ensembles.calibrated_exactly(nll_at, fit_on)
        assert found[n - 1] == pytest.approx(value, abs=2e-5)
        assert temperature[n - 1] == pytest.approx(np.exp(np.log(temperatures).mean()), rel=1e-3)


def test_halves_are_complements_and_the_same_each_time():
    first, second = ensembles.halves(101, 3), ensembles.halves(101, 3)
    assert (first == second).all() and first.shape == (6, 101)
    assert (first[0::2] ^ first[1::2]).all()
    assert first[0].sum() == 50 and (ensembles.halves(101, 3, seed=1) != first).any()


def test_logits_in_chunks_of_float16_are_the_logits_at_once():
    logits, labels = synthetic()
    taus = np.array([0.25, 1.0, 4.0])
    half = logits.astype(np.float16)
    at_once = ensembles.label_log_probabilities([half], labels, taus)
    chunks = ensembles.label_log_probabilities(iter([half[:1], half[1:4], half[4:]]), labels, taus)
    np.testing.assert_array_equal(at_once, chunks)
    whole = ensembles.label_log_probabilities([logits], labels, np.array([1.0]))
    nll, nll16 = -whole.mean(), -at_once[1].mean()
    assert nll16 == pytest.approx(nll, abs=1e-4)


def test_a_confident_and_wrong_member_makes_no_infinite_likelihood():
    logits = np.zeros((2, 1, 3))
    logits[0, 0, 1] = 1000.0  # the label is class 0: its probability underflows to 0
    rows = ensembles.label_log_probabilities([logits], np.array([0]), np.array([0.5]))
    assert np.isfinite(rows).all() and rows[0, 0, 0] == -2000.0
    together = ensembles.growing(rows[0], [0, 1])[-1, 0]
    assert together == pytest.approx(np.log(1 / 3 / 2))


def test_ensembles_that_share_no_member():
    logits, labels = synthetic()
    [rows] = ensembles.label_log_probabilities([logits], labels, np.array([1.0]))
    pairs = ensembles.disjoint(rows, 2)
    assert pairs.shape == (3, 60)
    np.testing.assert_allclose(pairs[1], ensembles.growing(rows, [2, 3])[-1])
    assert ensembles.disjoint(rows, 4).shape == (1, 60)  # two are left over


def test_theory_gives_mean_and_variance_of_members_whose_distribution_is_known():
    """Probabilities 0.2 and 0.6 by halves: mu 0.4, sigma 0.2, so b = 0.125 and c = -log 0.4."""
    draws = np.random.default_rng(0).choice([0.2, 0.6], size=(4000, 200))
    c, b = ensembles.theory(np.log(draws))
    assert c == pytest.approx(-np.log(0.4), abs=1e-3) and b == pytest.approx(0.125, rel=1e-2)
    sizes = np.array([32, 64, 128])
    nll = [-ensembles.disjoint(np.log(draws), int(n)).mean() for n in sizes]
    np.testing.assert_allclose(sizes * (np.array(nll) - c), b, rtol=0.1)


def test_members_at_chance_are_told_from_those_that_work():
    labels = np.arange(100) % 10
    right = np.eye(10)[labels][None] * 5
    stuck = np.zeros((1, 100, 10))
    found = ensembles.working([np.concatenate([right, stuck]), right], labels)
    assert found.tolist() == [True, False, True]


def test_diversity_and_calibration_of_hand_made_predictions():
    answers = np.array([[0, 1, 2], [0, 1, 1], [0, 0, 0]])
    pairs = [np.mean(answers[i] != answers[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert ensembles.disagreement(answers) == pytest.approx(np.mean(pairs))
    mean = np.array([[0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    labels = np.array([0, 1, 1])
    squares = [0.04 + 0.04, 0.36 + 0.36, 0.09 + 0.09]
    assert ensembles.brier(mean, labels) == pytest.approx(np.mean(squares))
    gaps = abs(1 - 0.8) + abs(0 - 0.6) + abs(1 - 0.7)  # each in a bin of its own
    assert ensembles.calibration_error(mean, labels) == pytest.approx(gaps / 3)


def test_a_curve_that_still_falls_at_the_end_of_the_grid_has_its_minimum_there():
    taus = ensembles.temperature_grid(0.5, 2.0, 11)
    falling = np.stack([-np.log(taus), (np.log(taus) - 0.1234) ** 2], axis=1)
    fit_on = ensembles.halves(4)
    found = ensembles.Likelihoods(taus, falling, np.repeat(falling[..., None], len(fit_on), 2))
    np.testing.assert_allclose(found.best_temperature(), [2.0, np.exp(0.1234)], rtol=1e-9)
    np.testing.assert_allclose(found.lower_envelope(), [-np.log(2.0), 0.0], atol=1e-12)
    np.testing.assert_allclose(found.calibrated()[0], [-np.log(2.0), 0.0], atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    logits, labels = synthetic()
    with pytest.raises(ValueError, match="must be positive"):
        ensembles.label_log_probabilities([logits], labels, np.array([1.0, temperature]))


def test_logits_that_are_not_finite_are_refused():
    logits, labels = synthetic()
    logits[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        ensembles.label_log_probabilities([logits], labels, np.array([1.0]))
