"""Slurm: what its queue would be silent about, by a pretended one; and a real one where it runs.

The real one is started by `.ci/start_slurm`, and `REFIGURE_SLURM` says that it was. Snakemake's
plugin for it is kept out of the environment of other tests: `REFIGURE_PLUGINS` names its folder.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from refigure.errors import UserError
from refigure.explain.ledger import Ledger
from refigure.machine import slurm
from refigure.machine.live import progress_of
from refigure.machine.locks import alone, release_dead
from refigure.training.jobs import devices
from tiny import checkout, edit, run

PLUGINS = os.environ.get("REFIGURE_PLUGINS", "")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Slurm's commands as shell scripts: each writes down what it is asked, and prints a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    root = tmp_path / "checkout"
    (root / slurm.LOGS).mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def answers(command: str, text: str, then: str = "") -> None:
        (folder / f"{command}.out").write_text(text)
        script = folder / command
        script.write_text(
            f'#!/bin/sh\necho "{command} $*" >> {folder}/asked\n'
            f"{then}\ncat {folder}/{command}.out\n"
        )
        script.chmod(0o755)

    def asked() -> list[str]:
        path = folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    answers("squeue", "")
    answers("scancel", "", f": > {folder}/squeue.out")
    answers("sbatch", "")
    return SimpleNamespace(root=root, answers=answers, asked=asked, folder=folder)


def row(root: Path, id_: int, state: str, reason: str = "None", comment: str = "rule_train") -> str:
    return f"{id_}|{state}|{reason}|{root.resolve()}|{comment}\n"


PARTITIONS = """\
PartitionName=main Default=YES MaxTime=02:00:00 PreemptMode=OFF
PartitionName=gpu Default=NO MaxTime=1-12:00:00 PreemptMode=OFF
"""


@pytest.mark.parametrize(
    "kind, words",
    [
        (slurm.Asked("train", ("-p", "gpus"), "gpus", 60), "no partition 'gpus', but main, gpu"),
        (
            slurm.Asked("train", ("-p", "main"), "main", 240),
            "rule train asks for 240 minutes, partition 'main' gives at most 120",
        ),
        (slurm.Asked("train", (), "", 240), "partition 'main' gives at most 120"),
    ],
)
def test_what_never_would_run_is_refused_before_anything_is_submitted(cluster, kind, words):
    cluster.answers("scontrol", PARTITIONS)
    with pytest.raises(UserError, match=words):
        slurm.check([kind], "squeue")
    assert not any(line.startswith("sbatch") for line in cluster.asked())


def test_what_slurm_itself_refuses_is_one_line(cluster):
    cluster.answers("scontrol", PARTITIONS)
    slurm.check([slurm.Asked("train", ("-p", "gpu", "-t", "2160"), "gpu", 2160)], "squeue")
    assert "sbatch --test-only -J refigure -p gpu -t 2160 --wrap true" in cluster.asked()
    cluster.answers("sbatch", "", "echo 'sbatch: error: Invalid account' >&2; exit 1")
    with pytest.raises(UserError, match=r"refuses `-A nobody`: sbatch: error: Invalid account"):
        slurm.check([slurm.Asked("train", ("-A", "nobody"), "", 60)], "squeue")


def test_sacct_is_refused_where_there_are_no_accounts(cluster):
    cluster.answers("scontrol", "AccountingStorageType   = accounting_storage/none\n")
    with pytest.raises(UserError, match="slurm-status-command: squeue"):
        slurm.check([], "sacct")
    slurm.check([], "squeue")


@pytest.mark.parametrize(
    "text, minutes", [("02:00:00", 120), ("1-12:00:00", 2160), ("UNLIMITED", None)]
)
def test_time_limits(text, minutes):
    assert slurm.minutes_of(text) == minutes


def test_only_what_a_snakemake_of_this_folder_left_is_ended(cluster, capsys):
    other = f"4|RUNNING|None|/elsewhere|rule_train\n{row(cluster.root, 5, 'RUNNING', comment='')}"
    mine = row(cluster.root, 1, "RUNNING") + row(cluster.root, 2, "PENDING", "Resources")
    cluster.answers("squeue", mine + row(cluster.root, 3, "COMPLETED") + other)
    assert slurm.end_left(cluster.root, pause_s=0.01) == 2
    assert [line for line in cluster.asked() if "scancel" in line] == ["scancel 1 2"]
    assert "ends 2 Slurm jobs of a Snakemake that was killed" in capsys.readouterr().err
    cluster.answers("squeue", row(cluster.root, 1, "RUNNING"))
    cluster.answers("scancel", "")
    with pytest.raises(UserError, match="Slurm jobs 1 do not end"):
        slurm.end_left(cluster.root, wait_s=0.05, pause_s=0.01)


def test_silence_of_the_queue_is_no_sign_that_nothing_runs(cluster):
    cluster.answers("squeue", "", "exit 1")
    with pytest.raises(
        UserError, match="squeue does not answer, so jobs of a killed Snakemake may"
    ):
        slurm.end_left(cluster.root, wait_s=0.05, pause_s=0.01)
    assert not [line for line in cluster.asked() if "scancel" in line]


def test_jobs_are_left_alone_beside_a_living_snakemake(tmp_path):
    with release_dead(tmp_path / ".snakemake") as first:
        assert alone(first)
        with release_dead(tmp_path / ".snakemake") as second:
            assert not alone(first) and not alone(second)
        assert alone(first)
    assert not alone(None)


def test_the_watch_tells_what_waits_in_vain_what_was_preempted_and_what_failed(cluster):
    lines: list[str] = []
    cluster.answers("squeue", row(cluster.root, 1, "FAILED"))
    watch = slurm.Watch(cluster.root, lines.append)  # that one is of an earlier start
    log = cluster.root / slurm.LOGS / "rule_train/x/9.log"
    log.parent.mkdir(parents=True)
    log.write_text("host: n1\nOSError: [Errno 30] Read-only file system: '/root/.cache'\n")
    text = row(cluster.root, 1, "FAILED") + row(cluster.root, 7, "PENDING", "PartitionTimeLimit")
    text += row(cluster.root, 8, "PREEMPTED") + row(cluster.root, 9, "FAILED")
    cluster.answers("squeue", text + row(cluster.root, 10, "PENDING", "Priority"))
    cluster.answers("scancel", "")
    cluster.answers("scontrol", "")
    watch.look()
    assert lines == [
        "Slurm job 7 (train) can never start: PartitionTimeLimit; it is cancelled",
        "Slurm job 8 (train) was preempted, and is put back into the queue",
        "Slurm job 9 (train) ended: FAILED: OSError: [Errno 30] Read-only file system:"
        " '/root/.cache' (.snakemake/slurm_logs/rule_train/x/9.log)",
    ]
    assert {"scancel 7", "scontrol requeue 8"} <= set(cluster.asked())


class Plugin:
    """What waits for jobs, as Snakemake's executors do."""

    def __init__(self, *ids: str):
        self.lock = threading.Lock()
        self.active_jobs = [SimpleNamespace(external_jobid=id_) for id_ in ids]
        self.ended: list[tuple[str, str]] = []

    def report_job_error(self, info):
        self.ended.append((info.external_jobid, "failed"))

    def report_job_success(self, info):
        self.ended.append((info.external_jobid, "look at its files"))


