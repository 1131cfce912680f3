"""Labelled documents as rows of a vocabulary: reviews, news, topics of a reference text.

Source: sparse-gated-rnn, sections 3.4 to 3.6 and 10.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refigure.data import prepared
from refigure.data.text import texts
from refigure.errors import UserError

SPECIALS = ("<pad>", "<start>", "<oov>")
"""Rows 0, 1 and 2; the word of rank r (from 0) has row r + 3."""

END = "</s>"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Raw:
    """Files by name, and words with vectors where some are configured (read once, on demand)."""

    files: Mapping[str, bytes]
    vectors: Callable[[], Iterator[tuple[str, np.ndarray]]] | None


@dataclass(frozen=True)
class Prepared:
    """Documents in the order of the split.

    Args:
        tokens: part -> (documents, length), int32 rows of the vocabulary, padded on the left by 0.
        labels: part -> (documents,), int64.
        words: of each row; specials in brackets, `<unused>` for rows that nothing addresses.
        counts: (rows,), int64: occurrences in the training documents as they are trained on.
        presence: (classes, rows), int64: training documents of each class that hold the word.
        vectors: (rows, dimensions), float32, of the rows in `known`, (rows,) bool; else absent.
        classes: names.
    """

    tokens: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    words: list[str]
    counts: np.ndarray
    presence: np.ndarray
    vectors: np.ndarray | None
    known: np.ndarray | None
    classes: list[str]


@dataclass(frozen=True)
class Documents:
    """Prepared documents on a device; see `Prepared`.

    Attributes:
        rows: of the vocabulary.
        outputs: of a network: 1 for two classes, whose probability it is that of the second.
    """

    tokens: dict[str, Tensor]
    labels: dict[str, Tensor]
    words: list[str]
    counts: Tensor
    presence: Tensor
    pretrained: tuple[Tensor, Tensor] | None
    classes: int

    @property
    def rows(self) -> int:
        return len(self.words)

    @property
    def outputs(self) -> int:
        return 1 if self.classes == 2 else self.classes


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> Raw:
    """The files of the recipe's source, and its word vectors."""
    files = texts.read(given["source"], cache)
    vectors = given.get("vectors")
    return Raw(files, vectors and (lambda: texts.vectors(vectors, cache)))


def prepare(raw: Raw, recipe: Mapping[str, Any]) -> Prepared:
    """The documents that a recipe makes of files; the same at every call.

    Tokens are what lies between `\\W+`, in their own case unless `lower`. The vocabulary: tokens of
    at least two training documents (validation included), by frequency, then alphabet, then the
    end mark. A document: its listed tokens, the others dropped, and the end mark; dropped itself
    below two. Then the start row in front, cropped to the first `length`, rows from `words` on
    become "out of vocabulary", padding on the left.

    Training and test documents are shuffled by one `RandomState(shuffle_seed)`, training first; of
    a source without a test part, the last `held_out` of all documents in that order are the test
    ones. The last `validation` of the training documents are the validation ones.

    Args:
        recipe: keys of the catalogue. `classes`: lists of files whose text, cut into documents of
            `chunk` tokens, makes a class each.

    Raises:
        UserError: the files are laid out in no known way.
    """
    where = f"recipe of '{recipe['source']}'"
    given, names = _labelled(raw.files, recipe, where)
    order = np.random.RandomState(recipe["shuffle_seed"])
    train, test = ([given[part][i] for i in order.permutation(len(given[part]))] for part in given)
    if not test:
        kept = len(train) - round(recipe["held_out"] * len(train))
        train, test = train[:kept], train[kept:]
    if not train or not test:
        raise UserError(f"{where}: {len(train)} training and {len(test)} test documents")
    listed = vocabulary(tokens for tokens, _ in train)
    rank = {word: number for number, word in enumerate([*listed, END])}
    addressed = min(recipe["words"], len(rank) + len(SPECIALS))
    # The embedding of the source has three rows more than its cut at `words` leaves to address.
    rows = addressed + (len(SPECIALS) if addressed == recipe["words"] else 0)
    encode = [
        [(_row_ids(tokens, rank, recipe), label) for tokens, label in part]
        for part in (train, test)
    ]
    train, test = ([(ids, label) for ids, label in part if ids is not None] for part in encode)
    kept = len(train) - round(recipe["validation"] * len(train))
    parts = dict(zip(PARTS, (train[:kept], train[kept:], test)))
    tokens = {part: _padded(found, recipe["length"]) for part, found in parts.items()}
    labels = {
        part: np.array([label for _, label in found], dtype=np.int64)
        for part, found in parts.items()
    }
    words = [*SPECIALS, *rank][:addressed] + ["<unused>"] * (rows - addressed)
    counts, presence = _occurrences(tokens["train"], labels["train"], rows, len(names))
    vectors, known = _vectors(raw.vectors, words) if raw.vectors else (None, None)
    return Prepared(tokens, labels, words, counts, presence, vectors, known, names)


