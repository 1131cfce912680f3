"""The predicates of both large-learning-rate papers, on a world that obeys and on worlds that do
not."""

from __future__ import annotations

from pathlib import Path

import large_lr_world
import numpy as np
import pandas as pd
import pytest
import yaml
from refigure.claims.large_lr import by_setup
from refigure.claims.large_lr import practice as claims
from refigure.claims.verdict import threshold_at
from refigure.graph.lookups import function_of
from refigure.tables import large_lr

ROOT = Path(__file__).parents[1]
PAPERS = {
    slug: yaml.safe_load((ROOT / f"config/papers/{slug}.yaml").read_text(encoding="utf-8"))
    for slug in ("where-large-lrs", "how-large-lrs")
}
MINE = {
    slug: [name for name, claim in paper["claims"].items() if "large_lr" in claim["decide"]]
    for slug, paper in PAPERS.items()
}
PRACTICE = ("practical_c10", "practical_c100", "vit_c10", "vit_c100")


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    """The world, with the tables of single figures."""
    return large_lr_world.world() | {
        "times": large_lr_world.times(),
        "two_stage": large_lr_world.two_stage(),
        "norms": large_lr_world.norms(),
        "features": large_lr_world.features(),
        "sharpness": large_lr_world.sharpness(),
    }


def decide(slug: str, name: str, tables: dict[str, pd.DataFrame]):
    """A claim as its stage decides it, on tables named by the arguments."""
    claim = PAPERS[slug]["claims"][name]
    options = dict(claim.get("options", {}))
    for key, value in options.pop("thresholds", {}).items():
        options[key] = threshold_at(value, "paper")
    if "objects" in options:
        # Large, so that predicates are tested; what a small test set does has its own test.
        options["objects"] = 1e6
    frames = {
        key: tables[key.split("_")[0] if key not in tables else key] for key in claim["tables"]
    }
    return function_of(claim["decide"], name)(**frames, **options)


ALL = [(slug, name) for slug, names in MINE.items() for name in names]
ON_PRACTICE = ("C11", "B7")


@pytest.mark.parametrize(("slug", "name"), [each for each in ALL if each[1] not in ON_PRACTICE])
def test_every_claim_holds_in_a_world_that_obeys(slug, name, tables):
    finding = decide(slug, name, tables)
    assert finding.verdict == "holds", finding.reason


@pytest.mark.parametrize(("slug", "name"), ALL)
def test_every_claim_is_undecided_without_runs(slug, name, tables):
    empty = {key: frame.iloc[:0] for key, frame in tables.items()}
    assert decide(slug, name, empty).verdict == "undecided"


@pytest.mark.parametrize(("slug", "name"), [each for each in ALL if each[1] not in ON_PRACTICE])
def test_one_seed_decides_nothing(slug, name):
    world = large_lr_world.world(seeds=1) | {
        "times": large_lr_world.times().query("seed == 0"),
        "two_stage": large_lr_world.two_stage().query("seed == 0"),
        "norms": large_lr_world.norms().query("seed == 0"),
        "features": large_lr_world.features(seeds=1),
        "sharpness": large_lr_world.sharpness().query("seed == 0"),
    }
    finding = decide(slug, name, world)
    assert finding.verdict == "undecided"
    assert "1 seed" in finding.reason or name == "C12"  # one seed has too few runs a PLR for it


def changed(tables, key: str, where: str, column: str, value) -> dict[str, pd.DataFrame]:
    """The tables with a column of some rows replaced, or shifted where `value` is a function."""
    frame = tables[key].copy()
    rows = frame.eval(where)
    frame.loc[rows, column] = value(frame.loc[rows, column]) if callable(value) else value
    return {**tables, key: frame}


