"""The runs behind tables: how many, their cost, and what the papers' own size has beyond them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from refigure.files import read_json
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.report.wording import count, joined, plain, thousands


@dataclass(frozen=True)
class Work:
    """What was trained for some tables.

    Args:
        runs, packs: how many.
        epochs: network-epochs, summed over runs.
        seconds: device -> seconds of training.
        unknown: runs whose pack is not at hand, so that their cost is not in the sums.
    """

    runs: int = 0
    packs: int = 0
    epochs: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    unknown: int = 0


@dataclass(frozen=True)
class Family:
    """The runs of one experiment among those behind some tables.

    Args:
        axes: what they differ in, such as `elr 1e-3 to 1 (8 values)`.
        packs: names of the packs that hold them, in order.
    """

    experiment: str
    axes: Sequence[str]
    packs: Sequence[str]
    work: Work


class Behind:
    """Runs behind tables, and what they cost; the `run.json` of each pack is read once."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._behind: dict[str, dict[str, Run]] = {}
        self._packs: dict[str, Mapping[str, Any]] = {}

    def runs(self, tables: Iterable[str]) -> dict[str, Run]:
        """The runs that some tables rest on, by id: of their own, of their probes, of the tables
        that they are made of, and those that any of these started from."""
        return {key: run for table in tables for key, run in self._of_table(table).items()}

    def _of_table(self, name: str) -> dict[str, Run]:
        if name not in self._behind:
            found: dict[str, Run] = {}
            for run in self.graph.selected(name).values():
                while run is not None and run.id not in found:
                    found[run.id] = run
                    run = run.parent
            self._behind[name] = found
        return self._behind[name]

    def work(self, tables: Iterable[str]) -> Work:
        """What was trained for some tables, each run counted once."""
        return self._work(self.runs(tables))

    def _work(self, runs: Mapping[str, Run]) -> Work:
        epochs, unknown = 0, 0
        seconds: dict[str, float] = defaultdict(float)
        for key, run in runs.items():
            about = self._about(self.graph.pack_of[key]).get(key)
            if about is None:
                unknown += 1
                continue
            own = run.own_epochs
            # After an event `last_epoch` counts the parent's too: at most its own were trained.
            epochs += min(max(about["last_epoch"] - own.start + 1, 0), len(own))
            seconds[about["device"]] += about["seconds"]
        packs = {self.graph.pack_of[key] for key in runs}
        return Work(len(runs), len(packs), epochs, dict(sorted(seconds.items())), unknown)

    def families(self, tables: Iterable[str]) -> list[Family]:
        """The same runs by experiment, in the order in which tables ask for them."""
        grouped: dict[str, dict[str, Run]] = defaultdict(dict)
        for key, run in self.runs(tables).items():
            grouped[run.experiment][key] = run
        return [
            Family(
                name,
                _axes(runs.values()),
                sorted({self.graph.pack_of[key] for key in runs}),
                self._work(runs),
            )
            for name, runs in grouped.items()
        ]

    def _about(self, pack: str) -> Mapping[str, Any]:
        if pack not in self._packs:
            path = self.graph.paths.pack(pack) / "run.json"
            self._packs[pack] = read_json(path)["runs"] if path.is_file() else {}
        return self._packs[pack]


def _axes(runs: Iterable[Run]) -> list[str]:
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for run in runs:
        for axis, value in run.axes.items():
            values[axis][str(value)] = value
    return [f"{axis} {_range(list(found.values()))}" for axis, found in values.items()]


def _range(values: Sequence[Any]) -> str:
    numeric = all(isinstance(value, (int, float)) for value in values)
    ordered = sorted(values) if numeric else values
    shown = [plain(value) if numeric else str(value) for value in ordered]
    if len(shown) <= 3:
        return ", ".join(shown)
    ends = f"{shown[0]} to {shown[-1]}" if numeric else f"{shown[0]}, {shown[1]}, …"
    return f"{ends} ({len(shown)} values)"


def beyond(here: Behind, there: Behind, tables: Sequence[str]) -> list[str]:
    """What some tables have at the papers' own scale and lack at this one, each in a few words.

    Args:
        here, there: the runs of this scale and of the papers'.
        tables: names.
    """
    mine, theirs = list(here.runs(tables).values()), list(there.runs(tables).values())
    if not theirs:
        return []
    if not mine:
        return [f"all of its {count(len(theirs), 'network')}: none is trained at this scale"]
    said = []
    if len(mine) < len(theirs):
        missing = thousands(len(theirs) - len(mine))
        said.append(f"{missing} of the paper's {count(len(theirs), 'network')}")
    seeds, all_seeds = ({run.spec.seed for run in runs} for runs in (mine, theirs))
    if len(seeds) < len(all_seeds):
        said.append(f"{len(all_seeds) - len(seeds)} of {len(all_seeds)} seeds")
    epochs, all_epochs = (max(run.spec.epochs for run in runs) for runs in (mine, theirs))
    if epochs < all_epochs:
        said.append(f"epochs {epochs + 1} to {all_epochs}")
    widths, all_widths = (
        {run.spec.model["k"] for run in runs if "k" in run.spec.model} for runs in (mine, theirs)
    )
    if widths and all_widths and max(widths) < max(all_widths):
        said.append(f"widths k above {max(widths)} (up to {max(all_widths)})")
    sources, all_sources = _sources(here.graph, mine), _sources(there.graph, theirs)
    if absent := [name for name in all_sources if name not in sources]:
        stand_ins = joined([f"{name}, {size}" for name, size in sources.items()])
        said.append(f"{joined(absent)} (here: {stand_ins})")
    else:
        said += [
            f"{name}, {size} (here: {sources[name]})"
            for name, size in all_sources.items()
            if sources[name] != size
        ]
    return said


def _sources(graph: Graph, runs: Iterable[Run]) -> dict[str, str]:
    """The sources of the data of some runs, with how much of each is trained on."""
    found: dict[str, str] = {}
    for data in dict.fromkeys(run.spec.data for run in runs):
        recipe = graph.recipes[data]
        train = recipe.get("train")
        size = f"{thousands(train)} to train on" if train else "whole"
        found.setdefault(recipe.get("source") or recipe["name"], size)
    return found
