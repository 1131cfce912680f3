"""Packs on a GPU agree with the CPU, as docs/design.md says under Numerics. Skips without CUDA.

One gradient of every architecture agrees to rounding; so do networks alone and side by side, and a
pack that is split; and means over seeds of trained networks agree within three standard errors.
`REFIGURE_TEST_DEVICE=cpu` lets the CPU stand for the GPU, to try the tests themselves.
"""

from __future__ import annotations

import os

import pytest
import torch
from engine import graph_of, history, images, job, packs, prepared, project, scalars, spec, sphere
from engine import training as training_of
from refigure.training.jobs import memory
from refigure.training.jobs.devices import device_of

DEVICE = os.environ.get("REFIGURE_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(),
    reason="torch finds no CUDA device: nothing is compared with it",
)
NEAR = 1e-2
"""Relative, of a gradient on the CPU in channels last from the start: docs/design.md, Numerics."""
ERRORS = 3.0
"""Standard errors that means over seeds may differ by."""
MODELS = (
    {"name": "convnet", "k": 2},
    {"name": "resnet18", "k": 2},
    {"name": "mlp", "k": 8},
    {"name": "plain_convnet", "widths": [4, 8, 16]},
)


@pytest.fixture(autouse=True)
def exact(tmp_path):
    """float32 without TF32, as jobs compute."""
    device_of(DEVICE, tmp_path)


def on(device: str):
    """The images of the engine's tests, on a device."""
    data = images()
    moved = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in vars(data).items()
    }
    return type(data)(**moved)


def gradient(device: str, model: dict, seeds=(0,)) -> torch.Tensor:
    """The first gradient of some networks side by side."""
    data = on(device)
    head = {"head": None} if model["name"] not in ("convnet", "resnet18") else {}
    optimiser = {"name": "sgd", "lr": 1e-2} if head else {"name": "sphere_sgd", "elr": 1e-3}
    specs = [spec(model=model, seed=seed, optimiser=optimiser, **head) for seed in seeds]
    training = training_of(specs, data=data, device=device)
    statistics = training.statistics.in_mode("train")
    losses = training.task.losses(training.stack.parameters, training.task.batch(1, 0), statistics)
    return training.stack.gradient(losses).cpu().double()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_a_gradient_is_that_of_the_cpu(model):
    ours, theirs = gradient(DEVICE, model), gradient("cpu", model)
    assert float((ours - theirs).norm() / theirs.norm()) < NEAR


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_a_network_side_by_side_has_the_gradient_that_it_has_alone(model):
    together = gradient(DEVICE, model, (0, 1, 2))
    for place, seed in enumerate((0, 1, 2)):
        alone = gradient(DEVICE, model, (seed,))[0]
        assert float((together[place] - alone).norm() / alone.norm()) < 1e-4


def test_the_first_epochs_are_those_of_the_cpu():
    """Loss by loss while rounding has not grown yet."""
    written = {"model": {"name": "convnet", "k": 2}, "optimiser": sphere(1e-3), "epochs": 2}
    found = {}
    for device in ("cpu", DEVICE):
        done = training_of(spec(**written), data=on(device), device=device)
        done.run()
        found[device] = scalars(done.history, "train_loss")
    assert found[DEVICE] == pytest.approx(found["cpu"], rel=NEAR)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A project with a pack of networks."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


def test_means_over_seeds_agree_within_three_standard_errors(shop, tmp_path):
    ends = {}
    for device in ("cpu", DEVICE):
        values = []
        for place, pack in enumerate(packs(shop, "momentum")):
            folder = tmp_path / f"{device}{place}"
            job(shop, pack, folder, device=torch.device(device)).run()
            rows = history(folder)
            values.append(rows[rows["epoch"] == rows["epoch"].max()]["test_loss"])
        ends[device] = torch.cat([torch.tensor(one.to_numpy(float)) for one in values])
    error = sum(float(one.var(unbiased=True)) / len(one) for one in ends.values()) ** 0.5
    assert abs(float(ends["cpu"].mean() - ends[DEVICE].mean())) <= ERRORS * error


def test_a_stack_that_a_made_up_limit_splits_has_the_same_networks(shop, tmp_path):
    [pack, *_] = packs(shop, "plain")
    device = torch.device(DEVICE)
    whole, split = tmp_path / "whole", tmp_path / "split"
    job(shop, pack, whole, device=device).run()
    job(shop, pack, split, device=device, memory=1).run()
    ours, theirs = (history(folder)["train_loss"].to_numpy() for folder in (whole, split))
    assert ours == pytest.approx(theirs, rel=NEAR, nan_ok=True)


@pytest.mark.skipif(DEVICE == "cpu", reason="a CPU has no such limit")
def test_the_free_memory_is_that_of_the_device():
    free = memory.free_bytes(torch.device("cuda"))
    assert 0 < free <= torch.cuda.get_device_properties(0).total_memory
