"""The predicates of three-regimes on made-up tables, on either side of their thresholds."""

import numpy as np
import pandas as pd
import pytest
from refigure.claims import three_regimes as claims
from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED
from refigure.tables import toy

SPREAD = (-0.01, 0.0, 0.01)
"""Relative differences of three seeds: a standard error of 0.6 %, so that 3 % are shown."""


def runs(levels: dict[float, dict], family="M1", seeds=SPREAD) -> pd.DataFrame:
    """A table of regimes: rate -> what its runs have; levels differ by `seeds` among the seeds."""
    rows = []
    for rate, own in levels.items():
        for seed, off in enumerate(seeds):
            row = {
                "family": family,
                "rate": rate,
                "elr": rate,
                "seed": seed,
                "regime": 2,
                "train_error": 50.0,
                "final_train_loss": 1.0,
                "final_test_error_recomputed": 50.0,
                "train_loss_half": 1.0,
                "effective_gradient_norm": 1.0,
                "effective_gradient_norm_half": 1.0,
                "first_gradient_norm": 100.0,
                "loss_slope": 0.0,
                "unfinished": False,
                "cosine_to_previous": 0.0,
                "chance": 90.0,
                "epochs": 60.0,
            } | own
            for name in LEVELS:
                row[name] *= 1 + off
            rows.append(row)
    return pd.DataFrame(rows)


LEVELS = (
    "final_train_loss",
    "final_test_error_recomputed",
    "train_loss_half",
    "effective_gradient_norm",
    "effective_gradient_norm_half",
)
ORDERED = {1e-3: {"regime": 1}, 1e-2: {"regime": 2}, 1e-1: {"regime": 3}}


def labels(*regimes: int, family="M1", seeds=SPREAD) -> pd.DataFrame:
    levels = {10.0**power: {"regime": regime} for power, regime in enumerate(regimes)}
    return runs(levels, family, seeds)


# ---------------------------------------------------------------------- C1, C11, C12


def test_three_ordered_regimes_hold():
    finding = claims.three_regimes(labels(1, 2, 3), ["M1"], count=1)
    assert finding.verdict == HOLDS and finding.reason == ""
    assert finding.numbers["M1: last R1"] == 1.0


def test_a_label_that_falls_or_is_absent_fails():
    assert claims.three_regimes(labels(1, 2, 1, 3), ["M1"], count=1).verdict == FAILS
    assert claims.three_regimes(labels(1, 3), ["M1"], count=1).verdict == FAILS


def test_every_label_must_occur_as_often_as_wanted():
    assert claims.three_regimes(labels(1, 2, 3), ["M1"], count=2).verdict == FAILS
    assert claims.three_regimes(labels(1, 1, 2, 2, 3, 3), ["M1"], count=2).verdict == HOLDS


def test_seeds_that_disagree_or_a_single_one_decide_nothing():
    table = labels(1, 2, 3)
    table.loc[(table["seed"] == 0) & (table["rate"] == 1.0), "regime"] = 2
    assert claims.three_regimes(table, ["M1"], count=1).verdict == UNDECIDED
    finding = claims.three_regimes(labels(1, 2, 3, seeds=[0.0]), ["M1"], count=1)
    assert finding.verdict == UNDECIDED and "1 seed" in finding.reason


def test_every_variant_is_named_and_an_absent_one_leaves_it_open():
    both = pd.concat([labels(1, 2, 3, family="A1"), labels(1, 2, 3, family="A9 k=8")])
    assert claims.three_regimes(both, ["A1", "A9"], count=1).verdict == HOLDS
    finding = claims.three_regimes(both, ["A1", "A2", "A9"], count=1)
    assert finding.verdict == UNDECIDED and "without A2" in finding.reason
    assert "A9 k=8: last R1" in finding.numbers


# ---------------------------------------------------------------------- C2


