"""`results/<scale>/report.html`: claims with their verdicts, figures, and the runs behind them.

The page holds its figures and its style, asks for nothing over a network, and names no date: what
lies under `results/<scale>/` decides every byte of it.
"""

from __future__ import annotations

import base64
import json
import math
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from refigure.errors import UserError
from refigure.experiments import Run
from refigure.graph import Graph
from refigure.publications import Claim, Figure
from refigure.spec import without_defaults
from refigure.verdict import FAILS, HOLDS, UNDECIDED

MARKS = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?"}
SHOWN_NUMBERS = 6  # of a claim; further ones are behind a click, deciding ones never
WIDE = 1.6  # width over height from which a figure stands above its text, not beside it
PNG = b"\x89PNG\r\n\x1a\n"


def write_report(graph: Graph) -> None:
    """Write the report of a scale, whole or not at all.

    Raises:
        UserError: a built paper's verdicts are not there yet, or a figure's PNG is none.
    """
    path = graph.paths.results / "report.html"
    text = page(graph)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def page(graph: Graph) -> str:
    """The report of a scale as HTML."""
    ledger = Ledger(graph)
    papers = [_paper(graph, slug, ledger) for slug in graph.built]
    counted = [claim for paper in papers for claim in paper["claims"]]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "count": count}
    work = ledger.work(name for slug in graph.built for name in _tables_of(graph, slug))
    return environment.get_template("page.html.j2").render(
        scale=graph.scale.name,
        words=_words(graph),
        data=_data(graph, ledger.runs(t for s in graph.built for t in _tables_of(graph, s))),
        limits=dict(graph.scale.limits),
        papers=papers,
        absent=[
            {"slug": slug, "title": graph.paper(slug).get("title", slug)}
            for slug in graph.config.papers
            if slug not in graph.built
        ],
        counts=_counts(counted),
        figures=sum(paper["drawn"] for paper in papers),
        undecided=[
            {"paper": paper["title"], **claim}
            for paper in papers
            for claim in paper["claims"]
            if claim["verdict"] == UNDECIDED
        ],
        work=work,
        marks=MARKS,
    )


# ---------------------------------------------------------------------- runs and their cost


@dataclass(frozen=True)
class Work:
    """What was trained for some tables.

    Args:
        runs, packs: how many.
        epochs: network-epochs, summed over runs.
        seconds: device -> seconds of training.
        unknown: runs whose pack is not at hand, so that their cost is not in the sums.
    """

    runs: int = 0
    packs: int = 0
    epochs: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    unknown: int = 0


class Ledger:
    """Runs behind tables, and what they cost; the `run.json` of each pack is read once."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._behind: dict[str, dict[str, Run]] = {}
        self._packs: dict[str, Mapping[str, Any]] = {}

    def runs(self, tables: Iterable[str]) -> dict[str, Run]:
        """The runs that some tables rest on, by id: of their own, of their probes, of the tables
        that they are made of, and those that any of these started from."""
        return {key: run for table in tables for key, run in self._of_table(table).items()}

    def _of_table(self, name: str) -> dict[str, Run]:
        if name not in self._behind:
            table = self.graph.table(name)
            direct = [run for runs in table.runs.values() for run in runs]
            for probe in table.probes.values():
                for members in self.graph.probes[probe].roles.values():
                    direct += [run for run, _ in members]
            found: dict[str, Run] = {}
            for run in direct:
                while run is not None and run.id not in found:
                    found[run.id] = run
                    run = run.parent
            self._behind[name] = found | self.runs(table.tables.values())
        return self._behind[name]

    def work(self, tables: Iterable[str]) -> Work:
        """What was trained for some tables, each run counted once."""
        runs = self.runs(tables)
        packs = {self.graph.pack_of[key] for key in runs}
        epochs, unknown = 0, 0
        seconds: dict[str, float] = defaultdict(float)
        for key, run in runs.items():
            about = self._about(self.graph.pack_of[key]).get(key)
            if about is None:
                unknown += 1
                continue
            epochs += max(about["last_epoch"] - _epochs_before(run), 0)
            seconds[about["device"]] += about["seconds"]
        return Work(len(runs), len(packs), epochs, dict(sorted(seconds.items())), unknown)

    def _about(self, pack: str) -> Mapping[str, Any]:
        if pack not in self._packs:
            path = self.graph.paths.pack(pack) / "run.json"
            there = path.is_file()
            self._packs[pack] = json.loads(path.read_text("utf-8"))["runs"] if there else {}
        return self._packs[pack]


def _epochs_before(run: Run) -> int:
    # A run that takes its parent's whole state counts its epochs from its parent's start.
    start = run.spec.start
    return start["point"]["epoch"] if start and start.get("take") == "state" else 0


def _tables_of(graph: Graph, slug: str) -> list[str]:
    """The tables that a paper's figures and claims read, each once."""
    readers: list[Figure | Claim] = [*graph.figures(slug).values(), *graph.claims(slug).values()]
    return list(dict.fromkeys(table for reader in readers for table in reader.tables.values()))


