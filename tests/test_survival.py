"""What may happen to a job besides being killed: a full disk, a folder that it may not write,
damaged files, another job on the same pack, another Snakemake. One line each, and the next start
goes on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from engine import FILES, graph_of, job, packs, prepared, project, results, trained
from refigure import files, stages
from refigure.errors import UserError
from refigure.machine.locks import release_dead
from refigure.training.jobs import states
from refigure.training.jobs.states import Interrupted
from test_resume import SLOW, Deadly, Killed
from test_workflow import clone, snakemake


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with its data."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


def left(folder: Path) -> list[Path]:
    """Files that only a writer may see."""
    return [path for path in folder.rglob(".*") if path.is_file()]


# ---------------------------------------------------------------------- writes that are refused


@pytest.mark.parametrize("write", ["text", "json", "parquet", "state"])
def test_a_write_that_is_refused_leaves_the_old_file_and_names_it_in_one_line(
    tmp_path, monkeypatch, write
):
    import pandas as pd
    import torch

    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "words of a library", str(path) + ".temporary")

    monkeypatch.setattr(os, "fsync", full)
    calls = {
        "text": lambda: files.write_text("new", path),
        "json": lambda: files.write_json({}, path),
        "parquet": lambda: files.write_parquet(pd.DataFrame({"a": [1]}), path),
        "state": lambda: states.write(path, {"a": torch.zeros(3)}, {}),
    }
    with pytest.raises(UserError) as raised:
        calls[write]()
    assert str(raised.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["kept"]


@pytest.mark.parametrize("at", range(0, 10, 3))
def test_a_disk_that_fills_up_at_any_write_costs_no_bit(shop, tmp_path, monkeypatch, capsys, at):
    """From the n-th write on the disk is full: states are done without, results end in a line."""
    [pack] = packs(shop, "event")
    whole = results(trained(shop, "event")[0])
    folder, replace, count = tmp_path / "out", os.replace, [0]

    def filling(old, new):
        count[0] += 1
        if count[0] > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    made = job(shop, pack, folder)
    made.clock = Deadly(9, 10**9, term=False)
    capsys.readouterr()
    with monkeypatch.context() as patched, pytest.raises(UserError) as raised:
        patched.setattr(os, "replace", filling)
        made.run()
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"cannot write {folder}/")
    assert str(raised.value).endswith(": No space left on device")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == len(set(said)) and all("training goes on" in line for line in said)
    assert not (folder / "run.json").exists() and left(folder) == []
    job(shop, pack, folder).run()
    assert results(folder) == whole


def test_term_on_a_full_disk_says_that_the_last_state_is_what_is_left(shop, tmp_path, monkeypatch):
    [pack] = packs(shop, "event")
    made = job(shop, pack, tmp_path / "out")
    made.clock = Deadly(5, 12, term=True)
    replace, count = os.replace, [0]

    def filling(old, new):
        count[0] += 1
        if count[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(old, new)

    with monkeypatch.context() as patched, pytest.raises(Interrupted, match="no new training"):
        patched.setattr(os, "replace", filling)
        made.run()
    assert len(list((tmp_path / "out/scratch").glob("*.state"))) == 1
    job(shop, pack, tmp_path / "out").run()
    assert results(tmp_path / "out") == results(trained(shop, "event")[0])


@pytest.fixture
def public(monkeypatch):
    """A folder that everybody may enter, and a call as somebody without rights."""
    folder = Path(tempfile.mkdtemp(prefix="refigure-test-"))
    folder.chmod(0o755)

    @contextlib.contextmanager
    def nobody():
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                yield
            finally:
                os.seteuid(0)
        else:
            yield

    yield folder, nobody
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("shut", ["results/tiny", "scratch"])
def test_a_folder_without_permission_is_one_line_and_the_next_start_goes_on(
    shop, public, shut, capsys
):
    root, nobody = public
    graph = graph_of(project(root))
    [pack, _] = packs(graph, "plain")
    shutil.copytree(shop.paths.results / "data", graph.paths.results / "data")
    for name in ("scratch", "results/tiny/packs"):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(0o777)
    (root / shut).chmod(0o555)
    (root / shut / "packs").is_dir() and (root / shut / "packs").chmod(0o555)
    with nobody(), pytest.raises(UserError) as raised:
        stages.train(graph, pack.name, 1e9)
    line = str(raised.value)
    assert line.startswith(f"cannot write {root}/{shut}/") and line.endswith(": Permission denied")
    assert not graph.paths.pack(pack.name).exists()
    for path in (root / shut, root / shut / "packs"):
        path.is_dir() and path.chmod(0o777)
    capsys.readouterr()
    with nobody():
        stages.train(graph, pack.name, 1e9)
    adopted = "2 of 2 networks adopted" in capsys.readouterr().out
    assert adopted == (shut == "results/tiny")  # what was trained is kept in scratch
    assert (graph.paths.pack(pack.name) / "run.json").is_file()


def refigure(root: Path, *words: str, **keys) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "refigure.cli", "--root", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **keys)


def test_a_process_whose_disk_is_full_ends_in_one_line_with_status_1(shop):
    """A limit on the size of files stands for the disk: the kernel refuses as it would there."""
    [pack, _] = packs(shop, "plain")
    limit = 20_000  # enough for the history, too little for the points
    done = refigure(
        shop.config.root,
        *("train", pack.name),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("refigure: cannot write ") and line.endswith(": File too large")
    assert not (shop.paths.pack(pack.name) / "run.json").exists()


def test_a_command_whose_output_cannot_be_written_is_one_line(shop):
    words = ["--root", str(shop.config.root), "prune"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "refigure.cli", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "refigure: No space left on device\n"


# ---------------------------------------------------------------------- damaged files


@pytest.mark.parametrize(
    ("name", "how"),
    [*((name, "truncated") for name in FILES), (FILES[1], "empty"), (FILES[-1], "foreign")],
)
def test_a_damaged_part_is_passed_over_in_one_line(shop, tmp_path, capsys, name, how):
    [pack] = packs(shop, "event")
    whole = results(trained(shop, "event")[0])
    made = job(shop, pack, tmp_path / "out")
    inner = made._train
    calls = []

    def once(*arguments):
        if calls:
            raise Killed
        calls.append(1)
        return inner(*arguments)

    made._train = once
    with pytest.raises(Killed):
        made.run()
    [part] = (tmp_path / "out/scratch").glob("part-*")
    path = part / name
    content = path.read_bytes()
    path.write_bytes({"truncated": content[:-9], "empty": b"", "foreign": b'{"a": 1}'}[how])
    capsys.readouterr()
    job(shop, pack, tmp_path / "out").run()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("nothing adopted: ") and str(part) in line
    assert results(tmp_path / "out") == whole


def test_a_parents_damaged_file_is_one_line(shop, tmp_path):
    [pack] = packs(shop, "longer")
    [parent] = {shop.pack_of[run.id] for run in pack.parents}
    trained(shop, "plain")
    shutil.copytree(shop.paths.pack(parent), tmp_path / "parent")
    path = tmp_path / "parent/points.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    folders = {run.id: tmp_path / "parent" for run in pack.parents}
    with pytest.raises(UserError, match=rf"{path}: not readable: ") as raised:
        job(shop, pack, tmp_path / "out", parents=folders).run()
    assert "\n" not in str(raised.value)


# ---------------------------------------------------------------------- two jobs, two Snakemakes


@contextlib.contextmanager
def held(path: Path):
    """A lock as another process would hold it."""
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 7 on another\n")
        lock.flush()
        yield lock


def test_a_second_job_waits_for_the_first_and_takes_what_it_left(
    shop, tmp_path, monkeypatch, capsys
):
    [pack] = packs(shop, "event")
    done, folder = trained(shop, "event")[0], tmp_path / "out"
    folder.mkdir()
    made = job(shop, pack, folder)
    made._train = None  # whoever calls it fails
    with held(folder / "scratch.lock") as lock:

        def first_ends(_):
            shutil.copytree(done, folder, dirs_exist_ok=True)
            fcntl.flock(lock, fcntl.LOCK_UN)

        monkeypatch.setattr(time, "sleep", first_ends)
        made.run()
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{pack.name} is being trained by process 7 on another: waits for its end"
    assert "2 of 2 networks adopted" in said
    assert results(folder) == results(done)
    assert not (folder / "scratch.lock").exists()


def test_term_ends_the_waiting(shop, tmp_path, monkeypatch):
    [pack] = packs(shop, "event")
    made = job(shop, pack, tmp_path)
    monkeypatch.setattr(time, "sleep", lambda _: setattr(made.clock, "told", True))
    with held(tmp_path / "scratch.lock"), pytest.raises(Interrupted, match="nothing was trained"):
        made.run()
    assert not (tmp_path / "run.json").exists()


def test_locks_of_a_killed_snakemake_go_and_those_of_a_living_one_stay(tmp_path, capsys):
    folder = tmp_path / ".snakemake"
    lock = folder / "locks/0.output.lock"

    def locked():
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.write_text("a file")

    with release_dead(folder):
        locked()
        with release_dead(folder):  # two at once: nobody is alone
            assert lock.exists()
        assert lock.exists() and capsys.readouterr().err == ""
    release_dead(folder).close()
    assert not lock.exists()
    assert capsys.readouterr().err == "refigure: removed the locks of a Snakemake that was killed\n"
    # Of another machine, and from before there was anything to tell by.
    for known in (f"not {platform.node()}", ""):
        locked()
        (folder / "refigure.alive").write_text(known)
        release_dead(folder).close()
        assert lock.exists()


def ended(process: subprocess.Popen) -> str:
    """What a Snakemake has said at its end."""
    return process.communicate(timeout=900)[0]


def test_snakemake_retries_a_job_that_the_queue_ended_and_starts_anew_after_it_was_killed(
    tmp_path,
):
    """TERM to the job: the retry goes on from its state. Another Snakemake at the same time is
    refused. TERM again: no retry is left, the status is not 0. KILL to Snakemake: its locks go, the
    job that it left behind is waited for, and the end is that of an uninterrupted job."""
    root = clone(tmp_path / "clone")
    shutil.rmtree(root / "config")
    text = "experiments:" + SLOW.replace("@", "optimiser: {name: sphere_sgd, elr: 0.01}")
    graph = prepared(graph_of(project(root, text)))
    [pack] = packs(graph, "slow")
    target = str((graph.paths.pack(pack.name) / "run.json").relative_to(root))
    scratch = graph.paths.state(pack.name)
    rule = root / "rules/train.smk"
    rule.write_text(rule.read_text().replace("refigure train", "refigure train --state-every 0.1"))

    def started() -> tuple[subprocess.Popen, set]:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "-c", "1", "--retries", "1", "--", target],
            cwd=root,
            env={
                **os.environ,
                "PYTHONPATH": str(root / "code"),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trainer(snakemake: subprocess.Popen, before: psutil.Process | None) -> psutil.Process:
        """The training process, once it has written a state."""
        seen: dict[psutil.Process, float] = {}
        while snakemake.poll() is None:
            times = [path.stat().st_mtime for path in scratch.glob("*.state")]
            for one in psutil.Process(snakemake.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    new = "train" in one.cmdline() and one != before
                    if new and max(times, default=0) > seen.setdefault(one, time.time()):
                        return one
            time.sleep(0.05)
        pytest.fail(f"Snakemake has ended:\n{ended(snakemake)}")

    first = started()
    job_ = trainer(first, None)
    second = snakemake(root, "-c", "1", "--", target, check=False)
    assert second.returncode != 0 and "Directory cannot be locked" in second.stderr
    job_.send_signal(signal.SIGTERM)
    job_ = trainer(first, job_)
    job_.send_signal(signal.SIGTERM)
    said = ended(first)
    assert first.returncode == 1
    assert said.count("TERM: the training state is written; the same command goes on") == 2
    assert "goes on from epoch" in said  # of the second try's log
    assert not (root / target).exists()

    third = started()
    orphan = trainer(third, None)
    third.kill()
    third.wait()
    assert orphan.is_running()
    last = snakemake(root, "-c", "1", "--", target)
    assert "refigure: removed the locks of a Snakemake that was killed" in last.stderr
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    found = results(graph.paths.pack(pack.name))
    shutil.rmtree(graph.paths.pack(pack.name))
    stages.train(graph, pack.name, 1e9)
    assert results(graph.paths.pack(pack.name)) == found
