"""Damaged inputs, 200 of each kind under one seed: read, or refused in one line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from refigure.data import prepared
from refigure.data.sources import digest_of, read
from refigure.data.text import documents, language, texts
from refigure.errors import UserError
from refigure.files import read_json, read_parquet
from refigure.graph.reading import read_yaml
from refigure.training.jobs import parts, states
from test_foreign_data import BOOK, packings, rows, zip_of
from test_text import recipe
from test_wrong_input import pixels

COUNT = 200
IMAGES = {f"{part}/{kind}/0.png": pixels(seed=1) for part in ("train", "test") for kind in "ab"}
VECTORS = b"the 0.5 -1.0\ncat 2.0 0.25\n" * 9
BINARY = b"2 2\n" + b"".join(w + b" " + np.ones(2, "<f4").tobytes() for w in (b"the", b"cat"))


def damaged(content: bytes, source: random.Random) -> bytes:
    """Cut, with bytes changed, left out, or put in."""
    found = bytearray(content)
    for _ in range(source.choice((1, 1, 3, 20))):
        place = source.randrange(len(found) + 1)
        how = source.choice(("change", "change", "cut", "drop", "insert", "number"))
        if how == "cut" and source.random() < 0.3:
            del found[place:]
        elif how == "drop":
            del found[place : place + source.randrange(1, 9)]
        elif how == "insert":
            found[place:place] = source.randbytes(source.randrange(1, 9))
        elif how == "number":
            found[place : place + 4] = source.choice((b"\xff\xff\xff\x7f", bytes(4), b"9999"))
        elif place < len(found):
            found[place] = source.randrange(256)
    return bytes(found)


def of(kind: str, path: Path) -> dict:
    return {"kind": kind, "path": str(path), "sha256": digest_of(path)}


def images(path: Path) -> None:
    read(of("images", path), path.parent)


def vectors(path: Path) -> None:
    for _ in texts.vectors(of("text", path), path.parent):
        pass


def characters(path: Path) -> None:
    language.prepare(
        texts.read(of("text", path), path.parent), recipe("characters", parts=[9, 9, 9])
    )


def labelled(path: Path) -> None:
    files = texts.read(of("text", path), path.parent)
    chosen = recipe("documents", length=6, validation=0.0, held_out=0.3)
    documents.prepare(documents.Raw(files, None), chosen)


def tensors() -> bytes:
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    path = folder / "refigure-fuzz.safetensors"
    about = {"recipe": {"name": "ticks"}}
    names = ("train_points", "train_labels", "test_points", "test_labels")
    arrays = {name: np.ones(4, np.float32) for name in (*names, "single_points", "single_labels")}
    prepared.write(path, arrays, about)
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def parquet() -> bytes:
    stream = io.BytesIO()
    pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}).to_parquet(stream)
    return stream.getvalue()


ARCHIVES = packings(IMAGES)
READERS: dict[str, tuple[Callable[[Path], object], bytes]] = {
    **{f"images.{way}": (images, content) for way, content in ARCHIVES.items()},
    "book.txt": (characters, BOOK.encode("utf-16")),
    "book.txt.gz": (characters, gzip.compress(BOOK.encode())),
    "book.zip": (characters, zip_of({"book.txt": BOOK.encode()})),
    "table.csv": (labelled, rows("121212" * 3).encode()),
    "x.zip": (labelled, zip_of({"x.neg": b"a b\n" * 9, "x.pos": b"b c\n" * 9})),
    "v.txt": (vectors, VECTORS),
    "v.bin": (vectors, BINARY),
    "v.txt.gz": (vectors, gzip.compress(VECTORS)),
    "v.zip": (vectors, zip_of({"v.txt": VECTORS})),
    "data.safetensors": (lambda path: prepared.load(path, "cpu"), tensors()),
    "points.safetensors": (lambda path: parts.read_tensors(path, ["x"]), tensors()),
    "x.state": (lambda path: states.read(path, {"runs": []}), tensors()),
    "x.json": (read_json, json.dumps({"a": [1, {"b": "c"}]}).encode()),
    "x.parquet": (read_parquet, parquet()),
    "x.yaml": (read_yaml, Path(__file__).parents[1].joinpath("config/config.yaml").read_bytes()),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_input_is_read_or_refused_in_one_line(tmp_path, name, capsys):
    reader, content = READERS[name]
    source = random.Random(f"{name}/0")
    refused = 0
    for _ in range(COUNT):
        path = tmp_path / name
        path.write_bytes(damaged(content, source))
        try:
            reader(path)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
        left = {one.name for one in tmp_path.iterdir()} - {name, f"{name}.aside"}
        assert not left
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    assert refused or name.endswith((".state", ".csv", ".txt"))