# ---------------------------------------------------------------------- what the page says


def _paper(graph: Graph, slug: str, ledger: Ledger) -> dict[str, Any]:
    written = graph.paper(slug)
    path = graph.paths.claims(slug)
    if not path.is_file():
        raise UserError(f"{path}: not there yet; `snakemake -c 2 -- {slug}` builds it")
    records = json.loads(path.read_text("utf-8"))["claims"]
    figures = graph.figures(slug)
    said = graph.claims(slug)
    claims = []
    for record in records:
        shown, more = _numbers(record)
        claims.append(
            {
                **record,
                "anchor": _anchor(slug, "claim", record["id"]),
                "file": _relative(graph, graph.paths.claim(slug, record["id"])),
                "shown": shown,
                "more": more,
                "conditions": said[record["id"]].conditions if record["id"] in said else "",
                "figures": [
                    {"name": name, "anchor": _anchor(slug, "figure", name)}
                    for name in record["figures"]
                    if name in figures
                ],
            }
        )
    drawings = [_figure(graph, figure, claims, ledger) for figure in figures.values()]
    return {
        "slug": slug,
        **{key: written.get(key) or "" for key in ("venue", "arxiv", "url", "summary")},
        "authors": ", ".join(written.get("authors") or []),
        "title": written.get("title") or slug,
        "claims": claims,
        "counts": _counts(claims),
        "figures": drawings,
        "drawn": sum(drawing["picture"] is not None for drawing in drawings),
        "work": ledger.work(_tables_of(graph, slug)),
    }


def _figure(
    graph: Graph, figure: Figure, claims: Sequence[Mapping[str, Any]], ledger: Ledger
) -> dict[str, Any]:
    slug, name = figure.paper, figure.name
    png = graph.paths.figure(slug, name, "png")
    files = {"PDF": graph.paths.figure(slug, name, "pdf"), "PNG": png}
    files["CSV"] = graph.paths.figure(slug, name, "csv")
    files["notebook"] = graph.paths.notebook(slug, name)
    return {
        "name": name,
        "anchor": _anchor(slug, "figure", name),
        "caption": figure.caption,
        "look": figure.look,
        "alt": figure.alt or figure.caption,
        "design": figure.design,
        "optional": figure.optional,
        "target": str(files["PDF"].relative_to(graph.config.root)),
        "picture": _picture(png) if png.is_file() else None,
        "files": {kind: _relative(graph, path) for kind, path in files.items()},
        "claims": [
            claim for claim in claims if any(name == shown["name"] for shown in claim["figures"])
        ],
        "work": ledger.work(figure.tables.values()),
    }


def _picture(png: Path) -> dict[str, Any]:
    """A PNG as a data URI, with its size in pixels so that the page does not jump as it loads."""
    content = png.read_bytes()
    if content[:8] != PNG or len(content) < 24:
        raise UserError(f"{png}: not a PNG; remove it and build its figure again")
    width, height = struct.unpack(">II", content[16:24])
    source = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return {"source": source, "width": width, "height": height, "wide": width > WIDE * height}


def _anchor(slug: str, kind: str, name: str) -> str:
    return f"{slug}.{kind}.{name}"


def _relative(graph: Graph, path: Path) -> str:
    return path.relative_to(graph.paths.results).as_posix()


