"""`refigure compare A B`: claims and tables of two scales or result folders, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from refigure.errors import UserError
from refigure.explain.text import columns, counted, shortened, wrapped
from refigure.files import read_json
from refigure.graph.config import Config
from refigure.graph.reading import suggest
from refigure.graph.spec import AXES, axis_column

if TYPE_CHECKING:
    import pandas as pd

FLOAT_KEYS = frozenset({*map(axis_column, AXES), "plr", "epoch", "radius", "temperature", "sd"})
"""Columns of floats that say which row it is, besides all columns of words and counts."""
SHOWN = 4  # numbers of a claim, columns of a table, that are printed; --json has all


def compare(config: Config, first: str, second: str) -> dict[str, Any]:
    """What two results say of the same claims and tables.

    Args:
        first, second: scales, or folders that hold `claims/` and `tables/`.

    Returns:
        `claims`: `{paper, id, verdicts, numbers: {name: {values, ses, difference, se}}}`;
        `tables`: `{table, rows, matched, columns: {name: {means, difference, se, n_of, n}}}`;
        `only`: what one of them has alone.

    Raises:
        UserError: a name is neither a scale with results nor such a folder.
    """
    folders = [_folder(config, name) for name in (first, second)]
    claims = [_claims(folder) for folder in folders]
    tables = [
        {path.stem: path for path in sorted((folder / "tables").glob("*.parquet"))}
        for folder in folders
    ]
    return {
        "names": [first, second],
        "claims": [
            {"paper": paper, "id": name, **_claim(*(found[paper, name] for found in claims))}
            for paper, name in claims[0]
            if (paper, name) in claims[1]
        ],
        "tables": [
            {"table": name, **_table(*(found[name] for found in tables))}
            for name in tables[0]
            if name in tables[1]
        ],
        "only": [
            {
                "claims": [" ".join(key) for key in claims[here] if key not in claims[1 - here]],
                "tables": [name for name in tables[here] if name not in tables[1 - here]],
            }
            for here in (0, 1)
        ],
    }


def _folder(config: Config, name: str) -> Path:
    if name in config.scales:
        folder = config.root / "results" / name
        if not any((folder / kind).is_dir() for kind in ("claims", "tables")):
            raise UserError(f"{folder}: no claims and no tables; `snakemake -- results/{name}/all`")
        return folder
    folder = Path(name).expanduser()
    inner = [folder, *sorted(folder.glob("results/*"))]
    for place in inner:
        if any((place / kind).is_dir() for kind in ("claims", "tables")):
            return place
    raise UserError(
        f"'{name}' is no scale and no folder of results with claims or tables"
        f"{suggest(name, config.scales)}"
    )


# ---------------------------------------------------------------------- claims


def _claims(folder: Path) -> dict[tuple[str, str], Mapping[str, Any]]:
    files = sorted((folder / "claims").glob("*/*.json"))
    return {(path.parent.name, path.stem): read_json(path) for path in files}


def _claim(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {}
    for name, one in first["numbers"].items():
        other = second["numbers"].get(name)
        if other is None:
            continue
        values = [one["value"], other["value"]]
        ses = [one["se"], other["se"]]
        difference = None if None in values else values[1] - values[0]
        se = None if None in ses else math.hypot(*ses)
        numbers[name] = {"values": values, "ses": ses, "difference": difference, "se": se}
    return {
        "statement": first["statement"],
        "verdicts": [first["verdict"], second["verdict"]],
        "reasons": [first["reason"], second["reason"]],
        "numbers": numbers,
    }


# ---------------------------------------------------------------------- tables


def _table(first: Path, second: Path) -> dict[str, Any]:
    import pandas as pd

    frames = [pd.read_parquet(path) for path in (first, second)]
    rows = [len(frame) for frame in frames]
    shared = [name for name in frames[0].columns if name in frames[1].columns]
    lacking = [name for name in frames[0].columns if name not in shared]
    lacking += [name for name in frames[1].columns if name not in shared]
    keys = [name for name in shared if _is_key(frames, name)]
    result = {"rows": rows, "matched": 0, "keys": keys, "columns": {}, "not_shared": lacking}
    if not keys or not all(rows) or any(frame.duplicated(keys).any() for frame in frames):
        return result | {"matched": None}
    both = frames[0].merge(frames[1], on=keys, suffixes=("|0", "|1"))
    result["matched"] = len(both)
    for name in shared:
        if name not in keys and f"{name}|0" in both:
            found = _column(both, name, "seed" if "seed" in keys else None)
            if found is not None:
                result["columns"][name] = found
    return result


def _is_key(frames: Sequence[pd.DataFrame], name: str) -> bool:
    """Whether a column says which row it is: words, counts and axes; a run's id where it can."""
    import pandas as pd

    if any(not _plain(frame[name]) for frame in frames):
        return False
    if name == "run":
        return bool(set(frames[0][name]) & set(frames[1][name]))
    floats = any(pd.api.types.is_float_dtype(frame[name]) for frame in frames)
    return name in FLOAT_KEYS or not floats


