"""Files written whole or not at all; without torch, so that a table's job starts fast."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refigure.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name in the folder of `path`; it becomes `path` when the block has ended well.

    What was at `path` stays until then: a full disk, a kill or a power cut leave it as it was. Who
    may read it follows from the umask, whatever a library writes with: safetensors would let its
    owner alone.

    Raises:
        UserError: the file system refuses: full, read-only, no permission.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # By number: libraries put their own words, and a temporary name, into the text.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"cannot write {path}: {reason}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def alone(path: Path, what: str, pause_s: float = 0.2) -> Iterator[None]:
    """Hold a lock file while the block runs; wait while another process holds it, with one line.

    For what several jobs would otherwise write at once. The system releases the lock of a process
    that is killed. Where the file system knows no locks, or refuses the file, the block runs as if
    it were alone.

    Args:
        what: for the line, "CIFAR10 is being fetched".
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+", encoding="utf-8")
    except OSError:
        yield
        return
    with lock:
        waits = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waits:
                    print(f"{what} by another process: waits for its end", flush=True)
                waits = True
                time.sleep(pause_s)
            except OSError:
                break
        yield  # closing the file releases the lock; the file stays, or a third would make another


def remove(path: Path) -> None:
    """Leave no file at a path.

    Raises:
        UserError: the file system refuses.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"cannot remove {path}: {error.strerror}") from error


def write_text(text: str, path: Path) -> None:
    """A text, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None


def write_json(value: Any, path: Path, sort_keys: bool = True) -> None:
    """JSON, whole or not at all; unsorted where the order says something and never varies."""
    write_text(json.dumps(value, indent=1, sort_keys=sort_keys) + "\n", path)


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """A frame as Parquet, whole or not at all."""
    with whole(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_parquet(path: Path) -> pd.DataFrame:
    """The frame in a Parquet file.

    Raises:
        UserError: it is missing or damaged.
    """
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; `snakemake` makes it from the configuration"
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # pyarrow and pandas raise what they like over damaged bytes
        raise UserError(f"{path}: not a readable table: {' '.join(str(error).split())}") from None


def socket_folder(temporary: str | None = None) -> str:
    """Where folders for sockets go: the temporary folder, or /tmp where its path is too long.

    Args:
        temporary: instead of the system's choice (`TMPDIR`).
    """
    temporary = temporary or tempfile.gettempdir()
    longest = len("/refigure-12345678/jobs")
    # A socket's path is limited to 107 bytes on Linux and 103 on macOS.
    return temporary if len(os.fsencode(temporary)) + longest <= 103 else "/tmp"
