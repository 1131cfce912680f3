"""Tables of the large-learning-rate papers, against numbers worked out by hand."""

from __future__ import annotations

import large_lr_world
import numpy as np
import pandas as pd
import pytest
from refigure.tables import large_lr


def history(run: str, plr: float, epochs: int = 10, seed: int = 0, **columns) -> pd.DataFrame:
    """One run, measured every epoch; columns are lists by epoch or constants."""
    base = {"train_loss": 1.0, "train_error": 50.0, "test_error": 40.0, "chance": 90.0}
    frame = pd.DataFrame({"run": run, "plr": plr, "seed": seed, "epoch": range(epochs + 1)})
    frame = frame.assign(setup="net", title="a net")
    return frame.assign(step=frame["epoch"] * 7, **{**base, **columns})


def test_pre_training_is_read_at_its_epoch_and_over_the_last_ones():
    errors = [90, 80, 60, 50, 40, 30, 20, 10, 0, 0, 0]
    run = history("a", 0.1, test_error=errors, train_loss=[2.0, *[0.5] * 5, 0.005, *[1.0] * 4])
    row = large_lr.pretrained(run, 6, 3, converged_loss=0.01).iloc[0]
    assert row["test_accuracy"] == 80
    assert row["test_accuracy_mean"] == pytest.approx(70)  # epochs 4 to 6
    assert row["test_accuracy_std"] == pytest.approx(np.std([60, 70, 80]))
    assert row["converged"] and row["chance"] == 10
    by_accuracy = large_lr.pretrained(run, 6, 3, converged_accuracy=97).iloc[0]
    assert not by_accuracy["converged"]  # 50 % of the training set


def test_a_shorter_run_is_read_at_its_end_and_one_that_was_lost_has_nothing():
    short = history("a", 0.1, epochs=2, test_error=[90, 50, 20])
    lost = history("b", 9.0, test_error=[90.0, *[np.nan] * 10], train_loss=np.nan)
    rows = large_lr.pretrained(pd.concat([short, lost]), 6, 2, converged_loss=0.01)
    assert rows["test_accuracy"].iloc[0] == 80
    assert np.isnan(rows["test_accuracy"].iloc[1]) and not rows["converged"].iloc[1]


def test_one_of_two_bounds_of_convergence_is_needed():
    for bounds in ({}, {"converged_loss": 0.1, "converged_accuracy": 97}):
        with pytest.raises(ValueError, match="one of converged_loss and converged_accuracy"):
            large_lr.pretrained(pd.DataFrame(), 6, 3, **bounds)


def test_fine_tuning_is_read_at_the_last_epoch():
    run = history("a", 0.1, test_error=list(range(30, 19, -1))).assign(flr=0.01)
    row = large_lr.finetuned(run).iloc[0]
    assert (row["flr"], row["test_accuracy"]) == (0.01, 80)


def test_test_accuracy_is_by_the_moments_that_are_asked_for():
    errors = [90.0, *[np.nan] * 5, 20.0]
    run = history("a", 0.1, 6, test_error=60.0, test_error_recomputed=errors)
    for moments, accuracy in (("recomputed", 80), ("running", 40)):
        row = large_lr.pretrained(run, 6, 3, converged_loss=0.01, moments=moments).iloc[0]
        assert (row["test_accuracy"], row["running_test_accuracy"]) == (accuracy, 40)
        row = large_lr.finetuned(run.assign(flr=0.01), moments).iloc[0]
        assert (row["test_accuracy"], row["running_test_accuracy"]) == (accuracy, 40)
    # Without batch norm there are no others.
    run = run.drop(columns="test_error_recomputed")
    assert large_lr.finetuned(run.assign(flr=0.01))["test_accuracy"].item() == 40


