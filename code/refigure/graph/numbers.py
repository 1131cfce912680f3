"""Numbers that a paper prints, as its file writes them: what they are, and where ours is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refigure.errors import UserError
from refigure.graph.reading import Items, Kinds, Nullable, OneOf, keyed, meant, number, suggest

BEST = ("min", "max", "last")
"""Statistics that choose one cell along the column `over`."""
STATISTICS = ("mean", "median", *BEST)
READING = (int, float, dict)


@dataclass(frozen=True)
class Printed:
    """One number of a paper.

    Attributes:
        name: of the number: that of its entry, and of its column and place where that has several.
        value, reading: as printed, and the error of its reading, both in the column's unit.
        column: of ours.
        at: column -> the value that the rows of ours have there.
    """

    name: str
    value: float
    reading: float
    column: str | None
    at: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Which of our rows some numbers of a paper lie beside, and which statistic of them."""

    source: str = keyed(str, "Where the numbers are from, in words.", "table 1, read off")
    table: str | None = keyed(
        Nullable(str),
        "The figure's table that has ours, by its name in `tables`; without it, the only one that "
        "has the column.",
        "runs",
    )
    at: Mapping[str, Any] = keyed(
        {},
        "Column -> the value that our rows have there. A list is a line of numbers, one a value.",
        {"elr": 1.0e-4, "family": "M3"},
    )
    statistic: str = keyed(
        OneOf(STATISTICS),
        "Of the rows that remain: `mean` and `median` are over replicates (seeds, or data sets); "
        "`min`, `max` and `last` choose the mean along `over`.",
        "last",
    )
    over: str | None = keyed(
        Nullable(str),
        "The column in which the rows of a replicate differ: a mean is taken along it first, and "
        "`last` is where it is largest.",
        "epoch",
    )
    complement: bool = keyed(
        False, "Whether ours is 100 less the column: an accuracy, where we have an error.", True
    )
    error: str | None = keyed(
        Nullable(str), "The column of its standard error, where the table has means.", "gain_se"
    )
    count: str | None = keyed(
        Nullable(str), "The column of how many replicates are in such a mean.", "runs"
    )


@dataclass(frozen=True, kw_only=True)
class Number(Beside):
    """An entry under `published` of a figure: one number, or a row or line of several."""

    value: float | None = keyed(Nullable((int, float)), "The number.", 28)
    column: str | None = keyed(
        Nullable(str), "The column of ours beside which it lies.", "test_error"
    )
    values: Mapping[str, Any] = keyed(
        {},
        "In place of `value` and `column`, column -> number: a row that the paper prints. Lists "
        "where `at` has one.",
        {"valid": 85.87, "n_voc": 5054},
    )
    tolerance: float | Mapping[str, float] = keyed(
        Kinds(READING, 0),
        "The error of its reading as a share of it; of a row by column, or one for all. 0: printed "
        "exactly.",
        0.05,
    )
    reading: float | Mapping[str, float] = keyed(
        Kinds(READING, 0), "The same in the number's own unit.", {"mae": 0.0005}
    )
    shown: Mapping[str, Any] = keyed(
        {}, "What else the notebook finds in the entry; nothing is compared by it.", {"rank": 1}
    )
    compared: str = keyed(
        "",
        "Why it is compared with nothing, where no cell of a table is the same number.",
        "a border read off an axis, which no table has",
    )

    def drawn(self) -> dict[str, Any]:
        """The entry as a notebook finds it: flat, the columns of `at` beside the number."""
        found: dict[str, Any] = {**self.shown, **self.at, **self.values, "source": self.source}
        if self.value is not None:
            share = self.tolerance if self.value else 0
            if self.reading and self.value:
                share = self.reading / abs(self.value)
            found |= {"value": self.value, "tolerance": share}
        if self.column is not None:
            found["column"] = self.column
        return found

    def printed(self, name: str) -> list[Printed]:
        """Its numbers, one by one; a line has one at each value of its list."""
        if self.value is not None:
            return [self._one(name, self.column, self.value, self.at)]
        line = next((key for key, one in self.at.items() if isinstance(one, list)), None)
        found = []
        for column, value in self.values.items():
            if line is None:
                found.append(self._one(f"{name} {column}", column, value, self.at))
                continue
            for place, one in zip(self.at[line], value):
                at = {**self.at, line: place}
                found.append(self._one(f"{name} {column}, {line} {place:g}", column, one, at))
        return found

    def _one(self, name: str, column: str | None, value: float, at: Mapping[str, Any]) -> Printed:
        def own(error: float | Mapping[str, float]) -> float:
            return error.get(column, 0) if isinstance(error, Mapping) else error

        reading = own(self.reading) or own(self.tolerance) * abs(value)
        return Printed(name, value, reading, column, at)


