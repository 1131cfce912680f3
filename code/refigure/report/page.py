"""`results/<scale>/report.html`: claims with their verdicts, figures, and the runs behind them.

The page holds its figures and its style, asks for nothing over a network, and names no date: what
lies under `results/<scale>/` decides every byte of it. A hundred figures and eighty claims are a
page below 13 MB (`pictures.PICTURE_BYTES`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED
from refigure.errors import UserError
from refigure.files import read_json, write_text
from refigure.graph.experiments import Run
from refigure.graph.lookups import ERROR_RATES, Graph
from refigure.graph.publications import Claim, Figure
from refigure.graph.spec import without_defaults
from refigure.report.behind import Behind, Family, beyond
from refigure.report.error_rates import read_rates, said
from refigure.report.pictures import embedded
from refigure.report.published import PAPER_SCALE, beside_ours
from refigure.report.wording import count, estimate, thousands, threshold, worked

MARKS = {HOLDS: "✓", FAILS: "✗", UNDECIDED: "?"}
SHOWN_NUMBERS = 6  # of a claim; further ones are behind a click, deciding ones never
SHOWN_PACKS = 6  # of an experiment behind a figure, linked; a pool at paper scale has hundreds


def write_report(graph: Graph, so_far: bool = False) -> None:
    """Write the report of a scale, whole or not at all.

    Args:
        so_far: of the papers whose verdicts are there; the others are listed as not built yet.

    Raises:
        UserError: a built paper's verdicts are not there yet, or a figure's PNG is none.
    """
    slugs = graph.built
    if so_far:
        slugs = [slug for slug in slugs if graph.paths.claims(slug).is_file()]
    write_text(page(graph, slugs), graph.paths.results / "report.html")


def page(graph: Graph, slugs: Sequence[str]) -> str:
    """The report of some papers of a scale as HTML."""
    here = Behind(graph)
    known = PAPER_SCALE in graph.config.scales and graph.scale.name != PAPER_SCALE
    there = Behind(Graph(graph.config, PAPER_SCALE)) if known else None
    papers = [_paper(graph, slug, here, there) for slug in slugs]
    claims = [claim for paper in papers for claim in paper["claims"]]
    tables = [name for slug in slugs for name in _tables_of(graph, slug)]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "thousands": thousands}
    environment.globals |= {"worked": worked}
    return environment.get_template("page.html.j2").render(
        scale=graph.scale.name,
        words=_words(graph),
        data=_data(graph, here.runs(tables)),
        limits=dict(graph.scale.limits),
        papers=papers,
        absent=[_absent(graph, slug) for slug in graph.config.papers if slug not in slugs],
        counts=_counts(claims),
        claims=claims,
        figures=sum(paper["drawn"] for paper in papers),
        work=here.work(tables),
        marks=MARKS,
    )


def _tables_of(graph: Graph, slug: str) -> list[str]:
    """The tables that a paper's figures and claims read, each once."""
    readers: list[Figure | Claim] = [*graph.figures(slug).values(), *graph.claims(slug).values()]
    return list(dict.fromkeys(table for reader in readers for table in reader.tables.values()))


def _paper(graph: Graph, slug: str, here: Behind, there: Behind | None) -> dict[str, Any]:
    path = graph.paths.claims(slug)
    if not path.is_file():
        raise UserError(f"{path}: not there yet; `snakemake -c 2 -- {slug}` builds it")
    rates = read_rates(graph.config.root / ERROR_RATES)
    claims = [_claim(graph, slug, record, rates) for record in read_json(path)["claims"]]
    figures = [
        _figure(graph, figure, claims, here, there)
        for figure in graph.figures(slug).values()
        if not graph.lacks(figure)
    ]
    return {
        **_about(graph, slug),
        "claims": claims,
        "counts": _counts(claims),
        "figures": figures,
        "drawn": sum(figure["picture"] is not None for figure in figures),
        "work": here.work(_tables_of(graph, slug)),
    }


def _about(graph: Graph, slug: str) -> dict[str, Any]:
    written = graph.paper(slug)
    return {
        "slug": slug,
        **{key: written.get(key) or "" for key in ("venue", "arxiv", "url", "summary")},
        "authors": ", ".join(written.get("authors") or []),
        "title": written.get("title") or slug,
    }


