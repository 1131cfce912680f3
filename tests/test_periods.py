"""Periods of runs with weight decay, on made-up series whose jumps are known; their minima."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from engine import images, spec
from refigure.measures import minima
from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics
from refigure.tables import decay
from refigure.training.initial import initial_values
from refigure.training.networks import build_model

LR, WD, AN_EPOCH = 0.5, 0.02, 10
PRODUCT = LR * WD
GROWTH = (1 - PRODUCT) ** -2
"""Of the ELR, each step without a gradient."""


def saw(teeth: int = 4, length: int = 20, seed: int = 0, **columns) -> pd.DataFrame:
    """A run whose loss jumps to 2 every `length` epochs, at whose onset the ELR falls to 1e-3.

    Between two jumps the loss falls from 2 to 1e-3 within five epochs and stays, and the ELR grows
    by weight decay alone.
    """
    epochs = teeth * length
    epoch = np.arange(epochs + 1)
    since = epoch % length
    elr = 1e-3 * GROWTH ** (AN_EPOCH * since)
    rows = {
        "train_loss": np.maximum(2 * 0.2**since, 1e-3),
        "elr": elr,
        "weight_norm": np.sqrt(LR / elr),
        "effective_gradient_norm": np.where(since < 5, 30.0, 3.0),
        "effective_gradient_rms": np.sqrt(2 * PRODUCT) / elr,
        "steps_rms": 2 * np.sqrt(1 - (1 - PRODUCT) ** 2),
        "test_error": 40.0 - epoch // length,
        "test_error_recomputed": 20.0 - epoch // length,
    } | columns
    keys = {"experiment": "made_up", "run": f"saw {seed}", "lr": LR, "wd": WD, "seed": seed}
    return pd.DataFrame(rows).assign(**keys, epoch=epoch, step=AN_EPOCH * epoch)


def test_every_tooth_is_a_jump_with_its_phases():
    run = saw()
    run.loc[run["epoch"] == 21, "train_loss"] = 3.0  # the peak, an epoch after the onset
    run.loc[run["epoch"].isin([22, 23]), "weight_norm"] = [40.0, 50.0]
    found = decay.jumps(floor=0.02, l=run)
    assert found["onset"].tolist() == [20, 40, 60, 80]
    first = found.iloc[0]
    assert (first["peak"], first["norm_max"], first["loss_peak"]) == (21, 23, 3.0)
    assert (first["weight_norm_max"], first["loss_onset"]) == (50.0, 2.0)
    assert first["weight_norm_before"] == run["weight_norm"][19]
    assert first["weight_norm_after"] == run["weight_norm"][22]  # a tenth of 20 epochs later
    assert found.iloc[-1]["weight_norm_after"] == run["weight_norm"][80]
    assert found["early"].tolist() == [False] * 4


def test_the_first_period_runs_from_the_start_and_the_last_is_not_whole():
    found = decay.periods(floor=0.02, l=saw().query("epoch < 75"))
    assert found[["start", "end"]].to_numpy().tolist() == [[0, 20], [20, 40], [40, 60]]
    assert found["iterations"].tolist() == [200] * 3
    assert found["test_error_recomputed"].tolist() == [20, 19, 18]
    assert found["test_error"].tolist() == [40, 39, 38]
    assert found["calm_start"].tolist() == [10, 30, 50]
    assert found["time"].tolist() == [100] * 3
    assert found["resolution"].tolist() == [10] * 3


def test_in_the_calm_half_the_elr_grows_as_without_a_gradient():
    found = decay.periods(floor=0.02, l=saw())
    expected = -math.log1p(-PRODUCT) / PRODUCT
    assert found["growth"].to_numpy() == pytest.approx([expected] * 4, rel=1e-9)
    slower = saw()
    slower["elr"] = 1e-3 * GROWTH ** (0.8 * AN_EPOCH * (slower["epoch"] % 20))
    found = decay.periods(floor=0.02, l=slower)
    assert found["growth"].to_numpy() == pytest.approx([0.8 * expected] * 4, rel=1e-9)


def test_a_run_without_a_gradient_or_without_decay_has_no_bounds():
    found = decay.periods(floor=0.02, l=saw(effective_gradient_norm=np.nan))
    assert found[["time_min", "time_max"]].isna().all(axis=None)
    assert found["growth"].notna().all()
    found = decay.periods(floor=0.02, l=saw().assign(wd=0.0))
    assert found[["time_min", "time_max", "growth"]].isna().all(axis=None)
    assert len(decay.periods(floor=0.02, l=saw().drop(columns="effective_gradient_norm"))) == 4


@pytest.mark.parametrize("product", [1e-4, 1e-2])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_simulated_run_turns_by_delta_within_the_bounds(product, share):
    """Section 6.2's recursion with gradients between two values, up to the first delta-jump."""
    source = np.random.default_rng(0)
    low, high, elr, delta = 1.0, 2.0, 1e-3 * math.sqrt(product), share * product
    fewest, most = decay.time_to_jump(elr, low, high, product, delta)
    assert 0 < fewest < most
    for _ in range(20):
        now, steps = elr, 0
        while True:
            size = now * source.uniform(low, high)
            turned = 1 - (1 - product) / math.sqrt((1 - product) ** 2 + size**2)
            if turned > delta:
                break
            now /= (1 - product) ** 2 + size**2
            steps += 1
        assert fewest <= steps <= most


