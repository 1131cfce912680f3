"""`refigure`, the front door: a job runs as a fork of the warm process if there is one.

What is imported here is what every job pays, so the commands themselves are imported late.
"""

from __future__ import annotations

import sys
from pathlib import Path

from refigure.machine import warm


def main() -> int:
    """The console script: one command, by the warm process or by this one."""
    arguments = sys.argv[1:]
    status = warm.forked(arguments)
    return run(arguments) if status is None else status


def run(arguments: list[str]) -> int:
    """Run one command in this process; its exit status."""
    from refigure.cli import main as command

    return command(arguments)


def serve() -> None:
    """Be the warm process, at the address that is the only argument."""
    warm.serve(Path(sys.argv[1]), run)


if __name__ == "__main__":
    sys.exit(main())
