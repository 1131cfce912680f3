"""The files of a source, whatever they come in: a folder, one file, a tar or a zip, packed or not.

`pin`, `plan` and `prepare` all read by this. What a file is its first bytes say, not its name.
Nothing is unpacked to disk, and an archive that would not fit is refused by what its headers say.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import re
import stat
import tarfile
import unicodedata
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from refigure.errors import UserError

LARGEST = 4 * 2**30
"""Bytes of one file in an archive: files are read whole."""

RATIO = 250
"""Times its own size that an archive may unpack to. Photographs pack 1.1 times, text 5, drawings of
one colour 50; xz can pack zeros 7,000 times."""

SMALL = 2**24
"""Bytes that any archive may unpack to."""

MANY = 10**6
"""Files of an archive with its links, beyond which a link leads in a circle."""

PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
}
UNREAD = {
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "rar": re.compile(rb"Rar!\x1a\x07"),
    "lz4": re.compile(rb"\x04\x22\x4d\x18"),
    "compress": re.compile(rb"\x1f[\x9d\xa0]"),
    "cab": re.compile(rb"MSCF\0\0\0\0"),
}
ZIP = re.compile(rb"PK(\x03\x04|\x05\x06)")
TAR_NAME = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst"})

COMPANIONS = frozenset({"__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir"})
"""What systems put beside files, besides hidden ones: never data, and outside every checksum."""


def is_companion(parts: tuple[str, ...]) -> bool:
    """Whether a path is hidden, or lies in a hidden folder, or is a system's own file."""
    return any(part.startswith(".") or part in COMPANIONS for part in parts)


