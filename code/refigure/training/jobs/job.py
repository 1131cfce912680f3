"""A training job: adopt what is there, train the rest, and put the pack's files in their place."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from refigure.data.prepared import load as load_data
from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run
from refigure.graph.packs import Pack
from refigure.graph.spec import Spec, canonical, digest
from refigure.machine.progress import Progress
from refigure.models.layers import Model, Statistics
from refigure.streams import stream_of_spec
from refigure.training.history import History
from refigure.training.initial import initial_values
from refigure.training.jobs import parts, states
from refigure.training.jobs.parts import Part
from refigure.training.loop import Beginning, Trained, Training, build_optimiser
from refigure.training.points import Points
from refigure.training.stack import Stack


class Job:
    """The training of one pack.

    Args:
        pack: its runs and what they leave behind.
        code: module -> digest of the code they are trained by.
        data: path of the prepared arrays.
        folder: where the pack's files go.
        scratch: where states and finished parts wait until the pack is whole.
        parents: parent run id -> the folder of its pack.
        adoptable: folders of packs that no configuration names any more.
        device: where to compute.
        interval_s: seconds between training states.
    """

    def __init__(
        self,
        pack: Pack,
        code: Mapping[str, str],
        data: Path,
        folder: Path,
        scratch: Path,
        parents: Mapping[str, Path],
        adoptable: Sequence[Path],
        device: torch.device,
        interval_s: float = 60.0,
    ):
        self.pack, self.code, self.folder, self.scratch = pack, code, folder, scratch
        self.data_path, self.parents, self.adoptable = data, parents, adoptable
        self.device = device
        self.clock = states.Clock(interval_s)
        self.load = 0.0  # CPU seconds a second, of the last stack: a busy machine takes its time

    def run(self) -> None:
        """Train what is missing and write the pack.

        Raises:
            states.Interrupted: TERM came; a state is written.
        """
        self.clock.listen()
        lock = self.scratch.with_name(f"{self.scratch.name}.lock")
        with states.alone(lock, self.pack.name, lambda: self.clock.told) as waited:
            self._run([self.folder] if waited else [])

    def _run(self, others: Sequence[Path]) -> None:
        progress = Progress(self.pack.name, sum(run.spec.epochs for run in self.pack.runs))
        # First what an earlier start of this very job has finished.
        folders = [*others, *sorted(self.scratch.glob("part-*")), *self.adoptable]
        done = parts.adopt(self.pack.runs, self.pack.wanted, self.code, folders)
        if done.runs:
            progress.say(f"{len(done.runs)} of {len(self.pack.runs)} networks adopted")
        missing = [run for run in self.pack.runs if run.id not in done.runs]
        progress.skip(sum(run.spec.epochs for run in self.pack.runs if run.id in done.runs))
        if missing:
            data = load_data(self.data_path, self.device)
            for stack in self._stacks(missing, data):
                done = parts.join([done, self._train(stack, data, progress)])
        done.save(self.folder)
        shutil.rmtree(self.scratch, ignore_errors=True)
        progress.end()

    def _stacks(self, runs: Sequence[Run], data: Any) -> list[list[Run]]:
        """Runs that can train side by side on this device.

        They share everything but seeds, numbers of the optimiser and where they start. On a CPU
        convolutional networks go one after another: side by side gains nothing there.
        """
        alike: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            alike[_stack_key(run.spec)].append(run)
        stacks = []
        for group in alike.values():
            kind = build_model(group[0].spec, data).stacking
            together = kind == "native" or (kind == "grouped" and self.device.type == "cuda")
            stacks += [group] if together else [[run] for run in group]
        return stacks

    # ------------------------------------------------------------------ one stack

    def _train(self, runs: list[Run], data: Any, progress: Progress) -> Part:
        name = digest([run.id for run in runs], 10)
        ready, points, absent = self._beginnings(runs)
        part = Part(
            runs={run.id: self._about(run, "no_parent_point", 0, 0.0, []) for run in absent}
        )
        if ready:
            specs = [run.spec for run in ready]
            training = self._training(ready, points, specs, data)
            state = self.scratch / f"{name}.state"
            about = {
                "runs": [run.id for run in ready],
                "code": dict(self.code),
                "torch": torch.__version__,
            }
            kept = states.read(state, about)
            spent = 0.0
            if kept is not None:
                training.resume(kept[0])
                spent = kept[1]["seconds"]
                progress.say(f"goes on from epoch {training.epoch}")
            done = training.epoch - training.since
            progress.skip(done * len(ready) + sum(run.spec.epochs for run in absent))
            began = time.monotonic()

            def between_steps(training: Training) -> None:
                if self.clock.due():
                    seconds = spent + time.monotonic() - began
                    self.clock.save(state, training.state(), {**about, "seconds": seconds})

            def after_epoch(training: Training) -> None:
                loss = training.history.scalars[training.step].get("train_loss_running")
                progress.tick(training.epoch, training.epochs, len(ready), float(loss.nanmean()))

            computed = time.process_time()
            trained = training.run(between_steps, after_epoch)
            self.load = (time.process_time() - computed) / max(time.monotonic() - began, 1e-9)
            seconds = spent + time.monotonic() - began
            part = parts.join([part, self._part(ready, training, trained, seconds)])
        part.save(self.scratch / f"part-{name}")
        (self.scratch / f"{name}.state").unlink(missing_ok=True)
        return part

    def _beginnings(self, runs: list[Run]) -> tuple[list[Run], list[dict[str, Tensor]], list[Run]]:
        """The runs that can start, the parents' points they start from, and the other runs.

        A run without a parent starts from no point; one whose parent never reached its point
        cannot start.
        """
        found = [(run, self._parent_point(run) if run.parent else {}) for run in runs]
        ready = [(run, point) for run, point in found if point is not None]
        absent = [run for run, point in found if point is None]
        return [run for run, _ in ready], [point for _, point in ready], absent

    def _parent_point(self, run: Run) -> dict[str, Tensor] | None:
        path = self.parents[run.parent.id] / "points.safetensors"
        if not path.is_file():
            raise UserError(f"{run.label} starts from {run.parent.label}: {path}: no such file")
        tensors = parts.read_tensors(path, [run.parent.id], run.point)
        return parts.named_point(tensors, run.parent.id, run.point)

    def _training(
        self, runs: list[Run], points: list[dict[str, Tensor]], specs: list[Spec], data: Any
    ) -> Training:
        model = build_model(specs[0], data)
        task = import_entry("task", specs[0].task["name"])
        frozen = frozen_groups(specs[0])
        values, moments, beginning = self._start(runs, points, model, frozen)
        stack = Stack(model, values, frozen, self.device)
        statistics = Statistics.fresh(model.normalised, len(runs), self.device)
        if moments:
            statistics.running = moments
        return Training(
            task.build(model, data, specs, [stream_of(run) for run in runs]),
            specs,
            stack,
            statistics,
            Points(self.pack.wanted.points),
            [json.loads(record) for record in sorted(self.pack.wanted.records)],
            beginning,
        )

    def _start(
        self,
        runs: list[Run],
        found: list[dict[str, Tensor]],
        model: Model,
        frozen: frozenset[str],
    ):
        """Initial values, moments and, for `take: state`, what else training goes on from."""
        if runs[0].parent is None:
            if runs[0].spec.start is not None:
                file = runs[0].spec.start["file"]
                raise UserError(f"{runs[0].label} starts from file {file}: no code reads it yet")
            return [initial_values(model, run.spec) for run in runs], {}, None
        values = [{name: point[name] for name in model.groups} for point in found]
        moments = {
            layer: tuple(
                torch.stack([point[f"{kind}/{layer}"] for point in found]).to(self.device)
                for kind in ("mean", "variance")
            )
            for layer in model.normalised
        }
        if runs[0].spec.start["take"] != "state":
            return values, moments, None
        parent = runs[0].parent.spec
        optimiser = _state_of(found, model, values, frozen_groups(parent), frozen)
        epoch = int(found[0]["epoch"])
        counted = runs[0].spec.start["point"].get("epoch", 0)
        history = self._parents_history(runs, epoch)
        start = torch.cat([self._start_of(run.parent, model, frozen) for run in runs])
        return values, moments, Beginning(epoch, counted, optimiser, history, start)

    def _start_of(self, run: Run, model: Model, frozen: frozenset[str]) -> Tensor:
        """The flat parameters at a run's own start, (1, trained), which its measures refer to."""
        if run.parent is not None:
            path = self.parents[run.id] / "points.safetensors"
            values = parts.named_point(parts.read_tensors(path, [run.id], "start"), run.id, "start")
            return Stack(model, [values], frozen, torch.device("cpu")).flat
        stack = Stack(model, [initial_values(model, run.spec)], frozen, torch.device("cpu"))
        build_optimiser([run.spec], stack)  # which may project them
        return stack.flat

    def _parents_history(self, runs: list[Run], epoch: int) -> History:
        """What the parents measured up to an epoch, so that a longer run has its whole history."""
        history = History()
        frames, arrays = [], []
        for run in runs:
            folder = self.parents[run.parent.id]
            frame = pd.read_parquet(folder / "history.parquet")
            frame = frame[(frame["run"] == run.parent.id) & (frame["epoch"] <= epoch)]
            frames.append(frame.set_index("step").drop(columns=["run", "epoch"]))
            arrays.append(parts.read_tensors(folder / "arrays.safetensors", [run.parent.id]))
        for step in frames[0].index:
            row = {
                name: torch.tensor([frame.loc[step, name] for frame in frames])
                for name in frames[0].columns
                if not all(pd.isna(frame.loc[step, name]) for frame in frames)
            }
            history.add(int(step), row)
        prefix = f"{runs[0].parent.id}|"
        for name in arrays[0]:
            inner = name[len(prefix) :]
            if "|" in inner or inner.startswith("logits"):
                continue
            steps = arrays[0][f"{name}|step"]
            for place, step in enumerate(steps.tolist()):
                if step <= int(frames[0].index[-1]):
                    rows = [
                        tensors[f"{run.parent.id}|{inner}"][place]
                        for run, tensors in zip(runs, arrays)
                    ]
                    history.add_array(step, inner, torch.stack(rows))
        return history

    # ------------------------------------------------------------------ results

    def _part(self, runs: list[Run], training: Training, trained: Trained, seconds: float) -> Part:
        part = Part()
        frames = []
        share = seconds / len(runs)
        for place, run in enumerate(runs):
            last = int(trained.last_epoch[place]) * training.steps_per_epoch
            frames.append(_rows_of(run, place, trained.history, last, training.steps_per_epoch))
            part.points |= _points_of(run, place, training, trained)
            part.arrays |= _arrays_of(run, place, trained.history, last, training.steps_per_epoch)
            status = "finished"
            if trained.stopped[place]:
                status = "stopped"
            elif trained.diverged[place]:
                status = "diverged"
            mates = [other.id for other in runs if other is not run]
            epoch = int(trained.last_epoch[place])
            part.runs[run.id] = self._about(run, status, epoch, share, mates)
        part.history = pd.concat(frames, ignore_index=True)
        for which in sorted(self.pack.wanted.predictions):
            logits = predictions(training, which)
            for place, run in enumerate(runs):
                if not trained.diverged[place]:
                    part.arrays[f"{run.id}|logits_{which}"] = logits[place]
        return part

    def _about(
        self, run: Run, status: str, epoch: int, seconds: float, mates: list[str]
    ) -> dict[str, Any]:
        return {
            "label": run.label,
            "experiment": run.experiment,
            "spec": json.loads(canonical(run.spec.identity)),
            "wanted": self.pack.wanted.as_json(),
            "code": dict(self.code),
            "status": status,
            "last_epoch": epoch,
            "seconds": round(seconds, 3),
            "core_seconds": round(seconds * self.load, 3),
            "device": _device_name(self.device),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pack": self.pack.name,
            "mates": mates,
        }


