"""Queues for which Snakemake has no plugin of their own: `profiles/cluster-generic` as it is.

The plugin is kept out of the environment of the other tests: `REFIGURE_PLUGINS` names its folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_slurm import lab, numbers, until
from tiny import run

PLUGINS = os.environ.get("REFIGURE_PLUGINS", "")
SCRIPTS = Path(__file__).resolve().parents[1] / "profiles/cluster-generic"
TARGET = "results/tiny/figures/sample/fig1.pdf"


def said(root: Path, script: str, *words: str) -> str:
    """What a script of the profile prints."""
    done = subprocess.run([SCRIPTS / script, *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ended(root: Path, name: str) -> str:
    """The status of a job once it runs no more."""
    return until(lambda: (now := said(root, "status", name)) != "running" and now, "an end")


def submitted(root: Path, text: str) -> str:
    """The name of a job of that text in the queue."""
    script = root / "job"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return said(root, "submit", "1", "100", "5", "0", str(script))


@pytest.mark.parametrize("text, status", [("exit 0", "success"), ("exit 3", "failed")])
def test_a_jobs_end_is_told(tmp_path, text, status):
    assert ended(tmp_path, submitted(tmp_path, text)) == status


def test_a_job_runs_until_it_is_cancelled_and_has_failed_then(tmp_path):
    name = submitted(tmp_path, "sleep 600")
    assert said(tmp_path, "status", name) == "running"
    said(tmp_path, "cancel", name)
    assert ended(tmp_path, name) == "failed"


def test_a_job_that_was_killed_is_not_waited_for(tmp_path):
    name = submitted(tmp_path, "sleep 600")
    for _ in range(600):  # its group is there a moment after its process is
        try:
            os.killpg(int(name), signal.SIGKILL)
            break
        except ProcessLookupError:
            time.sleep(0.1)
    assert ended(tmp_path, name) == "failed"


@pytest.mark.skipif(not PLUGINS, reason="REFIGURE_PLUGINS: no folder with cluster-generic's plugin")
@pytest.mark.xdist_group("slurm")
def test_a_training_goes_on_when_its_job_or_snakemake_was_killed(tmp_path):
    root, local = lab(tmp_path / "cluster"), lab(tmp_path / "local")
    run(local, sys.executable, "-m", "snakemake", "-c", "2", "--", TARGET)
    profile = root / "profiles/cluster-generic/config.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings |= {"seconds-between-status-checks": 1}
    settings.pop("logger")
    profile.write_text(yaml.safe_dump(settings))
    environment = {**os.environ, "PYTHONPATH": f"{root / 'code'}:{PLUGINS}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/cluster-generic"]

    def started(log: str) -> subprocess.Popen:
        with (tmp_path / log).open("w") as stream:
            return subprocess.Popen(
                [*words, "--", TARGET], cwd=root, env=environment, stdout=stream, stderr=stream
            )

    def submissions(log: str) -> list[str]:
        lines = (tmp_path / log).read_text().splitlines()
        return [line.split("'")[1] for line in lines if "with external jobid" in line]

    first = started("first")
    until(lambda: len(list((root / "scratch").rglob("*.state"))) >= 2, "two states")
    both = submissions("first")
    said(root, "cancel", both[0])
    until(lambda: len(submissions("first")) == 3, "another try")
    first.send_signal(signal.SIGKILL)
    first.wait()
    last = started("last")
    assert last.wait(timeout=900) == 0, (tmp_path / "last").read_text()[-4000:]
    logs = "".join(path.read_text() for path in (root / "results/tiny/logs/train").glob("*"))
    assert "goes on from" in logs or "adopted" in logs
    assert numbers(root) == numbers(local)