def test_data_sets_and_titles_are_named_and_empty_where_there_are_none():
    runs = pd.concat([history("a", 0.1).assign(data="second"), history("b", 0.1)])
    rows = large_lr.pretrained(runs, 6, 3, converged_loss=0.01)
    assert rows["data"].tolist() == ["second", ""] and set(rows["title"]) == {"a net"}


def grid(converged: dict[float, bool], accuracy: dict[float, float], tuned: dict[float, float]):
    """Pre-training and fine-tuning of one seed at some PLRs."""
    alone = pd.DataFrame(
        {
            "setup": "net",
            "title": "a net",
            "plr": list(converged),
            "data": "",
            "seed": 0,
            "converged": list(converged.values()),
            "test_accuracy": [accuracy[plr] for plr in converged],
            "test_accuracy_mean": [accuracy[plr] for plr in converged],
            "chance": 10.0,
        }
    )
    after = pd.DataFrame({"plr": list(tuned), "test_accuracy": list(tuned.values())})
    return alone, after.assign(setup="net", flr=0.1, data="", seed=0)


CONVERGED = {1: False, 2: True, 3: True, 4: False, 5: False, 6: False, 7: False, 8: False}
ACCURACY = {1: 60.0, 2: 70.0, 3: 80.0, 4: 75.0, 5: 60.0, 6: 30.0, 7: 11.0, 8: 10.0}
TUNED = {1: 60.0, 2: 70.0, 3: 80.0, 4: 82.0, 5: 80.0, 6: 79.0, 7: 85.0, 8: 85.0}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (3, 5, 7)),
        ({"converged": {4: True, 5: True}}, (5, np.nan, 7)),  # 6 is worse than 80
        ({"converged": {5: True}}, (3, 5, 7)),  # beyond a gap it does not count
        ({"converged": {2: False, 3: False}}, (np.nan, np.nan, 7)),
        ({"accuracy": {8: 13.0}}, (3, 5, np.nan)),  # the last is no guess: no regime 3
        ({"accuracy": {5: 11.0}}, (3, 5, 7)),  # a guess between others does not count
        ({"tuned": {4: 79.0}}, (3, np.nan, 7)),  # 2A is empty though 5 would do
    ],
)
def test_borders_follow_the_rule_of_the_specification(changes, expected):
    parts = {"converged": CONVERGED, "accuracy": ACCURACY, "tuned": TUNED}
    parts = {name: {**part, **changes.get(name, {})} for name, part in parts.items()}
    row = large_lr.bounds(*grid(**parts)).iloc[0]
    found = tuple(row[name] for name in ("eta12", "eta2AB", "eta23"))
    np.testing.assert_array_equal(found, expected)


def test_all_seeds_must_converge_and_the_smallest_fine_tuning_rate_decides():
    alone, tuned = grid(CONVERGED, ACCURACY, TUNED)
    other = alone.assign(seed=1, converged=alone["converged"] & (alone["plr"] < 3))
    assert large_lr.bounds(pd.concat([alone, other]), tuned)["eta12"].item() == 2
    larger = tuned.assign(flr=0.5, test_accuracy=99.0)
    assert large_lr.bounds(alone, pd.concat([tuned, larger]))["eta2AB"].item() == 5


def test_what_the_paper_draws_stands_beside_what_is_found():
    row = large_lr.bounds(*grid(CONVERGED, ACCURACY, TUNED), drawn={"net": {"eta12": 4.0}}).iloc[0]
    assert (row["eta12"], row["drawn_eta12"]) == (3, 4) and np.isnan(row["drawn_eta23"])


def test_each_learning_rate_has_a_regime():
    plr = pd.Series([1.0, 3.0, 4.0, 6.0, 7.0])
    edges = {"eta12": 3.0, "eta2AB": 5.0, "eta23": 7.0}
    assert large_lr.regime(plr, edges).tolist() == ["1", "1", "2A", "2B", "3"]
    without = {"eta12": 3.0, "eta2AB": np.nan, "eta23": np.nan}
    assert large_lr.regime(plr, without).tolist() == ["1", "1", "2B", "2B", "2B"]
    assert set(large_lr.regime(plr, {**edges, "eta12": np.nan})) == {""}