@torch.no_grad()
def predictions(training: Training, which: str) -> Tensor:
    """Logits of the final networks on a whole set in eval mode, (networks, objects, classes)."""
    task, stack = training.task, training.stack
    running = training.statistics.in_mode("running")
    found = [
        task.logits(stack.parameters, batch, running)
        for batch in task.evaluation(which, stack.networks)
    ]
    return torch.cat(found, dim=1).cpu()


def stream_of(run: Run) -> str:
    """What a run's order and augmentation are drawn from.

    The stream of its network; for a run that starts from another's weights also the parent, or
    the file, since it would repeat the parent's batches otherwise, and runs from two files would
    share theirs. One that goes on from a state goes on in the same stream.

    Source: where-large-lrs, section 11.13, where the authors' code repeats them; pretrain-basin,
    section 0.
    """
    start = run.spec.start
    if start is None:
        return stream_of_spec(run.spec)
    if start["take"] == "state":
        return stream_of(run.parent)
    return f"{stream_of_spec(run.spec)}/{start.get('file') or run.parent.id}"


def frozen_groups(spec: Spec) -> frozenset[str]:
    """The groups of parameters that a spec does not train."""
    return frozenset() if spec.head is None else frozenset({"head"})


def _state_of(
    points: list[dict[str, Tensor]],
    model: Model,
    values: list[dict[str, Tensor]],
    before: frozenset[str],
    after: frozenset[str],
) -> dict[str, Tensor]:
    """The optimiser's state at the points of some networks, (networks, ...) each by name.

    A group that is trained from now on and was frozen before begins with a state of zero.

    Args:
        points: of the parents, with `optimiser/...`.
        values: of the networks.
        before, after: what the parents froze, and what the networks freeze.
    """
    names = [name for name in points[0] if name.startswith("optimiser/")]
    state = {
        name.partition("/")[2]: torch.stack([point[name] for point in points]) for name in names
    }
    if before == after or not state:
        return state
    old, new = (Stack(model, values, frozen, torch.device("cpu")) for frozen in (before, after))
    for name, value in state.items():
        if value.shape[1:] == old.flat.shape[1:]:
            known = old.named(value)
            parts = [
                known[leaf].flatten(1) if leaf in old.leaves else torch.zeros_like(part).flatten(1)
                for leaf, part in new.leaves.items()
            ]
            state[name] = torch.cat(parts, dim=1).detach()
    return state


