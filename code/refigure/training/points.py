"""Points: the named states that a run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.models.layers import Statistics
from refigure.training.stack import Stack

Moments = dict[str, tuple[Tensor, Tensor]]


@dataclass
class Snapshot:
    """The weights of every network at a moment, and what else a child may go on from.

    Args:
        flat: (networks, trained).
        moments: batch norm's running moments.
        optimiser: the optimiser's state.
        there: (networks,) bool: which networks have reached this point.
        epoch: (networks,) int64: when, in whole epochs since the initial state.
    """

    flat: Tensor
    moments: Moments
    optimiser: dict[str, Tensor]
    there: Tensor
    epoch: Tensor

    @classmethod
    def of(
        cls, stack: Stack, statistics: Statistics, optimiser: dict, there: Tensor, epoch: int
    ) -> Snapshot:
        """A copy of the present state, which shares no memory: a training state refuses that."""
        moments = statistics.running.items()
        return cls(
            stack.flat.clone(),
            {layer: (mean.clone(), var.clone()) for layer, (mean, var) in moments},
            {name: value.clone() for name, value in optimiser.items()},
            there.clone(),
            torch.full(there.shape, epoch),
        )

    def take_rows(self, other: Snapshot, rows: Tensor) -> None:
        """Overwrite the networks in `rows` (networks,) bool with those of another snapshot."""
        self.flat = rows_of(rows, other.flat, self.flat)
        self.moments = {
            layer: (
                rows_of(rows, mean, self.moments[layer][0]),
                rows_of(rows, var, self.moments[layer][1]),
            )
            for layer, (mean, var) in other.moments.items()
        }
        self.optimiser = {
            name: rows_of(rows, value, self.optimiser[name])
            for name, value in other.optimiser.items()
        }
        self.there = self.there | (rows & other.there)
        self.epoch = rows_of(rows, other.epoch, self.epoch)

    def as_tensors(self) -> dict[str, Tensor]:
        """By name, for a training state."""
        tensors = {"flat": self.flat, "there": self.there, "epoch": self.epoch}
        for layer, (mean, variance) in self.moments.items():
            tensors[f"mean/{layer}"], tensors[f"variance/{layer}"] = mean, variance
        return tensors | {f"optimiser/{name}": value for name, value in self.optimiser.items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Snapshot:
        """What `as_tensors` gave."""
        layers = [name.partition("/")[2] for name in tensors if name.startswith("mean/")]
        return cls(
            tensors["flat"],
            {layer: (tensors[f"mean/{layer}"], tensors[f"variance/{layer}"]) for layer in layers},
            {
                name.partition("/")[2]: value
                for name, value in tensors.items()
                if name.startswith("optimiser/")
            },
            tensors["there"].bool().cpu(),
            tensors["epoch"].cpu(),
        )


def rows_of(rows: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The networks in `rows` (networks,) bool from one tensor, the others from another."""
    return torch.where(rows.to(new.device).view(-1, *[1] * (new.dim() - 1)), new, old)


def first_step(average: Mapping[str, int], per_epoch: int) -> int:
    """The first step whose weights an average takes that counts backwards in steps.

    Raises:
        UserError: it is not after the initial state.
    """
    first = average["to"] * per_epoch - (average["count"] - 1) * average["steps"]
    if first < 1:
        raise UserError(
            f"an average of {average['count']} states, {average['steps']} steps apart, up to epoch"
            f" {average['to']} begins before the initial state: an epoch has {per_epoch} steps here"
        )
    return first


@dataclass
class Average:
    """A running sum of weights over the moments that an average takes."""

    total: Tensor
    count: int


