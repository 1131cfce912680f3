"""The configuration: what a user edits, the scales, the families of runs, and the papers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph import overrides
from refigure.graph.catalogue import settings
from refigure.graph.paths import placed
from refigure.graph.reading import (
    Each,
    Hex,
    Items,
    Key,
    Keys,
    Nullable,
    check_name,
    default_of,
    keyed,
    keys_of,
    not_negative,
    positive,
    read,
    read_written,
    read_yaml,
    suggest,
)
from refigure.graph.spec import digest, without_defaults

RULES = {
    "prepare": ("data",),
    "train": ("pack",),
    "index": ("experiment",),
    "measure": ("part",),
    "table": ("table",),
    "figure": ("paper", "figure"),
    "claim": ("paper", "claim"),
    "verdicts": ("paper",),
    "summary": (),
    "report": (),
}
"""Rule whose jobs a scale has -> the wildcards that name a job, besides the scale."""
DEVICE = r"auto|cpu|cuda(:[0-9]+)?"
QUEUE = ("train", "measure")
"""Rules whose jobs a cluster's queue gets; all others run where Snakemake does."""
PUBLISHED = "published"
"""Where under `results/` the verdicts on the papers' own numbers lie; no scale has this name."""
EXAMPLE_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_PATH = "A path from the checkout; `~` and `$NAME` are put in."
_SHA256 = Key(
    Hex(64), "The SHA-256 of what lies there; `refigure pin NAME` writes it.", EXAMPLE_SHA256
)
_LINKS = Key(
    Nullable(bool), "Whether links in the folder are read as the files that they lead to.", True
)
_FOLDER = Key(
    str,
    f"A folder, or a tar or zip of one, of `train/<class>/` and `test/<class>/`. {_PATH}",
    "../flowers",
)
DOWNLOAD_KEYS = {
    "url": Key(str, "Where it is fetched from.", "https://example.org/a.txt"),
    "sha256": Key(Nullable(Hex(64)), "Its SHA-256.", EXAMPLE_SHA256),
    "git_blob": Key(Nullable(Hex(40)), "In place of it, the id of the blob in a Git repository."),
}
"""What is written of each file of a download."""
SOURCES: dict[str, tuple[str, dict[str, Key]]] = {
    "digits": ("scikit-learn's digits, which ship with it.", {}),
    "torchvision": (
        "A set of images that torchvision downloads.",
        {"name": Key(str, "Its name there: `CIFAR10` or `CIFAR100`.", "CIFAR10")},
    ),
    "images": (
        "Your own images. `{images: PATH}` is short for it.",
        {"path": _FOLDER, "sha256": _SHA256, "follow_links": _LINKS},
    ),
    "text": (
        "Your own text. `{text: PATH}` is short for it.",
        {
            "path": Key(
                (str, list),
                f"A file, a folder, an archive of one, or a list of files. {_PATH}",
                ["rt-polarity.neg", "rt-polarity.pos"],
            ),
            "sha256": _SHA256,
            "follow_links": _LINKS,
        },
    ),
    "arrays": (
        "A folder of NumPy files, as of CIFAR-10-C. `{arrays: PATH}` is short for it.",
        {"path": Key(str, f"The folder. {_PATH}", "../CIFAR-10-C"), "sha256": _SHA256},
    ),
    "predictions": (
        "Predictions of your own networks. `{predictions: PATH}` is short for it.",
        {
            "path": Key(
                str,
                "A folder, or a tar or zip of one, of `labels.npy` and a `.npy` or `.npz` file a "
                f"network. {_PATH}",
                "../members",
            ),
            "sha256": _SHA256,
            "follow_links": _LINKS,
        },
    ),
    "download": (
        "Files that are fetched, each checked.",
        {
            "files": Key(
                dict,
                "Name -> `url`, and `sha256` or the id of a `git_blob`.",
                {"a.txt": {"url": "https://example.org/a.txt", "sha256": EXAMPLE_SHA256}},
                Each("download", "file"),
            ),
            "terms": Key(
                Nullable(str),
                "What is said in place of fetching them, until the name is under `accepted`.",
            ),
        },
    ),
    "reference": ("The reference text inside the Python interpreter.", {}),
    "weights": (
        "Your own checkpoints, of `torch.save` or safetensors. `{weights: PATH}` is short for it.",
        {
            "path": Key((str, list), f"A file, or several. {_PATH}", "../byol_1.pt"),
            "sha256": _SHA256,
            "state": Key(
                Nullable(str),
                "The key of the file under which its state dict lies; null: the file is one.",
                "state_dict",
            ),
            "prefix": Key(
                Nullable(str),
                "What the network's names begin with there, which is taken off; other names are "
                "left out.",
                "module.",
            ),
        },
    ),
    "torchvision_weights": (
        "A checkpoint that torchvision downloads.",
        {"name": Key(str, "Its name there.", "ResNet50_Weights.IMAGENET1K_V1")},
    ),
}
"""Kind of source -> what it is, and its keys."""
SOURCE_KEYS = {kind: keys for kind, (_, keys) in SOURCES.items()}


