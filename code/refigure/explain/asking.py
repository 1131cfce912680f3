"""From a word on the command line to the files it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from refigure.config import Config
from refigure.graph import Graph
from refigure.steps import Steps
from refigure.targets import check


@dataclass(frozen=True)
class Asked:
    """A target, the scale it lies at, and the files it builds, from the checkout's root."""

    target: str
    graph: Graph
    files: tuple[str, ...]


def asked(config: Config, target: str, scale: str | None = None) -> Asked:
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
    check(config, target)
    if target.startswith("results/"):
        graph = Graph(config, PurePosixPath(target).parts[1])
        return Asked(target, graph, (target,))
    graph = Graph(config, scale or config.user["scale"])
    if target == "all":
        return Asked(target, graph, (f"results/{graph.scale.name}/all",))
    return Asked(target, graph, tuple(Steps(graph).of_paper(target)))
