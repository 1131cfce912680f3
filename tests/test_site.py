"""The documentation's site: built whole, served, and opened in Chromium."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import Browser, Tab, chromium

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("index.html", "tutorial.html", "gallery.html", "papers/three-regimes.html", "columns.html")
pytest.importorskip("mkdocs", reason="MkDocs is not installed; `make setup` installs it")
pytest.importorskip("material", reason="MkDocs Material is not installed")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *told) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The site of a copy of the pages that has one made-up figure."""
    root = tmp_path_factory.mktemp("site") / "clone"
    for name in ("docs", "config"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, root / name)
    picture = root / "results/demo/figures/three-regimes/fig1.png"
    picture.parent.mkdir(parents=True)
    shutil.copy(ROOT / "docs/images/fig1.png", picture)
    done = subprocess.run(
        [sys.executable, "docs/build_site.py"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return root / "site"


@pytest.fixture(scope="module")
def address(built) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(built))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium here; `apt-get install chromium`, as .ci/run does")
    one = Browser(found, tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_without_a_mistake_or_a_request_to_another_server(browser, address, page):
    tab = Tab(browser, f"{address}/{page}")
    assert tab.run("document.querySelector('h1').innerText.length") > 3
    assert tab.run("[...document.images].every((one) => !one.complete || one.naturalWidth > 0)")
    assert not tab.problems
    foreign = [url for url in tab.requests if not url.startswith((address, "data:", "blob:"))]
    assert not foreign
    tab.close()


def test_the_gallery_shows_the_figure_that_is_there(browser, address):
    tab = Tab(browser, f"{address}/gallery.html")
    assert tab.run("document.querySelectorAll('.gallery img').length") == 1
    assert tab.run("document.querySelector('.gallery img').naturalWidth") > 100
    assert tab.run("document.querySelector('.gallery img').alt.length") > 20
    tab.close()


def test_a_trap_has_an_anchor_on_the_page(browser, address):
    tab = Tab(browser, f"{address}/papers/where-large-lrs.html")
    assert tab.run("!!document.querySelector('[id^=trap-13]')")
    assert tab.run("!!document.querySelector('[id^=\"56-\"]')")
    tab.close()


def test_no_page_is_wider_than_a_phone(browser, address):
    for page in PAGES:
        tab = Tab(browser, f"{address}/{page}", width=390, height=844)
        assert tab.run("document.documentElement.scrollWidth <= innerWidth + 1"), page
        tab.close()


def test_without_figures_the_gallery_says_how_to_get_them():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import build_site
    finally:
        sys.path.pop(0)
    assert "make demo" in build_site.gallery("no_such_scale")


def test_the_page_of_commands_is_that_of_the_program():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import draw_commands
    finally:
        sys.path.pop(0)
    written = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert written == draw_commands.page(), "run `python docs/draw_commands.py`"