def test_the_bounds_are_the_specifications():
    product, delta, elr, gradient = 1e-2, 5e-3, 1e-4, 7.0
    turn = (1 - product) * math.sqrt(1 / (1 - delta) ** 2 - 1)
    fewest, most = decay.time_to_jump(elr, gradient, gradient, product)
    ratio = math.log(turn / (gradient * elr))
    assert fewest == pytest.approx(ratio / (-2 * math.log(1 - product)))
    assert most == pytest.approx(ratio / (2 * math.log((1 - delta) / (1 - product))) + 1)
    assert decay.time_to_jump(1.0, 1.0, 100.0, product) == (0.0, 0.0)
    assert np.isnan(decay.time_to_jump(1.0, 1.0, 1.0, 0.0)).all()


def test_a_period_has_the_bound_with_the_gradient_of_the_jump_too():
    run = saw()
    run.loc[run["epoch"] % 20 == 0, "effective_gradient_norm"] = 1e3
    found = decay.periods(floor=0.02, l=run)
    assert (found["time_min_through"] < found["time_min"]).all()


def test_runs_are_summed_up():
    found = decay.runs(floor=0.02, l=saw(6)).iloc[0]
    assert (found["kind"], found["jumps"], found["late_jumps"]) == ("periodic", 6, 6)
    assert (found["mean_period"], found["period_variation"]) == (200, 0)
    assert (found["last_third_jumps"], found["whole_periods"]) == (2, 5)
    assert found["loss_at_ends"] == pytest.approx(1e-3)
    assert found["test_error_recomputed_at_ends"] == pytest.approx(17.5)
    assert found["elr_before_min"] == pytest.approx(1e-3 * GROWTH ** (AN_EPOCH * 19))


def test_the_step_ratio_of_a_periodic_run_is_over_its_whole_periods():
    run = saw()
    found = decay.runs(floor=0.02, l=run).iloc[0]
    level = math.sqrt(1 - (1 - PRODUCT) ** 2)
    assert found["step_ratio_sampled"] == pytest.approx(math.sqrt(2 * PRODUCT) / level)
    assert found["step_ratio"] == pytest.approx(2)
    run.loc[run["epoch"] <= 20, ["effective_gradient_rms", "steps_rms"]] *= 100  # before the first
    again = decay.runs(floor=0.02, l=run).iloc[0]
    assert again["step_ratio_sampled"] == found["step_ratio_sampled"]


def test_the_step_ratio_of_an_equilibrium_is_over_its_trailing_half():
    run = saw(train_loss=0.5, steps_rms=np.r_[np.full(41, 9.0), np.full(40, 0.1)])
    found = decay.runs(floor=0.02, l=run).iloc[0]
    assert (found["kind"], found["jumps"]) == ("equilibrium", 0)
    assert found["step_ratio"] == pytest.approx(0.1 / math.sqrt(1 - (1 - PRODUCT) ** 2))


def test_a_converging_run_has_no_step_ratio():
    found = decay.runs(floor=0.02, l=saw(1).query("epoch < 20")).iloc[0]
    assert found["kind"] == "converging"
    assert np.isnan(found["step_ratio_sampled"]) and np.isnan(found["mean_period"])


@pytest.mark.parametrize("level", [0.05, 0.5, 2.0])
def test_noise_above_the_floor_is_no_period_whatever_its_level(level):
    source = np.random.default_rng(1)
    losses = level * np.exp(source.normal(0, 0.5, 500)).clip(0.5)
    run = saw(25, train_loss=np.r_[losses, level])
    assert not len(decay.periods(floor=0.02, l=run))
    assert decay.runs(floor=0.02, l=run)["jumps"].item() == 0


