"""What the checkpoints of a user are together, in lines: `refigure basin`."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd

from refigure.claims.basin import MOST, shared
from refigure.errors import UserError
from refigure.files import read_parquet
from refigure.graph.lookups import Graph
from refigure.graph.steps import Steps

KINDS = {
    "network": "networks",
    "ensemble": "ensembles (mean of probabilities)",
    "soup": "uniform soups (mean of weights, moments re-estimated)",
    "greedy": "greedy soup (chosen by training accuracy)",
}


def basin(graph: Graph, table: str, cores: int) -> str:
    """Build a table of `measures.checkpoints.basin` and what it rests on, and put it into lines.

    Args:
        table: its name; it holds the rows of that probe.
        cores: that Snakemake may use.

    Raises:
        UserError: there is no such table, or a job failed.
    """
    path = graph.paths.table(table)
    target = path.relative_to(graph.config.root).as_posix()
    Steps(graph).writing(target)
    command = [sys.executable, "-m", "snakemake", "-c", str(cores), "--", target]
    if subprocess.run(command, cwd=graph.config.root, check=False).returncode:
        raise UserError(f"{target} was not built: the lines above say why")
    return text(read_parquet(path), f"all numbers: {target}")


def text(rows: pd.DataFrame, last: str = "") -> str:
    """Test accuracies of the networks, ensembles and soups, the paths' drops, and the verdict.

    Args:
        rows: of `measures.checkpoints.basin`.
        last: line below.
    """
    lines = []
    for kind, title in KINDS.items():
        lines.append(f"{title}: test accuracy, %")
        for row in rows[rows["what"] == kind].itertuples():
            lines.append(f"  {row.test_accuracy:6.2f}  {row.members}")
    lines.append("middle of the straight path: drop below the mean of its ends, percentage points")
    for row in rows[rows["what"] == "middle"].itertuples():
        lines.append(f"  {row.drop:6.2f} +- {row.drop_se:.2f}  {row.members}")
    planes = rows[rows["what"] == "plane"]
    if len(planes):
        low, high = planes["test_accuracy"].min(), planes["test_accuracy"].max()
        lines.append(f"plane through three of them: test accuracy {low:.2f} to {high:.2f} %")
    finding = shared(rows)
    said = {"holds": "yes", "fails": "no"}.get(finding.verdict, "undecided")
    reason = f": {finding.reason}" if finding.reason else f": every drop is below {MOST:g}"
    lines.append(f"one basin: {said}{reason}")
    return "\n".join([*lines, last] if last else lines)
