"""Bands of a spectrum, against waves of known frequency and the specification's counts."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from engine import EXPERIMENTS, graph_of, images, prepared, project, trained
from refigure import stages
from refigure.measures import norms, spectra
from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics

ENDS = {"background": 0, "low": 0.25, "mid": 0.75, "high": 1}
BANDS32 = {"background": [0, 0], "low": [1, 8], "mid": [9, 24], "high": [25, 32]}
BANDS8 = {"background": [0, 0], "low": [1, 2], "mid": [3, 6], "high": [7, 8]}


def wave(rows: int, columns: int, size: int = 8) -> torch.Tensor:
    """A cosine of so many periods along both axes, (size, size)."""
    places = torch.arange(size, dtype=torch.float64) / size * 2 * math.pi
    return torch.cos(rows * places[:, None] + columns * places[None, :])


def test_the_bands_of_32_pixels_have_the_coefficients_that_the_specification_counts():
    far = spectra.distances(32)
    counts = {
        band: int(((far >= low) & (far <= high)).sum()) for band, (low, high) in BANDS32.items()
    }
    assert counts == {"background": 1, "low": 144, "mid": 766, "high": 113}


@pytest.mark.parametrize(
    ("rows", "columns", "band"),
    [(0, 0, "background"), (1, 0, "low"), (1, -1, "low"), (2, 1, "mid"), (3, 3, "mid"),
     (-3, 2, "mid"), (4, 3, "high"), (4, 4, "high")],
)  # fmt: skip
def test_a_wave_is_whole_in_the_band_of_its_frequency(rows, columns, band):
    parts = spectra.split(wave(rows, columns)[None], BANDS8)
    for name, part in parts.items():
        expected = wave(rows, columns)[None] if name == band else torch.zeros(1, 8, 8)
        torch.testing.assert_close(part, expected.double(), atol=1e-12, rtol=0)


def test_bands_follow_one_another_in_shares_of_the_size():
    assert spectra.bands_of(32, ENDS) == {band: tuple(ends) for band, ends in BANDS32.items()}
    assert spectra.bands_of(8, ENDS) == {band: tuple(ends) for band, ends in BANDS8.items()}
    for ends, message in (({"low": 0.5}, "must end at 1"), ({"a": 0.5, "b": 0.5, "c": 1}, "empty")):
        with pytest.raises(ValueError, match=message):
            spectra.bands_of(8, ends)


def test_the_bands_of_an_image_sum_to_it():
    picture = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sum(spectra.split(picture, BANDS32).values()), picture)


@pytest.mark.parametrize("low", [[1, 3], [1, 1]])
def test_bands_that_overlap_or_leave_a_gap_are_refused(low):
    with pytest.raises(ValueError, match="each distance of 0 to 8 once"):
        spectra.split(torch.zeros(1, 8, 8), {**BANDS8, "low": low})


class Reader:
    """Says class 1 where the image holds the wave (2, 1), class 2 where it holds the constant,
    by the amount given, else 0."""

    def __init__(self, threshold: float):
        self.threshold = threshold

    def forward(self, parameters, pixels, statistics):
        seen = [(pixels * wave(*of).float()).mean((2, 3, 4)) for of in ((2, 1), (0, 0))]
        return torch.stack([torch.full_like(seen[0], self.threshold), *seen], -1)


def reading(threshold: float, pixel_std) -> dict[str, dict[str, float]]:
    """Accuracies by band on 4 images of the wave (class 1) and 6 of a constant 1 (class 2)."""
    pixels = torch.stack([*[wave(2, 1)] * 4, *[wave(0, 0)] * 6])[None, :, None].float()
    labels = torch.tensor([[1] * 4 + [2] * 6])
    task = SimpleNamespace(
        model=SimpleNamespace(normalised={}),
        evaluation=lambda which, networks: iter(
            [SimpleNamespace(images=pixels, labels=labels)] if which == "test" else []
        ),
        scores=lambda logits, labels: (None, (logits.argmax(-1) != labels).float()),
    )
    weights = {"none": torch.zeros(1, 1)}
    member = Member(None, Reader(threshold), task, weights, Statistics({}, "running"), pixel_std)
    rows = spectra.measure(Group({}, {"pt": [member]}), ends=ENDS)
    assert {row["stage"] for row in rows} == {"pt"}
    return {row["band"]: {key: row[key] for key in ("accuracy", "accuracy_raw")} for row in rows}


def test_the_accuracy_on_a_band_is_of_the_images_that_are_told_by_it():
    found = reading(0.1, None)  # the wave's mean square is 1/2
    assert {band: row["accuracy"] for band, row in found.items()} == {
        "background": 60, "low": 0, "mid": 40, "high": 0
    }  # fmt: skip
    assert all(np.isnan(row["accuracy_raw"]) for row in found.values())


def test_raw_bands_are_as_small_as_in_the_pixels():
    found = reading(0.2, torch.tensor([0.25]))  # 1/2 is seen, 1/8 is not
    assert found["mid"] == {"accuracy": 40, "accuracy_raw": 0}
    assert found["background"] == {"accuracy": 60, "accuracy_raw": 60}


def test_an_example_has_the_pixels_and_amplitudes_of_its_bands():
    data = images()
    rows = spectra.example(data, ENDS, 3)
    assert list(rows.columns) == list(spectra.EXAMPLE)
    picture = data.test_images[3, 0].double()
    shown = rows[(rows["band"] == "image") & (rows["quantity"] == "pixels")]
    scaled = (picture - picture.min()) / (picture.max() - picture.min())
    assert shown["value"].to_numpy() == pytest.approx(scaled.flatten().numpy())
    constant = rows[(rows["band"] == "background") & (rows["quantity"] == "log_amplitude")]
    assert constant[["row", "column"]].to_numpy().tolist() == [[4, 4]]
    assert constant["value"].item() == pytest.approx(math.log(abs(float(picture.sum()))))
    counts = rows[rows["quantity"] == "log_amplitude"]["band"].value_counts()
    assert counts["low"] + counts["mid"] + counts["high"] + 1 == counts["image"] == 64
    assert not len(spectra.example(None, ENDS, 3))


def test_the_shares_of_filters_are_their_norms_over_that_of_all():
    weights = {"a": torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), "b": torch.tensor([[[12.0]]])}
    weights["head"] = torch.full((1, 1, 1), 99.0)
    kinds = {"a": "invariant", "b": "invariant", "head": "head"}
    member = SimpleNamespace(model=SimpleNamespace(groups=kinds), parameters=weights)
    rows = norms.measure(Group({}, {"init": [member]}))
    expected = [math.log10(norm / 13) for norm in (3, 4, 12)]
    assert [row["log10_share"] for row in rows] == pytest.approx(expected)
    assert [(row["stage"], row["filter"]) for row in rows] == [("init", n) for n in range(3)]


TABLES = """
probes:
  bands:
    measure: measures.spectra.measure
    of: {pt: {from: plain, point: mid, carry: {elr: plr}}}
    each: [plr, seed]
    options: {ends: {background: 0, low: 0.25, mid: 0.75, high: 1}}
"""


def test_data_and_probes_reach_the_measure_and_the_table(tmp_path):
    tables = "  picture: {compute: measures.spectra.example, data: {images: tiny}, options: "
    tables += "{ends: {all: 1}, image: 0}}\n"
    graph = prepared(graph_of(project(tmp_path, EXPERIMENTS + tables + TABLES)))
    data = graph.data_of("tiny", "test")
    assert graph.paths.data(data) in graph.table_files("picture")
    stages.table(graph, "picture")
    assert set(pd.read_parquet(graph.paths.table("picture"))["band"]) == {"image", "all"}
    trained(graph, "plain")
    stages.measure(graph, "bands")
    rows = pd.read_parquet(graph.paths.measure("bands"))
    assert len(rows) == 4 * 4 and rows[["accuracy", "accuracy_raw"]].notna().all().all()
