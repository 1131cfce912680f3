"""Every citation of a section or a trap leads to a heading of a paper's page."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLUGS = sorted(path.stem for path in (ROOT / "config/papers").glob("*.yaml"))
PLACES = ("code", "config", "tests", "rules", "docs", "benchmarks")
KINDS = {".py", ".yaml", ".smk", ".md", ".ipynb"}
# Files of one paper or two: what a citation means that names none.
OWN = {
    "code/refigure/claims/large_lr.py": "where-large-lrs",
    "code/refigure/claims/rnn.py": "sparse-gated-rnn",
    "code/refigure/claims/pools.py": "memory-split",
    "code/refigure/measures/pool_curves.py": "power-laws",
    "config/experiments/ensemble_pools.yaml": "power-laws",
    "config/experiments/large_lr.yaml": "where-large-lrs",
    "config/experiments/large_lr_tables.yaml": "where-large-lrs",
    "config/experiments/memorization.yaml": "contrastive-memorization",
    "config/experiments/periodic.yaml": "periodic-behavior",
    "config/experiments/periodic_tables.yaml": "periodic-behavior",
    "config/experiments/regime_tables.yaml": "three-regimes",
    "config/experiments/sparse_rnn.yaml": "sparse-gated-rnn",
    "config/experiments/sphere.yaml": "three-regimes",
    "config/experiments/ticks.yaml": "where-large-lrs",
    "config/experiments/transfer.yaml": "pretrain-basin",
    "config/experiments/transfer_own.yaml": "pretrain-basin",
    "config/experiments/vit.yaml": "where-large-lrs",
    "config/scales/small8.yaml": "three-regimes",
    "tests/test_events.py": "periodic-behavior",
    "tests/test_large_lr_claims.py": "where-large-lrs",
    "tests/test_periods.py": "periodic-behavior",
    "tests/test_rnn.py": "sparse-gated-rnn",
    "tests/test_rnn_claims.py": "sparse-gated-rnn",
    "tests/test_rnn_notebooks.py": "sparse-gated-rnn",
    "tests/test_three_regimes_claims.py": "three-regimes",
}
# Files that cite something else: made-up records, examples of how to cite, and this test.
ELSEWHERE = {
    "tests/test_verdict.py",
    "tests/test_citations.py",
    "docs/how-to/claim.md",
    "docs/how-to/paper.md",
}
NUMBER = r"\d+(?:\.\d+)*"
CITED = re.compile(
    rf"\b(sections?|traps?) ({NUMBER}(?:(?:,| and| to|, and| or) (?:section )?{NUMBER})*)", re.I
)
FOREIGN = re.compile(r"arXiv[:\s]*\d{4}\.\d{4,5}[^;]{0,20}$")


@cache
def headings(slug: str) -> frozenset[str]:
    """The sections and traps that a page has: "5.6", "trap 13", "0.4" (item 4 of section 0)."""
    text = (ROOT / f"docs/papers/{slug}.md").read_text(encoding="utf-8")
    appendix = text.split("\n## What the paper says, and how we know\n")[1]
    found, section = set(), ""
    for line in appendix.splitlines():
        if head := re.match(rf"#+ (?:(Trap) (\d+)|({NUMBER})\b)", line):
            section = f"trap {head[2]}" if head[1] else head[3]
            found.add(section)
        elif item := re.match(r"(\d+)\. ", line):
            found.add(f"{section}.{item[1]}")
    found |= {f"11.{one.split()[1]}" for one in found if one.startswith("trap ")}
    return frozenset(found)


def own_paper(path: Path) -> str | None:
    """The paper that a citation without a name is of."""
    name = path.relative_to(ROOT).as_posix()
    if name in OWN:
        return OWN[name]
    words = {path.stem.replace("_", "-"), path.parent.name}
    return next((slug for slug in SLUGS if slug in words), None)


def flat(path: Path) -> str:
    """The text of a file in one line, without the marks of comments."""
    return re.sub(r"\s+", " ", re.sub(r"\n\s*#", "\n", path.read_text(encoding="utf-8")))


def citations(path: Path) -> list[tuple[str | None, str, str]]:
    """(paper, section or trap, the words around) of each citation of a file."""
    found, text = [], flat(path)
    for one in CITED.finditer(text):
        before = text[max(0, one.start() - 70) : one.start()]
        if FOREIGN.search(before):
            continue
        near = re.search(rf"\b({'|'.join(SLUGS)})\b(?:\W|')(?:[^;:()\"]*)$", before)
        after = re.match(rf" of [`*]*({'|'.join(SLUGS)})\b", text[one.end() :])
        paper = after[1] if after else near[1] if near else own_paper(path)
        kind = "trap " if one[1].lower().startswith("trap") else ""
        around = text[max(0, one.start() - 40) : one.end() + 10]
        found += [(paper, kind + number, around) for number in re.findall(NUMBER, one[2])]
    return found


def cited_files() -> list[Path]:
    found = [path for place in PLACES for path in sorted((ROOT / place).rglob("*"))]
    return [
        path
        for path in found
        if path.suffix in KINDS
        and path.relative_to(ROOT).as_posix() not in ELSEWHERE
        and "docs/site" not in path.as_posix()
        and citations(path)
    ]


@pytest.mark.parametrize("path", cited_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_citation_leads_to_a_heading(path):
    lost = [
        f"{paper or 'no paper'}, {what}: ...{around}..."
        for paper, what, around in citations(path)
        if paper is None or what not in headings(paper)
    ]
    assert not lost, "\n".join(lost)


def test_there_are_hundreds_of_citations_and_a_wrong_one_is_seen(tmp_path):
    assert sum(len(citations(path)) for path in cited_files()) > 200
    assert "5.6" in headings("where-large-lrs") and "trap 13" in headings("where-large-lrs")
    assert "99" not in headings("where-large-lrs")


@pytest.mark.parametrize("slug", SLUGS)
def test_every_page_has_an_appendix_with_claims_and_traps(slug):
    assert {"0" if slug not in ("sparse-gated-rnn", "bayesian-compression-nlp") else "1", "2"} <= (
        headings(slug)
    )
    assert "trap 1" in headings(slug)
