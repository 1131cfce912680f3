"""Runs and packs of one scale, and the data they train on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph.config import Config, Resources
from refigure.graph.experiments import Experiment, Run, Wanted, expand, read_experiment
from refigure.graph.packs import Pack, cut
from refigure.graph.paths import Paths
from refigure.graph.reading import Keys, read_written, suggest


class Runs:
    """Data, experiments, runs and packs of a scale; expanded on first use and kept.

    Args:
        config: read from `config/`.
        scale: its name.
    """

    def __init__(self, config: Config, scale: str):
        self.config = config
        self.scale = config.scale(scale)
        self.paths = Paths(config.root, scale)
        self._runs: dict[str, list[Run]] = {}
        self._expanding: list[str] = []
        self._data: dict[str, str | None] = {}

    @cached_property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """Content id -> recipe, of every alias of the scale that has data."""
        found = {}
        for alias in self.scale.data:
            recipe = self.config.recipe(self.scale, alias, self.scale.file)
            if recipe is not None:
                found[self.config.data_id(recipe)] = recipe
        return found

    def data_of(self, alias: str, place: str) -> str | None:
        """The content id of an alias; None where its source is not configured."""
        if alias not in self._data:
            recipe = self.config.recipe(self.scale, alias, place)
            self._data[alias] = recipe and self.config.data_id(recipe)
        return self._data[alias]

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """Every experiment that has runs at this scale, in the order of files and keys."""
        found = {}
        for name, (file, written) in self.config.families["experiments"].items():
            self._check_scales(written, f"{file}: {name}")
            experiment = read_experiment(name, written, file, self.scale.chain, self.scale.limits)
            if experiment is not None:
                found[name] = experiment
        return found if self.scale.only is None else self._only(found)

    def _only(self, found: Mapping[str, Experiment]) -> dict[str, Experiment]:
        """The experiments that the scale names, in their own order.

        Raises:
            UserError: one of them is not there, or starts from one that is left out.
        """
        place = f"{self.scale.file}: only"
        for name in self.scale.only or ():
            if name not in found:
                raise UserError(f"{place}: unknown experiment '{name}'{suggest(name, found)}")
            start = found[name].start
            if start and start.source and start.source not in self.scale.only:
                raise UserError(f"{place}: '{name}' starts from '{start.source}': name it too")
        return {name: one for name, one in found.items() if name in self.scale.only}

    def _check_scales(self, written: Any, place: str) -> None:
        for scale in Keys(Keys(written, place).mapping.get("scales"), f"{place}.scales").mapping:
            if scale not in self.config.scales:
                raise UserError(
                    f"{place}.scales: unknown scale '{scale}'{suggest(scale, self.config.scales)}"
                )

    def experiment(self, name: str, place: str) -> Experiment | None:
        """The experiment of that name; None where it is absent at this scale.

        Raises:
            UserError: no file writes it.
        """
        known = self.config.families["experiments"]
        if name not in known:
            raise UserError(f"{place}: unknown experiment '{name}'{suggest(name, known)}")
        return self.experiments.get(name)

    def runs(self, name: str, place: str = "") -> list[Run]:
        """The runs of an experiment; none where it is absent at this scale."""
        if name not in self._runs:
            experiment = self.experiment(name, place or f"runs of {name}")
            if experiment is None:
                self._runs[name] = []
            elif name in self._expanding:
                way = " -> ".join([*self._expanding, name])
                raise UserError(f"{experiment.where}: starts from itself: {way}")
            else:
                self._expanding.append(name)
                try:
                    self._runs[name] = expand(
                        experiment,
                        self.runs,
                        lambda parent: self.experiment(parent, f"{experiment.where}.start"),
                        self.data_of,
                        self.config.checkpoints_of,
                    )
                finally:
                    self._expanding.pop()
        return self._runs[name]

    @cached_property
    def owned(self) -> tuple[dict[str, Run], dict[str, Wanted]]:
        """Every run once, under the first experiment that lists it; and all that it leaves."""
        owners: dict[str, Run] = {}
        wanted: dict[str, Wanted] = {}
        lengths: dict[tuple[str, int], Wanted] = {}
        for name, experiment in self.experiments.items():
            for run in self.runs(name):
                key = (name, run.spec.epochs)
                if key not in lengths:
                    lengths[key] = experiment.wanted(run.spec.epochs)
                mine = lengths[key]
                if run.id in owners:
                    wanted[run.id] = wanted[run.id] | mine
                else:
                    owners[run.id] = run
                    wanted[run.id] = mine
        for run in owners.values():
            if run.parent is not None and run.spec.take == "state":
                wanted[run.parent.id] |= Wanted(states=frozenset({run.point}))
        return owners, wanted

    @cached_property
    def packs(self) -> dict[str, Pack]:
        """Every pack of the scale, by name."""
        owners, wanted = self.owned
        together: dict[tuple[str, int, int | None], list[Run]] = defaultdict(list)
        for run in owners.values():
            own = self.experiments[run.experiment]
            block = run.block or own.block or self.scale.block
            stack = run.stack or own.stack or self.scale.stack
            together[run.experiment, block, stack].append(run)
        found = {}
        for (name, block, stack), runs in together.items():
            by_seed = self.experiments[name].by_seed
            packs = cut(runs, wanted, block, by_seed, self.readers, stack)
            found |= {pack.name: pack for pack in packs}
        return found

    @property
    def readers(self) -> Mapping[str, Collection[str]]:
        """Run id -> what draws it; nothing at this floor, which knows no figures."""
        return {}

    @cached_property
    def pack_of(self) -> dict[str, str]:
        """Run id -> the name of its pack."""
        return {run.id: pack.name for pack in self.packs.values() for run in pack.runs}

    def packs_of(self, runs: list[Run]) -> list[str]:
        """The packs that hold some runs, each once, in order."""
        return list(dict.fromkeys(self.pack_of[run.id] for run in runs))

    def pack(self, name: str) -> Pack:
        """A pack by its name.

        Raises:
            UserError: no experiment of this scale has such a pack.
        """
        if name not in self.packs:
            raise UserError(
                f"pack '{name}' is not in the configuration at scale '{self.scale.name}'"
                f"{suggest(name, self.packs)}"
            )
        return self.packs[name]

    def stale_packs(self) -> list[Path]:
        """Folders of packs that the configuration does not name any more."""
        folders = sorted((self.paths.results / "packs").glob("*"))
        return [path for path in folders if path.name not in self.packs]

    def stale_parts(self) -> list[Path]:
        """Finished parts of jobs that were stopped and whose packs are named otherwise now."""
        folders = sorted(self.paths.scratch.glob("*/part-*"))
        return [path for path in folders if path.parent.name not in self.packs]

    def resources(self, stage: str, experiment: str | None = None) -> dict[str, int]:
        """What a job asks for: the scale's, with the experiment's over it."""
        asked = self.scale.resources_of(stage)
        if experiment:
            asking = self.experiments[experiment]
            asked |= read_written(Resources, asking.resources, f"{asking.where}.resources")
        return asked