def test_nothing_is_waited_for_that_cannot_be_put_back_or_that_the_queue_has_forgotten(cluster):
    lines: list[str] = []
    plugin = Plugin("8", "9", "10")
    cluster.answers("scontrol", "", "echo 'Requested operation not supported' >&2; exit 1")
    watch = slurm.Watch(cluster.root, lines.append, plugin)
    running = row(cluster.root, 9, "RUNNING") + row(cluster.root, 10, "RUNNING")
    cluster.answers("squeue", row(cluster.root, 8, "PREEMPTED") + running)
    watch.look()
    watch.look()
    assert plugin.ended == [("8", "failed")]
    assert len(lines) == 1 and "cannot be put back (Requested operation not supported)" in lines[0]
    lines.clear()
    cluster.answers("squeue", "", "exit 1")  # silence says nothing of jobs
    watch.look()
    assert not lines
    cluster.answers("squeue", row(cluster.root, 10, "RUNNING"))
    asks = plugin.active_jobs
    plugin.active_jobs = []  # so it is while the plugin itself asks for states
    watch.look()
    plugin.active_jobs = asks
    watch.look()
    watch.look()
    assert plugin.ended[1:] == [("9", "look at its files")]
    assert lines == ["Slurm job 9 (train) is in the queue no more: it has ended"]
    assert [one.external_jobid for one in plugin.active_jobs] == ["10"]


