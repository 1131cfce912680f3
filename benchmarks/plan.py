"""A demo target planned and then built: predicted against measured core-seconds.

Twice, in a checkout of its own with the committed configuration: with nothing trained, so that
the plan times steps; and the same target with a seed's networks gone, so that it goes by what past
jobs took. Core-seconds (user and system time of Snakemake and all its jobs) do not depend much on
what else the machine does.

    python benchmarks/plan.py [--target results/demo/experiments/sphere_convnet_c10_switch.tsv]

Prints both and the factor; ends non-zero where it is not within 2.
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
PARTS = ("Snakefile", "rules", "code", "config", "profiles")
WITHIN = 2.0
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
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - SNAKEMAKE_S


def report(what: str, predicted: float, measured: float) -> bool:
    """Print a line; whether the factor is within the bound."""
    factor = max(predicted, measured) / min(predicted, measured)
    print(f"{what}: predicted {predicted:.0f} s, measured {measured:.0f} s, factor {factor:.2f}")
    return factor <= WITHIN


def main() -> int:
    """Plan, build, and plan and build what was taken away."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--target", default="results/demo/figures/three-regimes/fig1.pdf", help="a demo target"
    )
    target = parser.parse_args().target
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns("__pycache__", "local.yaml", "*.egg-info")
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=ignored)
            else:
                root.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, root / name)
        fine = report("by timing steps", planned(root, target), built(root, target))
        packs = sorted((root / "results/demo/packs").iterdir())
        shutil.rmtree(packs[0])
        (root / target).unlink()
        for path in (root / "results/demo/tables").glob("*"):
            path.unlink()
        fine &= report("by past jobs", planned(root, target), built(root, target))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