def test_a_family_may_have_a_floor_of_its_own_and_is_named():
    run = saw(train_loss=np.where(np.arange(81) % 20 == 0, 2.0, 0.03))
    found = decay.runs(floor=0.02, floors={"b": 0.05}, a=run, b=run.assign(run="other", k=4.0))
    assert found["jumps"].tolist() == [0, 4]
    assert found["floor"].tolist() == [0.02, 0.05]
    assert found["family"].tolist() == ["a", "b"]
    assert found["setting"].tolist() == ["", "k=4"]


def test_looks_within_an_epoch_are_left_to_the_zoom():
    run = saw()
    within = run.assign(epoch=run["epoch"] + 0.5, step=run["step"] + 5, train_loss=9.0)
    both = pd.concat([run, within]).sort_values("step")
    assert decay.jumps(floor=0.02, l=both)["onset"].tolist() == [20, 40, 60, 80]


def test_sharpness_before_jumps_is_that_of_the_same_jump():
    jumps = decay.jumps(floor=0.02, l=saw(), wds=saw().assign(run="other"))
    sharp = {"lr": LR, "wd": WD, "seed": 0, "images": 128}
    sharpness = pd.DataFrame([sharp | {"effective_sharpness": s} for s in (100.0, 200.0)])
    found = decay.brinks(sharpness, jumps)
    assert found["jump"].tolist() == [1, 2]
    before = 1e-3 * GROWTH ** (AN_EPOCH * 19)
    assert found["elr_sharpness"].to_numpy() == pytest.approx([100 * before, 200 * before])
    assert list(decay.brinks(pd.DataFrame(), jumps)) == list(decay.BRINKS)


# ---------------------------------------------------------------------- minima


def member(factor: float = 1.0, seed: int = 0) -> Member:
    """A network whose convolutions are scaled by a factor, which leaves what it says as it is."""
    from refigure.graph.catalogue import import_entry

    data, chosen = images(), spec(seed=seed)
    model = build_model(chosen, data)
    values = initial_values(model, chosen)
    parameters = {
        name: (value * factor if model.groups[name] == "invariant" else value)[None]
        for name, value in values.items()
    }
    task = import_entry("task", "classification").build(model, data, [chosen], ["0"])
    moments = Statistics.fresh(model.normalised, 1).running
    scaled = {
        layer: (factor * mean, factor**2 * variance) for layer, (mean, variance) in moments.items()
    }
    run = SimpleNamespace(spec=chosen)
    return Member(run, model, task, parameters, Statistics(scaled, "running"))


def test_a_rescaled_network_is_the_same_minimum_and_another_is_not():
    # Untrained networks mostly say one class of every image; that of seed 10 does not.
    rows = pd.DataFrame(
        minima.measure(Group({}, {"minima": [member(), member(3.0), member(seed=10)]}))
    ).set_index(["first", "second"])
    assert len(rows) == 6
    assert rows.loc[(1, 2), "cosine"] == pytest.approx(1, abs=1e-6)
    assert rows.loc[(1, 2), "disagreement"] == 0
    assert abs(rows.loc[(1, 3), "cosine"]) < 0.2
    assert rows.loc[(1, 3), "disagreement"] > 0
    alone = rows[rows["test_error"].notna()]
    assert list(alone.index) == [(1, 1), (2, 2), (3, 3)]
    assert alone["ensemble_error"].iloc[0] == alone["test_error"].iloc[0]
    assert alone["ensemble_error"].iloc[1] == alone["test_error"].iloc[0]


def test_the_ensemble_is_the_mean_softmax_of_the_networks_up_to_it():
    members = [member(), member(seed=10)]
    rows = minima.measure(Group({}, {"minima": members}))
    softmax = [
        one.model.forward(one.parameters, one.task.data.test_images[None], one.statistics)[
            0
        ].softmax(-1)
        for one in members
    ]
    wrong = (softmax[0] + softmax[1]).argmax(-1) != members[0].task.data.test_labels
    [last] = [row for row in rows if row["first"] == row["second"] == 2]
    assert last["ensemble_error"] == pytest.approx(100 * float(wrong.float().mean()))


def test_errors_with_re_estimated_moments_do_not_depend_on_the_running_ones():
    """Running moments that lag make a wrong test error; those over the training set do not."""
    kept, lagging = member(seed=10), member(seed=10)
    lagging.statistics.running.update(
        {
            layer: (mean + 5, 100 * variance)
            for layer, (mean, variance) in lagging.statistics.running.items()
        }
    )
    right, wrong = (minima.measure(Group({}, {"minima": [one]}))[0] for one in (kept, lagging))
    for name in ("test_error_recomputed", "ensemble_error_recomputed"):
        assert right[name] == wrong[name]
    assert right["test_error"] != wrong["test_error"]
