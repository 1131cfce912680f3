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
UNLABELLED = "unsup"
"""IMDb's folder of reviews without labels."""


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
        source: name of the source, as the configuration has it.
        names: of the classes, in their order.
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
    source: str = ""
    names: tuple[str, ...] = ()

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

    def tokens_of(text: str) -> list[str]:
        return split(text.lower() if recipe["lower"] else text)

    if recipe["classes"] is not None:
        return _topics(files, recipe, tokens_of, where)
    for read_layout in (_tables, _lines, _folders):
        found = read_layout(files, recipe, tokens_of, where)
        if found is not None:
            break
    else:
        raise UserError(
            f"{where}: expected {{train,test}}/<class>/*.txt, *.csv, or *.neg and *.pos; found"
            f" {', '.join(sorted(files)[:4])}"
        )
    parts, names = found
    if len(names) < 2:
        raise UserError(f"{where}: one class, '{names[0]}': nothing to learn")
    return parts, names


def _said(where: str, parts: Mapping[str, Labelled], names: list[str], more: list[str]) -> None:
    """What was read, in one line."""
    said = []
    for part, found in parts.items():
        counts = Counter(label for _, label in found)
        each = ", ".join(f"{name} {counts[place]}" for place, name in enumerate(names[:12]))
        said.append(f"{len(found)} {part} documents" + (f" ({each})" if found else ""))
    print(f"{where}: {'; '.join([*said, *more])}", flush=True)


def _encodings(files: Mapping[str, bytes], names: Iterable[str]) -> str:
    found = Counter(texts.encoding_of(files[name]) for name in names)
    return ", ".join(f"{count} in {name}" for name, count in sorted(found.items()))


def _passed_over(files: Mapping[str, bytes], taken: Iterable[str]) -> list[str]:
    left = sorted(set(files) - set(taken))
    return [f"passed over: {len(left)} files ('{left[0]}')"] if left else []


def _lines(files, recipe, tokens_of, where) -> tuple[dict[str, Labelled], list[str]] | None:
    """Sentences, one a line; "\n" alone ends one, since the files hold other line separators."""
    named = [name for name in sorted(files) if _suffix(name) in (".neg", ".pos")]
    if not named:
        return None
    names = sorted({_suffix(name)[1:] for name in named})
    documents: Labelled = []
    for name in named:
        content = files[name]
        if content.startswith(tuple(texts.MARKS)):
            lines = texts.decoded(content, name).split("\n")
        else:  # line by line: an old corpus may hold both encodings
            lines = [texts.decoded(line, name) for line in content.split(b"\n") if line.strip()]
        label = names.index(_suffix(name)[1:])
        documents += [(tokens_of(line), label) for line in lines if line.strip()]
    parts = {"train": documents, "test": []}
    _said(where, parts, names, [_encodings(files, named), *_passed_over(files, named)])
    return parts, names


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _folders(files, recipe, tokens_of, where) -> tuple[dict[str, Labelled], list[str]] | None:
    """A document a file, in `{train,test}/<class>/`; `unsup` of IMDb has no labels."""
    found: dict[str, dict[str, list[list[str]]]] = {"train": {}, "test": {}}
    taken = []
    for name in sorted(files):
        folders = PurePosixPath(name).parts[:-1]
        if len(folders) < 2 or folders[-2] not in found or _suffix(name) != ".txt":
            continue
        if folders[-1] != UNLABELLED:
            text = texts.decoded(files[name], name)
            found[folders[-2]].setdefault(folders[-1], []).append(tokens_of(text))
            taken.append(name)
    if not taken:
        return None
    names = sorted(found["train"])
    for name in sorted(found["test"]):
        if name not in names:
            raise UserError(f"{where}: class '{name}' is in test but not in train")
    parts = {
        part: [(tokens, place) for place, name in enumerate(names) for tokens in of.get(name, [])]
        for part, of in found.items()
    }
    _said(where, parts, names, [_encodings(files, taken), *_passed_over(files, taken)])
    return parts, names


def _topics(files, recipe, tokens_of, where) -> tuple[dict[str, Labelled], list[str]]:
    documents = []
    for label, members in enumerate(recipe["classes"]):
        for member in members:
            if member not in files:
                raise UserError(f"{where}: no file '{member}' in the source")
        tokens = [
            token for member in members for token in tokens_of(texts.decoded(files[member], member))
        ]
        size = recipe["chunk"]
        for first in range(0, len(tokens) - size + 1, size):
            documents.append((tokens[first : first + size], label))
    return {"train": documents, "test": []}, ["+".join(names) for names in recipe["classes"]]


TABLES = {".csv": ",", ".tsv": "\t"}
NAMED = {"train": {"train", "training"}, "test": {"test"}}


def _tables(files, recipe, tokens_of, where) -> tuple[dict[str, Labelled], list[str]] | None:
    """Rows `class, title, description`, or of any number of columns of text after the class.

    One table is cut by `held_out`; of two the names say which is which. The first row of each is
    its header: the authors' reader takes it for one where there is none, and so loses it;
    `header: false` keeps it.
    """
    tables = [name for name in sorted(files) if _suffix(name) in TABLES]
    if not tables:
        return None
    part_of = dict.fromkeys(tables, "train")
    if len(tables) > 1:
        for name in tables:
            words = set(texts.words_of(name))
            named = [part for part, known in NAMED.items() if known & words]
            if len(named) != 1:
                raise UserError(
                    f"{where}: of several tables each is named by the word 'train' or 'test';"
                    f" '{name}' of {', '.join(tables)} is not"
                )
            part_of[name] = named[0]
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    more = [f"{name} is {part}" for name, part in part_of.items()]
    for name, part in part_of.items():
        found = _rows(files[name], name, where)
        if recipe["header"]:
            first = found.pop(0)
            if first[0] in {label for label, _ in found}:
                more.append(
                    f"the first row of {name} ('{first[0]}, {first[1][:20]}') is taken for its"
                    " header; `header: false` in the recipe keeps it"
                )
        rows[part] += found
    names = sorted({label for label, _ in rows["train"]}, key=_in_order)
    for label, _ in rows["test"]:
        if label not in names:
            raise UserError(f"{where}: class '{label}' is in test but not in train")
    place = {name: number for number, name in enumerate(names)}
    parts = {
        part: [(tokens_of(text), place[label]) for label, text in found]
        for part, found in rows.items()
    }
    _said(where, parts, names, [*more, _encodings(files, tables), *_passed_over(files, tables)])
    return parts, names


def _in_order(label: str) -> tuple[bool, int, str]:
    """Whole numbers by their size, before other names."""
    number = label.isascii() and label.isdigit() and len(label) < 20
    return not number, int(label) if number else 0, label


def _rows(content: bytes, name: str, where: str) -> list[tuple[str, str]]:
    """Label and text of each row of a table."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(
        io.StringIO(texts.decoded(content, name), newline=""), delimiter=TABLES[_suffix(name)]
    )
    found = []
    try:
        for row in reader:
            if row and len(row) < 2:
                raise UserError(
                    f"{where}: '{name}', line {reader.line_num}: expected a class and a text,"
                    f" separated by {TABLES[_suffix(name)]!r}, found '{row[0][:40]}'"
                )
            if row:
                found.append((row[0].strip(), " ".join(row[1:])))
    except csv.Error as error:
        raise UserError(f"{where}: '{name}', line {reader.line_num}: {error}") from None
    if len(found) < 2:
        raise UserError(f"{where}: '{name}' has {len(found)} rows")
    return found


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
        source=about["recipe"]["source"],
        names=tuple(about["classes"]),
    )
