"""Jobs as forks of one warm process against jobs that are processes of their own.

A figure of where-large-lrs at smoke scale with all that it needs, built in fresh checkouts with
`REFIGURE_WARM=off` and without, in turn. The wall time of one core is compared, since forks of the
warm process are not among Snakemake's children: the machine should be quiet.

    python benchmarks/warm.py [--target TARGET] [--repeats N] [--checkout FOLDER]

Prints the times, and the median of the repeats' ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".*", "results", "scratch", "tests", "__pycache__", "local.yaml", "*.egg-info")


def built(checkout: Path, target: str, warm: bool) -> tuple[float, int]:
    """Seconds that building takes in a fresh checkout, and the number of jobs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        shutil.copytree(checkout, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        environment = {**os.environ, "PYTHONPATH": str(root / "code"), "OMP_NUM_THREADS": "1"}
        environment.pop("REFIGURE_WARM", None)
        if not warm:
            environment["REFIGURE_WARM"] = "off"
        words = [sys.executable, "-m", "snakemake", "-c", "1", "--", target]
        begun = time.perf_counter()
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(words)}: status {done.returncode}\n{done.stderr[-2000:]}")
        return time.perf_counter() - begun, done.stderr.count("Finished jobid")


def main() -> int:
    """Build in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="results/smoke/figures/where-large-lrs/fig14.pdf")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--checkout", type=Path, default=ROOT, help="what is copied and built")
    options = parser.parse_args()
    ratios = []
    for _ in range(options.repeats):
        cold, jobs = built(options.checkout, options.target, warm=False)
        warm, _ = built(options.checkout, options.target, warm=True)
        ratios.append(cold / warm)
        print(
            f"{jobs} jobs: cold {cold:.1f} s, warm {warm:.1f} s, ratio {ratios[-1]:.2f}", flush=True
        )
    print(f"median ratio {statistics.median(ratios):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
