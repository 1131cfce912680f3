"""How long training takes here: of past jobs where there are any, else of a few steps timed now.

Times are core-seconds on a CPU, which a busy machine does not lengthen, and seconds on a GPU.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from refigure.errors import UserError
from refigure.explain.holdings import Holdings
from refigure.explain.sizes import shape_of
from refigure.files import read_json, write_json
from refigure.graph.catalogue import absent
from refigure.graph.experiments import Run, Wanted
from refigure.graph.lookups import Graph
from refigure.graph.packs import Pack
from refigure.graph.spec import Part, Spec, digest
from refigure.report.wording import on_cpu
from refigure.training.clocks import epoch_is_due

OF_ONE = ("seed", "epochs", "start", "stop", "schedule", "init", "head", "optimiser")
"""Keys of a spec in which runs may differ whose epochs take equally long; of an optimiser only
`NUMBERS` may."""
NUMBERS = ("elr", "lr", "wd", "momentum", "radius", "norm")
"""Of an optimiser: their values do not change how long a step takes."""


@dataclass(frozen=True)
class Timed:
    """Times of one architecture on some data, measured just now.

    Args:
        step_s: a training step of one batch, a network.
        batches: of an epoch.
        passes: the names of the recorders that measure together, joined by "+", -> seconds each
            time they do, a network.
        parameters: numbers of a network that a point keeps: weights, moments and frozen ones.
        optimiser: further numbers that the point of an epoch keeps.
    """

    step_s: float
    batches: int
    passes: Mapping[str, float]
    parameters: int
    optimiser: int


def same_work(spec: Spec, wanted: Wanted) -> str:
    """Runs of which an epoch takes equally long: equal but for seeds, numbers, length and start."""
    kept = [f"{key}:{text}" for key, text in spec.texts().items() if key not in OF_ONE]
    held = spec.optimiser.get("momentum", 0) != 0
    optimiser = spec.optimiser
    if type(optimiser) is not Part:
        optimiser = Part("optimiser", optimiser)
    return " ".join([*kept, optimiser.text_without(NUMBERS), str(held), *sorted(wanted.records)])


class Times:
    """Predicted times of runs of one scale on this machine.

    Args:
        graph: of the scale.
        holdings: what lies under its results.
        may_time: whether architectures that never ran here may be timed now.
        device: key of the class of devices whose GPU-hours are counted; None: its default.
        gpu_here: whether a job that asks for a GPU finds one on this machine.
    """

    def __init__(
        self,
        graph: Graph,
        holdings: Holdings,
        may_time: bool = True,
        device: str | None = None,
        gpu_here: bool = False,
    ):
        self.graph, self.holdings, self.may_time = graph, holdings, may_time
        self.device, self.gpu_here = device, gpu_here
        self.path = graph.config.root / "scratch" / "timing.json"
        self.sources: Counter[str] = Counter()
        self._works: dict[tuple[str, Wanted], str] = {}
        self._asks: dict[str, bool] = {}
        self._seconds: dict[str, float | None] = {}
        self._past = self._read_past()
        self._code: dict[str, Mapping[str, str]] = {}
        self._timed: dict[str, Any] = {}
        self._counts: dict[tuple[Any, ...], Timed | None] = {}
        self._lacks: dict[str, bool] = {}
        self._refused = False
        with contextlib.suppress(UserError):  # not there yet, or damaged
            stored = read_json(self.path)  # null: the data were not there then, but may be now
            self._timed = {key: timed for key, timed in stored.items() if timed is not None}

    # ------------------------------------------------------------------ past jobs

    def _read_past(self) -> dict[Any, dict[str, list[float]]]:
        """Work -> `epoch`: seconds of each, `bytes`: of each network, of all that lies here."""
        found: dict[Any, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
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
                before = run.own_epochs.start - 1
                trained = about["last_epoch"] - before
                if trained < 1 or about["status"] not in ("finished", "stopped"):
                    continue
                work = same_work(run.spec, Wanted.from_json(about["wanted"]))
                seconds = about.get("core_seconds") if on_cpu(about["device"]) else None
                here = "epoch" if on_cpu(about["device"]) else about["device"]
                found[work][here].append((seconds or about["seconds"]) / trained)
                found[work]["stopped"].append(trained / len(run.own_epochs))
            sizes = sum(path.stat().st_size for path in folder.glob("*")) if runs else 0
            for key in runs:
                if key in owned and name in self.graph.packs:
                    wanted = self.graph.packs[name].wanted
                    found[self._kept(owned[key], wanted)]["bytes"].append(sizes / len(runs))
        return found

    def _work(self, run: Run, wanted: Wanted) -> str:
        key = run.spec.id, wanted
        if key not in self._works:
            self._works[key] = same_work(run.spec, wanted)
        return self._works[key]

    def _kept(self, run: Run, wanted: Wanted) -> tuple[Any, ...]:
        return self._work(run, wanted), run.spec.epochs, wanted.points

    # ------------------------------------------------------------------ predictions

    def seconds(self, run: Run, pack: Pack) -> float | None:
        """How long one run trains in its pack; None where nobody knows."""
        if run.id not in self._seconds:
            find = self._counted_seconds if self.counts(run) else self._seconds_here
            self._seconds[run.id] = find(run, pack)
        return self._seconds[run.id]

    def _seconds_here(self, run: Run, pack: Pack) -> float | None:
        past = self._past.get(self._work(run, pack.wanted), {}).get("epoch")
        if past:
            self.sources["past"] += 1
            return statistics.median(past) * len(run.own_epochs)
        timed = self._timed_of(run, pack)
        if timed is None:
            self.sources["unknown"] += 1
            return None
        self.sources["timed"] += 1
        return _seconds(run, pack, timed)

    def counts(self, run: Run) -> bool:
        """Whether a run's work is counted, for a class of devices: it asks for a GPU, and a device
        is asked about or it is of the papers' own size, which nobody trains on a CPU."""
        name = run.experiment
        if name not in self._asks:
            self._asks[name] = bool(self.graph.resources("train", name)["gpu"])
        return self._asks[name] and self.of_devices

    @property
    def of_devices(self) -> bool:
        """Whether jobs that ask for a GPU are planned for a class of devices, not this machine."""
        large = "paper" in self.graph.scale.chain and not self.gpu_here
        return self.device is not None or large

    @cached_property
    def device_class(self) -> Any:
        """The `explain.work.Device` that is counted for."""
        from refigure.explain.work import device_class

        return device_class(self.graph.config.root, self.device)

    def _counted_seconds(self, run: Run, pack: Pack) -> float | None:
        devices = self._past.get(self._work(run, pack.wanted), {})
        name = self.device_class.name  # torch says more: NVIDIA H100 80GB HBM3
        past = next((devices[key] for key in devices if key.startswith(name)), None)
        if past:
            self.sources["past"] += 1
            return statistics.median(past) * len(run.own_epochs)
        timed = self._counted_of(run, pack)
        self.sources["unknown" if timed is None else "counted"] += 1
        return None if timed is None else _seconds(run, pack, timed)

    def _absent(self, pack: Pack) -> bool:
        if pack.name not in self._lacks:
            self._lacks[pack.name] = bool(absent(pack.modules))
        return self._lacks[pack.name]

    def _counted_of(self, run: Run, pack: Pack) -> Timed | None:
        from refigure.explain import work

        if self._absent(pack):
            return None
        key = self._work(run, pack.wanted), len(pack.runs), pack.stack, run.spec.epochs
        if key not in self._counts:
            self._counts[key] = work.timed(self.graph, run, pack, self.device_class)
        return self._counts[key]

    def bytes(self, run: Run, pack: Pack) -> float | None:
        """What one run leaves on disk; None where nobody knows."""
        past = self._past.get(self._kept(run, pack.wanted), {}).get("bytes")
        if past:
            return statistics.median(past)
        timed = (self._counted_of if self.counts(run) else self._timed_of)(run, pack)
        shape = shape_of(self.graph, run.spec.data)
        if timed is None:
            return None
        numbers = len(pack.wanted.points) * timed.parameters
        numbers += len(pack.wanted.states) * timed.optimiser
        numbers += timed.parameters if run.parent else 0  # its start
        for kept in pack.wanted.predictions if shape else ():
            # Half of the bytes of the other numbers.
            numbers += getattr(shape, kept.rpartition("|")[2]) * shape.classes // 2
        return 4 * numbers + 100 * len(run.own_epochs)

    # ------------------------------------------------------------------ timing now

    def _timed_of(self, run: Run, pack: Pack) -> Timed | None:
        if pack.name not in self._code:
            self._code[pack.name] = self.graph.training_code(pack)
        made = [self._code[pack.name], self.graph.config.user["device"]]
        key = digest([self._work(run, pack.wanted), *made])
        if key not in self._timed:
            if not self.may_time or absent(pack.modules):
                return None
            from refigure.explain.step_times import calibrate

            timed = calibrate(self.graph, pack, run)
            self._timed[key] = timed and asdict(timed)
            self._store()
        found = self._timed[key]
        return None if found is None else Timed(**found)

    def _store(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._timed, self.path)
        except (OSError, UserError) as error:
            if not self._refused:
                print(f"refigure: the timings are not kept: {error}", file=sys.stderr)
            self._refused = True