def _download(written: Any, where: str) -> dict[str, str]:
    """A file of a download: its address, and one checksum."""
    keys = Keys(written, where)
    check = "git_blob" if "git_blob" in keys.mapping else "sha256"
    told = DOWNLOAD_KEYS[check].shape.kind
    found = {"url": keys.take("url", str), check: keys.take(check, told)}
    keys.done()
    return found


REFERENCE = "refigure.data.reference"  # says which text this interpreter holds
FILES = ("images", "text", "arrays", "predictions", "weights")
WEIGHTS = ("weights", "torchvision_weights")  # kinds of source that networks start from


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks for of a machine or a queue."""

    gpu: int = keyed(not_negative(int, 0), "GPUs.", 1)
    mem_mb: int = keyed(not_negative(int, 2000), "Memory, MB.", 16000)
    runtime: int = keyed(not_negative(int, 30), "Minutes.", 240)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What shortens every run of a scale, for trying things out."""

    epochs: int | None = keyed(Nullable(positive(int)), "The most epochs of a run.", 2)
    train: int | None = keyed(Nullable(positive(int)), "The most training images.", 128)
    test: int | None = keyed(Nullable(positive(int)), "The most test images.", 128)
    seeds: int | None = keyed(
        Nullable(positive(int)), "How many seeds of each experiment, the first.", 1
    )


