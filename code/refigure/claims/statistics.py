"""Estimates that name what they rest on, and the one way to choose a best cell.

    gain = estimate(after - before)        # series by seed, or by data set and seed

A series is indexed by its replicates, outermost first: `("data", "seed")` says that seeds share a
data set. What is counted is the outermost level, `seed`, `data`, ...; inner levels are averaged
first and recorded. An index whose level has no known name is refused, so that no estimate exists
without its unit. Values are paired by subtracting series: pandas aligns them by replicate.

Source: Student's t, Welch (1947) and Satterthwaite (1946) for errors of several sources.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

UNITS = {
    "seed": "seeds",
    "network": "networks",
    "data": "data sets",
    "draw": "data draws",
    "split": "splits",
    "pool": "pools",
    "ensemble": "disjoint ensembles",
    "document": "documents",
    "word": "words",
    "run": "runs",
    "period": "periods",
    "jump": "jumps",
    "plr": "learning rates",
    "image": "images",
    "round": "rounds",
    "reading": "readings",
}
"""Name of an index level -> what it counts, in the plural."""

_READ = ContextVar("whether numbers are those of one reading of a published table", default=False)


@contextmanager
def as_read() -> Iterator[None]:
    """Take a value without a standard error as it stands, while a published table is judged.

    A paper prints one number a cell. Its error is that of our reading, which `claims.published`
    draws anew many times, so that inside one draw a number has none.
    """
    token = _READ.set(True)
    try:
        yield
    finally:
        _READ.reset(token)


def reading() -> bool:
    """Whether a published table is judged: a single value then speaks for itself."""
    return _READ.get()


@dataclass(frozen=True)
class Estimate:
    """A measured number: its value, its standard error, and how many of what it rests on.

    Attributes:
        value: finite.
        se: standard error, finite and not negative; None where there is none, as for one seed.
        n: how many of the outermost unit were counted, at least 1.
        n_of: the unit, in the plural, one of `UNITS`.
        inner: what was averaged inside each first, such as "2 seeds each"; may be empty.
        freedom: degrees of freedom of the error; n - 1 unless errors were joined.
        objects: of the test set whose error is part of `se`; None where it is not.

    Raises:
        ValueError: the unit is unknown, a number is not finite, `se` is negative or given for
            n = 1 without its degrees of freedom, or n is below 1. A number read off a picture has
            the known error of its reading: n = 1 and infinite freedom.
    """

    value: float
    se: float | None
    n: int
    n_of: str
    inner: str = ""
    freedom: float | None = None
    objects: int | None = None

    def __post_init__(self) -> None:
        if self.n_of not in UNITS.values():
            known = ", ".join(UNITS.values())
            raise ValueError(f"an estimate needs its unit, one of {known}; got {self.n_of!r}")
        object.__setattr__(self, "value", finite(self.value, f"an estimate over {self.n_of}"))
        if isinstance(self.n, bool) or self.n != int(self.n) or self.n < 1:
            raise ValueError(f"n must be a whole number of {self.n_of}, at least 1, got {self.n}")
        object.__setattr__(self, "n", int(self.n))
        if self.freedom is None:
            object.__setattr__(self, "freedom", float(self.n - 1))
        if self.se is None:
            return
        object.__setattr__(self, "se", finite(self.se, f"a standard error over {self.n_of}"))
        if self.se < 0:
            raise ValueError(f"a standard error cannot be negative, got {self.se}")
        if self.n == 1 and self.freedom == 0:
            raise ValueError(f"n = 1 of {self.n_of} has no standard error, got {self.se}")

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray | pd.Series, n_of: str) -> Estimate:
        """Mean and standard error (ddof = 1) of independent values; clusters go to `estimate`.

        Raises:
            ValueError: there are no values, or one is not finite.
        """
        values = row_of(values, n_of)
        if values.size == 1:
            return cls(values[0], None, 1, n_of)
        se = values.std(ddof=1) / math.sqrt(values.size)
        return cls(values.mean(), se, values.size, n_of)

    def __add__(self, other: Estimate | float) -> Estimate:
        """Sum with an independent estimate (errors in quadrature) or a number."""
        if not isinstance(other, Estimate):
            return replace(self, value=self.value + finite(other, "the number added"))
        if other.n_of != self.n_of:
            raise ValueError(f"cannot combine estimates over {self.n_of} and over {other.n_of}")
        known = self.se is not None and other.se is not None
        se = math.hypot(self.se, other.se) if known else None
        n = min(self.n, other.n)
        freedom = _joint([(self.se, self.freedom), (other.se, other.freedom)]) if known else None
        inner = self.inner if self.inner == other.inner else ""
        return Estimate(self.value + other.value, se, n, self.n_of, inner, freedom)

    __radd__ = __add__

    def __mul__(self, factor: float) -> Estimate:
        """The estimate in another unit."""
        factor = finite(factor, "the factor")
        se = None if self.se is None else self.se * abs(factor)
        return replace(self, value=self.value * factor, se=se)

    __rmul__ = __mul__

    def __neg__(self) -> Estimate:
        return self * -1

    def __sub__(self, other: Estimate | float) -> Estimate:
        """Difference to an independent estimate (errors in quadrature) or a number."""
        return self + (-other)

    def __rsub__(self, other: float) -> Estimate:
        return -self + other

    def tested_on(self, objects: int, *errors: float) -> Estimate:
        """With the error of a test set that all replicates share, in percentage points.

        Replicates that share their test objects do not average its error away. Without predictions
        by object the accuracies compared count as independent, which is an upper bound where the
        same objects are hard for both. Data sets and draws have test sets of their own: their
        spread has this error in it already.

        Args:
            objects: of the test set.
            errors: of each accuracy in the difference, percent.
        """
        if self.se is None or self.n_of in (UNITS["data"], UNITS["draw"]):
            return self
        shares = np.clip(np.asarray(errors, float) / 100, 0, 1)
        binomial = 100 * math.sqrt(float((shares * (1 - shares)).sum()) / objects)
        freedom = _joint([(self.se, self.freedom), (binomial, math.inf)])
        return replace(
            self, se=math.hypot(self.se, binomial), freedom=freedom, objects=int(objects)
        )

    @property
    def factor(self) -> float:
        """How many standard errors count as shown: Student's t, two-sided 95 %."""
        return quantile(self.freedom, 0.975)

    @property
    def margin(self) -> float | None:
        """How far from a threshold the value must lie to be beyond it; None without an error."""
        if self.se is None:
            return 0.0 if reading() else None
        return self.factor * self.se

    @property
    def one_sided(self) -> float | None:
        """The margin of each of two one-sided tests of equivalence: Student's t, 95 %."""
        if self.se is None:
            return 0.0 if reading() else None
        return quantile(self.freedom, 0.95) * self.se

    def within(self) -> str:
        """The reason of a value too near its threshold, such as "within 2.31 s.e. (n=9)"."""
        return f"within {self.factor:.2f} s.e. ({self.counts()})"

    def counts(self) -> str:
        """What the error rests on, such as "n=9" or "n=3 and 901 test objects"."""
        unit = "" if self.n_of == "seeds" else f" {self.n_of}"
        inner = f", {self.inner}" if self.inner else ""
        tested = f" and {self.objects} test objects" if self.objects else ""
        return f"n={self.n}{unit}{inner}{tested}"

    def without_error(self) -> str:
        """The reason of a value without standard error: "1 seed"."""
        if self.n == 1:
            return f"1 {self.n_of.removesuffix('s')}"
        return f"no standard error over {self.n} {self.n_of}"


