"""Fits of power laws: exact laws, the trap of the log-loss, and the paper's own heat map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refigure.tables.power_laws import best_splits, fit, fits

SHARED = Path(__file__).parents[2] / "shared" / "reference"
N = np.array([1, 2, 4, 8, 16, 32, 64])


@pytest.fixture(scope="module")
def heat_map() -> pd.DataFrame:
    """CNLL of the paper's figure 1, left: rows n, columns the exponent of the size s = S 2^j."""
    path = SHARED / "powerlaws_vgg_cifar100_cnll.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there: no table of the paper's figure to compare with")
    return pd.read_csv(path, index_col="n").set_axis(range(-6, 4), axis=1)


@pytest.mark.parametrize("method", ["r2", "log2_local", "lsq"])
@pytest.mark.parametrize("a, b, c", [(-1.0, 0.5, 0.1), (-0.76, 0.31, 1.48), (-0.5, 2.0, 0.9)])
def test_an_exact_law_is_found(method, a, b, c):
    found = fit(N, c + b * N**a, method)
    assert (found.a, found.b, found.c) == pytest.approx((a, b, c), rel=1e-3)
    assert found.status == "ok" and found.r2 > 0.9999 and found.rmse < 1e-5
    np.testing.assert_allclose(found.at([1, 10]), c + b * np.array([1.0, 10.0]) ** a, rtol=1e-3)


def test_a_curve_without_an_asymptote_says_so():
    assert fit(N, 1.5 - 0.1 * np.log2(N), "r2").status == "no_asymptote"


def test_the_loss_s_run_to_minus_infinity_is_not_taken_for_a_fit():
    """A noisy logarithm: the loss only falls as c goes down, so there is no local minimum."""
    noise = np.random.default_rng(1).normal(0, 1e-3, len(N))
    found = fit(N, 1.5 - 0.1 * np.log2(N) + noise, "log2_local")
    assert found.status == "none" and np.isnan(found.a)


def test_fewer_than_four_points_are_no_fit():
    found = fit(N[:3], 1 / N[:3], "r2")
    assert found.status == "few_points" and np.isnan(found.a)


@pytest.mark.parametrize(
    "m, y, method, named",
    [
        (N, -(1 / N), "r2", "y must be positive"),
        (0 * N, 1 / N, "r2", "m must be positive"),
        (N, 1 / N, "bfgs", "method must be one of"),
        (N[:3], 1 / N, "r2", "one shape"),
    ],
)
def test_values_that_fit_no_law_are_refused(m, y, method, named):
    with pytest.raises(ValueError, match=named):
        fit(m, y, method)


def test_exponents_in_n_of_the_published_heat_map(heat_map):
    """power-laws, section 0: a and c of CNLL_n for s = S/64 ... S.

    The table is rounded to 0.001, which moves an exponent by up to 0.018: y - c is 0.014 at n = 64.
    """
    exponents = [-0.76, -0.77, -0.70, -0.78, -0.70, -0.69, -0.76]
    asymptotes = [1.480, 1.290, 1.094, 0.972, 0.879, 0.827, 0.801]
    for size, a, c in zip(range(-6, 1), exponents, asymptotes):
        found = fit(heat_map.index, heat_map[size])
        assert found.a == pytest.approx(a, abs=0.015), size
        assert found.c == pytest.approx(c, abs=0.002), size
        assert 0.28 <= found.b <= 0.34 and round(found.r2, 3) >= 0.998, size


@pytest.mark.parametrize("n, a, c", [(1, -0.45, 0.987), (2, -0.51, None), (4, -0.56, None)])
def test_exponents_in_s_of_the_published_heat_map(heat_map, n, a, c):
    sizes = 2.0 ** np.array(heat_map.columns, dtype=float)
    found = fit(sizes, heat_map.loc[n])
    assert found.a == pytest.approx(a, abs=0.005) and found.r2 > 0.98
    if c:
        assert found.c == pytest.approx(c, abs=0.001) and found.r2 == pytest.approx(
            0.9994, abs=1e-4
        )


def test_best_splits_of_the_published_heat_map(heat_map):
    curves = {size: heat_map[size].to_dict() for size in heat_map.columns}
    splits = best_splits(curves)
    best = splits[splits["best"]].groupby("j")["n"].first()
    assert best.loc[-4:5].tolist() == [1, 2, 2, 2, 4, 4, 8, 8, 8, 16]
    standard = splits[splits["j"] == 0].set_index("n")["value"]
    assert standard[1] == 1.108 and standard[4] == 1.002


def test_the_envelope_of_the_published_heat_map_is_a_power_law(heat_map):
    splits = best_splits({size: heat_map[size].to_dict() for size in heat_map.columns})
    envelope = splits[splits["best"]].groupby("j")["value"].first()
    envelope = envelope.loc[
        :3
    ]  # above 8 S the table has no single network, and its scale saturates
    found = fit(2.0 ** envelope.index.to_numpy(dtype=float), envelope)
    assert (found.a, found.b, found.c) == pytest.approx((-0.31, 0.294, 0.712), abs=0.005)


def test_accuracies_are_split_by_their_maximum():
    splits = best_splits({0: {1: 0.8}, -1: {2: 0.83}, -2: {4: 0.82, 3: 0.9}}, lower_is_better=False)
    assert splits.loc[splits["best"], "n"].tolist() == [2] and len(splits) == 3


def test_a_table_of_fits_has_a_row_a_curve_and_method():
    curves = [pd.DataFrame({"k": k, "n": N, "cnll": 0.1 + 1 / (k * N)}) for k in (7, 13)]
    frame = fits(pd.concat(curves), "n", "cnll", ["k"])
    assert frame[["k", "method"]].drop_duplicates().shape[0] == len(frame) == 6
    assert (frame["a"] + 1).abs().max() < 1e-3 and (frame["points"] == 7).all()


PUBLISHED = Path(__file__).parents[1] / "config/published"


@pytest.mark.parametrize(
    "decide, options",
    [
        ("calibrated_power_law", {"r2": 0.98, "low": -1.1, "high": -0.5, "share": 0.75}),
        ("budget_power_law", {"r2": 0.98}),
        ("several_beat_one", {}),
    ],
)
def test_predicates_hold_on_the_published_map_and_fail_on_one_turned_over(decide, options):
    """Turned over: more networks are worse at every size."""
    from refigure.claims import power_laws
    from refigure.claims.published import read_published
    from refigure.claims.statistics import as_read

    cells = read_published(PUBLISHED / "power-laws/fig1.csv")
    turned = cells.assign(
        cnll=cells.groupby("j")["cnll"].transform(lambda own: own.to_numpy()[::-1])
    )
    predicate = getattr(power_laws, decide)
    with as_read():
        assert predicate(ensembles=cells, **options).verdict == "holds"
        assert predicate(ensembles=turned, **options).verdict != "holds"