SPOILED = {
    "accuracy in regime 1 does not peak at its end": (
        "C1", "pretrained", "plr == 0.001", "test_accuracy_mean", 85.0),
    "regime 2 is as steady as regime 1": (
        "C1", "pretrained", "plr > 0.01 and plr < 0.2", "test_accuracy_std", 0.06),
    "accuracy does not fall in regime 2": (
        "C1", "pretrained", "plr > 0.01 and plr < 0.2", "test_accuracy_mean", lambda old: 80 - old),
    "regime 3 is no guess": ("C1", "pretrained", "plr == 1", "test_accuracy_mean", 14.0),
    "fine-tuning from 2B is better": (
        "C2", "finetuned", "plr == 0.08", "test_accuracy", lambda old: old + 12),
    "a tiny rate with a large one after it is as good": (
        "C2", "finetuned", "plr == 0.001 and flr == 0.01", "test_accuracy", lambda old: old + 9),
    "the optimum is wide": (
        "C2n", "finetuned", "plr <= 0.003 or plr > 0.1", "test_accuracy", 82.0),
    "averages are best in 2B": (
        "C3", "averaged", "plr == 0.05", "test_accuracy", lambda old: old + 20),
    "averages gain in regime 1": (
        "C3", "averaged", "plr == 0.003", "test_accuracy", lambda old: old + 3),
    "averages of many are worse than fine-tuning": (
        "C3", "averaged", "count == 10 and plr in [0.02, 0.03]", "test_accuracy",
        lambda old: old - 9),
    "averages of regime 3 are no guess": ("C3", "averaged", "plr == 1", "test_accuracy", 40.0),
    "the fine-tuning rate matters in 2A": (
        "C4", "finetuned", "plr == 0.03 and flr == 0.01", "test_accuracy", lambda old: old + 5),
    "it does not matter in 2B": (
        "C4", "finetuned", "plr > 0.01 and plr < 0.2", "test_accuracy",
        lambda old: np.tile([80.0, 80.7], len(old) // 2)),
    "a barrier in 2A": (
        "C5a", "geometry", "plr == 0.02 and pair == 'swa-low'", "test_barrier", 8.0),
    "barriers fall with the rate": (
        "C5b", "geometry", "plr > 0.03", "train_barrier", lambda old: 100 - old),
    "regime 3 has no barrier": ("C5b", "geometry", "plr == 1", "train_barrier", 3.0),
    "no minimum is left": ("C5c", "geometry", "plr == 0.001", "angle", 0.1),
    "one near the border is left": (
        "C5c", "geometry", "plr == 0.003", ["angle", "train_barrier"], [1.4, 50.0]),
    "the middle band peaks in regime 1": ("C7", "bands", "plr == 0.01 and band == 'mid'",
                                          "accuracy", 60.0),
    "it does no longer after averaging": (
        "C7", "bands", "plr < 0.02 and band == 'mid' and stage == 'swa5'", "accuracy", 42.0),
    "the times do not grow": ("C8", "times", "elr == 0.012", "epochs_to_converge", 12.0),
    "converging longer is better": ("C8", "times", "elr == 0.012", "test_error", 10.0),
    "the first stage spoils the second": (
        "C9", "two_stage", "start == '2B, 2A'", "test_accuracy", lambda old: old - 9),
    "the best feature is hardly better in 2A": (
        "C6a", "features", "rank == 1 and plr in [0.02, 0.03]", "accuracy", 58.0),
    "averages lose the best feature": (
        "C6a", "features", "rank == 1 and stage == 'swa5'", "accuracy", 56.0),
    "fine-tuning forgets the best feature": (
        "C6b", "features", "rank == 1 and stage == 'ft_low'", "accuracy", 65.0),
    "regime 3 knows a feature": ("C6c", "features", "rank == 1 and plr > 0.2", "accuracy", 60.0),
    "regime 1 has a wide gap": ("C6c", "features", "rank == 8 and plr <= 0.01", "accuracy", 30.0),
    "the low rate repairs": (
        "C10", "norms", "stage == 'ft_low'", "log10_share", lambda old: -2 + (old + 2) / 40),
    "sharpness is everywhere the same": (
        "C12", "sharpness", "regime != '1'", "sharpness", 1.0),
    "small rates are as good": (
        "B1", "pretrained", "plr == 0.003", "test_accuracy", lambda old: old + 9),
    "most of regime 2 is optimal": (
        "B2", "finetuned", "plr > 0.03 and plr < 0.2", "test_accuracy", 82.2),
    "averages want another rate": (
        "B3", "averaged", "plr == 0.12", "test_accuracy", lambda old: old + 60),
    "averages of 2B are good": (
        "B5", "averaged", "plr > 0.06 and plr < 0.2", "test_accuracy", 90.0),
    "regime 3 is a good start": (
        "B6", "finetuned", "plr == 1 and flr == 0.01", "test_accuracy", 84.0),
    "a barrier between fine-tuned ends": (
        "B8", "geometry", "plr == 0.02 and pair == 'low-high'", "train_barrier", 8.0),
}  # fmt: skip


@pytest.mark.parametrize("spoiled", SPOILED)
def test_a_claim_fails_in_a_world_where(spoiled, tables):
    name, key, where, column, value = SPOILED[spoiled]
    slug = "how-large-lrs" if name.startswith("B") else "where-large-lrs"
    finding = decide(slug, name, changed(tables, key, where, column, value))
    assert finding.verdict == "fails", finding.reason


def test_both_papers_decide_one_claim_by_one_function():
    where, how = (PAPERS[slug]["claims"] for slug in PAPERS)
    assert how["B4"]["decide"] == where["C4"]["decide"]
    assert how["B2"]["decide"] == where["C2n"]["decide"]
    assert {how[name]["decide"].split(".")[1] for name in how} == {"large_lr"}


def test_another_best_cell_within_two_standard_errors_leaves_it_open(tables):
    lift = changed(tables, "finetuned", "plr == 0.05", "test_accuracy", 83.2)
    noisy = changed(lift, "finetuned", "plr == 0.05 and seed < 2", "test_accuracy", 81.6)
    finding = decide("where-large-lrs", "C2", noisy)
    assert finding.verdict == "undecided"
    assert "2A (PLR 0.03) - 2B (PLR 0.05): within" in finding.reason


def test_without_regime_2_nothing_of_2a_can_be_told_and_without_2a_it_fails(tables):
    cut = {
        key: frame.query("plr < 0.015 or plr > 0.2") if "plr" in frame else frame
        for key, frame in tables.items()
    }
    cut["bounds"] = large_lr.bounds(cut["pretrained"], cut["finetuned"])
    assert decide("where-large-lrs", "C2", cut).verdict == "undecided"
    bad = changed(tables, "finetuned", "plr > 0.01 and plr < 0.2", "test_accuracy", 60.0)
    bad["bounds"] = large_lr.bounds(bad["pretrained"], bad["finetuned"])
    finding = decide("where-large-lrs", "C2", bad)
    assert (finding.verdict, finding.reason) == ("fails", "2A is empty")
    finding = decide("where-large-lrs", "C7", bad)  # of which section 5.6 does not say that
    assert (finding.verdict, finding.reason) == ("undecided", "2A is empty")


def test_practice_is_decided_on_every_setup_or_not_at_all():
    frames: dict[str, list] = {}
    for setup in PRACTICE:
        for key, frame in large_lr_world.world(setup).items():
            frames.setdefault(key, []).append(frame)
    whole = {key: pd.concat(parts) for key, parts in frames.items()}
    assert decide("where-large-lrs", "C11", whole).verdict == "holds"
    part = {key: frame[frame["setup"] != "vit_c100"] for key, frame in whole.items()}
    finding = decide("where-large-lrs", "C11", part)
    assert finding.verdict == "undecided" and "without vit_c100" in finding.reason
    two = {key: frame[frame["setup"].str.startswith("practical")] for key, frame in whole.items()}
    assert decide("how-large-lrs", "B7", two).verdict == "holds"
    apart = changed(whole, "geometry", "plr < 0.05", "train_barrier", 20.0)
    finding = decide("where-large-lrs", "C11", apart)  # C2 and C5a say different things of a setup
    assert finding.verdict == "fails"
    assert finding.parts["optimum, vit_c10"][0] == "holds"
    assert finding.parts["connected, vit_c10"][0] == "fails"


def test_frames_of_further_setups_join_by_the_first_word_of_their_name():
    first, second = large_lr_world.world("practical_c10"), large_lr_world.world("vit_c10")
    names = ("pretrained", "finetuned", "geometry", "bounds")
    frames = {name: first[name] for name in names} | {f"{name}_vit": second[name] for name in names}
    finding = claims.practice(["practical_c10", "vit_c10"], ["2B"], 1, **frames)
    assert finding.verdict == "holds"
    assert any(name.startswith("vit_c10: ") for name in finding.numbers)


def test_where_the_cap_allows_no_such_factor_slow_convergence_is_open(tables):
    times = tables["times"].assign(cap=100.0)
    times = times[times["epochs_to_converge"] < 100]
    finding = decide("where-large-lrs", "C8", {**tables, "times": times})
    assert finding.verdict == "undecided" and "the cap allows a factor of" in finding.reason


def test_a_table_has_the_verdict_of_every_setup():
    world, other = large_lr_world.world(), large_lr_world.world("ticks", seeds=1)
    frames = {**world, **{f"{key}_ticks": frame for key, frame in other.items()}}
    options = {"C2": {}, "C5a": {"barrier": 1}}
    rows = by_setup.verdicts(options, [], **{k: v for k, v in frames.items() if "bands" not in k})
    found = rows.set_index(["setup", "claim"])["verdict"].to_dict()
    assert found == {
        ("convnet_c10", "C2"): "holds",
        ("convnet_c10", "C5a"): "holds",
        ("ticks", "C2"): "undecided",  # one seed
        ("ticks", "C5a"): "undecided",
    }


@pytest.mark.parametrize(
    ("name", "key", "where", "plr"),
    [("C9", "two_stage", "start == '2B'", 2e-2), ("C10", "norms", "plr > 0", 5e-2)],
)
def test_runs_whose_rate_lies_in_another_regime_decide_nothing(name, key, where, plr, tables):
    finding = decide("where-large-lrs", name, changed(tables, key, where, "plr", plr))
    assert finding.verdict == "undecided" and f"premise: PLR {plr:g} is in" in finding.reason


def test_data_sets_are_counted_where_there_are_several(tables):
    """Ten runs of two data sets are two, not ten."""
    runs = tables["pretrained"]
    two = pd.concat([runs.assign(data=name) for name in ("first", "second")])
    tuned = pd.concat([tables["finetuned"].assign(data=name) for name in ("first", "second")])
    finding = claims.optimum_above_threshold(
        pretrained=two, finetuned=tuned, bounds=tables["bounds"]
    )
    assert {number.n_of for number in finding.numbers.values() if number} == {"data sets"}
    assert {number.n for number in finding.numbers.values() if number} == {2}
