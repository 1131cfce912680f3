"""Jobs as forks of one process: as good as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# A command `do`, whose argument is a program; the module `decimal` stands for those that take long.
COMMAND = """
import sys
from refigure.machine import warm
warm.IMPORTS = {"do": ("decimal",), "bad": ("no_such_module",)}
def run(arguments):
    exec(arguments[1], {})
    return 0
def main():
    status = warm.forked(sys.argv[1:])
    return run(sys.argv[1:]) if status is None else status
"""


class Owner:
    """A process that has started a warm one, as Snakemake does."""

    def __init__(self, folder: Path) -> None:
        program = COMMAND + (
            "import os, subprocess\n"
            "popen = subprocess.Popen\n"
            "def started(words, **others):\n"
            "    serve = 'from pathlib import Path; warm.serve(Path(sys.argv[1]), run)'\n"
            "    program = open(sys.argv[1]).read() + serve\n"
            "    return popen([words[0], '-c', program, words[-1]], **others)\n"
            "subprocess.Popen = started\n"
            "warm.start()\n"
            "print(os.environ[warm._ENV], flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = folder / "command.py"
        command.write_text(COMMAND)
        environment = {key: value for key, value in os.environ.items() if key != "REFIGURE_WARM"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | {"TMPDIR": str(folder)},
        )
        self.address = Path(self.process.stdout.readline().strip())

    def job(self, program: str, command: str = "do", **options) -> subprocess.Popen:
        """A `refigure do PROGRAM` under this owner."""
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND + "sys.exit(main())", command, program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": {**os.environ, "REFIGURE_WARM": str(self.address)}, **options},
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def owner(tmp_path):
    made = Owner(tmp_path)
    yield made
    made.end()


def until(true) -> None:
    """Wait for something that another process does."""
    for _ in range(2000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 20 s")


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_has_its_folder_environment_and_streams_and_its_status_comes_back(owner, tmp_path):
    (tmp_path / "here").mkdir()
    program = (
        "import os, sys; print(os.getcwd(), os.environ['OWN'], sys.stdin.read());"
        " print('told', file=sys.stderr); sys.exit(7)"
    )
    environment = {**os.environ, "REFIGURE_WARM": str(owner.address), "OWN": "mine"}
    job = owner.job(program, cwd=tmp_path / "here", env=environment)
    out, err = job.communicate("words")
    assert (out, err) == (f"{tmp_path / 'here'} mine words\n", "told\n")
    assert job.returncode == 7


def test_jobs_are_forks_of_one_process_that_has_imported_once(owner):
    program = "import os, sys; print(os.getppid(), 'decimal' in sys.modules, os.getpid())"
    told = [owner.job(program).communicate()[0].split() for _ in range(2)]
    assert told[0][:2] == told[1][:2] and told[0][1] == "True"
    assert told[0][2] != told[1][2]


def test_an_error_in_a_job_is_its_traceback_and_leaves_the_next_unharmed(owner):
    job = owner.job("1 / 0")
    assert "ZeroDivisionError" in job.communicate()[1] and job.returncode == 1
    job = owner.job("print('well')")
    assert job.communicate()[0] == "well\n" and job.returncode == 0


def test_a_module_that_cannot_be_imported_ends_no_job_but_its_own(owner):
    waiting = owner.job("import sys; print('ready', flush=True); print(sys.stdin.read())")
    assert waiting.stdout.readline() == "ready\n"
    assert owner.job("import sys; sys.exit(3)", "bad").wait(20) == 3
    assert waiting.communicate("well")[0] == "well\n" and waiting.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_job(owner, number):
    program = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(43))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    job = owner.job(program)
    assert job.stdout.readline() == "ready\n"
    job.send_signal(number)
    assert job.wait(50) == 43


def test_a_job_that_the_system_kills_dies_for_its_caller_with_a_line(owner):
    job = owner.job("import os; os.kill(os.getpid(), 9)")
    told = job.communicate()[1].splitlines()
    assert job.returncode == -signal.SIGKILL
    assert told == [
        "refigure: do import os; os.kill(os.getpid(), 9): killed by the system; is memory short?"
    ]


def test_a_job_dies_with_its_caller(owner):
    job = owner.job("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    process = int(job.stdout.readline())
    assert alive(process)
    job.kill()
    until(lambda: not alive(process))


def test_it_ends_with_its_owner_but_not_before_the_last_job(owner, tmp_path):
    program = "import sys; print('begun', flush=True); print(sys.stdin.read())"
    job = owner.job(program)
    assert job.stdout.readline() == "begun\n"
    owner.end()
    assert job.communicate("to the end")[0] == "to the end\n"
    until(lambda: not owner.address.parent.exists())
    job = owner.job("import os, sys; print(os.getppid(), 'decimal' in sys.modules)")
    assert job.communicate()[0].split() == [str(os.getpid()), "False"]  # a process like any other
