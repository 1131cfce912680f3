"""Lines of progress at sensible intervals: what runs, how far, time left."""

from __future__ import annotations

import contextlib
import time


class Progress:
    """Prints a line after `first_s` seconds, then at twice the interval each time up to `last_s`.

    Args:
        what: what is trained, in words.
        epochs: of all networks of the job together, which the time left is measured by.
    """

    def __init__(self, what: str, epochs: int, first_s: float = 2.0, last_s: float = 60.0):
        self.what, self.epochs = what, epochs
        self.interval_s, self.last_s = first_s, last_s
        self.done = 0
        self.began = self.last = time.monotonic()
        self.say(f"{what}: {epochs} network epochs")

    def say(self, line: str) -> None:
        """One line; a log that cannot be written (a full disk) is no reason to stop training."""
        with contextlib.suppress(OSError):
            print(line, flush=True)

    def skip(self, epochs: int) -> None:
        """Epochs that need not be trained any more."""
        self.epochs -= epochs

    def tick(self, epoch: int, of: int, networks: int, loss: float) -> None:
        """One epoch of some networks is done.

        Args:
            epoch, of: the one that is done, and the last.
            networks: that train side by side.
            loss: mean over them of the training loss of this epoch.
        """
        self.done += networks
        now = time.monotonic()
        if now - self.last < self.interval_s and self.done < self.epochs:
            return
        self.last = now
        self.interval_s = min(2 * self.interval_s, self.last_s)
        spent = now - self.began
        left = spent / self.done * max(0, self.epochs - self.done)
        share = 100 * self.done / max(self.done, self.epochs)
        some = "1 network" if networks == 1 else f"{networks} networks"
        self.say(
            f"epoch {epoch}/{of} of {some}, loss {loss:.4g}; all {share:.0f} %,"
            f" {duration(spent)} gone, {duration(left)} left"
        )

    def end(self) -> None:
        """The last line."""
        self.say(f"{self.what}: done in {duration(time.monotonic() - self.began)}")


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `7.3 min`, `3.4 h`, `1,200 h`: hours are what queues and budgets count."""
    if 0 < seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def seconds_of(words: str) -> float:
    """What `duration` put into words, in seconds."""
    number, unit = words.split()
    return float(number.replace(",", "")) * {"s": 1, "min": 60, "h": 3600}[unit]
