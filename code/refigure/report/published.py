"""The numbers that a paper prints beside ours: `refigure published`, and a section of the report.

A number of the paper lies within ours where the two are no further apart than the error of its
reading and the two-sided 95 % interval of our mean together (Student's t over our replicates). Of
one replicate no interval is known, and the reading alone counts. A paper seldom says how far its
own seeds scatter, so `no` is a remark and no verdict. It is judged where the work is the paper's:
at scale `paper` and at those that extend it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from pyarrow import ArrowException

from refigure.claims.published import SUFFIX, read_published
from refigure.claims.statistics import quantile
from refigure.errors import UserError
from refigure.files import read_parquet
from refigure.graph.lookups import Graph
from refigure.graph.numbers import Beside, NumberTable, Printed
from refigure.graph.publications import Figure
from refigure.graph.reading import suggest
from refigure.report.wording import count, estimate, plain

PAPER_SCALE = "paper"  # what a scale is measured by
SHOWN_ROWS = 8  # of a figure's published numbers; more are behind a click
PRINTED = 7  # digits of a number that is printed exactly
YES, NO, NOT_JUDGED = "yes", "no", "not judged"
ABSENT = "not in this build"
OTHER_SCALE = "another scale"
UNITS = {"data": "data set", "seed": "seed", "number": "ensemble"}
"""Column -> what a replicate is, outermost first: seeds share a data set."""
LIKE = 1e-6  # relatively: a rate of a table is the one of the configuration, but for rounding
MEDIAN = math.sqrt(math.pi / 2)  # error of a median over that of a mean, of normal values
AXES = ("elr", "lr", "plr", "flr", "wd", "epoch")  # floats that tell rows apart
FIELDS = (
    "figure",
    "number",
    "published",
    "reading",
    "ours",
    "se",
    "n",
    "n_of",
    "ratio",
    "difference",
    "within",
    "reason",
    "place",
    "source",
)
"""Of a row, in order."""


@dataclass(frozen=True)
class Ours:
    """Our number: its standard error is None where there is none, and `n` where nobody says."""

    value: float
    se: float | None
    n: int | None
    n_of: str


class Missing(Exception):
    """Why there is no number of ours; the message is shown in its place.

    Never an error: which columns and rows a table has depends on the scale, and a user's own scale
    may lack what the paper's has. That the committed entries fit the tables is tested.
    """


def rows_of(graph: Graph, figure: Figure) -> list[dict[str, Any]]:
    """The published numbers of a figure, each with ours.

    Returns:
        One row a number, of `FIELDS`: the published value and the error of its reading; ours, its
        standard error, and how many of what it rests on; ours over the published one, and less it;
        `within`, with the reason where it is not judged; which cell ours is; and the source.
        What is not there is None.

    Raises:
        UserError: a CSV of published numbers is none, or a table is damaged.
    """
    frames = Frames({name: graph.paths.table(table) for name, table in figure.tables.items()})
    judged = PAPER_SCALE in graph.scale.chain
    place = f"config/papers/{figure.paper}.yaml: figures.{figure.name}"
    rows = []
    for name, entry in figure.published.items():
        for one in entry.printed(name):
            row = _row(one, entry, frames, judged, entry.compared)
            rows.append({"figure": figure.name, **row})
    for name, table in figure.published_tables.items():
        file = graph.published_file(table.file, f"{place}.published_tables.{name}.file")
        for one in numbers_of(table, name, file):
            rows.append({"figure": figure.name, **_row(one, table, frames, judged)})
    return rows


def numbers_of(table: NumberTable, name: str, path: Path) -> list[Printed]:
    """The numbers of a CSV, one a row and column.

    Args:
        name: of its entry, with which their names begin.

    Raises:
        UserError: it is no table of published numbers, or lacks a column.
    """
    frame = read_published(path)
    for column in (*table.columns, *table.keys):
        if column not in frame:
            raise UserError(f"{path}: no column '{column}'{suggest(column, map(str, frame))}")
    found = []
    for row in frame.to_dict("records"):
        at = {**table.at, **{key: row[key] for key in table.keys if pd.notna(row[key])}}
        label = ", ".join(_plain(row[key]) for key in table.keys)
        for column in table.columns:
            if pd.isna(row[column]):
                continue
            reading = row.get(f"{column}{SUFFIX}", 0.0)
            reading = 0.0 if pd.isna(reading) else float(reading)
            title = f"{name} {label}" + (f", {column}" if len(table.columns) > 1 else "")
            found.append(Printed(title, float(row[column]), reading, column, at))
    return found


def _row(
    one: Printed, beside: Beside, frames: Frames, judged: bool, compared: str = ""
) -> dict[str, Any]:
    row = dict.fromkeys(FIELDS[1:]) | {
        "number": one.name,
        "published": one.value,
        "reading": one.reading,
        "within": NOT_JUDGED,
        "place": "" if compared else _place(one, beside),
        "source": beside.source,
    }
    if compared:
        return row | {"reason": compared}
    try:
        ours = find(frames, one, beside)
    except Missing as why:
        return row | {"reason": str(why)}
    row |= {"ours": ours.value, "se": ours.se, "n": ours.n, "n_of": ours.n_of}
    row["difference"] = ours.value - one.value
    row["ratio"] = ours.value / one.value if one.value else None
    if not judged:
        return row | {"reason": OTHER_SCALE}
    return row | {"within": YES if is_within(ours, one) else NO, "reason": ""}


def is_within(ours: Ours, one: Printed) -> bool:
    """Whether our interval and that of the reading meet."""
    reach = one.reading
    if ours.se is not None:
        freedom = math.inf if ours.n is None else ours.n - 1
        reach += ours.se * quantile(freedom, 0.975)
    # What the two texts of one number differ by in binary is no difference.
    return bool(abs(ours.value - one.value) <= reach + 1e-9 * abs(one.value))


# ---------------------------------------------------------------------- ours


class Frames:
    """A figure's tables; of each the columns are read first, and rows where ours is among them.

    Args:
        paths: name in the notebook -> file.
    """

    def __init__(self, paths: Mapping[str, Path]):
        self.paths = paths
        self._columns: dict[str, list[str] | None] = {}
        self._frames: dict[str, pd.DataFrame] = {}

    def columns(self, name: str) -> list[str] | None:
        """The columns of a table; None where it is not built, or has no row."""
        if name not in self._columns:
            path = self.paths[name]
            file = _parquet(path) if path.is_file() else None
            there = file is not None and file.metadata.num_rows
            self._columns[name] = file.schema_arrow.names if there else None
        return self._columns[name]

    def beside(self, table: str | None, column: str) -> pd.DataFrame:
        """A table, or without a name the only one that has a column.

        Raises:
            Missing: it is not built, or has no row; or there is none, or several.
            UserError: its file is damaged.
        """
        names = [table] if table is not None else list(self.paths)
        built = {name: own for name in names if (own := self.columns(name)) is not None}
        having = [name for name, own in built.items() if column in own]
        if len(having) > 1:
            raise Missing(f"column '{column}' is in {', '.join(having)}: name a table")
        if not having:
            near = suggest(column, {one for own in built.values() for one in own})
            whole = len(built) == len(names)
            raise Missing(f"no table has column '{column}'{near}" if whole else ABSENT)
        if having[0] not in self._frames:
            self._frames[having[0]] = read_parquet(self.paths[having[0]])
        return self._frames[having[0]]


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable table: {' '.join(str(error).split())}") from None


def find(frames: Frames, one: Printed, beside: Beside) -> Ours:
    """Our number beside a published one.

    Raises:
        Missing: this build has no such row or no value in it, or one replicate has several rows.
    """
    frame = frames.beside(beside.table, one.column)
    for column in (*one.at, beside.over, beside.error, beside.count):
        if column is not None and column not in frame:
            raise Missing(f"its table has no column '{column}'{suggest(column, map(str, frame))}")
    chosen = frame[np.logical_and.reduce([np.ones(len(frame), bool), *_where(frame, one.at)])]
    if not len(chosen):
        raise Missing(ABSENT)
    chosen = chosen[np.isfinite(pd.to_numeric(chosen[one.column], errors="coerce"))]
    if not len(chosen):
        raise Missing("no value in this build")
    if beside.error is not None:
        ours = _as_written(chosen, one.column, beside)
    else:
        ours = _over_replicates(chosen, one.column, beside)
    if beside.complement:
        ours = Ours(100 - ours.value, ours.se, ours.n, ours.n_of)
    return ours


def _where(frame: pd.DataFrame, at: Mapping[str, Any]) -> list[np.ndarray]:
    found = []
    for column, value in at.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            own = pd.to_numeric(frame[column], errors="coerce").to_numpy(float)
            found.append(np.isclose(own, value, rtol=LIKE, atol=0))
        else:
            found.append((frame[column] == value).to_numpy(bool))
    return found


def _as_written(rows: pd.DataFrame, column: str, beside: Beside) -> Ours:
    """A mean that the table has, with the error beside it."""
    if len(rows) > 1:
        raise Missing(f"{len(rows)} rows fit: {_differ(rows, {column})}")
    row = rows.iloc[0]
    se = None if pd.isna(row[beside.error]) else float(row[beside.error])
    n = None if beside.count is None or pd.isna(row[beside.count]) else int(row[beside.count])
    if n == 1:
        se = None
    return Ours(float(row[column]), se, n, "replicate")


def _over_replicates(rows: pd.DataFrame, column: str, beside: Beside) -> Ours:
    """The statistic over the replicates, along `over` where that is written."""
    levels = [level for level in UNITS if level in rows]
    if "data" in levels and rows["data"].nunique() < 2:
        levels.remove("data")
    keys = [*levels, *([beside.over] if beside.over else [])]
    if (rows.groupby(keys, dropna=False).size() > 1).any() if keys else len(rows) > 1:
        known = {column, *keys}
        raise Missing(f"a replicate has several rows: {_differ(rows, known)}")
    if beside.over is None or beside.statistic == "mean":
        cells = {None: rows}
    else:
        cells = dict(list(rows.groupby(beside.over)))
        if not cells:
            raise Missing(f"no row has a value of '{beside.over}'")
    found = {}
    for place, cell in cells.items():
        values = cell.groupby(levels[0])[column].mean() if levels else cell[column]
        found[place] = _estimate(values.to_numpy(float), UNITS[levels[0]] if levels else "row")
        if beside.statistic == "median":
            error = None if found[place].se is None else MEDIAN * found[place].se
            found[place] = Ours(float(values.median()), error, len(values), found[place].n_of)
    if beside.statistic == "last":
        return found[max(found)]
    if beside.statistic in ("min", "max"):
        return {"min": min, "max": max}[beside.statistic](found.values(), key=lambda o: o.value)
    return found[None]


def _estimate(values: np.ndarray, n_of: str) -> Ours:
    se = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Ours(float(values.mean()), se, len(values), n_of)


def _differ(rows: pd.DataFrame, known: set[str]) -> str:
    """In what the rows that fit differ: what an entry does not say."""
    kept = [c for c in rows if c not in known and c != "run"]
    axes = [c for c in kept if c in AXES or not pd.api.types.is_float_dtype(rows[c])]
    varied = [str(c) for c in axes if len(rows[c].astype(str).unique()) > 1]
    return f"they differ in {', '.join(varied) or 'numbers'}; choose under 'at', or by 'over'"


def _place(one: Printed, beside: Beside) -> str:
    """Which cell ours is, in words: `train_loss of runs at elr 1e-05, last over epoch`."""
    text = f"100 - {one.column}" if beside.complement else f"{one.column}"
    text += f" of {beside.table}" if beside.table else ""
    if one.at:
        text += " at " + ", ".join(f"{key} {_plain(value)}" for key, value in one.at.items())
    if beside.over:
        text += f", {beside.statistic} over {beside.over}"
    elif beside.statistic != "mean":
        text += f", {beside.statistic}"
    return text


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------------- as a page shows them


def beside_ours(graph: Graph, figure: Figure) -> dict[str, Any] | None:
    """A figure's published numbers as the report shows them; None where it has none."""
    rows = rows_of(graph, figure)
    if not rows:
        return None
    sources: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        sources.setdefault(row["source"], []).append(_shown(row))
    return {
        "said": in_words(rows),
        "sources": sources,
        "judged": any(row["within"] != NOT_JUDGED for row in rows),
        "open": len(rows) <= SHOWN_ROWS,
    }


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    counted = "" if row["n"] is None else count(row["n"], row["n_of"])
    exact = not row["reading"]  # then as printed, not rounded to the digits of an estimate
    return {
        "name": row["number"],
        "place": row["place"],
        "published": plain(row["published"], PRINTED)
        if exact
        else estimate(row["published"], row["reading"]),
        "ours": "" if row["ours"] is None else estimate(row["ours"], row["se"]),
        "counted": counted,
        "ratio": "" if row["ratio"] is None else plain(row["ratio"], 3),
        "within": row["within"] if row["within"] != NOT_JUDGED else "",
        "reason": "" if row["reason"] == OTHER_SCALE else row["reason"],
    }


def in_words(rows: Sequence[Mapping[str, Any]]) -> str:
    """`24 published numbers, 10 of them with one of ours: 6 within, 4 not`.

    At another scale than the paper's nothing is judged, and it says so in place of the counts.
    """
    ours = [row for row in rows if row["ours"] is not None]
    text = count(len(rows), "published number")
    if not ours:
        return f"{text}, none with one of ours"
    text += f", {len(ours)} of them with one of ours"
    if all(row["reason"] == OTHER_SCALE for row in ours):
        return f"{text}: at another scale than the paper's, so not judged"
    verdicts = [row["within"] for row in ours]
    return f"{text}: {verdicts.count(YES)} within, {verdicts.count(NO)} not"
