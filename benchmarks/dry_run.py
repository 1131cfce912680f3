"""A dry run of the whole graph, against Snakemake's own start with a workflow of one empty rule.

Both sides by processor time, turn by turn: the medians, their ratio, what each job of the graph
adds, and of our side the time in which all runs of the papers are expanded into packs.

    python benchmarks/dry_run.py [--target TARGET] [--repeats N]
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from refigure.graph.config import Config
from refigure.graph.lookups import Graph

ROOT = Path(__file__).resolve().parents[1]
EMPTY = "rule all:\n    shell: 'true'\n"


def dry_run(folder: Path, target: str) -> tuple[float, str]:
    """Processor seconds of a dry run of `target`, and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--", target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, done.stdout + done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="results/paper/all")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    began = time.process_time()
    graph = Graph(Config(ROOT), "paper")
    packs, runs = len(graph.packs), len(graph.owned[0])
    expanded = time.process_time() - began
    ours, empty = [], []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Snakefile").write_text(EMPTY)
        for _ in range(options.repeats):
            empty.append(dry_run(Path(folder), "all")[0])
            seconds, said = dry_run(ROOT, options.target)
            ours.append(seconds)
    jobs = int(re.search(r"^total +(\d+)$", said, re.M)[1])
    mine, start = statistics.median(ours), statistics.median(empty)
    print(f"{options.target}: {jobs} jobs in {mine:.2f} s; Snakemake alone {start:.2f} s")
    print(f"median ratio {mine / start:.2f}; a job adds {1e3 * (mine - start) / jobs:.2f} ms")
    print(f"{runs} runs of scale paper are expanded into {packs} packs in {expanded:.2f} s")


if __name__ == "__main__":
    main()
