"""Which device a job computes on."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
from pathlib import Path

import torch

from refigure.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
_HELD = []  # locks of this process, which the system releases with it


QUEUED = "REFIGURE_QUEUED"
"""Set in the environment of jobs that a queue runs: what they asked for they must have."""


def device_of(wanted: str, locks: Path, gpus: int = 0) -> torch.device:
    """The device of `auto`, `cpu` or `cuda[:n]`.

    `auto` takes a GPU that no other job of this checkout holds, the first where all are taken.
    One thread on a CPU: sums over several threads change with their number.

    Args:
        locks: folder of the lock files, one a GPU.
        gpus: how many the job has asked its queue for.

    Raises:
        UserError: a GPU is asked for, by name or of the queue, and torch finds none.
    """
    torch.set_num_threads(1)
    # PyTorch lets cuDNN's convolutions round their inputs to 10 bits unless it is told not to.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    keep_memory()
    if wanted == "auto":
        if not torch.cuda.is_available():
            if gpus and os.environ.get(QUEUED):
                raise UserError(
                    f"the job asked its queue for a GPU, but torch {torch.__version__} finds none"
                    f" on {platform.node()}; `device: cpu` in config/local.yaml trains without"
                )
            return torch.device("cpu")
        return torch.device("cuda", free_device(torch.cuda.device_count(), locks))
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"config: device must be auto, cpu or cuda[:n], got '{wanted}'") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"config: device '{wanted}' is asked for, but torch finds no GPU")
    return device


def keep_memory() -> None:
    """Keep freed memory in the process.

    The C library gives large blocks back to the system, which then clears each page anew at every
    step: a third of the time of a recurrent network's step on a CPU (`benchmarks/rnn.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc alone
    if mallopt is not None:
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            mallopt(option, 2**31 - 1)


def free_device(count: int, locks: Path) -> int:
    """The first of some devices that nobody holds, held from now on; 0 where all are held.

    Where a queue shows a job one device only, there is nothing to choose and nothing is locked.
    """
    if count == 1:
        return 0
    locks.mkdir(parents=True, exist_ok=True)
    for device in range(count):
        # Checkouts are shared by the nodes of a cluster, whose devices have the same numbers.
        lock = (locks / f"gpu-{platform.node()}-{device}.lock").open("w", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        except OSError:
            pass  # a file system without locks: nobody can tell who holds what
        _HELD.append(lock)
        return device
    return 0