def test_without_locks_of_the_file_system_a_start_and_a_choice_of_device_go_well(
    tmp_path, monkeypatch
):
    def refused(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert release_dead(tmp_path / ".snakemake") is None
    assert devices.free_device(2, tmp_path) == 0
    made = SimpleNamespace(parts=lambda: [("cells", "abc")], content=lambda _: ["x"])
    step = SimpleNamespace(provenance={"code": made})
    assert Ledger(tmp_path / "results").record([step]) == 1
    assert "abc" in (tmp_path / "results/made_with.jsonl").read_text()


def test_a_queued_job_that_finds_no_gpu_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: False)
    assert devices.device_of("auto", tmp_path, gpus=1).type == "cpu"  # one's own machine
    monkeypatch.setenv(devices.QUEUED, "1")
    assert devices.device_of("auto", tmp_path, gpus=0).type == "cpu"
    assert devices.device_of("cpu", tmp_path, gpus=1).type == "cpu"
    with pytest.raises(UserError, match=r"asked its queue for a GPU, but torch .* finds none"):
        devices.device_of("auto", tmp_path, gpus=1)


def test_a_log_from_before_a_job_was_started_says_nothing_of_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("epoch 1/2 of 3 networks, loss 1; all 13 %, 4 s gone, 43 s left\n")
    now = time.time()
    assert progress_of([str(log)], now - 1) == (13, 43.0)
    os.utime(log, (now - 60, now - 60))
    assert progress_of([str(log)], now) is None


# ---------------------------------------------------------------------- a real one


real = pytest.mark.skipif(
    not (PLUGINS and os.environ.get("REFIGURE_SLURM")),
    reason="REFIGURE_SLURM: no Slurm was started",
)
LONG = ("epochs: 3", "epochs: 400")


def lab(root: Path) -> Path:
    """A checkout with two packs of a training that takes some time and asks for a GPU."""
    checkout(root)
    edit(root / "config/experiments/all.yaml", *LONG)
    edit(
        root / "config/experiments/all.yaml",
        "grid:",
        "block: 1\n    resources: {gpu: 1}\n    grid:",
    )
    (root / "config/local.yaml").write_text("device: cpu\n")
    rule = root / "rules/train.smk"
    rule.write_text(rule.read_text().replace("refigure train", "refigure train --state-every 1"))
    profile = root / "profiles/slurm/config.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings |= {"slurm-init-seconds-before-status-checks": 2, "seconds-between-status-checks": 3}
    settings.pop("logger")
    profile.write_text(yaml.safe_dump(settings))
    return root


def numbers(root: Path) -> dict[str, str]:
    """Path -> digest of what was computed and drawn."""
    kinds = (".parquet", ".safetensors", ".csv", ".png")  # the sample's PDF holds the time of day
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "results").rglob("*"))
        if path.suffix in kinds
    }


def until(happens, what: str, last_s: float = 600.0):
    """Wait until something is not empty, and return it."""
    end = time.monotonic() + last_s
    while not (found := happens()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.3)
    return found


