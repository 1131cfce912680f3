"""`refigure export`: tables, figures and claims of a scale, and all that redraws them, in one file.

A reader unpacks it, installs `envs/requirements.txt`, and draws any figure from its table: no
data, no training, no GPU.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import yaml

from refigure.errors import UserError
from refigure.explain.text import size
from refigure.files import whole
from refigure.graph.lookups import Graph
from refigure.graph.reading import read_yaml

RESULTS = ("tables", "claims", "figures", "notebooks", "all", "report.html")
SOURCES = ("Snakefile", "Makefile", "pyproject.toml", "README.md", "rules", "config", "code")
SOURCES = (*SOURCES, "envs", "profiles", "docs")
NOTE = """\
# Refigure, scale {scale}

Tables, figures, claims and notebooks under `results/{scale}/`, with the code and configuration
that made them; `report.html` there is the page to begin with. To draw a figure anew from its
tables, without data, training or a GPU (change its notebook in `code/notebooks/` first, if you
like), after unpacking:

```sh
{commands}
```

`refigure draw PAPER` draws all figures of a paper, `refigure claim PAPER CLAIM` decides a claim
anew from its tables. To train, see README.md.
"""
LEFT_OUT = ("__pycache__", "local.yaml", ".ipynb_checkpoints")


def export(graph: Graph, path: Path) -> dict[str, Any]:
    """Write the archive of a scale; equal files in it give an equal archive.

    Args:
        path: of the archive, a `.tar.gz`.

    Returns:
        `archive`, `files`, `bytes` and `redraw`: the commands for a reader.

    Raises:
        UserError: the verdicts of a built paper are not there, or the path ends otherwise.
    """
    if not path.name.endswith((".tar.gz", ".tgz")):
        raise UserError(f"--to {path}: the archive's name must end in .tar.gz")
    if not path.parent.is_dir():
        raise UserError(f"--to {path}: no folder {path.parent}")
    for slug in graph.built:
        if not graph.paths.claims(slug).is_file():
            raise UserError(
                f"{graph.paths.claims(slug)}: not there yet;"
                f" `snakemake -c 2 -- results/{graph.scale.name}/all` builds it"
            )
    top = f"refigure-{graph.scale.name}"
    count = 0
    with (
        whole(path) as temporary,
        temporary.open("wb") as stream,
        # Neither a name nor a time in gzip's header: equal files give an equal archive.
        gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in sorted(_files(graph)):
            name = f"{top}/{file.relative_to(graph.config.root).as_posix()}"
            archive.add(file, name, recursive=False, filter=_plain)
            count += 1
        written = {"REDRAW.md": _note(graph)}
        if local := _local(graph.config.root):
            written["config/local.yaml"] = local
        for name, content in written.items():
            about = tarfile.TarInfo(f"{top}/{name}")
            about.size, about.mode = len(content.encode()), 0o644
            archive.addfile(about, io.BytesIO(content.encode()))
    return {
        "archive": str(path),
        "files": count + len(written),
        "bytes": path.stat().st_size,
        "redraw": _commands(graph),
    }


def _local(root: Path) -> str:
    """What `config/local.yaml` says of a user's own data, without where they lie on this machine.

    The names of tables follow from the checksums in it: without them the archive's own figures of
    own data could not be found. A path is the last part of its name here, and nothing reads it to
    redraw.
    """
    path = root / "config/local.yaml"
    if not path.is_file():
        return ""
    written = read_yaml(path)
    kept = {key: written[key] for key in ("scale", "papers", "sources") if key in written}
    for name, source in (kept.get("sources") or {}).items():
        if isinstance(source, dict):
            kept["sources"][name] = {key: _named(value) for key, value in source.items()}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)


def _named(value: Any) -> Any:
    """A path, or a list of paths, by its last part; all else as it is."""
    if isinstance(value, list):
        return [_named(one) for one in value]
    return PurePath(value).name if isinstance(value, str) and "/" in value else value


def _plain(about: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same entry without who packed it; its time stays, by which Snakemake goes."""
    about.uid = about.gid = 0
    about.uname = about.gname = ""
    about.mode = 0o644
    return about


def _files(graph: Graph) -> Iterator[Path]:
    root = graph.config.root
    places = [root / name for name in SOURCES] + [graph.paths.results / name for name in RESULTS]
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            hidden = any(part in LEFT_OUT or part.endswith(".egg-info") for part in path.parts)
            if path.is_file() and not path.is_symlink() and not hidden:
                yield path


def _commands(graph: Graph) -> list[str]:
    paper = next(iter(graph.built), "PAPER")
    figure = next(iter(graph.figures(paper)), "FIGURE") if graph.built else "FIGURE"
    return [
        f"tar xzf refigure-{graph.scale.name}.tar.gz && cd refigure-{graph.scale.name}",
        "make setup && . .venv/bin/activate",
        f"refigure draw {paper} {figure} --scale {graph.scale.name}",
    ]


def _note(graph: Graph) -> str:
    return NOTE.format(scale=graph.scale.name, commands="\n".join(_commands(graph)))


def text(found: dict[str, Any]) -> str:
    """What was written, and how a reader redraws from it."""
    lines = [f"{found['archive']}: {found['files']} files, {size(found['bytes'])}", "to redraw:"]
    return "\n".join([*lines, *(f"  {command}" for command in found["redraw"])])
