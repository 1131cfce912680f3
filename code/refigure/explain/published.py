"""`refigure published`: the numbers that papers print beside ours, figure by figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from refigure.errors import UserError
from refigure.explain.text import WIDTH, columns, shortened, wrapped
from refigure.graph.lookups import Graph
from refigure.report.published import FIELDS, NOT_JUDGED, in_words, rows_of

INDENT = 4
REASON = 28  # columns of why there is no number of ours


def published(graph: Graph, papers: Sequence[str]) -> list[dict[str, Any]]:
    """The published numbers of some papers, one row each: `paper`, then the fields of `rows_of`.

    Raises:
        UserError: the figures of a paper are not there yet, or the scale has no tables.
    """
    if graph.rules and "table" not in graph.rules:
        scale = graph.paths.results.name
        raise UserError(f"scale '{scale}' has no tables that numbers could lie beside")
    rows = []
    for paper in papers:
        graph.must_be_built(paper)
        for figure in graph.figures(paper).values():
            if not graph.lacks(figure):
                rows += [{"paper": paper, **row} for row in rows_of(graph, figure)]
    return rows


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as CSV, with a head."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, ["paper", *FIELDS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")


def text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows in 80 columns, by figure and source."""
    lines: list[str] = []
    for (paper, figure), some in groupby(rows, lambda row: (row["paper"], row["figure"])):
        own = list(some)
        lines += wrapped(f"{paper} {figure}: {in_words(own)}")
        cells = _lines([_cells(row) for row in own])
        for source in dict.fromkeys(row["source"] for row in own):
            lines += wrapped(f"  {source}", indent=4)
            lines += [
                " " * INDENT + cells[at] for at, row in enumerate(own) if row["source"] == source
            ]
        lines.append("")
    return "\n".join(lines).rstrip("\n") if lines else "no published number"


def _lines(cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Cells as lines that fit; a name that does not stands on a line of its own, above."""
    others = sum(2 + max(len(row[at]) for row in cells) for at in range(1, len(cells[0])))
    room = WIDTH - INDENT - others
    fitting = [(name if len(name) <= room else "", *row) for name, *row in cells]
    blank = "\n" + " " * INDENT
    return [
        line if name == own[0] else f"{name}{blank}{line}"
        for line, own, (name, *_) in zip(columns(fitting, (3,)), fitting, cells)
    ]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    number = _with_error(row["published"], row["reading"])
    if row["ours"] is None:
        return row["number"], number, shortened(row["reason"], REASON), "", ""
    ours = _with_error(row["ours"], row["se"]) if row["se"] else f"{row['ours']:.4g}"
    if row["n"] is not None:
        ours += f" ({row['n']})"
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
    within = "-" if row["within"] == NOT_JUDGED else row["within"]
    return row["number"], number, ours, ratio, within


def _with_error(value: float, error: float | None) -> str:
    return f"{value:.4g} +- {error:.2g}" if error else f"{value:.7g}"
