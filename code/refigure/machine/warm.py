"""Jobs as forks of one warm process that has imported what they need.

A job of the graph often works for less time than Python takes to import torch or matplotlib.
`start` (called by the Snakefile on one's own machine) makes one process that imports them once, for
the first job that needs them; the jobs' `refigure` hands its arguments, folder, environment and
terminal over to it, and waits for a fork that runs them. Signals are passed on, and a job whose
`refigure` is killed dies as well. Without that process, or where it has ended, the command runs as
any other. `REFIGURE_WARM=off` in the environment keeps it from being started.

Only the standard library is imported here: it is what each job pays.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from refigure.files import socket_folder

_ENV = "REFIGURE_WARM"
_HEAD = struct.Struct("!I")  # bytes of a job's description
_ENDED = struct.Struct("!i")  # its exit status; minus a signal's number if that killed it
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# What reading and writing import late.
_PARQUET = ("pyarrow.parquet", "pyarrow.dataset", "pyarrow.pandas_compat")
_TORCH = ("torch", "pandas", *_PARQUET, "refigure.cli", "refigure.training.jobs.job")
_FRAMES = ("pandas", *_PARQUET, "refigure.cli", "refigure.stages", "refigure.claims.verdict")
IMPORTS = {
    "prepare": (*_TORCH, "refigure.stages", "sklearn.datasets"),
    "train": _TORCH,
    "measure": (*_TORCH, "refigure.measures.members"),
    "table": _FRAMES,
    "claim": _FRAMES,
    "draw": (
        "black",  # with which papermill writes the parameters
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_pdf",
        *_PARQUET,
        "refigure.cli",
        "refigure.stages",
        "refigure.machine.notebooks",
        "refigure.plotting",
    ),
}
"""What the first job of a command has imported for all that follow."""


def forked(arguments: list[str]) -> int | None:
    """Have a fork of the warm process run a command; its exit status.

    Returns:
        None where there is no warm process or it has ended: the caller runs the command itself.
    """
    address = os.environ.get(_ENV)
    if not address or not arguments or arguments[0] not in IMPORTS:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:  # it has ended, or is another machine's, or is "off"
        return None
    return _hand_over(connection, arguments)


def start() -> None:
    """Start the warm process for the jobs of this one; it ends with this one, however that does."""
    global _warm
    if _ENV in os.environ or sys.platform != "linux":
        return
    address = Path(tempfile.mkdtemp(prefix="refigure-", dir=socket_folder())) / "jobs"
    # Its standard input is a pipe that closes with this process, or with what `_warm` refers to.
    _warm = subprocess.Popen(
        [sys.executable, "-c", "from refigure.__main__ import serve; serve()", str(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Ctrl-C is for the jobs' `refigure`; in a session of its own `nice` would not reach it.
        process_group=0,
    )
    _warm.stdout.readline()  # it listens
    os.environ[_ENV] = str(address)


_warm: subprocess.Popen | None = None


def forget() -> None:
    """Let what this process starts know of no warm process: it runs where that one is not."""
    os.environ.pop(_ENV, None)


def _hand_over(connection: socket.socket, arguments: list[str]) -> int:
    """Have the warm process run a command, and wait for its end."""
    job = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    text = json.dumps(job).encode()
    for number in _PASSED_ON:
        signal.signal(number, lambda told, _: connection.send(bytes([told])))
    socket.send_fds(connection, [_HEAD.pack(len(text))], [0, 1, 2])
    connection.sendall(text)
    answer = connection.recv(_ENDED.size)
    if not answer:
        print("refigure: the warm process ended before this job did", file=sys.stderr)
        return 1
    [status] = _ENDED.unpack(answer)
    if status == -signal.SIGKILL:
        what = " ".join(arguments[:3])
        print(f"refigure: {what}: killed by the system; is memory short?", file=sys.stderr)
    if status < 0:
        with contextlib.suppress(OSError):  # KILL has no handler to be put back
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


class _Server:
    """Forks a process for each job, and tells the job's `refigure` how it ended."""

    def __init__(self, address: Path, run: Callable[[list[str]], int]) -> None:
        self.run = run
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(address))
        self.listening.listen(512)
        self.address = address
        self.jobs: dict[int, socket.socket] = {}  # by the fork's process id
        self.woken, self.wakes = socket.socketpair()
        self.woken.setblocking(False)
        self.wakes.setblocking(False)
        self.owned = True

    def serve(self) -> None:
        """Until the owner has ended, and every job with it."""
        import select

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakes.fileno())
        owner = sys.stdin.fileno()
        while self.owned or self.jobs:
            poll = [
                self.woken,
                *self.jobs.values(),
                *([owner, self.listening] if self.owned else []),
            ]
            ready, _, _ = select.select(poll, [], [])
            if owner in ready:
                self.owned = False
            if self.woken in ready:
                self.woken.recv(4096)
            for process, connection in list(self.jobs.items()):
                if connection in ready:
                    self._told(process, connection)
            self._bury()
            if self.listening in ready and self.owned:
                self._begin(self.listening.accept()[0])

    def close(self) -> None:
        """Remove the socket and its folder."""
        self.address.unlink(missing_ok=True)
        self.address.parent.rmdir()

    def _told(self, process: int, connection: socket.socket) -> None:
        """Pass signals on to a job; kill it if its `refigure` is gone."""
        try:
            numbers = connection.recv(16)
        except OSError:
            numbers = b""
        for number in numbers or bytes([signal.SIGKILL]):
            os.kill(process, number)

    def _bury(self) -> None:
        """Tell of the jobs that have ended."""
        while self.jobs:
            process, status = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            connection = self.jobs.pop(process)
            with contextlib.suppress(OSError):  # nobody waits for it any more
                connection.sendall(_ENDED.pack(os.waitstatus_to_exitcode(status)))
            connection.close()

    def _begin(self, connection: socket.socket) -> None:
        """Read what a job is, import what its command needs, and fork."""
        head, files, _, _ = socket.recv_fds(connection, _HEAD.size, 3)
        if len(files) < 3:  # it was killed at once
            connection.close()
            return
        [length] = _HEAD.unpack(head)
        text = b""
        while len(text) < length:
            part = connection.recv(length - len(text))
            if not part:
                break
            text += part
        if len(text) == length:
            job = json.loads(text)
            # What cannot be imported the job itself will say, with its traceback.
            for module in IMPORTS[job["arguments"][0]]:
                with contextlib.suppress(Exception):
                    importlib.import_module(module)
            process = os.fork()
            if not process:
                self._become(job, files)
            self.jobs[process] = connection
        else:
            connection.close()
        for file in files:
            os.close(file)

    def _become(self, job: dict, files: list[int]) -> NoReturn:
        """In the fork: be the job, to its end."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for other in (self.listening, self.woken, self.wakes, *self.jobs.values()):
                other.close()
            for target, file in enumerate(files):
                os.dup2(file, target)
                os.close(file)
            os.chdir(job["folder"])
            os.environ.clear()
            os.environ.update(job["environment"])
            sys.argv = ["refigure", *job["arguments"]]
            status = self.run(job["arguments"])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            import atexit

            atexit._run_exitfuncs()
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)


def serve(address: Path, run: Callable[[list[str]], int]) -> None:
    """Be the warm process at an address.

    Args:
        run: runs a command, given its arguments; returns its exit status.
    """
    server = _Server(address, run)
    print("listening", flush=True)
    try:
        server.serve()
    finally:
        server.close()
