"""Pools of kept predictions: logits of many networks on one evaluation set, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from refigure.errors import UserError
from refigure.files import read_json
from refigure.graph.experiments import FINAL, Run
from refigure.graph.lookups import Graph


@dataclass(frozen=True)
class Pool:
    """The predictions of some networks on one evaluation set.

    Args:
        members: the runs whose predictions it holds, in the order of their grid.
        failed: runs that ended without any, or that diverged; they are no members.
        labels: (objects,), int64, of the evaluation set.
        places: of each member, file and key of its logits.
    """

    members: Sequence[Run]
    failed: Sequence[Run]
    labels: np.ndarray
    places: Sequence[tuple[Path, str]]

    def __len__(self) -> int:
        return len(self.members)

    def __bool__(self) -> bool:
        return bool(self.members or self.failed)

    def chunks(self, count: int) -> Iterator[np.ndarray]:
        """Logits of at most `count` members at once, (members, objects, classes), as kept.

        Raises:
            UserError: logits are of another number of objects than the labels.
        """
        for first in range(0, len(self.places), count):
            places = self.places[first : first + count]
            chunk: np.ndarray | None = None
            for number, logits in enumerate(_read(places)):
                if len(logits) != len(self.labels):
                    path, key = places[number]
                    raise UserError(
                        f"{path}: {key} are of {len(logits)} objects, the set has "
                        f"{len(self.labels)}"
                    )
                if chunk is None:
                    chunk = np.empty((len(places), *logits.shape), logits.dtype)
                chunk[number] = logits
            yield chunk
            chunk = None  # or two would be in memory while the next is read


def _read(places: Sequence[tuple[Path, str]]) -> Iterator[np.ndarray]:
    """The logits at some places, a file opened once for those of it that follow each other."""
    path, file = None, None
    for here, key in places:
        if here != path:
            path, file = here, safe_open(here, "np")
        yield file.get_tensor(key)


def pool(
    graph: Graph,
    members: Sequence[tuple[Run, str | None]],
    which: str,
    loaded: dict[str, Mapping[str, np.ndarray]],
) -> Pool:
    """The pool of some runs at their points.

    Args:
        members: runs and point keys; None: the network that a run ends with.
        which: the evaluation set.
        loaded: labels by data and set, kept from one pool to the next.

    Raises:
        UserError: a healthy run has kept no such predictions, the runs are of several data sets, or
            those have no such evaluation set.
    """
    data = {run.spec.data for run, _ in members}
    if len(data) > 1:
        raise UserError(f"a pool of predictions is of several data sets: {', '.join(sorted(data))}")
    kept: dict[str, tuple[set[str], dict]] = {}
    there, failed, places = [], [], []
    for run, point in members:
        folder = graph.paths.pack(graph.pack_of[run.id])
        path = folder / "predictions.safetensors"
        if folder.name not in kept:
            kept[folder.name] = (_keys(path), read_json(folder / "run.json")["runs"])
        keys, about = kept[folder.name]
        key = f"{run.id}|{point or FINAL}|{which}"
        if about[run.id]["status"] in ("diverged", "no_parent_point"):
            failed.append(run)
        elif key in keys:
            there.append(run)
            places.append((path, key))
        else:
            raise UserError(
                f"{path}: {run.label} has kept no predictions of '{which}' at {point or FINAL}: "
                "name them under `predictions` of its experiment"
            )
    labels = np.zeros(0, np.int64)
    for name in data:
        key = f"{name}|{which}"
        if key not in loaded:
            loaded[key] = _labels(graph.paths.data(name), which)
        labels = loaded[key]
    return Pool(there, failed, labels, places)


def _keys(path: Path) -> set[str]:
    try:
        with safe_open(path, "np") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not readable: {' '.join(str(error).split())}") from None


def _labels(path: Path, which: str) -> np.ndarray:
    with safe_open(path, "np") as file:
        sets = [key.removesuffix("_labels") for key in list(file.keys()) if key.endswith("_labels")]
        if which not in sets:
            raise UserError(f"{path}: no evaluation set '{which}'; known: {', '.join(sets)}")
        return file.get_tensor(f"{which}_labels")