def estimate(values: pd.Series) -> Estimate | None:
    """The estimate over the outermost level of an index of replicates.

    Args:
        values: indexed by replicates, outermost first.

    Returns:
        None where there is no value, or one is missing or infinite.

    Raises:
        ValueError: a level of the index has no name of `UNITS`.
    """
    names = list(values.index.names)
    if unknown := [name for name in names if name not in UNITS]:
        raise ValueError(f"replicates need a unit, one of {', '.join(UNITS)}; got {unknown}")
    numbers = values.astype(float)
    if not len(numbers) or not np.isfinite(numbers).all():
        return None
    if len(names) == 1:
        return Estimate.of(numbers.to_numpy(), UNITS[names[0]])
    by_outer = numbers.groupby(level=0)
    sizes = by_outer.size()
    low, high = sizes.min(), sizes.max()
    each = f"{low}" if low == high else f"{low} to {high}"
    found = Estimate.of(by_outer.mean().to_numpy(), UNITS[names[0]])
    if high == 1:  # nothing was averaged
        return found
    return replace(found, inner=f"{each} {UNITS[names[-1]].removesuffix('s')}s each")


def replicates(frame: pd.DataFrame) -> list[str]:
    """The columns that tell replicates apart, outermost first: the data set or draw, then seeds."""
    return [name for name in ("data", "draw", "seed") if name in frame]


