"""How large data are, prepared or not, without reading them where that can be had."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.graph.lookups import Graph

TORCHVISION = {"CIFAR10": (50000, 10000, 3, 32, 10), "CIFAR100": (50000, 10000, 3, 32, 100)}
DIGITS = (1797, 0, 1, 8, 10)
TEXTS = {
    "imdb": {"objects": 25000, "test": 25000, "outputs": 1},
    "agnews": {"objects": 120000, "test": 7600, "outputs": 4},
    "ptb": {"characters": (5_017_400, 442_400, 50), "words": (929_589, 82_430, 10_000)},
}
"""Documents, or symbols of the training and test parts and the vocabulary: sparse-gated-rnn,
section 3."""


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


def text_of(graph: Graph, data: str) -> dict[str, int] | None:
    """What a network of a text is built for, and how many sequences it reads an epoch.

    Returns:
        `rows` of the vocabulary, `outputs`, `length` of a sequence, `objects` and `test`, the
        sequences of both parts; None of a text that only reading tells.
    """
    recipe = graph.recipes[data]
    known = TEXTS.get(recipe.get("source"))
    if known is None:
        return None
    if recipe["name"] == "documents":
        share = 1 - (recipe["validation"] or 0.0)
        rows = recipe["words"] or 20_000
        return {**known, "objects": int(share * known["objects"]), "rows": rows} | {
            "length": recipe["length"]
        }
    train, test, rows = known[recipe["name"]]
    length = recipe["length"]
    sequences = {"objects": train // length, "test": test // length}
    return {**sequences, "rows": rows, "outputs": rows, "length": length}


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
        source = graph.config.sources_of(recipe)["source"]
        counted = _of_images(Path(source["path"]), bool(source["follow_links"]))
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


def _of_images(path: Path, follow_links: bool) -> tuple[int, int, int, int, int] | None:
    """Of images in a folder or an archive; one of them is decoded."""
    from refigure.data.sources import survey

    try:
        found, first, _ = survey(path, follow_links)
    except UserError:
        return None  # the job itself will say what is wrong
    train, test = (sum(part.values()) for part in found.counts.values())
    channels, size, _ = first.shape
    return train, test, channels, size, len(found.classes)
