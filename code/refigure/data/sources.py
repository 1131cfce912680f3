"""Raw images with labels, each source checked before it is read."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from refigure.data.archives import PACKED_SUFFIXES, Files, files_below, readable
from refigure.errors import UserError
from refigure.files import alone

DIGITS_SHA256 = "8b3b6ae90863430bdef06a3f7d1ec2f6a905a53d3375655b18cf63780ad98772"
"""Of the images (float32, little-endian) followed by the labels (int64, little-endian)."""

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
UNREAD_SUFFIXES = PACKED_SUFFIXES | frozenset(
    {".arw", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".exr", ".fits", ".h5", ".hdf5", ".hdr"}
    | {".heic", ".heif", ".jxl", ".mat", ".nef", ".nii", ".npy", ".npz", ".nrrd", ".pfm", ".psd"}
    | {".raw", ".svg"}
)
"""Of pictures, and of packed files in a folder, that are refused rather than left out."""

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
        return _images(source)
    raise ValueError(f"unknown kind of source {source['kind']!r}")


def digest_of(path: Path | Sequence[Path], follow_links: bool = False) -> str:
    """The SHA-256 of a file; of a folder, that of its files' relative paths and contents in order.

    Several files count as a folder of them: what lies beside them does not matter, and neither do
    hidden files and other companions in a folder. A link counts as the file that it leads to.

    Raises:
        UserError: there is nothing at `path`, or the folder holds a link that is not followed.
    """
    if isinstance(path, Path) and path.is_file():
        return _sha256(path).hex()
    found = files_below(path, follow_links) if isinstance(path, Path) else files_named(path)
    digest = hashlib.sha256()
    for name, file in found:
        digest.update(os.fsencode(name) + b"\0" + _sha256(file))
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


def paths_of(source: Mapping[str, Any]) -> list[Path]:
    """The files or folders of a user's own source."""
    written = source["path"]
    return [Path(path) for path in (written if isinstance(written, list) else [written])]


def checked(source: Mapping[str, Any]) -> list[Path]:
    """The paths of a user's own source, after its checksum.

    Raises:
        UserError: a file is missing, or there is no checksum or another one.
    """
    paths = paths_of(source)
    names = ", ".join(readable(str(path)) for path in paths)
    given = paths if isinstance(source["path"], list) else paths[0]
    found = digest_of(given, bool(source.get("follow_links")))
    expected = source.get("sha256")
    if expected is None:
        raise UserError(f"{names}: no sha256 in the configuration; `refigure pin` writes it")
    if found != expected.lower():
        raise UserError(
            f"{names}: expected sha256 {expected}, found {found}; after a wanted change"
            " `refigure pin --again` writes it"
        )
    return paths


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
        with alone(cache / f".{name}.lock", f"{name} is being fetched"):
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


