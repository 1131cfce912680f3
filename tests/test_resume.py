"""Jobs killed at random moments end in the very files of jobs that were left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import (
    about,
    graph_of,
    job,
    packs,
    prepared,
    project,
    results,
    scalars,
    spec,
    sphere,
    tensors,
    trained,
    training,
)
from refigure import stages
from refigure.models.convnet import ConvNet
from refigure.training.jobs import states
from refigure.training.jobs.states import Interrupted

KINDS = {  # kind -> experiment, and whether its networks train side by side
    "plain": ("plain", False),
    "from a point": ("tuned", False),
    "continued": ("longer", False),
    "momentum": ("momentum", False),
    "continued momentum": ("longer_momentum", False),
    "event": ("event", False),
    "gone on from an event": ("zoom", False),
    "gone on from there": ("zoom_longer", False),
    "switched after an event": ("switched", False),
    "its head set free": ("freed", False),
    "gone on with a free head": ("freed_longer", False),
    "ragged": ("ragged", False),
    "diverging": ("diverging", False),
    "absent parent": ("orphan", False),
    "stack": ("plain", True),
    "stack from a point": ("tuned", True),
    "stack continued": ("longer_momentum", True),
    "stack of events": ("event", True),
    "stack gone on from events": ("zoom", True),
    "stack with heads set free": ("freed", True),
    "ragged stack": ("ragged", True),
    "diverging stack": ("diverging", True),
    "state carried over steps": ("words", False),
    "windows of characters": ("letters", False),
    "continued words": ("longer_words", False),
    "its backbone taken": ("transferred", False),
}
SLOW = """
  slow:
    base: {data: tiny, model: {name: convnet, k: 2}, head: {norm: 10}, batch: 5, epochs: 24, @}
    grid: {seed: [0, 1]}
    points:
      mid: {epoch: 12}
      swa: {average: {count: 10, to: last}}
      best: {best: test_loss}
      end: {epoch: last}
    record: {train: {every: {epochs: 1}}, test: {every: {epochs: 1}}, filters: {every: {steps: 3}}}
    predictions: [test]