def _absent(graph: Graph, slug: str) -> dict[str, Any]:
    """A paper whose figures are not there yet: what it is, and what of it the configuration has."""
    experiments = graph.paper(slug).get("experiments") or []
    return {**_about(graph, slug), "experiments": len(experiments)}


def _claim(
    graph: Graph, slug: str, record: Mapping[str, Any], rates: Mapping[str, Any]
) -> dict[str, Any]:
    written = graph.claims(slug).get(record["id"])
    shown, more = _numbers(record, graph.paper(slug).get("units") or {})
    return {
        **record,
        "anchor": _anchor(slug, "claim", record["id"]),
        "file": _relative(graph, graph.paths.claim(slug, record["id"])),
        "shown": shown,
        "more": more,
        "conditions": written.conditions if written else "",
        "error_rates": said(graph, rates, slug, record["id"]),
        "published": _published(record, graph.paper(slug).get("units") or {}),
        "figures": [
            {"name": name, "anchor": _anchor(slug, "figure", name)}
            for name in record["figures"]
            if name in graph.figures(slug)
        ],
    }


def _published(record: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, Any] | None:
    """What the paper's own numbers say of a claim, where they are at hand."""
    if "published" not in record:
        return None
    own = record["published"]
    shown, more = _numbers(own, units)
    return {**own, "rows": shown + more}


def _figure(
    graph: Graph,
    figure: Figure,
    claims: Sequence[Mapping[str, Any]],
    here: Behind,
    there: Behind | None,
) -> dict[str, Any]:
    slug, name = figure.paper, figure.name
    tables = list(figure.tables.values())
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
        "optional": figure.optional or bool(graph.optional_experiments(figure)),
        "target": str(files["PDF"].relative_to(graph.config.root)),
        "picture": embedded(png) if png.is_file() else None,
        "files": {kind: _relative(graph, path) for kind, path in files.items()},
        "claims": [
            claim for claim in claims if any(name == shown["name"] for shown in claim["figures"])
        ],
        "beyond": beyond(here, there, tables) if there else [],
        "numbers": beside_ours(graph, figure),
        "families": [_family(graph, family) for family in here.families(tables)],
        "work": here.work(tables),
    }


def _family(graph: Graph, family: Family) -> dict[str, Any]:
    packs = [
        {"name": name, "file": _relative(graph, graph.paths.pack(name) / "run.json")}
        for name in family.packs[:SHOWN_PACKS]
    ]
    return {
        "experiment": family.experiment,
        "axes": family.axes,
        "work": family.work,
        "packs": packs,
        "further": len(family.packs) - len(packs),
    }


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


def _numbers(
    record: Mapping[str, Any], units: Mapping[str, str]
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """A claim's numbers as text: those to show, and those behind a click.

    Numbers that a threshold is about are shown always, others as far as there is room.
    """
    bounds = dict(record["threshold"] or {})
    rows = []
    for name, number in record["numbers"].items():
        decides = name in bounds
        bound = bounds.pop(name, None)
        rows.append((decides, _row(name, number, bound, units)))
    # A bound on what has no number of its own, such as the worst of several.
    nothing = {"value": None, "se": None, "n": None, "n_of": None}
    rows += [(True, _row(name, nothing, bound, units)) for name, bound in bounds.items()]
    room = SHOWN_NUMBERS if len(rows) > SHOWN_NUMBERS else len(rows)
    room -= sum(decides for decides, _ in rows)
    shown, more = [], []
    for decides, row in rows:
        if not decides:
            room -= 1
        (shown if decides or room >= 0 else more).append(row)
    return shown, more


def _row(name: str, number: Mapping[str, Any], bound: Any, units: Mapping[str, str]) -> dict:
    counted = ""
    if number["n"] is not None:
        # "3 seeds", but "1 seed": predicates name what they count in the plural.
        noun = number["n_of"]
        counted = count(number["n"], noun.removesuffix("s") if number["n"] == 1 else noun, noun)
    return {
        "name": name,
        "value": estimate(number["value"], number["se"]),
        "unit": unit_of(name, units) if number["value"] is not None or bound is not None else "",
        "counted": counted,
        "bound": "" if bound is None else threshold(bound),
    }


def unit_of(name: str, units: Mapping[str, str]) -> str:
    """The unit of a claim's number: of the longest phrase of the paper's `units` in its name."""
    phrases = [phrase for phrase in units if phrase in name]
    return units[max(phrases, key=len)] if phrases else ""
