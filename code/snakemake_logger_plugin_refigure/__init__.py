"""A Snakemake logger: its own output as it is, and below it, on a terminal, one live line.

`snakemake --logger refigure` (the Makefile says so) shows how many jobs are done, what runs now,
and how much time is left. Without a terminal the output is Snakemake's, to the byte.

Every Snakemake imports this package to look for plugins: it must be cheap, and need no torch.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from logging import Formatter, LogRecord

from refigure.machine.live import Live
from snakemake.logging import ColorizingTextHandler
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

ERASE = "\r\033[K"


class LogHandler(LogHandlerBase):
    """Passes each record to Snakemake's own handler, and keeps the live line under its text."""

    def __post_init__(self) -> None:
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self.inner = ColorizingTextHandler(nocolor=self.common_settings.nocolor, stream=stream)
        dry = getattr(self.common_settings, "dryrun", False)
        shown = self.inner.is_tty and os.environ.get("TERM") != "dumb" and not dry
        self.live = Live() if shown else None
        self.shown = ""
        self.ended = threading.Event()
        # Snakemake's text and the line come from two threads.
        self.turn = threading.Lock()
        if self.live:
            threading.Thread(target=self._keep_drawing, daemon=True).start()

    def setFormatter(self, fmt: Formatter | None) -> None:
        super().setFormatter(fmt)
        self.inner.setFormatter(fmt)

    def emit(self, record: LogRecord) -> None:
        with self.turn:
            self._show("")
            self.inner.emit(record)
            if self.live:
                with contextlib.suppress(Exception):  # never an error because of a picture
                    self._learn(record)
                    self._draw()

    def _learn(self, record: LogRecord) -> None:
        event, known = getattr(record, "event", None), record.__dict__
        if event == LogEvent.RUN_INFO:
            self.live.expect(known["stats"])
        elif event == LogEvent.JOB_INFO:
            name = known["rule_msg"] or known["rule_name"]
            logs = [str(path) for path in known["log"] or []]
            self.live.announce(known["jobid"], known["rule_name"], name, logs)
        elif event == LogEvent.JOB_STARTED:
            for job in known["jobs"] if isinstance(known["jobs"], list) else [known["jobs"]]:
                self.live.start(job, time.monotonic())
        elif event == LogEvent.JOB_FINISHED:
            self.live.finish(known["job_id"], time.monotonic())
        elif event == LogEvent.JOB_ERROR:
            self.live.fail(known["jobid"])

    def _keep_drawing(self) -> None:
        while not self.ended.wait(1.0):
            with self.turn, contextlib.suppress(Exception):
                self._draw()

    def _draw(self) -> None:
        columns = os.get_terminal_size(self.inner.stream.fileno()).columns
        self._show(self.live.line(time.monotonic(), columns - 1))

    def _show(self, line: str) -> None:
        if line != self.shown:
            with contextlib.suppress(OSError, ValueError):  # the terminal has gone
                self.inner.stream.write(ERASE + line)
                self.inner.stream.flush()
            self.shown = line

    def close(self) -> None:
        self.ended.set()
        with self.turn:
            self._show("")
        super().close()

    writes_to_stream = True
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False
