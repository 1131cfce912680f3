"""Raw images with labels, each source checked before it is read."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from refigure.errors import UserError

DIGITS_SHA256 = "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772"
"""Of the images (float32, little-endian) followed by the labels (int64, little-endian)."""

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
LAYOUT = "[name/]{train,test}/<class>/<file> or [name/]<class>/<file>"


@dataclass(frozen=True)
class Raw:
    """Images as their source gives them.

    Args:
        train_images: (images, channels, height, width), uint8 in 0..255 or float32 in [0, 1].
        train_labels: (images,), int64, an index into `classes`.
        test_images: as `train_images`; of length 0 where the source has no split of its own.
        test_labels: as `train_labels`.
        classes: names.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: list[str]


def read(source: Mapping[str, Any], cache: Path) -> Raw:
    """The images of a source, in an order that depends on their names only.

    Args:
        source: `{kind: digits}`, `{kind: torchvision, name: CIFAR10 or CIFAR100}` or
            `{kind: images, path: ..., sha256: ...}`, a folder or a tar of one.
        cache: folder for what torchvision downloads.

    Raises:
        UserError: something is missing, has another checksum, or is not laid out as it should be.
    """
    if source["kind"] == "digits":
        return _digits()
    if source["kind"] == "torchvision":
        return _torchvision(source["name"], cache)
    if source["kind"] == "images":
        return _images(Path(source["path"]).expanduser(), source.get("sha256"))
    raise ValueError(f"unknown kind of source {source['kind']!r}")


def digest_of(path: Path | Sequence[Path]) -> str:
    """The SHA-256 of a file; of a folder, that of its files' relative paths and contents in order.

    Several files count as a folder of them: what lies beside them does not matter.

    Raises:
        UserError: there is nothing at `path`, or the folder holds a link.
    """
    if isinstance(path, Path) and path.is_file():
        return _sha256(path).hex()
    digest = hashlib.sha256()
    for name, file in files_below(path) if isinstance(path, Path) else files_named(path):
        digest.update(name.encode() + b"\0" + _sha256(file))
    return digest.hexdigest()


def files_named(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Name and path of some files, sorted by name.

    Raises:
        UserError: one is not there, or two have one name.
    """
    found = sorted((path.name, path) for path in paths)
    for (name, path), (following, _) in zip(found, [*found[1:], ("", None)]):
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if name == following:
            raise UserError(f"{path}: two files of one source are named '{name}'")
    return found


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def files_below(folder: Path) -> list[tuple[str, Path]]:
    """Relative path, with slashes, and full path of every file in a folder, sorted."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such file or folder")
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise UserError(f"{folder}: holds a link, '{path.relative_to(folder)}'")
        if path.is_file():
            found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found)


def _digits() -> Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype("<f4")
    labels = digits.target.astype("<i8")
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if found != DIGITS_SHA256:
        raise UserError(
            f"digits of scikit-learn: expected sha256 {DIGITS_SHA256} of the arrays, found {found}"
        )
    classes = [str(name) for name in digits.target_names]
    return Raw(images, labels, images[:0], labels[:0], classes)


def _torchvision(name: str, cache: Path) -> Raw:
    from torchvision import datasets

    try:
        # Each constructor compares the MD5 of every file before it opens one.
        train, test = (
            getattr(datasets, name)(root=str(cache), train=part, download=True)
            for part in (True, False)
        )
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: not in {cache} and not to be downloaded: {reason}") from None
    images = [np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return Raw(images[0], labels[0], images[1], labels[1], list(train.classes))


def _images(path: Path, expected: str | None) -> Raw:
    found = digest_of(path)
    if expected is None:
        raise UserError(f"{path}: no sha256 in the configuration; `refigure pin` writes it")
    if found != expected:
        raise UserError(f"{path}: expected sha256 {expected}, found {found}")
    contents = contents_of_folder(path) if path.is_dir() else contents_of_tar(path)
    # Decoded one by one, so that only the small arrays are held and not the packed files too.
    images = {
        parts: _pixels(content, f"{path}: '{'/'.join(parts)}'")
        for parts, content in contents
        if PurePosixPath(parts[-1]).suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in parts)
    }
    if not images:
        raise UserError(f"{path}: holds no images")
    return _labelled(images, path)


def contents_of_folder(folder: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    for name, path in files_below(folder):
        yield PurePosixPath(name).parts, path.read_bytes()


def contents_of_tar(path: Path) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """Path and content of every file in a tar, read as a stream; nothing is unpacked to disk."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise UserError(f"{path}: path outside the archive, '{member.name}'")
                if not (member.isfile() or member.isdir()):
                    kind = "link" if member.issym() or member.islnk() else "device"
                    raise UserError(f"{path}: holds a {kind}, '{member.name}'")
                if member.isfile():
                    yield name.parts, archive.extractfile(member).read()
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable tar archive: {error}") from None


def _pixels(content: bytes, where: str) -> np.ndarray:
    """(channels, height, width), uint8: one channel of a grey image, else red, green and blue."""
    try:
        image = Image.open(io.BytesIO(content))
        if image.mode == "L":
            return np.asarray(image)[None]
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        raise UserError(f"{where} is not a readable image") from None


def _labelled(images: dict[tuple[str, ...], np.ndarray], path: Path) -> Raw:
    """Images stacked by the part and the class that their paths name."""
    members, tops = {"train": {}, "test": {}}, set()
    for parts, pixels in images.items():
        *folders, file = parts
        kind = folders.pop() if folders else ""
        part = folders.pop() if folders and folders[-1] in members else None
        tops.add((*folders, part is None))
        if not kind or kind in members or len(folders) > 1 or len(tops) > 1:
            raise UserError(f"{path}: expected {LAYOUT}, found '{'/'.join(parts)}'")
        members[part or "train"][kind, file] = pixels
    _refuse_two_sizes(images, path)
    classes = sorted({kind for kind, _ in members["train"]})
    index = {name: number for number, name in enumerate(classes)}
    for kind, _ in members["test"]:
        if kind not in index:
            raise UserError(f"{path}: class '{kind}' is in test but not in train")
    arrays = []
    shape = next(iter(images.values())).shape
    for part in members.values():
        keys = sorted(part)
        arrays.append(np.empty((len(keys), *shape), dtype=np.uint8))
        for image, key in zip(arrays[-1], keys, strict=True):
            image[...] = part[key]
        arrays.append(np.array([index[kind] for kind, _ in keys], dtype=np.int64))
    return Raw(*arrays, classes)


def _refuse_two_sizes(images: dict[tuple[str, ...], np.ndarray], path: Path) -> None:
    first, expected = next(iter(images.items()))
    for parts, pixels in images.items():
        if pixels.shape != expected.shape:
            found, other = (
                "x".join(str(n) for n in shape) for shape in (expected.shape, pixels.shape)
            )
            raise UserError(
                f"{path}: images of two sizes (channels x height x width): "
                f"{found} of '{'/'.join(first)}', {other} of '{'/'.join(parts)}'"
            )
