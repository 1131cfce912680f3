"""Tables of runs at a fixed effective learning rate and with weight decay, on made-up histories."""

import numpy as np
import pandas as pd
import pytest
from refigure.tables import decay, sphere


def history(rate, seed=0, axis="elr", name="sphere", **columns) -> pd.DataFrame:
    """One run, an epoch a row, with 10 steps an epoch; columns that are not given are benign."""
    epochs = len(next(iter(columns.values())))
    extra = {key: value for key, value in columns.items() if np.isscalar(value)}
    rows = {
        "train_loss": 1.0,
        "train_error": 50.0,
        "effective_gradient_norm": 2.0,
        "test_error": 60.0,
        "test_error_recomputed": 55.0,
        "chance": 90.0,
    } | columns
    frame = pd.DataFrame(rows, index=range(epochs))
    label = f"{name} {rate} {seed} {extra}"
    keys = {"experiment": name, axis: rate, "seed": seed, "run": label}
    return frame.assign(**keys, epoch=range(epochs), step=[10 * epoch for epoch in range(epochs)])


def converging(rate, seed=0, end=1e-3, epochs=41, **columns) -> pd.DataFrame:
    loss = np.geomspace(5, end, epochs)
    return history(
        rate, seed, train_loss=loss, train_error=np.where(loss < 1, 0.0, 50.0), **columns
    )


def plateau(rate, seed=0, loss=1.0, error=50.0, epochs=41, **columns) -> pd.DataFrame:
    return history(rate, seed, train_loss=np.full(epochs, loss), train_error=error, **columns)


