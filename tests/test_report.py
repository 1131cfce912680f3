"""The report page: self-contained, whole with holes in the results, and the same every time."""

from __future__ import annotations

import base64
import io
import itertools
import re
from html.parser import HTMLParser

import pytest
from conftest import Project
from PIL import Image
from refigure.errors import UserError
from refigure.graph.lookups import Graph
from refigure.report.behind import Behind, beyond
from refigure.report.page import unit_of, write_report
from refigure.report.pictures import PICTURE_BYTES, embedded
from refigure.report.summary import verdict_table
from refigure.report.wording import count, estimate, joined, threshold, worked
from reports import LOSS, RECORDS, build, figure, png, store

VOID = {"meta", "link", "img", "input", "br"}


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


@pytest.fixture
def built(project: Project) -> Graph:
    """A graph with results made by hand."""
    return build(project)


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
    assert all(src.startswith("data:image/webp;base64,") for src in page.every("img", "src"))
    assert page.every("link", "href") == ["data:,"]
    assert "src" not in {key for tag, keys in page.elements if tag == "script" for key in keys}
    policy = next(keys["content"] for tag, keys in page.elements if "http-equiv" in keys)
    assert policy.startswith("default-src 'none'; img-src data:;")
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
    claim = text[text.index('id="sample.claim.c3"') : text.index("claims/sample/c3.json")]
    before, behind = claim.split("<details>")
    assert ">last<" in before and ">worst of all<" in before and "5 further numbers" in behind
    assert before.count('scope="row"') == 6 and behind.count('scope="row"') == 5


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
    said = Page(written(built)).said
    assert "A later paper not built yet" in said
    assert "Not built yet: its figures and claims are not there" in said


def test_a_scale_without_any_built_paper_has_a_page(project):
    project.edit("papers/sample.figures", {}).edit("papers/sample.claims", {})
    assert "A paper not built yet" in Page(written(project.graph())).said


def test_the_top_counts_verdicts_and_says_what_the_scale_file_says(built):
    (built.config.folder / "scales/demo.yaml").write_text(
        "# Two lines of\n# words.\n" + (built.config.folder / "scales/demo.yaml").read_text()
    )
    said = Page(written(built)).said
    assert "1 ✓ holds 1 ✗ fails 1 ? undecided 2 figures 1 of 2 papers" in said
    assert "Two lines of words." in said


def test_the_top_has_a_cell_a_claim_that_says_its_verdict_and_leads_to_it(built):
    text = written(built)
    top = text[: text.index("</header>")]
    cells = re.findall(r'class="cell (\w+)" href="#sample\.claim\.(\w+)"', top)
    assert cells == [("holds", "c1"), ("undecided", "c2"), ("fails", "c3")]
    assert "✓ c1 holds ? c2 undecided ✗ c3 fails" in Page(text).said


