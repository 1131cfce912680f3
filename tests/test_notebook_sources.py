"""What holds for every notebook of every paper, before it is executed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "code/notebooks").glob("*/*.ipynb"))
LIBRARIES = {"numpy", "pandas"}
NAMES = {
    "refigure": {"plotting"},
    "refigure.plotting": {
        "plt",
        "ensembles",
        "sphere",
        "large_lr",
        "rnn",
        "transfer",
        "memorization",
    },
    "functools": {"partial"},
}
"""What is imported by name: of ours `plotting` alone, whose code is in a figure's fingerprint."""
VERDICTS = {"three-regimes/tab_claims", "where-large-lrs/tab_setups"}
"""Notebooks that tabulate verdicts: they wrap texts, and may read a JSON file."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_is_committed_clean_and_short(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["language_info"]["name"] == "python"
    assert notebook["cells"][0]["cell_type"] == "markdown"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    tagged = [cell for cell in code if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert "plotting.save(" in "".join(code[-1]["source"])
    assert ("verdict" in path.read_text()) == (f"{path.parent.name}/{path.stem}" in VERDICTS)
    drawing = ["".join(cell["source"]) for cell in code if cell not in tagged]
    assert sum(len([1 for line in text.splitlines() if line.strip()]) for text in drawing) <= 85
    tabulates = f"{path.parent.name}/{path.stem}" in VERDICTS
    allowed = LIBRARIES | ({"json", "textwrap"} if tabulates else set())
    for text in drawing:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                assert {name.name for name in node.names} <= allowed
            if isinstance(node, ast.ImportFrom):
                assert {name.name for name in node.names} <= NAMES.get(
                    node.module, {"Path"} if tabulates else set()
                )
