"""The scale `headline` on a CPU: its selection, networks and claims, on made-up images, two epochs.

    python tests/headline.py FOLDER   # a checkout there; builds all of it, in minutes

It shows that every figure of `headline` is drawn and every claim of it is decided or says why not,
from tables that hold few rates, few seeds and, here, networks that learned nothing.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
import yaml
from PIL import Image
from refigure.data.sources import digest_of
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.graph.steps import Steps
from test_workflow import clone

ROOT = Path(__file__).resolve().parents[1]
SCALE = "headline_smoke"
LIMITS = {"epochs": 2, "train": 256, "test": 128}
CLASSES = {"cifar10": 10, "cifar100": 100}
POOLED = (
    "images10",
    "images10_raw",
    "images10_shuffled_labels_raw",
    "images10_first_10000",
    "images10_shuffled_labels_first_10000",
    "images100",
)
"""What is averaged to 8x8 pixels; the VGGs halve theirs five times."""
CROP = "augment: {name: resized_crop}"
SMALL_CROP = "augment: {name: resized_crop, size: 32, resize: 36}"
"""What ResNet-50 sees: a forty-ninth of the work of 224 pixels."""
PATCHES = "demo: {options: {sides: &sides"
FEW_STEPS = "headline_smoke: {options: {steps: 20}}\n      " + PATCHES
"""Of gradient ascent to what a unit sees; a thousand of them take a CPU a quarter of an hour."""


def draw(folder: Path, classes: int) -> None:
    """As many images of 32x32 pixels as `LIMITS` asks for; those of a class share a mean."""
    source = np.random.default_rng(classes)
    means = source.uniform(60, 190, (classes, 1, 1, 3))
    for part in ("train", "test"):
        for number in range(LIMITS[part]):
            pixels = source.normal(means[number % classes], 40, (32, 32, 3))
            path = folder / part / f"class{number % classes:02}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def checkout(root: Path) -> Path:
    """A copy of this checkout with made-up data and the scale.

    Texts are those of `demo`: the reference of Python inside the interpreter.
    """
    clone(root)
    sources = {}
    for name, classes in CLASSES.items():
        draw(root / "made_up" / name, classes)
        sources[name] = {
            "images": f"made_up/{name}",
            "sha256": digest_of(root / "made_up" / name),
        }
    torch.manual_seed(0)
    checkpoint = root / "made_up/resnet50.pth"
    torch.save(torchvision.models.resnet50().state_dict(), checkpoint)
    sources["imagenet_v1"] = {"weights": str(checkpoint), "sha256": digest_of(checkpoint)}
    (root / "config/local.yaml").write_text(yaml.safe_dump({"sources": sources}))
    for name, old, new in (("transfer", CROP, SMALL_CROP), ("memorization", PATCHES, FEW_STEPS)):
        family = root / f"config/experiments/{name}.yaml"
        assert old in family.read_text()
        family.write_text(family.read_text().replace(old, new))
    demo = yaml.safe_load((ROOT / "config/scales/demo.yaml").read_text())
    words = demo["data"]["ptb_words"] | {"streams": 32}  # as many as the batch has
    cpu = {"gpu": 0, "mem_mb": 2000, "runtime": 60}
    scale = {
        "extends": "headline",
        "data": {"ptb_words": words} | {name: {"pool": 8} for name in POOLED},
        "limits": LIMITS,
        "resources": {"train": cpu, "measure": cpu},
    }
    (root / f"config/scales/{SCALE}.yaml").write_text(yaml.safe_dump(scale, sort_keys=False))
    return root


def targets(root: Path) -> list[str]:
    """Every figure and claim of the scale; what the papers' own numbers come to is of no scale."""
    graph = Graph(Config(root), SCALE)
    jobs = Steps(graph)
    chain = jobs.chain([path for slug in graph.built for path in jobs.of_paper(slug)])
    drawn = [job.outputs[0] for job in chain.values() if job.rule in ("figure", "claim")]
    return [path for path in drawn if path.startswith(f"results/{SCALE}/")]


def main() -> int:
    """Make one and build it."""
    root = checkout(Path(sys.argv[1]).resolve())
    words = [sys.executable, "-m", "snakemake", "-c", "2", "--keep-going", "--"]
    return subprocess.run([*words, *targets(root)], cwd=root).returncode


if __name__ == "__main__":
    sys.exit(main())