def test_headings_go_down_one_step_at_a_time(built):
    levels = [int(tag[1]) for tag, _ in Page(written(built)).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(low - high <= 1 for high, low in itertools.pairwise(levels))


def test_a_number_has_the_unit_of_the_longest_phrase_in_its_name(built, project):
    units = {"error": "%", "loss": "nats", "loss over the first": ""}
    assert unit_of("test error, ELR 1", units) == "%"
    assert unit_of("loss over the first epoch", units) == ""
    assert unit_of("gradient norm", units) == ""
    project.edit("papers/sample.units", units)
    assert "0.432 ± 0.012 nats (3 seeds)" in Page(written(project.graph())).said


def test_one_of_what_is_counted_is_said_in_the_singular(built):
    record = {**RECORDS[0], "numbers": {"loss": {**LOSS, "se": None, "n": 1}}}
    store(built.paths.claims("sample"), {"paper": "sample", "scale": "demo", "claims": [record]})
    assert "0.4321 (1 seed)" in Page(written(built)).said


def test_a_figure_says_which_runs_are_behind_it_with_their_packs_and_cost(built):
    text = written(built)
    said = Page(text).said
    runs = built.table("sample_lines").runs["runs"]
    packs = built.packs_of(runs)
    cost = f"{len(runs)} networks, {2.5 * len(runs):.0f} GPU-seconds on a processor."
    assert "sphere_convnet_c10 : elr " in said and cost in said
    for pack in packs:
        assert f'<a href="packs/{pack}/run.json">{pack}</a>' in text


def test_a_figure_says_what_the_papers_own_size_has_beyond_this_scale(built):
    text = Page(written(built)).said
    there = Graph(built.config, "paper")
    mine, theirs = (len(of.table("sample_lines").runs["runs"]) for of in (built, there))
    assert mine < theirs
    assert f"Not at this scale {theirs - mine} of the paper's {theirs} networks; epochs " in text
    assert "cifar10 (here: digits, 896 to train on)" in text


def test_the_papers_own_size_lacks_nothing_and_says_nothing(built):
    assert beyond(Behind(built), Behind(built), ["sample_lines", "sample_sharpness"]) == []


def test_a_figure_without_networks_at_this_scale_says_so(built, project):
    there = Graph(built.config, "paper")
    project.edit("scales/demo.data.images10", None)
    here = project.graph()
    theirs = len(there.table("sample_lines").runs["runs"])
    said = beyond(Behind(here), Behind(there), ["sample_lines"])
    assert said == [f"all of its {theirs} networks: none is trained at this scale"]


def test_the_cost_is_the_sum_over_the_runs_behind_a_table(built):
    runs = built.table("sample_lines").runs["runs"]
    work = Behind(built).work(["sample_lines"])
    assert (work.runs, work.packs) == (len(runs), len(built.packs_of(runs)))
    assert work.epochs == 10 * len(runs)
    assert work.seconds == {"a processor": 2.5 * len(runs)}


def test_runs_of_probes_and_of_other_tables_count_once(built):
    probed = {run.id for run, _ in built.probes["sample_probe"].roles["end"]}
    lines = {run.id for run in built.table("sample_lines").runs["runs"]}
    assert lines < probed
    assert set(Behind(built).runs(["sample_sharpness", "sample_lines"])) == probed


def test_runs_that_others_start_from_are_part_of_the_cost(built, project):
    selection = {"runs": {"from": "sphere_convnet_c10_ft", "where": {"seed": 0}}}
    project.edit("sample_lines.runs", selection["runs"])
    graph = project.graph()
    runs = graph.table("sample_lines").runs["runs"]
    parents = {run.parent.id for run in runs}
    assert set(Behind(graph).runs(["sample_lines"])) == {run.id for run in runs} | parents


def test_packs_that_are_not_at_hand_are_said_to_be_missing(built):
    runs = built.table("sample_lines").runs["runs"]
    for pack in built.packs_of(runs):
        (built.paths.pack(pack) / "run.json").unlink()
    assert f"cost of {count(len(runs), 'network')} not at hand" in written(built)


def test_the_same_results_give_the_same_bytes(built):
    assert written(built) == written(Graph(built.config, "demo"))


def test_a_picture_is_embedded_with_its_very_pixels(tmp_path):
    path = tmp_path / "fig.png"
    image = Image.new("RGB", (400, 100), "white")
    image.paste((1, 2, 3), (10, 10, 60, 20))
    image.save(path)
    picture = embedded(path)
    assert (picture.width, picture.height, picture.reduced, picture.wide) == (400, 100, False, True)
    content = base64.b64decode(picture.source.partition(",")[2])
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "WEBP"
        assert opened.convert("RGB").tobytes() == image.tobytes()


def test_twenty_large_figures_make_a_page_below_a_fifth_of_13_megabytes(built, project):
    names = [f"fig{number}" for number in range(1, 21)]
    project.edit("papers/sample.figures", {name: figure() for name in names})
    graph = project.graph()
    for number, name in enumerate(names):
        store(graph.paths.figure("sample", name, "png"), png(900, 400, noise=number))
    text = written(graph)
    pictures = [src.partition(",")[2] for src in Page(text).every("img", "src")]
    sizes = [len(base64.b64decode(picture)) for picture in pictures]
    assert len(sizes) == 20 and min(sizes) > 30_000 and max(sizes) <= PICTURE_BYTES
    assert len(text.encode()) < 13_000_000 / 5


def test_missing_verdicts_are_one_line_and_leave_the_old_page(built):
    before = written(built)
    built.paths.claims("sample").unlink()
    with pytest.raises(UserError, match=r"claims/sample\.json: not there yet"):
        write_report(built)
    folder = built.paths.results
    assert (folder / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in folder.glob("*report*")] == ["report.html"]


def test_a_report_so_far_lists_a_paper_without_verdicts_as_not_built_yet(built):
    built.paths.claims("sample").unlink()
    write_report(built, so_far=True)
    text = (built.paths.results / "report.html").read_text(encoding="utf-8")
    assert 'class="paper later item" id="sample"' in text
    assert "sample.figure.fig1" not in text


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


def test_the_work_of_a_device_is_said_in_seconds_or_hours_of_what_it_is():
    assert worked("x86_64 linux", 42.4) == "42 core-seconds on x86_64 linux"
    assert worked("arm64 darwin", 3600 * 3.44) == "3.4 core-hours on arm64 darwin"
    gap = "\N{NARROW NO-BREAK SPACE}"
    assert worked("NVIDIA H100", 3600 * 1234.5) == f"1{gap}234 GPU-hours on NVIDIA H100"


def test_words_are_joined_as_in_a_sentence():
    said = [joined(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])]
    assert said == ["a", "a and b", "a, b and c"]


def test_counts_have_their_noun_and_thin_spaces():
    assert count(1, "run") == "1 run"
    assert count(12400, "network-epoch") == "12\N{NARROW NO-BREAK SPACE}400 network-epochs"


def test_the_verdict_table_fits_80_columns_and_ends_with_the_counts():
    long = {**RECORDS[0], "id": "C10", "statement": "A word " * 30, "reason": "because " * 30}
    text = verdict_table("demo", {"sample": RECORDS, "other-paper": [long]}, ["later"])
    lines = text.splitlines()
    assert max(map(len, lines)) < 80
    assert "  c1  holds      Losses <fall> & stay." in lines
    at = lines.index("  c2  undecided  It is seen nowhere.")
    assert lines[at + 1] == " " * 17 + "(source not configured)"
    assert " ".join(text.split()).count("A word " * 29 + "A word (because") == 1
    assert "because ...)" in text
    assert [line.split() for line in lines[-5:]] == [
        ["paper", "holds", "fails", "undecided"],
        ["sample", "1", "1", "1"],
        ["other-paper", "1", "0", "0"],
        ["together", "2", "1", "1"],
        ["later", "not", "built", "yet"],
    ]
