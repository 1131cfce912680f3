"""What a stranger reads: width of the pages, the tree of the design page, links, the licence."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WIDTH = 120
HIGHEST = 8  # modules at the top of code/refigure
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def pages() -> list[Path]:
    """Every Markdown page of the repository that git knows or would add."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    found = [ROOT / name for name in told] or [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return sorted(path for path in found if path.exists())


def slug(heading: str) -> str:
    """The anchor that GitHub and MkDocs give to a heading."""
    plain = re.sub(r"[`*]", "", heading.strip().lower())
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_of_a_page_is_wider_than_120_columns(path):
    wide = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} columns"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > WIDTH
    ]
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(path):
    for link in LINK.findall(prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        to, _, anchor = link.partition("#")
        target = (path.parent / to).resolve() if to else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            heads = re.findall(r"^#+ (.*)$", prose(target), flags=re.M)
            assert anchor in {slug(head) for head in heads}, f"{path.name}: {link}"


def tree() -> tuple[set[str], set[str]]:
    """Modules and folders of code/refigure as the design page shows them."""
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    block = text.split("\n## The tree\n")[1].split("```")[1]
    shown = re.findall(r"^  (\S+?)(/?)(?:\s|$)", block.split("code/refigure/\n")[1], flags=re.M)
    return {name for name, end in shown if not end}, {name for name, end in shown if end}


def test_the_tree_of_the_design_page_is_that_of_the_folders():
    top = ROOT / "code/refigure"
    modules, folders = tree()
    assert modules == {path.name for path in top.glob("*.py")}
    assert folders == {path.name for path in top.iterdir() if list(path.glob("**/*.py"))}


def test_few_modules_stand_at_the_top_of_the_package():
    assert len(list((ROOT / "code/refigure").glob("*.py"))) <= HIGHEST


def test_citation_and_papers_name_the_same_works():
    """Ten references: title, year and authors' family names as `config/papers` has them."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    ours = {
        f"docs/papers/{path.stem}.md": yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / "config/papers").glob("*.yaml")
    }
    assert {one["notes"] for one in cited} == set(ours)
    for one in cited:
        paper = ours[one["notes"]]
        assert one["title"] == paper["title"]
        assert [f"{a['given-names']} {a['family-names']}" for a in one["authors"]] == [
            str(name) for name in paper["authors"]
        ]
        assert str(one["year"]) in str(paper["venue"])
        assert one["identifiers"][0]["value"] == f"arXiv:{paper['arxiv']}"


def test_the_page_and_the_schema_of_the_configuration_are_what_the_code_says():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw_config
    finally:
        sys.path.pop(0)
    rerun = "run `python docs/draw_config.py`"
    assert draw_config.PAGE.read_text(encoding="utf-8") == draw_config.page(), rerun
    assert draw_config.SCHEMA.read_text(encoding="utf-8") == draw_config.schema_text(), rerun


def test_the_verdicts_on_the_pages_are_those_of_the_kept_build():
    """`python docs/draw_verdicts.py --from results/demo/claims` keeps a build and writes them."""
    made = runpy.run_path(str(ROOT / "docs/draw_verdicts.py"))
    kept = json.loads(made["KEPT"].read_text(encoding="utf-8"))
    listed = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["papers"]
    assert set(kept) == set(listed)
    rates = made["rates_of_demo"]()
    for slug, claims in kept.items():
        page = (ROOT / f"docs/papers/{slug}.md").read_text(encoding="utf-8")
        assert made["written"](page, claims, rates.get(slug, {})) == page, f"docs/papers/{slug}.md"
        paper = yaml.safe_load((ROOT / f"config/papers/{slug}.yaml").read_text(encoding="utf-8"))
        assert {claim["id"] for claim in claims} <= set(paper["claims"])
