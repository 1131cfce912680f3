"""Training states: what a killed job goes on from, outside Snakemake's outputs, whole or absent."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Tensors and a little JSON, under a temporary name in the same folder, then renamed.

    Args:
        about: must be JSON; it is the file's metadata.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # One key: safetensors orders several differently in each process.
    kept = {name: value.contiguous() for name, value in tensors.items()}
    try:
        save_file(kept, temporary, metadata={"about": json.dumps(about, sort_keys=True)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """The queue asked the job to end; the state is written."""


class Clock:
    """Says when a state is due: at an interval of time, and at once after TERM.

    Args:
        interval_s: seconds between states.
    """

    def __init__(self, interval_s: float):
        self.interval_s = interval_s
        self.last = time.monotonic()
        self.told = False

    def listen(self) -> None:
        """Take TERM as the order to write a state and end."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "told", True))

    def due(self) -> bool:
        """Whether a state should be written now."""
        return self.told or time.monotonic() - self.last >= self.interval_s

    def written(self) -> None:
        """A state has been written; end if TERM came.

        Raises:
            Interrupted: TERM came.
        """
        self.last = time.monotonic()
        if self.told:
            raise Interrupted
