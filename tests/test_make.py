"""The targets of the Makefile, called in an environment that nobody has activated."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import checkout

ROOT = Path(__file__).resolve().parents[1]
TARGETS = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
COMMANDS = {"refigure": "refigure", "snakemake": "snakemake", "python": ""}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A tiny checkout whose `.venv` is ready: this environment under another name."""
    root = checkout(tmp_path_factory.mktemp("make") / "shop")
    for name in ("Makefile", "pyproject.toml", "envs"):
        kind = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        kind(ROOT / name, root / name)
    folder = root / ".venv/bin"
    folder.mkdir(parents=True)
    for name, module in COMMANDS.items():
        words = f"{sys.executable}{' -m ' + module if module else ''}"
        text = f'#!/bin/sh\nPYTHONPATH={root}/code exec {words} "$@"\n'
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    (root / ".venv/.ready").touch()
    return root


def make(root: Path, *words: str) -> subprocess.CompletedProcess:
    """`make` in a shell that knows the system's commands only."""
    # What a make above this test tells those below would change what this one says.
    environment = {
        key: value
        for key, value in os.environ.items()
        if "MAKE" not in key and key not in ("MFLAGS", "PYTHONPATH", "VIRTUAL_ENV")
    }
    return subprocess.run(
        ["make", *words],
        cwd=root,
        env={**environment, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


def test_plan_finds_its_command_and_says_what_would_be_trained(root):
    done = make(root, "plan", "TARGET=results/tiny/tables/lines.parquet")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("results/tiny/tables/lines.parquet (scale tiny)")
    assert re.search(r"plain +1 +2 +0 +0 +2", done.stdout), done.stdout


def test_a_wrong_target_is_the_one_line_of_the_command(root):
    done = make(root, "plan", "TARGET=results/tiny/tables/line.parquet")
    line, rest = done.stderr.split("\n", 1)
    assert done.returncode != 0 and line.endswith("unknown table 'line'; did you mean 'lines'?")
    assert rest.startswith("make: *** ") and "Traceback" not in rest


def test_clean_removes_what_smoke_made_and_nothing_else(root):
    gone = [root / "results/smoke/all", root / "scratch/smoke/x/run.json"]
    kept = [root / "results/demo/all", root / "scratch/demo/x/run.json", root / "config/local.yaml"]
    for path in (*gone, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    assert make(root, "clean").returncode == 0
    assert not [path for path in gone if path.parent.exists()]
    assert [path for path in kept if path.is_file()] == kept
    assert make(root, "clean").returncode == 0  # where there is nothing to remove


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_a_list_of_commands_and_needs_no_installation_anew(root, target):
    done = make(root, "-n", target)
    assert done.returncode == 0, done.stderr
    assert "pip install" not in done.stdout
    if target != "setup":
        assert done.stdout.strip()


def test_a_change_of_what_is_installed_sets_up_anew(root):
    requirements = root / "envs/requirements.txt"
    later = (root / ".venv/.ready").stat().st_mtime + 10
    os.utime(requirements, (later, later))
    try:
        assert "pip install" in make(root, "-n", "plan").stdout
    finally:
        os.utime(requirements, (0, 0))
