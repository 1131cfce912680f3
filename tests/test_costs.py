"""The pages that say what something costs are those of the kept plans, and these of today."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import draw_costs  # noqa: E402

sys.path.pop(0)
KEPT = json.loads(draw_costs.KEPT.read_text(encoding="utf-8"))
NEAR = 0.1
"""How far, as a share, a plan may move before the pages are to be written anew."""


def test_pages_are_written_from_the_kept_plans():
    for path, text in draw_costs.written(KEPT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run docs/draw_costs.py --pages"


@pytest.mark.parametrize("slug", [row["paper"] for row in KEPT["paper"]["papers"]])
def test_every_papers_page_has_a_place_for_its_cost(slug):
    for path in (ROOT / f"docs/papers/{slug}.md", ROOT / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert text.count(draw_costs.OPEN) == text.count(draw_costs.CLOSE) == 1, path


def test_the_kept_plans_are_those_of_the_committed_configuration():
    planned = draw_costs.planned()
    for scale in draw_costs.SCALES:
        for now, kept in zip(planned[scale]["papers"], KEPT[scale]["papers"], strict=True):
            told = f"{scale}, {now['paper']}: {now['hours']} hours now; run docs/draw_costs.py"
            assert now["paper"] == kept["paper"]
            assert now["hours"] == pytest.approx(kept["hours"], rel=NEAR, abs=0.2), told
