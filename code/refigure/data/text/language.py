"""A text as a row of symbols, for models that predict the next one: characters or words.

Source: sparse-gated-rnn, sections 3.1 to 3.3 and 10.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refigure.data import prepared
from refigure.data.text import texts
from refigure.errors import UserError

PARTS = ("train", "validation", "test")
END, UNKNOWN = "<eos>", "<unk>"


@dataclass(frozen=True)
class Prepared:
    """Symbols of the three parts.

    Args:
        symbols: part -> (symbols,), int32 rows of the vocabulary.
        words: the symbol of each row.
        counts: (rows,), int64: occurrences in the training part.
    """

    symbols: Mapping[str, np.ndarray]
    words: list[str]
    counts: np.ndarray


@dataclass(frozen=True)
class Text:
    """A prepared text on a device; see `Prepared`.

    Args:
        length: symbols of a window (characters), or predicted a step (words).
        streams: side by side (words), or None: windows, each from a fresh state (characters).
        source: name of the source, as the configuration has it.
    """

    symbols: dict[str, Tensor]
    words: list[str]
    counts: Tensor
    length: int
    streams: int | None
    source: str = ""

    @property
    def rows(self) -> int:
        """Of the vocabulary, which is read and predicted."""
        return len(self.words)


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> dict[str, bytes]:
    """The files of the recipe's source; the topics of the reference text as one, by newlines."""
    files = texts.read(given["source"], cache)
    if given["source"]["kind"] == "reference":
        return {"reference": b"\n".join(files.values())}
    return files


def prepare(files: Mapping[str, bytes], recipe: Mapping[str, Any]) -> Prepared:
    """The symbols of a text; the same at every call.

    A recipe with `streams` is one of words, else of characters. Files named by "train", "valid"
    and "test" are the parts; where `parts` gives lengths, all files, joined in the order of their
    names, are cut into parts of so many symbols from the start. In files named by ".char." every
    second character is dropped where all of those are blanks, as in the authors' files.

    Words: a line is a sentence, split at white space and "_", and ended by `<eos>`; a `plain` text
    is lower-cased first and split into letters, digits and "_" (`\\w+`), empty lines left out.
    The vocabulary: the symbols of all parts, by frequency, then alphabet; beyond the first `words`
    they are `<unk>`.

    Raises:
        UserError: a part is missing, or shorter than asked for.
    """
    where = f"recipe of '{recipe['source']}'"
    split = {name: _symbols(name, content, recipe) for name, content in files.items()}
    found = Counter(map(texts.encoding_of, files.values()))
    encodings = ", ".join(f"{count} in {name}" for name, count in sorted(found.items()))
    print(f"{where}: {sum(map(len, split.values())):,} symbols; files: {encodings}", flush=True)
    if recipe["parts"] is None:
        parts = {part: _part(split, part, where) for part in PARTS}
    else:
        joined = [symbol for name in sorted(split) for symbol in split[name]]
        parts = _cut(joined, recipe["parts"], where)
    count: Counter[str] = Counter()
    for symbols in parts.values():
        count.update(symbols)
    words = sorted(count, key=lambda symbol: (-count[symbol], symbol))
    limit = recipe.get("words")
    if limit is not None and len(words) > limit:
        words = words[: limit - (UNKNOWN not in words[:limit])]
        words += [] if UNKNOWN in words else [UNKNOWN]
    row = {word: place for place, word in enumerate(words)}
    unknown = row.get(UNKNOWN, -1)
    rows = {
        part: np.array([row.get(symbol, unknown) for symbol in symbols], dtype=np.int32)
        for part, symbols in parts.items()
    }
    counts = np.bincount(rows["train"], minlength=len(words)).astype(np.int64)
    return Prepared(rows, words, counts)


def _symbols(name: str, content: bytes, recipe: Mapping[str, Any]) -> list[str]:
    text = texts.decoded(content, name)
    if ".char." in name and not text[1::2].strip(" "):
        text = text[::2]
    if "streams" not in recipe:
        return list(text)
    if recipe["plain"]:
        lines = [re.findall(r"\w+", line) for line in text.lower().split("\n")]
        return [word for line in lines if line for word in [*line, END]]
    sentences = [line for line in text.split("\n") if line.strip()]
    return [
        word
        for sentence in sentences
        for word in [*(word for word in re.split(r"[\s_]+", sentence) if word), END]
    ]


NAMED = {"train": {"train", "training"}, "validation": {"valid", "validation", "val", "dev"}}
NAMED |= {"test": {"test"}}


def _part(split: Mapping[str, list[str]], part: str, where: str) -> list[str]:
    found = [name for name in split if NAMED[part] & set(texts.words_of(name))]
    if len(found) != 1:
        names = ", ".join(sorted(found or split)[:6])
        word = "valid" if part == "validation" else part
        raise UserError(
            f"{where}: expected one file named by '{word}', found {len(found)} ({names});"
            " `parts` in the recipe cuts all files, joined, into lengths"
        )
    return split[found[0]]


def _cut(symbols: Sequence[str], sizes: Iterable[int], where: str) -> dict[str, list[str]]:
    parts, first = {}, 0
    for part, size in zip(PARTS, sizes, strict=True):
        parts[part] = list(symbols[first : first + size])
        first += size
    if first > len(symbols):
        raise UserError(f"{where}: parts of {first} symbols, but there are {len(symbols)}")
    return parts


def save(made: Prepared, path: Path, recipe: Mapping[str, Any]) -> None:
    """Write a prepared text, with the vocabulary as metadata."""
    arrays = {"counts": made.counts} | {part: made.symbols[part] for part in PARTS}
    prepared.write(path, arrays, {"recipe": dict(recipe), "words": made.words})


def load(path: Path, device: torch.device | str) -> Text:
    """The text of a file that `save` wrote, on a device.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    tensors, about = prepared.read(path, device)
    recipe = about["recipe"]
    return Text(
        symbols={part: tensors[part].long() for part in PARTS},
        words=about["words"],
        counts=tensors["counts"],
        length=recipe["length"],
        streams=recipe.get("streams"),
        source=recipe["source"],
    )
