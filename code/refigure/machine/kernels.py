"""Notebooks executed by papermill over unix sockets, so that many may start at the same time.

Over TCP each kernel picks five free ports before it binds them, and kernels that start together
take each other's. Here a kernel has a folder of its own for its sockets, its connection file and
what IPython would write into the home directory. It starts as `refigure.machine.warm` starts all
jobs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from papermill import execute_notebook
from papermill.engines import NBClientEngine, papermill_engines
from traitlets.config import Config

from refigure.files import socket_folder

_KERNEL = {
    "argv": [sys.executable, "-m", "refigure", "kernel", "{connection_file}"],
    "display_name": "Python 3",
    "language": "python",
}


class IpcEngine(NBClientEngine):
    """papermill's own engine with the kernel behind unix sockets."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> Any:
        """Execute the notebook; as papermill's engine does, with a `folder` for the sockets."""
        settings = {
            "transport": "ipc",
            "connection_file": str(Path(kwargs.pop("folder")) / "kernel.json"),
        }
        # Nothing is left to save when the last cell has run: the kernel need not say goodbye.
        super().execute_managed_notebook(
            nb_man,
            kernel_name,
            config=Config({"KernelManager": settings}),
            shutdown_kernel="immediate",
            **kwargs,
        )


papermill_engines.register("ipc", IpcEngine)


def execute(notebook: Path, log: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    """Execute a notebook with parameters into another file, which is there also if it fails.

    Args:
        notebook: with one cell tagged `parameters`.
        log: where the executed notebook is written.
        parameters: of plain values.
        folder: the kernel's working directory.

    Raises:
        papermill.exceptions.PapermillExecutionError: a cell raised.
    """
    with tempfile.TemporaryDirectory(prefix="refigure-", dir=socket_folder()) as own:
        os.environ["JUPYTER_RUNTIME_DIR"] = os.environ["IPYTHONDIR"] = own
        spec = Path(own) / "kernels" / "python3" / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(json.dumps(_KERNEL), encoding="utf-8")
        os.environ["JUPYTER_PATH"] = own
        os.environ["MPLBACKEND"] = "agg"
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
        execute_notebook(
            str(notebook),
            str(log),
            parameters=dict(parameters),
            kernel_name="python3",
            engine_name="ipc",
            progress_bar=False,
            cwd=str(folder),
            folder=own,
        )
