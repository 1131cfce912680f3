"""A figure redrawn by cells in the job's own process, against papermill's own engine and a kernel.

Both sides draw the same figure from the same made-up table, each in a process that has imported
what the warm process has; the ratio of their times is printed, and where our side's time goes.

    python benchmarks/redraw.py [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from papermill import execute_notebook
from refigure.machine import notebooks

CELLS = (
    "tables = {}\ntarget = ''",
    "from refigure import plotting\nfrom refigure.plotting import plt",
    "rows = plotting.read(tables['lines'], 'epoch', 'loss', 'seed')\n"
    "figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.4))\n"
    "for place, panel in enumerate(axes):\n"
    "    for seed, line in rows.groupby('seed'):\n"
    "        panel.plot(line['epoch'], line['loss'] * (place + 1), label=f'seed {seed}')\n"
    "    panel.set(xlabel='Epoch', ylabel='Loss', yscale='log')\n"
    "axes[0].legend()",
    "for kind in ('pdf', 'png'):\n    figure.savefig(f'{target}.{kind}')",
)


def notebook(path: Path) -> None:
    """A notebook of one figure of three panels and eight lines each."""
    made = nbformat.v4.new_notebook()
    made.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    made.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, path)


def drawn(ours: bool, folder: Path, answer) -> None:
    """Draw once in this process and answer the seconds, without importing what is imported late."""
    import black  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import refigure.plotting  # noqa: F401

    given = {"tables": {"lines": str(folder / "lines.parquet")}, "target": str(folder / "figure")}
    began = time.perf_counter()
    if ours:
        notebooks.execute(folder / "in.ipynb", folder / "out.ipynb", given, folder)
    else:
        files = (str(folder / "in.ipynb"), str(folder / "out.ipynb"))
        own = os.dup(2)
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)  # a kernel that starts warns there; errors are replies
        try:
            execute_notebook(*files, parameters=given, kernel_name="python3", progress_bar=False)
        finally:
            os.dup2(own, 2)
    answer.put(time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generator = np.random.default_rng(0)
        rows = [
            {"epoch": epoch, "seed": seed, "loss": np.exp(-epoch / 40) + generator.uniform(0, 0.1)}
            for seed in range(8)
            for epoch in range(200)
        ]
        pd.DataFrame(rows).to_parquet(folder / "lines.parquet")
        notebook(folder / "in.ipynb")
        for _ in range(options.repeats):
            seconds = []
            for ours in (False, True):
                answer = context.Queue()
                process = context.Process(target=drawn, args=(ours, folder, answer))
                process.start()
                process.join()
                if process.exitcode:
                    sys.exit(f"a figure could not be drawn: status {process.exitcode}")
                seconds.append(answer.get())
            ratios.append(seconds[0] / seconds[1])
            print(
                f"a kernel {seconds[0]:.2f} s, in process {seconds[1]:.2f} s,"
                f" ratio {ratios[-1]:.1f}",
                flush=True,
            )
        cells = json.loads((folder / "out.ipynb").read_text(encoding="utf-8"))["cells"]
        for cell in cells:
            told = cell["metadata"].get("papermill", {})
            if told.get("duration"):
                print(f"  {told['duration']:.2f} s: {''.join(cell['source']).splitlines()[0][:60]}")
    print(f"median ratio {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