def _plain(column: pd.Series) -> bool:
    return not any(isinstance(value, (list, dict)) or np.ndim(value) for value in column)


def _column(both: pd.DataFrame, name: str, seeds: str | None) -> dict[str, Any] | None:
    """Means of one column over the rows that match, and their difference over seeds."""
    import pandas as pd

    pair = both[[f"{name}|0", f"{name}|1"]]
    if not all(pd.api.types.is_numeric_dtype(pair[column]) for column in pair):
        return None
    there = pair.notna().all(axis=1)
    one_sided = int((pair.notna().any(axis=1) & ~there).sum())
    pair = pair[there].astype(float)
    if pair.empty:
        return None
    difference = pair[f"{name}|1"] - pair[f"{name}|0"]
    found = {
        "means": [float(pair[column].mean()) for column in pair],
        "difference": float(difference.mean()),
        "largest": float(difference.abs().max()),
        "rows": len(pair),
        "one_sided": one_sided,
        "se": None,
        "n": None,
    }
    if seeds is not None:
        by_seed = difference.groupby(both.loc[there, seeds]).mean()
        found["n"] = len(by_seed)
        if len(by_seed) > 1:
            found["se"] = float(by_seed.std(ddof=1) / math.sqrt(len(by_seed)))
    return found


# ---------------------------------------------------------------------- as text


def text(found: Mapping[str, Any]) -> str:
    """The comparison in 80 columns: every claim; of tables, what differs."""
    first, second = found["names"]
    lines = [f"{first} | {second}", ""]
    for claim in found["claims"]:
        lines += _claim_lines(claim)
    lines.append("")
    equal = []
    for table in found["tables"]:
        differing = {
            name: column
            for name, column in table["columns"].items()
            if column["largest"] or column["one_sided"]
        }
        if table["matched"] and not differing and table["rows"][0] == table["rows"][1]:
            equal.append(table["table"])
        else:
            lines += _table_lines(table, differing)
    if equal:
        lines += wrapped(f"equal: {', '.join(equal)}", indent=2)
    for name, only in zip(found["names"], found["only"]):
        alone = [*(f"claim {one}" for one in only["claims"]), *only["tables"]]
        if alone:
            lines += wrapped(f"only in {name}: {', '.join(alone)}", indent=2)
    return "\n".join(lines)


def _claim_lines(claim: Mapping[str, Any]) -> list[str]:
    one, two = claim["verdicts"]
    mark = "  <-" if one != two else ""
    lines = [f"{claim['paper']} {claim['id']:<4} {one:<9} | {two:<9}{mark}"]
    ranked = sorted(
        (item for item in claim["numbers"].items() if item[1]["difference"]),
        key=lambda item: -_clear(item[1]),
    )
    rows = []
    for name, number in ranked[:SHOWN]:
        rows.append((f"  {shortened(name, 34)}", *map(_number, number["values"]), _gap(number)))
    lines += columns(rows, right=(1, 2))
    if len(ranked) > SHOWN:
        lines.append(f"  and {counted(len(ranked) - SHOWN, 'number')} more (--json has all)")
    return lines


def _table_lines(table: Mapping[str, Any], differing: Mapping[str, Any]) -> list[str]:
    one, two = table["rows"]
    if table["matched"] is None:
        return [f"table {table['table']}: {one} | {two} rows, which no key tells apart"]
    lines = wrapped(
        f"table {table['table']}: {one} | {two} rows, {table['matched']} of them common"
    )
    ranked = sorted(differing.items(), key=lambda item: -_clear(item[1]))
    rows = [
        (f"  {shortened(name, 34)}", *map(_number, column["means"]), _gap(column))
        for name, column in ranked[:SHOWN]
    ]
    lines += columns(rows, right=(1, 2))
    if len(ranked) > SHOWN:
        lines.append(f"  and {counted(len(ranked) - SHOWN, 'column')} more (--json has all)")
    return lines


def _clear(number: Mapping[str, Any]) -> float:
    """How many standard errors a difference is; less than any where there is none."""
    se = number["se"]
    return abs(number["difference"]) / se if se else -1.0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _gap(number: Mapping[str, Any]) -> str:
    if number["difference"] is None:
        return ""
    error = f" ± {number['se']:.2g}" if number["se"] else ""
    clear = " *" if _clear(number) > 2 else ""
    return f"{number['difference']:+.3g}{error}{clear}"