def better(losses, errors, norms, seeds=SPREAD, off_loss=0.1):
    rates = [1e-3, 2e-3, 3e-3][: len(losses)]
    table = runs(
        {
            rate: {"regime": 1, "final_train_loss": loss, "final_test_error_recomputed": error}
            for rate, loss, error in zip(rates, losses, errors)
        },
        seeds=seeds,
    )
    equal = pd.DataFrame(
        [
            ("M1", rate, seed, norm * (1 + off), off_loss)
            for rate, norm in zip(rates, norms)
            for seed, off in enumerate(seeds)
        ],
        columns=[
            "family",
            "elr",
            "seed",
            "effective_gradient_norm_at_common_loss",
            "nearest_loss_off",
        ],
    )
    return claims.better_within_r1(table, equal, "M1", correlation=-0.8)


def test_falling_losses_errors_and_gradients_hold():
    assert better([3, 2, 1], [30, 20, 10], [3, 2, 1]).verdict == HOLDS


def test_losses_that_are_not_equal_are_not_compared():
    finding = better([3, 2, 1], [30, 20, 10], [3, 2, 1], off_loss=0.3)
    assert finding.verdict == UNDECIDED
    assert finding.numbers["runs dropped whose loss is not equal"] == 9


def test_an_error_or_a_gradient_that_grows_fails():
    assert better([3, 2, 1], [10, 20, 30], [3, 2, 1]).verdict == FAILS
    assert better([3, 2, 1], [30, 20, 10], [3, 2, 2.5]).verdict == FAILS


def test_gradients_within_their_errors_and_two_elrs_decide_nothing():
    assert better([3, 2, 1], [30, 20, 10], [3, 2, 2]).verdict == UNDECIDED
    assert better([3, 2], [30, 20], [3, 2]).verdict == UNDECIDED


def test_seeds_that_share_no_whole_set_of_elrs_decide_nothing():
    rates = {rate: {"regime": 1} for rate in (1e-3, 2e-3, 3e-3)}
    table = runs(rates)
    table = table[table["seed"] != 1000 * table["rate"] - 1]
    equal = pd.DataFrame(
        columns=["family", "elr", "seed", "effective_gradient_norm_at_common_loss"]
    )
    finding = claims.better_within_r1(table, equal, "M1", correlation=-0.8)
    assert finding.verdict == UNDECIDED and "no seed has every ELR" in finding.reason


# ---------------------------------------------------------------------- C3


def levels(losses, norms, **columns):
    table = runs(
        {
            rate: {"train_loss_half": loss, "effective_gradient_norm_half": norm} | columns
            for rate, loss, norm in zip([1e-2, 2e-2, 3e-2], losses, norms)
        }
    )
    return claims.equilibrium_levels(table, ["M1"], ties=1, core_share=0.85, slope=0.25)


def test_growing_losses_and_falling_gradients_hold_with_one_tie():
    assert levels([1, 2, 3], [3, 2, 1]).verdict == HOLDS
    assert levels([1, 2, 3], [3, 2, 2]).verdict == HOLDS
    assert levels([1, 2, 3], [2, 2, 2]).verdict == UNDECIDED


def test_growing_gradients_and_falling_losses_fail():
    assert levels([1, 2, 3], [1, 2, 3]).verdict == FAILS
    assert levels([3, 2, 1], [3, 2, 1]).verdict == FAILS


def test_a_loss_that_still_falls_is_no_equilibrium():
    assert levels([1, 2, 3], [3, 2, 1], loss_slope=-0.3).verdict == FAILS


def test_runs_near_to_chance_are_not_in_the_core():
    finding = levels([1, 2, 3], [3, 2, 1], train_error=77.0)
    assert finding.verdict == UNDECIDED and "0 of at least 3" in finding.reason


# ---------------------------------------------------------------------- C4


