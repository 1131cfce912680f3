"""Numbers that papers print beside ours: entries, the cell that each lies beside, and `within`."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from conftest import Project
from refigure.cli import main
from refigure.errors import UserError
from refigure.explain import published as listing
from refigure.graph.config import Config
from refigure.graph.lookups import graph_of
from refigure.graph.numbers import Number, check_numbers
from refigure.graph.reading import read
from refigure.report.page import page
from refigure.report.published import ABSENT, LIKE, OTHER_SCALE, numbers_of, rows_of
from reports import RECORDS, build, store
from test_columns import documented

EXACT = {"source": "table 1"}


def entry(**keys) -> Number:
    """An entry, checked as that of a figure with the tables `lines` and `ends`."""
    one = read(Number, {**EXACT, **keys}, "here")
    check_numbers({"x": one}, ["lines", "ends"], "here")
    return one


# ---------------------------------------------------------------------- what is written


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"value": 1, "colunm": "loss"}, "unknown key 'colunm'; did you mean 'column'"),
        ({"value": 1, "column": "loss", "elr": 1e-3}, "unknown key 'elr'"),
        ({"value": 1}, "key 'column' is missing"),
        ({"column": "loss"}, "a number is missing"),
        ({"value": "1e-3", "column": "loss"}, r"value must be .* got '1e-3'"),
        ({"value": 1, "column": "loss", "values": {"loss": 1}}, "exclude each other"),
        ({"values": {"loss": 1}, "column": "loss"}, "'values' name their own"),
        (
            {"value": 1, "column": "loss", "table": "line"},
            "no table of the figure; did you mean 'l",
        ),
        ({"value": 1, "column": "loss", "statistic": "latest"}, "'latest'; did you mean 'last'"),
        ({"value": 1, "column": "loss", "statistic": "last"}, "'last' needs 'over'"),
        ({"value": 1, "column": "loss", "statistic": "median", "over": "elr"}, "over replicates"),
        ({"value": 1, "column": "loss", "tolerance": -0.1}, "tolerance must be at least 0"),
        ({"value": 1, "column": "loss", "tolerance": 0.1, "reading": 1}, "written twice"),
        ({"values": {"loss": 1}, "reading": {"los": 1}}, "'los' is none .* did you mean 'loss'"),
        ({"value": 1, "column": "loss", "count": "runs"}, "'count' is of 'error'"),
        ({"value": 1, "column": "loss", "at": {"elr": "1.0e0"}}, "reads it as text; write 1.0"),
        ({"value": 1, "column": "loss", "at": {"elr": [1, 2]}}, "a list needs 'values'"),
        ({"values": {"loss": [1]}, "at": {"epoch": [1, 2]}}, "must be a list of 2 numbers"),
        ({"values": {"loss": 1}, "at": {"elr": {"is": 1}}}, "a number or a text"),
    ],
)
def test_a_wrong_entry_is_one_line_with_the_nearest_known_key(keys, said):
    with pytest.raises(UserError, match=said) as error:
        entry(**keys)
    assert "here" in str(error.value) and "\n" not in str(error.value)


def test_a_notebook_finds_an_entry_flat():
    one = entry(value=28, tolerance=0.05, column="loss", at={"elr": 1e-3}, shown={"pale": True})
    flat = {"value": 28, "tolerance": 0.05, "column": "loss", "elr": 1e-3, "source": "table 1"}
    assert one.drawn() == {**flat, "pale": True}
    row = entry(values={"loss": [1, 2], "error": [3, 4]}, at={"method": "W", "epoch": [5, 9]})
    assert row.drawn() == {
        "method": "W",
        "epoch": [5, 9],
        "loss": [1, 2],
        "error": [3, 4],
        "source": "table 1",
    }
    # Crosses are as tall as the reading, however that is written.
    assert entry(value=4, reading=0.5, column="loss").drawn()["tolerance"] == 0.125


def test_a_line_is_one_number_a_place_with_the_error_of_its_column():
    row = entry(
        values={"loss": [1, 2], "error": [30, 40]},
        at={"method": "W", "epoch": [5, 9]},
        tolerance={"error": 0.1},
        reading={"loss": 0.5},
    )
    found = row.printed("x")
    assert [one.name for one in found] == [
        "x loss, epoch 5",
        "x loss, epoch 9",
        "x error, epoch 5",
        "x error, epoch 9",
    ]
    assert [one.reading for one in found] == [0.5, 0.5, 3, 4]
    assert found[3].at == {"method": "W", "epoch": 9}


# ---------------------------------------------------------------------- made-up papers

SEEDS = [10.0, 11.0, 12.0]  # mean 11, standard error 1 / sqrt(3)
REACH = 4.302653 / math.sqrt(3)  # Student's t of two degrees of freedom: 2.4841


def lines() -> pd.DataFrame:
    """Two rates by three seeds by two epochs; at the end the rate of 0.1 has 10, 11, 12."""
    rows = [
        {"elr": elr, "seed": seed, "epoch": epoch, "loss": factor * value + 5 * (epoch == 1)}
        for elr, factor in ((0.1, 1.0), (0.2, 2.0))
        for seed, value in enumerate(SEEDS)
        for epoch in (1, 8)
    ]
    rows.append({"elr": 0.1, "seed": 0, "epoch": 9, "loss": np.nan})  # not measured then
    return pd.DataFrame(rows)


def ends() -> pd.DataFrame:
    """One row a setup, a mean with its error."""
    return pd.DataFrame(
        {"setup": ["a", "b"], "gain": [3.0, 4.0], "gain_se": [1.0, np.nan], "runs": [4, 1]}
    )


def compared(project: Project, numbers: dict, scale: str = "paper", **tables) -> dict:
    """The rows of a figure with these published numbers, by name."""
    figure = {
        "notebook": "fig1",
        "tables": {"lines": "sample_lines", "ends": "sample_sharpness"},
        "caption": "-",
        "published": {name: {**EXACT, **keys} for name, keys in numbers.items()},
    }
    project.edit("papers/sample.figures", {"fig1": figure})
    project.edit("papers/sample.claims", {})
    graph = project.graph(scale)
    frames = {"sample_lines": lines(), "sample_sharpness": ends(), **tables}
    for name, frame in frames.items():
        if frame is not None:
            graph.paths.table(name).parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(graph.paths.table(name))
    return {row["number"]: row for row in rows_of(graph, graph.figure("sample", "fig1"))}


END = {"column": "loss", "at": {"elr": 0.1}, "statistic": "last", "over": "epoch"}


def test_within_is_the_reading_and_the_interval_of_our_mean_together(project):
    rows = compared(
        project,
        {
            "same": {**END, "value": 11},
            "near": {**END, "value": 11 + REACH - 0.01},
            "far": {**END, "value": 11 + REACH + 0.01},
            "read": {**END, "value": 11 + REACH + 0.5, "reading": 0.51},
            "below": {**END, "value": 11 - REACH - 0.5, "reading": 0.49},
        },
    )
    assert {name: row["within"] for name, row in rows.items()} == {
        "same": "yes",
        "near": "yes",
        "far": "no",
        "read": "yes",
        "below": "no",
    }
    far = rows["far"]
    assert (far["ours"], far["n"], far["n_of"]) == (11, 3, "seed")
    assert far["se"] == pytest.approx(1 / math.sqrt(3))
    assert far["ratio"] == pytest.approx(11 / far["published"])
    assert far["difference"] == pytest.approx(11 - far["published"])
    assert (far["source"], far["reason"]) == ("table 1", "")
    assert far["place"] == "loss at elr 0.1, last over epoch"


def test_of_one_replicate_the_reading_alone_counts(project):
    one = {**END, "at": {"elr": 0.1, "seed": 0}}
    rows = compared(
        project,
        {
            "near": {**one, "value": 10.5, "tolerance": 0.05},
            "far": {**one, "value": 10.6, "tolerance": 0.05},
            "exact": {**one, "value": 10.0},
        },
    )
    assert {name: row["within"] for name, row in rows.items()} == {
        "near": "yes",
        "far": "no",
        "exact": "yes",
    }
    assert (rows["near"]["n"], rows["near"]["se"]) == (1, None)


def test_statistics_of_the_rows_that_remain(project):
    loss = {"value": 1, "column": "loss"}
    rows = compared(
        project,
        {
            "mean over epochs": {**loss, "at": {"elr": 0.1}, "over": "epoch"},
            "median": {**loss, "at": {"elr": 0.1, "epoch": 8}, "statistic": "median"},
            "least": {**loss, "at": {"epoch": 8}, "statistic": "min", "over": "elr"},
            "most": {**loss, "at": {"epoch": 8}, "statistic": "max", "over": "elr"},
            "complement": {**END, "value": 89, "complement": True},
            "written": {
                "value": 3,
                "column": "gain",
                "at": {"setup": "a"},
                "error": "gain_se",
                "count": "runs",
            },
            "one": {
                "value": 3,
                "column": "gain",
                "at": {"setup": "b"},
                "error": "gain_se",
                "count": "runs",
            },
        },
    )
    ours = {name: (row["ours"], row["n"]) for name, row in rows.items()}
    assert ours["mean over epochs"] == (pytest.approx(11 + 2.5), 3)
    assert ours["median"] == (11, 3)
    assert rows["median"]["se"] == pytest.approx(math.sqrt(math.pi / 2) / math.sqrt(3))
    assert ours["least"] == (11, 3)
    assert ours["most"] == (22, 3)
    assert ours["complement"] == (89, 3)
    assert rows["complement"]["within"] == "yes"
    assert (*ours["written"], rows["written"]["se"]) == (3, 4, 1)
    assert (*ours["one"], rows["one"]["se"]) == (4, 1, None)


def test_seeds_of_one_data_set_are_no_replicates(project):
    frame = pd.DataFrame(
        {
            "data": ["p", "p", "q", "q"],
            "seed": [0, 1, 0, 1],
            "loss": [1.0, 3.0, 5.0, 7.0],
        }
    )
    row = compared(project, {"x": {"value": 4, "column": "loss"}}, sample_lines=frame)["x"]
    assert (row["ours"], row["n"], row["n_of"]) == (4, 2, "data set")
    assert row["se"] == pytest.approx(2.0)


def test_what_is_not_there_is_said_and_not_skipped(project):
    loss = {"value": 1, "column": "loss"}
    rows = compared(
        project,
        {
            "no row": {**END, "value": 1, "at": {"elr": 0.4}},
            "no value": {**loss, "at": {"elr": 0.1, "seed": 0, "epoch": 9}},
            "several": {**loss, "at": {"elr": 0.1}},
            "wrong column": {"value": 1, "column": "los"},
            "wrong selector": {**loss, "at": {"rate": 0.1}},
            "not one": {"value": 1, "compared": "an angle of the picture"},
        },
    )
    assert len(rows) == 6
    assert {row["within"] for row in rows.values()} == {"not judged"}
    assert {row["ours"] for row in rows.values()} == {None}
    said = {name: row["reason"] for name, row in rows.items()}
    assert said["no row"] == ABSENT
    assert said["no value"] == "no value in this build"
    assert "several rows: they differ in epoch; choose under 'at'" in said["several"]
    assert said["wrong column"] == "no table has column 'los'; did you mean 'loss'?"
    assert "no column 'rate'" in said["wrong selector"]
    assert said["not one"] == "an angle of the picture"


def test_a_table_that_is_not_built_or_empty_is_absent(project):
    numbers = {"x": {**END, "value": 11}, "y": {**END, "value": 11, "table": "lines"}}
    nothing = compared(project, numbers, sample_lines=None, sample_sharpness=None)
    empty = compared(project, numbers, sample_lines=lines().iloc[:0])
    for rows in (nothing, empty):
        assert [row["reason"] for row in rows.values()] == [ABSENT, ABSENT]


def test_a_column_of_words_is_no_number_and_a_damaged_table_is_one_line(project):
    words = lines().assign(loss="low")
    row = compared(project, {"x": {**END, "value": 11}}, sample_lines=words)["x"]
    assert row["reason"] == "no value in this build"
    graph = project.graph("paper")
    graph.paths.table("sample_lines").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match=r"sample_lines\.parquet: not a readable table"):
        rows_of(graph, graph.figure("sample", "fig1"))


def test_two_tables_with_the_column_ask_for_a_name(project):
    both = {"sample_sharpness": lines()}
    rows = compared(project, {"x": {**END, "value": 11}}, **both)
    assert rows["x"]["reason"] == "column 'loss' is in lines, ends: name a table"
    rows = compared(project, {"x": {**END, "value": 11, "table": "ends"}}, **both)
    assert rows["x"]["within"] == "yes"


@pytest.mark.parametrize(
    ("scale", "within"),
    [("demo", "not judged"), ("small", "not judged"), ("headline", "yes"), ("paper", "yes")],
)
def test_it_is_judged_at_the_scale_of_the_paper_and_those_that_extend_it(project, scale, within):
    row = compared(project, {"x": {**END, "value": 11}}, scale)["x"]
    assert (row["within"], row["ours"]) == (within, 11)
    assert row["reason"] == ("" if within == "yes" else OTHER_SCALE)


def test_numbers_of_a_file_lie_beside_a_table(project):
    project.write(
        "published/sample.csv",
        "# Table 3\nelr,loss,loss_reading\n0.1,11.0,0.1\n0.2,30,0.1\n0.3,,\n",
    )
    numbers = {
        "file": "sample.csv",
        "columns": ["loss"],
        "keys": ["elr"],
        "at": {"epoch": 8},
        "table": "lines",
        **EXACT,
    }
    compared(project, {})
    project.edit("papers/sample.figures.fig1.published_tables", {"map": numbers})
    graph = project.graph("paper")
    rows = rows_of(graph, graph.figure("sample", "fig1"))
    assert [(row["number"], row["ours"], row["within"]) for row in rows] == [
        ("map 0.1", 11, "yes"),
        ("map 0.2", 22, "no"),
    ]
    project.edit("papers/sample.figures.fig1.published_tables.map.file", "smaple.csv")
    with pytest.raises(UserError, match=r"map\.file: no file config/published/smaple\.csv"):
        project.graph("paper").figures("sample")
    project.edit("papers/sample.figures.fig1.published_tables.map.file", "sample.csv")
    project.edit("papers/sample.figures.fig1.published_tables.map.keys", ["eler"])
    graph = project.graph("paper")
    with pytest.raises(UserError, match=r"no column 'eler'; did you mean 'elr'"):
        rows_of(graph, graph.figure("sample", "fig1"))


# ---------------------------------------------------------------------- where it is seen


def test_the_command_prints_the_table_and_gives_it_to_programs(project, capsys):
    compared(
        project,
        {
            "the_loss": {**END, "value": 11},
            "another": {**END, "value": 30},
            "third": {**END, "value": 1, "at": {"elr": 0.4}},
        },
    )
    words = ["--root", str(project.root), "published", "--scale", "paper"]
    assert main(words) == 0
    text = capsys.readouterr().out
    head = "sample fig1: 3 published numbers, 2 of them with one of ours: 1 within, 1 not"
    assert text.splitlines()[0] == head
    assert "the_loss  11  11 +- 0.58 (3)         1  yes" in text
    assert "third     1   not in this build" in text
    assert max(map(len, text.splitlines())) <= 80
    name = "a_network_of_a_very_long_name n_voc, at the end of epoch 1"
    long = listing.published(project.graph("paper"), ["sample"])
    found = listing.text([{**row, "number": name} for row in long]).splitlines()
    assert max(map(len, found)) <= 80
    assert [line.strip() for line in found[2::2]] == [name] * 3
    assert found[3].split() == ["11", "11", "+-", "0.58", "(3)", "1", "yes"]
    assert main([*words, "sample", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["paper"], row["number"], row["within"]) for row in rows] == [
        ("sample", "the_loss", "yes"),
        ("sample", "another", "no"),
        ("sample", "third", "not judged"),
    ]
    assert main([*words, "sample", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["ours"] == 11
    assert main([*words, "sampel"]) == 1
    assert "unknown paper 'sampel'; did you mean 'sample'?" in capsys.readouterr().err
    compared(project, {})
    assert main(words) == 0
    assert capsys.readouterr().out == "no published number\n"
    assert main([*words[:-1], "published"]) == 1
    assert "scale 'published' has no tables" in capsys.readouterr().err


def test_the_report_shows_the_table_below_its_figure(project):
    graph = build(project)
    assert 'class="beside"' not in page(graph, ["sample"])
    few = {"loss": {**EXACT, **END, "value": 12, "reading": 1}}
    many = {f"loss_{i}": {**EXACT, **END, "value": i, "at": {"elr": 0.4}} for i in range(9)}
    project.edit("papers/sample.figures.fig1.published", few)
    project.edit("papers/sample.figures.fig2.published", many)
    graph = project.graph()
    lines().to_parquet(_folder(graph.paths.table("sample_lines")))
    text = page(graph, ["sample"])
    first = text[text.index('id="sample.figure.fig1"') : text.index('id="sample.figure.fig2"')]
    rest = text[text.index('id="sample.figure.fig2"') :]
    assert first.index("<img") < first.index('<details class="beside" open>')
    assert "1 published number, 1 of them with one of ours: at another scale" in first
    assert "<caption>table 1</caption>" in first
    assert "12.0 ± 1.0</td>" in first
    assert '11.00 ± 0.58 <span class="n">(3 seeds)</span>' in first
    assert '<details class="beside">' in rest  # long: behind a click
    assert rest.count("not in this build") == 9


def test_the_report_at_the_papers_scale_says_within_and_prints_exact_numbers_whole(project):
    build(project)
    numbers = {
        "near": {**EXACT, **END, "value": 11.00025},
        "far": {**EXACT, **END, "value": 1208.55},
        "absent": {**EXACT, **END, "value": 1, "at": {"elr": 0.4}},
    }
    project.edit("papers/sample.figures.fig1.published", numbers)
    graph = project.graph("paper")
    store(graph.paths.claims("sample"), {"paper": "sample", "scale": "paper", "claims": RECORDS})
    lines().to_parquet(_folder(graph.paths.table("sample_lines")))
    text = page(graph, ["sample"])
    assert "3 published numbers, 2 of them with one of ours: 1 within, 1 not" in text
    assert '<td class="value">11.00025</td>' in text
    assert '<td class="value">1208.55</td>' in text
    assert '<td class="yes">yes</td>' in text and '<td class="no">no</td>' in text
    assert '<td colspan="3" class="why">not in this build</td>' in text
    # At another scale nothing is judged, and the column is left out.
    demo = project.graph()
    lines().to_parquet(_folder(demo.paths.table("sample_lines")))
    text = page(demo, ["sample"])
    assert '<td colspan="2" class="why">not in this build</td>' in text
    assert '<th scope="col">Within</th>' not in text


def _folder(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---------------------------------------------------------------------- the committed entries


@pytest.fixture(scope="module")
def paper_scale(committed):
    return graph_of(Config(committed), "paper")


def entries(graph):
    """(figure, number, entry) of all published numbers that lie beside ours."""
    for slug in graph.built:
        for figure in graph.figures(slug).values():
            for name, one in figure.published.items():
                if not one.compared:
                    for number in one.printed(name):
                        yield figure, number, one
            for name, table in figure.published_tables.items():
                file = graph.published_file(table.file, "here")
                for number in numbers_of(table, name, file):
                    yield figure, number, table


def table_of(figure, number, one) -> str:
    """The figure's table that has a number's column, by the page of columns."""
    names = [one.table] if one.table else list(figure.tables)
    having = [name for name in names if number.column in documented()[figure.tables[name]]]
    assert len(having) == 1, (figure.paper, figure.name, number.name, having)
    return figure.tables[having[0]]


def test_every_number_lies_beside_a_column_of_one_table(paper_scale):
    count = 0
    for figure, number, one in entries(paper_scale):
        columns = documented()[table_of(figure, number, one)]
        needed = {number.column, *number.at, one.over, one.error, one.count} - {None}
        assert needed <= set(columns), (figure.paper, figure.name, number.name)
        count += 1
    assert count > 1300


def test_every_number_names_rates_and_labels_of_runs_at_the_papers_scale(paper_scale):
    """Where a selector is an axis of the runs, some run has all of them: a rate mistyped in a
    paper's file would be missing for ever."""
    runs: dict[str, list[dict]] = {}
    checked = 0
    for figure, number, one in entries(paper_scale):
        table = table_of(figure, number, one)
        if table not in runs:
            found = paper_scale.selected(table).values()
            runs[table] = [{**run.columns, "experiment": run.experiment} for run in found]
        axes = set().union(*runs[table])
        wanted = {key: value for key, value in number.at.items() if key in axes}
        if wanted.get("seed") == -1:  # the middle of the seeds, a row of tables of borders
            del wanted["seed"]
        checked += bool(wanted)
        assert any(all(_like(run.get(k), v) for k, v in wanted.items()) for run in runs[table]), (
            figure.paper,
            figure.name,
            number.name,
        )
    assert checked > 400


