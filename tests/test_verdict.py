"""Verdicts on hand-made numbers: every branch of the design's section 6."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refigure.claims import verdict
from refigure.claims.statistics import Estimate, cells, compare_best, estimate, paired, spearman
from refigure.claims.verdict import (
    Exact,
    Finding,
    above,
    all_of,
    any_of,
    at_least,
    at_most,
    below,
    best_inside,
    claim_record,
    exact,
    given,
    greater,
    missing,
    monotone,
    never,
    of_parts,
    part_of,
    threshold_at,
    unanimous,
    within,
    witness,
)
from scipy import stats


def test_two_parts_of_one_name_are_refused():
    one, two = (
        Finding("holds", parts={"M1": ("holds", "")}),
        Finding("fails", parts={"M1": ("fails", "")}),
    )
    with pytest.raises(ValueError, match="'M1' names both"):
        all_of(one, two)


def seeds(value: float, se: float | None, n: int) -> Estimate:
    return Estimate(value, se, n, "seeds")


def test_an_estimate_is_the_mean_and_its_standard_error():
    estimate = Estimate.of([1, 2, 3, 4], "seeds")
    assert estimate == Estimate(2.5, math.sqrt(5 / 3) / 2, 4, "seeds")


def test_one_value_has_no_standard_error():
    assert Estimate.of([0.5], "seeds") == Estimate(0.5, None, 1, "seeds")


@pytest.mark.parametrize("n", [2, 3, 4, 5, 30])
def test_student_t_counts_at_every_n(n):
    expected = stats.t.ppf(0.975, n - 1)
    assert seeds(0, 1, n).factor == pytest.approx(expected, rel=1e-9)


def test_independent_errors_add_in_quadrature_and_the_smaller_n_counts():
    difference = seeds(10, 3, 8) - seeds(4, 4, 3)
    assert (difference.value, difference.se, difference.n) == (6, 5, 3)
    assert difference.freedom == pytest.approx(5**4 / (3**4 / 7 + 4**4 / 2))  # Welch
    assert 1 - 2 * seeds(0.25, 0.1, 5) == seeds(0.5, 0.2, 5)
    assert (seeds(1, 1, 5) - seeds(1, None, 1)).se is None


def test_pairing_removes_what_the_pairs_share():
    difference = paired([1.0, 11.0, 21.0], [0.0, 10.0, 20.0], "seeds")
    assert difference == seeds(1.0, 0.0, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Estimate.of([1, math.nan], "seeds"), "seeds must be finite numbers"),
        (lambda: Estimate(math.nan, 1, 3, "seeds"), "must be a finite number, got nan"),
        (lambda: Estimate(1, math.inf, 3, "seeds"), "standard error over seeds must be a finite"),
        (lambda: Estimate(1, -1, 3, "seeds"), "cannot be negative, got -1"),
        (lambda: Estimate(1, 1, 1, "seeds"), "n = 1 of seeds has no standard error"),
        (lambda: Estimate(1, None, 0, "seeds"), "at least 1, got 0"),
        (lambda: Estimate.of([], "seeds"), "a row of seeds"),
        (lambda: paired([1, 2], [1], "seeds"), "equal numbers of seeds, got 2 and 1"),
        (lambda: seeds(1, 1, 5) - Estimate(1, 1, 5, "images"), "over images"),
        (lambda: Exact(math.nan), "must be a finite number, got nan"),
        (lambda: above(Exact(1), math.nan, name="loss"), "threshold of loss must be a finite"),
        (lambda: Estimate(1, 0.1, 3, "things"), "needs its unit, one of seeds"),
        (lambda: estimate(pd.Series([1.0, 2.0])), "replicates need a unit"),
        (lambda: within(Exact(1), 2, 1, name="loss"), "in order"),
        (lambda: Finding("maybe"), "got 'maybe'"),
        (lambda: Finding("holds", numbers={"loss": math.nan}), "loss must be a finite number"),
        (lambda: all_of(), "at least one finding"),
    ],
)
def test_what_cannot_be_judged_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_number_is_no_truth_value():
    with pytest.raises(TypeError, match="true or false, got 1"):
        exact(1)


@pytest.mark.parametrize(
    ("value", "se", "n", "verdict", "reason"),
    [
        (1.3, 0.1, 5, "holds", ""),
        (1.2, 0.1, 5, "undecided", "within 2.78 s.e. (n=5)"),
        (0.8, 0.1, 5, "undecided", "within 2.78 s.e. (n=5)"),
        (0.7, 0.1, 5, "fails", "beyond 2.78 s.e. (n=5)"),
        # The same gaps of three standard errors are not enough for three seeds (t = 4.30) ...
        (1.3, 0.1, 3, "undecided", "within 4.30 s.e. (n=3)"),
        (0.5, 0.1, 3, "fails", "beyond 4.30 s.e. (n=3)"),
        # ... nor ten for two (t = 12.71).
        (0.0, 0.1, 2, "undecided", "within 12.71 s.e. (n=2)"),
        (-0.3, 0.1, 2, "fails", "beyond 12.71 s.e. (n=2)"),
        (5.0, None, 1, "undecided", "1 seed"),
        (-5.0, None, 1, "undecided", "1 seed"),
        (5.0, None, 4, "undecided", "no standard error over 4 seeds"),
        # Without spread every gap is beyond the error, and equal is not above.
        (1.001, 0.0, 3, "holds", ""),
        (0.999, 0.0, 3, "fails", "beyond 4.30 s.e. (n=3)"),
        (1.0, 0.0, 3, "undecided", "within 4.30 s.e. (n=3)"),
    ],
)
def test_an_estimate_against_a_threshold(value, se, n, verdict, reason):
    finding = above(seeds(value, se, n), 1, name="loss")
    assert finding.verdict == verdict
    assert reason in finding.reason
    mirrored = below(seeds(-value, se, n), -1, name="loss")
    assert (mirrored.verdict, finding.threshold) == (verdict, {"loss": 1.0})


def test_equal_counts_where_nothing_varies_and_the_bound_is_part_of_it():
    assert at_least(seeds(1, 0, 3), 1, name="share").verdict == "holds"


def test_an_exact_number_is_never_undecided():
    assert above(Exact(1.01), 1, name="loss").verdict == "holds"
    assert above(Exact(1), 1, name="loss").verdict == "fails"
    assert at_least(Exact(1), 1, name="loss").verdict == "holds"
    assert at_most(Exact(1), 1, name="loss").verdict == "holds"
    assert below(Exact(1), 1, name="loss").verdict == "fails"
    assert below(Exact(2), 1, name="loss").reason == "2 is not below 1"


def test_a_bare_number_is_refused():
    with pytest.raises(TypeError, match="an Estimate over replicates"):
        above(1.0, 0, name="loss")


def crossed(values: list[float], per: int) -> pd.Series:
    index = pd.MultiIndex.from_tuples(
        [(place // per, place % per) for place in range(len(values))], names=["data", "seed"]
    )
    return pd.Series(values, index=index)


def test_seeds_of_one_data_set_are_averaged_before_data_sets_are_counted():
    found = estimate(crossed([1.4, 1.4, 9.2, 9.2], per=2))
    assert (found.n, found.n_of, found.inner) == (2, "data sets", "2 seeds each")
    assert found.value == pytest.approx(5.3) and found.se == pytest.approx(3.9)
    assert estimate(crossed([1.0, 2.0], per=2)).se is None  # one data set


def test_the_error_of_a_test_set_does_not_shrink_with_seeds():
    gain = Estimate.of([1.0] * 3, "seeds").tested_on(901, 20, 21)
    assert gain.se == pytest.approx(100 * math.sqrt((0.2 * 0.8 + 0.21 * 0.79) / 901))
    assert gain.factor == pytest.approx(1.96, abs=1e-2)  # the binomial error is known
    assert gain.within() == "within 1.96 s.e. (n=3 and 901 test objects)"
    own = estimate(crossed([1.0, 2.0, 3.0, 4.0], per=2))
    assert own.tested_on(901, 20, 21) == own  # data sets have test sets of their own


def test_the_best_cell_is_not_tested_on_the_numbers_that_chose_it():
    rng = np.random.default_rng(0)
    holds = naive = 0
    for _ in range(300):
        wide = pd.DataFrame(rng.normal(size=(4, 12)))
        wide.index.name = "seed"
        found = compare_best(wide[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]], wide[[11]])
        holds += above(found.gain, 0, name="gain").verdict == "holds"
        best = wide[wide.columns[:11]].mean().idxmax()
        naive += above(estimate(wide[best] - wide[11]), 0, name="gain").verdict == "holds"
    assert holds / 300 <= 0.05 < naive / 300


def test_cells_rest_on_the_same_seeds_and_ties_are_counted():
    rows = [(plr, seed, plr + 0.01 * seed) for plr in (1, 2) for seed in range(6)]
    rows += [(3, seed, 2.0 + 0.01 * (-1) ** seed) for seed in range(3)]
    wide = cells(pd.DataFrame(rows, columns=["plr", "seed", "accuracy"]), ["plr"], "accuracy")
    assert list(wide.index) == [0, 1, 2] and wide.shape == (3, 3)
    finding = best_inside(compare_best(wide[[2]], wide[[1, 3]]), "accuracy", "2A")
    assert finding.verdict == "undecided" and "1 outside tied" in finding.reason


def test_a_premise_that_is_not_met_leaves_a_claim_open():
    assert given({"collapsed": True}, HOLDS) == HOLDS
    finding = given({"collapsed: topics": False}, FAILS)
    assert (finding.verdict, finding.reason) == ("undecided", "premise: collapsed: topics")


def test_every_replicate_must_say_yes_and_one_says_nothing():
    answers = {count: pd.Series([True] * count) for count in (1, 2)}
    for series in answers.values():
        series.index.name = "seed"
    assert unanimous(answers[2], name="share").verdict == "holds"
    assert unanimous(~answers[2], name="share").verdict == "fails"
    assert unanimous(answers[1], name="share").verdict == "undecided"
    mixed = answers[2] & (answers[2].index == 0)
    assert unanimous(mixed, name="share").reason == "1 of 2"


def test_what_exists_has_a_witness_and_what_never_happens_no_case():
    assert witness(1, 3, name="runs").verdict == "holds"
    assert witness(0, 3, name="runs").verdict == "fails"
    assert witness(0, 0, name="runs").verdict == "undecided"
    assert witness(0, 3, name="runs", absence_decides=False).verdict == "undecided"
    assert [never(*pair, name="runs").verdict for pair in ((0, 2), (1, 2), (0, 1))] == [
        *("holds", "fails", "undecided")
    ]


def test_setups_have_their_verdicts_in_one_table():
    record = claim_record("C2", "", of_parts({"one": HOLDS, "two": FAILS}), [])
    assert record["verdict"] == "fails"
    assert [(row["of"], row["verdict"]) for row in record["parts"]] == [
        *(("one", "holds"), ("two", "fails"))
    ]


ARITHMETIC = {
    "bayesian_compression_nlp.py": 1,  # the sizes of networks (B1)
    "memory_split.py": 2,  # the multiplications of networks of several widths (M9)
    "power_laws.py": 1,  # the mean of two logarithms, never above that of the mean
    "sparse_gated_rnn.py": 1,  # the p value of a test, which has the error in it (C8)
    "three_regimes.py": 3,  # closed forms beside a deterministic recursion (C8, C9)
}


def test_exact_numbers_are_arithmetic_alone():
    found = {}
    for path in sorted((Path(verdict.__file__).parent).rglob("*.py")):
        text = re.sub(r'"""(?s:.*?)"""', "", path.read_text(encoding="utf-8"))
        uses = len(re.findall(r"\b(?:Exact|exact)\(", text))
        if uses and path.name != "verdict.py":
            found[path.name] = uses
    assert found == ARITHMETIC


def test_a_number_that_could_not_be_had_is_undecided():
    assert above(None, 1, name="slope") == Finding(
        "undecided", "no value of slope", {"slope": None}, {"slope": 1.0}
    )


def test_greater_records_both_numbers_and_their_difference():
    a, b = seeds(0.9, 0.03, 5), seeds(0.7, 0.04, 5)
    finding = greater(a, b, names=("R2", "R1"))
    assert finding.verdict == "holds"
    assert finding.numbers == {"R2": a, "R1": b, "R2 - R1": a - b}
    assert greater(b, a, names=("R1", "R2")).verdict == "fails"


@pytest.mark.parametrize(
    ("number", "verdict"),
    [
        (Exact(1.5), "holds"),
        (Exact(2.0), "holds"),
        (Exact(2.1), "fails"),
        (Exact(0.9), "fails"),
        (seeds(1.5, 0.1, 5), "holds"),
        (seeds(1.75, 0.1, 5), "holds"),  # one-sided t: 2.13
        (seeds(1.9, 0.1, 5), "undecided"),
        (seeds(2.1, 0.1, 5), "undecided"),
        (seeds(2.3, 0.1, 5), "fails"),
        (seeds(0.7, 0.1, 5), "fails"),
        (seeds(1.5, None, 1), "undecided"),
        (None, "undecided"),
    ],
)
def test_a_range_has_two_ends(number, verdict):
    finding = within(number, 1, 2, name="level")
    assert (finding.verdict, finding.threshold) == (verdict, {"level": [1.0, 2.0]})


def test_noise_shows_no_equivalence():
    finding = within(seeds(1.5, 0.3, 5), 1, 2, name="level")
    assert finding.verdict == "undecided" and finding.reason.startswith("no power")


HOLDS = above(Exact(2), 1, name="a")
FAILS = above(Exact(0.5), 1, name="b")
OPEN = above(seeds(1, None, 1), 1, name="c")


@pytest.mark.parametrize(
    ("findings", "conjunction", "disjunction"),
    [
        ([HOLDS, exact(True)], "holds", "holds"),
        ([HOLDS, OPEN], "undecided", "holds"),
        ([HOLDS, FAILS], "fails", "holds"),
        ([OPEN, FAILS], "fails", "undecided"),
        ([HOLDS, OPEN, FAILS], "fails", "holds"),
        ([FAILS, exact(np.bool_(False))], "fails", "fails"),
        ([OPEN], "undecided", "undecided"),
    ],
)
def test_joined_findings(findings, conjunction, disjunction):
    assert all_of(*findings).verdict == conjunction
    assert any_of(*findings).verdict == disjunction


def test_a_conjunction_keeps_numbers_thresholds_and_reasons_under_their_names():
    joined = all_of(HOLDS, OPEN, FAILS, missing("no run of M2"))
    assert list(joined.numbers) == ["a", "c", "b"]
    assert joined.threshold == {"a": 1.0, "c": 1.0, "b": 1.0}
    assert joined.reason == "b: 0.5 is not above 1"


def test_one_name_for_two_numbers_is_refused():
    with pytest.raises(ValueError, match=r"'a' names both 2\.0 and 3\.0"):
        all_of(HOLDS, above(Exact(3), 1, name="a"))


def test_missing_data_are_undecided():
    assert missing("source not configured") == Finding("undecided", "source not configured")


@pytest.mark.parametrize(
    ("finding", "verdict"), [(HOLDS, "undecided"), (OPEN, "undecided"), (FAILS, "fails")]
)
def test_a_part_of_the_claim_is_at_most_undecided(finding, verdict):
    part = part_of(finding, have={"imdb", "ptb"}, want=["ptb", "imdb", "agnews"])
    assert part.verdict == verdict
    assert part.reason.endswith("on 2 of 3: ptb, imdb; without agnews")
    assert part_of(finding, ["imdb", "ptb"], ["ptb", "imdb"]) == finding


def test_a_part_that_the_claim_does_not_name_is_refused():
    with pytest.raises(ValueError, match="names ptb, imdb, not imbd"):
        part_of(HOLDS, ["imbd"], ["ptb", "imdb"])


def ladder(*values: float, se: float | None = 0.1, n: int = 5) -> dict[str, Estimate]:
    return {f"at {index}": seeds(value, se, n) for index, value in enumerate(values)}


@pytest.mark.parametrize(
    ("numbers", "direction", "ties", "verdict"),
    [
        (ladder(1, 2, 3), "increasing", 0, "holds"),
        (ladder(3, 2, 1), "decreasing", 0, "holds"),
        (ladder(1, 2, 1.9, 3), "increasing", 1, "holds"),
        (ladder(1, 2, 1.9, 3), "increasing", 0, "undecided"),
        (ladder(1, 2, 1.9, 3, 2.9), "increasing", 1, "undecided"),
        (ladder(1, 2, 1.6, 3), "increasing", 1, "fails"),  # gap 0.4 > 2.31 * 0.1 * sqrt(2)
        (ladder(1, 2, 1.7, 3), "increasing", 1, "holds"),
        (ladder(1.0, 1.1, 1.2), "increasing", 0, "undecided"),  # the ends are no trend
        (ladder(1.0, 2.0, 0.9), "increasing", 1, "fails"),
        (ladder(1, 2, 3, se=None, n=1), "increasing", 1, "undecided"),
        (ladder(3, 2, 1, se=None, n=1), "increasing", 1, "undecided"),
        (ladder(1), "increasing", 1, "undecided"),
        ({"a": 1.0, "b": 2.0}, "increasing", 0, "holds"),
        ({"a": 1.0, "b": 1.0, "c": 2.0}, "increasing", 1, "holds"),
        ({"a": 1.0, "b": 1.0, "c": 2.0}, "increasing", 0, "fails"),
        ({"a": 2.0, "b": 1.0}, "increasing", 1, "fails"),
        ({"a": 2.0, "b": None}, "increasing", 1, "undecided"),
    ],
)
def test_numbers_in_order(numbers, direction, ties, verdict):
    assert monotone(numbers, direction, ties=ties, name="loss").verdict == verdict


def test_numbers_in_order_say_where_the_order_breaks():
    finding = monotone(ladder(1, 2, 1.6, 3), "increasing", ties=1, name="loss")
    assert finding.reason == "not increasing from at 1 to at 2 beyond its error"
    assert list(finding.numbers) == ["loss at 0", "loss at 1", "loss at 2", "loss at 3"]
    finding = monotone(ladder(1, 2, 1.9), "increasing", ties=0, name="loss")
    assert finding.reason == "1 of 0 ties allowed: at 1 to at 2"


def test_a_rank_correlation_equals_scipys_with_ties():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-11)


def test_a_rank_correlation_at_its_threshold_is_not_lost_to_rounding():
    # 1 - 6 * sum d^2 / (n (n^2 - 1)) = 1 - 6 * 18 / 60 = -0.8
    assert spearman([1, 2, 3, 4], [4, 3, 1, 2]) == -0.8


def test_a_rank_correlation_of_equal_values_is_not_defined():
    assert spearman([1, 2, 3], [5, 5, 5]) is None


def test_thresholds_by_scale():
    by_scale = {"paper": 0.98, "default": 0.97, "source": "section 10"}
    assert threshold_at(by_scale, "paper") == 0.98
    assert threshold_at(by_scale, "demo") == 0.97
    assert threshold_at(0.5, "demo") == 0.5
    with pytest.raises(ValueError, match="no value for scale 'demo'"):
        threshold_at({"paper": 0.98}, "demo")


def test_a_record_goes_through_json_unchanged():
    finding = all_of(
        above(Estimate.of(np.array([2.0, 3.0, 4.0]), "seeds"), np.float64(1), name="gain"),
        within(Exact(np.float32(1.5)), 1, 2, name="level"),
        above(None, 0, name="slope"),
    )
    record = claim_record("C7", "R2 helps.", finding, ["fig2"])
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record
    assert list(record) == [
        *("id", "statement", "verdict", "numbers", "threshold", "figures", "reason")
    ]
    assert record["verdict"] == "undecided"
    assert record["numbers"] == {
        "gain": {"value": 3.0, "se": 1 / math.sqrt(3), "n": 3, "n_of": "seeds"},
        "level": {"value": 1.5, "se": None, "n": None, "n_of": None},
        "slope": {"value": None, "se": None, "n": None, "n_of": None},
    }
    assert record["threshold"] == {"gain": 1.0, "level": [1.0, 2.0], "slope": 0.0}


def test_nothing_compared_is_null_in_the_record():
    assert claim_record("C1", "", missing("not at this scale"), [])["threshold"] is None


def test_a_step_of_a_trend_without_an_error_decides_nothing():
    values = {1: [1.0, 1.1], 2: [2.0], 3: [3.0, 3.1]}
    numbers = {key: Estimate.of(seeds, "seeds") for key, seeds in values.items()}
    found = verdict.monotone(numbers, "increasing", ties=0, name="value")
    assert found.verdict == "undecided" and "1 seed" in found.reason
