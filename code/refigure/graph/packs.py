"""Packs: the runs that one job trains together. Only a way to travel, never an identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from refigure.graph.experiments import Run, Wanted
from refigure.graph.spec import digest


@dataclass(frozen=True)
class Pack:
    """The runs of one training job, with what they leave behind.

    Args:
        name: the experiment that owns the runs, and a digest of their ids and of what is wanted:
            another run or another point is another pack, which adopts what the old one holds.
        stack: the most networks of grouped convolutions side by side on a GPU; None: all that fit.
    """

    name: str
    runs: tuple[Run, ...]
    wanted: Wanted
    stack: int | None = None

    @property
    def parents(self) -> tuple[Run, ...]:
        """The runs of other packs that these start from, each once."""
        return tuple({run.parent.id: run.parent for run in self.runs if run.parent}.values())

    @property
    def data(self) -> str:
        """Content id of the data that all its runs share."""
        return self.runs[0].spec.data

    @property
    def modules(self) -> list[str]:
        """The modules that its runs' specs and recorders name."""
        return sorted({module for run in self.runs for module in run.spec.modules()})


def adoptable(about: Mapping[str, Any], want: Wanted, code: Mapping[str, str]) -> bool:
    """Whether a finished run can serve for one that is wanted: same code, nothing missing.

    Args:
        about: what `run.json` says of the finished run.
        want: what it must have left behind.
        code: module -> digest, that it must have been trained by; more modules do no harm.
    """
    return (
        code.items() <= about["code"].items()
        and about["status"] != "no_parent_point"
        and want <= Wanted.from_json(about["wanted"])
    )


def cut(
    runs: list[Run],
    wanted: dict[str, Wanted],
    block: int,
    by_seed: bool = True,
    readers: Mapping[str, Collection[str]] | None = None,
    stack: int | None = None,
) -> list[Pack]:
    """Packs of at most `block` runs that share data, architecture, length and what is wanted.

    Runs that the same figures draw travel together, so that a figure trains what it draws, and so
    do runs with one seed. Where each seed has one run only (a pool), or the experiment says so,
    seeds fill the packs in order.

    Args:
        runs: of one owner, in the order of its grid.
        wanted: by run id.
        block: the largest number of runs; follows from how long a queue lets a job run.
        by_seed: whether a pack holds one seed.
        readers: run id -> the figures that draw it; those not there are drawn by none.
        stack: of each pack.
    """
    readers = readers or {}
    groups: dict[tuple, dict[int, list[Run]]] = defaultdict(lambda: defaultdict(list))
    models = {id(run.spec.model): run.spec.model for run in runs}  # most share one mapping
    shapes = {key: digest(dict(model)) for key, model in models.items()}
    for run in runs:
        spec = run.spec
        start = spec.start["take"] if spec.start else ""
        drawn = tuple(sorted(readers.get(run.id, ())))
        key = (drawn, spec.data, shapes[id(spec.model)], spec.epochs, start, wanted[run.id])
        groups[key][spec.seed].append(run)
    packs = []
    for (*_, kept), alike in groups.items():
        seeds = [alike[seed] for seed in sorted(alike)]
        if not by_seed or all(len(same) == 1 for same in seeds):
            seeds = [[run for same in seeds for run in same]]
        for same in seeds:
            for first in range(0, len(same), block):
                part = tuple(same[first : first + block])
                identity = {"runs": [run.id for run in part], "wanted": kept.as_json()}
                packs.append(
                    Pack(f"{part[0].experiment}-{digest(identity, 10)}", part, kept, stack)
                )
    return packs
