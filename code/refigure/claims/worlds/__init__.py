"""How often a predicate is wrong: its verdicts in worlds whose truth is known.

A claim's entry names two worlds. In the null world what the claim says is not so, in the effect
world it is; both have the size and the noise of the tables that the claim was decided on:

    worlds:
      "null": {bands: {cells: [stage, plr], flat: [plr], columns: [accuracy]}}
      effect: {bands: {cells: [stage, plr], columns: [accuracy]}}

Of a table that a world names, `columns` are drawn anew. Each cell has a mean, and replicates differ
by a part that all cells share and a part of their own, both normal, with the variances of the
table itself. In the null world the means of cells that differ in the `flat` axes alone are equal.
With `log: true` this happens to logarithms, as it should for losses and norms. `shift` moves the
means of some cells, where the table itself does not show the effect: `shift: {where: {regime:
[2A]}, by: 3.0}`. Further keys: `by` names the columns whose groups have variances of their own
(tasks whose metrics have units of their own; by all of `cells`, each cell); `where` the rows that
are drawn anew, so that others stay; `replicates` the columns that tell these apart where they are
no data sets, draws or seeds (periods); `whole` says that values are counts; `resamples` names the
column that numbers the resamples of a cell, of which the lowest is the estimate: the cell is moved
as a whole, by their deviation. `permuted: true` draws nothing: within a replicate the
values of `columns`, together, change places over the `flat` axes, for what has no mean, as labels.
A table may have a list of such entries, for columns that are drawn in different ways.

A world may instead be `{made: three_regimes.no_order}`, a function of `claims/worlds/` that gives
all tables of the claim from a random generator; `{changed: three_regimes.no_gain}`, one that takes
the claim's tables and a generator, and gives those that it changes; or `{none: why}`.

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
        by: columns whose groups have variances of their own.
        where: column -> values of the rows that are drawn anew; None: all.
        replicates: columns that tell replicates apart; empty: those of `statistics.replicates`.
        whole: values are counts: rounded, none below 0.
        resamples: the column that numbers the resamples of each cell, the lowest the estimate.
        permuted: values change places over the `flat` axes, and nothing else happens.
    """

    cells: tuple[str, ...]
    columns: tuple[str, ...]
    flat: tuple[str, ...] = ()
    log: bool = False
    shift: Mapping[str, Any] | None = None
    by: tuple[str, ...] = ()
    where: Mapping[str, Any] | None = None
    replicates: tuple[str, ...] = ()
    whole: bool = False
    resamples: str = ""
    permuted: bool = False


def redraw(frame: pd.DataFrame, how: Redrawn, rng: np.random.Generator) -> pd.DataFrame:
    """A table of the same shape with the columns drawn anew.

    Args:
        frame: one row a replicate and cell; what is missing, infinite or has no logarithm stays.
        how: its world.

    Raises:
        ValueError: a column is not there, or a cell has two rows of one replicate.
    """
    named = (*how.cells, *how.columns, *how.by, *how.replicates, *filter(None, [how.resamples]))
    if lacking := [name for name in named if name not in frame]:
        raise ValueError(f"the table has no column {', '.join(lacking)}")
    by = list(how.replicates) or replicates(frame)
    drawn = frame.reset_index(drop=True).copy()
    chosen = _chosen(drawn, how.where)
    part = drawn[chosen].reset_index(drop=True)
    if not len(part):
        return drawn
    told = [how.resamples] if how.resamples else by
    if part.duplicated([*told, *how.cells]).any():
        raise ValueError(f"cells {', '.join(how.cells)} and replicates do not name one row")
    fresh = _permuted(part, how, by, rng) if how.permuted else _fresh(part, how, by, rng)
    for name in how.columns:
        values = fresh[name]
        if not how.permuted and not how.where:
            drawn[name] = values
            continue
        if values.dtype.kind == "f":
            drawn[name] = drawn[name].astype(float)
        drawn.loc[chosen, name] = values.to_numpy()
    return drawn


