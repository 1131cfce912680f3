"""A demo target planned and then built: predicted against measured core-seconds.

Twice, in a checkout of its own with the committed configuration: with nothing trained, so that
the plan times steps; and the same target with a seed's networks gone, so that it goes by what past
jobs took. Core-seconds (user and system time of Snakemake and all its jobs) do not depend much on
what else the machine does.

    python benchmarks/plan.py [--target results/demo/experiments/sphere_convnet_c10_switch.tsv]
        [--checkout FOLDER] [--within 2]

Prints both and the factor; ends non-zero where it is not within the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = (".*", "results", "scratch", "tests", "__pycache__", "local.yaml", "*.egg-info")
SNAKEMAKE_S = 3.0  # of its own, to read the graph


def run(root: Path, *words: str) -> str:
    """A command in the checkout, with its own package."""
    # Forks of a warm process would not be counted among the children.
    environment = {**os.environ, "PYTHONPATH": str(root / "code"), "OMP_NUM_THREADS": "1"}
    environment["REFIGURE_WARM"] = "off"
    done = subprocess.run(words, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: status {done.returncode}")
    return done.stdout


def planned(root: Path, target: str) -> float:
    """Core-seconds that the plan foretells."""
    words = [sys.executable, "-m", "refigure.cli", "plan", target, "--json"]
    return json.loads(run(root, *words))["seconds"]["total"]


def built(root: Path, target: str) -> float:
    """Core-seconds that building takes, Snakemake's own left out."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(root, sys.executable, "-m", "snakemake", "-c", "1", "--quiet", "all", "--", target)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return max(spent - SNAKEMAKE_S, 0.1)


def report(what: str, predicted: float, measured: float, within: float) -> bool:
    """Print a line; whether the factor is within the bound."""
    factor = max(predicted, measured) / min(predicted, measured)
    print(f"{what}: predicted {predicted:.0f} s, measured {measured:.0f} s, factor {factor:.2f}")
    return factor <= within


def main() -> int:
    """Plan, build, and plan and build what was taken away."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--target", default="results/demo/figures/three-regimes/fig1.pdf", help="a demo target"
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, help="what is copied and built")
    parser.add_argument("--within", type=float, default=2.0, help="the largest factor")
    options = parser.parse_args()
    target, within = options.target, options.within
    results = Path(*Path(target).parts[:2])  # results/SCALE
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        shutil.copytree(options.checkout, root, ignore=shutil.ignore_patterns(*LEFT_OUT))
        fine = report("by timing steps", planned(root, target), built(root, target), within)
        packs = sorted((root / results / "packs").iterdir())
        shutil.rmtree(packs[0])
        (root / target).unlink()
        for path in (root / results / "tables").glob("*"):
            path.unlink()
        fine &= report("by past jobs", planned(root, target), built(root, target), within)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
