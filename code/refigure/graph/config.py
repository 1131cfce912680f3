"""The configuration: what a user edits, the scales, the families of runs, and the papers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph import overrides
from refigure.graph.catalogue import Nullable, settings
from refigure.graph.paths import placed
from refigure.graph.reading import Keys, check_name, read_yaml, suggest
from refigure.graph.spec import digest, without_defaults

QUEUE = ("train", "measure")
"""Rules whose jobs a cluster's queue gets; all others run where Snakemake does."""
PUBLISHED = "published"
"""Where under `results/` the verdicts on the papers' own numbers lie; no scale has this name."""
SOURCE_KEYS = {
    "digits": {},
    "torchvision": {"name": str},
    "images": {"path": str, "sha256": str, "follow_links": Nullable(bool)},
    "text": {"path": (str, list), "sha256": str, "follow_links": Nullable(bool)},
    "arrays": {"path": str, "sha256": str},
    "download": {"files": dict, "terms": Nullable(str)},
    "reference": {},
    "weights": {"path": str, "sha256": str},
    "torchvision_weights": {"name": str},
}
PAPER_KEYS = {
    "title": str,
    "authors": list,
    "venue": str,
    "arxiv": str,
    "url": str,
    "summary": str,
    "units": dict,
    "experiments": list,
    "figures": dict,
    "claims": dict,
}
REFERENCE = "refigure.data.reference"  # says which text this interpreter holds
FILES = ("images", "text", "arrays", "weights")
RESOURCES = {"gpu": 0, "mem_mb": 2000, "runtime": 30}


@dataclass(frozen=True)
class Scale:
    """How large the work is.

    Args:
        name, file: of the scale.
        chain: the scales it extends, root first, itself last: overrides apply in this order.
        data: alias -> `{recipe, keys...}`, or None where it has no data at this scale.
        limits: `{epochs, train, test, seeds}` that shorten another scale's work.
        block: the most runs a pack holds.
        resources: by stage (`train`, `measure`, ...): gpu, mem_mb, runtime in minutes.
    """

    name: str
    file: str
    chain: list[str]
    data: Mapping[str, Any]
    limits: Mapping[str, int]
    block: int
    resources: Mapping[str, Mapping[str, int]]

    def resources_of(self, stage: str) -> dict[str, int]:
        """What a job of that stage asks for."""
        return {**RESOURCES, **self.resources.get(stage, {})}


