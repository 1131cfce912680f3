"""The live line: jobs done, what runs now, time left. Text and numbers only; no terminal here."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refigure.machine.progress import duration, seconds_of

QUICK_S = 3.0
"""What a job that trains nothing is taken to last until one of its rule has ended."""

_TOLD = re.compile(r"^epoch \d+/\d+ of .*; all (\d+) %, .* gone, (.*) left$")
_DIGEST = re.compile(r"-[0-9a-f]{10}$")


@dataclass
class Running:
    """A job that runs.

    Args:
        rule, name: what it is, in words.
        logs: files it writes its progress to.
        began: seconds, of a clock that only goes on.
        since: the time of day when it was started: what a log says from before is of an earlier
            attempt. A job that waits in a queue has not written yet.
    """

    rule: str
    name: str
    logs: Sequence[str]
    began: float
    since: float = 0.0


class Live:
    """Learns from a scheduler's events what there is to say."""

    def __init__(self) -> None:
        self.expected: Counter[str] = Counter()
        self.took: dict[str, list[float]] = defaultdict(list)
        self.running: dict[int, Running] = {}
        self.started: dict[int, float] = {}
        self.times: dict[int, float] = {}
        self.done = self.total = self.failed = self.side_by_side = 0

    def expect(self, jobs: Mapping[str, int]) -> None:
        """How many jobs of each rule there are, as Snakemake's table lists them."""
        self.expected = Counter({rule: n for rule, n in jobs.items() if rule != "total"})
        self.total = sum(self.expected.values())

    def start(self, job: int, now: float) -> None:
        """A job is about to run."""
        self.started[job] = now
        self.times[job] = time.time()

    def announce(self, job: int, rule: str, name: str, logs: Sequence[str]) -> None:
        """What a job that starts is. Those that were not started are of a dry run."""
        if job in self.started:
            words = _DIGEST.sub("", name.rstrip(".").replace("pack ", ""))
            since = self.times.get(job, 0.0)
            self.running[job] = Running(rule, words, logs, self.started[job], since)
            self.side_by_side = max(self.side_by_side, len(self.running))

    def finish(self, job: int, now: float) -> None:
        """A job has ended well."""
        if job in self.running:
            found = self.running.pop(job)
            self.took[found.rule].append(now - found.began)
            self.done += 1

    def fail(self, job: int) -> None:
        """A job has failed."""
        self.running.pop(job, None)
        self.failed += 1

    def line(self, now: float, columns: int) -> str:
        """All of it in at most so many columns; empty before there is anything to say."""
        if not self.total:
            return ""
        head = f"{self.done}/{self.total} jobs"
        if self.failed:
            head += f", {self.failed} failed"
        told = {job: progress_of(one.logs, one.since) for job, one in self.running.items()}
        told = {job: found for job, found in told.items() if found}
        left = self.left(now, {job: seconds for job, (_, seconds) in told.items()})
        tail = "" if left is None or self.done == self.total else f" | about {duration(left)} left"
        names = [
            one.name + (f" {told[job][0]} %" if job in told else "")
            for job, one in self.running.items()
        ]
        room = columns - len(head) - len(tail) - 3
        if not names or room < 12:
            return (head + tail)[:columns]
        middle = "; ".join(names)
        if len(middle) > room:
            middle = f"{middle[: room - 3]}..."
        return f"{head} | {middle}{tail}"

    def left(self, now: float, told: Mapping[int, float]) -> float | None:
        """Seconds to the end of all jobs, by what those of their rules took; None if unknown.

        Args:
            told: job -> seconds that it says it has left itself.
        """
        typical = {rule: sum(all_) / len(all_) for rule, all_ in self.took.items()}
        lengths: dict[str, list[float]] = defaultdict(list)
        for job, seconds in told.items():
            one = self.running[job]
            lengths[one.rule].append(now - one.began + seconds)
        for rule, found in lengths.items():
            typical.setdefault(rule, sum(found) / len(found))
        work = longest = 0.0
        waiting = self.expected.copy()
        waiting.subtract({rule: len(found) for rule, found in self.took.items()})
        for job, one in self.running.items():
            waiting[one.rule] -= 1
            if one.rule not in typical and one.rule == "train":
                return None
            seconds = told.get(job, typical.get(one.rule, QUICK_S) - (now - one.began))
            work, longest = work + max(seconds, 0), max(longest, seconds)
        for rule, count in waiting.items():
            if count > 0 and rule == "train" and rule not in typical:
                return None
            work += max(count, 0) * typical.get(rule, QUICK_S)
        return max(work / max(self.side_by_side, 1), longest)


CLOCKS_S = 5.0
"""By which the clocks of a file system and of this machine may differ."""


def progress_of(logs: Sequence[str], since: float = 0.0) -> tuple[int, float] | None:
    """How far a training job is by its log: percent, and the seconds that are left.

    Args:
        since: time of day; logs that were last written before are passed over.
    """
    for log in logs:
        with contextlib.suppress(OSError), Path(log).open("rb") as stream:
            if os.fstat(stream.fileno()).st_mtime < since - CLOCKS_S:
                continue
            stream.seek(max(0, stream.seek(0, 2) - 2000))
            for line in reversed(stream.read().decode(errors="replace").splitlines()):
                if found := _TOLD.match(line):
                    return int(found[1]), seconds_of(found[2])
    return None