def together(*runs: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(runs, ignore_index=True)


def regime_of(run: pd.DataFrame) -> int:
    return sphere.regimes(m1=run)["regime"].item()


THREE = together(converging(1e-3), plateau(1e-2), plateau(1e-1, loss=8.0, error=89.0))


def test_a_run_at_chance_diverges_and_one_three_points_better_does_not():
    assert regime_of(plateau(1.0, error=87.1)) == 3
    assert regime_of(plateau(1.0, error=87.0)) == 2


def test_chance_is_what_the_run_recorded():
    assert regime_of(plateau(1.0, error=90.0, chance=99.0)) == 2
    assert regime_of(plateau(1.0, error=96.5, chance=99.0)) == 3
    sparse = plateau(1.0, error=96.5, chance=99.0)
    sparse.loc[1:, "chance"] = np.nan
    assert sphere.regimes(m1=sparse)["chance"].item() == 99.0


def test_a_small_loss_is_convergence_if_it_stays_small():
    loss = np.full(41, 0.019)
    assert regime_of(history(1.0, train_loss=loss, train_error=2.0)) == 1
    loss[35] = 0.021
    assert regime_of(history(1.0, train_loss=loss, train_error=2.0)) == 2


def test_a_larger_loss_is_convergence_if_it_falls_without_errors():
    falling = np.linspace(1, 0.05, 41)
    assert regime_of(history(1.0, train_loss=falling, train_error=0.4)) == 1
    assert regime_of(history(1.0, train_loss=falling, train_error=0.6)) == 2
    assert regime_of(history(1.0, train_loss=falling[::-1], train_error=0.4)) == 2


def test_only_the_last_quarter_of_the_epochs_decides():
    error = np.full(41, 90.0)
    error[31:] = 50.0
    assert regime_of(history(1.0, train_loss=np.ones(41), train_error=error)) == 2


def test_a_run_whose_loss_ends_undefined_is_divergence():
    loss = np.array([2.0, 5.0, np.nan])
    row = sphere.regimes(m1=history(1.0, train_loss=loss)).iloc[0]
    assert row["diverged"] and row["regime"] == 3
    assert row["final_train_loss"] == 5.0


def test_levels_are_means_over_the_trailing_quarter_and_half():
    norm = np.r_[7.0, np.zeros(20), np.full(10, 2.0), np.full(10, 4.0)]
    row = sphere.regimes(m1=plateau(1.0, effective_gradient_norm=norm)).iloc[0]
    assert row["effective_gradient_norm"] == 4.0
    assert row["effective_gradient_norm_half"] == 3.0
    assert row["effective_gradient_norm_half_std"] == pytest.approx((20 / 19) ** 0.5)
    assert row["first_gradient_norm"] == 7.0
    assert (row["epochs"], row["chance"]) == (40, 90)


def test_the_slope_is_how_far_the_log_of_the_loss_moves():
    run = history(1.0, train_loss=np.exp(-0.1 * np.arange(41)))
    assert sphere.slope(run[run["epoch"] > 20]) == pytest.approx(-0.1 * 19)
    assert np.isnan(sphere.slope(run[:1]))


def test_a_loss_that_is_measured_every_tenth_epoch_counts_where_it_is_there():
    run = converging(1.0)
    run.loc[run["epoch"] % 10 != 0, ["train_loss", "train_error"]] = np.nan
    assert regime_of(run) == 1


def test_a_family_without_a_sphere_has_a_rate_and_no_elr():
    table = sphere.regimes(a5=history(0.1, axis="lr", train_loss=np.ones(5)))
    assert table["rate"].item() == 0.1
    assert table["elr"].isna().item()


def test_each_width_is_a_family_of_its_own():
    runs = together(plateau(1.0, k=8), plateau(1.0, k=16).assign(run="another"))
    assert sphere.regimes(a9=runs)["family"].tolist() == ["A9 k=8", "A9 k=16"]


def test_borders_are_the_neighbours_of_a_change():
    border = sphere.borders(sphere.regimes(m1=THREE)).set_index("seed").loc[0]
    assert border[["last_r1", "first_r2", "last_r2", "first_r3"]].tolist() == [
        1e-3,
        1e-2,
        1e-2,
        1e-1,
    ]
    assert border["ordered"] and border["epochs"] == 40


def test_a_regime_that_is_absent_has_no_border():
    border = sphere.borders(sphere.regimes(m1=converging(1e-3))).iloc[0]
    assert np.isnan(border["first_r2"]) and border["ordered"]


def test_labels_that_fall_are_not_ordered():
    table = sphere.regimes(m1=together(plateau(1e-3), converging(1e-2)))
    assert not sphere.borders(table)["ordered"].any()


def test_the_row_of_all_seeds_takes_the_middle_label():
    runs = together(converging(1.0, 0), converging(1.0, 1), plateau(1.0, 2))
    table = sphere.borders(sphere.regimes(m1=runs)).set_index("seed")
    assert table.loc[-1, "last_r1"] == 1.0 and np.isnan(table.loc[-1, "first_r2"])
    two = sphere.regimes(m1=together(converging(1.0, 0), plateau(1.0, 1)))
    assert sphere.majority(two).tolist() == [1]
    assert two["majority"].tolist() == [1, 1]


def test_the_majority_is_of_one_family_and_rate():
    runs = together(converging(1.0, 0), converging(2.0, 0), plateau(2.0, 1), plateau(2.0, 2))
    table = sphere.regimes(m1=runs, m2=plateau(1.0))
    assert table["majority"].tolist() == [1, 2, 2, 2, 2]


def test_a_rate_between_two_regimes_has_none():
    labels = pd.Series({1e-3: 1, 1e-2: 2, 3e-2: 2, 1e-1: 3})
    assert sphere.regime_at(labels, 2e-2) == 2
    assert sphere.regime_at(labels, 1e-2) == 2
    assert np.isnan(sphere.regime_at(labels, 5e-3))
    assert np.isnan(sphere.regime_at(labels, 1.0))


def test_gradients_at_equal_loss_follow_a_power_law_exactly():
    runs = []
    for rate, end, power in ((1e-3, 1e-2, 0.5), (1e-2, 1e-4, 0.7)):
        run = converging(rate, end=end)
        runs.append(run.assign(effective_gradient_norm=run["train_loss"] ** power))
    m1 = together(*runs)
    table = sphere.equal_loss(sphere.regimes(m1=m1), m1=m1)
    assert table["common_loss"].tolist() == pytest.approx([1e-2, 1e-2])
    expected = [1e-2**0.5, 1e-2**0.7]
    assert table["effective_gradient_norm_at_common_loss"].tolist() == pytest.approx(expected)


def test_a_loss_that_comes_down_twice_is_read_the_second_time():
    loss = np.array([4.0, 1.0, 4.0, 1.0])
    assert sphere._read_at(loss, np.array([9.0, 9.0, 2.0, 8.0]), 2.0) == pytest.approx(4.0)
    assert np.isnan(sphere._read_at(np.array([1.0, 0.5]), np.ones(2), 2.0))


def test_a_fine_tuned_run_knows_the_regime_it_started_in():
    tuned = together(
        converging(1e-3, end=0.04, plr=1e-2),
        converging(1e-3, end=0.06, plr=5e-3),
        converging(1e-3, plr=1e-1),
    )
    table = sphere.finetuned(sphere.regimes(m1=THREE), m1=tuned)
    assert table["start_regime"].tolist()[::2] == [2, 3]
    assert np.isnan(table["start_regime"][1])
    assert table["converged"].tolist() == [True, False, True]


def test_the_best_errors_are_of_cells_that_have_converged_in_regime_1_in_every_seed():
    alone = together(
        *(converging(1e-3, seed, test_error_recomputed=20.0 + seed) for seed in (0, 1)),
        converging(2e-3, 0, test_error_recomputed=10.0),
        converging(2e-3, 1, end=0.06, test_error_recomputed=10.0),
        converging(3e-3, 0, test_error_recomputed=10.0),
        plateau(3e-3, 1, loss=0.04, test_error_recomputed=10.0),
        *(plateau(1e-2, seed) for seed in (0, 1)),
    )
    tuned = together(
        *(converging(1e-3, seed, plr=1e-2, test_error_recomputed=15.0) for seed in (0, 1))
    )
    regimes = sphere.regimes(m1=alone)
    row = sphere.best_errors(regimes, sphere.finetuned(regimes, m1=tuned)).iloc[0]
    assert (row["best_r1_elr"], row["best_r1_test_error"], row["best_r1_n"]) == (1e-3, 20.5, 2)
    assert row["best_r1_se"] == pytest.approx(0.5)
    assert (row["best_finetuned_plr"], row["best_finetuned_test_error"]) == (1e-2, 15.0)


def test_switched_runs_stand_beside_those_from_the_initial_state():
    moved = plateau(1e-2, loss=1.1, plr=1e-1)
    table = sphere.switched(sphere.regimes(m1=THREE), m1=THREE, m1_switch=moved)
    assert table["family"].tolist() == ["M1", "M1"]
    assert table["train_loss"].tolist() == pytest.approx([1.1, 1.0])
    assert table["start_regime"][0] == 3
    assert table["plr"].isna().tolist() == [False, True]


def test_the_time_to_converge_is_the_first_epoch_below_the_threshold():
    """By the mean over an epoch's batches, as the authors do: where-large-lrs, section 5."""
    running = np.array([1.0, 0.5, 0.09])
    passed = np.array([1.0, 0.08, 0.07])
    errors = {"test_error": [3.0, 2.0, 1.0], "test_error_recomputed": [3.0, 2.0, 0.5]}
    fast = history(1e-3, train_loss=passed, train_loss_running=running, **errors)
    slow = history(2e-3, train_loss=passed, train_loss_running=np.array([1.0, 0.5, 0.4]))
    table = sphere.convergence_times(together(fast, slow), threshold=0.1, cap=2)
    assert table["epochs_to_converge"].tolist()[0] == 2
    assert table["test_error"].tolist()[0] == 1.0
    assert table["test_error_recomputed"].tolist()[0] == 0.5
    assert np.isnan(table["epochs_to_converge"][1]) and table["cap"].tolist() == [2, 2]


def test_a_random_walk_of_equal_steps_decays_as_a_simulated_one():
    elr, norm, dimensions, walkers = 0.1, 2.0, 6, 20_000
    turned = np.array([np.nan, 0.5, 0.4])
    run = history(elr, cosine_to_previous=turned, effective_gradient_norm=norm)
    table = sphere.random_walk(run)
    size = elr * norm
    assert table["epoch"].tolist() == [1, 2] and table["cosine_to_previous"].tolist() == [0.5, 0.4]
    assert table["cosine_expected"].tolist() == pytest.approx([(1 + size**2) ** -5] * 2)
    rng = np.random.default_rng(0)
    points = np.zeros((walkers, dimensions))
    points[:, 0] = 1
    for _ in range(10):
        direction = rng.standard_normal(points.shape)
        direction -= (direction * points).sum(1, keepdims=True) * points
        points += size * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert points[:, 0].mean() == pytest.approx(table["cosine_expected"][1], abs=4 / walkers**0.5)


def test_an_unfinished_run_is_in_neither_of_regimes_1_and_2():
    falling = history(5e-3, train_loss=np.geomspace(5, 0.05, 41), train_error=20.0)
    table = sphere.regimes(m1=together(THREE, falling))
    assert table.set_index("rate")["unfinished"].to_dict() == {
        1e-3: False,
        1e-2: False,
        1e-1: False,
        5e-3: True,
    }
    edges = sphere.borders(table).query("seed == -1").iloc[0]
    assert (edges["last_r1"], edges["first_r2"]) == (1e-3, 1e-2)


def test_a_deviation_over_epochs_needs_ten_looks():
    few = plateau(1e-2, epochs=19)
    assert np.isnan(sphere.regimes(m1=few)["train_loss_half_std"].item())
    assert sphere.regimes(m1=plateau(1e-2))["train_loss_half_std"].item() == 0


def test_looks_at_chance_and_changes_are_counted_over_the_trailing_half():
    error = np.full(41, 50.0)
    error[25:30] = 89.0
    table = sphere.regimes(m1=history(4e-2, train_loss=np.ones(41), train_error=error))
    assert (table["share_r3"].item(), table["share_r2"].item()) == (0.25, 0.75)
    assert table["alternations"].item() == 2
    error[25:30] = 80.0  # neither the one nor the other
    table = sphere.regimes(m1=history(4e-2, train_loss=np.ones(41), train_error=error))
    assert (table["share_r3"].item(), table["alternations"].item()) == (0, 0)


def test_a_barrier_is_the_excess_of_the_log_over_its_ends():
    rows = [
        ("neighbours", 0, 1e-3, 2e-3, alpha, loss)
        for alpha, loss in ((0.0, 1.0), (0.5, 10.0), (1.0, 1e-2))
    ]
    columns = ["kind", "seed", "first_elr", "second_elr", "alpha", "train_loss"]
    table = sphere.paths(pd.DataFrame(rows, columns=columns))
    assert table["log_barrier"].tolist() == pytest.approx([np.log(100)] * 3)


def test_curvatures_carry_the_name_of_their_family():
    row = {"experiment": "a", "elr": 1.0, "seed": 0, "probes": 2, "images": 3}
    row |= {"effective_trace": 1.0, "effective_trace_se": 0.1, "effective_sharpness": 2.0}
    table = sphere.curvature(m1=pd.DataFrame([row]), m2=pd.DataFrame())
    assert table["family"].tolist() == ["M1"]


def test_filters_have_norm_and_step_side_by_side():
    norm = pd.DataFrame({"run": "a", "epoch": [0, 0], "index": [0, 1], "filter_norm": [1.0, 2.0]})
    step = norm.rename(columns={"filter_norm": "filter_step"}).iloc[::-1]
    table = sphere.filters(pd.DataFrame(), norm.assign(elr=0.1), step)
    assert table["filter_step"].tolist() == [1.0, 2.0] and table["elr"].tolist() == [0.1, 0.1]


# ---------------------------------------------------------------------- runs with weight decay


def decaying(loss, elr=None, lr=0.1, seed=0) -> pd.DataFrame:
    elr = np.full(len(loss), 1e-2) if elr is None else elr
    return history(
        lr,
        seed,
        "lr",
        "decay",
        train_loss=np.asarray(loss, float),
        elr=elr,
        wd=1e-2,
        weight_norm=1.0,
    )


SAW = [2.0, *np.geomspace(1, 1e-3, 10), *np.geomspace(1, 1e-3, 10), *np.geomspace(1, 1e-3, 10)]


def test_a_saw_tooth_has_a_jump_at_each_tooth():
    elr = np.linspace(1e-3, 3.1e-2, 31)
    table = decay.jumps(decay=decaying(SAW, elr), floor=0.02)
    assert table["onset"].tolist() == [11, 21]
    assert table["calm_end"].tolist() == [10, 20]
    assert table["loss_min"].tolist() == pytest.approx([1e-3, 1e-3])
    assert table["loss_peak"].tolist() == pytest.approx([1, 1])
    assert table["elr_onset"].tolist() == pytest.approx([1.2e-2, 2.2e-2])
    assert table["elr_before"].tolist() == pytest.approx([1.1e-2, 2.1e-2])
    assert not table["early"].any()


def test_epochs_that_were_not_measured_change_no_jump():
    elr = np.linspace(1e-3, 3.1e-2, 31)
    run = decaying(np.repeat(SAW, 2), np.repeat(elr, 2))
    run.loc[1::2, ["train_loss", "elr", "weight_norm", "test_error"]] = np.nan
    table = decay.jumps(decay=run, floor=0.02)
    assert table["onset"].tolist() == [22, 42]
    assert table["elr_before"].tolist() == pytest.approx([1.1e-2, 2.1e-2])


def test_noise_above_the_floor_has_no_jumps():
    loss = 0.5 * np.exp(np.random.default_rng(0).standard_normal(200))
    assert not len(decay.jumps(decay=decaying(loss.clip(0.03)), floor=0.02))


def test_small_rises_and_losses_that_are_undefined_are_no_jumps():
    assert decay.find_jumps(np.array([0.01, 0.001, 0.004, 0.019, np.nan, 0.004]), 5, 0.02) == []


def test_jumps_in_the_first_tenth_are_called_early():
    loss = [1.0, 0.001, 0.5, *np.full(40, 0.001)]
    assert decay.jumps(decay=decaying(loss), floor=0.02)["early"].tolist() == [True]


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        (SAW, "periodic"),
        (SAW[:15], "single jump"),
        (np.full(41, 0.5), "equilibrium"),
        (np.full(41, 0.01), "converging"),
        (np.geomspace(5, 0.5, 41), "converging"),
        (np.geomspace(0.5, 5, 41), "unclear"),
    ],
)
def test_runs_are_told_apart(loss, kind):
    run = decaying(loss)
    table = decay.runs(decay=run, floor=0.02)
    assert table["kind"].item() == kind
    assert table["trailing_elr"].item() == pytest.approx(1e-2)