def _like(own, value) -> bool:
    if isinstance(value, str):
        return own == value
    return isinstance(own, (int, float)) and math.isclose(own, value, rel_tol=LIKE)


def test_no_two_numbers_of_a_figure_lie_beside_one_cell(paper_scale):
    seen = {}
    for figure, number, one in entries(paper_scale):
        place = (figure.paper, figure.name, one.table, number.column, one.statistic, one.over)
        place = (*place, tuple(sorted(number.at.items())))
        assert place not in seen, f"{place}: {seen.get(place)} and {number.name}"
        seen[place] = number.name


def test_every_published_file_lies_beside_a_table(paper_scale):
    """By a claim, whose predicate takes both, or by a figure."""
    used = {
        path
        for slug in paper_scale.built
        for claim in paper_scale.claims(slug).values()
        if claim.published
        for path in claim.published.tables.values()
    }
    for slug in paper_scale.built:
        for figure in paper_scale.figures(slug).values():
            for one in figure.published_tables.values():
                used.add(paper_scale.published_file(one.file, "here"))
    assert used == set((paper_scale.config.folder / "published").glob("*/*.csv"))


def test_the_committed_numbers_are_listed_without_a_result(committed):
    graph = graph_of(Config(committed), "paper")
    rows = listing.published(graph, ["three-regimes"])
    assert {row["reason"] for row in rows} == {ABSENT}
    assert "three-regimes fig1: 24 published numbers, none with one of ours" in listing.text(rows)
