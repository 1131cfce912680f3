"""From a word on the command line to the files it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from refigure.graph import steps
from refigure.graph.config import Config
from refigure.graph.lookups import Graph, graph_of


@dataclass(frozen=True)
class Target:
    """A target, the scale it lies at, and the files it builds, from the checkout's root."""

    target: str
    graph: Graph
    files: tuple[str, ...]


def resolve(config: Config, target: str, scale: str | None = None) -> Target:
    """What a target asks for.

    Args:
        target: as Snakemake takes it: a file under `results/`, a paper, or `all`.
        scale: of a paper or `all`; None: the default of the configuration.

    Raises:
        UserError: there is nothing of that name.
    """
    path = Path(target)
    if path.is_absolute() and path.is_relative_to(config.root.resolve()):
        target = path.relative_to(config.root.resolve()).as_posix()
    target = PurePosixPath(target).as_posix()

    def steps_of(name: str) -> steps.Steps:
        return steps.Steps(graph_of(config, name))

    jobs, files = steps.resolve(target, config, scale or config.user["scale"], steps_of)
    return Target(target, jobs.graph, files)
