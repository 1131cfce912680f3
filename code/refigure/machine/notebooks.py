"""Notebooks executed by papermill in the job's own process, without a kernel.

A kernel is a second process with sockets, a protocol and the user's IPython profile: it costs more
than most figures take to draw, and lets in what is not the checkout's. The cells of a figure are
plain Python, so an engine of papermill's runs them here, one namespace a notebook. Outputs, printed
text and tracebacks go into the executed notebook as a kernel's would.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import linecache
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbformat.v4 import new_output
from papermill import execute_notebook
from papermill.engines import Engine, papermill_engines


class InProcessEngine(Engine):
    """Runs cells of Python one after another in one namespace, up to the first that raises."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **kwargs: Any) -> None:
        """Execute the notebook that papermill manages; of its keywords none is used."""
        names: dict[str, Any] = {"__name__": "__main__"}
        count = 0
        for index, cell in enumerate(nb_man.nb.cells):
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            count += 1
            nb_man.cell_start(cell, index)
            cell.execution_count = count
            cell.outputs, error = _run(cell.source, f"<cell {index + 1}>", names, count)
            if error is not None:
                nb_man.cell_exception(cell, cell_index=index, exception=error)
            nb_man.cell_complete(cell, cell_index=index)
            if error is not None:
                break


def _run(
    source: str, name: str, names: dict[str, Any], count: int
) -> tuple[list[Any], BaseException | None]:
    """A cell's outputs, and what it raised; the value of a last expression is one of them."""
    # So that a traceback shows the lines of the cell.
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    streams = {"stdout": io.StringIO(), "stderr": io.StringIO()}
    value, error = None, None
    with (
        contextlib.redirect_stdout(streams["stdout"]),
        contextlib.redirect_stderr(streams["stderr"]),
    ):
        try:
            tree = ast.parse(source, name)
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, name, "exec", dont_inherit=True), names)
            if last is not None:
                asked = compile(ast.Expression(last.value), name, "eval", dont_inherit=True)
                value = eval(asked, names)
        except (Exception, SystemExit) as raised:  # a cell that exits has drawn nothing
            error = raised
    outputs = [
        new_output("stream", name=stream, text=text.getvalue())
        for stream, text in streams.items()
        if text.getvalue()
    ]
    if value is not None:
        # A picture is kept as one; its `repr` would hold an address, another one at each run.
        picture = getattr(value, "_repr_png_", lambda: None)()
        data = {"text/plain": repr(value)}
        if picture is not None:
            data = {
                "image/png": base64.b64encode(picture).decode("ascii"),
                "text/plain": "<picture>",
            }
        outputs.append(new_output("execute_result", data=data, execution_count=count))
    if error is not None:
        lines = traceback.format_exception(error.with_traceback(_of_cells(error)))
        kind = type(error).__name__
        outputs.append(new_output("error", ename=kind, evalue=str(error), traceback=lines))
    return outputs, error


def _of_cells(error: BaseException) -> Any:
    """The traceback without the frames of this module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace


papermill_engines.register("in_process", InProcessEngine)


def execute(notebook: Path, log: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    """Execute a notebook with parameters into another file, which is there also if it fails.

    Args:
        notebook: with one cell tagged `parameters`.
        log: where the executed notebook is written.
        parameters: of plain values.
        folder: the working directory of the cells.

    Raises:
        papermill.exceptions.PapermillExecutionError: a cell raised.
    """
    # Figures are files: no screen is asked for, whatever the user's environment says.
    os.environ["MPLBACKEND"] = "agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("agg", force=True)
    with contextlib.chdir(folder):
        execute_notebook(
            str(notebook.resolve()),
            str(log.resolve()),
            parameters=dict(parameters),
            kernel_name="python3",
            engine_name="in_process",
            progress_bar=False,
            autosave_cell_every=0,
        )
