"""Training states: what a killed job goes on from, outside Snakemake's outputs, whole or absent."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from refigure.errors import UserError
from refigure.files import whole


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Tensors and a little JSON, whole or not at all.

    Args:
        about: must be JSON; it is the file's metadata.

    Raises:
        UserError: the file system refuses.
    """
    # One key: safetensors orders several differently in each process.
    kept = {name: value.contiguous() for name, value in tensors.items()}
    with whole(path) as temporary:
        try:
            save_file(kept, temporary, metadata={"about": json.dumps(about, sort_keys=True)})
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), str(error)) from None


def read(path: Path, about: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `write` wrote, if it is whole and was written for the same job.

    Args:
        about: keys that must be there with these values: the code, the runs, the versions.

    Returns:
        None where there is no state to go on from; one that is broken or foreign is set aside
        under another name, with one line on stderr.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            found = json.loads((file.metadata() or {}).get("about", "{}"))
            differs = [key for key, value in about.items() if found.get(key) != value]
            if not differs:
                return {name: file.get_tensor(name) for name in file.keys()}, found  # noqa: SIM118
        reason = f"another {', '.join(differs)}"
    except (SafetensorError, OSError, ValueError) as error:
        reason = f"not readable ({error})"
    aside = path.with_name(f"{path.name}.aside")
    os.replace(path, aside)
    print(f"state {path}: {reason}; set aside as {aside.name}, training restarts", file=sys.stderr)
    return None


class Interrupted(Exception):
    """The queue asked the job to end; the text says what is left of its work."""


class Clock:
    """Says when a state is due: at an interval of time, and at once after TERM.

    Args:
        interval_s: seconds between states.
    """

    def __init__(self, interval_s: float):
        self.interval_s = interval_s
        self.last = time.monotonic()
        self.told = False
        self.refused = ""

    def listen(self) -> None:
        """Take TERM as the order to write a state and end."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "told", True))

    def due(self) -> bool:
        """Whether a state should be written now."""
        return self.told or time.monotonic() - self.last >= self.interval_s

    def save(self, path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write a state; end if TERM came.

        Where the file system refuses, training goes on and the last state stays: a line says so,
        again only when the reason changes.

        Raises:
            Interrupted: TERM came.
        """
        refused = ""
        try:
            write(path, tensors, about)
        except UserError as error:
            refused = str(error)
            if refused != self.refused:
                print(f"no training state: {refused}; training goes on", file=sys.stderr)
        self.refused = refused
        self.last = time.monotonic()
        if self.told and refused:
            raise Interrupted("TERM: no new training state; the same command goes on from the last")
        if self.told:
            raise Interrupted("TERM: the training state is written; the same command goes on")


@contextmanager
def alone(path: Path, what: str, told: Callable[[], bool], pause_s: float = 1.0) -> Iterator[bool]:
    """Hold a lock file; while another process holds it, wait, with one line that says for whom.

    The system releases the lock of a process that is killed. A process whose Snakemake was killed
    works on, and the next Snakemake's job must not write into the same files.

    Args:
        told: whether TERM came, which ends the waiting.
        pause_s: seconds between looks.

    Yields:
        Whether there was another process.

    Raises:
        Interrupted: TERM came.
        UserError: the file system refuses.
    """
    waited = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    lock.seek(0)
                    holder = lock.read().strip() or "another process"
                    print(f"{what} is being trained by {holder}: waits for its end", flush=True)
                waited = True
                if told():
                    raise Interrupted("TERM: nothing was trained yet") from None
                time.sleep(pause_s)
                continue
            except OSError:
                pass  # a file system without locks
            if os.fstat(lock.fileno()).st_nlink == 0:
                continue  # its holder has ended and removed it
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {platform.node()}\n")
            lock.flush()
            try:
                yield waited
            finally:
                path.unlink(missing_ok=True)
            return
