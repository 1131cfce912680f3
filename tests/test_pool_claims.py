"""Predicates of the two papers on ensembles: where they hold, fail and cannot decide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pool_world
import pytest
from refigure.claims import memory_split, power_laws
from refigure.claims.pools import gain, halved, share_of
from refigure.models import mlp, vgg, wide_resnet
from refigure.models.sizes import size_of
from refigure.tables import pools


def cell(mean: float, spread: float, count: int, seed: int) -> pd.DataFrame:
    """Accuracies of some ensembles."""
    values = np.random.default_rng(seed).normal(mean, spread, count)
    return pd.DataFrame({"accuracy": values, "number": range(count)})


def grid(accuracy) -> pd.DataFrame:
    """Disjoint ensembles of a ladder of sizes, of accuracy(j, n) and little noise."""
    rows = []
    for k, j in pool_world.WIDTHS.items():
        for n in (1, 2, 4, 8):
            for number in range(12):
                noise = np.random.default_rng((k, n, number)).normal(0, 0.1)
                rows.append({"k": k, "j": j, "n": n, "number": number})
                rows[-1] |= {"accuracy": accuracy(j, n) + noise, "cnll": 1.0}
    own = pd.DataFrame(rows).assign(setup="digits", part="ensemble", members=96, failed=0)
    own["parameters"] = 1000 * 2.0 ** own["j"]
    return own.reindex(columns=list(pools.ENSEMBLES))


def advantage(j: int, n: int) -> float:
    """A split of a large budget is better, of a small one worse."""
    budget = j + np.log2(n)
    return 90 + budget + (0.8 * budget + 0.6) * np.log2(n) - 0.7 * np.log2(n) ** 2


def test_a_gain_is_found_and_noise_is_none():
    parts = {1: cell(90, 0.2, 40, 0), 2: cell(91, 0.2, 20, 1), 4: cell(90.5, 0.2, 10, 2)}
    found = gain(parts, "accuracy")
    assert found.best == 2 and found.better.value == pytest.approx(1, abs=0.2)
    assert found.better.value > found.better.margin
    gains = []
    for seed in range(200):
        same = {n: cell(90, 0.2, 16, (seed, n)) for n in (1, 2, 4, 8)}
        better = gain(same, "accuracy").better
        gains.append(better.value > better.margin)
    assert np.mean(gains) <= 0.05  # 2.5 % are due


def test_the_error_of_halves_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(0, 1, 64)
    halves = {-1: values.mean()}
    for one in range(200):
        order = np.random.default_rng((1, one)).permutation(64)
        halves |= {2 * one: values[order[:32]].mean(), 2 * one + 1: values[order[32:]].mean()}
    assert halved(halves, 64).se == pytest.approx(values.std(ddof=1) / 8, rel=0.1)


def test_a_share_needs_its_error():
    answers = pd.DataFrame(True, index=range(-1, 12), columns=[7, 13, 23, 39])
    assert share_of(answers, 48, 0.75, name="widths").verdict == "holds"
    answers.loc[0:8:2, 7] = False
    answers.loc[1:9:2, [13, 23]] = False
    assert share_of(answers, 48, 0.75, name="widths").verdict == "undecided"


def test_claims_of_memory_split_on_a_world_with_the_advantage_and_one_without():
    there, none = grid(advantage), grid(lambda j, n: 90 + j - 0.5 * np.log2(n))
    many, options = {"quantity": "accuracy", "errors": 3}, {"quantity": "accuracy"}
    assert memory_split.advantage(ensembles=there, **many).verdict == "holds"
    assert memory_split.advantage(ensembles=none, **many).verdict == "fails"
    common = {"quantity": "accuracy", "points": 1.0}
    assert memory_split.at_common_size(ensembles=none, **common).verdict == "fails"
    small = {"quantity": "accuracy", "largest": -2}
    assert memory_split.one_is_best(ensembles=there, **small).verdict == "holds"
    late = {"quantity": "accuracy", "largest": -4}
    assert "smallest budget" in memory_split.one_is_best(ensembles=there, **late).reason
    grows = memory_split.optimum_grows(ensembles=there, **options, correlation=0.7)
    assert grows.verdict == "holds"
    sizes = pool_world.sizes(("digits",))
    asked = {"ensembles": there, "sizes": sizes, **many}
    assert "one architecture" in memory_split.general(**asked).reason


def test_multiplications_of_splits_are_arithmetic():
    sizes = pool_world.sizes(("digits",))
    options = {"low": 0.9, "high": 1.1, "widths": {"mlp": 6}}
    assert memory_split.no_more_computation(sizes=sizes, **options).verdict == "holds"
    dear = sizes.assign(macs=sizes["macs"] * (1 + (sizes["j"] < 0)))
    assert memory_split.no_more_computation(sizes=dear, **options).verdict == "fails"


def test_a_pool_whose_networks_failed_leaves_its_setup_undecided():
    broken = grid(advantage).assign(failed=200)
    found = memory_split.without_regularisation(ensembles=broken, quantity="accuracy")
    assert found.verdict == "undecided" and "failed" in found.reason


def test_no_setup_is_not_at_this_scale():
    empty = pools.formed(pd.DataFrame(), pd.DataFrame())
    found = power_laws.temperature_falls(ensembles=empty, correlation=-0.9)
    assert found.reason == "not at this scale"


@pytest.mark.parametrize("k", [4, 11, 64])
def test_sizes_by_closed_form_are_those_of_the_networks(k):
    for name, build, shape in (
        ("vgg16", vgg.build, (3, 32, 100)),
        ("wide_resnet28", wide_resnet.build, (3, 32, 10)),
    ):
        counted = sum(int(np.prod(one.shape)) for one in build(*shape, k=k)._parameters.values())
        assert size_of({"name": name, "k": k}, *shape).parameters == counted
    layers = mlp.build(1, 8, 10, k=k)._shapes.values()
    counted = sum(outputs * (inputs + 1) for outputs, inputs in layers)
    assert size_of({"name": "mlp", "k": k}, 1, 8, 10).parameters == counted
