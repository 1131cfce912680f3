"""The report page: self-contained, whole with holes in the results, and the same every time."""

from __future__ import annotations

import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import Project
from refigure.errors import UserError
from refigure.graph import Graph
from refigure.report.page import Ledger, count, duration, estimate, threshold, write_report

VOID = {"meta", "link", "img", "input", "br"}
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


class Page(HTMLParser):
    """Elements of a page in order; refuses tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())

    def every(self, tag: str, key: str) -> list[str]:
        return [attributes[key] for name, attributes in self.elements if name == tag]


def png(width: int = 300, height: int = 100, size: int = 0) -> bytes:
    """A white PNG, followed by bytes that make it as large as asked."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    rows = zlib.compress((b"\0" + b"\xff" * width) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", rows) + chunk(b"teXt", bytes(size)) + chunk(b"IEND", b"")


def figure(**more: Any) -> dict[str, Any]:
    return {"notebook": "fig1", "tables": {"lines": "sample_lines"}, "caption": "Lines.", **more}


def store(path: Path, content: bytes | dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


@pytest.fixture
def built(project: Project) -> Graph:
    """A graph with one paper's results: two figures drawn, one not; another paper not there."""
    figures = {
        "fig1": figure(look="Flat ends.", alt="Five falling lines"),
        "fig2": figure(design=True),
        "extra": figure(optional=True),
    }
    claim = {"decide": "tables.toy.holds", "tables": {"lines": "sample_lines"}}
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


def written(graph: Graph) -> str:
    write_report(graph)
    return (graph.paths.results / "report.html").read_text(encoding="utf-8")


def test_tags_match_and_ids_are_unique_and_inner_links_lead_somewhere(built):
    page = Page(written(built))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    inner = {link[1:] for link in page.every("a", "href") if link.startswith("#")}
    assert inner <= set(ids)


def test_nothing_is_loaded_from_elsewhere_and_only_arxiv_is_linked(built):
    text = written(built)
    page = Page(text)
    assert all(src.startswith("data:image/png;base64,") for src in page.every("img", "src"))
    assert page.every("link", "href") == ["data:,"]
    assert "src" not in {key for tag, keys in page.elements if tag == "script" for key in keys}
    assert re.findall(r"https?://[^\"<\s]+", text) == ["https://arxiv.org/abs/2001.00001"]
    assert "url(" not in text and "@import" not in text


def test_every_claim_has_its_verdict_as_a_word_its_numbers_and_its_reason(built):
    said = Page(written(built)).said
    for record in RECORDS:
        assert record["statement"] in said
        assert record["reason"] in said
    assert "✓ holds c1 Losses <fall> & stay." in said
    assert "? undecided c2" in said
    assert "✗ fails c3" in said
    assert "0.432 ± 0.012 (3 seeds) threshold 0.1 to 0.5" in said
    assert "missing no value" in said
    assert "worst of all no value threshold 10⁻⁶" in said
    assert "Conditions: on the sphere" in said


def test_numbers_with_a_threshold_are_never_behind_a_click(built):
    text = written(built)
    claim = text[text.index('id="sample.claim.c3"') : text.index("record of c3")]
    before, behind = claim.split("<details>")
    assert ">last<" in before and ">worst of all<" in before and "5 further numbers" in behind
    assert before.count("<tr>") == 6 and behind.count("<tr>") == 5


def test_every_picture_has_an_alt_text_and_its_size(built):
    page = Page(written(built))
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["Five falling lines", "Lines."]
    assert all((p["width"], p["height"]) == ("300", "100") for p in pictures)


def test_figures_link_to_their_files_beside_the_page(built):
    links = Page(written(built)).every("a", "href")
    for file in ("figures/sample/fig1.pdf", "figures/sample/fig1.csv"):
        assert file in links
    assert "notebooks/sample/fig1.ipynb" in links
    assert "claims/sample/c1.json" in links


def test_a_figure_that_is_not_drawn_says_how_to_draw_it(built):
    said = Page(written(built)).said
    target = "results/demo/figures/sample/extra.pdf"
    assert f"Drawn only when asked for: snakemake -c 2 -- {target}" in said


def test_a_paper_that_is_not_there_is_named(built):
    assert "A later paper not built yet" in Page(written(built)).said


def test_a_scale_without_any_built_paper_has_a_page(project):
    project.edit("papers/sample.figures", {}).edit("papers/sample.claims", {})
    assert "A paper not built yet" in Page(written(project.graph())).said


def test_the_top_counts_verdicts_and_says_what_the_scale_file_says(built):
    (built.config.folder / "scales/demo.yaml").write_text(
        "# Two lines of\n# words.\n" + (built.config.folder / "scales/demo.yaml").read_text()
    )
    said = Page(written(built)).said
    assert "1 ✓ holds 1 ✗ fails 1 ? undecided 2 figures" in said
    assert "Two lines of words." in said
    assert "What this scale leaves open: 1 claim" in said


def test_the_cost_is_the_sum_over_the_runs_behind_a_table(built):
    runs = built.table("sample_lines").runs["runs"]
    work = Ledger(built).work(["sample_lines"])
    assert (work.runs, work.packs) == (len(runs), len(built.packs_of(runs)))
    assert work.epochs == 10 * len(runs)
    assert work.seconds == {"a processor": 2.5 * len(runs)}


def test_runs_of_probes_and_of_other_tables_count_once(built):
    probed = {run.id for run, _ in built.probes["sample_probe"].roles["end"]}
    lines = {run.id for run in built.table("sample_lines").runs["runs"]}
    assert lines < probed
    assert set(Ledger(built).runs(["sample_sharpness", "sample_lines"])) == probed


def test_runs_that_others_start_from_are_part_of_the_cost(built, project):
    selection = {"runs": {"from": "sphere_convnet_c10_ft", "where": {"seed": 0}}}
    project.edit("sample_lines.runs", selection["runs"])
    graph = project.graph()
    runs = graph.table("sample_lines").runs["runs"]
    parents = {run.parent.id for run in runs}
    assert set(Ledger(graph).runs(["sample_lines"])) == {run.id for run in runs} | parents


def test_packs_that_are_not_at_hand_are_said_to_be_missing(built):
    runs = built.table("sample_lines").runs["runs"]
    for pack in built.packs_of(runs):
        (built.paths.pack(pack) / "run.json").unlink()
    assert f"(cost of {count(len(runs), 'run')} not at hand)" in written(built)


def test_the_same_results_give_the_same_bytes(built):
    assert written(built) == written(Graph(built.config, "demo"))


def test_thirty_large_figures_stay_below_15_megabytes(built, project):
    names = [f"fig{number}" for number in range(1, 31)]
    project.edit("papers/sample.figures", {name: figure() for name in names})
    graph = project.graph()
    for name in names:
        store(graph.paths.figure("sample", name, "png"), png(size=100_000))
    assert 4_000_000 < len(written(graph).encode()) < 15_000_000


def test_missing_verdicts_are_one_line_and_leave_the_old_page(built):
    before = written(built)
    built.paths.claims("sample").unlink()
    with pytest.raises(UserError, match=r"claims/sample\.json: not there yet"):
        write_report(built)
    folder = built.paths.results
    assert (folder / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in folder.glob("*report*")] == ["report.html"]


def test_a_file_that_is_no_png_is_named(built):
    store(built.paths.figure("sample", "fig1", "png"), b"GIF89a")
    with pytest.raises(UserError, match=r"fig1\.png: not a PNG"):
        write_report(built)


@pytest.mark.parametrize(
    ("value", "se", "text"),
    [
        (None, None, "no value"),
        (0.0, None, "0"),
        (0.5, None, "0.5"),
        (-12345.6, None, "−12346"),
        (3.2e-9, None, "3.2 × 10⁻⁹"),
        (1e-6, None, "10⁻⁶"),
        (250000.0, None, "2.5 × 10⁵"),
        (0.5123, 0.0134, "0.512 ± 0.013"),
        (-1.0, 0.5, "−1.00 ± 0.50"),
        (1.234e-5, 4.1e-7, "(1.234 ± 0.041) × 10⁻⁵"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (1234.0, 250.0, "1234 ± 250"),
        (0.75, 0.0, "0.75 ± 0"),
        (0.5, 1e-9, "0.5 ± 10⁻⁹"),
    ],
)
def test_values_are_rounded_to_two_digits_of_their_error(value, se, text):
    assert estimate(value, se) == text


def test_thresholds_are_a_bound_or_a_range():
    assert threshold(0.25) == "0.25"
    assert threshold([-0.25, 0.25]) == "−0.25 to 0.25"


def test_durations_and_counts_read_as_a_person_says_them():
    assert [duration(s) for s in (0.4, 42, 420, 12240, 1e6)] == [
        "0 s",
        "42 s",
        "7 min",
        "3.4 h",
        "12 d",
    ]
    assert count(1, "run") == "1 run"
    assert count(12400, "network-epoch") == "12\N{NARROW NO-BREAK SPACE}400 network-epochs"