def moved(ratio, seeds=SPREAD, others=()):
    rows = [*others]
    for seed, off in enumerate(seeds):
        rows.append(("M1", np.nan, 1e-2, seed, np.nan, 1.0, 1.0))
        rows.append(("M1", 1e-3, 1e-2, seed, 1, ratio * (1 + off), 1.0))
    columns = [
        "family",
        "plr",
        "elr",
        "seed",
        "start_regime",
        "train_loss",
        "effective_gradient_norm",
    ]
    table = pd.DataFrame(rows, columns=columns)
    return claims.same_equilibrium(runs(ORDERED), table, ["M1"], difference=0.2)


def test_the_same_level_from_any_start_holds_and_another_fails():
    assert moved(1.1).verdict == HOLDS
    assert moved(0.7).verdict == FAILS
    assert moved(1.3).verdict == FAILS
    assert moved(1.3, seeds=[0.0]).verdict == UNDECIDED


def test_a_switched_seed_that_diverged_leaves_its_cell_open():
    assert moved(1.1, seeds=(0.0, 0.01, np.nan)).verdict == UNDECIDED


def test_a_start_without_a_run_to_compare_with_hides_no_failure():
    alone = [("M1", 1e-1, 1e-2, 7, 3, 1.0, 1.0)]
    finding = moved(1.1, others=alone)
    assert finding.verdict == UNDECIDED and "no seed has ELR 0.01" in finding.reason
    assert moved(1.3, others=alone).verdict == FAILS


# ---------------------------------------------------------------------- C5


def walk(cosine, norm, second=0.6, border=None, **more):
    levels = {1.0: {"regime": 3, "cosine_to_previous": cosine, "effective_gradient_norm": norm}}
    if border is not None:
        levels[0.1] = {"regime": 3, "cosine_to_previous": border}
    if second is not None:
        levels[1e-2] = {"regime": 2, "cosine_to_previous": second}
    options = {"distance": 0.05, "bounded": 0.9, "gradient_from": 0.3} | more
    table = runs({rate: {"train_error": 89.0} | own for rate, own in levels.items()})
    return claims.random_walk(table, "M1", **options)


def test_far_epochs_beside_near_ones_and_large_gradients_hold():
    assert walk(0.01, 1e4).verdict == HOLDS


def test_a_bounded_regime_3_an_unbounded_regime_2_and_small_gradients_fail():
    assert walk(0.3, 1e4).verdict == FAILS
    assert walk(0.01, 1e4, second=0.02).verdict == FAILS
    assert walk(0.01, 50.0).verdict == FAILS


def test_the_smallest_elr_of_regime_3_lies_on_the_border_and_is_recorded():
    finding = walk(0.01, 1e4, border=0.5)
    assert finding.verdict == HOLDS
    assert "distance between measures, border, ELR 0.1" in finding.numbers
    assert walk(0.5, 1e4, border=0.01).verdict == FAILS


def test_without_regime_2_beside_it_nothing_is_decided():
    assert walk(0.01, 1e4, second=None).verdict == UNDECIDED


def test_gradients_are_compared_from_the_elr_that_is_named():
    assert walk(0.01, 1e4, gradient_from=2.0).verdict == UNDECIDED


# ---------------------------------------------------------------------- C13, C14


def barriers(low, high, seeds=SPREAD):
    rows = [
        ("neighbours", seed, first, second, 0.5, 1.0, value + off)
        for first, second, value in ((1e-3, 2e-3, low), (2e-3, 3e-3, high))
        for seed, off in enumerate(seeds)
    ]
    rows.append(("fine-tuned", 0, 1e-3, 5e-4, 0.5, 1.0, 0.0))
    columns = ["kind", "seed", "first_elr", "second_elr", "alpha", "train_loss", "log_barrier"]
    return claims.separate_minima(pd.DataFrame(rows, columns=columns), barrier=0)


def test_barriers_that_are_there_and_grow_hold():
    assert barriers(1.0, 2.0).verdict == HOLDS
    assert barriers(2.0, 1.0).verdict == FAILS
    assert barriers(1.0, 2.0, seeds=[0.0]).verdict == UNDECIDED


