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

    python benchmarks/survival.py [--jobs 60] [--starts 40] [--clocks 20] [--first 0] [--seed 0]

`--first` goes on where a shorter call stopped: the moments depend on the number only. `--kinds`
names the kinds of run of the first part, after those they start from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from refigure import stages
from refigure.cli import main as main_of_refigure
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.training.jobs.parts import FILES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import tiny

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


# ---------------------------------------------------------------------- under Snakemake

SIGNS = (signal.SIGKILL, signal.SIGTERM)
CLAIM = "results/tiny/claims/sample/c1.json"
NOTES = "trained.txt"
JOB = "code/refigure/training/jobs/job.py"
RULE = "rules/train.smk"
NOTE = f"""

def note(*words):
    import os

    with open({NOTES!r}, "a") as file:
        file.write(" ".join(map(str, words)) + "\\n")
"""
EPOCHS = {"plain": 60, "tuned": 40}
VICTIMS = ("a job", "the warm process", "Snakemake", "all of them")
LIMIT = 6  # starts after which a build counts as one that does not end


class Build:
    """A checkout of tests/tiny.py in which nothing is built, and Snakemake at work on its claim.

    Two seeds make two packs of each experiment, of two networks each, which `-c 2` trains at a
    time. A training state is written every 0.1 s.
    """

    def __init__(self, root: Path, template: Path | None = None):
        self.root = root
        self.starts = 0
        if template is not None:
            shutil.copytree(template, root, ignore=shutil.ignore_patterns("__pycache__"))
            return
        tiny.checkout(root)
        experiments = root / "config/experiments/all.yaml"
        tiny.edit(experiments, "epochs: 3", f"epochs: {EPOCHS['plain']}")
        tiny.edit(experiments, "epochs: 2", f"epochs: {EPOCHS['tuned']}")
        tiny.edit(experiments, "seed: [0]", "seed: [0, 1]")
        tiny.edit(root / RULE, "refigure train", "refigure train --state-every 0.1")
        ticks = "progress.tick(training.epoch, training.epochs, len(ready), float(loss.nanmean()))"
        tiny.edit(root / JOB, ticks, f'{ticks}; note("epoch", name, training.epoch)')
        saves = 'part.save(self.scratch / f"part-{name}")'
        tiny.edit(root / JOB, saves, f'{saves}; note("whole", name, 0)')
        path = root / JOB
        path.write_text(path.read_text(encoding="utf-8") + NOTE, encoding="utf-8")

    def files(self, *experiments: str) -> None:
        """Prepare the data, and train some experiments: nothing that rests on them."""
        graph = Graph(Config(self.root), "tiny")
        files = [graph.paths.data(data) for data in {pack.data for pack in graph.packs.values()}]
        for name in experiments:
            packs = graph.packs_of(graph.runs(name))
            files += [graph.paths.pack(pack) / FILES[-1] for pack in packs]
        if self.started(*(str(path.relative_to(self.root)) for path in files)).wait():
            sys.exit((self.root / "said").read_text(encoding="utf-8"))

    def started(self, *targets: str) -> subprocess.Popen:
        """Snakemake. Of each input it takes the time, as it does of those above a megabyte."""
        self.starts += 1
        words = ["-c", "2", "--max-checksum-file-size", "0", "--", *(targets or [CLAIM])]
        with (self.root / "said").open("w", encoding="utf-8") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", *words],
                cwd=self.root,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    def finished(self) -> bool:
        """Start it until it ends well; whether it does."""
        while self.starts < LIMIT:
            if self.started().wait() == 0:
                return True
        print((self.root / "said").read_text(encoding="utf-8")[-3000:])
        return False

    def notes(self) -> list[tuple[str, str, str]]:
        """What was trained, in order: `epoch` or `whole`, the stack of networks, the epoch."""
        with contextlib.suppress(FileNotFoundError):
            text = (self.root / NOTES).read_text(encoding="utf-8")
            return [tuple(line.split()) for line in text.splitlines()]
        return []

    def left(self) -> dict[str, Any]:
        """The bytes of packs, tables and the claim, and what became of each run."""
        found: dict[str, Any] = {}
        results = self.root / "results/tiny"
        for path in sorted(results.rglob("*")):
            name = path.relative_to(results).as_posix()
            if not path.is_file() or name.split("/")[0] in ("logs", "made_with.jsonl"):
                continue
            if path.name == FILES[-1]:
                runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
                kept = ("status", "last_epoch", "spec", "code")
                found[name] = {run: [one[key] for key in kept] for run, one in runs.items()}
            else:
                found[name] = path.read_bytes()
        return found

    def remove(self) -> None:
        """Wait until nothing works in it any more, and delete it.

        A process that a kill left behind may outlive the build: the last job was not its own.
        """
        while any(_works_in(process, self.root) for process in psutil.process_iter()):
            time.sleep(0.1)
        shutil.rmtree(self.root)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.cwd() == str(folder)
    return False


def trained_again(notes: list[tuple[str, str, str]]) -> tuple[set[str], int]:
    """Stacks that were trained after they were whole, and how many epochs were trained again."""
    whole, twice = set(), set()
    epochs = Counter()
    for what, stack, epoch in notes:
        if what == "whole":
            whole.add(stack)
        else:
            epochs[stack, epoch] += 1
            if stack in whole:
                twice.add(stack)
    return twice, epochs.total() - len(epochs)


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


# ---------------------------------------------------------------------- clocks


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
