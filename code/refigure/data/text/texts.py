"""Raw text: the files of a source by name, each source checked before it is read."""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refigure.data import sources
from refigure.data.reference import topics
from refigure.errors import UserError

TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz")


def read(source: Mapping[str, Any], cache: Path) -> dict[str, bytes]:
    """The files of a text source: name, with slashes, -> content, in the order of the names.

    Args:
        source: `{kind: reference}`, the interpreter's own text, one file a topic;
            `{kind: text, path, sha256}`, a file, a folder, a tar of one, or a list of files;
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
    for path in paths:
        if path.is_dir():
            contents = sources.contents_of_folder(path)
        elif path.name.endswith(TARS):
            contents = sources.contents_of_tar(path)
        else:
            contents = [((path.name,), path.read_bytes())]
        found |= {"/".join(parts): content for parts, content in contents}
    return dict(sorted(found.items()))


def checked(source: Mapping[str, Any]) -> list[Path]:
    """The paths of a user's own text, after its checksum.

    Raises:
        UserError: a file is missing, or the checksum is another.
    """
    written = source["path"]
    several = isinstance(written, list)
    paths = [Path(path).expanduser() for path in (written if several else [written])]
    found = sources.digest_of(paths if several else paths[0])
    if found != source["sha256"]:
        names = ", ".join(map(str, paths))
        raise UserError(f"{names}: expected sha256 {source['sha256']}, found {found}")
    return paths


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
            _fetch(file["url"], path)
        found = _git_blob(path) if "git_blob" in file else sources.digest_of(path)
        expected = file.get("git_blob") or file["sha256"]
        if found != expected:
            kind = "git blob" if "git_blob" in file else "sha256"
            raise UserError(f"{path}: expected {kind} {expected}, found {found}; remove the file")
        paths.append(path)
    return paths


def _fetch(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, temporary.open("wb") as stream:
            while block := answer.read(1 << 20):
                stream.write(block)
        os.replace(temporary, path)
    except (OSError, urllib.error.URLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{url}: not to be downloaded to {path}: {reason}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def decoded(content: bytes) -> str:
    """UTF-8 where it is, else Latin-1, which old corpora are in."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def vectors(source: Mapping[str, Any], cache: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Words with their vectors, (dimensions,) float32, one after another; nothing is held.

    Reads word2vec's binary format (`.bin`, a line "words dimensions", then each word, a space and
    its floats) and GloVe's text (a word and its numbers a line), packed by gzip or zip or not.

    Raises:
        UserError: as `read`; or the source is not one file.
    """
    paths = downloaded(source, cache) if source["kind"] == "download" else checked(source)
    if len(paths) != 1 or not paths[0].is_file():
        raise UserError(f"word vectors are one file, got {', '.join(map(str, paths))}")
    path = paths[0]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as stream:
            yield from _vectors_of(stream, Path(archive.namelist()[0]).suffix == ".bin")
    elif path.suffix == ".gz":
        with gzip.open(path) as stream:
            yield from _vectors_of(stream, path.stem.endswith(".bin"))
    else:
        with path.open("rb") as stream:
            yield from _vectors_of(stream, path.suffix == ".bin")


def _vectors_of(stream: Any, binary: bool) -> Iterator[tuple[str, np.ndarray]]:
    if not binary:
        dimensions = None
        for line in stream:
            fields = line.decode("utf-8", "replace").rstrip("\n").split(" ")
            # The first line says how many numbers there are: a few later words hold blanks.
            dimensions = dimensions or len(fields) - 1
            numbers = np.array(fields[-dimensions:], dtype=np.float32)
            yield " ".join(fields[:-dimensions]), numbers
        return
    words, dimensions = map(int, stream.readline().split())
    for _ in range(words):
        word = bytearray()
        while (letter := stream.read(1)) != b" ":
            if not letter:
                raise UserError("word vectors end in the middle of a word")
            if letter != b"\n":
                word += letter
        floats = np.frombuffer(stream.read(4 * dimensions), dtype="<f4")
        yield word.decode("utf-8", "replace"), floats