def test_the_summary_has_the_optimum_its_width_and_its_gains():
    world = large_lr_world.world()
    names = ("pretrained", "finetuned", "averaged", "bounds")
    row = large_lr.summary(*(world[name] for name in names)).iloc[0]
    assert (row["eta12"], row["eta2AB"], row["eta23"]) == (1e-2, 3e-2, 3e-1)
    assert (row["argmax_ft"], row["argmax_swa"]) == (3e-2, 3e-2)
    assert row["width"] == pytest.approx(np.log10(3e-2 / 2e-2))
    steps = np.diff(np.log10(list(large_lr_world.REGIME)))
    assert row["grid_step"] == pytest.approx(np.median(steps))
    assert row["position"] == pytest.approx(np.log10(3))
    tuned, alone = world["finetuned"], world["pretrained"]
    best = tuned[tuned["plr"] == 3e-2].groupby("seed")["test_accuracy"].mean()
    small = {
        "alone": alone[alone["plr"] == 1e-2].set_index("seed")["test_accuracy"],
        "low": tuned.query("plr == 0.01 and flr == 0.001").set_index("seed")["test_accuracy"],
        "high": tuned.query("plr == 0.01 and flr == 0.01").set_index("seed")["test_accuracy"],
    }
    r1 = max(small.values(), key=lambda values: values.mean())
    assert row["best_regime_1"] == pytest.approx(r1.mean())
    assert row["gain_ft"] == pytest.approx((best - r1).mean())
    assert row["gain_ft_se"] == pytest.approx((best - r1).std() / 2)


def test_sharpness_is_read_where_the_loss_is_crossed_between_two_epochs():
    loss = [2.0, 1.0, 0.5, 0.2, 0.1, 0.05]
    norm = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    errors = [90.0, 50.0, 40.0, 30.0, 25.0, 20.0]
    deep = history("a", 0.01, 5, train_loss=loss, test_error=errors).assign(
        effective_gradient_norm=norm
    )
    tuned = deep.assign(run="b", plr=0.1, flr=0.01)
    shallow = tuned.assign(run="c", train_loss=[2, 1, 0.9, 0.8, 0.7, 0.6])
    left_out = tuned.assign(run="d", plr=9.0)  # from regime 3
    bounds = pd.DataFrame({"setup": ["net"], "eta12": [0.05], "eta2AB": [0.5], "eta23": [5.0]})
    rows = large_lr.sharpness(deep, pd.concat([tuned, shallow, left_out]), bounds, loss=0.4)
    # A third of the way from the epoch of loss 0.5 to that of 0.2.
    read = rows[["epoch", "sharpness", "test_error"]].to_numpy(float)
    expected = [2 + 1 / 3, 7 - 1 / 3, 40 - 10 / 3]
    np.testing.assert_allclose(read, [expected, expected, [np.nan] * 3])
    assert rows["regime"].tolist() == ["1", "2A", "2A"]


def test_two_stages_are_told_apart_by_where_they_were_pre_trained():
    def tuned(run, plr, error):
        return history(run, plr, 4, test_error=error).assign(flr=0.01)

    once = pd.concat([tuned("a", 0.5, 30), tuned("b", 0.1, 20), tuned("c", 0.3, 99)])
    scratch = history("e", np.nan, 8, test_error=list(range(50, 41, -1))).assign(flr=0.01)
    rows = large_lr.two_stages(once, tuned("d", 0.5, 21), scratch, 0.5, 0.1, scratch_epochs=6)
    assert rows["plr"].tolist()[:3] == [0.5, 0.1, 0.1] and np.isnan(rows["plr"].iloc[3])
    found = rows.set_index("start")["test_accuracy"].to_dict()
    assert found == {"2B": 70, "2B, 2A": 79, "2A": 80, "none": 56}