"""


class Killed(BaseException):
    """The process is gone: nothing after this runs."""


class Deadly(states.Clock):
    """A state every few steps, and the end at a chosen step, with or without a last state."""

    def __init__(self, every: int, last: int, term: bool):
        super().__init__(0.0)
        self.every, self.left, self.term, self.steps = every, last, term, 0

    def listen(self) -> None:
        pass

    def due(self) -> bool:
        self.steps += 1
        if self.steps == self.left:
            if not self.term:
                raise Killed
            self.told = True
        return self.told or self.steps % self.every == 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project; `side by side` jobs are compared among themselves."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


@pytest.fixture(scope="module")
def expected(shop, tmp_path_factory):
    """Results of a pack that nobody interrupted, made once."""
    found = {}

    def of(pack, together):
        if (pack.name, together) not in found:
            folder = tmp_path_factory.mktemp("left-alone")
            job(shop, pack, folder).run()
            found[pack.name, together] = folder
        return found[pack.name, together]

    return of


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_job_killed_at_random_steps_ends_in_the_same_bytes(
    shop, expected, tmp_path, monkeypatch, kind, seed
):
    experiment, together = KINDS[kind]
    source = np.random.default_rng([seed, list(KINDS).index(kind)])
    for run in packs(shop, experiment)[0].parents:
        trained(shop, run.experiment)
    if together:
        monkeypatch.setattr(ConvNet, "stacking", "native")
    pack = packs(shop, experiment)[int(source.integers(len(packs(shop, experiment))))]
    folder = tmp_path / "out"
    for _ in range(int(source.integers(1, 4))):
        made = job(shop, pack, folder)
        made.clock = Deadly(*source.integers(1, [8, 30]), term=bool(source.random() < 0.3))
        try:
            made.run()
        except (Killed, Interrupted):
            assert not (folder / "run.json").exists()
        else:
            break
    job(shop, pack, folder).run()
    whole = expected(pack, together)
    assert results(folder) == results(whole)
    assert not list((folder / "scratch").glob("*.state"))  # parts stay till the pack is accepted
    for run, known in about(whole).items():
        for key in ("status", "last_epoch", "spec", "wanted", "code"):
            assert about(folder)[run][key] == known[key]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", [0, 5, 11, 14, 18])
def test_a_job_killed_while_it_writes_a_file_ends_in_the_same_bytes(
    shop, expected, tmp_path, monkeypatch, at, before
):
    """The n-th file that is put in its place is the last, just before that or just after."""
    [pack] = packs(shop, "event")
    whole = expected(pack, False)
    replace, left = os.replace, [at]

    def deadly(old, new):
        left[0] -= 1
        if left[0] != -1 or not before:
            replace(old, new)
        if left[0] == -1:
            raise Killed

    made = job(shop, pack, tmp_path / "out")
    made.clock = Deadly(7, 10**9, term=False)
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", deadly)
        made.run()
    job(shop, pack, tmp_path / "out").run()
    assert results(tmp_path / "out") == results(whole)


def test_a_state_after_every_step_of_every_point_is_written_and_read():
    wanted = [
        {"epoch": 2},
        {"average": {"count": 2, "every": 1, "from": 2}},
        {"best": "test_loss", "mode": "min"},
        {"event": "calm_end", "jump": 1.01, "floor": 5.0, "index": 1},
        {"event": "jump", "jump": 1.01, "floor": 5.0, "index": 1, "offset": -2},
        {"event": "jump", "jump": 1.01, "floor": 5.0, "index": 1, "offset": 1},
    ]
    chosen = [spec(optimiser=sphere(elr, momentum=0.9), epochs=5) for elr in (0.03, 0.1)]
    whole = training(chosen, wanted)
    kept = []
    expected = whole.run(lambda now: kept.append({k: v.clone() for k, v in now.state().items()}))
    for state in kept:
        again = training(chosen, wanted)
        again.resume(state)
        found = again.run()
        assert torch.equal(again.stack.flat, whole.stack.flat)
        assert found.points.keys() == expected.points.keys()
        for key, snapshot in expected.points.items():
            for name, value in snapshot.as_tensors().items():
                assert torch.equal(value, found.points[key].as_tensors()[name]), (key, name)
        for column in ("train_loss", "train_loss_running", "elr"):
            assert scalars(found.history, column)[-5:] == scalars(expected.history, column)[-5:]


def broken(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "cut in its header":
        path.write_bytes(path.read_bytes()[:40])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "of other code":
        with states.safe_open(path, framework="pt") as file:
            known = states.json.loads(file.metadata()["about"])
        states.write(path, tensors(path), {**known, "code": "older"})
    elif how == "another file":
        states.write(path, {"x": torch.zeros(3)}, {})


@pytest.mark.parametrize(
    "how", ["truncated", "cut in its header", "empty", "of other code", "another file"]
)
def test_a_state_that_is_broken_or_foreign_is_set_aside_in_one_line(
    shop, expected, tmp_path, capsys, how
):
    [pack] = packs(shop, "event")
    whole = expected(pack, False)
    made = job(shop, pack, tmp_path / "out")
    made.clock = Deadly(1, 10, term=False)
    with pytest.raises(Killed):
        made.run()
    [state] = (tmp_path / "out/scratch").glob("*.state")
    broken(state, how)
    capsys.readouterr()
    job(shop, pack, tmp_path / "out").run()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"state {state}: ")
    assert lines[0].endswith(f"set aside as {state.name}.aside, training restarts")
    assert results(tmp_path / "out") == results(whole)


@pytest.mark.parametrize("seed", range(2))
def test_a_killed_process_and_an_uninterrupted_one_give_the_same_bytes(tmp_path, seed):
    """A real `refigure train`: KILL, then TERM, each a random while after its first state."""
    optimiser = ["optimiser: {name: sphere_sgd, elr: 0.01}", "optimiser: {name: sgd, lr: 0.1}"]
    text = "experiments:" + SLOW.replace("@", optimiser[seed])
    text = text.replace("epochs: 24", "epochs: 12").replace("epoch: 12", "epoch: 6")
    graph = prepared(graph_of(project(tmp_path, text)))
    [pack] = packs(graph, "slow")
    folder, scratch = graph.paths.pack(pack.name), graph.paths.state(pack.name)
    command = [sys.executable, "-m", "refigure.cli", "--root", str(tmp_path), "train", pack.name]
    source = np.random.default_rng(seed)
    for sign in (signal.SIGKILL, signal.SIGTERM):
        before = {path: path.stat().st_mtime_ns for path in scratch.glob("*.state")}
        process = subprocess.Popen([*command, "--state-every", "0.01"], stdout=subprocess.PIPE)
        while process.poll() is None and before == {
            path: path.stat().st_mtime_ns for path in scratch.glob("*.state")
        }:
            time.sleep(0.005)
        time.sleep(source.uniform(0, 0.15))
        process.send_signal(sign)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == (143 if sign == signal.SIGTERM else -signal.SIGKILL), output
        assert not folder.exists()
        assert list(scratch.glob("*.state"))
    assert b"the training state is written" in output
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "goes on from epoch" in done.stdout
    found = results(folder)
    for path in folder.iterdir():
        path.unlink()
    stages.train(graph, pack.name, 1e9)
    assert found == results(folder)


def test_every_experiment_of_the_tiny_project_is_a_kind(shop):
    assert {experiment for experiment, _ in KINDS.values()} == set(shop.experiments)
