"""What the notebooks share: colours, means, borders, tables, and the bytes of saved figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from refigure import plotting
from refigure.files import socket_folder
from refigure.plotting import large_lr, plt, sphere


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_eight_elrs_have_the_papers_colours():
    seaborn = pytest.importorskip("seaborn")
    colours = seaborn.color_palette("gist_rainbow", 30)
    elrs = [1e-1, 1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 5e-2]
    palette = sphere.elr_palette(elrs)
    for elr, pick in zip(sorted(elrs), (0, 3, 5, 12, 18, 21, 26, 29), strict=True):
        np.testing.assert_allclose(palette[elr][:3], colours[pick], atol=1e-9)


@pytest.mark.parametrize("number", [0, 1, 2, 5, 16, 32])
def test_any_number_of_elrs_has_as_many_colours(number):
    palette = sphere.elr_palette(np.geomspace(1e-6, 2, number) if number else [])
    assert len(set(palette.values())) == number


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-3, "1e-3"), (5.6e-3, "5.6e-3"), (0.1, "1e-1"), (1.0, "1"), (10.0, "10"), (0.0, "0")],
)
def test_a_learning_rate_is_written_short(value, text):
    assert plotting.short(value) == text


def test_a_mean_has_the_standard_error_over_seeds_and_leaves_out_missing_values():
    frame = pd.DataFrame(
        {"elr": [1e-3, 1e-3, 1e-3, 1e-2], "seed": [0, 1, 2, 0], "loss": [1.0, 3.0, np.nan, 5.0]}
    )
    points = plotting.mean_and_error(frame, ["elr"], "loss")
    assert points["mean"].tolist() == [2.0, 5.0]
    assert points["se"].tolist() == [1.0, 0.0]
    assert points["n"].tolist() == [2, 1]


def borders(**ends: float) -> pd.DataFrame:
    row = {"last_r1": np.nan, "first_r2": np.nan, "last_r2": np.nan, "first_r3": np.nan, **ends}
    return pd.DataFrame([{"family": "M1", "seed": -1, **row}])


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({"last_r1": 1, "first_r2": 4, "last_r2": 9, "first_r3": 16}, (2, 12)),
        ({"last_r1": 1, "first_r3": 4}, (2, 2)),
        ({"first_r2": 1, "last_r2": 4, "first_r3": 9}, (np.nan, 6)),
        ({"last_r1": 1}, (np.nan, np.nan)),
    ],
)
def test_a_border_is_the_geometric_middle_of_its_interval(ends, expected):
    found = sphere.border_values(borders(**ends), "M1")
    np.testing.assert_allclose(found, expected)
    assert np.isnan(sphere.border_values(borders(**ends), "M2")).all()


def test_reading_picks_columns_and_names_the_absent_one(tmp_path):
    path = str(tmp_path / "runs.parquet")
    pd.DataFrame({"b": [1.0], "a": [2.0], "c": [3.0]}).to_parquet(path)
    assert list(plotting.read(path, "a", "b")) == ["a", "b"]
    with pytest.raises(ValueError, match=r"has no column elr; it has b, a, c"):
        plotting.read(path, "a", "elr")


def test_an_empty_table_has_every_column_asked_for(tmp_path):
    path = str(tmp_path / "runs.parquet")
    pd.DataFrame({"run": [], "epoch": []}).to_parquet(path)
    frame = plotting.read(path, "elr", "epoch")
    assert list(frame) == ["elr", "epoch"]
    assert not len(frame)


def test_a_line_skips_moments_without_a_number():
    runs = pd.DataFrame({"elr": 1e-3, "epoch": [0, 1, 2, 3], "loss": [4.0, np.nan, 2.0, np.inf]})
    _, axes = plt.subplots()
    assert plotting.lines(axes, runs, "elr", "epoch", "loss", {1e-3: "red"})
    assert axes.lines[0].get_xydata().tolist() == [[0, 4], [2, 2]]


def test_small_elrs_lie_on_top():
    runs = pd.DataFrame({"elr": [1e-3, 1e-2, 1e-1], "epoch": 0, "loss": 1.0})
    _, axes = plt.subplots()
    palette = sphere.elr_palette(runs["elr"])
    plotting.lines(axes, runs, "elr", "epoch", "loss", palette)
    assert [line.get_color() for line in axes.lines] == [palette[elr] for elr in (0.1, 0.01, 0.001)]


def test_a_panel_without_numbers_says_so():
    runs = pd.DataFrame({"elr": [1e-3], "epoch": [0.0], "loss": [np.nan]})
    _, axes = plt.subplots()
    assert not plotting.lines(axes, runs, "elr", "epoch", "loss", {})
    assert "no runs" in axes.texts[0].get_text()


def test_a_short_logarithmic_axis_has_at_least_two_labels():
    for high in (1.5, 3, 8, 20, 100):
        figure, axes = plt.subplots()
        axes.plot([1.1, 1.1 * high], [1.1, 1.1 * high])
        plotting.log_ticks(axes)
        figure.draw_without_rendering()
        low, top = axes.get_ylim()
        seen = [
            label.get_text()
            for label in axes.get_yticklabels()
            if low <= label.get_position()[1] <= top and label.get_text()
        ]
        assert len(set(seen)) >= 2, high


@pytest.mark.parametrize("number", [1, 8, 16, 32])
def test_the_legend_of_elrs_covers_no_panel(number):
    figure, grid = plt.subplots(1, 3, figsize=(11.25, 1.875))
    plotting.elr_legend(figure, sphere.elr_palette(np.geomspace(1e-6, 2, number)))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert all(legend.x0 > axes.get_window_extent().x1 for axes in grid)
    assert legend.height < 1.3 * figure.bbox.height


def test_published_numbers_are_for_the_papers_scale_only():
    entry = {"value": 1.0, "tolerance": 0.1, "source": "figure 1", "column": "train_loss"}
    settings = {"scale": "paper", "published": {"loss": entry}}
    assert plotting.published(settings, "train_loss") == [entry]
    assert plotting.published(settings, "test_error") == []
    assert plotting.published({**settings, "scale": "demo"}, "train_loss") == []


def test_saving_twice_gives_the_same_bytes_and_the_numbers(tmp_path):
    numbers = pd.DataFrame({"x": [1, 2], "y": [1 / 3, np.nan]})
    for name in ("a", "b"):
        figure, axes = plt.subplots()
        axes.plot(numbers["x"], numbers["y"])
        plotting.save(figure, numbers, str(tmp_path / name))
    for suffix in ("pdf", "png", "csv"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert (tmp_path / "a.csv").read_text() == "x,y\n1,0.3333333333\n2,\n"
    assert b"CreationDate" not in (tmp_path / "a.pdf").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in "ab" for suffix in ("pdf", "png", "csv")
    }


def test_the_legend_names_the_borders_that_are_drawn_and_no_others():
    nowhere = dict.fromkeys(("eta12", "eta2AB", "eta23"), np.nan)
    first, last = nowhere | {"eta12": 1e-2}, nowhere | {"eta2AB": 2e-2, "eta23": 1e-1}
    for borders, number in (([nowhere], 0), ([nowhere, first], 1), ([first, last], 2)):
        axes = plt.figure().add_subplot()
        for each in borders:
            large_lr.mark_edges(axes, each)
        drawn = {line.get_linestyle() for line in axes.lines}
        named = [line.get_linestyle() for line in large_lr.edge_lines(borders)]
        assert set(named) == drawn and len(named) == number


def test_cells_of_a_table_lie_below_each_other_and_inside():
    frame = pd.DataFrame({"Claim": ["C1", "C2"], "What is said": ["word " * 40, "short"]})
    figure = plotting.table(frame, [0.6, 2.5])
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for upper, lower in pairwise(boxes[1::2]):
        assert upper.y0 > lower.y1
    assert all(box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)


def test_a_table_without_rows_says_so():
    figure = plotting.table(pd.DataFrame({"Claim": [], "Verdict": []}), [1.0, 1.0])
    assert "nothing at this scale" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("temporary", ["/tmp", "/scratch/" + "long/" * 30])
def test_a_socket_path_is_short_enough_for_every_system(temporary):
    folder = socket_folder(temporary)
    assert len(f"{folder}/refigure-12345678/jobs") <= 103
