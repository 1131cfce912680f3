"""Own checkpoints, by the letter of the how-to: three files, a folder of images, one command."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from refigure.claims.basin import shared
from refigure.report.basin import text
from test_workflow import clone
from tiny import edit, refigure

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/how-to/own-checkpoints.md"
BLOCK = re.compile(r"( *)```yaml\n *# (config/\S+\.yaml)\n(.*?)```", re.DOTALL)
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def written() -> dict[str, str]:
    """File -> text, of the blocks of the page that begin with a file's name."""
    found = {}
    for indent, file, body in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        found[file] = "\n".join(line.removeprefix(indent) for line in body.splitlines()) + "\n"
    return found


def draw(folder: Path) -> torch.Tensor:
    """Images of 32x32 pixels and three kinds, by where they are bright; the training images."""
    source, kept = np.random.default_rng(0), []
    for part, count in (("train", 24), ("test", 24)):
        for number in range(count):
            pixels = source.normal(100, 20, (32, 32, 3))
            pixels[10 * (number % 3) : 10 * (number % 3) + 10] += 90
            pixels = pixels.clip(0, 255).astype(np.uint8)
            path = folder / part / f"kind{number % 3}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            if part == "train":
                kept.append(torch.tensor(pixels).permute(2, 0, 1))
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (torch.stack(kept).float() / 255 - mean) / std


def fine_tuned(images: torch.Tensor, folder: Path) -> None:
    """Three ResNet-18 of torchvision, that part after their first steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.resnet18(num_classes=3)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 0.5  # or the running moments lag behind so few steps
    labels = torch.arange(len(images)) % 3
    train(network, images, labels, 8)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for place, name in enumerate(("a", "b", "c")):
        network.load_state_dict(state)
        part = torch.randperm(24, generator=torch.Generator().manual_seed(place))[:12]
        train(network, images[part], labels[part], 1)
        torch.save(network.state_dict(), folder / f"{name}.pt")


def train(network, images, labels, steps: int) -> None:
    network.train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A clone with the how-to's files, small images and short paths."""
    folder = tmp_path_factory.mktemp("own")
    root = clone(folder / "clone")
    for file, content in written().items():
        (root / file).write_text(content, encoding="utf-8")
    edit(root / "config/experiments/own.yaml", "size: 224, resize: 256", "size: 32, resize: 32")
    edit(root / "config/experiments/own.yaml", "points: 11, plane: 6", "points: 3, plane: 3")
    fine_tuned(draw(folder / "flowers"), folder)
    for source in ("own_images", "own_checkpoints"):
        assert "wrote sha256" in refigure(root, "pin", source).stdout
    return root


def test_three_checkpoints_give_paths_soups_and_a_verdict_in_one_command(own):
    said = refigure(own, "basin", "--scale", "own").stdout
    rows = pd.read_parquet(own / "results/own/tables/own_basin.parquet")
    count = rows.groupby("what").size().to_dict()
    assert count == {
        "network": 3, "ensemble": 2, "soup": 2, "greedy": 1, "path": 9, "middle": 3, "plane": 6
    }  # fmt: skip
    assert (rows[rows["what"] == "network"]["test_accuracy"] > 60).all()
    accuracy = rows[rows["what"] != "middle"]["test_accuracy"]
    assert accuracy.between(0, 100).all() and set(rows["classes"]) == {3}
    ends = rows[(rows["what"] == "path") & (rows["alpha"] == 0.5)].set_index("members")
    middles = rows[rows["what"] == "middle"].set_index("members")
    pd.testing.assert_series_equal(ends["test_accuracy"], middles["test_accuracy"])
    assert re.search(r"^one basin: (yes|no|undecided)", said, re.MULTILINE)
    assert "a.pt + b.pt + c.pt" in said


def test_the_numbers_of_a_file_are_torchvision_s_own(own):
    rows = pd.read_parquet(own / "results/own/tables/own_basin.parquet")
    found = rows[rows["what"] == "network"].set_index("members")["test_accuracy"]
    network = torchvision.models.resnet18(num_classes=3)
    network.load_state_dict(torch.load(own.parent / "b.pt", weights_only=True))
    network.eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    right = []
    for kind in range(3):
        for path in (own.parent / f"flowers/test/kind{kind}").glob("*.png"):
            pixels = torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1)
            logits = network(((pixels / 255 - mean) / std)[None])
            right.append(int(logits.argmax()) == kind)
    assert found["b.pt"] == pytest.approx(100 * np.mean(right))


def test_a_file_of_another_network_is_one_line(own):
    other = torchvision.models.resnet18(num_classes=5).state_dict()
    kept = (own.parent / "c.pt").read_bytes()
    torch.save(other, own.parent / "c.pt")
    try:
        done = refigure(own, "pin", "--again", "own_checkpoints")
        done = refigure(own, "basin", "--scale", "own", check=False)
        assert done.returncode == 1
        assert "its last layer tells 5 classes apart, the data have 3" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    finally:
        (own.parent / "c.pt").write_bytes(kept)
        refigure(own, "pin", "--again", "own_checkpoints")


# ------------------------------------------------------------------ the verdict


def rows(drops, se: float = 0.1, accuracy: float = 90.0, objects: int = 400) -> pd.DataFrame:
    """Networks of one accuracy, and pairs with some drops."""
    networks = [
        {"what": "network", "members": name, "test_accuracy": accuracy, "classes": 10}
        for name in ("a", "b")
    ]
    middles = [
        {
            "what": "middle",
            "members": f"a + {place}",
            "drop": drop,
            "drop_se": se,
            "objects": objects,
        }
        for place, drop in enumerate(drops)
    ]
    return pd.DataFrame([*networks, *middles])


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (rows([0.0, -0.3]), "holds"),
        (rows([0.0, 5.0]), "fails"),
        (rows([0.0, 0.9]), "undecided"),
        (rows([0.0, 0.0], se=0.0), "holds"),
        (rows([0.0, 0.0], se=0.0, objects=24), "undecided"),  # none of 24 says little of 1 %
        (rows([0.0, 5.0], se=4.0), "undecided"),
        (rows([0.0, 0.0], accuracy=11.0), "undecided"),
    ],
)
def test_networks_share_a_basin_where_no_path_has_a_barrier(made, verdict):
    assert shared(made).verdict == verdict
    said = {"holds": "yes", "fails": "no", "undecided": "undecided"}[verdict]
    assert f"one basin: {said}" in text(made)
    assert not any(math.isnan(drop) for drop in made[made["what"] == "middle"]["drop"])