def _counts(claims: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    verdicts = [claim["verdict"] for claim in claims]
    return {word: verdicts.count(word) for word in MARKS}


def _words(graph: Graph) -> list[dict[str, str]]:
    """What the scale's file says of itself in its first lines, then what those it extends say."""
    found = []
    for name in reversed(graph.scale.chain):
        path = graph.config.folder / "scales" / f"{name}.yaml"
        lines = []
        for line in path.read_text("utf-8").splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("# ").rstrip())
        found.append({"scale": name, "text": " ".join(lines)})
    return found


def _data(graph: Graph, runs: Mapping[str, Run]) -> list[dict[str, str]]:
    """The prepared data that some runs were trained on: the source and what was done to it."""
    found = []
    used = {run.spec.data for run in runs.values()}
    for content, recipe in graph.recipes.items():
        if content in used:
            kept = without_defaults("recipe", recipe)
            name = kept.pop("name")
            source = kept.pop("source", None) or name
            said = ", ".join(f"{key.replace('_', ' ')} {_brief(kept[key])}" for key in kept)
            found.append({"id": content, "source": source, "said": said})
    return found


def _brief(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_brief(item)}" for key, item in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_brief(item) for item in value) + "]"
    return str(value)


# ---------------------------------------------------------------------- numbers


def _numbers(record: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """A claim's numbers as text: those to show, and those behind a click.

    Numbers that a threshold is about are shown always, others as far as there is room.
    """
    bounds = dict(record["threshold"] or {})
    rows = []
    for name, number in record["numbers"].items():
        decides = name in bounds
        bound = bounds.pop(name, None)
        rows.append((decides, _row(name, number, bound)))
    # A bound on what has no number of its own, such as the worst of several.
    nothing = {"value": None, "se": None, "n": None, "n_of": None}
    rows += [(True, _row(name, nothing, bound)) for name, bound in bounds.items()]
    room = SHOWN_NUMBERS if len(rows) > SHOWN_NUMBERS else len(rows)
    room -= sum(decides for decides, _ in rows)
    shown, more = [], []
    for decides, row in rows:
        if not decides:
            room -= 1
        (shown if decides or room >= 0 else more).append(row)
    return shown, more


def _row(name: str, number: Mapping[str, Any], bound: Any) -> dict[str, str]:
    counted = f"{number['n']} {number['n_of']}" if number["n"] is not None else ""
    return {
        "name": name,
        "value": estimate(number["value"], number["se"]),
        "counted": counted,
        "bound": "" if bound is None else threshold(bound),
    }


def estimate(value: float | None, se: float | None) -> str:
    """A value with its standard error, two digits of the error: `0.512 ± 0.013`.

    Without an error four digits are kept. A value that could not be had is `no value`.
    """
    if value is None:
        return "no value"
    if not se:
        return _plain(value) if se is None else f"{_plain(value)} ± 0"
    largest = max(abs(value), se)
    power = 0 if 1e-3 <= largest < 1e5 else math.floor(math.log10(largest))
    digits = max(1 - math.floor(math.log10(se)) + power, 0)
    if digits > 6:
        return f"{_plain(value)} ± {_plain(se, 2)}"
    both = f"{value / 10.0**power:.{digits}f} ± {se / 10.0**power:.{digits}f}"
    both = both.replace("-", "−")
    return f"({both}) × 10{_raised(power)}" if power else both


def threshold(bound: float | Sequence[float]) -> str:
    """A bound, or the two ends of a range."""
    if isinstance(bound, Sequence):
        low, high = bound
        return f"{_plain(low)} to {_plain(high)}"
    return _plain(bound)


def _plain(value: float, digits: int = 4) -> str:
    """A number to some significant digits, zeros at the end left out: `0.5`, `1.2 × 10⁻⁵`."""
    if value == 0:
        return "0"
    power = math.floor(math.log10(abs(value)))
    small = -4 < power < 5
    scaled = value if small else value / 10.0**power
    places = max(digits - 1 - (power if small else 0), 0)
    text = f"{scaled:.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    text = text.replace("-", "−")
    if small:
        return text
    return f"10{_raised(power)}" if text == "1" else f"{text} × 10{_raised(power)}"


def _raised(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `7 min`, `3.4 h`, `12 d`."""
    for unit, length, below in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 72)):
        value = seconds / length
        if value < below:
            return f"{value:.1f} {unit}" if value < 10 and unit == "h" else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun and thin spaces between thousands: `1 run`, `12 400 runs`."""
    noun = one if number == 1 else (many or f"{one}s")
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") + f" {noun}"
