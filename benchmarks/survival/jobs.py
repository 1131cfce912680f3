"""The first part: `refigure train` of every kind of run, killed and started until it ends."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from refigure import stages
from refigure.cli import main as main_of_refigure
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.training.jobs.parts import FILES

SIGNS = (signal.SIGKILL, signal.SIGTERM)

CONFIG = "{scale: kill, device: cpu, papers: [], sources: {digits: {kind: digits}}}"
SCALE = """
data:
  digits: {source: digits, train: 250, test: 100, standardise: global}
  ticks: {name: ticks, seed: 1}
"""
EXPERIMENTS = """
experiments:
  plain:                              # two networks, one after the other
    base: &base
      data: digits
      model: {name: convnet, k: 4}
      optimiser: {name: sphere_sgd}
      head: {seed: 228, norm: 10}
      batch: 50
      epochs: 8
    grid: {elr: [1.0e-3, 1.0e-2], seed: [0]}
    points: &points
      middle: {epoch: 4}
      end: {epoch: last}
      average: {average: {count: 3, from: 5}}
      best: {best: test_loss}
    record: &record
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}, recomputed: true}
      geometry: {every: {steps: 4}}
      filters: {every: {log: 4, trailing: 1}}
    predictions: [test]
  from_a_point:
    start: {from: plain, at: middle, take: weights, carry: {elr: plr}}
    base: {epochs: 8}
    grid: {elr: [3.0e-3]}
    points: *points
    record: *record
  continued:
    start: {from: plain, at: end, take: state}
    base: {epochs: 14}
    points: {end: {epoch: last}, average: {average: {count: 4, to: last}}}
    record: *record
  momentum:
    base: {<<: *base, augment: crop_flip, schedule: cosine,
           optimiser: {name: sgd, wd: 1.0e-2, momentum: 0.9}}
    grid: {lr: [1.0e-2, 3.0e-2], seed: [1]}
    points: *points
    record: *record
  event:
    base: {<<: *base, epochs: 12, optimiser: {name: sgd, wd: 1.0e-1}}
    grid: {lr: [3.0, 8.0], seed: [0]}
    points:
      calm: {event: calm_end, jump: 1.2, floor: 5.0}
      before: {event: jump, jump: 1.2, floor: 5.0, offset: -1}
      end: {epoch: last}
    record: *record
  from_an_event:
    start: {from: event, at: before, take: state}
    base: {epochs: 6}
    points: {end: {epoch: last}}
    record: {train: {every: {steps: 2}}, step_norms: {every: {steps: 1}}}
  side_by_side:                       # eight networks in one stack, averages backwards in steps
    base:
      data: ticks
      model: {name: tick_mlp}
      task: binary
      optimiser: {name: sphere_sgd, radius: 1}
      init: uniform_sphere
      head: {seed: 1, norm: 10}
      batch: 16
      drop_last: true
      epochs: 25
    grid: {elr: [1.0e-3, 1.0e-2, 3.0e-2, 1.0e-1], seed: [0, 1]}
    points: {end: {epoch: last}, average: {average: {count: 5, steps: 100, to: last}}}
    record: {train: {every: {epochs: 5}}, test: {every: {epochs: 5}}}
    by_seed: false
  ragged:
    base: {<<: *base, epochs: 20, stop: {train_loss_below: 0.05}}
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


class Started:
    """`refigure train` as the rule calls it, in a process of its own, a state every 0.03 s.

    The process is forked from this one, which has imported torch: importing it two hundred times
    would be most of the work.
    """

    def __init__(self, graph: Graph, pack: str):
        root = graph.config.root
        self.log = root / "said"
        self.pid = os.fork()
        if self.pid == 0:
            said = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            sys.stdout = os.fdopen(os.dup(1), "w")
            try:
                words = ["--root", str(root), "train", pack, "--state-every", "0.03"]
                status = main_of_refigure(words)
            except BaseException:
                traceback.print_exc()
                status = 70
            sys.stdout.flush()
            os._exit(status)  # nothing of the parent's goes on here

    def spent(self) -> float:
        """CPU seconds of the process so far; infinite where it has ended."""
        process = psutil.Process(self.pid)
        times = process.cpu_times()
        over = process.status() == psutil.STATUS_ZOMBIE
        self.seconds = times.user + times.system
        return float("inf") if over else self.seconds

    def wait(self) -> tuple[int, str]:
        """Its exit status, negative for a signal, and what it said."""
        while self.spent() < float("inf"):
            time.sleep(0.02)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return status, self.log.read_text()


