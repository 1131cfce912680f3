"""A training job: adopt what is there, train the rest, and put the pack's files in their place."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refigure.data.prepared import load as load_data
from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run
from refigure.graph.packs import Pack
from refigure.graph.spec import Spec, canonical, digest
from refigure.machine.progress import Progress
from refigure.training.jobs import checkpoints, memory, parts, states
from refigure.training.jobs.parts import Part
from refigure.training.loop import Trained, Training
from refigure.training.networks import build_model
from refigure.training.setup import setup
from refigure.training.starts.start import point_of


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
        memory: bytes that a stack may take; None: what is free on a GPU, any number on a CPU.
        checkpoints: content id -> where it lies, of files that runs start from: see
            `Config.checkpoints_of`.
        cache: folder of what is downloaded.
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
        memory: int | None = None,
        checkpoints: Mapping[str, Mapping[str, Any]] | None = None,
        cache: Path = Path("."),
    ):
        self.pack, self.code, self.folder, self.scratch = pack, code, folder, scratch
        self.data_path, self.parents, self.adoptable = data, parents, adoptable
        self.device, self.memory = device, memory
        self.checkpoints, self.cache = checkpoints or {}, cache
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
                done = parts.join([done, self._train_what_fits(stack, data, progress)])
        done.save(self.folder)
        # The parts stay: Snakemake may yet refuse the pack (a clock that is ahead) and delete it.
        # `machine.scratch` removes them when the pack is accepted.
        for state in self.scratch.glob("*.state*"):
            state.unlink(missing_ok=True)
        progress.end()

    def _stacks(self, runs: Sequence[Run], data: Any) -> list[list[Run]]:
        """Runs that can train side by side on this device.

        They share everything but seeds, numbers of the optimiser and where they start. On a CPU
        convolutional networks go one after another: side by side gains nothing there. What is
        estimated not to fit the device's memory is split, and so are grouped convolutions where the
        pack says how many of them train side by side.
        """
        alike: dict[str, list[Run]] = defaultdict(list)
        for run in runs:
            alike[_stack_key(run.spec)].append(run)
        stacks = []
        for group in alike.values():
            kind = build_model(group[0].spec, data).stacking
            together = kind == "native" or (kind == "grouped" and self.device.type == "cuda")
            if not together:
                stacks += [[run] for run in group]
                continue
            most = self.pack.stack if kind == "grouped" else None
            for part in memory.split(group, most or len(group)):
                stacks += self._fitting(part, data)
        return stacks

    def _fitting(self, runs: list[Run], data: Any) -> list[list[Run]]:
        limit = memory.free_bytes(self.device) if self.memory is None else self.memory
        if limit is None or len(runs) == 1:
            return [runs]
        each = memory.bytes_of_one(runs[0], data, self.pack.wanted, self.device)
        memory.release(self.device)
        return memory.split(runs, limit // each)

    def _train_what_fits(self, runs: list[Run], data: Any, progress: Progress) -> Part:
        """Train a stack, or its halves one after the other where the memory is too small for it.

        Raises:
            UserError: it is too small for one network.
        """
        before = progress.epochs, progress.done
        try:
            return self._train(runs, data, progress)
        except RuntimeError as error:
            if not memory.is_refusal(error):
                raise
            if len(runs) == 1:
                device = _device_name(self.device)
                reason = str(error).splitlines()[0]
                raise UserError(
                    f"{runs[0].label} alone does not fit the memory of {device}: {reason}"
                ) from None
        # After the block: until its end the error holds all that the stack has allocated.
        memory.release(self.device)
        progress.epochs, progress.done = before
        halves = memory.split(runs, -(-len(runs) // 2))
        progress.say(
            f"{len(runs)} networks do not fit the memory: trains {len(halves[0])} at a time"
        )
        return parts.join(self._train_what_fits(half, data, progress) for half in halves)

    # ------------------------------------------------------------------ one stack

    def _train(self, runs: list[Run], data: Any, progress: Progress) -> Part:
        name = digest([run.id for run in runs], 10)
        ready, points, absent = self._beginnings(runs, data)
        part = Part(
            runs={run.id: self._about(run, "no_parent_point", 0, 0.0, (name, 0)) for run in absent}
        )
        if ready:
            wanted = self.pack.wanted
            training = setup(ready, points, data, wanted, self.parents, self.device)
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

    def _beginnings(
        self, runs: list[Run], data: Any
    ) -> tuple[list[Run], list[dict[str, Tensor]], list[Run]]:
        """The runs that can start, the points they start from, and the other runs.

        A point is of a parent or of a file; a run that has neither starts from none. One whose
        parent never reached its point cannot start.
        """

        def begun(run: Run) -> dict[str, Tensor] | None:
            if run.parent:
                return point_of(run, self.parents)
            if run.spec.start is None:
                return {}
            model = build_model(run.spec, data)
            return checkpoints.point_of(run, model, self.checkpoints, self.cache)

        found = [(run, begun(run)) for run in runs]
        ready = [(run, point) for run, point in found if point is not None]
        absent = [run for run, point in found if point is None]
        return [run for run, _ in ready], [point for _, point in ready], absent

    # ------------------------------------------------------------------ results

    def _part(self, runs: list[Run], training: Training, trained: Trained, seconds: float) -> Part:
        wanted = self.pack.wanted
        kept = [import_entry("kept", name) for name in wanted.kept]
        part = parts.join(one.keep(runs, training, trained, wanted) for one in kept)
        stack = digest([run.id for run in runs], 10), len(runs)
        for place, run in enumerate(runs):
            status = "finished"
            if trained.stopped[place]:
                status = "stopped"
            elif trained.diverged[place]:
                status = "diverged"
            epoch = int(trained.last_epoch[place])
            part.runs[run.id] = self._about(run, status, epoch, seconds / len(runs), stack)
        return part

    def _about(
        self, run: Run, status: str, epoch: int, seconds: float, stack: tuple[str, int]
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
            "stack": list(stack),
        }


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


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {sys.platform}"