@real
@pytest.mark.xdist_group("slurm")
def test_a_real_queue(tmp_path):
    there = slurm.said("sinfo", "--noheader", "--format=%P %G")
    assert there is not None and "urgent gpu:2" in there.stdout, "is it that of .ci/start_slurm?"
    root, local = lab(tmp_path / "cluster"), lab(tmp_path / "local")
    targets = ["results/tiny/figures/sample/fig1.pdf", "results/tiny/claims/sample/c1.json"]
    run(local, sys.executable, "-m", "snakemake", "-c", "2", "--", *targets)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{root / 'code'}:{PLUGINS}",
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "--"]

    def started(log: str) -> subprocess.Popen:
        with (tmp_path / log).open("w") as stream:
            return subprocess.Popen(
                [*words, *targets], cwd=root, env=environment, stdout=stream, stderr=stream
            )

    def listed(*states: str) -> list[slurm.Queued]:
        return [one for one in slurm.jobs_of(root) or () if one.state in states]

    def trained() -> list[Path]:
        return list((root / "scratch").rglob("*.state"))

    def two(state: str) -> list[slurm.Queued]:
        return until(lambda: len(listed(state)) == 2 and listed(state), f"two jobs {state}")

    def preempt() -> None:
        words = ["sbatch", "--parsable", "--output=/dev/null", "-p", "urgent", "--gpus=2"]
        urgent = slurm.said(*words, "--wrap", "true")
        until(lambda: "COMPLETED" in shown(urgent.stdout.strip()), "an urgent job")

    def shown(id_: str) -> str:
        return slurm.said("scontrol", "show", "job", id_).stdout

    def told(text: str) -> bool:
        return text in (tmp_path / "first").read_text()

    first = started("first")
    both = two("RUNNING")
    assert all("Partition=gpu" in shown(one.id) for one in both)
    until(lambda: len(trained()) >= 2, "two states")
    # A job of a higher tier takes both GPUs: Slurm puts both jobs back. It would hold them back for
    # two minutes. One goes on in a partition where it is cancelled the next time.
    preempt()
    assert {one.id for one in two("PENDING")} == {one.id for one in both}
    kept, moved = (one.id for one in both)
    slurm.said("scontrol", "update", f"JobId={kept}", "StartTime=now")
    slurm.said("scontrol", "update", f"JobId={moved}", "Partition=spare", "StartTime=now")
    two("RUNNING")
    preempt()
    until(lambda: told(f"Slurm job {moved} (train) was preempted, and is put back"), "a line of it")
    assert not told(f"job {kept} (train) was preempted") and first.poll() is None
    for one in two("PENDING"):
        slurm.said("scontrol", "update", f"JobId={one.id}", "StartTime=now")
    assert {one.id for one in two("RUNNING")} == {kept, moved}
    assert all("Restarts=2" in shown(one) for one in (kept, moved))
    slurm.said("scancel", "--signal=TERM", "--full", both[0].id)
    until(lambda: {one.id for one in listed("RUNNING")} - {one.id for one in both}, "another try")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert listed("RUNNING")
    last = started("last")
    assert last.wait(timeout=900) == 0, (tmp_path / "last").read_text()[-4000:]
    said = (tmp_path / "last").read_text()
    assert "of a Snakemake that was killed; they write their states" in said
    logs = "".join(path.read_text() for path in (root / "results/tiny/logs/train").glob("*"))
    assert "goes on from" in logs or "adopted" in logs
    assert numbers(root) == numbers(local)
    assert {one.comment.split("_")[1] for one in slurm.jobs_of(root)} == {"train"}
    places = [re.search(r"Partition=(\w+)", shown(one.id))[1] for one in slurm.jobs_of(root)]
    assert places.count("main") == 1  # the network that starts from another asks for no GPU
    again = subprocess.run([*words[:-1], "-n", "--", *targets], cwd=root, env=environment,
                           capture_output=True, text=True)  # fmt: skip
    assert "Nothing to be done" in again.stdout + again.stderr