def border(share, alternations):
    levels = {1e-3: {"regime": 1}, 1e-2: {"regime": 2}, 2e-2: {"regime": 2}, 1e-1: {"regime": 3}}
    table = runs(levels).assign(share_r2=0.5, share_r3=0.0, alternations=0.0)
    mixed = table["rate"] == 2e-2
    table.loc[mixed, ["share_r3", "alternations"]] = share, alternations
    return claims.mixed_border(table, "M1", share=0.1, alternations=2)


def test_a_run_that_alternates_between_regimes_2_and_3_is_a_witness():
    assert border(0.4, 6).verdict == HOLDS
    assert border(0.4, 1).verdict == UNDECIDED
    assert border(0.0, 0).verdict == UNDECIDED


def test_the_first_family_at_hand_decides_and_the_other_is_a_part():
    table = pd.concat([runs(ORDERED), runs(ORDERED, family="D20")])
    finding = claims.equilibrium_levels(table, ["D20", "M1"], 1, 0.85, 0.25)
    assert set(finding.parts) == {"D20", "M1"}
    assert claims.equilibrium_levels(runs(ORDERED), ["D20", "M1"], 1, 0.85, 0.25).parts == {}


# ---------------------------------------------------------------------- C6

PUBLISHED = {
    1e-4: [18, 17, 20],
    1.5e-4: [25, 23, 23],
    2e-4: [27, 27, 25],
    2.5e-4: [40, 37, 40],
    3e-4: [90, 81, 83],
    3.5e-4: [336, 511, 402],
}
"""Epochs to a loss of 0.01 of the three seeds: the specification's section 8."""


def times(epochs: dict[float, list[float]]) -> pd.DataFrame:
    rows = [(elr, seed, value) for elr, own in epochs.items() for seed, value in enumerate(own)]
    return pd.DataFrame(rows, columns=["elr", "seed", "epochs_to_converge"])


@pytest.mark.parametrize("power", [0.3, 0.5, 1.0, 2.0])
def test_the_exponent_of_an_exact_power_law_is_found(power):
    elrs = np.array([1.0, 1.5, 1.8, 1.9, 1.95])
    assert claims.fit_exponent(elrs, 7 * (2 - elrs) ** -power) == pytest.approx(power, abs=0.02)


def test_the_published_times_hold():
    finding = claims.slow_border(times(PUBLISHED | {4e-4: [np.nan] * 3}), exponent=0.5)
    assert finding.verdict == HOLDS
    assert finding.numbers["exponent"].value > 1


def test_times_that_do_not_grow_fail():
    falling = {elr: [100 - 10 * place, 101 - 10 * place] for place, elr in enumerate(PUBLISHED)}
    assert claims.slow_border(times(falling), exponent=0.5).verdict == FAILS


def test_a_run_slower_than_the_cap_is_not_taken_for_one_that_diverged():
    without = claims.slow_border(times(PUBLISHED), exponent=0.5)
    capped = claims.slow_border(times(PUBLISHED | {2.2e-4: [30, 30, np.nan]}), exponent=0.5)
    assert without.verdict == capped.verdict == HOLDS
    assert without.numbers["exponent"] == capped.numbers["exponent"]


def test_times_that_are_no_power_of_a_distance_have_no_exponent():
    elrs = np.array([1.0, 2.0, 3.0, 4.0])
    assert np.isnan(claims.fit_exponent(elrs, np.exp(elrs / 10), 4.1))


def test_elrs_at_which_a_seed_did_not_converge_are_left_out():
    finding = claims.slow_border(times(PUBLISHED | {3.6e-4: [500, np.nan, 600]}), exponent=0.5)
    assert "epochs to converge, ELR 0.00036" not in finding.numbers
    few = dict(list(PUBLISHED.items())[:3])
    assert claims.slow_border(times(few), exponent=0.5).verdict == UNDECIDED


