"""Archives that would not fit: refused by their own tables of contents, before a byte is kept."""

from __future__ import annotations

import tarfile
from pathlib import Path

from refigure.errors import UserError

LARGEST = 4 * 2**30
"""Bytes of one file in an archive: files are read whole."""

RATIO = 250
"""Times its own size that an archive may unpack to. Photographs pack 1.1 times, text 5, drawings of
one colour 50; xz can pack zeros 7,000 times."""

SMALL = 2**24
"""Bytes that any archive may unpack to."""


def refuse_oversized(path: Path) -> None:
    """Refuse a tar whose files are larger than anything that we read.

    The sizes are what its headers say, one after the other: it is not unpacked further than to the
    first that is too large. What is no tar is left to its reader.

    Raises:
        UserError: names the file.
    """
    limit = max(RATIO * path.stat().st_size, SMALL)
    total = 0
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                total += member.size
                if member.size > LARGEST or total > limit:
                    raise UserError(
                        f"{path}: unpacks to {total / 2**20:,.0f} MiB and more at '{member.name}'"
                        f" (it has {path.stat().st_size / 2**20:,.1f}): not read"
                    )
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return
