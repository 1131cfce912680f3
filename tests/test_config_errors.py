"""What a user may write wrongly, each with the one line that names the thing, value and file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from conftest import REMOVED, Project
from refigure import cli
from refigure.errors import UserError
from refigure.graph.lookups import Graph
from refigure.graph.reading import number

PT = "sphere_convnet_c10"
FT = f"{PT}_ft"
SPHERE = "config/experiments/sphere.yaml"
SAMPLE = "config/experiments/sample.yaml"
PAPER = "config/papers/sample.yaml"

MEASURED = {"train": {"every": {"epochs": 1}}, "test": {"every": {"epochs": 1}}}
EXPERIMENTS = {
    "sphere": {
        PT: {
            "base": {
                "data": "images10",
                "model": {"name": "convnet", "k": 8},
                "optimiser": {"name": "sphere_sgd"},
                "batch": 64,
                "epochs": 300,
            },
            "grid": {"elr": [0.01, 0.1, 1.0], "seed": [0, 1]},
            "points": {"pt": {"epoch": 200}, "end": {"epoch": "last"}},
            "record": MEASURED,
            "scales": {
                "demo": {
                    "epochs": 60,
                    "points": {
                        "pt": {"epoch": 40},
                        "end": {"epoch": "last"},
                        "swa20": {"average": {"count": 20, "from": 41}},
                    },
                }
            },
        },
        f"{PT}_long": {
            "start": {"from": PT, "at": "end", "take": "state"},
            "base": {"epochs": 1000},
            "record": MEASURED,
            "scales": {"demo": {"epochs": 100}},
        },
        FT: {
            "start": {"from": PT, "at": "pt", "take": "weights", "carry": {"elr": "plr"}},
            "base": {"epochs": 200},
            "grid": {"elr": [0.001]},
            "record": MEASURED,
            "scales": {"demo": {"epochs": 30}},
        },
    },
    "conventional": {
        "decay_convnet_c10": {
            "base": {
                "data": "images10",
                "model": {"name": "convnet", "k": 8},
                "optimiser": {"name": "sgd"},
                "epochs": 100,
            },
            "grid": {"seed": [0]},
            "scales": {"demo": {"cases": [{"lr": 0.1, "wd": 0.1}]}},
        },
        "practical_convnet_c10": {
            "base": {
                "data": "images10",
                "model": {"name": "convnet", "k": 8},
                "optimiser": {"name": "sgd", "wd": 0.001},
                "epochs": 100,
            },
            "grid": {"lr": [0.1], "seed": [0]},
        },
    },
}
"""Experiments to spoil, in place of the papers' own, whose grids and epochs may be tuned."""


@pytest.fixture
def project(project: Project) -> Project:
    """A copy of `config/` whose only experiments are the ones above and the sample."""
    for file in (project.root / "config/experiments").glob("*.yaml"):
        if file.stem != "sample":
            file.unlink()
    for stem, experiments in EXPERIMENTS.items():
        project.write(f"experiments/{stem}.yaml", "{}")
        project.edit(f"experiments/{stem}.experiments", experiments)
    return project


def edit(path: str, value: Any) -> Callable[[Project], None]:
    return lambda project: project.edit(path, value)


def write(file: str, text: str) -> Callable[[Project], None]:
    return lambda project: project.write(file, text)


def packs(graph: Graph) -> None:
    """Ask for all that training needs."""
    assert graph.packs


def paper(graph: Graph) -> None:
    """Ask for all that the sample paper needs."""
    graph.paper("sample")
    graph.missing_modules("sample")
    for name in graph.figures("sample"):
        str(graph.figure_provenance("sample", name))
    for name in graph.claims("sample"):
        graph.claim_provenance("sample", name)


def tables(graph: Graph) -> None:
    """Ask for the sample tables and probes."""
    for name in ("sample_lines", "sample_sharpness"):
        graph.table_files(name)