def readable(name: str) -> str:
    """A file's name as text: UTF-8 where its bytes are, else Latin-1; accents in one form.

    So an image of an old zip or disk, whose names are not UTF-8, has a class that can be written.
    """
    given = os.fsencode(name)
    try:
        text = given.decode("utf-8")
    except UnicodeDecodeError:
        text = given.decode("latin-1")
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Member:
    """One file.

    Args:
        parts: of its path, from the source's folder.
        size: bytes.
        read: its content; in a tar only until the next member is asked for.
    """

    parts: tuple[str, ...]
    size: int
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The path with slashes."""
        return "/".join(self.parts)


class Files:
    """The files of a source one after another: those of a folder by name, of a tar as packed.

    Args:
        path: a folder or a file.
        follow_links: whether links that lead out of the folder are followed too. Those that stay
            in the folder, or the archive, always are: each is a file of its own.

    Attributes:
        kind: "folder", "tar", "zip" or "file", with how it is packed: "tar, xz".
        hidden: companions passed over so far.

    Raises:
        UserError: nothing is there, or it is not readable; names the file.
    """

    def __init__(self, path: Path, follow_links: bool = False):
        self.path, self.follow_links = path, follow_links
        self.hidden = 0
        self.packing = ""
        if path.is_dir():
            self.kind = "folder"
        elif path.is_file():
            self.kind = self._kind()
        else:
            raise UserError(f"{path}: no such file or folder")
        self._spent = 0

    def __iter__(self) -> Iterator[Member]:
        kind = self.kind.partition(",")[0]
        for member in getattr(self, f"_of_{kind}")():
            if is_companion(member.parts):
                self.hidden += 1
            else:
                yield member

    @property
    def archive(self) -> bool:
        """Whether it holds any number of files."""
        return not self.kind.startswith("file")

    def stream(self) -> IO[bytes]:
        """Its bytes, unpacked: of a zip those of the only file in it.

        Raises:
            UserError: a zip of several files, or a tar.
        """
        if self.kind == "zip":
            with self._reading():
                archive = zipfile.ZipFile(self.path)
                names = [
                    name
                    for name in archive.namelist()
                    if not name.endswith("/") and not is_companion(PurePosixPath(name).parts)
                ]
                if len(names) != 1:
                    raise UserError(f"{self.path}: expected one file in it, found {len(names)}")
                return archive.open(names[0])
        if self.archive:
            raise UserError(f"{self.path}: expected one file, found a {self.kind}")
        return self._unpacked()

    @property
    def inner(self) -> str:
        """The name of a single file without the ending of its packing."""
        if self.kind == "zip":
            with self._reading():
                return self.stream().name
        name = self.path.name
        packed = self.packing and Path(name).suffix.lower() in PACKED_SUFFIXES
        return name[: -len(Path(name).suffix)] if packed else name

    # ------------------------------------------------------------------ kinds

    def _kind(self) -> str:
        with self.path.open("rb") as stream:
            first = stream.read(512)
        for name, magic in UNREAD.items():
            if magic.match(first):
                raise UserError(
                    f"{self.path}: is packed by {name}, which is not read; unpack it, or make a"
                    " zip or a tar of it"
                )
        if ZIP.match(first):
            return "zip"
        self.packing = next((name for name, magic in PACKINGS.items() if magic.match(first)), "")
        ending = f", {self.packing}" if self.packing else ""
        if self.packing:
            with self._reading(), self._unpacked() as stream:
                first = stream.read(512)
        if TAR_NAME.search(self.path.name) or _begins_tar(first):
            return f"tar{ending}"
        return f"file{ending}"

    def _unpacked(self) -> IO[bytes]:
        if self.packing == "gzip":
            return gzip.open(self.path)
        if self.packing == "bzip2":
            return bz2.open(self.path)
        if self.packing == "xz":
            return lzma.open(self.path)
        if self.packing == "zstd":
            import pyarrow

            return io.BufferedReader(pyarrow.CompressedInputStream(str(self.path), "zstd"))
        return self.path.open("rb")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What a damaged file makes its library raise, as one line."""
        try:
            yield
        except UserError:
            raise
        except PermissionError as error:
            raise UserError(f"{self.path}: {error.strerror}") from None
        except Exception as error:  # libraries raise what they like over damaged bytes
            what = "zip archive" if getattr(self, "kind", "") == "zip" else "tar archive"
            if what == "tar archive" and not TAR_NAME.search(self.path.name):
                what = f"{self.packing} file"
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{self.path}: not a readable {what}: {said}") from None

    def _spend(self, name: str, size: int) -> None:
        """Refuse what is larger than anything that we read."""
        self._spent += size
        own = self.path.stat().st_size
        if size > LARGEST or self._spent > max(RATIO * own, SMALL):
            raise UserError(
                f"{self.path}: unpacks to {self._spent / 2**20:,.0f} MiB and more at '{name}'"
                f" (it has {own / 2**20:,.1f}): not read"
            )

    def _parts(self, name: str) -> tuple[str, ...]:
        path = PurePosixPath(name.replace("\\", "/") if self.kind == "zip" else name)
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", name):
            raise UserError(f"{self.path}: path outside the archive, '{name}'")
        return tuple(readable(part) for part in path.parts)

    def _of_folder(self) -> Iterator[Member]:
        found: set[tuple[str, ...]] = set()
        for name, path in files_below(self.path, self.follow_links, self._count):
            parts = tuple(readable(part) for part in PurePosixPath(name).parts)
            if parts in found:
                raise UserError(f"{self.path}: two files are named '{'/'.join(parts)}'")
            found.add(parts)
            yield Member(parts, path.stat().st_size, path.read_bytes)

    def _count(self) -> None:
        self.hidden += 1

    def _of_file(self) -> Iterator[Member]:
        def read() -> bytes:
            if not self.packing:
                return self.path.read_bytes()
            limit = max(RATIO * self.path.stat().st_size, SMALL)
            with self._reading(), self._unpacked() as stream:
                content = stream.read(min(limit, LARGEST) + 1)
            self._spend(self.inner, len(content))
            return content

        yield Member((readable(self.inner),), self.path.stat().st_size, read)

    def _of_zip(self) -> Iterator[Member]:
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in sorted(members, key=lambda member: member.filename):
                parts = self._parts(member.filename)
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise UserError(
                        f"{self.path}: holds a link, '{member.filename}'; make the zip of files"
                    )
                if member.flag_bits & 1:
                    raise UserError(f"{self.path}: '{member.filename}' is locked by a password")
                if not is_companion(parts):
                    self._spend(member.filename, member.file_size)
                yield Member(parts, member.file_size, self._read_of(archive.read, member))

    def _of_tar(self) -> Iterator[Member]:
        """Links are read as files, in a second look, since a stream does not go back."""
        links: dict[str, str] = {}
        there: set[str] = set()
        for member, parts, read in self._walked():
            if member.isfile():
                there.add(posixpath.normpath(member.name))
                yield Member(parts, member.size, read)
            elif member.issym() or member.islnk():
                links[posixpath.normpath(member.name)] = self._end_of(member)
            elif not member.isdir():
                raise UserError(f"{self.path}: holds a device, '{member.name}'")
        if not links:
            return
        # A link may lead to a file or to a folder: each file there has one more name for each link.
        files = {name: name for name in there}
        grows = True
        while grows and len(files) <= MANY:  # a link may lead to a link
            grows = False
            ordered = sorted(files)
            for name, end in links.items():
                for one in _below(ordered, end):
                    grows |= name + one[len(end) :] not in files
                    files[name + one[len(end) :]] = files[one]
        ordered = sorted(files)
        for name, end in links.items():
            if grows or not _below(ordered, name):
                reason = "in a circle" if grows else f"to '{end}', which is no file in it"
                raise UserError(f"{self.path}: holds a link, '{name}', {reason}")
        names: dict[str, list[str]] = {}
        for name in files.keys() - there:
            names.setdefault(files[name], []).append(name)
        for member, _, read in self._walked():
            name = posixpath.normpath(member.name)
            if member.isfile() and name in names:
                content = read()
                for other in names[name]:
                    self._spend(other, member.size)
                    yield Member(self._parts(other), member.size, partial(bytes, content))

    def _end_of(self, member: tarfile.TarInfo) -> str:
        """Where a link leads, from the top of the archive."""
        to = member.linkname
        if member.issym():
            to = posixpath.join(posixpath.dirname(member.name), to)
        to = posixpath.normpath(to)
        if to.startswith(("/", "..")) or member.linkname.startswith("/"):
            raise UserError(f"{self.path}: holds a link, '{member.name}', out of the archive")
        return to

    def _walked(self) -> Iterator[tuple[tarfile.TarInfo, tuple[str, ...], Callable[[], bytes]]]:
        self._spent = 0
        with (
            self._reading(),
            self._unpacked() as stream,
            tarfile.open(
                fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape"
            ) as archive,
        ):
            for member in archive:
                parts = self._parts(member.name)
                self._spend(readable(member.name), member.size)
                yield member, parts, self._read_of(_content(archive), member)

    def _read_of(self, read: Callable[[Any], bytes], member: Any) -> Callable[[], bytes]:
        def reading() -> bytes:
            with self._reading():
                return read(member)

        return reading


