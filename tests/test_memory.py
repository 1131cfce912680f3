"""Stacks that do not fit a device's memory are split, and their networks are the same."""

from __future__ import annotations

import pytest
import torch
from engine import EXPERIMENTS, about, graph_of, history, job, packs, prepared, project, tensors
from refigure.errors import UserError
from refigure.graph.experiments import Wanted
from refigure.training.jobs import memory
from refigure.training.loop import Training

SIDE_BY_SIDE = """
  wide:
    base: {<<: *base, model: {name: mlp, k: 6}, optimiser: {name: sgd, momentum: 0.9}, head: null}
    grid: {lr: [1.0e-2, 2.0e-2, 3.0e-2, 5.0e-2, 1.0e-1], seed: [0]}
    points: {end: {epoch: last}}
    record:
      train: {every: {epochs: 1}}
      test: {every: {epochs: 1}}
    predictions: [test]
tables:
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with a pack of networks that train side by side on a CPU too."""
    root = project(
        tmp_path_factory.mktemp("shop"), EXPERIMENTS.replace("tables:\n", SIDE_BY_SIDE[1:])
    )
    return prepared(graph_of(root))


@pytest.fixture(scope="module")
def unsplit(shop):
    """The folder of the pack, trained in one stack."""
    [pack] = packs(shop, "wide")
    job(shop, pack).run()
    folder = shop.paths.pack(pack.name)
    assert {tuple(row["stack"])[1] for row in about(folder).values()} == {5}
    return folder


def equal(folder, other) -> None:
    """Whether two folders hold the same results, to the rounding of other sums."""
    ours, theirs = (history(one).drop(columns="run") for one in (folder, other))
    assert list(ours.columns) == list(theirs.columns)
    torch.testing.assert_close(
        torch.tensor(ours.to_numpy(float)),
        torch.tensor(theirs.to_numpy(float)),
        rtol=1e-4,
        atol=1e-6,
        equal_nan=True,
    )
    for file in ("points", "predictions"):
        found, wanted = (tensors(one / f"{file}.safetensors") for one in (folder, other))
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            torch.testing.assert_close(
                value.float(), wanted[name].float(), rtol=1e-3, atol=1e-3, msg=name
            )


def sizes(folder) -> list[int]:
    """How many networks each one trained beside, in the order of their ids."""
    return sorted(row["stack"][1] for row in about(folder).values())


def estimate(shop) -> int:
    """Bytes of one more network of the pack."""
    from refigure.data.prepared import load

    [pack] = packs(shop, "wide")
    device = torch.device("cpu")
    data = load(shop.paths.data(pack.data), device)
    return memory.bytes_of_one(pack.runs[0], data, pack.wanted, device)


def test_a_stack_is_split_by_the_estimate(shop, unsplit, tmp_path):
    [pack] = packs(shop, "wide")
    limit = int(2.5 * estimate(shop))
    job(shop, pack, tmp_path / "out", memory=limit).run()
    assert sizes(tmp_path / "out") == [1, 2, 2, 2, 2]
    equal(tmp_path / "out", unsplit)


def test_a_limit_below_one_network_still_tries_one(shop, unsplit, tmp_path):
    [pack] = packs(shop, "wide")
    job(shop, pack, tmp_path / "out", memory=1).run()
    assert sizes(tmp_path / "out") == [1] * 5
    equal(tmp_path / "out", unsplit)


def refusing(monkeypatch, most: int, error: RuntimeError, after: int = 0) -> list[int]:
    """More than `most` networks run out of memory after some epochs; the sizes that were tried."""
    tried = []
    run = Training.run

    def made_up(self, between_steps=lambda _: None, after_epoch=lambda _: None):
        networks = self.stack.networks
        tried.append(networks)

        def look(training):
            after_epoch(training)
            if networks > most and training.epoch >= after:
                raise error

        if networks > most and not after:
            raise error
        return run(self, between_steps, look)

    monkeypatch.setattr(Training, "run", made_up)
    return tried


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["torch", "cudnn"],
)
def test_a_stack_is_halved_when_memory_runs_out(
    shop, unsplit, tmp_path, monkeypatch, capsys, error, after
):
    [pack] = packs(shop, "wide")
    tried = refusing(monkeypatch, 2, error, after)
    job(shop, pack, tmp_path / "out").run()
    assert tried == [5, 3, 2, 1, 2]
    assert sizes(tmp_path / "out") == [1, 2, 2, 2, 2]
    equal(tmp_path / "out", unsplit)
    said = capsys.readouterr().out
    assert "5 networks do not fit the memory: trains 3 at a time" in said
    assert not list((tmp_path / "out/scratch").glob("*.state*"))


def test_one_network_that_does_not_fit_is_one_line(shop, tmp_path, monkeypatch):
    [pack] = packs(shop, "wide")
    tried = refusing(monkeypatch, 0, torch.OutOfMemoryError("CUDA out of memory.\nTried ..."))
    with pytest.raises(UserError, match=r"^wide lr=0.01 seed=0 .* alone does not fit the memory"):
        job(shop, pack, tmp_path / "out").run()
    assert tried == [5, 3, 2, 1]
    assert not (tmp_path / "out/run.json").exists()


def test_other_errors_split_nothing(shop, tmp_path, monkeypatch):
    [pack] = packs(shop, "wide")
    tried = refusing(monkeypatch, 2, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="multiplied"):
        job(shop, pack, tmp_path / "out").run()
    assert tried == [5]


def test_an_estimate_grows_with_batch_width_and_points(shop):
    from dataclasses import replace

    from refigure.data.prepared import load

    [pack] = packs(shop, "wide")
    device = torch.device("cpu")
    data = load(shop.paths.data(pack.data), device)
    [run, *_] = pack.runs
    one = memory.bytes_of_one(run, data, Wanted(), device)
    batch = replace(run, spec=replace(run.spec, batch=40))
    wide = replace(run, spec=replace(run.spec, model={"name": "mlp", "k": 60, "layers": 2}))
    points = Wanted(points=frozenset({'{"epoch":1}'}))
    states = Wanted(points=points.points, states=points.points)
    found = [
        memory.bytes_of_one(run, data, points, device),
        memory.bytes_of_one(run, data, states, device),
    ]
    numbers = found[0] - one
    assert numbers == found[1] - found[0] > 0  # weights, and as much momentum
    assert one < memory.bytes_of_one(batch, data, Wanted(), device)
    assert 5 * one < memory.bytes_of_one(wide, data, Wanted(), device)


def test_splits_are_even():
    assert [len(part) for part in memory.split(list(range(10)), 4)] == [4, 4, 2]
    assert [len(part) for part in memory.split(list(range(12)), 5)] == [4, 4, 4]
    assert memory.split([1, 2], 0) == [[1], [2]]
    assert memory.free_bytes(torch.device("cpu")) is None
