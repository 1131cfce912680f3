"""The predicates of periodic-behavior on made-up tables, on either side of their thresholds."""

import numpy as np
import pandas as pd
import pytest
from refigure.claims import periodic_behavior as claims
from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED
from refigure.tables import decay

EMPTY = pd.DataFrame(columns=list(decay.RUNS)).astype(decay.RUNS)


def table(columns: dict, rows: list[dict]) -> pd.DataFrame:
    """Rows over benign values, in the columns and types of the real table."""
    benign = {name: 0 if kind in (float, "int64") else kind() for name, kind in columns.items()}
    filled = [
        benign | {"run": f"run{n}", "lr": 1.0, "wd": 0.01, "family": "l"} | row
        for n, row in enumerate(rows)
    ]
    return pd.DataFrame(filled, columns=list(columns)).astype(columns)


def runs(*rows: dict) -> pd.DataFrame:
    return table(decay.RUNS, list(rows))


def jumps(*rows: dict) -> pd.DataFrame:
    return table(decay.JUMPS, list(rows))


def periods(*rows: dict) -> pd.DataFrame:
    return table(decay.PERIODS, list(rows))


@pytest.mark.parametrize(
    ("count", "late", "verdict"), [(3, 1, HOLDS), (2, 1, FAILS), (9, 0, FAILS)]
)
def test_c1_asks_for_three_jumps_one_of_them_in_the_last_third(count, late, verdict):
    table = runs({"jumps": 1}, {"jumps": count, "last_third_jumps": late})
    assert claims.periodic(table, 3).verdict == verdict
    assert claims.periodic(EMPTY, 3).verdict == UNDECIDED


def ablation(late_jumps: int, lr: float = 1.0, epochs: int = 100):
    found = runs(
        {"jumps": 3},
        {"family": "w0", "late_jumps": late_jumps, "lr": lr, "epochs": epochs, "wd": 0.0},
        {"family": "w0", "lr": lr, "epochs": epochs, "wd": 0.0, "seed": 1},
    )
    own = [{"run": "run0", "onset": onset} for onset in (40, 80, 120)]
    return claims.both_needed(found, jumps(*own), "l", 2)


def test_c2_fails_by_one_late_jump_without_decay():
    assert ablation(0).verdict == HOLDS
    assert ablation(1).verdict == FAILS


def test_c2_learns_nothing_from_runs_that_never_come_below_the_floor():
    vacuous = runs(
        {"jumps": 3},
        *({"family": "fx", "epochs": 100, "trailing_loss": 3.0, "floor": 0.02} for _ in range(2)),
    )
    own = jumps(*({"run": "run0", "onset": onset} for onset in (40, 80)))
    finding = claims.both_needed(vacuous, own, "l", 2)
    assert finding.verdict == UNDECIDED and finding.reason.startswith("premise")


def test_c2_compares_at_the_same_lr_and_over_the_same_epochs():
    assert ablation(0, lr=0.3).verdict == UNDECIDED
    assert ablation(0, epochs=79).verdict == UNDECIDED
    early = jumps({"onset": 5, "early": True}, {"onset": 40})
    both = runs({"jumps": 2}, {"family": "fx", "epochs": 100})
    assert claims.both_needed(both, early.assign(run="run0"), "l", 2).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("growth", "after", "verdict"),
    [
        ([0.97, 0.98, 0.97, 0.98], [2.0] * 10, HOLDS),
        ([0.8, 0.81, 0.8], [2.0] * 10, FAILS),
        ([1.1, 1.11, 1.1], [2.0] * 10, FAILS),
        ([1.0, 1.0, 1.0], [2.0] * 9 + [0.5], UNDECIDED),
        ([1.0, 1.0, 1.0], [2.0] + [0.5] * 9, FAILS),
        ([np.nan], [2.0], UNDECIDED),
    ],
)
def test_c3_bounds_the_mean_slope_and_a_share_of_jumps(growth, after, verdict):
    own = periods(*({"growth": value} for value in growth))
    risen = jumps(*({"weight_norm_before": 1.0, "weight_norm_after": value} for value in after))
    assert claims.mechanism(own, risen, 0.9, 1.02, 0.9).verdict == verdict


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        (["converging", "single jump", "periodic", "equilibrium"], HOLDS),
        (["converging", "periodic", "equilibrium"], HOLDS),
        (["converging", "periodic", "periodic"], FAILS),
        (["periodic", "converging", "equilibrium"], FAILS),
        (["converging", "unclear", "periodic", "equilibrium"], UNDECIDED),
    ],
)
def test_c4_wants_the_three_classes_in_order(kinds, verdict):
    one = runs(*({"lr": 10.0**n, "kind": kind} for n, kind in enumerate(kinds)))
    assert claims.ordered_classes(one).verdict == UNDECIDED  # 1 seed
    table = pd.concat([one, one.assign(seed=1)])
    assert claims.ordered_classes(table[::-1]).verdict == verdict


