"""Lines of progress at sensible intervals: what runs, how far, time left."""

from __future__ import annotations

import sys
import time


class Progress:
    """Prints a line every `interval_s` seconds, and the first and last.

    Args:
        what: what is trained, in words.
        epochs: of all networks of the job together, which the time left is measured by.
    """

    def __init__(self, what: str, epochs: int, interval_s: float = 15.0):
        self.what, self.epochs, self.interval_s = what, epochs, interval_s
        self.done = 0
        self.began = self.last = time.monotonic()
        print(f"{what}: {epochs} network epochs", flush=True)

    def skip(self, epochs: int) -> None:
        """Epochs that need not be trained any more."""
        self.epochs -= epochs

    def tick(self, epoch: int, networks: int, loss: float) -> None:
        """One epoch of some networks is done."""
        self.done += networks
        now = time.monotonic()
        if now - self.last < self.interval_s and self.done < self.epochs:
            return
        self.last = now
        spent = now - self.began
        left = spent / self.done * max(0, self.epochs - self.done)
        print(
            f"epoch {epoch}, train loss {loss:.4g}, {networks} networks,"
            f" {self.done}/{self.epochs} network epochs, {spent:.0f} s, {left:.0f} s left",
            flush=True,
        )

    def end(self) -> None:
        """The last line."""
        print(f"{self.what}: done in {time.monotonic() - self.began:.1f} s", flush=True)
        sys.stdout.flush()
