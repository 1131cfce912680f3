"""Work killed at random moments, and files of wrong clocks: how many ends have the bytes of a build
that nothing happened to, and how many networks were trained twice.

Three parts, each beside a build of its own that was left alone:

- jobs: `refigure train` of every kind of run, on the embedded digits, is killed by KILL or by TERM
  (what a queue sends), after a random part of the CPU time that the job takes, some twice; then it
  is started until it ends.
- starts: Snakemake builds a claim in a checkout of `tests/tiny.py`, and at a random moment of the
  training one of its jobs, the warm process, Snakemake itself or all of them at once are killed;
  then it is started until it ends, while what it left behind may still be at work.
- clocks: the same checkout, where inputs have times ahead of the clock or packs times behind it,
  before Snakemake has accepted the packs or after; two starts, then the times are set right.

A network counts as trained twice where an epoch of it is trained after it was whole on the disk.
The code of the checkouts is edited to note each epoch, so that this is counted and not inferred.

    python benchmarks/survival [--jobs 60] [--starts 40] [--clocks 20] [--first 0] [--seed 0]

`--first` goes on where a shorter call stopped: the moments depend on the number only. `--kinds`
names the kinds of run of the first part, after those they start from.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from clocks import wrong_clocks
from jobs import killed_jobs
from starts import killed_starts


def main() -> None:
    """Print the count of bit-equal ends, and of networks trained twice."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--starts", type=int, default=40)
    parser.add_argument("--clocks", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", help="experiments, after those they start from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    well = True
    for count, part in (
        (options.jobs, killed_jobs),
        (options.starts, killed_starts),
        (options.clocks, wrong_clocks),
    ):
        if count:
            with tempfile.TemporaryDirectory(prefix="refigure-survival-") as folder:
                well &= part(options, Path(folder).resolve())
    sys.exit(not well)


if __name__ == "__main__":
    main()