CASES = {
    # experiments
    "an unknown key of an experiment": (
        edit(f"{PT}.recrod", {}),
        packs,
        [SPHERE, PT, "unknown key 'recrod'", "'record'"],
    ),
    "an unknown key beside experiments": (
        edit("experiments/sphere.experimens", {}),
        packs,
        [SPHERE, "unknown key 'experimens'", "'experiments'"],
    ),
    "an unknown key of the base": (
        edit(f"{PT}.base.epoch", 3),
        packs,
        [SPHERE, f"{PT}.base", "unknown key 'epoch'", "'epochs'"],
    ),
    "an unknown key of a model": (
        edit(f"{PT}.base.model.nrom", "batch"),
        packs,
        [SPHERE, PT, "model 'convnet' has no key 'nrom'", "'norm'"],
    ),
    "a missing width": (
        lambda project: project.edit(f"{PT}.base.model", {"name": "convnet"}).edit(
            f"{PT}.scales", {}
        ),
        packs,
        [SPHERE, f"{PT}.base.model.k is missing"],
    ),
    "no length": (
        lambda project: project.edit(f"{PT}.base.epochs", REMOVED).edit(f"{PT}.scales", {}),
        packs,
        [SPHERE, f"{PT}.base", "key 'epochs' is missing"],
    ),
    "an unknown model": (
        edit(f"{PT}.base.model", {"name": "convnett", "k": 8}),
        packs,
        [SPHERE, f"{PT}.base.model", "unknown model 'convnett'", "'convnet'"],
    ),
    "an unknown optimiser": (
        edit(f"{PT}.base.optimiser", "sphere_sdg"),
        packs,
        [SPHERE, f"{PT}.base.optimiser", "unknown optimiser 'sphere_sdg'", "'sphere_sgd'"],
    ),
    "an unknown schedule": (
        edit(f"{PT}.base.schedule", "cosin"),
        packs,
        [SPHERE, f"{PT}.base.schedule", "unknown schedule 'cosin'", "'cosine'"],
    ),
    "an unknown recorder": (
        edit(f"{PT}.record.trian", {}),
        packs,
        [SPHERE, f"{PT}.record.trian", "unknown record 'trian'", "'train'"],
    ),
    "a word that is none of a few": (
        edit(f"{PT}.base.model.norm", "bach"),
        packs,
        [SPHERE, f"{PT}.base.model.norm", "unknown value 'bach'", "'batch'"],
    ),
    "an unknown data alias": (
        edit(f"{PT}.base.data", "images01"),
        packs,
        [SPHERE, f"{PT}.base", "unknown data 'images01'", "'demo'", "'images10'"],
    ),
    "text where a list of values is wanted": (
        edit(f"{PT}.scales.demo.grid.elr", 0.1),
        packs,
        [SPHERE, f"{PT}.grid.elr must be a list of values, got 0.1"],
    ),
    "a list where keys are wanted": (
        edit(f"{PT}.record", [1, 2]),
        packs,
        [SPHERE, f"{PT}.record must be keys and values, got [1, 2]"],
    ),
    "an empty axis": (
        edit(f"{PT}.grid.seed", []),
        packs,
        [SPHERE, f"{PT}.grid.seed must be a list of values, got []"],
    ),
    "a value of an axis twice": (
        edit(f"{PT}.grid.seed", [0, 1, 0]),
        packs,
        [SPHERE, f"{PT}.grid.seed: 0 is written twice"],
    ),
    "an unknown axis": (
        edit(f"{PT}.grid.erl", [0.1]),
        packs,
        [SPHERE, PT, "unknown axis 'erl'", "'elr'"],
    ),
    "an axis of another optimiser": (
        edit(f"{PT}.grid.lr", [0.1]),
        packs,
        [SPHERE, PT, "optimiser 'sphere_sgd' has no key 'lr'"],
    ),
    "1e-3 as the first value of an axis": (
        edit(f"{PT}.scales.demo.grid.elr", ["1e-3", 0.1]),
        packs,
        [SPHERE, PT, "elr must be a number, got '1e-3'", "text", "write 0.001"],
    ),
    "1e-5 as the second value of an axis": (
        edit(f"{PT}.scales.demo.grid.elr", [0.1, "1e-5"]),
        packs,
        [SPHERE, f"{PT}.grid.elr must be a number, got '1e-5'", "write 1.0e-05"],
    ),
    "1e-3 as a weight decay": (
        edit("practical_convnet_c10.base.optimiser.wd", "1e-3"),
        packs,
        [
            "config/experiments/conventional.yaml",
            "practical_convnet_c10",
            "wd must be",
            "write 0.001",
        ],
    ),
    "an ELR that is not a number": (
        edit(f"{PT}.scales.demo.grid.elr", [float("nan")]),
        packs,
        [SPHERE, PT, "elr must be finite, got nan"],
    ),
    "epochs as text": (
        edit(f"{PT}.scales.demo.epochs", "sixty"),
        packs,
        [SPHERE, f"{PT}.base.epochs must be a", "got 'sixty'"],
    ),
    "half an epoch": (
        edit(f"{PT}.scales.demo.epochs", 0.5),
        packs,
        [SPHERE, f"{PT}.base.epochs must be a whole number, got 0.5"],
    ),
    "a block of nothing": (
        edit(f"{PT}.block", 0),
        packs,
        [SPHERE, f"{PT}.block must be at least 1, got 0"],
    ),
    "rows of cases with other keys": (
        edit("decay_convnet_c10.scales.demo.cases", [{"lr": 0.1, "wd": 0.1}, {"lr": 0.2}]),
        packs,
        ["conventional.yaml", "decay_convnet_c10.cases", "['lr', 'wd']", "['lr']"],
    ),
    "an unknown set of predictions": (
        edit(f"{PT}.predictions", ["tests"]),
        packs,
        [SPHERE, f"{PT}.predictions", "unknown set 'tests'", "test"],
    ),
    "a scale of an experiment that is none": (
        edit(f"{PT}.scales.dmeo", {"epochs": 3}),
        packs,
        [SPHERE, f"{PT}.scales", "unknown scale 'dmeo'", "'demo'"],
    ),
    "an override through a number": (
        edit(f"{PT}.scales.demo.batch.size", 3),
        packs,
        [SPHERE, f"{PT}.scales.demo", "'batch.size' goes through 'batch', which is 64"],
    ),
    "an experiment in two files": (
        edit("experiments/sample.experiments", {PT: {}}),
        packs,
        [SPHERE, f"'{PT}'", "already in", SAMPLE],
    ),
    "resources that there are not": (
        edit(f"{PT}.resources", {"memory": 3}),
        lambda graph: graph.resources("train", PT),
        [SPHERE, f"{PT}.resources", "unknown key 'memory'"],
    ),
    # starts
    "a parent that does not exist": (
        edit(f"{FT}.start.from", "sphere_convnet_c11"),
        packs,
        [SPHERE, f"{FT}.start", "unknown experiment 'sphere_convnet_c11'", f"'{PT}'"],
    ),
    "a parent's point that does not exist": (
        edit(f"{FT}.start.at", "ptt"),
        packs,
        [SPHERE, f"{FT}.start.at", f"'{PT}' has no point 'ptt'", "'pt'"],
    ),
    "a parent's value that is not on its grid": (
        edit(f"{FT}.start.where", {"elr": [0.123]}),
        packs,
        [SPHERE, f"{FT}.start.where", "elr=0.123 is not among"],
    ),
    "a parent's axis that is none": (
        edit(f"{FT}.start.where", {"lr": [0.123]}),
        packs,
        [SPHERE, f"{FT}.start.where", "no axis 'lr'"],
    ),
    "an axis to carry that is none": (
        edit(f"{FT}.start.carry", {"lr": "plr"}),
        packs,
        [SPHERE, f"{FT}.start.carry", "no axis 'lr'"],
    ),
    "something to take that there is not": (
        edit(f"{FT}.start.take", "weight"),
        packs,
        [SPHERE, f"{FT}.start.take", "unknown value 'weight'", "'weights'"],
    ),
    "an unknown key of a start": (
        edit(f"{FT}.start.form", PT),
        packs,
        [SPHERE, f"{FT}.start", "unknown key 'form'", "'from'"],
    ),
    "a start from itself": (
        edit(f"{FT}.start.from", FT),
        packs,
        [SPHERE, FT, "starts from itself", f"{FT} -> {FT}"],
    ),
    "a start from a run's own child": (
        edit(f"{PT}.start", {"from": FT, "at": "end"}),
        packs,
        [SPHERE, "starts from itself", f"{PT} -> {FT} -> {PT}"],
    ),
    "going on to an epoch before the point": (
        edit(f"{PT}_long.scales.demo.epochs", 60),
        packs,
        [SPHERE, f"{PT}_long.start", "goes on from epoch 60 to 60"],
    ),
    "going on from an average": (
        edit(f"{PT}_long.start.at", "swa20"),
        packs,
        [SPHERE, f"{PT}_long.start", "can be gone on from", "average"],
    ),
    # points
    "a point after the last epoch": (
        edit(f"{PT}.scales.demo.points", {"pt": {"epoch": 61}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "epoch 61 is after the run's last, 60"],
    ),
    "a point before the first epoch": (
        edit(f"{PT}.scales.demo.points", {"pt": {"epoch": -1}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "must not be negative, got -1"],
    ),
    "an average outside the run": (
        edit(f"{PT}.scales.demo.points", {"pt": {"average": {"count": 5, "from": 58}}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "averages epochs outside 0 to 60"],
    ),
    "an average of nothing": (
        edit(f"{PT}.scales.demo.points", {"pt": {"average": {"count": 0, "from": 58}}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "average.count must be at least 1, got 0"],
    ),
    "an average without a count": (
        edit(f"{PT}.scales.demo.points", {"pt": {"average": {"from": 5}}}),
        packs,
        [SPHERE, f"{PT}.points.pt.average", "key 'count' is missing"],
    ),
    "a point of no kind": (
        edit(f"{PT}.scales.demo.points", {"pt": {"replace": True, "epcoh": 5}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "a point is one of", "epcoh"],
    ),
    "a point of two kinds": (
        edit(f"{PT}.scales.demo.points", {"pt": {"replace": True, "epoch": 5, "fraction": 0.5}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "a point is one of", "'epoch': 5, 'fraction': 0.5"],
    ),
    "a point whose kind is null": (
        edit(f"{PT}.scales.demo.points", {"pt": {"replace": True, "fraction": None}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "a point is one of", "'fraction': None"],
    ),
    "an average with two ends": (
        edit(f"{PT}.scales.demo.points", {"pt": {"average": {"count": 2, "from": 5, "to": 9}}}),
        packs,
        [SPHERE, f"{PT}.points.pt.average", "one of from, to is needed"],
    ),
    "an average of steps over epochs": (
        edit(
            f"{PT}.scales.demo.points",
            {"pt": {"average": {"count": 2, "every": 1, "steps": 3, "to": 9}}},
        ),
        packs,
        [SPHERE, f"{PT}.points.pt.average", "steps stands in place of every"],
    ),
    "a mode of what is not best": (
        edit(f"{PT}.scales.demo.points", {"pt": {"epoch": 5, "mode": "max"}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "mode is a key of a point that is best, got epoch"],
    ),
    "a point that is a number": (
        edit(f"{PT}.scales.demo.points", {"pt": 40}),
        packs,
        [SPHERE, f"{PT}.points.pt must be keys and values, got 40"],
    ),
    "an unknown event": (
        edit(f"{PT}.scales.demo.points", {"pt": {"event": "calm_and"}}),
        packs,
        [SPHERE, f"{PT}.points.pt", "unknown event 'calm_and'", "'calm_end'"],
    ),
    "a clock of no unit": (
        edit(f"{PT}.record", {"train": {"every": {"epoch": 1}}}),
        packs,
        [SPHERE, f"{PT}.record.train.every", "a clock is one of", "epoch"],
    ),
    "a clock of two units": (
        edit(f"{PT}.record", {"train": {"every": {"epochs": 1, "steps": 5}}}),
        packs,
        [SPHERE, f"{PT}.record.train.every", "a clock is one of", "'steps': 5"],
    ),
    "a trailing clock of epochs": (
        edit(f"{PT}.record", {"train": {"every": {"epochs": 1, "trailing": 5}}}),
        packs,
        [SPHERE, f"{PT}.record.train.every", "trailing is a key of a clock that is log"],
    ),
    "a clock that stands still": (
        edit(f"{PT}.record", {"train": {"every": {"epochs": 0}}}),
        packs,
        [SPHERE, f"{PT}.record.train.every.epochs must be at least 1, got 0"],
    ),
    "a recorder that is a number": (
        edit(f"{PT}.record", {"train": 5}),
        packs,
        [SPHERE, f"{PT}.record.train must be keys and values, got 5"],
    ),
    # scales, data, sources
    "an unknown key of a scale": (
        edit("scales/demo.blok", 3),
        packs,
        ["config/scales/demo.yaml", "unknown key 'blok'", "'block'"],
    ),
    "a limit that there is not": (
        edit("scales/demo.limits", {"epoch": 3}),
        packs,
        ["config/scales/demo.yaml", "limits", "unknown key 'epoch'", "'epochs'"],
    ),
    "a scale that extends itself": (
        edit("scales/demo.extends", "demo"),
        packs,
        ["config/scales/demo.yaml", "extends itself"],
    ),
    "a scale that extends one that is not there": (
        edit("scales/demo.extends", "smal"),
        packs,
        ["config/scales/demo.yaml", "unknown scale 'smal'", "'small'"],
    ),
    "a scale with a block of nothing": (
        edit("scales/demo.block", 0),
        packs,
        ["config/scales/demo.yaml", "block must be at least 1, got 0"],
    ),
    "resources of a scale that are text": (
        edit("scales/demo.resources.train.gpu", "one"),
        packs,
        ["config/scales/demo.yaml", "resources.train.gpu", "got 'one'"],
    ),
    "an unknown key of a recipe": (
        edit("scales/demo.data.images10.trian", 3),
        packs,
        ["config/scales/demo.yaml", "data.images10", "no key 'trian'", "'train'"],
    ),
    "an unknown source": (
        edit("scales/demo.data.images10.source", "digit"),
        packs,
        ["config/scales/demo.yaml", "data.images10", "unknown source 'digit'", "'digits'"],
    ),
    "a source of no kind": (
        edit("config.sources.digits", {"kind": "digit"}),
        packs,
        ["config/config.yaml", "sources.digits", "unknown kind 'digit'", "'digits'"],
    ),
    "images without a checksum": (
        write("local.yaml", "sources: {cifar10: {images: data/cifar.tar}}"),
        packs,
        ["config/local.yaml", "cifar10", "data/cifar.tar has no sha256", "refigure pin cifar10"],
    ),
    "an unknown key of a source": (
        write("local.yaml", f"sources: {{cifar10: {{images: a, sha256: {'b' * 64}, sha265: c}}}}"),
        packs,
        ["config/local.yaml", "sources.cifar10", "unknown key 'sha265'"],
    ),
    "an unknown key of the local configuration": (
        write("local.yaml", "devise: cpu"),
        packs,
        ["config/local.yaml", "unknown key 'devise'", "'device'"],
    ),
    "an unknown key of the configuration": (
        edit("config.source", {}),
        packs,
        ["config/config.yaml", "unknown key 'source'", "'sources'"],
    ),
    # files
    "a key written twice": (
        write("local.yaml", "device: cpu\nscale: demo\ndevice: cuda\n"),
        packs,
        ["config/local.yaml", "'device' is written twice"],
    ),
    "a key that is a number": (
        write("local.yaml", "sources: {1: null}"),
        packs,
        ["config/local.yaml", "key 1 is no text"],
    ),
    "no YAML": (
        write("experiments/mine.yaml", "experiments: {a: [1, 2\n"),
        packs,
        ["config/experiments/mine.yaml", "not YAML", "line"],
    ),
    "a tab": (
        write("experiments/mine.yaml", "experiments:\n\tmine: {}\n"),
        packs,
        ["config/experiments/mine.yaml", "not YAML", "line 2"],
    ),
    "a character that YAML forbids": (
        write("experiments/mine.yaml", "experiments: {}\n# \x07\n"),
        packs,
        ["config/experiments/mine.yaml", "not YAML"],
    ),
    "a file that is no text": (
        lambda project: (project.root / "config/experiments/mine.yaml").write_bytes(
            b"\xff\xfe\x00"
        ),
        packs,
        ["config/experiments/mine.yaml", "not YAML"],
    ),
    "a list where a file should hold keys": (
        write("experiments/mine.yaml", "- a\n- b\n"),
        packs,
        ["config/experiments/mine.yaml", "expected keys and values, got list"],
    ),
    # papers
    "an unknown paper": (
        lambda project: None,
        lambda graph: graph.paper("sampel"),
        ["unknown paper 'sampel'", "'sample'"],
    ),
    "a paper without a file": (
        edit("config.papers", ["sampel"]),
        paper,
        ["config/config.yaml", "config/papers/sampel.yaml", "'sample'"],
    ),
    "an unknown key of a paper": (
        edit("papers/sample.figuers", {}),
        paper,
        [PAPER, "unknown key 'figuers'", "'figures'"],
    ),
    "figures that are a list": (
        edit("papers/sample.figures", ["fig1"]),
        paper,
        [PAPER, "figures must be keys and values, got ['fig1']"],
    ),
    "an unknown key of a figure": (
        edit("papers/sample.figures.fig1.captoin", "-"),
        paper,
        [PAPER, "figures.fig1", "unknown key 'captoin'", "'caption'"],
    ),
    "a figure without a notebook's name": (
        edit("papers/sample.figures.fig1.notebook", REMOVED),
        paper,
        [PAPER, "figures.fig1", "key 'notebook' is missing"],
    ),
    "a notebook that is not there": (
        edit("papers/sample.figures.fig1.notebook", "fig2"),
        paper,
        [PAPER, "figures.fig1", "no notebook code/notebooks/sample/fig2.ipynb"],
    ),
    "a figure of an unknown table": (
        edit("papers/sample.figures.fig1.tables", {"lines": "sample_line"}),
        paper,
        [PAPER, "figures.fig1", "unknown table 'sample_line'", "'sample_lines'"],
    ),
    "a claim with an unknown figure": (
        edit("papers/sample.claims.c1.figures", ["fig2"]),
        paper,
        [PAPER, "claims.c1", "unknown figure 'fig2'", "'fig1'"],
    ),
    "a claim with an unknown table": (
        edit("papers/sample.claims.c1.tables", {"lines": "sample_line"}),
        paper,
        [PAPER, "claims.c1", "unknown table 'sample_line'", "'sample_lines'"],
    ),
    "a claim without a predicate": (
        edit("papers/sample.claims.c1.decide", REMOVED),
        paper,
        [PAPER, "claims.c1", "key 'decide' is missing"],
    ),
    "a paper with an unknown experiment": (
        edit("papers/sample.experiments", ["sphere_convnet_c11"]),
        paper,
        [PAPER, "unknown experiment 'sphere_convnet_c11'"],
    ),
    # tables and probes
    "an unknown key of a table": (
        edit("sample_lines.wehre", {}),
        tables,
        [SAMPLE, "sample_lines", "unknown key 'wehre'"],
    ),
    "a table of an unknown experiment": (
        edit("sample_lines.runs.from", "sphere_convnet_c11"),
        tables,
        [SAMPLE, "sample_lines.runs", "unknown experiment 'sphere_convnet_c11'"],
    ),
    "a table where a value is not on the grid": (
        edit("sample_lines.runs.where", {"elr": 0.7}),
        tables,
        [SAMPLE, "sample_lines.runs", "elr=0.7 is not among"],
    ),
    "a table whose runs are a number": (
        edit("sample_lines.runs", 5),
        tables,
        [SAMPLE, "sample_lines.runs must be", "got 5"],
    ),
    "a table of an unknown probe": (
        edit("sample_sharpness.probes", {"sharpness": "sample_prob"}),
        tables,
        [SAMPLE, "sample_sharpness", "unknown probe 'sample_prob'", "'sample_probe'"],
    ),
    "a table made of itself": (
        edit("sample_lines.tables", {"more": "sample_sharpness"}),
        tables,
        [SAMPLE, "made of itself", "sample_lines -> sample_sharpness -> sample_lines"],
    ),
    "a scale of a table that is none": (
        edit("sample_lines.scales", {"papr": {}}),
        tables,
        [SAMPLE, "sample_lines.scales", "unknown scale 'papr'", "'paper'"],
    ),
    "an unknown key of a probe": (
        edit("sample_probe.option", {}),
        tables,
        [SAMPLE, "sample_probe", "unknown key 'option'", "'options'"],
    ),
    "a probe at a point that does not exist": (
        edit("sample_probe.of.end.point", "final"),
        tables,
        [SAMPLE, "sample_probe.of.end", f"'{PT}' has no point 'final'"],
    ),
    "another name for an axis that is none": (
        edit("sample_probe.of.end.carry", {"lr": "plr"}),
        tables,
        [SAMPLE, "sample_probe.of.end.carry", "no axis 'lr'", "'elr'"],
    ),
    "a probe split by an axis that is none": (
        edit("sample_probe.split", ["sed"]),
        tables,
        [SAMPLE, "sample_probe", "no axis 'sed'", "'seed'"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_input_is_one_line_that_names_thing_value_and_file(project, name, capsys):
    spoil, ask, words = CASES[name]
    spoil(project)
    before = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    if ask is packs:  # as a user meets it
        called = ["--root", str(project.root), "train", "no-pack", "--scale", "demo"]
        assert cli.main(called) == 1
        [line] = capsys.readouterr().err.splitlines()
    else:
        with pytest.raises(UserError) as raised:
            ask(project.graph("demo"))
        line = str(raised.value)
    assert "\n" not in line
    assert [word for word in words if word not in line] == [], line
    after = {path: path.read_bytes() for path in project.root.rglob("*") if path.is_file()}
    assert after == before


def test_nothing_is_wrong_before_it_is_spoilt(project):
    for ask in (packs, paper, tables):
        ask(project.graph("demo"))


def test_nothing_is_wrong_with_the_papers_own_experiments(projects):
    for ask in (packs, paper, tables):
        ask(projects().graph("demo"))


def test_an_unknown_scale_is_named_with_the_nearest_one(project):
    with pytest.raises(UserError, match=r"unknown scale 'dmo'; did you mean 'demo'\?"):
        project.graph("dmo")


def test_an_unknown_pack_is_named(project):
    with pytest.raises(UserError, match="pack 'sphere-0' is not in the configuration at scale"):
        project.graph("demo").pack("sphere-0")


def test_a_graph_can_be_asked_again_after_an_error(project):
    graph = project.edit(f"{PT}.start", {"from": FT, "at": "end"}).graph("demo")
    lines = []
    for _ in range(2):
        with pytest.raises(UserError) as raised:
            graph.runs(PT)
        lines.append(str(raised.value))
    assert lines[0] == lines[1]


@pytest.mark.parametrize("text", ["1e-3", "1e-5", "1.25e-7", "1E5", "1e+22", "2.5e5"])
def test_the_number_that_is_suggested_is_the_one_meant_and_yaml_reads_it(text):
    with pytest.raises(UserError) as raised:
        number(text, "here")
    suggested = str(raised.value).rpartition("write ")[2].rstrip(")")
    assert yaml.safe_load(suggested) == float(text)
    assert isinstance(yaml.safe_load(suggested), float)
