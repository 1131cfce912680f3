"""Worlds of known truth: what is flat in them, what they keep of a table, a predicate's shares."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from refigure.claims import worlds
from refigure.claims.statistics import by_replicate, estimate
from refigure.claims.verdict import above
from refigure.claims.worlds import Redrawn, redraw, redrawn, shares
from refigure.graph.config import Config
from refigure.graph.lookups import Graph


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


def test_every_world_of_the_configuration_can_be_read(committed):
    graph = Graph(Config(committed), "demo")
    for paper in graph.built:
        for name, claim in graph.claims(paper).items():
            assert set(claim.worlds) <= set(worlds.KINDS), f"{paper} {name}"
            for kind, world in claim.worlds.items():
                if "made" in world:
                    assert callable(worlds.made(world["made"])), f"{paper} {name} {kind}"
                elif "none" not in world:
                    assert set(world) <= set(claim.tables), f"{paper} {name} {kind}"
                    assert all(map(redrawn, world.values())), f"{paper} {name} {kind}"
