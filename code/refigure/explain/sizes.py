"""How large data are, prepared or not, without reading them where that can be had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refigure.graph.lookups import Graph

TORCHVISION = {"CIFAR10": (50000, 10000, 3, 32, 10), "CIFAR100": (50000, 10000, 3, 32, 100)}
DIGITS = (1797, 0, 1, 8, 10)


@dataclass(frozen=True)
class Shape:
    """Of prepared images.

    Args:
        train, test: how many.
        channels, size: of one; size in pixels.
        classes: how many.
        bytes: of the prepared file.
    """

    train: int
    test: int
    channels: int
    size: int
    classes: int
    bytes: int


def shape_of(graph: Graph, data: str) -> Shape | None:
    """The shape of images of a scale; None of other data, and where only reading them tells."""
    recipe = graph.recipes.get(data)
    if recipe is None or "standardise" not in recipe:
        return None
    return _of_file(graph.paths.data(data)) or _of_recipe(graph, recipe)


def header(path: Path) -> dict[str, Any] | None:
    """The header of a safetensors file; None where there is none."""
    try:
        with path.open("rb") as file:
            return json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError, OverflowError, MemoryError):
        return None


def _of_file(path: Path) -> Shape | None:
    found = header(path)
    if not found or "train_images" not in found:
        return None
    train, channels, size, _ = found["train_images"]["shape"]
    classes = len(json.loads(found["__metadata__"]["refigure"])["classes"])
    test = found["test_images"]["shape"][0]
    return Shape(train, test, channels, size, classes, path.stat().st_size)


def _of_recipe(graph: Graph, recipe: dict[str, Any]) -> Shape | None:
    source = graph.config.user["sources"][recipe["source"]]
    if source["kind"] == "digits":
        train, test, channels, size, classes = DIGITS
    elif source["kind"] == "torchvision" and source["name"] in TORCHVISION:
        train, test, channels, size, classes = TORCHVISION[source["name"]]
    elif source["kind"] == "images":
        counted = _of_images(graph.config.root / Path(source["path"]).expanduser())
        if counted is None:
            return None
        train, test, channels, size, classes = counted
    else:
        return None
    if not test:
        kept = recipe["train"] or train - (recipe["test"] or 0)
        train, test = kept, recipe["test"] or train - kept
    if recipe["validation"]:
        train, test = train - recipe["validation"], recipe["validation"]
    train, test = min(recipe["train"] or train, train), min(recipe["test"] or test, test)
    size = recipe["pool"] or size
    floats = recipe["pool"] or recipe["noise"] or source["kind"] == "digits"
    count = (train + test) * channels * size * size * (4 if floats else 1)
    return Shape(train, test, channels, size, classes, count)


def _of_images(path: Path) -> tuple[int, int, int, int, int] | None:
    """Of a folder of images; a tar's names alone take seconds to read, so one is read whole."""
    from PIL import Image

    from refigure.data.sources import IMAGE_SUFFIXES

    counts = {"train": 0, "test": 0}
    classes, first = set(), None
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
        for file in files:
            part = file.parent.parent.name
            counts[part if part in counts else "train"] += 1
            classes.add(file.parent.name)
            first = first or file
        if first is None:
            return None
        with Image.open(first) as image:
            channels = 1 if image.mode == "L" else 3
            return counts["train"], counts["test"], channels, image.size[0], len(classes)
    return _of_tar(path) if path.is_file() else None


def _of_tar(path: Path) -> tuple[int, int, int, int, int] | None:
    import tarfile
    from pathlib import PurePosixPath

    from PIL import Image

    from refigure.data.sources import IMAGE_SUFFIXES

    counts = {"train": 0, "test": 0}
    classes: set[str] = set()
    size = None
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                part = name.parent.parent.name
                counts[part if part in counts else "train"] += 1
                classes.add(name.parent.name)
                if size is None:
                    with Image.open(archive.extractfile(member)) as image:
                        size = (1 if image.mode == "L" else 3, image.size[0])
    except (tarfile.TarError, OSError, EOFError):
        return None
    return size and (counts["train"], counts["test"], *size, len(classes))