def _content(archive: tarfile.TarFile) -> Callable[[tarfile.TarInfo], bytes]:
    def read(member: tarfile.TarInfo) -> bytes:
        content = archive.extractfile(member).read()
        if len(content) != member.size:
            raise EOFError("it is cut short")
        return content

    return read


def _begins_tar(block: bytes) -> bool:
    """Whether a file's first 512 bytes are a tar's header, by the checksum in it."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def files_below(
    folder: Path, follow_links: bool = False, passed_over: Callable[[], None] = lambda: None
) -> list[tuple[str, Path]]:
    """Relative path, with slashes, and full path of every file in a folder, sorted by bytes.

    Companions are left out.

    Args:
        follow_links: whether links out of the folder are followed too.
        passed_over: called once for each companion.

    Raises:
        UserError: there is no folder, or it holds a link that leads out, nowhere, or in a circle.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such file or folder")
    top = folder.resolve()
    found: list[tuple[str, Path]] = []

    def walk(path: Path, above: tuple[Path, ...]) -> None:
        for entry in sorted(os.scandir(path), key=lambda entry: os.fsencode(entry.name)):
            inner = Path(entry.path)
            name = inner.relative_to(folder).as_posix()
            shown = readable(name)
            if is_companion((entry.name,)):
                passed_over()
                continue
            if entry.is_symlink():
                end = inner.resolve()
                if not end.exists():
                    raise UserError(f"{folder}: holds a link, '{shown}', to nothing ({end})")
                if not (follow_links or end.is_relative_to(top)):
                    raise UserError(
                        f"{folder}: holds a link, '{shown}', out of it; `follow_links: true`"
                        " beside its path lets it be followed"
                    )
                if end in above or end == top:
                    raise UserError(f"{folder}: holds a link, '{shown}', to a folder around it")
            if entry.is_dir():
                walk(inner, (*above, inner.resolve()))
            elif entry.is_file():
                found.append((name, inner))
            else:
                raise UserError(f"{folder}: holds a device, '{shown}'")

    walk(folder, (top,))
    return sorted(found, key=lambda pair: os.fsencode(pair[0]))


def unpacked(content: bytes, where: str) -> bytes:
    """The content of one file that may itself be packed.

    Args:
        where: begins the message.

    Raises:
        UserError: it is damaged, unpacks to too much, or is an archive.
    """
    packing = next((name for name, magic in PACKINGS.items() if magic.match(content)), "")
    if not packing:
        return content
    limit = max(RATIO * len(content), SMALL)
    try:
        stream: Any
        if packing == "zstd":
            import pyarrow

            stream = pyarrow.CompressedInputStream(io.BytesIO(content), "zstd")
        else:
            opener = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}[packing]
            stream = opener(io.BytesIO(content))
        with stream:
            found = stream.read(limit + 1)
    except Exception as error:  # as above
        raise UserError(f"{where}: not a readable {packing} file: {error}") from None
    if len(found) > limit:
        raise UserError(f"{where}: unpacks to {limit / 2**20:,.0f} MiB and more: not read")
    return found


def _below(ordered: list[str], name: str) -> list[str]:
    """Of sorted names the one that is `name` and those below it as a folder."""
    found = [name] if ordered[(place := bisect_left(ordered, name)) : place + 1] == [name] else []
    first, last = (bisect_left(ordered, name + end) for end in ("/", "0"))  # "0" follows "/"
    return found + ordered[first:last]
