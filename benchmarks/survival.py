"""Jobs killed at random moments and started again: how many end in the bytes of jobs left alone.

Real processes, `refigure train`, on the embedded digits: each of N jobs is killed, by KILL or by
TERM (what a queue sends), after a random part of the CPU time that the job takes, some twice; then
it is started until it ends. History, points and arrays must be those of an uninterrupted job, byte
for byte, and so must what became of each run. The jobs take turns through every kind of run.

    python benchmarks/survival.py [--jobs 100] [--first 0] [--seed 0]

`--first` goes on where a shorter call stopped: the moments depend on the job's number only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from refigure import stages
from refigure.config import Config
from refigure.graph import Graph
from refigure.training.parts import FILES

CONFIG = "{scale: kill, device: cpu, papers: [], sources: {digits: {kind: digits}}}"
SCALE = "data: {digits: {source: digits, train: 500, test: 500, standardise: global}}"
EXPERIMENTS = """
experiments:
  plain:                              # two networks, one after the other
    base: &base
      data: digits
      model: {name: convnet, k: 4}
      optimiser: {name: sphere_sgd}
      head: {seed: 228, norm: 10}
      batch: 50
      epochs: 12
    grid: {elr: [1.0e-3, 1.0e-2], seed: [0]}
    points: &points
      middle: {epoch: 6}
      end: {epoch: last}
      average: {average: {count: 5, from: 7}}
      best: {best: test_loss}
    record: &record
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}, recomputed: true}
      geometry: {every: {steps: 4}}
      filters: {every: {log: 4, trailing: 1}}
    predictions: [test]
  from_a_point:
    start: {from: plain, at: middle, take: weights, carry: {elr: plr}}
    base: {epochs: 12}
    grid: {elr: [3.0e-3]}
    points: *points
    record: *record
  continued:
    start: {from: plain, at: end, take: state}
    base: {epochs: 24}
    points: {end: {epoch: last}, average: {average: {count: 4, to: last}}}
    record: *record
  momentum:
    base: {<<: *base, augment: crop_flip, schedule: cosine,
           optimiser: {name: sgd, wd: 1.0e-2, momentum: 0.9}}
    grid: {lr: [1.0e-2, 3.0e-2], seed: [1]}
    points: *points
    record: *record
  event:
    base: {<<: *base, epochs: 20, optimiser: {name: sgd, wd: 1.0e-2}}
    grid: {lr: [3.0, 10.0], seed: [0]}
    points: {calm: {event: calm_end, jump: 1.001, floor: 3.0}, end: {epoch: last}}
    record: *record
  ragged:
    base: {<<: *base, epochs: 40, stop: {train_loss_below: 0.05}}
    grid: {elr: [1.0e-4, 3.0e-3, 1.0e-2], seed: [0]}
    points: {end: {epoch: last}}
    record: *record
  diverging:
    base: {<<: *base, model: {name: convnet, k: 4, norm: none}, head: null, optimiser: {name: sgd}}
    grid: {lr: [3.0e-2, 1.0e+4], seed: [0]}
    points: *points
    record: {train: {every: {epochs: 1}}, test: {every: {epochs: 1}}}
    predictions: [test]
"""


def project(root: Path) -> Graph:
    """The configuration above in a folder, with its data prepared."""
    for name, text in (
        ("config.yaml", CONFIG),
        ("scales/kill.yaml", SCALE),
        ("experiments/kinds.yaml", EXPERIMENTS),
    ):
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = Graph(Config(root), "kill")
    for data in graph.recipes:
        stages.prepare(graph, data)
    return graph


def start(graph: Graph, pack: str) -> psutil.Popen:
    """`refigure train` as the rule calls it, with a state every tenth of a second."""
    command = [sys.executable, "-m", "refigure.cli", "--root", str(graph.config.root)]
    words = ["train", pack, "--state-every", "0.1"]
    return psutil.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def spent(process: psutil.Popen) -> float:
    """CPU seconds of a running process; infinite where it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return float("inf")
    return float("inf") if process.status() == psutil.STATUS_ZOMBIE else times.user + times.system


def finish(process: psutil.Popen) -> tuple[str, float]:
    """What an uninterrupted process printed, and the CPU seconds that it took.

    Raises:
        SystemExit: it failed.
    """
    seconds = 0.0
    while process.poll() is None:
        now = spent(process)
        seconds = seconds if now == float("inf") else now
        time.sleep(0.02)
    said = process.communicate()[0]
    if process.returncode:
        sys.exit(f"an uninterrupted job failed:\n{said}")
    return said, seconds


def left(graph: Graph, pack: str) -> tuple[dict[str, bytes], dict]:
    """The bytes of a pack, and what became of its runs."""
    folder = graph.paths.pack(pack)
    about = json.loads((folder / FILES[3]).read_text())["runs"]
    fates = {run: (one["status"], one["last_epoch"], one["spec"]) for run, one in about.items()}
    return {name: (folder / name).read_bytes() for name in FILES[:3]}, fates


def kill(graph: Graph, pack: str, sign: signal.Signals, after: float) -> bool:
    """Start a job and kill it after some CPU seconds; whether it was still running."""
    process = start(graph, pack)
    while (now := spent(process)) < after:
        time.sleep(0.005)
    if now < float("inf"):
        process.send_signal(sign)
    said = process.communicate()[0]
    killed = process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 143)
    if not killed and process.returncode:
        sys.exit(f"{pack} ended with {process.returncode}:\n{said}")
    if killed and (graph.paths.pack(pack) / FILES[3]).exists():
        sys.exit(f"{pack} was killed and looks whole")
    return killed


def main() -> None:
    """Print the count of bit-equal ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first job")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="refigure-survival-"))
    try:
        graph = project(root)
        order = [graph.packs_of(graph.runs(name)) for name in graph.experiments]
        packs = [pack for names in order for pack in names]
        whole, seconds = {}, {}
        for pack in packs:
            _, seconds[pack] = finish(start(graph, pack))
            whole[pack] = left(graph, pack)
        equal = kills = 0
        signs, from_states = Counter(), 0
        for number in range(options.first, options.first + options.jobs):
            pack = packs[number % len(packs)]
            source = np.random.default_rng([options.seed, number])
            said = ""
            shutil.rmtree(graph.paths.pack(pack))
            wanted, mine = int(source.integers(1, 3)), 0
            while mine < wanted:
                sign = (signal.SIGKILL, signal.SIGTERM)[int(source.integers(2))]
                if kill(graph, pack, sign, source.uniform(0, seconds[pack])):
                    mine += 1
                    signs[sign.name] += 1
                elif mine:
                    break  # what was left took less than the moment drawn
                else:
                    shutil.rmtree(graph.paths.pack(pack))
            kills += mine
            if not (graph.paths.pack(pack) / FILES[3]).exists():
                said, _ = finish(start(graph, pack))
            from_states += "goes on from epoch" in said or "networks adopted" in said
            same = left(graph, pack) == whole[pack]
            equal += same
            if not same:
                print(f"job {number}, {pack}: differs")
        print(
            f"{equal} of {options.jobs} killed jobs end bit-equal ({len(packs)} packs of"
            f" {len(order)} kinds; {kills} kills: {signs['SIGKILL']} KILL, {signs['SIGTERM']} TERM;"
            f" {from_states} ends went on from a state or a finished network)"
        )
    finally:
        shutil.rmtree(root)
    sys.exit(equal != options.jobs)


if __name__ == "__main__":
    main()
