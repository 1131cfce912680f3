"""The triangular schedule of fast geometric ensembling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refigure.graph.catalogue import import_entry, settings

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "pretrain_basin_schedules.json"
KEY = "fge_first_25_epochs_then_two_cycles_of_2_epochs_10_batches_each__lr_of_every_batch_from"


def triangle(**keys):
    entry = settings("schedule", {"name": "triangles", **keys}, "test")
    return import_entry("schedule", "triangles").build(entry, 100)


def test_a_triangle_rises_for_half_a_cycle_and_falls_for_the_other():
    factor = triangle(cycle=2, ratio=3.0, low=0.1)
    found = [factor(epoch) for epoch in (0, 0.5, 1, 1.5, 2, 3)]
    assert found == pytest.approx([0.3, 1.65, 3.0, 1.65, 0.3, 3.0])


def test_rates_are_the_authors_batch_by_batch():
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    about = json.loads(REFERENCE.read_text(encoding="utf-8"))
    [rates] = [rates for name, rates in about.items() if name.startswith(KEY)]
    factor = triangle(cycle=2, ratio=1.0)
    # The first ten are of the last epoch before the cycles, whose schedule is another one.
    cycles = rates[10:50]
    assert [0.05 * factor(step / 10) for step in range(40)] == pytest.approx(cycles, rel=1e-9)
