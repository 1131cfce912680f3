"""The training loop: one for every paper, task, optimiser and device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.spec import Spec
from refigure.models.layers import Statistics
from refigure.tasks import Task
from refigure.training.clocks import epoch_is_due
from refigure.training.history import History
from refigure.training.passes import Moment, train_pass
from refigure.training.points import Moments, Points, Snapshot, first_step, rows_of
from refigure.training.stack import Stack


@dataclass
class Beginning:
    """Where some networks begin when they go on from a parent's training state.

    Args:
        epoch: the parent's, at the point.
        counted: the same as the spec's epochs and points count it: 0 where the point is an event's,
            since nobody knows beforehand when it comes.
        optimiser: the state of its optimiser, rows in the order of the networks.
        history: all it measured up to that epoch.
        start: the flat parameters at its own start.
    """

    epoch: int
    counted: int
    optimiser: dict[str, Tensor]
    history: History
    start: Tensor


@dataclass
class Trained:
    """What a stack of networks leaves behind.

    Args:
        history: scalars and arrays by step.
        points: key -> snapshot.
        last_epoch: (networks,) the epoch each network ended at.
        diverged: (networks,) bool: its loss or gradient stopped being finite.
        stopped: (networks,) bool: it reached the loss at which its spec stops.
        start: (networks, trained) the weights that the geometry was measured from.
    """

    history: History
    points: dict[str, Snapshot]
    last_epoch: Tensor
    diverged: Tensor
    stopped: Tensor
    start: Tensor


@dataclass
class Training:
    """Networks of one stack on their way from the first epoch to the last.

    Every network has its own seed, learning rate and end; they share architecture, data, batch
    size and length. A step draws nothing from a generator that outlives it, so `state` and
    `resume` may fall between any two steps.

    Args:
        task: model and data.
        specs: of the networks.
        stack: their parameters, at the start.
        statistics: their batch-norm moments, at the start.
        points: canonical texts of the points wanted.
        records: canonical texts of the recorders wanted, `{name, keys..., every}`.
        beginning: where they go on from, None for a new start at epoch 0.
    """

    task: Task
    specs: Sequence[Spec]
    stack: Stack
    statistics: Statistics
    points: Points
    records: Sequence[Mapping[str, Any]]
    beginning: Beginning | None = None
    history: History = field(default_factory=History)
    memory: dict[str, Tensor] = field(default_factory=dict)  # of recorders

    def __post_init__(self) -> None:
        spec = self.specs[0]
        # Epochs before those that the spec counts.
        self.since = self.beginning.epoch - self.beginning.counted if self.beginning else 0
        self.epochs = self.since + spec.epochs
        self.steps_per_epoch = 1 if spec.full_batch else self.task.batches
        if not self.steps_per_epoch:
            raise UserError(
                f"data {spec.data}: fewer training objects than one batch "
                f"(batch: {spec.batch}), and drop_last leaves out a batch that is not full"
            )
        given = self.stack.flat.clone()
        self.optimiser = build_optimiser(self.specs, self.stack)
        self.schedule = import_entry("schedule", spec.schedule["name"]).build(
            spec.schedule, self.epochs
        )
        self.recorders = {
            record["name"]: getattr(import_entry("record", record["name"]), record["name"])
            for record in self.records
        }
        for average in self.points.by_step.values():
            first_step(average, self.steps_per_epoch)  # refuses one that begins too early
        # (column, bound) of the loss at which a network stops; none or one.
        self.stops = [
            (key.removesuffix("_below"), bound)
            for key, bound in (spec.stop or {}).items()
            if bound is not None
        ]
        # What a stop or a point reads is measured at the end of every epoch, whatever its clock.
        stops_at_pass = any(column == "train_loss" for column, _ in self.stops)
        self.needed = self.points.reads | ({"train"} if stops_at_pass else set())
        networks, device = self.stack.networks, self.stack.flat.device
        self.alive = torch.ones(networks, dtype=torch.bool, device=device)
        self.ended = torch.full((networks,), -1, dtype=torch.int64)
        self.diverged = torch.zeros(networks, dtype=torch.bool)
        self.stopped = torch.zeros(networks, dtype=torch.bool)
        self.running_loss = torch.zeros(networks, dtype=torch.float64, device=device)
        self.gradient = torch.empty_like(self.stack.flat)
        self.on_cpu = device.type == "cpu"
        logged = "step_norms" in self.recorders
        self.steps = import_entry("record", "step_norms").StepLog(self.stack) if logged else None
        self.step = 0
        self.first_step = 0
        self.start = self.stack.flat.clone()
        if self.beginning is not None:
            self.first_step = self.step = self.beginning.epoch * self.steps_per_epoch
            self.history = self.beginning.history
            self.start = self.beginning.start.to(device)
            self.stack.load(given)  # a second projection would move the last bits
            self.optimiser.state |= {
                name: value.to(device) for name, value in self.beginning.optimiser.items()
            }
            if not self.since:
                self._drop_what_is_not_due()

    # ------------------------------------------------------------------ the loop

    def run(
        self,
        between_steps: Callable[[Training], None] = lambda _: None,
        after_epoch: Callable[[Training], None] = lambda _: None,
    ) -> Trained:
        """Train to the end.

        Args:
            between_steps: called after every step, when a state may be written.
            after_epoch: called after every epoch's measures.
        """
        if self.step == self.first_step and self.beginning is None:
            self._end_of_epoch()
        while self.step < self.epochs * self.steps_per_epoch and bool((self.ended < 0).any()):
            self._train_step()
            self.step += 1
            if self.points.by_step:
                self.points.update_within(
                    self.step, self.steps_per_epoch, self._copy, self._moments_of
                )
            if self.step % self.steps_per_epoch == 0:
                self._end_of_epoch()
                after_epoch(self)
            elif self._due_within_epoch():
                self._measure(self._due())
            between_steps(self)
        self.ended[self.ended < 0] = self.epoch
        return Trained(
            self.history, self.points.made, self.ended, self.diverged, self.stopped, self.start
        )

    @property
    def epoch(self) -> int:
        """Whole epochs trained."""
        return self.step // self.steps_per_epoch

    def _train_step(self) -> None:
        epoch, number = divmod(self.step, self.steps_per_epoch)
        statistics = self.statistics.in_mode("train")
        if self.specs[0].full_batch:
            losses, gradient = self._full_gradient(epoch, statistics)
        else:
            batch = self.task.batch(epoch, number)
            losses = self.task.losses(self.stack.parameters, batch, statistics)
            gradient = self.stack.gradient(losses, out=self.gradient)
            losses = losses.detach()
        self._take_step(losses, gradient, statistics)

    def _take_step(self, losses: Tensor, gradient: Tensor, statistics: Statistics) -> None:
        """Step the networks that are alive and whose loss and gradient are finite."""
        # One infinite or undefined entry makes the sum of its row so too, at a third of the cost.
        going = self.alive & losses.isfinite() & gradient.sum(1).isfinite()
        factor = self.schedule(self.step / self.steps_per_epoch)
        if self.steps is not None:
            if self.step % self.steps_per_epoch == 0:
                self.steps.begin_epoch()
            self.steps.before_step(self.stack, self.optimiser, losses, gradient, factor)
        if self.on_cpu and bool(going.all()):
            self.optimiser.step(self.stack, gradient, factor)
            self.statistics.running = statistics.running
        else:
            # Every network steps, and those that may not are put back where they were: on a GPU
            # that costs a copy, and looking whether there are any would make it wait.
            flat = self.stack.flat.clone()
            state = {name: value.clone() for name, value in self.optimiser.state.items()}
            self.optimiser.step(self.stack, gradient, factor)
            self.stack.load(rows_of(going, self.stack.flat, flat))
            for name, value in state.items():
                self.optimiser.state[name].copy_(rows_of(going, self.optimiser.state[name], value))
            self.statistics.running = {
                layer: tuple(map(rows_of, (going, going), moments, self.statistics.running[layer]))
                for layer, moments in statistics.running.items()
            }
            self.alive = going
        if self.steps is not None:
            self.steps.after_step(self.stack)
        self.running_loss += torch.where(going, losses.double(), 0.0)

    def _full_gradient(self, epoch: int, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """Loss and gradient over all batches of a reshuffled epoch: one step of gradient descent.

        Gradients of the sum over each batch, divided by the number of images; batch norm still
        normalises within batches: periodic-behavior, section 5.
        """
        losses = gradient = images = 0
        for number in range(self.task.batches):
            batch = self.task.batch(epoch, number)
            count = batch.labels.shape[1]
            part = self.task.losses(self.stack.parameters, batch, statistics)
            gradient = gradient + count * self.stack.gradient(part)
            losses = losses + count * part.detach()
            images += count
        return losses / images, gradient / images

    def _copy(self) -> Snapshot:
        state, alive = self.optimiser.state, self.alive.cpu()
        return Snapshot.of(self.stack, self.statistics, state, alive, self.epoch)

    def _set(self, snapshot: Snapshot) -> None:
        self.stack.load(snapshot.flat)
        self.statistics.running = snapshot.moments
        for name, value in snapshot.optimiser.items():
            self.optimiser.state[name].copy_(value)

    # ------------------------------------------------------------------ measures

    def _end_of_epoch(self) -> None:
        """Measure what is due, note who ended, and keep the points of this epoch."""
        # The last step may have made weights infinite that no later loss would tell of.
        self.alive = self.alive & self.stack.flat.sum(1).isfinite()
        alive = self.alive.cpu()
        newly = ~alive & (self.ended < 0)
        self.ended[newly] = self.epoch
        self.diverged |= newly & ~self.stopped
        measured = self._measure(self._due())
        if self.step > self.first_step:
            mean = self.running_loss.cpu() / self.steps_per_epoch
            mean = torch.where(alive, mean, float("nan"))
            self.history.add(self.step, {"train_loss_running": mean})
            measured = {**measured, "train_loss_running": mean}
        self.running_loss.zero_()
        counted = self.epoch - self.since
        self.points.update(counted, self._copy, alive, measured, self._moments_of)
        for column, bound in self.stops if self.step > self.first_step else ():
            self._finish(alive & (measured[column] < bound))

    def _finish(self, reached: Tensor) -> None:
        """End the networks that reached their stop; their last point is where they stopped."""
        if reached.any():
            # Losses and errors of the last epoch, which every run that ends has; of those that go
            # on nothing, as where they train alone.
            due = [record["name"] for record in self._due()]
            left = [record for record in self.records if record["name"] not in due]
            last = [record for record in left if record["name"] in ("train", "test")]
            self._measure(last, reached)
        self.stopped |= reached
        self.ended[reached] = self.epoch
        self.alive &= ~reached.to(self.alive.device)
        last = json.dumps({"epoch": self.epochs - self.since}, separators=(",", ":"))
        if last in self.points.definitions and reached.any():
            self.points.take(self.points.made, last, self._copy, reached)

    def _moments_of(self, flat: Tensor) -> Moments:
        """Batch norm's moments over the training set, of other weights of the same networks."""
        if not self.statistics.running:
            return {}
        kept = self.stack.flat.clone()
        self.stack.load(flat)
        moments = train_pass(self.task, self.stack, self.statistics, gradient=False, filters=False)
        self.stack.load(kept)
        return moments.statistics.running

    def _due(self) -> list[Mapping[str, Any]]:
        return [record for record in self.records if self._is_due(record, self.step)]

    def _is_due(self, record: Mapping[str, Any], step: int) -> bool:
        clock = record["every"]
        epoch, within = divmod(step, self.steps_per_epoch)
        if not within and record["name"] in self.needed:
            return True
        if "steps" in clock:
            return step % clock["steps"] == 0 or step == self.epochs * self.steps_per_epoch
        return not within and epoch_is_due(clock, epoch, self.epochs)

    def _drop_what_is_not_due(self) -> None:
        """Drop what the parents measured when no clock of this run strikes, as at their last epoch.

        Then this run's history is that of one that never stopped. Which values a recorder gives is
        seen by asking it once; what none of them gives stays.
        """
        due: dict[str, Callable[[int], bool]] = {}
        moment = self._moment(self.records)
        for record in self.records:
            for name in self.recorders[record["name"]](moment, record):
                due[name] = partial(self._is_due, record)
        self.history.keep(lambda name, step: name not in due or due[name](step))

    def _due_within_epoch(self) -> bool:
        return any("steps" in record["every"] for record in self.records) and bool(self._due())

    def _measure(
        self, due: Sequence[Mapping[str, Any]], rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Take some measures at this step; returns the scalars, on the CPU.

        Args:
            rows: (networks,) bool, on the CPU, of which networks; None: of those that are alive.
        """
        if not due:
            return {}
        moment = self._moment(due)
        alive = self.alive.cpu() if rows is None else rows
        scalars: dict[str, Tensor] = {}
        for record in due:
            for name, value in self.recorders[record["name"]](moment, record).items():
                # What a network that ended would give is no measure of it.
                measured = value.detach().cpu()
                if measured.dim() > 1:
                    # Bits and whole numbers stay what they are, and have no NaN.
                    nothing = float("nan") if measured.is_floating_point() else 0
                    gone = torch.full_like(measured, nothing)
                    self.history.add_array(self.step, name, rows_of(alive, measured, gone))
                else:
                    measured = measured.double()
                    gone = torch.full_like(measured, float("nan"))
                    scalars[name] = rows_of(alive, measured, gone)
        self.history.add(self.step, scalars)
        return scalars

    def _moment(self, due: Sequence[Mapping[str, Any]]) -> Moment:
        names = {record["name"] for record in due}
        return Moment(
            self.task,
            self.stack,
            self.statistics,
            self.optimiser,
            self.start,
            gradient="filters" in names or any(record.get("gradient") for record in due),
            filters="filters" in names,
            factor=self.schedule(self.step / self.steps_per_epoch),
            steps=self.steps,
            memory=self.memory,
        )

    # ------------------------------------------------------------------ states

    def state(self) -> dict[str, Tensor]:
        """Everything that training goes on from, by name."""
        now = self._copy()
        return {
            **{f"now/{name}": value for name, value in now.as_tensors().items()},
            **{f"points/{name}": value for name, value in self.points.as_tensors().items()},
            **{f"history/{name}": value for name, value in self.history.as_tensors().items()},
            **{f"carried/{name}": value for name, value in self._carried.items()},
            **{f"memory/{name}": value for name, value in self.memory.items()},
            "start": self.start,
            "alive": self.alive,
            "ended": self.ended,
            "diverged": self.diverged,
            "stopped": self.stopped,
            "running loss": self.running_loss,
            "step": torch.tensor(self.step),
            **(
                {f"steps/{name}": value for name, value in self.steps.state.items()}
                if self.steps
                else {}
            ),
        }

    @property
    def _carried(self) -> dict[str, Tensor]:
        return getattr(self.task, "carried", {})

    def resume(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a state where `state` left it."""
        device = self.stack.flat.device
        groups: dict[str, dict[str, Tensor]] = {
            kind: {} for kind in ("now", "points", "history", "steps", "carried", "memory")
        }
        for name, value in tensors.items():
            kind, slash, inner = name.partition("/")
            if slash and kind in groups:
                groups[kind][inner] = value if kind == "history" else value.to(device)
        self._set(Snapshot.from_tensors(groups["now"]))
        self.points.load(groups["points"])
        self.history = History.from_tensors(groups["history"])
        if self.steps is not None:
            self.steps.state = groups["steps"]
        self._carried.clear()
        self._carried.update(groups["carried"])
        self.memory = groups["memory"]
        self.start = tensors["start"].to(device)
        self.alive = tensors["alive"].bool().to(device)
        self.ended, self.step = tensors["ended"], int(tensors["step"])
        self.diverged, self.stopped = tensors["diverged"].bool(), tensors["stopped"].bool()
        self.running_loss = tensors["running loss"].to(device)


def build_optimiser(specs: Sequence[Spec], stack: Stack) -> Any:
    """The optimiser that the networks of a stack share; their numbers may differ."""
    settings = [spec.optimiser for spec in specs]
    return import_entry("optimiser", settings[0]["name"]).build(settings, stack)