def by_replicate(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column by replicate, the mean where a replicate has several rows; NaN stays NaN."""
    grouped = frame.groupby(replicates(frame))[column]
    return grouped.mean().where(grouped.count() == grouped.size())


def over_seeds(values: Sequence[float] | np.ndarray | pd.Series) -> Estimate | None:
    """The estimate over seeds; None where there is no value, or one is missing or infinite."""
    numbers = np.asarray(values, dtype=float)
    return Estimate.of(numbers, "seeds") if len(numbers) and np.isfinite(numbers).all() else None


def finite_or_none(value: float | None) -> float | None:
    """A plain number; None where it is missing or infinite, so could not be had."""
    return float(value) if value is not None and math.isfinite(value) else None


def paired(
    a_values: Sequence[float] | np.ndarray, b_values: Sequence[float] | np.ndarray, n_of: str
) -> Estimate:
    """Mean difference a - b of values that belong together one by one, such as of the same seed.

    Raises:
        ValueError: the rows differ in length, are empty, or hold a number that is not finite.
    """
    a, b = row_of(a_values, n_of), row_of(b_values, n_of)
    if a.size != b.size:
        raise ValueError(f"paired values need equal numbers of {n_of}, got {a.size} and {b.size}")
    return Estimate.of(a - b, n_of)


class Comparison(NamedTuple):
    """The best cell of one set beside the best of another.

    Attributes:
        gain: best inside less best outside by the nested choice; None where a side has no cell.
        inside, outside: the cells that all replicates together choose; None where there is none.
        inside_level, outside_level: mean of the cells that the nested choice took.
        ties: how many cells outside are not clearly worse than the best inside.
    """

    gain: Estimate | None
    inside: object
    outside: object
    inside_level: float
    outside_level: float
    ties: int


def cells(frame: pd.DataFrame, axes: Sequence[str], column: str) -> pd.DataFrame:
    """Values by replicate (rows) and cell (columns), over the replicates that every cell has.

    Cells of a comparison must rest on the same replicates, else a mean over three seeds competes
    with one over six. A cell whose value is missing for a replicate it ran, as after a divergence,
    does not count.
    """
    if not len(frame):
        return pd.DataFrame()
    broken = frame[column].isna().groupby([frame[axis] for axis in axes]).transform("any")
    whole = frame[~broken]
    if not len(whole):
        return pd.DataFrame()
    wide = whole.pivot_table(column, index=replicates(frame), columns=list(axes))
    return wide.dropna(axis=0)


def compare_best(inside: pd.DataFrame, outside: pd.DataFrame, largest: bool = True) -> Comparison:
    """The best cell of one set less the best of another, each chosen without looking.

    For each outermost replicate the cells are chosen by the means over the others, and read on it:
    a maximum over cells is not tested on the numbers that made it one. With one replicate there is
    nothing to choose by; it is read as it is, and has no error.

    Args:
        inside, outside: of `cells`.
        largest: whether the largest value is the best; else the smallest, and the gain is outside
            less inside.
    """
    if not inside.size or not outside.size:
        level = np.nan
        best = [_argbest(side, largest) if side.size else None for side in (inside, outside)]
        return Comparison(None, *best, level, level, 0)
    shared = inside.index.intersection(outside.index)
    inside, outside = inside.loc[shared], outside.loc[shared]
    if not len(shared):
        return Comparison(None, None, None, np.nan, np.nan, 0)
    outer = shared.get_level_values(0)
    sign = 1.0 if largest else -1.0
    read = []
    for side in (inside, outside):
        means = (sign * side).groupby(level=0).mean()
        table, sums = means.to_numpy(), means.to_numpy().sum(0)
        others = sums - table if len(table) > 1 else table
        chosen = pd.Series(others.argmax(1), index=means.index)
        values = side.to_numpy()[np.arange(len(side)), chosen[outer].to_numpy()]
        read.append(pd.Series(values, index=shared))
    gain = estimate(sign * (read[0] - read[1]))
    best = [_argbest(side, largest) for side in (inside, outside)]
    # A cell is tied that the best inside does not beat clearly, replicate by replicate.
    top = sign * inside[best[0]]
    lead = outside.mul(-sign).add(top, axis=0).groupby(level=0).mean()
    errors = lead.std(ddof=1) / math.sqrt(len(lead)) if len(lead) > 1 else math.inf
    clear = lead.mean() > quantile(len(lead) - 1, 0.975) * errors
    return Comparison(gain, *best, *(float(side.mean()) for side in read), int((~clear).sum()))


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where all of a row is equal.

    Rounded to 12 digits: correlations of few points are small fractions, -0.8 among them, and a
    rounding error must not decide a predicate "at most -0.8".

    Raises:
        ValueError: the rows differ in length, are shorter than 2, or hold a number not finite.
    """
    x, y = row_of(x, "values"), row_of(y, "values")
    if x.size != y.size or x.size < 2:
        raise ValueError(
            f"a rank correlation needs equal rows of 2 or more, got {x.size}, {y.size}"
        )
    ranks = np.stack([_ranks(x), _ranks(y)])
    if (ranks.std(1) == 0).any():
        return None
    return round(float(np.corrcoef(ranks)[0, 1]), 12)


def correlations(frame: pd.DataFrame, x: str, y: str, count: int = 3) -> Estimate | None:
    """Spearman's correlation of two columns within each replicate, as one estimate.

    Args:
        frame: one row a replicate and rate.
        x, y: columns.
        count: of rows that a replicate needs; replicates with fewer rows than another do not
            count.
    """
    by = frame.groupby(replicates(frame))
    most = by.size().max() if len(frame) else 0
    if most < count:
        return None
    found = {
        key: spearman(own[x], own[y])
        for key, own in by
        if len(own) == most and np.isfinite(own[[x, y]].to_numpy(float)).all()
    }
    if not found or None in found.values():
        return None
    names = replicates(frame)
    index = pd.MultiIndex.from_tuples(found, names=names)
    index = index if len(names) > 1 else index.get_level_values(0)
    return estimate(pd.Series(list(found.values()), index=index))


def quantile(freedom: float, level: float) -> float:
    """Student's t; infinite without a degree of freedom."""
    if freedom <= 0:
        return math.inf
    return float(stdtrit(min(freedom, 1e9), level))


def finite(value: float, what: str) -> float:
    """The number.

    Raises:
        ValueError: it is missing, a text, or not finite.
    """
    if value is None or isinstance(value, str) or not math.isfinite(value):
        raise ValueError(f"{what} must be a finite number, got {value!r}")
    return float(value)


def row_of(values: Sequence[float] | np.ndarray | pd.Series, n_of: str) -> np.ndarray:
    """The values as a row of finite numbers.

    Raises:
        ValueError: there are none, or one is not finite.
    """
    row = np.asarray(values, dtype=float)
    if row.ndim != 1 or row.size == 0:
        raise ValueError(f"an estimate needs a row of {n_of}, got shape {row.shape}")
    if not np.isfinite(row).all():
        raise ValueError(f"{n_of} must be finite numbers, got {row.tolist()}")
    return row


def _joint(errors: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of errors in quadrature (Welch and Satterthwaite)."""
    total = sum(se**2 for se, _ in errors)
    parts = sum(se**4 / freedom for se, freedom in errors if se > 0 and freedom > 0)
    if total == 0 or parts == 0:
        known = [freedom for se, freedom in errors if se > 0] or [min(f for _, f in errors)]
        return min(known)
    return total**2 / parts


def _argbest(side: pd.DataFrame, largest: bool) -> object:
    means = side.groupby(level=0).mean().mean()
    return means.idxmax() if largest else means.idxmin()


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]
