"""The report page as a person meets it: in Chromium, from disk, by mouse, keyboard and phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Tab, chromium
from conftest import Project
from refigure.report.page import write_report
from reports import build, figure, png, store

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="no Chromium here; `apt-get install chromium`, as .ci/run does"
)

FOCUSABLE = "a[href], button, input, select, summary, [tabindex='0']"
PAIRS = """(() => {
  const number = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = number(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || node.matches("script, option")) continue;
    const [a, b] = [number(getComputedStyle(node).color), behind(node)].map(luminance);
    const name = `${node.className || node.tagName} ${text.data.trim().slice(0, 20)}`;
    found[name] = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests here."""
    found = Browser(str(chromium()), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page alone in a folder: none of the files that it links to is beside it."""
    project = Project(tmp_path_factory.mktemp("project"))
    figures = {name: figure(look="Ends.") for name in ("fig1", "fig2", "fig_narrow", "undrawn")}
    graph = build(project)
    number = {"value": 28, "tolerance": 0.05, "source": "table 1", "column": "test_error"}
    figures["fig1"]["published"] = {"error_at_a_rate_with_a_long_name": number}
    project.edit("papers/sample.figures", figures)
    graph = project.graph()
    store(graph.paths.figure("sample", "fig1", "png"), png(2000, 320))
    store(graph.paths.figure("sample", "fig_narrow", "png"), png(900, 700))
    write_report(graph)
    alone = tmp_path_factory.mktemp("alone") / "report.html"
    shutil.copy(graph.paths.results / "report.html", alone)
    return alone


@pytest.fixture
def tab(browser: Browser, report: Path) -> Iterator[Callable[..., Tab]]:
    """Opens the page; whatever a test does, the console stays silent and no network is used."""
    opened: list[Tab] = []

    def make(**keys: Any) -> Tab:
        opened.append(Tab(browser, report.as_uri(), **keys))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
        assert one.problems == []
        others = [url for url in one.requests if url.partition("#")[0] != report.as_uri()]
        assert all(url.startswith("data:image/") or url == "data:," for url in others)


def shown(page: Tab) -> list[str]:
    """The ids of the claims, figures and papers that are to be seen."""
    return page.run(
        "[...document.querySelectorAll('.item')].filter(n => n.checkVisibility()).map(n => n.id)"
    )


def test_the_page_alone_opens_from_disk_with_every_picture(tab):
    page = tab()
    pictures = page.run("[...document.images].map((i) => [i.complete, i.naturalWidth, !!i.alt])")
    assert pictures == [[True, 2000, True], [True, 300, True], [True, 900, True]]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_the_window(tab, width):
    page = tab(width=width, height=844)
    page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert page.run("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [
        width,
        True,
    ]


def test_words_narrow_claims_figures_and_papers_and_escape_shows_all_again(tab):
    page = tab()
    everything = shown(page)
    assert len(everything) == 3 + 4 + 1
    page.press("/")
    assert page.run("document.activeElement.id") == "words"
    page.type("many decide")
    assert shown(page) == ["sample.claim.c3"]
    assert page.run("document.getElementById('found').value") == "1 claim"
    assert page.run("CSS.highlights.get('found').size") >= 2
    page.press("Enter")
    assert page.run("document.activeElement.hash") == "#sample.claim.c3"
    page.press("Escape")
    assert shown(page) == everything
    page.press("/")
    page.type("later paper")
    assert shown(page) == ["later"]
    page.press("Escape")
    page.type("fig_narrow")
    assert shown(page) == ["sample.figure.fig_narrow"]


def test_words_that_are_nowhere_say_so_and_offer_the_way_back(tab):
    page = tab()
    page.press("/")
    page.type("zebra")
    assert shown(page) == []
    assert page.run("document.querySelector('.nothing').innerText").startswith(
        "Nothing on this page"
    )
    page.run("document.getElementById('clear').click()")
    assert len(shown(page)) == 8


def test_verdicts_and_kinds_narrow_what_is_shown(tab):
    page = tab()
    page.run("document.querySelector('.chip.holds').click()")
    assert shown(page) == ["sample.claim.c1", "sample.figure.fig1"]
    page.run("document.querySelector('.chip.fails').click()")
    assert shown(page)[:2] == ["sample.claim.c1", "sample.claim.c3"]
    page.run(
        "(kind => { kind.value = 'figure'; kind.dispatchEvent(new Event('change')); })"
        "(document.getElementById('kind'))"
    )
    assert shown(page) == ["sample.figure.fig1", "sample.figure.fig2"]
    assert page.run("document.getElementById('found').value") == "2 figures"
    page.run("document.querySelector('.card').click()")
    assert page.run("document.getElementById('view-place').textContent") == "1 of 2"
    page.press("Escape")
    assert len(shown(page)) == 2
    page.press("Escape")
    assert len(shown(page)) == 8


def test_a_link_to_what_is_filtered_away_shows_it(tab):
    page = tab()
    page.run("document.querySelector('.chip.fails').click()")
    page.run("document.querySelector('.cell.holds').click()")
    assert "sample.claim.c1" in shown(page)
    assert page.run("location.hash") == "#sample.claim.c1"


@pytest.mark.parametrize("width", [390, 1440])
def test_links_and_filters_lead_to_below_the_bar(tab, width):
    page = tab(width=width, height=700, media={"prefers-reduced-motion": "reduce"})
    below = "document.querySelector('.filter').getBoundingClientRect().bottom"
    page.run("document.querySelector('a[href=\"#sample.figure.fig2\"]').click()")
    gap = page.run(
        f"document.getElementById('sample.figure.fig2').getBoundingClientRect().top - {below}"
    )
    assert 0 <= gap < 40
    page.run("document.querySelector('.chip.holds').click()")
    gap = page.run(f"document.getElementById('papers').getBoundingClientRect().top - {below}")
    assert 0 <= gap < 40


def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(tab):
    page = tab()
    visible = f'[...document.querySelectorAll("{FOCUSABLE}")].filter((n) => n.checkVisibility())'
    wanted = page.run(f"(window.order = {visible}).length")
    reached, outlines = [], []
    for _ in range(wanted):
        page.press("Tab")
        at, outline = page.run(
            "((at) => [order.indexOf(at), getComputedStyle(at).outlineStyle])"
            "(document.activeElement)"
        )
        reached.append(at)
        outlines.append(outline)
    assert reached == list(range(wanted))
    assert set(outlines) == {"solid"}


def test_the_first_key_offers_to_skip_to_the_papers(tab):
    page = tab()
    page.press("Tab")
    box = page.run(
        "(box => [box.left >= 0, box.top >= 0, box.width > 50])"
        "(document.activeElement.getBoundingClientRect())"
    )
    assert box == [True, True, True]
    page.press("Enter")
    assert page.run("document.activeElement.id") == "papers"


def test_the_enlarged_picture_is_walked_by_arrows_and_left_by_escape(tab):
    page = tab()
    page.run("document.querySelector('.card').focus()")
    page.press("Enter")
    assert page.run("document.getElementById('view').open")
    place = "document.getElementById('view-place').textContent"
    name = "document.getElementById('view-name').textContent"
    assert page.run(place) == "1 of 3"
    page.press("ArrowRight")
    assert page.run(name).startswith("fig2")
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    assert page.run(name).startswith("fig_narrow")
    assert page.run("document.querySelector('#view img').naturalWidth") == 900
    for _ in range(9):
        page.press("Tab")
        assert page.run(
            "document.activeElement === document.body || !!document.activeElement.closest('#view')"
        )
    page.press("Escape")
    assert not page.run("document.getElementById('view').open")
    assert page.run("document.activeElement.closest('figure').id") == "sample.figure.fig_narrow"


def test_a_wide_picture_opens_zoomed_on_a_phone(tab):
    page = tab(width=390, height=844)
    page.run("document.querySelector('.card').click()")
    sizes = page.run(
        "(frame => [frame.scrollWidth > frame.clientWidth, document.documentElement.scrollWidth])"
        "(document.getElementById('view-picture'))"
    )
    assert sizes == [True, 390]


def test_the_theme_is_the_systems_until_the_switch_says_else(tab):
    page = tab(media={"prefers-color-scheme": "dark"})
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(colour)
    light = page.run(f"document.getElementById('theme').click() || {colour}")
    assert page.run("document.getElementById('theme').textContent") == "Theme: light"
    assert light != dark
    again = tab(media={"prefers-color-scheme": "dark"})
    assert again.run(colour) == light
    assert again.run(f"document.getElementById('theme').click() || {colour}") == dark
    again.run("document.getElementById('theme').click()")
    assert tab(media={"prefers-color-scheme": "light"}).run(colour) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(tab, scheme):
    page = tab(media={"prefers-color-scheme": scheme})
    page.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    page.run("document.querySelectorAll('.chip').forEach((chip) => chip.click())")
    ratios = page.run(PAIRS)
    assert len(ratios) > 60
    assert {text: ratio for text, ratio in ratios.items() if ratio < 4.5} == {}


def test_what_can_be_used_has_a_name_and_headings_are_there(tab):
    nodes = tab().call("Accessibility.getFullAXTree")["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node["ignored"]:
            role = node["role"]["value"]
            roles.setdefault(role, []).append(node.get("name", {}).get("value", ""))
    for role in ("link", "button", "searchbox", "combobox", "image", "heading", "table"):
        assert roles[role] and all(roles[role]), role
    assert {"main", "banner", "search", "figure"} <= set(roles)


def test_motion_is_left_out_where_it_is_not_wanted(tab):
    scroll = "getComputedStyle(document.documentElement).scrollBehavior"
    assert tab(media={"prefers-reduced-motion": "reduce"}).run(scroll) == "auto"
    assert tab(media={"prefers-reduced-motion": "no-preference"}).run(scroll) == "smooth"


def test_print_is_black_on_white_and_holds_what_is_behind_clicks(tab):
    page = tab(media={"prefers-color-scheme": "dark"})
    page.run(
        "addEventListener('beforeprint', () => {"
        " window.closed_then = document.querySelectorAll('details:not([open])').length; })"
    )
    page.call("Page.printToPDF", preferCSSPageSize=True)
    assert page.run("window.closed_then") == 0
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.call("Emulation.setEmulatedMedia", media="print", features=features)
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("document.querySelector('.filter').checkVisibility()") is False
    assert len(shown(page)) == 8


def test_without_scripts_everything_is_there_and_nothing_pretends_to_work(browser, report):
    blank = Tab(browser, "about:blank")
    blank.call("Emulation.setScriptExecutionDisabled", value=True)
    blank.call("Page.navigate", url=report.as_uri())
    browser.wait("Page.loadEventFired", blank._session)
    blank.call("Emulation.setScriptExecutionDisabled", value=False)
    try:
        assert len(shown(blank)) == 8
        hidden = (
            "['.filter', '#theme', '#view'].map((s) => document.querySelector(s).checkVisibility())"
        )
        assert blank.run(hidden) == [False, False, False]
    finally:
        blank.close()
