"""A copy of `config/` that a test may edit, and graphs made from it. Nothing here imports torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from refigure.graph.config import Config
from refigure.graph.lookups import Graph

ROOT = Path(__file__).parents[1]
REMOVED = object()
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
LONG = (
    "test_workflow",
    "built_tiny",
    "test_benchmarks",
    "test_rnn",
    "test_resume",
    "test_survival",
    "test_training",
)
"""What `make test` begins with: the groups that would be waited for if they came last."""

PAPER = {
    "title": "A paper",
    "experiments": ["sphere_convnet_c10"],
    "figures": {"fig1": {"notebook": "fig1", "tables": {"lines": "sample_lines"}, "caption": "-"}},
    "claims": {
        "c1": {
            "statement": "It holds.",
            "decide": "claims.three_regimes.better_within_r1",
            "tables": {"lines": "sample_lines"},
            "figures": ["fig1"],
        }
    },
}
TABLES = {
    "probes": {
        "sample_probe": {
            "measure": "measures.curvature.measure",
            "of": {"end": {"from": "sphere_convnet_c10", "point": "end"}},
            "each": ["elr", "seed"],
            "split": ["seed"],
        }
    },
    "tables": {
        "sample_lines": {"runs": {"from": "sphere_convnet_c10", "where": {"seed": 0}}},
        "sample_sharpness": {
            "compute": "tables.sphere.regimes",
            "probes": {"sharpness": "sample_probe"},
            "tables": {"lines": "sample_lines"},
        },
    },
}


def copy_config(root: Path) -> Path:
    """A folder with `config/` as it is committed: what is local to a machine stays behind."""
    shutil.copytree(ROOT / "config", root / "config", ignore=shutil.ignore_patterns("local.yaml"))
    return root


class Project:
    """A folder with a copy of `config/`, one small paper, and its notebook.

    Names in `edit` are dotted paths whose first part is a file of `config/` without its ending
    (`config`, `scales/demo`, `papers/sample`), or an experiment, probe or table. What follows may
    itself hold dots, as in `sphere_convnet_c10.scales.demo.grid.seed`.
    """

    def __init__(self, root: Path):
        self.root = copy_config(root)
        self._store(root / "config/papers/sample.yaml", PAPER)
        self._store(root / "config/experiments/sample.yaml", TABLES)
        self.edit("config.papers", ["sample"])
        notebook = root / "code/notebooks/sample/fig1.ipynb"
        notebook.parent.mkdir(parents=True)
        notebook.write_text(json.dumps({"cells": []}))

    def edit(self, path: str, value: Any) -> Project:
        """Set the value at a path; `REMOVED` takes its key away."""
        first, *parts = path.split(".")
        file = self.root / f"config/{first}.yaml"
        if not file.is_file():
            file, kind = self._file_of(first)
            parts = [kind, first, *parts]
        content = target = yaml.load(file.read_text(encoding="utf-8"), LOADER)
        while len(parts) > 1 and isinstance(target.get(parts[0]), dict):
            target = target[parts.pop(0)]
        if value is REMOVED:
            del target[".".join(parts)]
        else:
            target[".".join(parts)] = value
        self._store(file, content)
        return self

    def write(self, file: str, text: str) -> Project:
        """Write a file of `config/` as it is."""
        (self.root / "config" / file).write_text(text, encoding="utf-8")
        return self

    def graph(self, scale: str = "demo") -> Graph:
        """The graph of what is written now."""
        return Graph(Config(self.root), scale)

    def _file_of(self, name: str) -> tuple[Path, str]:
        for file in sorted((self.root / "config/experiments").glob("*.yaml")):
            content = yaml.load(file.read_text(encoding="utf-8"), LOADER)
            for kind in ("experiments", "probes", "tables"):
                if name in (content.get(kind) or {}):
                    return file, kind
        raise KeyError(name)

    def _store(self, file: Path, content: Any) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)

        class Plain(DUMPER):
            def ignore_aliases(self, data: Any) -> bool:
                return True

        file.write_text(yaml.dump(content, Dumper=Plain, sort_keys=False), encoding="utf-8")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `--dist loadgroup` a file goes to one process, and so do all users of `built_tiny`."""
    if not getattr(config.option, "loadgroup", False):
        return
    groups = {}
    for item in items:
        tiny = "built_tiny" in getattr(item, "fixturenames", ())
        groups[item] = "built_tiny" if tiny else item.path.stem
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(groups[item], len(LONG)))


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the committed `config/`, for tests that only read it."""
    return copy_config(tmp_path_factory.mktemp("committed"))


@pytest.fixture(scope="session")
def built_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the scale `tiny` in which everything is built; for tests that only read it."""
    from tiny import ALL, checkout, snakemake  # here: they import torch

    root = checkout(tmp_path_factory.mktemp("tiny") / "built")
    snakemake(root, "-c", "2", "--", ALL)
    return root


@pytest.fixture
def projects(tmp_path: Path) -> Callable[[], Project]:
    """Makes a new copy at each call."""
    made: list[Project] = []

    def make() -> Project:
        made.append(Project(tmp_path / f"project{len(made)}"))
        return made[-1]

    return make


@pytest.fixture
def project(projects: Callable[[], Project]) -> Project:
    """One copy."""
    return projects()


@pytest.fixture
def graph(projects: Callable[[], Project]) -> Callable[..., Graph]:
    """`graph("demo", **{"sphere_convnet_c10.grid.seed": [0, 1]})`: of a new copy, so edited."""

    def make(scale: str = "demo", **edits: Any) -> Graph:
        project = projects()
        for path, value in edits.items():
            project.edit(path, value)
        return project.graph(scale)

    return make


def ids(graph: Graph) -> set[str]:
    """The ids of all runs of a graph."""
    return set(graph.owned[0])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coarse PNG and no layout, where only a figure's numbers are looked at."""
    from refigure import plotting

    monkeypatch.setattr(plotting, "PNG_DPI", 40)
    monkeypatch.setitem(plotting.mpl.rcParams, "figure.constrained_layout.use", False)
