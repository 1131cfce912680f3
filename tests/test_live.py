"""Progress as a user sees it: lines in logs, one live line on a terminal, plain text in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from refigure.machine import progress
from refigure.machine.live import Live, progress_of
from refigure.machine.progress import Progress, duration, seconds_of

ROOT = Path(__file__).resolve().parents[1]
SNAKEFILE = """
rule all:
    input: "end"
rule train:
    output: "trained"
    log: "train.log"
    message: "Training pack sphere-0123456789."
    shell: "echo 'epoch 2/4 of 1 network, loss 0.5; all 50 %, 3 s gone, 3 s left' > {log}; "
           "while [ ! -e go ]; do sleep 0.1; done; touch {output}"
rule table:
    input: "trained"
    output: "end"
    log: "table.log"
    message: "Computing table lines."
    shell: "COMMAND"
"""
LINE = "\r\x1b[K"


# ---------------------------------------------------------------------- the lines of a log


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Time:
    made = Time()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_a_log_has_a_line_at_growing_intervals_with_epoch_loss_networks_and_time_left(
    clock, capsys
):
    made = Progress("pack", 2000)
    for epoch in range(1, 1001):
        clock.now += 1.0
        made.tick(epoch, 1000, 2, 1 / epoch)
    made.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "pack: 2000 network epochs"
    assert lines[1] == "epoch 2/1000 of 2 networks, loss 0.5; all 0 %, 2 s gone, 16.6 min left"
    told = [int(re.match(r"epoch (\d+)", line)[1]) for line in lines[1:-1]]
    assert told[:6] == [2, 6, 14, 30, 62, 122] and told[6] == 182 and told[-1] == 1000
    assert lines[-2].endswith("all 100 %, 16.7 min gone, 0 s left")
    assert lines[-1] == "pack: done in 16.7 min"


def test_epochs_that_need_not_be_trained_do_not_count_as_time(clock, capsys):
    made = Progress("pack", 100)
    made.skip(90)
    clock.now = 5.0
    made.tick(95, 100, 5, float("nan"))
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == "epoch 95/100 of 5 networks, loss nan; all 50 %, 5 s gone, 5 s left"


def test_a_log_that_cannot_be_written_does_not_end_training(monkeypatch):
    with open("/dev/full", "w", buffering=1) as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", full)
        made = Progress("pack", 10)
        made.tick(10, 10, 10, 0.5)
        made.end()
        with suppress(OSError):
            full.close()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0.2 s"), (59, "59 s"), (200, "3.3 min"), (7503, "2.1 h"), (4.3e6, "1,194 h")],
)
def test_a_time_in_words_can_be_read_back(seconds, words):
    assert duration(seconds) == words
    assert seconds_of(words) == pytest.approx(seconds, rel=0.02)


# ---------------------------------------------------------------------- the live line


@pytest.fixture
def live(tmp_path) -> Live:
    """Two of five jobs run: a training job that says 6 s are left, and one that says nothing."""
    (tmp_path / "one.log").write_text(
        "sphere: 20 network epochs\n"
        "epoch 4/10 of 1 network, loss 0.5; all 40 %, 4 s gone, 6 s left\n"
    )
    made = Live()
    made.expect({"train": 3, "table": 1, "figure": 1, "total": 5})
    made.start(1, 100.0)
    made.announce(1, "train", "Training pack sphere-0123456789.", [str(tmp_path / "one.log")])
    made.start(2, 100.0)
    made.announce(2, "train", "Training pack decay-0123456789.", [str(tmp_path / "none.log")])
    return made


def test_the_live_line_names_jobs_done_what_runs_and_the_time_left(live):
    # At 104 s both training jobs are taken to last 10 s, one waits, and two quick ones of 3 s do.
    line = live.line(104.0, 100)
    assert line == "0/5 jobs | Training sphere 40 %; Training decay | about 14 s left"
    live.finish(1, 112.0)
    assert live.line(112.0, 100) == "1/5 jobs | Training decay | about 9 s left"
    live.fail(2)
    assert live.line(112.0, 100) == "1/5 jobs, 1 failed | about 15 s left"


@pytest.mark.parametrize("columns", [80, 60, 40, 20, 5])
def test_the_live_line_never_wraps(live, columns):
    assert 0 < len(live.line(104.0, columns)) <= columns


def test_no_time_is_given_before_anything_is_known_and_nothing_before_there_are_jobs(live):
    assert Live().line(0.0, 80) == ""
    live.running[1].logs = []
    assert live.line(104.0, 80) == "0/5 jobs | Training sphere; Training decay"


def test_a_log_of_another_kind_says_nothing(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe epoch 1/2 left\n")
    assert progress_of([str(tmp_path / "log"), str(tmp_path / "none")]) is None


# ---------------------------------------------------------------------- as Snakemake runs it


def snakemake(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "-c", "1", "--show-failed-logs", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "code"), "TERM": "xterm"}


def on_a_terminal(folder: Path, *words: str) -> tuple[str, int]:
    """What a terminal of 60 columns is sent, and the exit status; `go` is given when it runs."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    process = subprocess.Popen(
        snakemake(folder, *words),
        cwd=folder,
        env=environment(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    sent = b""
    while True:
        try:
            sent += os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        if b"50 % | about" in sent:
            (folder / "go").touch()
    os.close(master)
    return sent.decode(), process.wait()


def test_a_terminal_shows_one_line_below_snakemakes_own_output_and_leaves_none(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("COMMAND", "touch {output}"))
    sent, status = on_a_terminal(tmp_path, "--logger", "refigure")
    assert status == 0
    shown = [part for part in sent.split(LINE) if part and not part.endswith("\n")]
    assert shown[0] == "0/3 jobs" and shown[-1] == "3/3 jobs"
    assert any(re.match(r"0/3 jobs \| Training sphere 50 % \| about \d+ s left", p) for p in shown)
    assert any("Computing table lines" in part for part in shown)
    assert all("\n" not in part and len(part) < 60 for part in shown)
    # The last thing sent is the line's end, and Snakemake's own lines are all there.
    assert sent.endswith(LINE)
    for text in ("Job stats:", "Job 2: Training pack sphere-0123456789.", "3 of 3 steps (100%)"):
        assert text in sent


def test_a_failure_keeps_its_exit_status_and_its_log_with_and_without_a_terminal(tmp_path):
    text = SNAKEFILE.replace("COMMAND", "echo broken because > {log}; exit 3")
    (tmp_path / "Snakefile").write_text(text)
    sent, status = on_a_terminal(tmp_path, "--logger", "refigure")
    assert status == 1
    assert "broken because" in sent and "1 failed" in sent
    piped = [
        subprocess.run(
            snakemake(tmp_path, *words), cwd=tmp_path, env=environment(), capture_output=True
        )
        for words in ([], ["--logger", "refigure"])
    ]
    assert [one.returncode for one in piped] == [1, 1]
    own, ours = (
        re.sub(rb"(?m)^.*(\d\d:\d\d|ID|Command|log\(s\)|time).*\n", b"", one.stderr)
        for one in piped
    )
    assert ours == own
    assert b"broken because" in ours and b"\r" not in ours
    assert piped[0].stdout == piped[1].stdout
