"""A checkout whose scale `tiny` takes seconds: the real rules and code, a paper made for tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from engine import project

ROOT = Path(__file__).resolve().parents[1]
ALL = "results/tiny/all"
TRAVELS = ("Snakefile", "rules", "code", "profiles")
EXPERIMENTS = """
experiments:
  plain:
    base: &base
      data: tiny
      model: {name: convnet, k: 2}
      optimiser: {name: sphere_sgd}
      head: {seed: 228, norm: 10}
      batch: 20
      epochs: 3
    grid: {elr: [1.0e-3, 1.0e-2], seed: [0]}
    points: {end: {epoch: last}}
    record: &record
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}}
    budget: 5
  tuned:
    start: {from: plain, at: end, take: weights, carry: {elr: plr}}
    base: {epochs: 2}
    grid: {elr: [3.0e-3]}
    points: {end: {epoch: last}}
    record: *record
    budget: 5
tables:
  lines: {runs: plain, compute: tables.sample.last, options: {column: train_loss}}
  after: {runs: tuned, compute: tables.sample.last, options: {column: train_loss}}
"""
PAPER = """
title: A paper
experiments: [plain, tuned]
figures:
  fig1: {notebook: fig1, tables: {lines: lines}, caption: Losses.}
claims:
  c1:
    statement: It falls.
    decide: claims.sample.falls
    tables: {lines: lines, after: after}
    options: {thresholds: {most: 3.0}}
    figures: [fig1]
"""
TABLES = '''
def last(runs, column):
    """The last value of a column, by run."""
    rows = runs.sort_values("epoch").dropna(subset=[column]).groupby("run").last().reset_index()
    return rows[["run", "elr", "seed", column]]
'''
CLAIMS = """
from refigure.claims import verdict


def falls(lines, after, most):
    finding = verdict.above(verdict.Estimate.of(after["train_loss"], "runs"), 0.0, name="after")
    return verdict.all_of(
        verdict.below(verdict.Exact(lines["train_loss"].min()), most, name="lowest"), finding
    )
"""
CELLS = [
    ("parameters", "tables = settings = {}\ntarget = ''"),
    (
        "",
        "import matplotlib.pyplot as plt\nimport pandas as pd",
    ),
    ("", "rows = pd.read_parquet(tables['lines'])\nfigure, axes = plt.subplots()"),
    ("", "axes.plot(rows['elr'], rows['train_loss'])\nrows.to_csv(f'{target}.csv', index=False)"),
    ("", "for suffix in ('pdf', 'png'):\n    figure.savefig(f'{target}.{suffix}')"),
]


def checkout(root: Path) -> Path:
    """Write one: code and rules as they are, a configuration of its own."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "notebooks")
    for name in TRAVELS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=ignored)
        else:
            root.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    project(root, EXPERIMENTS)
    config = json.loads((root / "config/config.yaml").read_text())
    (root / "config/config.yaml").write_text(json.dumps({**config, "papers": ["sample"]}))
    (root / "config/papers/sample.yaml").write_text(PAPER)
    (root / "code/refigure/tables/sample.py").write_text(TABLES)
    (root / "code/refigure/claims/sample.py").write_text(CLAIMS)
    notebook = root / "code/notebooks/sample/fig1.ipynb"
    notebook.parent.mkdir(parents=True)
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"cell{number}",
            "metadata": {"tags": [tag] if tag else []},
            "outputs": [],
            "source": source,
        }
        for number, (tag, source) in enumerate(CELLS)
    ]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    about["language_info"] = {"name": "python"}
    notebook.write_text(
        json.dumps({"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5})
    )
    return root


def copied(built: Path, root: Path) -> Path:
    """A built checkout once more, with results, times and Snakemake's records of its own."""
    shutil.copytree(built, root, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def run(root: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess:
    """A command in a checkout, with the checkout's own package."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(root / "code"),
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert not (check and done.returncode), (
        f"{words}:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    )
    return done


def refigure(root: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess:
    """The `refigure` of a checkout."""
    return run(root, sys.executable, "-m", "refigure.cli", *words, check=check)


def snakemake(root: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess:
    """Snakemake in a checkout."""
    return run(root, sys.executable, "-m", "snakemake", *words, check=check)


def would_run(root: Path, target: str) -> dict[str, int]:
    """Rule -> jobs that Snakemake's dry run lists; empty where there is nothing to be done."""
    done = snakemake(root, "-n", "--", target)
    said = done.stdout + done.stderr
    if "Nothing to be done" in said:
        return {}
    table = re.search(r"Job stats:\n(.*?)\n\n", said, re.DOTALL).group(1)
    rows = [line.split() for line in table.splitlines()[2:]]
    return {row[0]: int(row[1]) for row in rows if row[0] != "total"}


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there, once."""
    text = path.read_text()
    assert text.count(old) >= 1, f"{path}: no {old!r}"
    path.write_text(text.replace(old, new, 1))
