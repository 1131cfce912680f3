"""Every script of `benchmarks/` runs, at a tiny size and without an activated environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = [path.parent for path in (ROOT / "benchmarks").glob("*/__main__.py")]
SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *FOLDERS])
NUMBER = r"\d+(\.\d+)?"
TARGET = "results/tiny/tables/lines.parquet"

# Script -> its arguments, and a line that it must print. `{tiny}` is a checkout of tests/tiny.py.
ENTRIES = {
    "compaction": ("--steps 10 --repeats 1", rf"Word PTB .*: +{NUMBER} times as fast"),
    "contrastive": ("--batch 4 --size 8 --k 2 --repeats 1", rf"median ratio {NUMBER}"),
    "dry_run": ("--target results/smoke/all --repeats 1", rf"a job adds {NUMBER} ms"),
    "gpu": (
        "--device cpu --tiny --only VGG16 --out gpu.json",
        rf"VGG16 k=6: 2 side by side: {NUMBER} steps of one a second, {NUMBER} times as fast",
    ),
    "overhead": ("--repeats 1 --every 0.01 --epochs 20", rf"takes {NUMBER} times as long"),
    "plan": (
        f"--checkout {{tiny}} --target {TARGET} --within 1e9",  # jobs too short to foretell
        rf"by past jobs: predicted {NUMBER} s, measured {NUMBER} s, factor {NUMBER}",
    ),
    "redraw": ("--repeats 1", rf"median ratio {NUMBER}"),
    "rnn": ("--networks 1 --steps 1", rf"words .*plain {NUMBER} \({NUMBER}\)"),
    "scheduling": ("--jobs 4 --repeats 1", rf"median ratio {NUMBER}"),
    "survival": (
        "--jobs 2 --kinds plain --starts 2 --clocks 1",
        r"(?s)2 of 2 killed jobs end bit-equal.*2 of 2 killed builds end bit-equal"
        r".* 0 networks trained twice.*1 of 1 builds with wrong clocks end bit-equal",
    ),
    "synthetic": ("--networks 4 --epochs 1 --repeats 1", rf"(?m)^{NUMBER}$"),
    "training_cpu": (
        "--images absent --train 256 --test 64 --epochs 1 --k 2 --elrs 1e-3 --repeats 1",
        rf"the pack is {NUMBER} times faster",
    ),
    "verdicts": ("--draws 2 --papers three-regimes", r"claims above the bar of 5%"),
    "views": ("--pictures 4 --repeats 1", rf"median ratio {NUMBER}"),
    "warm": (
        f"--checkout {{tiny}} --target {TARGET} --repeats 1",
        rf"median ratio {NUMBER}",
    ),
}
NOISE = ("Traceback", "IPKernelApp", "Passed unknown parameter", "Unable to parse")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_runs(script: Path, tmp_path: Path) -> None:
    """Exit 0, its numbers printed, nothing of what would alarm a reader."""
    assert script.stem in ENTRIES, f"{script.name} has no entry in ENTRIES of {Path(__file__).name}"
    words, numbers = ENTRIES[script.stem]
    if "{tiny}" in words:
        from tiny import checkout  # here: it imports torch

        words = words.format(tiny=checkout(tmp_path / "tiny"))
    folders = os.environ["PATH"].split(os.pathsep)
    path = [folder for folder in folders if not (Path(folder) / "refigure").exists()]
    environment = {**os.environ, "PATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    environment.pop("VIRTUAL_ENV", None)
    done = subprocess.run(
        [sys.executable, str(script), *words.split()],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, said
    assert re.search(numbers, done.stdout), said
    assert not [noise for noise in NOISE if noise in done.stdout + done.stderr], said


def test_entries_are_of_scripts() -> None:
    """A script that is gone leaves no entry."""
    assert set(ENTRIES) <= {path.stem for path in SCRIPTS}