def split(text: str) -> list[str]:
    """The tokens of a text: what lies between characters that are no letters, digits or "_"."""
    return [token for token in re.split(r"\W+", text) if token]


def vocabulary(documents: Iterable[Sequence[str]]) -> list[str]:
    """The tokens of at least two documents, the most frequent first, ties by alphabet."""
    count: Counter[str] = Counter()
    holding: Counter[str] = Counter()
    for tokens in documents:
        count.update(tokens)
        holding.update(set(tokens))
    listed = [word for word, number in holding.items() if number >= 2]
    return sorted(listed, key=lambda word: (-count[word], word))


def _row_ids(
    tokens: Sequence[str], rank: Mapping[str, int], recipe: Mapping[str, Any]
) -> list[int] | None:
    ids = [rank[token] for token in tokens if token in rank] + [rank[END]]
    if len(ids) < 2:
        return None
    rows = [number + len(SPECIALS) for number in ids]
    rows = [1, *(row if row < recipe["words"] else 2 for row in rows)]
    return rows[: recipe["length"]]


def _padded(documents: Sequence[tuple[list[int], int]], length: int) -> np.ndarray:
    tokens = np.zeros((len(documents), length), dtype=np.int32)
    for place, (rows, _) in enumerate(documents):
        tokens[place, length - len(rows) :] = rows
    return tokens


