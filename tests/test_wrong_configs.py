"""Wrong configurations, each with the one line that names the thing, its value and its file."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from refigure.errors import UserError
from refigure.graph.config import RULES, Config
from refigure.graph.lookups import Graph, graph_of
from refigure.graph.steps import Steps

RULE = re.compile(r"^rule (\w+):", re.M)
HERE = Path(__file__).parent / "wrong_configs"
CASES = yaml.safe_load((HERE / "cases.yaml").read_text(encoding="utf-8"))


def checkout(root: Path) -> Path:
    """The configuration beside this file, and a notebook for its figures."""
    shutil.copytree(HERE / "config", root / "config")
    notebook = root / "code/notebooks/sample/fig1.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text('{"cells": []}', encoding="utf-8")
    return root


def read_all(root: Path) -> Graph:
    """Ask for all that a build of the default scale asks for before its first job."""
    config = Config(root)
    scale = config.user["scale"]
    steps = Steps(graph_of(config, scale))
    jobs = steps.chain([f"results/{scale}/all", f"results/{scale}/report.html"])
    graph = steps.graph
    for part in graph.probe_of_part:
        str(graph.measure_provenance(part))
    for table in config.families["tables"]:
        str(graph.table_provenance(table))
    for job in jobs.values():
        assert job.params is not None
        trains = job.rule == "train"
        owner = graph.pack(job.names[0]).runs[0].experiment if trains else None
        graph.resources(job.rule, owner)
    return graph


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["line"].partition(".yaml")[2])
def test_a_wrong_configuration_is_one_line(case: dict[str, str], tmp_path: Path) -> None:
    root = checkout(tmp_path)
    file = root / "config" / case["file"]
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    assert case["old"] in text
    file.write_text(text.replace(case["old"], case["new"], 1), encoding="utf-8")
    before = sorted(root.rglob("*"))
    with pytest.raises(UserError) as raised:
        read_all(root)
    assert str(raised.value) == case["line"]
    assert sorted(root.rglob("*")) == before


def test_the_configuration_is_right_before_it_is_spoilt(tmp_path: Path) -> None:
    graph = read_all(checkout(tmp_path))
    assert len(graph.packs) == 6 and list(graph.figures("sample")) == ["fig1", "fig2"]


def test_there_are_a_hundred_cases_over_every_file_and_most_name_what_is_near() -> None:
    files = {case["file"] for case in CASES}
    written = {path.relative_to(HERE / "config").as_posix() for path in HERE.rglob("config/**/*.*")}
    edited = {name for name in written if name.endswith(".yaml")} - {"scales/paper.yaml"}
    assert files == edited | {"local.yaml"}
    assert len(CASES) >= 100 and not [case for case in CASES if "\n" in case["line"]]
    # Whoever writes an unknown name of a thing is told the nearest, or what there is.
    unknown = [case["line"] for case in CASES if re.search(r"unknown \w+ '", case["line"])]
    assert len(unknown) > 50
    assert not [line for line in unknown if not re.search("did you mean|known:", line)]


def test_the_rules_that_a_configuration_may_name_are_those_of_the_graph() -> None:
    rules = Path(__file__).parents[1] / "rules"
    written = [name for path in rules.glob("*.smk") for name in RULE.findall(path.read_text())]
    assert sorted(written) == sorted(RULES)
