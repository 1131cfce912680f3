"""The third part: inputs with times ahead of the clock, packs with times behind it."""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from builds import RULE, Build, tiny, trained_again


def shifted(paths: Iterable[Path], seconds: float) -> None:
    """Give files the time of now plus some seconds."""
    for path in paths:
        os.utime(path, (time.time() + seconds,) * 2)


def data_ahead(build: Build, seconds: float) -> Callable[[], None]:
    """Prepared data from a machine whose clock is ahead, before anything is trained."""
    return _ahead(build, "data/*", seconds)


def parents_ahead(build: Build, seconds: float) -> Callable[[], None]:
    """Packs that others start from, of such a machine, before these are trained."""
    return _ahead(build, "packs/plain-*/*", seconds)


def packs_behind(build: Build, seconds: float) -> Callable[[], None]:
    """Jobs on a machine whose clock is behind."""
    told = " > {log:q} 2>&1"
    behind = f"{told} && touch -d '-{seconds:.0f} seconds' {{output:q}}"
    tiny.edit(build.root / RULE, told, behind)
    return lambda: tiny.edit(build.root / RULE, behind, told)


def accepted_behind(build: Build, seconds: float) -> Callable[[], None]:
    """Packs that Snakemake has accepted, and whose times are then set back."""
    shifted((build.root / "results/tiny/packs").glob("*/*"), -seconds)
    return lambda: None


def accepted_data_ahead(build: Build, seconds: float) -> Callable[[], None]:
    """Prepared data that get a time ahead after all is built."""
    return _ahead(build, "data/*", seconds)


SKEWS = {
    data_ahead: "prepared",
    parents_ahead: "parents",
    packs_behind: "prepared",
    accepted_behind: "alone",
    accepted_data_ahead: "alone",
}
"""What is done to times, and what is built before."""


def _ahead(build: Build, pattern: str, seconds: float) -> Callable[[], None]:
    paths = list((build.root / "results/tiny").glob(pattern))
    shifted(paths, seconds)
    return lambda: shifted(paths, 0)


def wrong_clocks(options: argparse.Namespace, root: Path) -> bool:
    """The third part; whether all ends are bit-equal and no network was trained twice."""
    prepared = Build(root / "prepared")
    prepared.files()
    Build(root / "parents", prepared.root).files("plain")
    alone = Build(root / "alone", prepared.root)
    alone.finished()
    whole = alone.left()
    count, twice = Counter(), 0
    for number in range(options.first, options.first + options.clocks):
        skew, before = list(SKEWS.items())[number % len(SKEWS)]
        source = np.random.default_rng([options.seed, 2, number])
        build = Build(root / f"clock{number}", root / before)
        seconds = float(np.exp(source.uniform(np.log(60), np.log(86_400))))
        set_right = skew(build, seconds)
        for _ in range(2):  # one start trains and is refused, another one after it
            build.started().wait()
        set_right()
        build.starts = 0
        same = build.finished() and build.left() == whole
        stacks, _ = trained_again(build.notes())
        if not same or stacks:
            name = skew.__name__
            print(f"clock {number} ({name}): bit-equal: {same}; trained twice: {len(stacks)}")
        count[skew.__name__] += same
        twice += len(stacks)
        build.remove()
    equal = count.total()
    shares = ", ".join(f"{skew.__name__} {count[skew.__name__]}" for skew in SKEWS)
    print(
        f"{equal} of {options.clocks} builds with wrong clocks end bit-equal ({shares});"
        f" {twice} networks trained twice",
        flush=True,
    )
    return equal == options.clocks and not twice
