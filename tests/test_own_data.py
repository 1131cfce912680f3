"""Own data, by the letter of README.md: a folder of images, two files, one command."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from refigure.files import read_json
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.graph.steps import Steps
from refigure.stages import scale_of
from test_workflow import clone
from tiny import refigure, snakemake

ROOT = Path(__file__).resolve().parents[1]
FILE = re.compile(r"```yaml\n# (config/\S+\.yaml)\n(.*?)```", re.DOTALL)
CLAIM = "results/mine/claims/three-regimes/C6.json"


def written() -> dict[str, str]:
    """File -> text, of the blocks of README.md that begin with a file's name."""
    return dict(FILE.findall((ROOT / "README.md").read_text(encoding="utf-8")))


def draw(folder: Path, train: int = 60, test: int = 30) -> None:
    """Images of 32x32 pixels and three kinds, told apart by where they are bright."""
    source = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for number in range(count):
            kind = number % 3
            pixels = source.normal(100, 40, (32, 32, 3))
            pixels[10 * kind : 10 * kind + 10] += 60
            path = folder / part / f"kind{kind}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    """A clone with README's two files, and limits that make it quick."""
    root = clone(tmp_path_factory.mktemp("own") / "clone")
    for file, text in written().items():
        (root / file).write_text(text, encoding="utf-8")
    sources = yaml.safe_load((root / "config/local.yaml").read_text())["sources"]
    [(name, source)] = sources.items()
    draw(root / source["images"])
    assert "wrote sha256" in refigure(root, "pin", name).stdout
    with (root / "config/scales/mine.yaml").open("a") as stream:
        stream.write("limits: {epochs: 1, train: 40, test: 20, seeds: 1}\n")
    return root


def test_readme_writes_a_scale_and_its_source():
    assert set(written()) == {"config/local.yaml", "config/scales/mine.yaml"}
    assert (
        "snakemake -c 2 -- results/mine/claims/three-regimes.json"
        in (ROOT / "README.md").read_text()
    )


def test_a_claim_is_decided_on_a_folder_of_images(mine):
    snakemake(mine, "-c", "2", "--", CLAIM)
    record = read_json(mine / CLAIM)
    assert record["verdict"] == "undecided" and record["reason"]  # one epoch, one seed
    [pack] = (mine / "results/mine/packs").iterdir()
    runs = read_json(pack / "run.json")["runs"].values()
    assert [(run["status"], run["last_epoch"]) for run in runs] == [("finished", 1)] * 6
    [data] = (mine / "results/mine/data").iterdir()
    assert data.name.startswith("flowers-")


def test_no_claim_of_an_image_paper_asks_for_data_that_the_user_does_not_have(mine):
    graph = Graph(Config(mine), "mine")
    targets = [f"results/mine/claims/{slug}.json" for slug in graph.built]
    chain = Steps(graph).chain(targets).values()
    used = {graph.recipes[step.names[0]].get("source") for step in chain if step.rule == "prepare"}
    assert used - {None} == {"flowers"}


def test_without_a_checksum_the_one_line_says_what_to_do(tmp_path):
    root = clone(tmp_path / "clone")
    for file, text in written().items():
        (root / file).write_text(text, encoding="utf-8")
    done = snakemake(root, "-n", "--", CLAIM, check=False)
    assert done.returncode != 0
    assert "refigure pin flowers" in done.stderr and "Traceback" not in done.stderr


def test_a_user_s_scale_is_judged_as_the_one_that_it_extends():
    threshold = {"paper": 0.98, "small": 0.9, "default": 0.97}
    assert scale_of(threshold, ["small", "mine"]) == "small"
    assert scale_of(threshold, ["small", "paper"]) == "paper"
    assert scale_of(threshold, ["demo", "smoke"]) == "smoke"
    assert scale_of(0.5, ["small", "mine"]) == "mine"