@dataclass
class Survey:
    """What a source of images holds, by its files' paths.

    Attributes:
        counts: part -> class -> images.
        places: path -> (part, class, file) of each image.
        unread: ending -> first path and number of what is passed over.
        first: path of the first image.
    """

    path: Path
    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {"train": Counter(), "test": Counter()}
    )
    places: dict[tuple[str, ...], tuple[str, str, str]] = field(default_factory=dict)
    unread: dict[str, tuple[str, int]] = field(default_factory=dict)
    first: tuple[str, ...] | None = None
    _tops: set[tuple] = field(default_factory=set)

    def take(self, parts: tuple[str, ...]) -> bool:
        """Count a file; whether it is an image.

        Raises:
            UserError: it lies where no image should, or is of a format that is not read.
        """
        suffix = PurePosixPath(parts[-1]).suffix.lower()
        if suffix in UNREAD_SUFFIXES:
            raise UserError(
                f"{self.path}: '{'/'.join(parts)}' is of a format that is not read; convert it to"
                " .png, or take it out"
            )
        if suffix not in IMAGE_SUFFIXES:
            name, count = self.unread.get(suffix, ("/".join(parts), 0))
            self.unread[suffix] = name, count + 1
            return False
        if parts in self.places:  # a tar may hold a file twice: the later one counts
            return True
        *folders, file = parts
        kind = folders.pop() if folders else ""
        part = folders.pop() if folders and folders[-1] in self.counts else None
        self._tops.add((*folders, part is None))
        if not kind or kind in self.counts or len(folders) > 1 or len(self._tops) > 1:
            raise UserError(f"{self.path}: expected {LAYOUT}, found '{'/'.join(parts)}'")
        self.places[parts] = part or "train", kind, file
        self.counts[part or "train"][kind] += 1
        self.first = self.first or parts
        return True

    @property
    def classes(self) -> list[str]:
        """Their names, sorted.

        Raises:
            UserError: there are no images, or fewer than two classes, or one is in test only.
        """
        train, test = self.counts["train"], self.counts["test"]
        if not self.places:
            beside = f" (but '{next(iter(self.unread.values()))[0]}')" if self.unread else ""
            raise UserError(f"{self.path}: holds no images{beside}; read are {_listed()}")
        for kind in sorted(test):
            if kind not in train:
                raise UserError(f"{self.path}: class '{kind}' is in test but not in train")
        if len(train) < 2:
            raise UserError(
                f"{self.path}: one class, '{next(iter(train))}': nothing to learn; expected"
                f" {LAYOUT}"
            )
        return sorted(train)

    def line(self, hidden: int, how: Counter[str]) -> str:
        """What was read and what was passed over, in one line.

        Args:
            hidden: companions passed over.
            how: what was met in images, with how many of them.
        """
        said = [f"{sum(self.counts['train'].values())} training images"]
        said.append(f"{sum(self.counts['test'].values())} test images")
        classes = sorted(self.counts["train"].items())
        shown = ", ".join(f"{name} {count}" for name, count in classes[:12])
        more = f" and {len(classes) - 12} more" if len(classes) > 12 else ""
        said.append(f"{len(classes)} classes ({shown}{more})")
        if self.counts["test"]:
            only = [name for name, _ in classes if name not in self.counts["test"]]
            said += [f"not in test: {', '.join(only)}"] if only else []
        said += [f"{count} {what}" if count else what for what, count in sorted(how.items())]
        for suffix, (name, count) in sorted(self.unread.items()):
            said.append(f"passed over: {count} {suffix or 'without an ending'} ('{name}')")
        said += [f"passed over: {hidden} hidden"] if hidden else []
        return f"{self.path}: {'; '.join(said)}"


def _listed() -> str:
    return " ".join(sorted(IMAGE_SUFFIXES))


def survey(path: Path, follow_links: bool = False) -> tuple[Survey, np.ndarray, str]:
    """What a source of images holds, its first image, and all of it in a line.

    The names are read and one image is decoded: `read` refuses what is wrong with the others.

    Raises:
        UserError: as `read`.
    """
    files, found, first = Files(path, follow_links), Survey(path), None
    how: Counter[str] = Counter()
    _refuse_single(files)
    for member in files:
        if found.take(member.parts) and first is None:
            first = _pixels(member.read(), f"{path}: '{member.name}'", Counter())
    found.classes  # noqa: B018
    how[_sizes(first)] = 0
    return found, first, found.line(files.hidden, how)


def _refuse_single(files: Files) -> None:
    if not files.archive:
        if files.path.suffix.lower() in IMAGE_SUFFIXES:
            raise UserError(
                f"{files.path}: is one image; expected a folder, tar or zip of {LAYOUT}"
            )
        packed = f" packed by {files.packing}" if files.packing else ""
        raise UserError(
            f"{files.path}: not a readable tar archive: is a file{packed}; expected a folder, tar"
            f" or zip of {LAYOUT}"
        )