def _fresh(
    part: pd.DataFrame, how: Redrawn, by: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """The columns drawn anew."""
    alike = [name for name in how.cells if name not in how.flat]
    cell = _groups(part, how.cells)
    means, group = _groups(part, alike), _groups(part, how.by)
    who = _groups(part, by) if by else np.arange(len(part))
    moved = _moved(part, how.shift)
    fresh = {}
    for name in how.columns:
        values = part[name].to_numpy(float)
        values = np.log(values) if how.log else values
        values = np.where(np.isfinite(values), values, np.nan)
        if how.resamples:
            number = part[how.resamples].to_numpy()
            new = _moved_whole(values, number == number.min(), cell, means, rng)
        else:
            new = _means(values, means)[means]
            rest = values - _means(values, cell)[cell]
            for one in range(group.max() + 1):
                own = group == one
                shared, alone = _spreads(rest[own], who[own], cell[own])
                new[own] += shared * rng.standard_normal(who.max() + 1)[who[own]]
                new[own] += alone * rng.standard_normal(int(own.sum()))
        new = np.exp(new + moved) if how.log else new + moved
        new = np.maximum(np.rint(new), 0) if how.whole else new
        fresh[name] = np.where(np.isnan(values), part[name].to_numpy(float), new)
    return pd.DataFrame(fresh)


def _moved_whole(
    values: np.ndarray,
    first: np.ndarray,
    cell: np.ndarray,
    means: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cells of an estimate and its bootstrap, each moved to a new estimate.

    Args:
        values: in the rows of all cells.
        first: whether a row has the estimate itself.
        cell, means: the cell of each row, and the cells that share a mean.
    """
    estimates = _means(np.where(first, values, np.nan), cell)
    centre = _means(np.where(first, values, np.nan), means)
    drawn = pd.Series(np.where(first, np.nan, values)).groupby(cell)
    errors = drawn.std(ddof=1).to_numpy()
    off = np.nan_to_num(errors) * rng.standard_normal(len(errors))
    return values - estimates[cell] + centre[means] + off[cell]


def _permuted(
    part: pd.DataFrame, how: Redrawn, by: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """The columns, with values in other places of the flat axes within each replicate."""
    place = np.arange(len(part))
    among = [*by, *(name for name in how.cells if name not in how.flat)]
    for rows in part.groupby(among, dropna=False).indices.values() if among else [place]:
        place[rows] = rng.permutation(rows)
    return part[list(how.columns)].iloc[place].reset_index(drop=True)


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
    if "changed" in written:
        return dict(tables) | made(written["changed"])(tables, rng)
    drawn = dict(tables)
    for name, how in written.items():
        for one in how if isinstance(how, Sequence) else [how]:
            drawn[name] = redraw(drawn[name], redrawn(one), rng)
    return drawn


def redrawn(how: Mapping[str, Any]) -> Redrawn:
    """The entry of one table, read.

    Raises:
        TypeError: a key is unknown or missing.
    """
    names = ("cells", "columns", "flat", "by", "replicates")
    lists = {key: tuple(how[key]) for key in names if key in how}
    return Redrawn(**{**how, **lists})


def made(dotted: str) -> Callable[..., dict[str, pd.DataFrame]]:
    """The function of a world of this folder by its name, such as `three_regimes.no_order`."""
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


def _groups(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """The number of each row's group; one group where nothing is named."""
    if not names:
        return np.zeros(len(frame), int)
    return frame.groupby(list(names), dropna=False, sort=False).ngroup().to_numpy()


def _moved(frame: pd.DataFrame, shift: Mapping[str, Any] | None) -> np.ndarray:
    """What is added to the mean of each row's cell."""
    if shift is None:
        return np.zeros(len(frame))
    return float(shift["by"]) * _chosen(frame, shift["where"])


def _chosen(frame: pd.DataFrame, where: Mapping[str, Any] | None) -> np.ndarray:
    """Which rows have one of the values named of each column."""
    chosen = np.ones(len(frame), bool)
    for column, values in (where or {}).items():
        several = isinstance(values, Sequence) and not isinstance(values, str)
        chosen &= frame[column].isin(values if several else [values]).to_numpy()
    return chosen