def swept(lengths, wobble=0.02) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Periodic runs of rising lr wd with six periods each, about these lengths."""
    rows = [{"lr": 0.1 * 2**n, "kind": "periodic", "run": f"r{n}"} for n in range(len(lengths))]
    spread = np.linspace(-wobble, wobble, 6)
    own = [
        {"run": f"r{n}", "iterations": length * (1 + off)}
        for n, length in enumerate(lengths)
        for off in spread
    ]
    return runs(*rows, {"lr": 30.0, "kind": "single jump"}), periods(*own)


def test_c5_is_about_periodic_runs_alone_and_their_periods_have_errors():
    falling = [400 / 2**n for n in range(5)]
    assert claims.shorter_periods(*swept(falling), -0.7, 3).verdict == HOLDS
    assert claims.shorter_periods(*swept(falling[:2]), -0.7, 3).verdict == UNDECIDED
    assert claims.shorter_periods(*swept(falling[::-1]), -0.7, 3).verdict == FAILS
    near = [100, 99, 101, 98, 100]
    assert claims.shorter_periods(*swept(near, wobble=0.5), -0.7, 3).verdict == UNDECIDED


def long_run(middle: float, last: float, count: int = 15) -> tuple[pd.DataFrame, pd.DataFrame]:
    ends = np.linspace(100 / count, 100, count)
    own = [
        {
            "run": "run0",
            "end": end,
            "iterations": last if end > 200 / 3 else middle,
            "loss_onset": 2.0,
        }
        for end in ends
    ]
    return periods(*own), runs({"kind": "periodic", "epochs": 100})


def test_c6_compares_the_last_two_thirds():
    assert claims.consistent(*long_run(100, 129), 0.3, 15).verdict == HOLDS
    assert claims.consistent(*long_run(100, 131), 0.3, 15).verdict == FAILS
    assert claims.consistent(*long_run(100, 69), 0.3, 15).verdict == FAILS
    assert claims.consistent(*long_run(100, 100, 14), 0.3, 15).verdict == UNDECIDED


def minima(gain: float, seeds=(0, 1, 2), wobble: float = 0.1) -> pd.DataFrame:
    return periods(
        *(
            {
                "seed": seed,
                "period": period,
                "test_error_recomputed": 20 + wobble * seed * period - loss,
            }
            for seed in seeds
            for period, loss in ((1, 0), (2, gain), (3, gain / 2))
        )
    )


def test_c7_is_decided_over_seeds():
    assert claims.better_minima(minima(3.0)).verdict == HOLDS
    assert claims.better_minima(minima(-3.0)).verdict == FAILS
    assert claims.better_minima(minima(0.1)).verdict == UNDECIDED
    assert claims.better_minima(minima(3.0, seeds=(0,))).verdict == UNDECIDED
    one = minima(3.0)
    one = one[~((one["seed"] == 2) & (one["period"] > 1))]
    assert claims.better_minima(one).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("equilibrium", "whole", "ratio", "verdict"),
    [
        (1.0, 3, 1.0, HOLDS),
        (1.4, 3, 1.0, FAILS),
        (1.0, 3, 0.7, FAILS),
        (1.25, 3, 1.0, UNDECIDED),
        (1.0, 2, 1.0, UNDECIDED),
        (np.nan, 3, 1.0, UNDECIDED),
    ],
)
def test_c8_needs_an_equilibrium_and_whole_periods(equilibrium, whole, ratio, verdict):
    table = runs(
        *(
            {"kind": kind, "lr": 3.0, "step_ratio": level + off, "whole_periods": whole}
            for kind, level in (("equilibrium", equilibrium), ("periodic", ratio))
            for off in (-0.01, 0.0, 0.01)
        ),
        {"kind": "converging", "lr": 0.1, "step_ratio": np.nan},
    )
    table["seed"] = range(len(table))
    assert claims.equilibrium_steps(table, 0.8, 1.25, 3).verdict == verdict
    one = table[table["seed"] % 3 == 0]
    assert claims.equilibrium_steps(one, 0.8, 1.25, 3).verdict == UNDECIDED


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(100, 200, HOLDS), (100, 90, HOLDS), (101, 200, FAILS), (50, 89, FAILS)],
)
def test_c9_knows_when_a_jump_came_to_an_epoch(low, high, verdict):
    row = {"time": 100, "resolution": 10, "time_min": low, "time_max": high}
    assert claims.times_in_bounds(periods(row, row)).verdict == verdict
    assert claims.times_in_bounds(periods(row | {"time_min": np.nan})).verdict == UNDECIDED


VARIANTS = {"v1": "all parameters", "v4": "augmentation"}


def remaining(v1: int, v4: int | None = 0, decides: float = 1) -> str:
    rows = [{"family": "v1", "jumps": 0}, {"family": "v1", "jumps": v1}]
    rows += [] if v4 is None else [{"family": "v4", "jumps": v4}]
    return claims.remains(runs(*rows), VARIANTS, ["v4"], 2, decides).verdict


def test_c10_asks_each_variant_for_some_setting_with_two_jumps():
    assert remaining(2) == HOLDS
    assert remaining(1) == FAILS
    assert remaining(2, None) == HOLDS
    absent = claims.remains(runs({"family": "v4", "jumps": 5}), VARIANTS, [], 2, 1)
    assert absent.verdict == UNDECIDED


def test_c10_leaves_it_open_where_a_short_budget_shows_no_jump():
    assert remaining(1, decides=0) == UNDECIDED
    assert remaining(2, decides=0) == HOLDS


def test_without_runs_nothing_is_decided():
    none, no_jumps = EMPTY, jumps()
    no_periods = periods()
    findings = [
        claims.both_needed(none, no_jumps, "l", 2),
        claims.mechanism(no_periods, no_jumps, 0.9, 1.02, 0.9),
        claims.ordered_classes(none),
        claims.shorter_periods(none, no_periods, -0.7, 3),
        claims.consistent(no_periods, none, 0.3, 15),
        claims.better_minima(no_periods),
        claims.equilibrium_steps(none, 0.8, 1.25, 3),
        claims.times_in_bounds(no_periods),
        claims.remains(none, VARIANTS, [], 2, 1),
    ]
    assert {finding.verdict for finding in findings} == {UNDECIDED}
    assert {finding.reason for finding in findings} == {"not at this scale"}