def _images(source: Mapping[str, Any]) -> Raw:
    [path] = checked(source)
    files, found = Files(path, bool(source.get("follow_links"))), Survey(path)
    _refuse_single(files)
    how: Counter[str] = Counter()
    # Decoded one by one, so that only the small arrays are held and not the packed files too.
    images = {
        member.parts: _pixels(member.read(), f"{path}: '{member.name}'", how)
        for member in files
        if found.take(member.parts)
    }
    raw = _labelled(images, found)
    how[_sizes(next(iter(images.values())))] = 0
    print(found.line(files.hidden, how), flush=True)
    return raw


def _sizes(pixels: np.ndarray) -> str:
    channels, height, width = pixels.shape
    depth = "8 bits" if pixels.dtype == np.uint8 else "more than 8 bits, as floats in [0, 1]"
    return f"{channels}x{height}x{width} (channels x height x width), {depth}"


def _pixels(content: bytes, where: str, how: Counter[str]) -> np.ndarray:
    """(channels, height, width): one channel of a grey image, else red, green and blue.

    uint8, or float32 in [0, 1] of a grey image of 16 bits or of floats.

    Args:
        where: begins a message.
        how: what is left out of an image or changed is counted here.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                return _array(image, content, where, how)
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        reason = str(error).split(",")[0]
        raise UserError(f"{where} is too large: {reason}; scale it down") from None
    except UnidentifiedImageError:
        raise UserError(f"{where} is not a readable image") from None
    except MemoryError:
        raise UserError(f"{where} does not fit into memory") from None
    except Exception as error:  # decoders raise what they like over damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} is not a readable image: {reason}") from None


def _array(image: Image.Image, content: bytes, where: str, how: Counter[str]) -> np.ndarray:
    if getattr(image, "n_frames", 1) > 1:
        how["of several pages, of which the first"] += 1
    if "exif" in image.info and image.getexif().get(0x0112, 1) != 1:
        how["with a rotation in EXIF, which is not applied"] += 1
    if image.mode == "L":
        return np.asarray(image)[None]
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        how["of 16 bits"] += 1
        pixels = np.asarray(image).astype(np.float32)
        return (pixels / np.float32(65535))[None]
    if image.mode in ("I", "F"):
        pixels = np.asarray(image, dtype=np.float64)
        low, high = float(pixels.min()), float(pixels.max())
        if image.mode == "F" and low >= 0 and high <= 1:
            how["of floats"] += 1
            return pixels.astype(np.float32)[None]
        raise UserError(
            f"{where} has {'float' if image.mode == 'F' else '32-bit'} pixels from {low:g} to"
            f" {high:g}, and no known range; save it with 8 or 16 bits, or as floats in [0, 1]"
        )
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        how["with transparency, which is left out"] += 1
    if image.format == "PNG" and content[24:25] == b"\x10":
        how["in colour of 16 bits, read as 8"] += 1
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _labelled(images: dict[tuple[str, ...], np.ndarray], found: Survey) -> Raw:
    """Images stacked by the part and the class that their paths name."""
    classes = found.classes
    _refuse_two_kinds(images, found.path)
    index = {name: number for number, name in enumerate(classes)}
    first = next(iter(images.values()))
    arrays = []
    for part in found.counts:
        chosen = {
            (kind, file): parts
            for parts, (where, kind, file) in found.places.items()
            if where == part
        }
        keys = sorted(chosen)
        arrays.append(np.empty((len(keys), *first.shape), dtype=first.dtype))
        for image, key in zip(arrays[-1], keys, strict=True):
            image[...] = images[chosen[key]]
        arrays.append(np.array([index[kind] for kind, _ in keys], dtype=np.int64))
    return Raw(*arrays, classes)


def _refuse_two_kinds(images: dict[tuple[str, ...], np.ndarray], path: Path) -> None:
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
        if pixels.dtype != expected.dtype:
            raise UserError(
                f"{path}: images of two bit depths, '{'/'.join(first)}' and '{'/'.join(parts)}':"
                " save them alike"
            )