@dataclass
class Points:
    """Keeps what is wanted as training goes by.

    Args:
        wanted: canonical texts of resolved points.
        states: those of them that hold the optimiser's state, since a run goes on from them.
        made: key -> snapshot, of the points that are there.
    """

    wanted: Iterable[str]
    states: Collection[str] = ()
    made: dict[str, Snapshot] = field(default_factory=dict)
    averages: dict[str, Average] = field(default_factory=dict)
    aside: dict[str, Snapshot] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.definitions = {key: json.loads(key) for key in sorted(self.wanted)}
        self.by_step = {
            key: point["average"]
            for key, point in self.definitions.items()
            if "steps" in point.get("average", ())
        }
        self.detectors: dict = {}

    @property
    def reads(self) -> set[str]:
        """The recorders that a point needs at the end of every epoch.

        The best of a column of another recorder is among the epochs at which that measures.
        """
        points = self.definitions.values()
        events = {"train"} if any("event" in point for point in points) else set()
        best = {point["best"].partition("_")[0] for point in points if "best" in point}
        return events | ({"train", "test"} if best & {"train", "test"} else set())

    def update(
        self,
        epoch: int,
        snapshot: Callable[[], Snapshot],
        alive: Tensor,
        measured: dict[str, Tensor],
        recompute: Callable[[Tensor], Moments],
    ) -> None:
        """Take the end of an epoch (0: the initial state).

        Args:
            epoch: as points count it.
            snapshot: makes a copy of the present state.
            alive: (networks,) bool: those that neither diverged nor stopped before.
            measured: scalars of this epoch, column -> (networks,).
            recompute: flat weights -> batch norm's moments over the training set.
        """
        for key, point in self.definitions.items():
            if point.get("epoch") == epoch:
                self.take(self.made, key, snapshot, alive)  # those that stopped keep theirs
            elif "every" in point.get("average", ()):
                average = point["average"]
                self._average(
                    key, average, epoch - average["from"], average["every"], snapshot, recompute
                )
            elif "best" in point:
                if epoch == 0 and point["best"] not in measured:
                    raise ValueError(f"point {key}: no recorder measures '{point['best']}'")
                self._keep_best(key, point, snapshot, alive, measured)
            elif "event" in point:
                self._watch(key, point, epoch, snapshot, alive, measured)

    def update_within(
        self,
        step: int,
        per_epoch: int,
        snapshot: Callable[[], Snapshot],
        recompute: Callable[[Tensor], Moments],
    ) -> None:
        """Take the end of a step, 1 or later, for the averages that count backwards in steps.

        Args:
            per_epoch: steps.
            snapshot, recompute: as of `update`.
        """
        for key, average in self.by_step.items():
            first = first_step(average, per_epoch)
            self._average(key, average, step - first, average["steps"], snapshot, recompute)

    def _average(self, key, average, after, every, snapshot, recompute) -> None:
        """Add the present weights if their time, counted from the first that is added, has come."""
        if after < 0 or after % every or after // every >= average["count"]:
            return
        now = snapshot()
        if key not in self.averages:
            self.averages[key] = Average(torch.zeros_like(now.flat), 0)
        running = self.averages[key]
        running.total += now.flat
        running.count += 1
        if running.count == average["count"]:
            flat = running.total / running.count
            self.made[key] = Snapshot(flat, recompute(flat), {}, now.there, now.epoch)
            del self.averages[key]

    def _keep_best(self, key, point, snapshot, alive, measured) -> None:
        if point["best"] not in measured:
            return  # its recorder's clock, which strikes at epoch 0, does not strike now
        value = measured[point["best"]] * (1 if point["mode"] == "min" else -1)
        if key not in self.best:
            self.best[key] = torch.full_like(value, float("inf"))
        better = (value < self.best[key]) & alive
        self.best[key] = torch.where(better, value, self.best[key])
        self.take(self.made, key, snapshot, better)

    def _watch(self, key, point, epoch, snapshot, alive, measured) -> None:
        if key not in self.detectors:
            self.detectors[key] = import_entry("event", point["event"]).build(point, len(alive))
        detector = self.detectors[key]
        keep, fired = detector.update(measured["train_loss"])
        if not detector.slots:
            self.take(self.made, key, snapshot, fired & alive)
            return
        # What was put into this slot last is as many epochs old as there are slots.
        slot = f"{key} {epoch % detector.slots}"
        rows = fired & alive & self.aside[slot].there if slot in self.aside else fired & False
        if rows.any():
            self.take(self.made, key, snapshot, rows)
            self.made[key].take_rows(self.aside[slot], rows)
        self.take(self.aside, slot, snapshot, keep & alive, key)

    def take(
        self,
        where: dict[str, Snapshot],
        key: str,
        snapshot: Callable[[], Snapshot],
        rows: Tensor,
        point: str | None = None,
    ) -> None:
        """Put the present state of the networks in `rows` under a key; the others stay.

        Args:
            point: the point that the key belongs to; None: the key is its.
        """
        if not rows.any():
            return
        now = snapshot()
        now.there = rows.clone()
        if (point or key) not in self.states:
            now.optimiser = {}
        if key in where:
            where[key].take_rows(now, rows)
        else:
            where[key] = now

    def as_tensors(self) -> dict[str, Tensor]:
        """Everything by name, for a training state."""
        tensors: dict[str, Tensor] = {}
        for kind, snapshots in (("made", self.made), ("aside", self.aside)):
            for key, snapshot in snapshots.items():
                for name, value in snapshot.as_tensors().items():
                    tensors[f"{kind}|{key}|{name}"] = value
        for key, average in self.averages.items():
            tensors[f"average|{key}|total"] = average.total
            tensors[f"average|{key}|count"] = torch.tensor(average.count)
        for key, value in self.best.items():
            tensors[f"best|{key}|value"] = value
        for key, detector in self.detectors.items():
            for name, value in detector.state.items():
                tensors[f"detector|{key}|{name}"] = value
        return tensors

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up what `as_tensors` gave."""
        grouped: dict[str, dict[str, dict[str, Tensor]]] = {}
        for name, value in tensors.items():
            kind, key, inner = name.split("|", 2)
            grouped.setdefault(kind, {}).setdefault(key, {})[inner] = value
        for kind, snapshots in (("made", self.made), ("aside", self.aside)):
            for key, parts in grouped.get(kind, {}).items():
                snapshots[key] = Snapshot.from_tensors(parts)
        for key, parts in grouped.get("average", {}).items():
            self.averages[key] = Average(parts["total"], int(parts["count"]))
        for key, parts in grouped.get("best", {}).items():
            self.best[key] = parts["value"].cpu()
        for key, parts in grouped.get("detector", {}).items():
            point = self.definitions[key]
            detector = import_entry("event", point["event"]).build(point, len(parts["armed"]))
            detector.state = {name: value.cpu() for name, value in parts.items()}
            detector.state["armed"] = detector.state["armed"].bool()
            self.detectors[key] = detector
