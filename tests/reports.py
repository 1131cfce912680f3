"""A paper with results made by hand, for tests of the page that shows them."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

from conftest import Project
from PIL import Image
from refigure.graph.lookups import Graph

NOTHING = {"value": None, "se": None, "n": None, "n_of": None}
LOSS = {"value": 0.4321, "se": 0.0123, "n": 3, "n_of": "seeds"}
RECORDS = [
    {
        "id": "c1",
        "statement": "Losses <fall> & stay.",
        "verdict": "holds",
        "numbers": {"loss": LOSS},
        "threshold": {"loss": [0.1, 0.5]},
        "figures": ["fig1"],
        "reason": "",
    },
    {
        "id": "c2",
        "statement": "It is seen nowhere.",
        "verdict": "undecided",
        "numbers": {"missing": NOTHING},
        "threshold": None,
        "figures": [],
        "reason": "source not configured",
    },
    {
        "id": "c3",
        "statement": "Many numbers decide.",
        "verdict": "fails",
        "numbers": {f"rate {i}": LOSS for i in range(9)} | {"last": LOSS},
        "threshold": {"last": 0.25, "worst of all": 1e-6},
        "figures": ["fig2"],
        "reason": "0.4321 is not below 0.25",
    },
]


def png(width: int = 300, height: int = 100, noise: int | None = None) -> bytes:
    """A white PNG, or one of noise from a seed, which no format makes small."""
    image = Image.new("RGB", (width, height), "white")
    if noise is not None:
        image = Image.frombytes(
            "RGB", image.size, random.Random(noise).randbytes(3 * width * height)
        )
    content = io.BytesIO()
    image.save(content, "png", compress_level=1)
    return content.getvalue()


def figure(**more: Any) -> dict[str, Any]:
    return {"notebook": "fig1", "tables": {"lines": "sample_lines"}, "caption": "Lines.", **more}


def store(path: Path, content: bytes | dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def build(project: Project) -> Graph:
    """A graph with one paper's results: two figures drawn, one not; another paper not there."""
    figures = {
        "fig1": figure(look="Flat ends.", alt="Five falling lines"),
        "fig2": figure(design=True),
        "extra": figure(optional=True),
    }
    claim = {"decide": "claims.three_regimes.better_within_r1", "tables": {"lines": "sample_lines"}}
    project.edit("papers/sample.figures", figures)
    project.edit("papers/sample.authors", ["A. Author", "B. Author"])
    project.edit("papers/sample.venue", "A venue 2020")
    project.edit("papers/sample.arxiv", "2001.00001")
    claims = {
        record["id"]: {**claim, "statement": record["statement"], "figures": record["figures"]}
        for record in RECORDS
    }
    claims["c1"]["conditions"] = "on the sphere"
    project.edit("papers/sample.claims", claims)
    project.write("papers/later.yaml", "title: A later paper\n")
    project.edit("config.papers", ["sample", "later"])
    graph = project.graph()
    store(graph.paths.claims("sample"), {"paper": "sample", "scale": "demo", "claims": RECORDS})
    for name in ("fig1", "fig2"):
        store(graph.paths.figure("sample", name, "png"), png())
    for pack in graph.packs_of(graph.table("sample_lines").runs["runs"]):
        runs = {
            run.id: {"last_epoch": 10, "seconds": 2.5, "device": "a processor"}
            for run in graph.packs[pack].runs
        }
        store(graph.paths.pack(pack) / "run.json", {"runs": runs})
    return graph
