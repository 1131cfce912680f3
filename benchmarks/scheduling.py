"""What Snakemake itself costs, its own limit of jobs a second kept, and lifted.

A workflow of jobs that sleep, all ready at once, two at a time; the CPU time of Snakemake and of
its shells. `refigure.machine.scheduling` keeps a limit that somebody asks for: one side asks for
nearly the same.

    python benchmarks/scheduling.py [--jobs N] [--repeats N]

Prints the times, and the median of the repeats' ratios.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SNAKEFILE = """
from refigure.machine.scheduling import lift_limit
onstart:
    lift_limit(workflow)
rule all:
    input: expand("{{number}}", number=range({jobs}))
rule sleep:
    output: "{{number,[0-9]+}}"
    shell: "sleep 0.5; touch {{output}}"
"""


def cpu_seconds(jobs: int, *words: str) -> float:
    """CPU time of one Snakemake and of its shells."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
        command = [sys.executable, "-m", "snakemake", "-c", "2", "--scheduler", "greedy", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "code")}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Run in turn, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.repeats):
        kept = cpu_seconds(options.jobs, "--max-jobs-per-timespan", "99/1s")
        lifted = cpu_seconds(options.jobs)
        ratios.append(kept / lifted)
        print(f"kept {kept:.1f} s, lifted {lifted:.1f} s, ratio {ratios[-1]:.1f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
