"""What a target names, checked before Snakemake starts, so that a mistake is one line."""

from __future__ import annotations

from pathlib import PurePosixPath

from refigure.config import Config
from refigure.errors import UserError
from refigure.graph import Graph
from refigure.reading import suggest

KINDS = (
    *("all", "claims", "data", "experiments", "figures"),
    *("measures", "notebooks", "packs", "report.html", "tables"),
)


def check(config: Config, target: str) -> None:
    """Refuse a target that nothing can build.

    Args:
        target: a paper, `all`, or a path under `results/<scale>/`.

    Raises:
        UserError: an unknown scale, paper, figure, claim, table, probe, pack or experiment.
    """
    parts = PurePosixPath(target).parts
    if parts[:1] != ("results",):
        known = ["all", *config.papers]
        if target not in known:
            if len(parts) > 2:  # a path: what its first part should have been
                known = [str(PurePosixPath("results", *parts[1:]))]
            raise UserError(f"unknown target '{target}'{suggest(target, known)}")
        if target in config.papers:
            Graph(config, config.user["scale"]).must_be_built(target)
        return
    if len(parts) < 3 or parts[2] not in KINDS:
        kind = parts[2] if len(parts) > 2 else ""
        raise UserError(f"target '{target}': unknown kind '{kind}'{suggest(kind, KINDS)}")
    graph = Graph(config, parts[1])
    name = PurePosixPath(parts[-1]).stem
    kind = parts[2]
    if kind in ("figures", "notebooks") and len(parts) == 5:
        graph.figure(parts[3], name)
    elif kind == "claims":
        graph.claim(parts[3], name) if len(parts) == 5 else graph.must_be_built(name)
    elif kind == "tables":
        graph.table(name, f"target '{target}'")
    elif kind == "measures":
        graph.measured(name)
    elif kind == "packs" and len(parts) == 5:
        graph.pack(parts[3])
    elif kind == "data" and name not in graph.recipes:
        raise UserError(f"target '{target}': no such data{suggest(name, graph.recipes)}")
    elif kind == "experiments":
        graph.experiment(name, f"target '{target}'")
