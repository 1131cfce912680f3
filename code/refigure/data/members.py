"""Predictions of a user's own networks: a folder of NumPy files, one a network, and labels.

    labels.npy          (objects,), whole numbers from 0
    0.npy, 1.npy, ...   (objects, classes), logits or probabilities, floats

and for networks of several widths a folder for each, `k=8/0.npy`, and `sizes.json`, which says how
many parameters they have: `{"parameters": {"8": 5130, "16": 18442}, "standard": 8}`. Nothing can be
trained on them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from refigure.data.archives import Files, Member
from refigure.data.prepared import write
from refigure.data.sources import checked
from refigure.errors import UserError

LABELS = ("labels.npy", "labels.npz")
SIZES = "sizes.json"
SUFFIXES = (".npy", ".npz")
WIDTH = re.compile(r"k=([1-9]\d*)$")
LAYOUT = "labels.npy beside <member>.npy, or beside k=<width>/<member>.npy and sizes.json"
FEW = 2
"""Members of an ensemble, at least."""
SUM_TOLERANCE = 1e-2
"""How far from 1 the sum of a row of probabilities may lie: half precision of 1,000 classes, or
three printed digits of ten."""
RANGE_TOLERANCE = 1e-3
"""How far outside [0, 1] rounding may put a probability."""
NOT_LESS = float(np.finfo(np.float16).min)


@dataclass
class Raw:
    """The members of a folder, checked.

    Args:
        labels: (objects,), int64.
        logits: width -> name -> (objects, classes), float16, the largest of a row 0; width 1 where
            the folder names none.
        parameters: width -> parameters of a network; 1 where the folder does not say.
        standard: the width whose size is the unit of all sizes.
        kinds: how many members came as logits, and how many as probabilities.
        zeros: probabilities of 0 that were read as the floor (see `as_logits`).
        passed_over: names of files that are no arrays.
    """

    labels: np.ndarray
    logits: dict[int, dict[str, np.ndarray]]
    parameters: dict[int, int]
    standard: int
    kinds: Counter[str] = field(default_factory=Counter)
    zeros: int = 0
    passed_over: list[str] = field(default_factory=list)

    def line(self, path: Path) -> str:
        """What was read, in one line."""
        members = [len(own) for own in self.logits.values()]
        first = next(iter(next(iter(self.logits.values())).values()))
        said = [f"{sum(members)} members"]
        if len(members) > 1:
            counts = ", ".join(f"k = {k}: {len(own)}" for k, own in self.logits.items())
            said[0] += f" ({counts})"
        said.append(f"{len(first)} objects, {first.shape[1]} classes")
        said += [f"{count} of {kind}" for kind, count in sorted(self.kinds.items())]
        if self.zeros:
            said.append(f"{self.zeros} probabilities of 0 read as the smallest of their file")
        if self.passed_over:
            said.append(f"passed over: {', '.join(self.passed_over[:6])}")
        return f"{path}: {'; '.join(said)}"


@dataclass(frozen=True)
class Members:
    """A prepared file of members; logits are read when they are asked for.

    Args:
        path: of the file.
        labels: (objects,), int64.
        members: width -> keys of its networks in the file.
        parameters: width -> parameters of a network.
        standard: the width whose size is the unit of all sizes.
    """

    path: Path
    labels: np.ndarray
    members: Mapping[int, tuple[str, ...]]
    parameters: Mapping[int, int]
    standard: int

    def chunks(self, k: int, count: int) -> Iterator[np.ndarray]:
        """Logits of at most `count` members of a width at once, (members, objects, classes)."""
        keys = self.members[k]
        with safe_open(self.path, "np") as file:
            for first in range(0, len(keys), count):
                yield np.stack([file.get_tensor(key) for key in keys[first : first + count]])


def read(given: Mapping[str, Mapping[str, Any]], cache: Path) -> Raw:
    """The members of a source, after its checksum.

    Raises:
        UserError: the source is of another kind, has another checksum, or holds what `survey`
            refuses.
    """
    source = given["source"]
    if source["kind"] != "predictions":
        raise UserError(
            f"a recipe of members reads a source {{predictions: PATH}}, not one of kind"
            f" '{source['kind']}'"
        )
    [path] = checked(source)
    raw = survey(path, bool(source.get("follow_links")))
    print(raw.line(path), flush=True)
    return raw


def survey(path: Path, follow_links: bool = False) -> Raw:
    """Every member of a folder, or a tar or zip of one, read and checked.

    Raises:
        UserError: one line that names the file and what is wrong with it: no labels, or of another
            number, or of a class that there is not; an array that is not readable, of another
            shape, or not finite; rows that are neither logits nor probabilities; two equal
            arrays; fewer than two members; several widths without their sizes.
    """
    reading = _Reading(path)
    for member in Files(path, follow_links):
        reading.take(member)
    return reading.found()


class _Reading:
    """What was read so far of a folder, in the order of its files."""

    def __init__(self, path: Path):
        self.path = path
        self.labels: tuple[str, np.ndarray] | None = None
        self.sizes: tuple[str, Any] | None = None
        self.first: tuple[str, tuple[int, ...]] | None = None
        self.digests: dict[bytes, str] = {}
        self.members: dict[int, dict[str, np.ndarray]] = {}
        self.names: dict[int, dict[str, str]] = {}
        self.tops: set[str] = set()
        self.raw = Raw(np.zeros(0, np.int64), {}, {}, 0)

    def refuse(self, name: str, what: str) -> UserError:
        return UserError(f"{self.path}: '{name}' {what}" if name else f"{self.path}: {what}")

    def take(self, member: Member) -> None:
        *folders, file = member.parts
        width = WIDTH.match(folders[-1]) if folders else None
        top = folders[:-1] if width else folders
        suffix = Path(file).suffix.lower()
        labels = file in LABELS and not width
        if not (labels or file == SIZES or suffix in SUFFIXES):
            self.raw.passed_over.append(member.name)
            return
        self.tops.add("/".join(top))
        if len(top) > 1 or len(self.tops) > 1:
            raise self.refuse(member.name, f"lies where no member should; expected {LAYOUT}")
        if file == SIZES and not width:
            try:
                self.sizes = member.name, json.loads(member.read())
            except (ValueError, UnicodeDecodeError) as error:
                raise self.refuse(member.name, f"is not JSON: {error}") from None
        elif labels:
            if self.labels is not None:
                raise self.refuse(member.name, f"and '{self.labels[0]}' are both labels")
            self.labels = member.name, self._labels(member)
        else:
            k = int(width.group(1)) if width else 0
            self._member(member, k, Path(file).stem)

    def _array(self, member: Member) -> np.ndarray:
        try:
            found = np.load(io.BytesIO(member.read()), allow_pickle=False)
            if not isinstance(found, np.ndarray):
                names = list(found.files)
                if len(names) != 1:
                    shown = ", ".join(names) or "none"
                    raise self.refuse(member.name, f"holds {len(names)} arrays ({shown}), not one")
                found = found[names[0]]
        except UserError:
            raise
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            said = " ".join(str(error).split())
            raise self.refuse(member.name, f"is not a readable NumPy file: {said}") from None
        return found

    def _labels(self, member: Member) -> np.ndarray:
        found = self._array(member)
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise self.refuse(
                member.name,
                f"holds {_shape(found)}; expected one whole number an object, from 0",
            )
        return found.astype(np.int64)

    def _member(self, member: Member, k: int, stem: str) -> None:
        name, found = member.name, self._array(member)
        if found.ndim != 2 or found.shape[1] < 2 or not len(found) or found.dtype.kind != "f":
            raise self.refuse(
                name,
                f"holds {_shape(found)}; expected floats, (objects, classes), two classes at least",
            )
        if self.first is None:
            self.first = name, found.shape
        if found.shape != self.first[1]:
            first, shape = self.first
            raise self.refuse(
                name, f"is of {_by(found.shape)} objects and classes, '{first}' of {_by(shape)}"
            )
        digest = hashlib.sha256(found.dtype.str.encode() + found.tobytes()).digest()
        if digest in self.digests:
            raise self.refuse(name, f"holds the same numbers as '{self.digests[digest]}'")
        self.digests[digest] = name
        if stem in self.members.get(k, {}):
            other = self.names[k][stem]
            raise self.refuse(name, f"and '{other}' are one member's name twice")
        logits, kind, zeros = as_logits(found, lambda what: self.refuse(name, what))
        self.members.setdefault(k, {})[stem] = logits
        self.names.setdefault(k, {})[stem] = name
        self.raw.kinds[kind] += 1
        self.raw.zeros += zeros

    def found(self) -> Raw:
        """All of it, once nothing is missing."""
        if self.labels is None:
            raise self.refuse("", f"holds no labels; expected {LAYOUT}")
        if self.first is None:
            raise self.refuse("", f"holds no members; expected {LAYOUT}")
        name, labels = self.labels
        member, (objects, classes) = self.first
        if len(labels) != objects:
            raise self.refuse(name, f"holds {len(labels)} labels, '{member}' {objects} rows")
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(wrong):
            raise self.refuse(
                name,
                f"holds {labels[wrong[0]]} at {wrong[0]}, which is none of the classes"
                f" 0 to {classes - 1} of '{member}'",
            )
        if 0 in self.members and len(self.members) > 1:
            flat, one = (next(iter(self.names[k].values())) for k in (0, max(self.members)))
            raise self.refuse(flat, f"lies beside widths such as '{one}': move it into its own")
        for k, own in self.members.items():
            if len(own) < FEW:
                [only] = self.names[k].values()
                place = f"of k = {k}" if k else "there"
                raise self.refuse(
                    only, f"is the only member {place}: an ensemble has {FEW} at least"
                )
        self.raw.labels = labels
        self.raw.logits = {k or 1: self.members[k] for k in sorted(self.members)}
        self._sized()
        return self.raw

    def _sized(self) -> None:
        widths = list(self.raw.logits)
        if self.sizes is None:
            if len(widths) > 1:
                shown = ", ".join(map(str, widths))
                raise self.refuse(
                    "", f"holds the widths {shown} and no {SIZES}, which says their parameters"
                )
            self.raw.parameters, self.raw.standard = {widths[0]: 1}, widths[0]
            return
        name, written = self.sizes
        sizes = written.get("parameters") if isinstance(written, dict) else None
        if not isinstance(sizes, dict):
            raise self.refuse(name, 'is not {"parameters": {"<width>": <number>, ...}}')
        if unknown := set(written) - {"parameters", "standard"}:
            raise self.refuse(name, f"has an unknown key '{sorted(unknown)[0]}'")
        for k in widths:
            size = sizes.get(str(k))
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise self.refuse(
                    name, f"says {size!r} parameters of width {k}; expected a whole number above 0"
                )
        ordered = [sizes[str(k)] for k in widths]
        if len(set(ordered)) < len(ordered):
            raise self.refuse(name, f"says the same parameters of two widths: {ordered}")
        standard = written.get("standard", widths[len(widths) // 2])
        if isinstance(standard, bool) or standard not in widths:
            raise self.refuse(
                name, f"names {standard!r} as standard, which is none of the widths {widths}"
            )
        self.raw.parameters = dict(zip(widths, ordered))
        self.raw.standard = standard


def as_logits(found: np.ndarray, refuse: Any) -> tuple[np.ndarray, str, int]:
    """Logits in half precision, the largest of each row 0; what they came as; zeros among them.

    Probabilities become their logarithms, which softmax takes back to them. One of 0 has none: it
    is read as the smallest positive one of the member, or the distance from 1 to the next number
    of its type where that is smaller, since a forest says 0 where it means less than one tree.

    Args:
        found: (objects, classes), floats.
        refuse: the error of a text.

    Raises:
        UserError: not finite, or neither logits nor probabilities.
    """
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        row, column = bad[0]
        raise refuse(f"holds {found[row, column]} in row {row}, column {column}")
    values = found.astype(np.float64)
    sums = values.sum(1)
    inside = ((values >= -RANGE_TOLERANCE) & (values <= 1 + RANGE_TOLERANCE)).all(1)
    shares = inside & (np.abs(sums - 1) <= SUM_TOLERANCE)
    if shares.all():
        if np.isin(values, (0.0, 1.0)).all():
            raise refuse("holds only 0 and 1: answers, not probabilities")
        positive = values > 0
        zeros = int((~positive).sum())
        floor = min(values[positive].min(), float(np.finfo(found.dtype).eps))
        values = np.log(np.where(positive, values, floor))
        kind = "probabilities"
    else:
        row = int(np.flatnonzero(~shares)[0])
        constant = np.ptp(sums) <= SUM_TOLERANCE * abs(sums[0])
        if 2 * shares.sum() > len(shares):
            raise refuse(f"holds probabilities, but for row {row}, whose sum is {sums[row]:g}")
        if inside.all() or (values.min() >= 0 and constant):
            raise refuse(
                f"holds neither logits nor probabilities: all values from {values.min():g} to"
                f" {values.max():g}, the sum of row {row} is {sums[row]:g} and not 1"
            )
        zeros, kind = 0, "logits"
    values -= values.max(1, keepdims=True)
    return np.maximum(values, NOT_LESS).astype(np.float16), kind, zeros


def _shape(found: np.ndarray) -> str:
    return f"{found.dtype} of shape {found.shape}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def prepare(raw: Raw, recipe: Mapping[str, Any]) -> Raw:
    """What was read: it is prepared as it is checked."""
    return raw


def save(prepared: Raw, path: Path, recipe: Mapping[str, Any]) -> None:
    """Write labels, and the logits of each member under `<width>|<number>`."""
    arrays = {"labels": prepared.labels}
    names = {}
    for k, own in prepared.logits.items():
        # Networks by the numbers in their names: 2 before 10.
        ordered = sorted(own, key=_natural)
        names[str(k)] = ordered
        arrays |= {f"{k}|{place}": own[name] for place, name in enumerate(ordered)}
    sizes = {str(k): size for k, size in prepared.parameters.items()}
    about = {"recipe": dict(recipe), "names": names, "parameters": sizes}
    write(path, arrays, about | {"standard": prepared.standard})


def _natural(name: str) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def load(path: Path, device: Any) -> Members:
    """The members of a file that `save` wrote; the device is not used, since nothing is trained."""
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["refigure"])
        labels = file.get_tensor("labels")
    keys = {
        k: tuple(f"{k}|{place}" for place in range(len(about["names"][str(k)])))
        for k in sorted(map(int, about["names"]))
    }
    sizes = {k: about["parameters"][str(k)] for k in keys}
    return Members(path, labels, keys, sizes, about["standard"])
