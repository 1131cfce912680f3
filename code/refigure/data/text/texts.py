"""Raw text: the files of a source by name, each source checked before it is read."""

from __future__ import annotations

import hashlib
import re
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from refigure.data import sources
from refigure.data.archives import Files, unpacked
from refigure.data.reference import topics
from refigure.data.sources import checked as checked
from refigure.errors import UserError
from refigure.files import alone, whole

WORDS = re.compile(r"[a-z]+")
MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
"""Byte order marks, the longer ones first, and the encodings that heed and drop them."""


def read(source: Mapping[str, Any], cache: Path) -> dict[str, bytes]:
    """The files of a text source: name, with slashes, -> content, in the order of the names.

    Args:
        source: `{kind: reference}`, the interpreter's own text, one file a topic;
            `{kind: text, path, sha256}`, a file, a folder, an archive of one, or a list of files;
            `{kind: download, files: {name: {url, sha256 or git_blob}}, terms}`.
        cache: folder for downloads.

    Raises:
        UserError: something is missing, has another checksum, or waits for a person's consent.
    """
    if source["kind"] == "reference":
        return {name: text.encode("ascii") for name, text in topics().items()}
    if source["kind"] == "download":
        paths = downloaded(source, cache)
    elif source["kind"] == "text":
        paths = checked(source)
    else:
        raise UserError(f"a source of kind '{source['kind']}' holds no text")
    found: dict[str, bytes] = {}
    hidden = 0
    for path in paths:
        files = Files(path, bool(source.get("follow_links")))
        for member in files:
            where = f"{path}: '{member.name}'" if files.archive else str(path)
            found[member.name] = unpacked(member.read(), where)
        hidden += files.hidden
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: holds no files")
    names = sorted(found)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    beside = f"; passed over: {hidden} hidden" if hidden else ""
    print(f"text of {len(names)} files: {shown}{beside}", flush=True)
    return {name: found[name] for name in names}


def words_of(name: str) -> list[str]:
    """The words in a file's own name: "test" is one of `rt_test.csv`, none of `latest.csv`."""
    return WORDS.findall(PurePosixPath(name).name.lower())


def downloaded(source: Mapping[str, Any], cache: Path) -> list[Path]:
    """The paths of files from the network, fetched into the cache where they are not there.

    Raises:
        UserError: the source has terms that nobody has accepted; a file is not to be had or has
            another checksum.
    """
    if source["terms"]:
        raise UserError(source["terms"])
    paths = []
    for name, file in source["files"].items():
        path = cache / name
        if not path.is_file():
            with alone(path.with_name(f".{path.name}.lock"), f"{path} is being fetched"):
                if not path.is_file():
                    _fetch(file["url"], path)
        found = _git_blob(path) if "git_blob" in file else sources.digest_of(path)
        expected = file.get("git_blob") or file["sha256"]
        if found != expected:
            kind = "git blob" if "git_blob" in file else "sha256"
            raise UserError(f"{path}: expected {kind} {expected}, found {found}; remove the file")
        paths.append(path)
    return paths


def _fetch(url: str, path: Path) -> None:
    with whole(path) as temporary:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer, temporary.open("wb") as stream:
                shutil.copyfileobj(answer, stream, 1 << 20)
        except OSError as error:  # URLError is one
            reason = " ".join(str(error).split())
            raise UserError(f"{url}: not to be downloaded to {path}: {reason}") from None


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def decoded(content: bytes, name: str) -> str:
    """A file's text: by its byte order mark, else UTF-8 where it is, else Latin-1, as old corpora.

    Lines end by a newline alone, whatever ended them.

    Args:
        name: of the file, for a message.

    Raises:
        UserError: it is no text: there are NUL characters in it.
    """
    mark = next((mark for mark in MARKS if content.startswith(mark)), None)
    try:
        text = content.decode(MARKS[mark] if mark else "utf-8")
    except UnicodeDecodeError:
        if mark:
            raise UserError(
                f"'{name}' begins like {MARKS[mark].upper()} but is not; save it as UTF-8"
            ) from None
        text = content.decode("latin-1")
    if "\0" in text:
        raise UserError(
            f"'{name}' is no text: it holds NUL characters; take it out, or save it as UTF-8"
        )
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        text = text if "\n" in text else text.replace("\r", "\n")
    return text


def encoding_of(content: bytes) -> str:
    """How `decoded` reads a file, in a word."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), None)
    if mark:
        return MARKS[mark].upper().replace("-SIG", "")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "Latin-1"
    return "UTF-8"


def vectors(source: Mapping[str, Any], cache: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Words with their vectors, (dimensions,) float32, one after another; nothing is held.

    Reads word2vec's binary format (`.bin`, a line "words dimensions", then each word, a space and
    its floats) and text of a word and its numbers a line (GloVe's; word2vec's and fastText's, that
    begin with the line "words dimensions"), packed or not, also as the only file of a zip.

    Raises:
        UserError: as `read`; or the source is not one file of word vectors.
    """
    paths = downloaded(source, cache) if source["kind"] == "download" else checked(source)
    if len(paths) != 1 or not paths[0].is_file():
        raise UserError(f"word vectors are one file, got {', '.join(map(str, paths))}")
    path = paths[0]
    files = Files(path)
    try:
        with files.stream() as stream:
            read_from = _of_binary if files.inner.lower().endswith(".bin") else _of_lines
            yield from read_from(stream, path)
    except UserError:
        raise
    except Exception as error:  # what unpacks it raises what it likes over damaged bytes
        raise UserError(f"{path}: not readable: {' '.join(str(error).split())}") from None


def _of_lines(stream: Any, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    dimensions = None
    for number, line in enumerate(stream, 1):
        fields = re.split("[ \t]", line.decode("utf-8", "replace").strip(" \t\r\n"))
        if fields == [""] or (number == 1 and len(fields) == 2 and all(map(str.isdigit, fields))):
            continue
        # The first line says how many numbers there are: a few later words hold blanks.
        dimensions = dimensions or len(fields) - 1
        try:
            numbers = np.array(fields[-dimensions:], dtype=np.float32)
            if not dimensions or len(fields) <= dimensions:
                raise ValueError
        except ValueError:
            raise UserError(
                f"{path}: line {number} is not a word and {dimensions} numbers:"
                f" '{' '.join(fields)[:40]}'"
            ) from None
        yield " ".join(fields[:-dimensions]), numbers


LONGEST = 100_000
"""Numbers of a word vector, and bytes of a word, that are taken for true."""


def _of_binary(stream: Any, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    head = stream.readline(100).split()
    if len(head) != 2 or not all(map(bytes.isdigit, head)) or not 0 < int(head[1]) <= LONGEST:
        raise UserError(f"{path}: word vectors begin with a line of two numbers, words dimensions")
    words, dimensions = map(int, head)
    for number in range(words):
        word = bytearray()
        while (letter := stream.read(1)) != b" ":
            if not letter or len(word) > LONGEST:
                raise UserError(f"{path}: word vectors end in word {number + 1} of {words}")
            if letter != b"\n":
                word += letter
        content = stream.read(4 * dimensions)
        if len(content) < 4 * dimensions:
            raise UserError(f"{path}: word vectors end in word {number + 1} of {words}")
        yield word.decode("utf-8", "replace"), np.frombuffer(content, dtype="<f4")