def _occurrences(
    tokens: np.ndarray, labels: np.ndarray, rows: int, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(tokens.ravel(), minlength=rows)
    presence = np.zeros((classes, rows), dtype=np.int64)
    for document, label in zip(tokens, labels):
        presence[label, np.unique(document)] += 1
    return counts.astype(np.int64), presence


def _vectors(
    given: Callable[[], Iterator[tuple[str, np.ndarray]]], words: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    row = {word: place for place, word in enumerate(words) if place >= len(SPECIALS)}
    found: np.ndarray | None = None
    known = np.zeros(len(words), dtype=bool)
    for word, vector in given():
        place = row.get(word)
        if place is None or known[place]:
            continue
        if found is None:
            found = np.zeros((len(words), len(vector)), dtype=np.float32)
        found[place], known[place] = vector, True
    if found is None:
        raise UserError("none of the words has a vector in the file of word vectors")
    return found, known


# ---------------------------------------------------------------------- layouts

Labelled = list[tuple[list[str], int]]


def _labelled(
    files: Mapping[str, bytes], recipe: Mapping[str, Any], where: str
) -> tuple[dict[str, Labelled], list[str]]:
    """Documents as tokens with labels, `train` and `test`, and the classes' names."""

    def tokens_of(content: bytes) -> list[str]:
        text = texts.decoded(content)
        return split(text.lower() if recipe["lower"] else text)

    if recipe["classes"] is not None:
        return _topics(files, recipe, tokens_of, where)
    tables = [name for name in sorted(files) if name.endswith(".csv")]
    if tables:
        return _tables(files, tables, recipe, tokens_of)
    lines = [name for name in sorted(files) if PurePosixPath(name).suffix in (".neg", ".pos")]
    if lines:
        # Sentences, one a line; "\n" alone ends one, since the files hold other line separators.
        documents = [
            (tokens_of(line), int(name.endswith(".pos")))
            for name in lines
            for line in files[name].split(b"\n")
            if line.strip()
        ]
        return {"train": documents, "test": []}, ["neg", "pos"]
    found: dict[str, dict[str, list[list[str]]]] = {"train": {}, "test": {}}
    for name in sorted(files):
        folders = PurePosixPath(name).parts[:-1]
        if len(folders) < 2 or folders[-2] not in found or not name.endswith(".txt"):
            continue
        if folders[-1] in ("neg", "pos"):
            found[folders[-2]].setdefault(folders[-1], []).append(tokens_of(files[name]))
    names = sorted(found["train"])
    if len(names) < 2 or names != sorted(found["test"]):
        raise UserError(
            f"{where}: expected {{train,test}}/{{neg,pos}}/*.txt, *.csv or *.neg and *.pos"
        )
    return {
        part: [(tokens, names.index(name)) for name in names for tokens in by_class[name]]
        for part, by_class in found.items()
    }, names


def _topics(files, recipe, tokens_of, where) -> tuple[dict[str, Labelled], list[str]]:
    documents = []
    for label, members in enumerate(recipe["classes"]):
        for member in members:
            if member not in files:
                raise UserError(f"{where}: no file '{member}' in the source")
        tokens = [token for member in members for token in tokens_of(files[member])]
        size = recipe["chunk"]
        for first in range(0, len(tokens) - size + 1, size):
            documents.append((tokens[first : first + size], label))
    return {"train": documents, "test": []}, ["+".join(names) for names in recipe["classes"]]


def _tables(files, tables, recipe, tokens_of) -> tuple[dict[str, Labelled], list[str]]:
    """Rows `class, title, description`; a table named by "test" is the test part if another is."""
    parts: dict[str, Labelled] = {"train": [], "test": []}
    for name in tables:
        part = "test" if len(tables) > 1 and "test" in name else "train"
        rows = list(csv.reader(io.StringIO(texts.decoded(files[name]), newline="")))
        # The authors' reader takes the first row for a header, and so loses it.
        parts[part] += [
            (tokens_of(f"{title} {description}".encode()), int(label) - 1)
            for label, title, description in rows[1:]
        ]
    classes = 1 + max(label for _, label in parts["train"])
    return parts, [str(number + 1) for number in range(classes)]


# ---------------------------------------------------------------------- files


def save(made: Prepared, path: Path, recipe: Mapping[str, Any]) -> None:
    """Write prepared documents, with the words and the classes' names as metadata."""
    arrays = {"counts": made.counts, "presence": made.presence}
    for part in PARTS:
        arrays |= {f"{part}_tokens": made.tokens[part], f"{part}_labels": made.labels[part]}
    if made.vectors is not None:
        arrays |= {"vectors": made.vectors, "known": made.known}
    about = {"recipe": dict(recipe), "words": made.words, "classes": made.classes}
    prepared.write(path, arrays, about)


def load(path: Path, device: torch.device | str) -> Documents:
    """The documents of a file that `save` wrote, on a device.

    Raises:
        UserError: there is no such file, or it is not one of ours.
    """
    tensors, about = prepared.read(path, device)
    return Documents(
        tokens={part: tensors[f"{part}_tokens"].long() for part in PARTS},
        labels={part: tensors[f"{part}_labels"] for part in PARTS},
        words=about["words"],
        counts=tensors["counts"],
        presence=tensors["presence"],
        pretrained=(tensors["vectors"], tensors["known"]) if "vectors" in tensors else None,
        classes=len(about["classes"]),
    )