@dataclass(frozen=True, kw_only=True)
class NumberTable(Beside):
    """An entry under `published_tables` of a figure: a CSV of numbers, and what it lies beside."""

    file: str = keyed(str, "A CSV file of `config/published/`.", "three-regimes/m1.csv")
    columns: list = keyed(
        list, "Its columns that hold numbers, which ours has too.", ["divergence"], Items(str)
    )
    keys: list = keyed(
        list, "Its columns that say which of our rows is meant.", ["method"], Items(str)
    )


def check_numbers(entries: Mapping[str, Number], tables: Iterable[str], place: str) -> None:
    """Refuse an entry that says too little or too much.

    Raises:
        UserError: names the entry, the key and the value.
    """
    for name, one in entries.items():
        where = f"{place}.{name}"
        check_place(one, tables, where)
        _check_errors(one, where)
        lines = {key: value for key, value in one.at.items() if isinstance(value, list)}
        if one.value is not None:
            number(one.value, f"{where}.value")
            if one.values:
                raise UserError(f"{where}: 'value' and 'values' exclude each other")
            if one.column is None and not one.compared:
                raise UserError(f"{where}: key 'column' is missing, beside which ours lies")
        elif not one.values:
            raise UserError(f"{where}: a number is missing: write 'value', or 'values' of a row")
        elif one.column is not None:
            raise UserError(f"{where}: 'column' is of a single 'value'; 'values' name their own")
        if len(lines) > 1 or (lines and not one.values):
            raise UserError(f"{where}.at.{list(lines)[-1]}: a list needs 'values' of its length")
        for column, value in one.values.items():
            _check_values(value, next(iter(lines.values()), None), f"{where}.values.{column}")


def check_place(one: Beside, tables: Iterable[str], where: str) -> None:
    """Refuse a place of ours that cannot be.

    Raises:
        UserError: the figure has no such table, or a statistic lacks its column.
    """
    if one.table is not None and one.table not in (tables := list(tables)):
        raise UserError(
            f"{where}.table: '{one.table}' is no table of the figure{suggest(one.table, tables)}"
        )
    if one.statistic == "median" and one.over is not None:
        raise UserError(f"{where}: a median is over replicates; 'over' is of the other statistics")
    if one.statistic in BEST and one.over is None:
        raise UserError(f"{where}: statistic '{one.statistic}' needs 'over', a column")
    if one.count is not None and one.error is None:
        raise UserError(f"{where}: 'count' is of 'error', which is missing")
    for key, value in one.at.items():
        for item in value if isinstance(value, list) else [value]:
            hint = meant(item, float)
            if hint or not isinstance(item, (str, int, float)):
                raise UserError(f"{where}.at.{key} must be a number or a text, got {item!r}{hint}")


def _check_errors(one: Number, where: str) -> None:
    for key in ("tolerance", "reading"):
        written = getattr(one, key)
        if isinstance(written, Mapping):
            for column, value in written.items():
                if column not in one.values:
                    known = suggest(column, one.values)
                    raise UserError(f"{where}.{key}: '{column}' is none of 'values'{known}")
                _check_error(value, f"{where}.{key}.{column}")
        else:
            _check_error(written, f"{where}.{key}")
    if one.tolerance and one.reading and not isinstance(one.tolerance, Mapping):
        raise UserError(f"{where}: 'tolerance' and 'reading' are one error, written twice")


def _check_error(value: Any, where: str) -> None:
    if number(value, where) < 0:
        raise UserError(f"{where} must be at least 0, got {value!r}")


def _check_values(value: Any, line: Sequence[Any] | None, where: str) -> None:
    if line is None:
        number(value, where)
        return
    if not isinstance(value, list) or len(value) != len(line):
        raise UserError(f"{where} must be a list of {len(line)} numbers, got {value!r}")
    for item in value:
        number(item, where)
