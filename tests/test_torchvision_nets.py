"""torchvision's networks under our protocol give what torchvision gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from refigure.models import torchvision_nets
from refigure.models.layers import Statistics
from torch import Tensor

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "pretrain_basin.json"
ARCHITECTURES = ["resnet18", "resnet50", "swin_t"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(architecture: str, classes: int = 5):
    """Our model with its parameters, and torchvision's module with the same ones."""
    model = torchvision_nets.torchvision_net(3, 32, classes, architecture=architecture)
    values = model.initial(seeded(0), seeded(1))
    module = torchvision.models.get_model(architecture, num_classes=classes)
    module.load_state_dict(values, strict=False)
    return model, {name: value[None] for name, value in values.items()}, module


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.randn(4, 3, 64, 64, generator=seeded(2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_and_gradients_are_torchvision_s_in_evaluation(architecture, pictures):
    model, parameters, module = pair(architecture)
    module.eval()
    expected = module(pictures)
    parameters = {name: value.requires_grad_() for name, value in parameters.items()}
    statistics = Statistics.fresh(model.normalised, 1).in_mode("running")
    found = model.forward(parameters, pictures[None], statistics)
    torch.testing.assert_close(found[0], expected, rtol=1e-6, atol=1e-6)
    labels = torch.tensor([0, 1, 2, 3])
    F.cross_entropy(expected, labels).backward()
    gradients = torch.autograd.grad(F.cross_entropy(found[0], labels), list(parameters.values()))
    for (name, theirs), ours in zip(module.named_parameters(), gradients, strict=True):
        torch.testing.assert_close(ours[0], theirs.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_logits_and_moments_are_torchvision_s_in_training(architecture, pictures):
    model, parameters, module = pair(architecture)
    module.train()
    statistics = Statistics.fresh(model.normalised, 1)
    found = model.forward(parameters, pictures[None], statistics)
    torch.testing.assert_close(found[0], module(pictures), rtol=1e-5, atol=1e-6)
    for name, (mean, variance) in statistics.running.items():
        layer = module.get_submodule(name)
        torch.testing.assert_close(mean[0], layer.running_mean)
        torch.testing.assert_close(variance[0], layer.running_var)


def test_evaluation_in_training_s_middle_moves_no_moments(pictures):
    model, parameters, _ = pair("resnet18")
    statistics = Statistics.fresh(model.normalised, 1)
    before = {name: mean.clone() for name, (mean, _) in statistics.running.items()}
    model.forward(parameters, pictures[None], statistics.in_mode("running"))
    assert all(torch.equal(before[name], mean) for name, (mean, _) in statistics.running.items())


def test_stochastic_depth_draws_from_our_noise_and_drops_whole_branches(pictures):
    model = torchvision_nets.swin_t(3, 64, 5, drop_path=0.5)
    values = model.initial(seeded(0), seeded(1))
    parameters = {name: value[None] for name, value in values.items()}
    statistics, asked = Statistics.fresh({}, 1), {}

    def noise(layer: str, shape: tuple[int, ...]) -> Tensor:
        asked[layer] = shape
        return torch.rand(shape, generator=seeded(sum(map(ord, layer))))

    state = torch.random.get_rng_state()
    first = model.forward(parameters, pictures[None], statistics, noise)
    again = model.forward(parameters, pictures[None], statistics, noise)
    quiet = model.forward(parameters, pictures[None], statistics)
    assert torch.equal(first, again) and not torch.allclose(first, quiet)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert set(asked.values()) == {(1, 4)} and len(asked) == 11  # the first block's rate is 0
    assert model.dropout == pytest.approx(0.5)

    module = torchvision.models.swin_t(num_classes=5).eval()
    module.load_state_dict(values, strict=False)
    torch.testing.assert_close(quiet[0], module(pictures), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_values_follow_from_the_generators_alone(architecture):
    model = torchvision_nets.torchvision_net(3, 32, 7, architecture=architecture)
    state = torch.random.get_rng_state()
    first = model.initial(seeded(0), seeded(1))
    second = model.initial(seeded(0), seeded(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    differing = {name for name in first if not torch.equal(first[name], second[name])}
    head = {name for name, group in model.groups.items() if group == "head"}
    assert differing == head and len(head) == 2


def test_a_rate_of_stochastic_depth_needs_a_network_that_has_it():
    with pytest.raises(ValueError, match="no stochastic depth"):
        torchvision_nets.torchvision_net(3, 64, 5, architecture="resnet18", drop_path=0.1)


def test_parameters_are_as_many_as_the_authors_networks_have():
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    for name, build in (
        ("resnet50", torchvision_nets.resnet50),
        ("swin_t", torchvision_nets.swin_t),
    ):
        for classes, expected in reference[f"{name}_parameters"].items():
            module, *_ = build(3, 224, int(classes))._module
            assert sum(value.numel() for value in module.parameters()) == expected


@pytest.mark.parametrize(
    "channels, size, architecture, named",
    [(1, 64, "resnet18", "3 channels"), (3, 8, "resnet18", "size 8"), (3, 64, "resnet19", "no")],
)
def test_what_torchvision_cannot_take_is_refused(channels, size, architecture, named):
    with pytest.raises(ValueError, match=named):
        torchvision_nets.torchvision_net(channels, size, 10, architecture=architecture)