@dataclass
class Config:
    """Everything under `config/`, read once; scales are resolved when they are asked for."""

    root: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """`config/`."""
        return self.root / "config"

    @cached_property
    def user(self) -> dict[str, Any]:
        """`config.yaml` with `local.yaml` over it: scale, device, papers, sources."""
        file = self.folder / "config.yaml"
        if not file.is_file():
            raise UserError(f"{self.root.resolve()} is no checkout: no config/config.yaml (--root)")
        keys = Keys(read_yaml(file), "config/config.yaml")
        user = {
            "scale": keys.take("scale", str),
            "device": keys.take("device", str, "auto"),
            "papers": keys.take("papers", list),
            "accepted": keys.take("accepted", list, []),
            "queue": keys.take("queue", list, list(QUEUE)),
            "sources": dict(keys.take("sources", dict)),
        }
        keys.done()
        local = self.folder / "local.yaml"
        written_in = dict.fromkeys(user["sources"], "config/config.yaml")
        for where, written in (
            ("config/local.yaml", read_yaml(local) if local.exists() else {}),
            ("--config", dict(self.overrides)),
        ):
            keys = Keys(written, where)
            user["scale"] = keys.take("scale", str, user["scale"])
            user["device"] = keys.take("device", str, user["device"])
            user["accepted"] = keys.take("accepted", list, user["accepted"])
            user["queue"] = keys.take("queue", list, user["queue"])
            sources = keys.take("sources", dict, {})
            user["sources"] |= sources
            written_in |= dict.fromkeys(sources, where)
            keys.done()
        for name, source in user["sources"].items():
            check_name(name, f"{written_in[name]}: sources")
            user["sources"][name] = self._source(source, f"{written_in[name]}: sources.{name}")
        return user

    def _source(self, written: Any, where: str) -> dict[str, Any] | None:
        if written is None:
            return None
        written = dict(Keys(written, where).mapping)
        for kind in FILES:
            if kind in written and "kind" not in written:
                written = {"kind": kind, "path": written.pop(kind), **written}
        keys = Keys(written, where)
        kind = keys.take("kind", str)
        if kind not in SOURCE_KEYS:
            raise UserError(f"{where}: unknown kind '{kind}'{suggest(kind, SOURCE_KEYS)}")
        if kind in FILES and "sha256" not in written:
            name = where.partition("sources.")[2]
            raise UserError(
                f"{where}: {written.get('path')} has no sha256; `refigure pin {name}` writes it"
            )
        source = {"kind": kind}
        for key, shape in SOURCE_KEYS[kind].items():
            if isinstance(shape, Nullable):
                source[key] = keys.take(key, shape.kind, None)
            else:
                source[key] = keys.take(key, shape)
        keys.done()
        if "sha256" in source:
            source["sha256"] = source["sha256"].lower()  # some systems write capitals
        for name, file in source.get("files", {}).items():
            keys = Keys(file, f"{where}.files.{name}")
            keys.take("url", str)
            keys.take("sha256" if "git_blob" not in file else "git_blob", str)
            keys.done()
        return source

    @cached_property
    def scales(self) -> list[str]:
        """The names of all scales."""
        return sorted(path.stem for path in (self.folder / "scales").glob("*.yaml"))

    def scale(self, name: str) -> Scale:
        """A scale, with what it extends.

        Raises:
            UserError: there is no such scale, or it extends itself.
        """
        chain: list[str] = []
        merged: dict[str, Any] = {"data": {}, "limits": {}, "resources": {}, "block": 64}
        files = []
        following: str | None = name
        while following:
            if following not in self.scales:
                place = files[-1][0] if files else "config/scales"
                raise UserError(
                    f"{place}: unknown scale '{following}'{suggest(following, self.scales)}"
                )
            check_name(following, "config/scales")
            if following == PUBLISHED:
                raise UserError(
                    f"config/scales/{following}.yaml: '{following}' is where the verdicts on the"
                    " papers' own numbers lie; give the scale another name"
                )
            if following in chain:
                raise UserError(f"config/scales/{following}.yaml: extends itself")
            chain.insert(0, following)
            file = f"config/scales/{following}.yaml"
            keys = Keys(read_yaml(self.root / file), file)
            files.append((file, keys))
            following = keys.take("extends", str, None)
        for file, keys in reversed(files):
            written = keys.take("data", dict, {})
            merged["data"] = overrides.merged(merged["data"], written, f"{file}: data")
            merged["limits"] |= keys.take("limits", dict, {})
            merged["block"] = keys.take("block", int, merged["block"])
            for stage, asked in keys.take("resources", dict, {}).items():
                inner = Keys(asked, f"{file}: resources.{stage}")
                found = {key: inner.take(key, int, None) for key in RESOURCES}
                inner.done()
                kept = {key: value for key, value in found.items() if value is not None}
                merged["resources"][stage] = merged["resources"].get(stage, {}) | kept
            keys.done()
            if merged["block"] < 1:
                raise UserError(f"{file}: block must be at least 1, got {merged['block']}")
        limits = Keys(merged["limits"], f"config/scales/{name}.yaml: limits")
        merged["limits"] = {
            key: limits.take(key, int)
            for key in ("epochs", "train", "test", "seeds")
            if key in limits.mapping
        }
        limits.taken += ["epochs", "train", "test", "seeds"]
        limits.done()
        return Scale(name, f"config/scales/{name}.yaml", chain, **merged)

    def recipe(self, scale: Scale, alias: str, place: str) -> dict[str, Any] | None:
        """The recipe that a data alias stands for at a scale; None where it has no source.

        Raises:
            UserError: the scale has no such alias, or the recipe is wrong.
        """
        if alias not in scale.data:
            raise UserError(
                f"{place}: unknown data '{alias}' at scale '{scale.name}' ({scale.file})"
                f"{suggest(alias, scale.data)}"
            )
        written = scale.data[alias]
        if written is None:
            return None
        where = f"{scale.file}: data.{alias}"
        written = {"name": "images", **Keys(written, where).mapping}
        recipe = settings("recipe", written, where)
        name = recipe.get("source")
        if name is not None and self._source_of(name, where) is None:
            return None
        if recipe.get("vectors") and self._source_of(recipe["vectors"], where) is None:
            recipe["vectors"] = None
        for key in ("train", "test"):
            if key in scale.limits and key in recipe:
                recipe[key] = min(recipe[key] or scale.limits[key], scale.limits[key])
        return recipe

    def _source_of(self, name: str, where: str) -> dict[str, Any] | None:
        sources = self.user["sources"]
        if name not in sources:
            raise UserError(f"{where}: unknown source '{name}'{suggest(name, sources)}")
        return sources[name]

    def sources_of(self, recipe: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The sources that a recipe names, by its key, with whole paths."""
        found = {}
        for key in ("source", "vectors"):
            if recipe.get(key):
                found[key] = source = dict(self.user["sources"][recipe[key]])
                if isinstance(source.get("path"), list):
                    source["path"] = [str(placed(self.root, path)) for path in source["path"]]
                elif "path" in source:
                    source["path"] = str(placed(self.root, source["path"]))
                if source.get("terms") and recipe[key] in self.user["accepted"]:
                    source["terms"] = None
        return found

    def _checksum(self, name: str) -> dict[str, Any]:
        """What of a source says which data it gives."""
        source = self.user["sources"][name]
        if source["kind"] == "reference":
            module = import_module(REFERENCE)  # by name, as what the catalogue names is imported
            return {**source, "sha256": module.reference_sha256()}
        if source["kind"] == "download":
            checks = {
                name: {key: value for key, value in file.items() if key != "url"}
                for name, file in source["files"].items()
            }
            return {"kind": "download", "files": checks}
        return {key: value for key, value in source.items() if key not in ("path", "follow_links")}

    def file_id(self, name: str, place: str) -> str | None:
        """The content id of a file that runs start from; None where it is not configured.

        Raises:
            UserError: `sources` has no such name.
        """
        if self._source_of(name, place) is None:
            return None
        return f"{name}-{digest(self._checksum(name), 10)}"

    def data_id(self, recipe: Mapping[str, Any]) -> str:
        """The content id of prepared arrays: of the recipe and of the source's checksum."""
        name = recipe.get("source")
        source = self._checksum(name) if name else {}
        kept = without_defaults("recipe", recipe)
        if recipe.get("vectors"):
            kept["vectors"] = {recipe["vectors"]: self._checksum(recipe["vectors"])}
        return f"{name or recipe['name']}-{digest({'recipe': kept, 'source': source}, 10)}"

    @cached_property
    def families(self) -> dict[str, dict[str, Any]]:
        """Experiments, probes and tables by name: `{kind: {name: (file, written)}}`."""
        found: dict[str, dict[str, Any]] = {"experiments": {}, "probes": {}, "tables": {}}
        for path in sorted((self.folder / "experiments").glob("*.yaml")):
            file = f"config/experiments/{path.name}"
            keys = Keys(read_yaml(path), file)
            for kind, known in found.items():
                for name, written in keys.take(kind, dict, {}).items():
                    check_name(name, f"{file}: {kind}")
                    if name in known:
                        raise UserError(f"{file}: {kind} '{name}' is already in {known[name][0]}")
                    known[name] = (file, written)
            keys.done()
        return found

    @cached_property
    def papers(self) -> dict[str, dict[str, Any]]:
        """What each paper's file writes, in the order of `config.yaml`.

        Raises:
            UserError: a paper without a file.
        """
        found = {}
        for slug in self.user["papers"]:
            file = f"config/papers/{slug}.yaml"
            if not (self.root / file).is_file():
                known = [path.stem for path in (self.folder / "papers").glob("*.yaml")]
                raise UserError(f"config/config.yaml: papers: no {file}{suggest(slug, known)}")
            check_name(slug, "config/config.yaml: papers")
            keys = Keys(read_yaml(self.root / file), file)
            for key, kind in PAPER_KEYS.items():
                keys.take(key, kind, None)
            keys.done()
            for kind in ("figures", "claims"):
                for name in keys.mapping.get(kind) or {}:
                    check_name(name, f"{file}: {kind}")
            found[slug] = keys.mapping
        return found
