"""What a paper's own numbers say of its claim: the same predicate on a published table.

A published table is a CSV in `config/published/`, with the columns of the table that the claim's
predicate takes. Lines that begin with `#` say where the numbers are from. A column `NAME_reading`
is the standard error of reading column `NAME` off a picture or of its rounding, in its unit; a
printed number that is exact has none.

The predicate is evaluated on draws of the table, each number moved by a normal error of its
reading, and inside a draw a number stands as it is (`statistics.as_read`). The verdict is the one
that at least 95 % of the draws come to; else it is undecided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refigure.claims.statistics import as_read
from refigure.claims.verdict import UNDECIDED, Finding
from refigure.errors import UserError

DRAWS = 100
SHARE = 0.95
SUFFIX = "_reading"


def read_published(path: Path) -> pd.DataFrame:
    """A published table, with its columns of reading errors.

    Raises:
        UserError: it is not there or no CSV, names no source, has no row, an error of a column
            that it lacks, or one that is negative or not finite.
    """
    try:
        text = path.read_text(encoding="utf-8")
        frame = pd.read_csv(path, comment="#", skipinitialspace=True)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not a table: {' '.join(str(error).split())}") from None
    if not text.startswith("#"):
        raise UserError(f"{path}: its first line must say where the numbers are from: # ...")
    if not len(frame):
        raise UserError(f"{path}: no rows")
    for name in errors_of(frame):
        column = name.removesuffix(SUFFIX)
        if column not in frame:
            raise UserError(f"{path}: column {name}, but no column {column}")
        values = pd.to_numeric(frame[name], errors="coerce").to_numpy(float)
        here = frame[column].notna().to_numpy()
        if not (np.isfinite(values[here]).all() and (values[here] >= 0).all()):
            raise UserError(f"{path}: {name} must be numbers of at least 0")
    return frame


def errors_of(frame: pd.DataFrame) -> list[str]:
    """The columns that hold errors of reading."""
    return [name for name in frame if str(name).endswith(SUFFIX)]


def judge(
    decide: Callable[..., Finding],
    tables: Mapping[str, pd.DataFrame],
    options: Mapping[str, Any],
    seed: int = 0,
) -> Finding:
    """The verdict of a predicate on published tables.

    Args:
        decide: the claim's predicate.
        tables: argument -> of `read_published`.
        options: of the claim.
        seed: of the draws.

    Returns:
        The finding on the numbers as they are read, with the verdict of the draws; the reason
        names the share of draws where the verdict is not that of all.
    """
    plain = {name: frame.drop(columns=errors_of(frame)) for name, frame in tables.items()}
    with as_read():
        found = decide(**plain, **options)
        if not any(errors_of(frame) for frame in tables.values()):
            return found
        rng = np.random.default_rng(seed)
        drawn = Counter(
            decide(
                **{name: _moved(frame, rng) for name, frame in tables.items()}, **options
            ).verdict
            for _ in range(DRAWS)
        )
    verdict, count = drawn.most_common(1)[0]
    if count == DRAWS == drawn[found.verdict]:
        return found
    shares = ", ".join(f"{name} in {drawn[name] / DRAWS:.0%}" for name in sorted(drawn))
    said = f"of {DRAWS} readings: {shares}"
    reason = f"{found.reason}; {said}" if found.reason else said
    return replace(found, verdict=verdict if count >= SHARE * DRAWS else UNDECIDED, reason=reason)


def _moved(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The table read once more: each number moved by its error."""
    moved = frame.copy()
    for name in errors_of(frame):
        column = name.removesuffix(SUFFIX)
        error = pd.to_numeric(frame[name], errors="coerce").fillna(0.0).to_numpy(float)
        moved[column] = frame[column].astype(float) + error * rng.standard_normal(len(frame))
    return moved.drop(columns=errors_of(frame))