def _seconds(run: Run, pack: Pack, timed: Timed) -> float:
    """Of a run's steps and the measures between them."""
    seconds = len(run.own_epochs) * timed.batches * timed.step_s
    for names, count in measures(run, pack.wanted, timed.batches).items():
        seconds += count * timed.passes[names]
    return seconds


def measures(run: Run, wanted: Wanted, batches: int) -> Mapping[str, int]:
    """Names of recorders that measure together -> how often they do in a run.

    Args:
        batches: of an epoch.
    """
    stops = (run.spec.stop or {}).get("train_loss_below") is not None
    return _measures(run.own_epochs, run.spec.epochs, wanted.records, stops, batches)


@cache
def _measures(
    trained: range, epochs: int, written: frozenset[str], stops: bool, batches: int
) -> Mapping[str, int]:
    records = [json.loads(record) for record in sorted(written)]
    needed = {"train"} if stops else set()
    counted: Counter[str] = Counter()
    for epoch in trained:
        due = [
            record["name"]
            for record in records
            if record["name"] in needed
            or ("steps" not in record["every"] and epoch_is_due(record["every"], epoch, epochs))
        ]
        counted["+".join(due)] += 1
    for record in records:
        if "steps" in record["every"]:
            counted[record["name"]] += batches * len(trained) // record["every"]["steps"]
    counted.pop("", None)
    return counted
