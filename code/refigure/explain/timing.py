"""How long training takes here: of past jobs where there are any, else of a few steps timed now.

Times are core-seconds on a CPU, which a busy machine does not lengthen, and seconds on a GPU.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from refigure.catalogue import CATALOGUE
from refigure.experiments import Run, Wanted
from refigure.explain.holdings import Holdings
from refigure.files import read_json, write_json
from refigure.graph import Graph
from refigure.packs import Pack
from refigure.spec import Spec, canonical, digest

NUMBERS = ("elr", "lr", "wd", "momentum", "radius", "norm")
"""Of an optimiser: their values do not change how long a step takes."""
QUICK_S = 0.2  # a step longer than this is timed once, and passes on an eighth of its images


@dataclass(frozen=True)
class Timed:
    """Times of one architecture on some data, measured just now.

    Args:
        step_s: a training step of one batch, a network.
        passes: the names of the recorders that measure together, joined by "+", -> seconds an
            image of the training set, a network.
        parameters: numbers of a network that a point keeps: weights, moments and frozen ones.
        optimiser: further numbers that the point of an epoch keeps.
    """

    step_s: float
    passes: Mapping[str, float]
    parameters: int
    optimiser: int


@dataclass(frozen=True)
class Data:
    """What of prepared data a calibration needs.

    Args:
        train, test: images.
        channels, size, classes: of them.
        bytes: of the prepared file.
    """

    train: int
    test: int
    channels: int
    size: int
    classes: int
    bytes: int


def same_work(spec: Spec, wanted: Wanted) -> str:
    """Runs of which an epoch takes equally long: equal but for seeds, numbers, length and start."""
    kept = {
        key: value
        for key, value in spec.identity.items()
        if key not in ("seed", "epochs", "start", "stop", "schedule", "init", "head")
    }
    optimiser = {key: value for key, value in spec.optimiser.items() if key not in NUMBERS}
    held = spec.optimiser.get("momentum", 0) != 0
    return canonical({**kept, "optimiser": [optimiser, held], "records": sorted(wanted.records)})


def epochs_of(run: Run) -> range:
    """The epochs that a run trains: of one that goes on from a state, those after it."""
    start = run.spec.start
    since = 0
    if start and start.get("take") == "state":
        since = start["point"].get("epoch", 0)
    return range(since + 1, run.spec.epochs + 1)


class Times:
    """Predicted times of runs of one scale on this machine.

    Args:
        graph: of the scale.
        may_time: whether architectures that never ran here may be timed now.
    """

    def __init__(self, graph: Graph, holdings: Holdings, may_time: bool = True):
        self.graph, self.holdings, self.may_time = graph, holdings, may_time
        self.path = graph.config.root / "scratch" / "timing.json"
        self.sources: Counter[str] = Counter()
        self._past = self._read_past()
        self._timed: dict[str, Any] = read_json(self.path) if self.path.is_file() else {}
        self._data: dict[str, Data | None] = {}

    # ------------------------------------------------------------------ past jobs

    def _read_past(self) -> dict[str, dict[str, list[float]]]:
        """Work -> `epoch`: seconds of each, `bytes`: of each network, of all that lies here."""
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        owned, _ = self.graph.owned
        folders = {name: self.graph.paths.pack(name) for name in self.graph.packs}
        folders |= {name: Path(name) for name in self.holdings.former}
        for name, folder in folders.items():
            runs = (
                self.holdings.of_pack(name)
                if name in self.graph.packs
                else self.holdings.former[name]
            )
            for key, about in runs.items():
                run = owned.get(key)
                if run is None:
                    continue
                before = epochs_of(run).start - 1
                trained = about["last_epoch"] - before
                if trained < 1 or about["status"] not in ("finished", "stopped"):
                    continue
                work = same_work(run.spec, Wanted.from_json(about["wanted"]))
                seconds = about.get("core_seconds") if _on_cpu(about["device"]) else None
                found[work]["epoch"].append((seconds or about["seconds"]) / trained)
                found[work]["stopped"].append(trained / len(epochs_of(run)))
            sizes = sum(path.stat().st_size for path in folder.glob("*")) if runs else 0
            for key in runs:
                if key in owned and name in self.graph.packs:
                    wanted = self.graph.packs[name].wanted
                    found[self._kept(owned[key], wanted)]["bytes"].append(sizes / len(runs))
        return found

    def _kept(self, run: Run, wanted: Wanted) -> str:
        return canonical([same_work(run.spec, wanted), run.spec.epochs, sorted(wanted.points)])

    # ------------------------------------------------------------------ predictions

    def seconds(self, run: Run, pack: Pack) -> float | None:
        """How long one run trains; None where nobody knows."""
        past = self._past.get(same_work(run.spec, pack.wanted), {}).get("epoch")
        if past:
            self.sources["past"] += 1
            return statistics.median(past) * len(epochs_of(run))
        timed, data = self._timed_of(run, pack), self.data(run.spec.data)
        if timed is None or data is None:
            self.sources["unknown"] += 1
            return None
        self.sources["timed"] += 1
        batches = data.train / run.spec.batch
        batches = math.floor(batches) if run.spec.drop_last else math.ceil(batches)
        epochs = epochs_of(run)
        seconds = len(epochs) * batches * timed.step_s
        for names, count in _measures(run, pack.wanted, batches).items():
            seconds += count * data.train * timed.passes.get(names, 0.0)
        return seconds

    def bytes(self, run: Run, pack: Pack) -> float | None:
        """What one run leaves on disk; None where nobody knows."""
        past = self._past.get(self._kept(run, pack.wanted), {}).get("bytes")
        if past:
            return statistics.median(past)
        timed, data = self._timed_of(run, pack), self.data(run.spec.data)
        if timed is None or data is None:
            return None
        points = [json.loads(point) for point in pack.wanted.points]
        numbers = sum(timed.parameters + ("epoch" in point) * timed.optimiser for point in points)
        numbers += timed.parameters if run.parent else 0  # its start
        numbers += len(pack.wanted.predictions) * max(data.test, data.train) * data.classes
        return 4 * numbers + 100 * len(epochs_of(run))

    def data(self, name: str) -> Data | None:
        """What is known of some data, prepared or not; None where only preparing them tells."""
        if name not in self._data:
            from refigure.explain.shapes import data_of

            self._data[name] = data_of(self.graph, name, self._timed)
        return self._data[name]

    # ------------------------------------------------------------------ timing now

    def _timed_of(self, run: Run, pack: Pack) -> Timed | None:
        code = self.graph.training_code(pack)
        key = digest([same_work(run.spec, pack.wanted), code, self.graph.config.user["device"]])
        if key not in self._timed:
            if not self.may_time or not _there(pack) or self.data(run.spec.data) is None:
                return None
            from refigure.explain.calibration import calibrate

            together = len(pack.runs)
            timed = calibrate(self.graph, run, pack.wanted, self.data(run.spec.data), together)
            self._timed[key] = timed and asdict(timed)
            self._store()
        found = self._timed[key]
        return None if found is None else Timed(**found)

    def _store(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._timed, self.path)


def _on_cpu(device: str) -> bool:
    return device.endswith(("linux", "darwin", "win32"))


def _there(pack: Pack) -> bool:
    """Whether the code that trains a pack is written."""
    entries = {entry.module: entry for kind in CATALOGUE.values() for entry in kind.values()}
    return all(entries[module].there() for module in pack.modules)


def _measures(run: Run, wanted: Wanted, batches: int) -> dict[str, int]:
    """Names of recorders that measure together -> how often they do."""
    from refigure.training.loop import epoch_is_due

    records = [json.loads(record) for record in sorted(wanted.records)]
    needed = {"train"} if run.spec.stop else set()
    counted: Counter[str] = Counter()
    for epoch in epochs_of(run):
        due = [
            record["name"]
            for record in records
            if record["name"] in needed
            or ("steps" not in record["every"])
            and epoch_is_due(record["every"], epoch, run.spec.epochs)
        ]
        counted["+".join(due)] += 1
    for record in records:
        if "steps" in record["every"]:
            steps = batches * len(epochs_of(run))
            counted[record["name"]] += steps // record["every"]["steps"]
    counted.pop("", None)
    return dict(counted)