def finish(graph: Graph, pack: str) -> tuple[str, float]:
    """What a process that nobody killed printed, and the CPU seconds that it took.

    Raises:
        SystemExit: it failed.
    """
    process = Started(graph, pack)
    status, said = process.wait()
    if status:
        sys.exit(f"a job that nobody killed ended with {status}:\n{said}")
    return said, process.seconds


def left(graph: Graph, pack: str) -> tuple[dict[str, bytes], dict]:
    """The bytes of a pack, and what became of its runs."""
    folder = graph.paths.pack(pack)
    about = json.loads((folder / FILES[-1]).read_text())["runs"]
    fates = {run: (one["status"], one["last_epoch"], one["spec"]) for run, one in about.items()}
    return {name: (folder / name).read_bytes() for name in FILES[:-1]}, fates


def kill(graph: Graph, pack: str, sign: signal.Signals, after: float) -> bool:
    """Start a job and kill it after some CPU seconds; whether it was still running."""
    process = Started(graph, pack)
    while (now := process.spent()) < after:
        time.sleep(0.005)
    if now < float("inf"):
        os.kill(process.pid, sign)
    status, said = process.wait()
    killed = status in (-signal.SIGKILL, -signal.SIGTERM, 143)
    if not killed and status:
        sys.exit(f"{pack} ended with {status}:\n{said}")
    if killed and (graph.paths.pack(pack) / FILES[-1]).exists():
        sys.exit(f"{pack} was killed and looks whole")
    return killed


def killed_jobs(options: argparse.Namespace, root: Path) -> bool:
    """The first part; whether all ends are bit-equal."""
    graph = project(root)
    order = [graph.packs_of(graph.runs(name)) for name in options.kinds or graph.experiments]
    packs = [pack for names in order for pack in names]
    whole, seconds = {}, {}
    for pack in packs:
        _, seconds[pack] = finish(graph, pack)
        whole[pack] = left(graph, pack)
    equal = kills = 0
    signs, from_states = Counter(), 0
    for number in range(options.first, options.first + options.jobs):
        pack = packs[number % len(packs)]
        source = np.random.default_rng([options.seed, number])
        said = ""
        shutil.rmtree(graph.paths.pack(pack))
        shutil.rmtree(graph.paths.state(pack), ignore_errors=True)
        wanted, mine = int(source.integers(1, 3)), 0
        while mine < wanted:
            sign = SIGNS[int(source.integers(2))]
            if kill(graph, pack, sign, source.uniform(0, seconds[pack])):
                mine += 1
                signs[sign.name] += 1
            elif mine:
                break  # what was left took less than the moment drawn
            else:
                shutil.rmtree(graph.paths.pack(pack))
                shutil.rmtree(graph.paths.state(pack), ignore_errors=True)
        kills += mine
        if not (graph.paths.pack(pack) / FILES[-1]).exists():
            said, _ = finish(graph, pack)
        from_states += "goes on from epoch" in said or "networks adopted" in said
        same = left(graph, pack) == whole[pack]
        equal += same
        if not same:
            print(f"job {number}, {pack}: differs", flush=True)
    print(
        f"{equal} of {options.jobs} killed jobs end bit-equal ({len(packs)} packs of"
        f" {len(order)} kinds; {kills} kills: {signs['SIGKILL']} KILL, {signs['SIGTERM']} TERM;"
        f" {from_states} ends went on from a state or a finished network)",
        flush=True,
    )
    return equal == options.jobs