# ---------------------------------------------------------------------- C7


def tuned(error, loss=1e-3, family="M1", seeds=SPREAD):
    alone = runs({1e-3: {"regime": 1, "final_train_loss": 1e-3}}, family, seeds)
    alone["final_test_error_recomputed"] = [30.0 + seed for seed in range(len(seeds))]
    after = pd.DataFrame(
        {
            "family": family,
            "plr": 1e-2,
            "elr": 1e-3,
            "seed": range(len(seeds)),
            "start_regime": 2.0,
            "train_loss": loss,
            "test_error_recomputed": [error + seed + off for seed, off in enumerate(seeds)],
            "converged": loss < 0.05,
        }
    )
    return alone, after


def test_a_lower_error_after_fine_tuning_holds_only_if_it_is_clear():
    assert claims.better_optima(*tuned(28.0), ["M1"], 0.05).verdict == HOLDS
    assert claims.better_optima(*tuned(29.99), ["M1"], 0.05).verdict == UNDECIDED
    assert claims.better_optima(*tuned(32.0), ["M1"], 0.05).verdict == FAILS


def test_runs_that_have_not_converged_are_not_judged():
    finding = claims.better_optima(*tuned(28.0, loss=0.06), ["M1"], 0.05)
    assert finding.verdict == UNDECIDED and "has converged" in finding.reason


def test_a_cell_counts_only_if_all_of_its_seeds_are_in_the_regime():
    alone, after = tuned(28.0)
    near = alone.assign(rate=2e-3, elr=2e-3, final_test_error_recomputed=1.0, regime=[1, 1, 2])
    finding = claims.better_optima(pd.concat([alone, near]), after, ["M1"], 0.05)
    assert finding.verdict == HOLDS


def test_a_family_of_one_seed_does_not_hold_up_one_of_three():
    single = tuned(40.0, family="M3", seeds=[0.0])
    both = [pd.concat(pair, ignore_index=True) for pair in zip(tuned(28.0), single)]
    finding = claims.better_optima(*both, ["M1", "M3"], 0.05)
    assert finding.verdict == HOLDS
    assert any(name.startswith("M3") for name in finding.numbers)
    assert claims.better_optima(*single, ["M1", "M3"], 0.05).verdict == UNDECIDED


# ---------------------------------------------------------------------- C8, C9

THRESHOLDS = {"loss": 1e-6, "near": 0.05, "near_to": 1.5, "far": 0.1, "far_to": 5}


@pytest.fixture(scope="module")
def toy_levels() -> pd.DataFrame:
    return toy.levels([(1.0, 2.0, 4.0)], (0.5, 0.9, 1.1, 1.5, 3.0), starts=4, steps=4000)


BORDERS = pd.DataFrame(
    [
        ("convergence border", 0.01),
        ("convergence border", 0.02),
        ("2-cycle growth at s = 3", 0.5),
    ],
    columns=["quantity", "relative_error"],
)


def test_the_toy_has_its_thresholds(toy_levels):
    finding = claims.toy_thresholds(toy_levels, BORDERS, **THRESHOLDS)
    assert finding.verdict == HOLDS
    assert finding.numbers["convergence border: largest relative error"] == 0.02
    assert finding.numbers["2-cycle growth: largest relative error"] == 0.5
    wrong = toy_levels.assign(loss_mean=1.2 * toy_levels["loss_mean"])
    assert claims.toy_thresholds(wrong, BORDERS, **THRESHOLDS).verdict == FAILS
    stuck = toy_levels.assign(loss_max=1e-5)
    assert claims.toy_thresholds(stuck, BORDERS, **THRESHOLDS).verdict == FAILS


def test_the_steps_of_the_toys_groups_are_equal_in_its_second_regime(toy_levels):
    assert claims.equal_steps(toy_levels, spread=0.05).verdict == HOLDS
    uneven = toy_levels.assign(step_spread=0.06)
    assert claims.equal_steps(uneven, spread=0.05).verdict == FAILS


