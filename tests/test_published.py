"""The papers' own numbers under the predicates of their claims, with the error of reading them."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from refigure.claims.published import DRAWS, judge, read_published
from refigure.claims.statistics import as_read, over_seeds
from refigure.claims.verdict import above, monotone, threshold_at, unanimous, within
from refigure.cli import main
from refigure.errors import UserError
from refigure.explain.target import Target
from refigure.explain.why import why
from refigure.graph.config import Config
from refigure.graph.lookups import graph_of
from refigure.graph.steps import Steps, resolve

VERDICTS = "results/demo/claims/sample.json"
GAIN = "# Table 2, printed to 0.1\nseed,gain,gain_reading\n0,{gain},{error}\n"


def gain_above(gains: pd.DataFrame, least: float):
    """A predicate of the usual kind: an estimate over replicates beside a threshold."""
    return above(over_seeds(gains["gain"]), least, name="gain")


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_one_seed_decides_nothing_but_a_published_number_does():
    gains = pd.DataFrame({"seed": [0], "gain": [1.9]})
    assert gain_above(gains, 1.0).verdict == "undecided"
    assert judge(gain_above, {"gains": gains}, {"least": 1.0}).verdict == "holds"
    assert judge(gain_above, {"gains": gains}, {"least": 2.0}).verdict == "fails"
    assert gain_above(gains, 1.0).verdict == "undecided"


@pytest.mark.parametrize(
    ("gain", "error", "verdict"),
    [(1.9, 0.1, "holds"), (0.1, 0.1, "fails"), (1.05, 0.1, "undecided"), (1.05, 0.0, "holds")],
)
def test_the_error_of_the_reading_is_the_error(written, gain, error, verdict):
    frame = read_published(written(GAIN.format(gain=gain, error=error)))
    found = judge(gain_above, {"gains": frame}, {"least": 1.0})
    assert found.verdict == verdict
    assert found.numbers["gain"].value == gain
    assert (f"of {DRAWS} readings" in found.reason) == (verdict == "undecided")


def test_every_operator_takes_a_number_as_it_is_read():
    one = over_seeds([0.5])
    steps = {"a": over_seeds([1.0]), "b": over_seeds([2.0]), "c": over_seeds([3.0])}
    yes = pd.Series([True], index=pd.Index([0], name="seed"))
    assert within(one, 0, 1, name="x").verdict == "undecided"
    with as_read():
        assert within(one, 0, 1, name="x").verdict == "holds"
        assert within(one, 2, 3, name="x").verdict == "fails"
        assert monotone(steps, "increasing", ties=0, name="x").verdict == "holds"
        assert monotone(steps, "decreasing", ties=0, name="x").verdict == "fails"
        assert unanimous(yes, name="x").verdict == "holds"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gain\n1\n", "where the numbers are from"),
        ("# here\ngain\n", "no rows"),
        ("# here\ngain,gian_reading\n1,0.1\n", "no column gian"),
        ("# here\ngain,gain_reading\n1,-0.1\n", "at least 0"),
        ("# here\ngain,gain_reading\n1,\n", "at least 0"),
        ("", "not a table"),
    ],
)
def test_a_wrong_table_is_one_line_naming_the_file(written, text, said):
    path = written(text)
    with pytest.raises(UserError, match=said) as error:
        read_published(path)
    assert str(path) in str(error.value)


@pytest.fixture
def judged(project):
    """The sample paper with published numbers for its claim."""
    project.edit("papers/sample.claims.c1.decide", "claims.three_regimes.better_within_r1")
    (project.root / "config/published").mkdir(exist_ok=True)
    project.write("published/sample.csv", GAIN.format(gain=1.9, error=0.1))
    published = {"tables": {"lines": "sample.csv"}, "source": "table 2"}
    project.edit("papers/sample.claims.c1.published", published)
    return project


def test_a_published_verdict_is_a_target_that_trains_nothing(judged):
    config = Config(judged.root)
    target = "results/published/claims/sample/c1.json"
    steps, files = resolve(target, config, "demo", lambda name: Steps(graph_of(config, name)))
    chain = steps.chain(files)
    assert list(chain) == ["claim sample c1 published"]
    assert chain["claim sample c1 published"].inputs == ("config/published/sample.csv",)
    joined = Steps(graph_of(config, "demo")).step("verdicts", "sample")
    assert target in joined.inputs
    with pytest.raises(UserError, match="holds no job of rule figure"):
        steps.writing("results/published/figures/sample/fig1.pdf")


def test_the_command_writes_the_verdict_with_its_source(judged, monkeypatch):
    from refigure import stages

    monkeypatch.setattr(stages, "function_of", lambda *_: lambda lines: gain_above(lines, 1.0))
    words = ["--root", str(judged.root), "claim", "sample", "c1", "--scale", "published"]
    assert main(words) == 0
    file = judged.root / "results/published/claims/sample/c1.json"
    record = json.loads(file.read_text())
    assert (record["verdict"], record["source"]) == ("holds", "table 2")


def test_a_table_that_is_not_there_and_a_scale_of_that_name_are_one_line(judged):
    judged.edit("papers/sample.claims.c1.published.tables", {"lines": "sampel.csv"})
    with pytest.raises(UserError, match=r"claims\.c1\.published\.tables\.lines: no file"):
        judged.graph().claims("sample")
    judged.write("scales/published.yaml", "extends: demo\n")
    with pytest.raises(UserError, match="another name"):
        Config(judged.root).scale("published")


def test_every_published_table_is_judged_by_its_predicate(committed, monkeypatch):
    """Columns and options fit; what the verdicts are is a result, not a test: two draws do."""
    monkeypatch.setattr("refigure.claims.published.DRAWS", 2)
    from refigure.graph.lookups import function_of

    graph = graph_of(Config(committed), "published")
    for paper in graph.built:
        for name, claim in graph.claims(paper).items():
            options = dict(claim.options)
            options |= {
                key: threshold_at(value, "paper")
                for key, value in options.pop("thresholds", {}).items()
            }
            tables = {key: read_published(path) for key, path in claim.published.tables.items()}
            found = judge(
                function_of(claim.decide, name), tables, options | dict(claim.published.options)
            )
            assert found.numbers, f"{paper} {name} compares no number"


def test_the_explanations_follow_a_claim_to_its_published_numbers(judged):
    found = why(Target("sample", graph_of(Config(judged.root), "demo"), (VERDICTS,)))
    assert {"claim sample c1", "claim sample c1 published"} <= {job["job"] for job in found["jobs"]}