def build_model(spec: Spec, data: Any) -> Model:
    """The model of a spec, for these data.

    The positional arguments of a model's `build` are attributes of the data, by their names; the
    keyword ones are the spec's. A module of several models has a function of each one's name.

    Raises:
        UserError: the data have not what the model needs.
    """
    settings = dict(spec.model)
    name = settings.pop("name")
    module = import_entry("model", name)
    build = getattr(module, name, None) or module.build
    needs = [
        need
        for need, parameter in signature(build).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    for need in needs:
        if not hasattr(data, need):
            kind = type(data).__name__.lower()
            raise UserError(f"model '{name}' needs '{need}' of its data, which {kind} have not")
    return build(*(getattr(data, need) for need in needs), **settings)


def _stack_key(spec: Spec) -> str:
    identity = json.loads(canonical(spec.identity))
    identity.pop("seed", None)
    start = identity.pop("start", None)
    numbers = {"lr", "elr", "wd", "momentum", "radius"}
    identity["optimiser"] = {
        key: value for key, value in identity["optimiser"].items() if key not in numbers
    }
    if start and "run" in start:
        goes_on = start["take"] == "state"
        identity["start"] = [start["take"], start["point"] if goes_on else None]
        if goes_on and "epoch" not in start["point"]:
            identity["start"].append(start["run"])  # an event comes at another epoch in each run
    return canonical(identity)


def _rows_of(run: Run, place: int, history: History, last: int, per_epoch: int) -> pd.DataFrame:
    steps = [step for step in history.scalars if step <= last]
    columns = sorted({name for step in steps for name in history.scalars[step]})
    frame = pd.DataFrame(
        {"run": run.id, "step": steps, "epoch": [step / per_epoch for step in steps]}
    )
    for name in columns:
        frame[name] = [
            float(history.scalars[step][name][place]) if name in history.scalars[step] else None
            for step in steps
        ]
    return frame.astype({name: "float64" for name in columns})


def _arrays_of(
    run: Run, place: int, history: History, last: int, per_epoch: int
) -> dict[str, Tensor]:
    found = {}
    for name, (steps, values) in history.arrays.items():
        kept = [number for number, step in enumerate(steps) if step <= last]
        found[f"{run.id}|{name}"] = torch.stack([values[number][place] for number in kept])
        found[f"{run.id}|{name}|step"] = torch.tensor([steps[number] for number in kept])
        found[f"{run.id}|{name}|epoch"] = torch.tensor(
            [steps[number] / per_epoch for number in kept], dtype=torch.float64
        )
    return found


def _points_of(run: Run, place: int, training: Training, trained: Trained) -> dict[str, Tensor]:
    found = {}
    stack = training.stack
    for key, snapshot in trained.points.items():
        if not bool(snapshot.there[place]):
            continue
        for name, value in stack.named(snapshot.flat).items():
            found[f"{run.id}|{key}|{name}"] = value[place].detach().cpu().clone()
        for layer, (mean, variance) in snapshot.moments.items():
            found[f"{run.id}|{key}|mean/{layer}"] = mean[place].cpu().clone()
            found[f"{run.id}|{key}|variance/{layer}"] = variance[place].cpu().clone()
        if json.loads(key).keys() & {"epoch", "event"}:  # those that a run may go on from
            found[f"{run.id}|{key}|epoch"] = snapshot.epoch[place].clone()
            for name, value in snapshot.optimiser.items():
                found[f"{run.id}|{key}|optimiser/{name}"] = value[place].cpu().clone()
    if run.parent is not None:
        for name, value in stack.named(trained.start).items():
            found[f"{run.id}|start|{name}"] = value[place].detach().cpu().clone()
    return found


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {sys.platform}"
