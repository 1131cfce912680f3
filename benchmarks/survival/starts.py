"""The second part: jobs, the warm process, Snakemake or all of them killed under a Snakemake."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from builds import Build, trained_again
from jobs import SIGNS

VICTIMS = ("a job", "the warm process", "Snakemake", "all of them")


def victims(kind: str, snakemake: psutil.Process) -> list[psutil.Process]:
    """The processes of a kind that a Snakemake has started; none where there are none now."""
    with contextlib.suppress(psutil.Error):
        below = snakemake.children(recursive=True)
        warm = [one for one in snakemake.children() if "serve()" in " ".join(one.cmdline())]
        if kind == "Snakemake":
            return [snakemake]
        if kind == "all of them":
            return [snakemake, *below]
        return (
            warm
            if kind == "the warm process"
            else [fork for one in warm for fork in one.children()]
        )
    return []


def strike(build: Build, kind: str, source: np.random.Generator, epochs: int, first: float) -> bool:
    """Start a build and kill a part of it; whether it was still at work.

    The moment: some 0.3 s at most after the n-th epoch that is trained, n from 0 to the last; for
    n = 0 any time before the first one.
    """
    process = build.started()
    snakemake = psutil.Process(process.pid)
    after = int(source.integers(0, epochs + 1))
    while len([note for note in build.notes() if note[0] == "epoch"]) < after:
        if process.poll() is not None:
            break
        time.sleep(0.01)
    time.sleep(source.uniform(0, 0.3 if after else first))
    sign = signal.SIGKILL if kind == "all of them" else SIGNS[int(source.integers(2))]
    struck = False
    while process.poll() is None and not struck:
        found = victims(kind, snakemake)
        if found and kind == "a job":
            found = [found[int(source.integers(len(found)))]]
        for victim in found:
            with contextlib.suppress(psutil.Error):
                victim.send_signal(sign)
                struck = True
        time.sleep(0.01)
    process.wait()
    return struck


def killed_starts(options: argparse.Namespace, root: Path) -> bool:
    """The second part; whether all ends are bit-equal and no network was trained twice."""
    template = Build(root / "template")
    template.files()
    alone = Build(root / "alone", template.root)
    begun = time.monotonic()
    process = alone.started()
    while not alone.notes() and process.poll() is None:
        time.sleep(0.01)
    first = time.monotonic() - begun
    if process.wait():
        sys.exit((alone.root / "said").read_text(encoding="utf-8"))
    whole = alone.left()
    epochs = len([note for note in alone.notes() if note[0] == "epoch"])
    count, late, twice, again, starts = Counter(), 0, 0, 0, Counter()
    for number in range(options.first, options.first + options.starts):
        kind = VICTIMS[number % len(VICTIMS)]
        source = np.random.default_rng([options.seed, 1, number])
        while True:
            build = Build(root / f"start{number}", template.root)
            if strike(build, kind, source, epochs, first):
                break
            late += 1
            build.remove()
        same = build.finished() and build.left() == whole
        stacks, epochs_again = trained_again(build.notes())
        if not same or stacks:
            print(f"start {number} ({kind}): bit-equal: {same}; trained twice: {len(stacks)}")
        count[kind] += same
        twice += len(stacks)
        again += epochs_again
        starts[build.starts] += 1
        build.remove()
    equal = count.total()
    shares = ", ".join(f"{kind} {count[kind]}" for kind in VICTIMS)
    print(
        f"{equal} of {options.starts} killed builds end bit-equal ({shares});"
        f" {twice} networks trained twice; {again} epochs of {options.starts * epochs} trained"
        f" again, after a kill, from the last state; starts needed: {dict(sorted(starts.items()))};"
        f" {late} further kills came too late",
        flush=True,
    )
    return equal == options.starts and not twice
