"""Worlds of known truth: what is flat in them, what they keep of a table, a predicate's shares."""

from __future__ import annotations

import large_lr_world
import numpy as np
import pandas as pd
import pytest
from refigure.claims import periodic_behavior, worlds
from refigure.claims.statistics import by_replicate, estimate
from refigure.claims.verdict import above
from refigure.claims.worlds import Redrawn, redraw, redrawn, shares
from refigure.graph.config import Config
from refigure.graph.lookups import ERROR_RATES, Graph
from refigure.report.error_rates import read_rates, sentence
from refigure.tables.pools import on_ladder


def table(seeds: int, gap: float, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """Two arms and three rates; arm b is better by `gap`."""
    rows = [
        {"seed": seed, "arm": arm, "rate": rate, "accuracy": 50 + rate + gap * (arm == "b")}
        for seed in range(seeds)
        for arm in "ab"
        for rate in (1.0, 2.0, 3.0)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(accuracy=frame["accuracy"] + noise * rng.standard_normal(len(frame)))


def better(runs: pd.DataFrame):
    """Arm b beats arm a at rate 2."""
    own = runs[runs["rate"] == 2.0]
    gain = by_replicate(own[own["arm"] == "b"], "accuracy") - by_replicate(
        own[own["arm"] == "a"], "accuracy"
    )
    return above(estimate(gain), 0, name="gain")


CELLS = ("arm", "rate")


def test_a_flat_axis_makes_no_difference_and_the_other_does():
    rng = np.random.default_rng(1)
    frame = table(40, gap=10, noise=0.5, rng=rng)
    drawn = redraw(frame, Redrawn(CELLS, ("accuracy",), flat=("arm",)), rng)
    means = drawn.groupby("arm")["accuracy"].mean()
    assert abs(means["a"] - means["b"]) < 0.5
    by_rate = drawn.groupby("rate")["accuracy"].mean()
    assert by_rate[3.0] - by_rate[1.0] == pytest.approx(2, abs=0.5)
    drawn = redraw(frame, Redrawn(CELLS, ("accuracy",)), rng)
    means = drawn.groupby("arm")["accuracy"].mean()
    assert means["b"] - means["a"] == pytest.approx(10, abs=0.5)


def test_noise_is_that_of_the_table_and_replicates_stay_paired():
    rng = np.random.default_rng(2)
    frame = table(200, gap=0, noise=0.5, rng=rng)
    common = pd.Series(3 * rng.standard_normal(200))
    frame["accuracy"] += frame["seed"].map(common)
    drawn = redraw(frame, Redrawn(CELLS, ("accuracy",)), rng)
    wide = drawn.pivot_table("accuracy", index="seed", columns=list(CELLS))
    assert wide.mean(axis=1).std() == pytest.approx(3, rel=0.2)
    assert wide.sub(wide.mean(axis=1), axis=0).std().mean() == pytest.approx(0.46, rel=0.2)


def test_logarithms_stay_positive_and_missing_values_stay_missing():
    rng = np.random.default_rng(3)
    frame = table(5, gap=0, noise=0.1, rng=rng)
    frame["accuracy"] = np.exp(frame["accuracy"] / 10)
    frame.loc[4, "accuracy"] = np.nan
    drawn = redraw(frame, Redrawn(CELLS, ("accuracy",), log=True), rng)
    assert np.isnan(drawn.loc[4, "accuracy"])
    assert (drawn["accuracy"].dropna() > 0).all()


def test_a_shift_moves_the_cells_that_it_names():
    rng = np.random.default_rng(4)
    frame = table(40, gap=0, noise=0.1, rng=rng)
    how = redrawn(
        {
            "cells": ["arm", "rate"],
            "columns": ["accuracy"],
            "shift": {"where": {"arm": ["b"]}, "by": 5.0},
        }
    )
    means = redraw(frame, how, rng).groupby("arm")["accuracy"].mean()
    assert means["b"] - means["a"] == pytest.approx(5, abs=0.2)


def test_a_sound_predicate_is_seldom_wrong_and_a_sign_is_wrong_half_the_time():
    rng = np.random.default_rng(5)
    tables = {"runs": table(5, gap=3, noise=1, rng=rng)}
    flat = {"runs": {"cells": list(CELLS), "flat": ["arm"], "columns": ["accuracy"]}}
    same = {"runs": {"cells": list(CELLS), "columns": ["accuracy"]}}
    assert shares(better, flat, tables, {}, 400)["holds"] < 0.06
    there = shares(better, same, tables, {}, 400)
    assert there["holds"] > 0.5 and there["fails"] < 0.05

    def sign(runs: pd.DataFrame):
        found = better(runs)
        return above(worlds_exact(found), 0, name="gain")

    def worlds_exact(found):
        from refigure.claims.verdict import Exact

        return Exact(found.numbers["gain"].value)

    assert 0.35 < shares(sign, flat, tables, {}, 400)["holds"] < 0.65


def test_rows_that_cells_do_not_tell_apart_and_unknown_columns_are_refused():
    rng = np.random.default_rng(6)
    frame = table(3, gap=0, noise=1, rng=rng)
    with pytest.raises(ValueError, match="do not name one row"):
        redraw(frame, Redrawn(("arm",), ("accuracy",)), rng)
    with pytest.raises(ValueError, match="no column loss"):
        redraw(frame, Redrawn(CELLS, ("loss",)), rng)


def test_groups_have_variances_of_their_own_and_other_rows_stay():
    rng = np.random.default_rng(7)
    frame = table(60, gap=0, noise=0.1, rng=rng)
    loud = frame["arm"] == "b"
    frame.loc[loud, "accuracy"] += 5 * rng.standard_normal(int(loud.sum()))
    how = Redrawn(CELLS, ("accuracy",), flat=("arm",), by=("arm",))
    spread = redraw(frame, how, rng).groupby(list(CELLS))["accuracy"].std()
    assert spread["a"].max() < 0.2 and spread["b"].min() > 3
    quiet = redraw(frame, Redrawn(CELLS, ("accuracy",), where={"arm": "b"}), rng)
    assert (quiet["accuracy"] == frame["accuracy"]).eq(frame["arm"] == "a").all()


def test_replicates_may_be_periods_and_counts_stay_whole():
    rng = np.random.default_rng(8)
    rows = [(run, period, 3.0 + run) for run in (0, 5) for period in range(1, 60)]
    frame = pd.DataFrame(rows, columns=["run", "period", "length"])
    frame["length"] += rng.integers(0, 3, len(frame))
    how = {"cells": ["run"], "columns": ["length"], "replicates": ["period"], "whole": True}
    drawn = redraw(frame, redrawn(how), rng)
    assert (drawn["length"] == drawn["length"].round()).all()
    means = drawn.groupby("run")["length"].mean()
    assert means[5] - means[0] == pytest.approx(5, abs=0.6)
    flat = redraw(frame, redrawn(how | {"flat": ["run"]}), rng).groupby("run")["length"].mean()
    assert flat[5] - flat[0] == pytest.approx(0, abs=0.6)


def test_a_bootstrap_moves_as_a_whole_by_its_own_error():
    rng = np.random.default_rng(9)
    rows = [
        (m, r, 10.0 * m + (rng.standard_normal() if r else 0)) for m in (1, 2) for r in range(200)
    ]
    frame = pd.DataFrame(rows, columns=["method", "resample", "mae"])
    how = redrawn({"cells": ["method"], "columns": ["mae"], "resamples": "resample"})
    seen = []
    for _ in range(200):
        drawn = redraw(frame, how, rng)
        first = drawn[drawn["resample"] == 0].set_index("method")["mae"]
        seen.append(first)
        apart = drawn["mae"] - frame["mae"]
        assert apart.groupby(drawn["method"]).std().max() < 1e-9
    seen = pd.DataFrame(seen)
    assert seen.mean().tolist() == pytest.approx([10, 20], abs=0.3)
    assert seen.std().tolist() == pytest.approx([1, 1], abs=0.2)


def test_labels_change_places_within_a_replicate():
    rng = np.random.default_rng(10)
    rows = [(seed, rate, 1 + rate // 3, 10 * seed + rate) for seed in range(3) for rate in range(9)]
    frame = pd.DataFrame(rows, columns=["seed", "rate", "regime", "mark"])
    how = {"cells": ["rate"], "columns": ["regime", "mark"], "flat": ["rate"], "permuted": True}
    drawn = redraw(frame, redrawn(how), rng)
    assert not drawn["regime"].equals(frame["regime"])
    assert (drawn["mark"] // 10 == drawn["seed"]).all()
    assert (drawn["regime"] == 1 + drawn["mark"] % 10 // 3).all()


def test_a_world_may_change_the_tables_of_the_claim(monkeypatch):
    rng = np.random.default_rng(11)
    tables = {"runs": table(3, gap=0, noise=1, rng=rng), "other": pd.DataFrame({"a": [1]})}
    monkeypatch.setattr(worlds, "made", lambda name: lambda own, rng: {"runs": own["runs"][:2]})
    drawn = worlds.draw({"changed": "any.name"}, tables, rng)
    assert len(drawn["runs"]) == 2 and drawn["other"] is tables["other"]


def test_a_world_of_large_rates_has_the_levels_of_the_papers_and_the_size_of_the_tables():
    rng = np.random.default_rng(12)
    tables = large_lr_world.world()
    drawn = worlds.draw({"changed": "large_lr.obeying"}, tables, rng)
    assert all(len(drawn[name]) == len(frame) for name, frame in tables.items())
    tuned = drawn["finetuned"].pivot_table("test_accuracy", index="regime", columns="flr")
    assert (tuned.loc["2A"] - 81).abs().max() < 1 and tuned.drop("2A").max().max() < 79
    lines = drawn["geometry"].groupby("regime")["train_barrier"].mean()
    assert lines["2A"] < 1 < 10 < lines["3"]


def test_splits_are_alike_in_one_world_and_the_best_number_grows_in_the_other():
    rng = np.random.default_rng(14)
    rows = [
        {"setup": "digits", "k": 10 + j, "j": float(j), "part": "ensemble", "n": n}
        | {"number": number, "accuracy": 90.0, "cnll": 0.3, "cnll_after": 0.3}
        for j in range(-3, 3)
        for n in (1, 2, 4, 8)
        for number in range(6)
    ]
    frame = pd.DataFrame(rows)
    for name, spread in (("accuracy", 0.1), ("cnll", 0.003), ("cnll_after", 0.003)):
        frame[name] += spread * rng.standard_normal(len(frame))
    tables, best = {"ensembles": frame}, {}
    for name in ("indifferent", "growing"):
        drawn = worlds.draw({"changed": f"pools.{name}"}, tables, rng)
        own = on_ladder(drawn["ensembles"])
        means = own.groupby(["budget", "n"])["accuracy"].mean()
        best[name] = means.groupby("budget").idxmax().map(lambda cell: cell[1])
        apart = means.groupby("budget").agg(lambda one: one.max() - one.min())
        assert (apart[0] > 1) == (name == "growing")
    assert best["growing"][2] > best["growing"][0] >= best["growing"][-2] == 1


@pytest.mark.parametrize(("world", "verdict"), [("without", "fails"), ("with", "holds")])
def test_made_up_losses_pass_through_the_rule_of_jumps(world, verdict):
    runs = pd.DataFrame({"run": ["a", "b", "c"], "lr": 1.0, "wd": 0.01, "seed": 0})
    runs = runs.assign(setting="", epochs=160.0, floor=0.02, jumps=0, family="l")
    drawn = worlds.draw(
        {"changed": f"periodic_behavior.{world}_periods"}, {"runs": runs}, np.random.default_rng(13)
    )
    assert periodic_behavior.periodic(drawn["runs"], 3).verdict == verdict


def test_every_claim_has_measured_error_rates(committed):
    """At `demo`, by `benchmarks/verdicts.py --write`; a claim without worlds says why."""
    rates = read_rates(committed / ERROR_RATES)["demo"]
    graph = Graph(Config(committed), "demo")
    for paper in graph.built:
        for name in graph.claims(paper):
            found = rates[paper][name]
            assert set(worlds.KINDS) <= set(found), f"{paper} {name}"
            for kind in worlds.KINDS:
                if isinstance(found[kind], dict):
                    wrong = found[kind][worlds.WRONG[kind]]
                    told = "more than 5 %" in graph.claim(paper, name).conditions
                    assert wrong <= worlds.BAR or told, f"{paper} {name}: {wrong} of {kind} worlds"


def test_error_rates_are_said_in_a_sentence():
    shares = {"holds": 0.5, "fails": 0.01, "undecided": 0.49}
    assert sentence({"null": {**shares, "holds": 0.02}, "effect": shares, "draws": 200}) == (
        "of 200 worlds without the effect it holds in 2.0 %; of 200 with it, it holds in 50.0 % and"
        " fails in 1.0 %"
    )
    assert sentence({"null": "one seed", "effect": "one seed"}) == "no worlds are drawn: one seed"
    assert sentence({"null": "a bound", "effect": shares, "draws": 9}).startswith(
        "no world without the effect is drawn: a bound; of 9 with it"
    )


def test_no_rate_is_better_where_all_are_alike():
    tables = large_lr_world.world()
    drawn = worlds.draw({"changed": "large_lr.all_alike"}, tables, np.random.default_rng(17))
    for name, cells in (("finetuned", ["plr", "flr"]), ("averaged", ["plr", "count"])):
        assert len(drawn[name]) == len(tables[name])
        level = drawn[name].groupby(cells)["test_accuracy"].mean()
        assert (level - level.mean()).abs().max() < 1 < tables[name]["test_accuracy"].std()
    alone = drawn["pretrained"]["test_accuracy"].mean()
    assert abs(alone - drawn["finetuned"]["test_accuracy"].mean()) < 1


def test_every_world_of_the_configuration_can_be_read(committed):
    graph = Graph(Config(committed), "demo")
    for paper in graph.built:
        for name, claim in graph.claims(paper).items():
            assert set(claim.worlds) <= set(worlds.KINDS), f"{paper} {name}"
            for kind, world in claim.worlds.items():
                if how := world.keys() & {"made", "changed"}:
                    assert callable(worlds.made(world[how.pop()])), f"{paper} {name} {kind}"
                elif "none" not in world:
                    assert set(world) <= set(claim.tables), f"{paper} {name} {kind}"
                    for how in world.values():
                        for one in how if isinstance(how, list) else [how]:
                            assert redrawn(one), f"{paper} {name} {kind}"
