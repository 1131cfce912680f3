"""A checkout with Snakemake at work in it, which notes what is trained."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.training.jobs.parts import FILES

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import tiny

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
