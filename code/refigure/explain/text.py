"""Text for a terminal of 80 columns: wrapped lines, columns that line up, numbers as people say."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80


def wrapped(line: str, indent: int = 2) -> list[str]:
    """A line as several of 80 columns, the further ones indented; a long path stays whole."""
    return textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    ) or [""]


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of texts as lines whose columns line up, two blanks between.

    Args:
        right: numbers of the columns that end, rather than begin, at one place.
    """
    if not rows:
        return []
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def shortened(name: str, width: int) -> str:
    """A name that fits, its end left out where it does not."""
    return name if len(name) <= width else f"{name[: width - 3]}..."


def counted(number: int, thing: str) -> str:
    """`1 network`, `2 networks`, `25,955 networks`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size(count: float) -> str:
    """Bytes as `812 kB`, `3.4 GB`."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
