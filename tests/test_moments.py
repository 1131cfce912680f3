"""Test errors are measured with re-estimated moments wherever an epoch has few steps. No torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refigure.graph.config import Config
from refigure.graph.lookups import Graph

WITHOUT_BATCH_NORM = {"vit", "mlp", "tick_mlp", "swin_t", "plain_convnet"}
WITHOUT_BATCH_NORM |= {"lstm_classifier", "lstm_language_model"}


def normalises_by_batch(model: dict) -> bool:
    """A model whose name is not known to do without counts as one with batch norm."""
    if model["name"] in WITHOUT_BATCH_NORM:
        return False
    return not str(model.get("norm", "batch")).startswith(("none", "weight"))


@pytest.mark.parametrize("scale", ["smoke", "demo", "small", "small8"])
def test_no_experiment_forgets_to_re_estimate_the_moments(scale, committed: Path):
    """Running moments lag by whole epochs where an epoch has ten steps: 48 % of test error were
    shown where the network had 1 %."""
    graph = Graph(Config(committed), scale)
    forgotten, seen = set(), 0
    for pack in graph.packs.values():
        for run in pack.runs:
            if not normalises_by_batch(run.spec.model):
                continue
            for record in map(json.loads, pack.wanted.records):
                if record["name"] == "test":
                    seen += 1
                    if not record["recomputed"]:
                        forgotten.add(run.experiment)
    assert seen
    assert not forgotten
