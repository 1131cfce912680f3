"""The runs that lie under `results/<scale>/`: trained, adoptable, or of no use any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.explain.sizes import header
from refigure.files import read_json
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack, adoptable
from refigure.graph.steps import PACK_FILES


class Holdings:
    """What `run.json` of each pack and of each finished part says, read once.

    Args:
        graph: of the scale.
    """

    def __init__(self, graph: Graph):
        self.graph = graph

    def of_pack(self, name: str) -> Mapping[str, Any]:
        """Run id -> what is known of it, of a pack; empty where it is not trained."""
        return self._read(self.graph.paths.pack(name))

    def _read(self, folder: Path) -> Mapping[str, Any]:
        try:
            return read_json(folder / "run.json")["runs"]
        except (UserError, KeyError, TypeError):
            return {}  # not there, or damaged: a job would train it anew

    @cached_property
    def former(self) -> dict[str, Mapping[str, Any]]:
        """Folder -> its runs, of packs and parts that the configuration does not name."""
        stale = [*self.graph.stale_packs(), *self.graph.stale_parts()]
        return {str(folder): self._read(folder) for folder in stale}

    def adoptable(self, pack: Pack) -> set[str]:
        """The runs of a pack that its job would adopt rather than train."""
        code = self.graph.training_code(pack)
        own = sorted(self.graph.paths.state(pack.name).glob("part-*"))
        there = self.graph.paths.pack(pack.name)  # kept as its job is run again: machine.scratch
        if all((there / name).is_file() for name in PACK_FILES):
            own.append(there)
        held = [*(self._read(folder) for folder in own), *self.former.values()]
        return {
            run.id
            for run in pack.runs
            if any(
                run.id in about and adoptable(about[run.id], pack.wanted, code) for about in held
            )
        }

    def recipe(self, data: str) -> Mapping[str, Any] | None:
        """What prepared data were made by; None where neither they nor their recipe are there."""
        if data in self.graph.recipes:
            return self.graph.recipes[data]
        found = header(self.graph.paths.data(data)) or {}
        about = json.loads(found.get("__metadata__", {}).get("refigure", "{}"))
        return about.get("recipe")

    def nearest(self, run: Run) -> tuple[Mapping[str, Any], dict[str, tuple[Any, Any]]] | None:
        """The former run of the same experiment whose spec differs least, and in what.

        Returns:
            What is known of it, and key -> (its value, the wanted one); None where there is none.
        """
        found = [
            about
            for runs in self.former.values()
            for about in runs.values()
            if about["experiment"] == run.experiment
        ]
        if not found:
            return None
        wanted = dict(leaves(run.spec.identity))
        ways = [(about, differing(dict(leaves(about["spec"])), wanted)) for about in found]
        return min(ways, key=lambda way: len(way[1]))


def leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """The values of nested mappings under their dotted keys."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (old value, new one), of the keys whose values are not equal; None where absent."""
    return {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    }
