"""Snakemake's locks of a folder, when the Snakemake that set them was killed."""

from __future__ import annotations

import contextlib
import fcntl
import platform
import sys
from pathlib import Path
from typing import TextIO


def release_dead(folder: Path) -> TextIO | None:
    """Remove the locks that a killed Snakemake left; returns a file to keep open while one runs.

    Snakemake locks a folder by files, which stay behind when it is killed or the power fails, and
    its next start asks for `--unlock`. Here each Snakemake also holds a lock of the system, shared
    with others, which the system releases with the process. Who can have it alone is the only one:
    what other locks there are belong to nobody. Where the last holder ran on another machine the
    file system may not tell us of it, and nothing is removed.

    Args:
        folder: `.snakemake`.

    Returns:
        None where the file system refuses or knows no locks.
    """
    try:
        folder.mkdir(exist_ok=True)
        alive = (folder / "refigure.alive").open("a+", encoding="utf-8")
    except OSError:
        return None
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(alive, fcntl.LOCK_SH)  # beside another; the one that is alone is so briefly
        return alive
    except OSError:
        alive.close()
        return None
    try:
        alive.seek(0)
        left = sorted((folder / "locks").glob("*.lock"))
        if not left or alive.read() == platform.node():
            for path in left:
                path.unlink(missing_ok=True)
            if left:
                print("refigure: removed the locks of a Snakemake that was killed", file=sys.stderr)
            alive.truncate(0)
            alive.write(platform.node())
            alive.flush()
        fcntl.flock(alive, fcntl.LOCK_SH)
    except (OSError, UnicodeError) as error:  # a full disk, another user's lock
        print(f"refigure: {folder}: locks are left as they are: {error}", file=sys.stderr)
        with contextlib.suppress(OSError):
            alive.close()
        return None
    return alive


def alone(alive: TextIO | None) -> bool:
    """Whether the Snakemake that holds this file is the only one of its folder, as far as it shows.

    Args:
        alive: what `release_dead` returned. None, where the file system knows no locks: nobody can
            tell, and the answer is no.
    """
    if alive is None:
        return False
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        fcntl.flock(alive, fcntl.LOCK_SH)  # asking for more gave up what was held
        return False
    alive.seek(0)
    here = alive.read() == platform.node()
    fcntl.flock(alive, fcntl.LOCK_SH)
    return here