@dataclass(frozen=True, kw_only=True)
class ScaleFile:
    """What `config/scales/<name>.yaml` holds."""

    extends: str | None = keyed(
        Nullable(str), "Another scale, over which this one is written, key by key.", "small"
    )
    data: Mapping[str, Any] = keyed(
        {},
        "Name that experiments know -> recipe of the data; null: there are none at this scale. "
        "With `replace: true` that holds of all names of the extended scale not written here.",
        {"images10": {"source": "digits", "train": 896, "test": 901}},
        Each("recipe", "name"),
    )
    limits: Mapping[str, Any] = keyed(
        {}, "What shortens every run.", {"epochs": 2, "seeds": 1}, "limits"
    )
    only: list | None = keyed(
        Nullable(list),
        "The experiments that have runs, and no others; what would draw or decide on others alone "
        "is left out.",
        ["sphere_convnet_c10"],
        Items(str),
    )
    without: list = keyed(
        [],
        "Figures and claims that are left out of it, `paper/name`.",
        ["power-laws/tabA_hyper"],
        Items(str),
    )
    block: int = keyed(positive(int, 64), "The most runs that one job trains.", 32)
    stack: int | None = keyed(
        Nullable(positive(int)),
        "The most networks of grouped convolutions that a job trains side by side on a GPU; "
        "without it, as many as fit its memory.",
        1,
    )
    resources: Mapping[str, Any] = keyed(
        {},
        "Rule -> what its jobs ask for.",
        {"train": {"gpu": 1, "mem_mb": 16000, "runtime": 1440}},
        Each("resources", "rule"),
    )


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What `config/config.yaml` holds; `config/local.yaml` may write all of it but the papers."""

    scale: str = keyed(str, "The scale of `all` and of targets that name a paper.", "demo")
    device: str = keyed(
        "auto", "Where networks train: `auto` is the first GPU, else the CPU.", "cuda:1"
    )
    papers: list = keyed(
        list,
        "The papers that `all` builds, in the order of the report.",
        ["three-regimes"],
        Items(str),
    )
    accepted: list = keyed(
        [], "Names of sources whose terms you have read and accept.", ["ptb"], Items(str)
    )
    queue: list = keyed(
        list(QUEUE), "Rules whose jobs a cluster's queue gets; others run where Snakemake does."
    )
    sources: Mapping[str, Any] = keyed(
        dict,
        "Name -> where raw data are; null: nothing is trained on them until `local.yaml` says.",
        {"flowers": {"images": "../flowers", "sha256": EXAMPLE_SHA256}},
        Each("source", "name"),
    )


@dataclass(frozen=True, kw_only=True)
class FamilyFile:
    """What a file of `config/experiments/` holds."""

    experiments: Mapping[str, Any] = keyed(
        {}, "Families of runs.", None, Each("experiment", "experiment")
    )
    probes: Mapping[str, Any] = keyed(
        {}, "Measurements of trained networks.", None, Each("probe", "probe")
    )
    tables: Mapping[str, Any] = keyed(
        {}, "Tidy tables, which figures and claims read.", None, Each("table", "table")
    )


@dataclass(frozen=True, kw_only=True)
class PaperFile:
    """What `config/papers/<slug>.yaml` holds."""

    title: str | None = keyed(Nullable(str), "Title of the paper.")
    authors: list | None = keyed(Nullable(list), "Names of the authors.", ["Ada Lovelace"])
    venue: str | None = keyed(Nullable(str), "Where it was published, and when.", "NeurIPS 2022")
    arxiv: str | None = keyed(
        Nullable(str), "Its number at arXiv, in quotes: it is no number for YAML.", "2209.03695"
    )
    url: str | None = keyed(Nullable(str), "Its address, where it is not at arXiv.")
    summary: str | None = keyed(
        Nullable(str), "A paragraph of the report about the paper as a whole."
    )
    units: Mapping[str, str] | None = keyed(
        Nullable(dict),
        "Phrase in the name of a claim's number -> its unit in the report; the longest phrase "
        "counts.",
        {"epochs to converge": "epochs"},
        Each(str, "phrase"),
    )
    experiments: list | None = keyed(
        Nullable(list),
        "The experiments of the paper, built or not: what is counted for it.",
        ["sphere_convnet_c10"],
        Items(str),
    )
    figures: Mapping[str, Any] | None = keyed(
        Nullable(dict),
        "Its figures and tables, in the order of the report.",
        None,
        Each("figure", "figure"),
    )
    claims: Mapping[str, Any] | None = keyed(
        Nullable(dict), "Its claims, in the order of the report.", None, Each("claim", "claim")
    )


RESOURCES = {name: default_of(one.shape) for name, (_, one) in keys_of(Resources).items()}


@dataclass(frozen=True)
class Scale:
    """How large the work is.

    Args:
        name, file: of the scale.
        chain: the scales it extends, root first, itself last: overrides apply in this order.
        data: alias -> `{recipe, keys...}`, or None where it has no data at this scale.
        written_in: alias -> the last file of the chain that writes keys of it.
        limits: `{epochs, train, test, seeds}` that shorten another scale's work.
        block: the most runs a pack holds.
        stack: the most networks of grouped convolutions side by side on a GPU; None: no limit.
        only: the experiments that have runs; None: all.
        without: `paper/name` of figures and claims that it leaves out.
        resources: by stage (`train`, `measure`, ...): gpu, mem_mb, runtime in minutes.
    """

    name: str
    file: str
    chain: list[str]
    data: Mapping[str, Any]
    limits: Mapping[str, int]
    block: int
    resources: Mapping[str, Mapping[str, int]]
    written_in: Mapping[str, str] = field(default_factory=dict)
    stack: int | None = None
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

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
        user = vars(read(ConfigFile, read_yaml(file, "config/config.yaml"), "config/config.yaml"))
        user["sources"] = dict(user["sources"])
        local = self.folder / "local.yaml"
        written_in = dict.fromkeys(user["sources"], "config/config.yaml")
        places = dict.fromkeys(user, "config/config.yaml")
        for where, content in (
            ("config/local.yaml", read_yaml(local, "config/local.yaml") if local.exists() else {}),
            ("--config", dict(self.overrides)),
        ):
            written = read_written(ConfigFile, content, where)
            if "papers" in written:
                raise UserError(f"{where}: 'papers' is a key of config/config.yaml alone")
            sources = written.pop("sources", {})
            user |= written
            user["sources"] |= sources
            written_in |= dict.fromkeys(sources, where)
            places |= dict.fromkeys(written, where)
        for name, source in user["sources"].items():
            check_name(name, f"{written_in[name]}: sources")
            user["sources"][name] = self._source(source, f"{written_in[name]}: sources.{name}")
        if not re.fullmatch(DEVICE, user["device"]):
            raise UserError(
                f"{places['device']}: device must be auto, cpu or cuda[:n], got '{user['device']}'"
            )
        for key, kind, known in (("queue", "rule", RULES), ("accepted", "source", user["sources"])):
            for name in user[key]:
                if name not in known:
                    raise UserError(
                        f"{places[key]}: {key}: unknown {kind} '{name}'{suggest(name, known)}"
                    )
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
        for name, one in SOURCE_KEYS[kind].items():
            source[name] = one.take(keys, name)
        keys.done()
        if "files" in source:
            source["files"] = {
                name: _download(file, f"{where}.files.{name}")
                for name, file in source["files"].items()
            }
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
        merged: dict[str, Any] = {"data": {}, "written_in": {}, "limits": {}, "resources": {}}
        merged["block"] = default_of(keys_of(ScaleFile)["block"][1].shape)
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
            written = read_written(ScaleFile, read_yaml(self.root / file, file), file)
            files.append((file, written))
            following = written.get("extends")
        for file, written in reversed(files):
            data = written.get("data", {})
            # What `replace: true` leaves out is known and not there, as if it were null.
            left = dict.fromkeys(merged["data"])
            merged["data"] = left | overrides.merged(merged["data"], data, f"{file}: data")
            merged["written_in"] |= dict.fromkeys(data, file)
            merged["limits"] |= written.get("limits", {})
            merged["block"] = written.get("block", merged["block"])
            merged["stack"] = written.get("stack", merged.get("stack"))
            if "only" in written:
                merged["only"] = None if written["only"] is None else tuple(written["only"])
            merged["without"] = tuple(written.get("without", merged.get("without", ())))
            for stage, asked in written.get("resources", {}).items():
                if stage not in RULES:
                    raise UserError(
                        f"{file}: resources: unknown rule '{stage}'{suggest(stage, RULES)}"
                    )
                kept = read_written(Resources, asked, f"{file}: resources.{stage}")
                merged["resources"][stage] = merged["resources"].get(stage, {}) | kept
            read_written(Limits, written.get("limits", {}), f"{file}: limits")
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
        where = f"{scale.written_in.get(alias, scale.file)}: data.{alias}"
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
        left_out = {"path", "follow_links"}
        left_out |= {key for key in ("state", "prefix") if source.get(key) is None}
        return {key: value for key, value in source.items() if key not in left_out}

    def file_id(self, name: str, place: str) -> str | None:
        """The content id of a file that runs start from; None where it is not configured.

        Raises:
            UserError: `sources` has no such name, or several files of it.
        """
        found = list(self.checkpoints_of(name, place))
        if len(found) > 1:
            raise UserError(f"{place}: source '{name}' is of {len(found)} files")
        return found[0] if found else None

    def checkpoints_of(self, name: str, place: str) -> dict[str, dict[str, Any]]:
        """Content id -> where a checkpoint lies, of each file of a source of weights.

        Returns:
            In the order they are written; of each the source with whole paths, and `label`, which
            is the source's name, or the file's where there are several. None of them where the
            source is not configured.

        Raises:
            UserError: `sources` has no such name, or what it names are no weights.
        """
        source = self._source_of(name, place)
        if source is None:
            return {}
        if source["kind"] not in WEIGHTS:
            raise UserError(
                f"{place}: source '{name}' is of kind {source['kind']}; networks start from"
                f" {' or '.join(WEIGHTS)}"
            )
        checksum = self._checksum(name)
        written = source.get("path")
        if not isinstance(written, list):
            found = {**source, "label": name}
            if written is not None:
                found["path"] = found["file"] = str(placed(self.root, written))
            return {f"{name}-{digest(checksum, 10)}": found}
        paths = [str(placed(self.root, one)) for one in written]
        files = [Path(path).name for path in paths]
        if len(set(files)) < len(files):
            raise UserError(f"{place}: two files of source '{name}' have one name: {files}")
        return {
            f"{name}-{file}-{digest({**checksum, 'file': file}, 10)}": {
                **source,
                "path": paths,
                "file": path,
                "label": file,
            }
            for path, file in zip(paths, files)
        }

    @cached_property
    def checkpoints(self) -> dict[str, dict[str, Any]]:
        """Content id -> where it lies, of every checkpoint that is configured."""
        return {
            key: found
            for name, source in self.user["sources"].items()
            if source and source["kind"] in WEIGHTS
            for key, found in self.checkpoints_of(name, "sources").items()
        }

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
            written = vars(read(FamilyFile, read_yaml(path, file), file))
            for kind, known in found.items():
                for name, entry in written[kind].items():
                    check_name(name, f"{file}: {kind}")
                    if name in known:
                        raise UserError(f"{file}: {kind} '{name}' is already in {known[name][0]}")
                    known[name] = (file, entry)
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
            if slug in found:
                raise UserError(f"config/config.yaml: papers: '{slug}' is written twice")
            if not (self.root / file).is_file():
                known = [path.stem for path in (self.folder / "papers").glob("*.yaml")]
                raise UserError(f"config/config.yaml: papers: no {file}{suggest(slug, known)}")
            check_name(slug, "config/config.yaml: papers")
            found[slug] = written = read_yaml(self.root / file, file)
            read(PaperFile, written, file)
            for kind in ("figures", "claims"):
                for name in written.get(kind) or {}:
                    check_name(name, f"{file}: {kind}")
        return found
