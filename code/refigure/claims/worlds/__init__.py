"""How often a predicate is wrong: its verdicts in worlds whose truth is known.

A claim's entry names two worlds. In the null world what the claim says is not so, in the effect
world it is; both have the size and the noise of the tables that the claim was decided on:

    worlds:
      null: {bands: {cells: [stage, plr], flat: [plr], columns: [accuracy]}}
      effect: {bands: {cells: [stage, plr], columns: [accuracy]}}

Of a table that a world names, `columns` are drawn anew. Each cell has a mean, and replicates differ
by a part that all cells share and a part of their own, both normal, with the variances of the
table itself. In the null world the means of cells that differ in the `flat` axes alone are equal.
With `log: true` this happens to logarithms, as it should for losses and norms. `shift` moves the
means of some cells, where the table itself does not show the effect: `shift: {where: {regime:
[2A]}, by: 3.0}`. A world may instead be `{made: three_regimes.no_order}`, a function of
`claims/worlds/` that gives all tables of the claim from a random generator, or `{none: why}`.

A null draw that comes out as `holds` and an effect draw that comes out as `fails` are errors; at
most 5 % of either is the bar. `benchmarks/verdicts.py` measures the shares.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refigure.claims.statistics import replicates
from refigure.claims.verdict import FAILS, HOLDS, UNDECIDED, Finding

DRAWS = 200
KINDS = ("null", "effect")
WRONG = {"null": HOLDS, "effect": FAILS}
"""The verdict that is an error in a world."""
BAR = 0.05


@dataclass(frozen=True)
class Redrawn:
    """How one table of a world is drawn.

    Args:
        cells: columns that tell cells apart; with the replicates they name one row.
        columns: that are drawn anew.
        flat: of `cells`, those that make no difference in this world.
        log: whether logarithms are drawn.
        shift: `{where: {column: values}, by: number}`, added to means (of logs, if `log`).
    """

    cells: tuple[str, ...]
    columns: tuple[str, ...]
    flat: tuple[str, ...] = ()
    log: bool = False
    shift: Mapping[str, Any] | None = None


def redraw(frame: pd.DataFrame, how: Redrawn, rng: np.random.Generator) -> pd.DataFrame:
    """A table of the same shape with the columns drawn anew.

    Args:
        frame: one row a replicate and cell; a missing value stays missing.
        how: its world.

    Raises:
        ValueError: a column is not there, or a cell has two rows of one replicate.
    """
    if lacking := [name for name in (*how.cells, *how.columns) if name not in frame]:
        raise ValueError(f"the table has no column {', '.join(lacking)}")
    by = replicates(frame)
    drawn = frame.reset_index(drop=True).copy()
    if drawn.duplicated([*by, *how.cells]).any():
        raise ValueError(f"cells {', '.join(how.cells)} and replicates do not name one row")
    cell = drawn.groupby(list(how.cells), dropna=False, sort=False).ngroup().to_numpy()
    alike = [name for name in how.cells if name not in how.flat]
    means = drawn.groupby(alike, dropna=False).ngroup().to_numpy() if alike else 0 * cell
    who = drawn.groupby(by).ngroup().to_numpy() if by else np.arange(len(drawn))
    moved = _moved(drawn, how.shift)
    for name in how.columns:
        values = drawn[name].to_numpy(float)
        values = np.log(values) if how.log else values
        centre = _means(values, cell)[cell]
        shared, own = _spreads(values - centre, who, cell)
        fresh = _means(values, means)[means] + moved
        fresh = fresh + shared * rng.standard_normal(who.max() + 1)[who]
        fresh = fresh + own * rng.standard_normal(len(values))
        drawn[name] = np.where(np.isnan(values), np.nan, np.exp(fresh) if how.log else fresh)
    return drawn


def draw(
    written: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], rng: np.random.Generator
) -> dict[str, pd.DataFrame]:
    """One draw of a world: its tables by the argument of the predicate.

    Args:
        written: the world, as the claim's entry has it.
        tables: those that the claim was decided on.
    """
    if "made" in written:
        return made(written["made"])(rng)
    drawn = dict(tables)
    for name, how in written.items():
        drawn[name] = redraw(tables[name], redrawn(how), rng)
    return drawn


def redrawn(how: Mapping[str, Any]) -> Redrawn:
    """The entry of one table, read.

    Raises:
        TypeError: a key is unknown or missing.
    """
    lists = {key: tuple(how[key]) for key in ("cells", "columns", "flat") if key in how}
    return Redrawn(**{**how, **lists})


def made(dotted: str) -> Callable[[np.random.Generator], dict[str, pd.DataFrame]]:
    """The function of a made-up world, `three_regimes.no_order` of this folder."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)


def shares(
    decide: Callable[..., Finding],
    written: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    options: Mapping[str, Any],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Verdict -> the share of draws of a world that come to it."""
    rng = np.random.default_rng(seed)
    found = Counter(decide(**draw(written, tables, rng), **options).verdict for _ in range(draws))
    return {verdict: found[verdict] / draws for verdict in (HOLDS, FAILS, UNDECIDED)}


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean of the known values of each group; NaN where there is none."""
    known = ~np.isnan(values)
    size = groups.max() + 1
    total = np.bincount(groups[known], values[known], minlength=size)
    count = np.bincount(groups[known], minlength=size)
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)


def _spreads(rest: np.ndarray, who: np.ndarray, cell: np.ndarray) -> tuple[float, float]:
    """Standard deviations of the part that the cells of a replicate share, and of each cell's own.

    Args:
        rest: values less the means of their cells.
        who, cell: the replicate and the cell of each value.
    """
    known = ~np.isnan(rest)
    rest, who, cell = rest[known], who[known], cell[known]
    people, cells = len(np.unique(who)), len(np.unique(cell))
    if people < 2 or len(rest) <= cells:
        return 0.0, 0.0
    by_person = np.bincount(who, rest) / np.maximum(np.bincount(who), 1)
    own = rest - by_person[who]
    freedom = max(len(rest) - cells - people + 1, 1)
    noise = float((own**2).sum() / freedom)
    if cells == 1:
        return 0.0, float(np.sqrt((rest**2).sum() / (people - 1)))
    between = float((by_person[np.unique(who)] ** 2).sum() / (people - 1))
    return float(np.sqrt(max(between - noise / cells, 0.0))), float(np.sqrt(noise))


def _moved(frame: pd.DataFrame, shift: Mapping[str, Any] | None) -> np.ndarray:
    """What is added to the mean of each row's cell."""
    if shift is None:
        return np.zeros(len(frame))
    chosen = np.ones(len(frame), bool)
    for column, values in shift["where"].items():
        values = (
            values if isinstance(values, Sequence) and not isinstance(values, str) else [values]
        )
        chosen &= frame[column].isin(values).to_numpy()
    return float(shift["by"]) * chosen