# ---------------------------------------------------------------------- C10


def decayed(*onsets, settled=None):
    keys = {"lr": 0.1, "wd": 1e-2}
    jumps = pd.DataFrame({"elr_before": list(onsets)}, dtype=float).assign(**keys)
    jumps["seed"], jumps["jump"] = range(len(onsets)), 0
    jumps["run"] = [f"run{seed}" for seed in jumps["seed"]]
    rows = [(0.1, 1e-2, 0, len(onsets), False, 0.5, 1e-2)]
    for seed, elr in enumerate(np.atleast_1d([] if settled is None else settled)):
        rows.append((1.0, 1e-2, seed, 0, True, 0.5, elr))
    columns = ["lr", "wd", "seed", "jumps", "stationary", "trailing_loss", "trailing_elr"]
    table = pd.DataFrame(rows, columns=columns)
    table["elr_held"] = 3e-3
    return claims.conventional(runs(ORDERED), jumps, table, onset_share=0.25, stationary_loss=0.1)


def test_jumps_at_the_border_and_equilibria_inside_hold():
    finding = decayed(2e-3, 2.1e-3, 2e-3, settled=[1e-2, 1e-2])
    assert finding.verdict == HOLDS
    ratio = finding.numbers["ELR before jump 0 over last R1, LR 0.1 WD 0.01 seed 0"]
    assert ratio == pytest.approx(2)


def test_one_settled_run_and_one_in_a_gap_of_the_grid_decide_nothing():
    assert decayed(2e-3, 2.1e-3, 2e-3, settled=1e-2).verdict == UNDECIDED
    finding = decayed(2e-3, 2.1e-3, 2e-3, settled=[1e-2, 1e-2, 2e-2])
    assert finding.verdict == UNDECIDED and "in a gap of the grid" in finding.reason


def test_early_jumps_or_an_equilibrium_elsewhere_fail():
    assert decayed(2e-4, 2e-3, 2e-3, settled=1e-2).verdict == FAILS
    assert decayed(3e-4, 3.1e-4, 3e-4, settled=1e-2).verdict == FAILS
    assert decayed(2e-3, settled=5e-4).verdict == FAILS
    assert decayed(2e-3, settled=2e-1).verdict == FAILS


def test_without_jumps_or_an_equilibrium_half_of_it_stays_open():
    assert decayed(2e-3).verdict == UNDECIDED
    assert decayed(settled=1e-2).verdict == UNDECIDED


# ---------------------------------------------------------------------- absent data


def test_empty_tables_are_not_at_this_scale():
    empty = pd.DataFrame()
    regimes = runs(ORDERED)[:0]
    findings = [
        claims.three_regimes(regimes, ["M1"], 1),
        claims.better_within_r1(regimes, empty, "M1", -0.8),
        claims.equilibrium_levels(regimes, ["M1"], 1, 0.85, 0.25),
        claims.same_equilibrium(regimes, pd.DataFrame({"family": []}), ["M1"], 0.2),
        claims.random_walk(regimes, "M1", 0.05, 0.9, 0.3),
        claims.separate_minima(empty, 0),
        claims.mixed_border(regimes, "M1", 0.1, 2),
        claims.slow_border(empty, 0.5),
        claims.better_optima(regimes, empty, ["M1"], 0.05),
        claims.conventional(regimes, empty, empty, 0.25, 0.1),
    ]
    assert {(finding.verdict, finding.reason) for finding in findings} == {
        (UNDECIDED, "not at this scale")
    }


# ---------------------------------------------------------------------- the configuration


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_the_table_of_convergence_times_knows_when_its_runs_stop(graph, scale):
    graph = graph(scale)
    options = graph.table("convergence_times").options
    for run in graph.runs("sphere_border"):
        assert run.spec.stop["train_loss_running_below"] == options["threshold"]
        assert run.spec.epochs == options["cap"]
