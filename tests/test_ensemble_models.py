"""VGG16 and WideResNet-28 of any width, against what the authors' code gives."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from refigure.models import vgg, wide_resnet
from refigure.models.layers import Model, Statistics
from torch import Tensor

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"
MODELS = {"VGG16": vgg.build, "WideResNet28x10": wide_resnet.build}
CLASSES = {"C10": 10, "C100": 100}


def reference(name: str) -> dict:
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: no numbers of the authors' code to compare with")
    return json.loads(path.read_text(encoding="utf-8"))


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    return {name: parameter.shape for name, parameter in model._parameters.items()}


def count(model: Model) -> int:
    return sum(math.prod(shape) for shape in shapes(model).values())


@pytest.mark.parametrize("k", [2, 6, 64, 181])
@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_vgg_follow_the_formula(k, classes):
    assert count(vgg.build(3, 32, classes, k=k)) == 3719 * k**2 + (109 + 8 * classes) * k + classes


@pytest.mark.parametrize("k", [5, 20, 160, 453])
@pytest.mark.parametrize("classes", [10, 100])
def test_parameters_of_wide_resnet_follow_the_formula(k, classes):
    expected = 1432 * k**2 + (204 + 4 * classes) * k + classes
    assert count(wide_resnet.build(3, 32, classes, k=k)) == expected


def test_every_width_has_the_parameters_of_the_authors_networks():
    for name, widths in reference("power_laws_sizes.json")["parameter_counts"].items():
        architecture, data = name.split("/")
        for k, about in widths.items():
            model = MODELS[architecture](3, 32, CLASSES[data], k=int(k))
            assert count(model) == about["parameters"], (name, k)


def by_formula(shape: list[int], name: str, place: int) -> Tensor:
    """The weights of the reference: see "Weights by formula" in its README."""
    i = torch.arange(math.prod(shape), dtype=torch.float64)
    if len(shape) > 1:
        values = math.sqrt(4 / math.prod(shape[1:])) * torch.cos(7 * i + place)
    elif "bn" in name and name.endswith("weight"):
        values = 1 + 0.1 * torch.cos(i + place)
    else:
        values = 0.01 * torch.cos(i + place)
    return values.reshape(shape)


def ours(name: str) -> str:
    """Our name of a parameter of the authors' networks."""
    *layers, part = name.split(".")
    if layers[0] == "layer_blocks":
        return f"block{int(layers[1]) + 1}.conv{int(layers[2]) + 1}.{part}"
    if layers[0] == "classifier":
        return {"1": "hidden1", "4": "hidden2", "6": "linear"}[layers[1]] + f".{part}"
    if layers[0].startswith("layer"):
        block = f"stage{layers[0][5:]}.block{int(layers[1]) + 1}"
        return f"{block}.{layers[2].replace('bn', 'norm')}.{part}"
    return {"conv1": "stem", "bn1": "norm", "linear": "linear"}[layers[0]] + f".{part}"


@pytest.mark.parametrize("name", ["VGG16/k4/C10", "VGG16/k8/C10", "WideResNet28x10/k4/C10"])
def test_logits_loss_and_gradient_are_the_authors(name):
    about = reference("power_laws_forward.json")[name]
    model = MODELS[name.split("/")[0]](3, 32, 10, k=int(name.split("/")[1][1:]))
    parameters = {
        ours(theirs): by_formula(shape, theirs, place)[None].requires_grad_()
        for place, (theirs, shape) in enumerate(about["parameter_names_and_shapes"])
    }
    assert {key: tuple(value.shape[1:]) for key, value in parameters.items()} == shapes(model)
    images = torch.cos(0.1 * torch.arange(2 * 3 * 32 * 32, dtype=torch.float64))
    images = images.reshape(1, 2, 3, 32, 32)
    fresh = Statistics.fresh(model.normalised, 1)
    statistics = Statistics(
        {layer: (mean.double(), var.double()) for layer, (mean, var) in fresh.running.items()}
    )
    logits = model.forward(parameters, images, statistics)
    loss = F.cross_entropy(logits[0], torch.tensor([3, 7]))
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    expected = about.get("logits", about.get("train_mode_logits"))
    torch.testing.assert_close(
        logits[0].detach(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-8
    )
    assert float(loss.detach()) == pytest.approx(about["loss_targets_3_7"], rel=1e-7)
    assert norm == pytest.approx(about["gradient_norm"], rel=1e-6)
    if model.normalised:
        after = model.forward(parameters, images, statistics.in_mode("running"))[0].detach()
        key = "eval_mode_logits_after_that_one_training_pass"
        kept = torch.tensor(about[key], dtype=torch.float64)
        torch.testing.assert_close(after, kept, rtol=1e-5, atol=1e-6)


NETWORKS = [
    (vgg.build(1, 8, 10, k=2, dropout=0.5), (1, 8)),
    (vgg.build(3, 16, 10, k=2), (3, 16)),
    (wide_resnet.build(3, 8, 10, k=2, dropout=0.3), (3, 8)),
]


@pytest.mark.parametrize("model, shape", NETWORKS, ids=["vgg-8", "vgg-16", "wide_resnet-8"])
def test_a_stack_of_networks_is_the_same_networks_one_by_one(model, shape):
    channels, size = shape
    seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
    singles = [model.initial(seed, seed) for seed in seeds]
    assert set(singles[0]) == set(model.groups)
    stack = {name: torch.stack([one[name] for one in singles]) for name in singles[0]}
    images = torch.randn(3, 5, channels, size, size, generator=torch.Generator().manual_seed(7))

    def noise(layer: str, drawn: tuple[int, ...]) -> Tensor:
        """The same numbers for a network alone as in a stack."""
        seed = sum(map(ord, layer))
        every = torch.rand(3, *drawn[1:], generator=torch.Generator().manual_seed(seed))
        return every if drawn[0] == 3 else every[place : place + 1]

    together = model.forward(stack, images, Statistics.fresh(model.normalised, 3), noise)
    assert together.shape == (3, 5, 10)
    for place, one in enumerate(singles):
        alone = model.forward(
            {name: value[None] for name, value in one.items()},
            images[place : place + 1],
            Statistics.fresh(model.normalised, 1),
            noise,
        )
        torch.testing.assert_close(together[place], alone[0], rtol=1e-4, atol=1e-5)


def test_dropout_leaves_evaluation_alone_and_changes_training():
    model, (channels, size) = NETWORKS[0]
    seed = torch.Generator().manual_seed(0)
    parameters = {name: value[None] for name, value in model.initial(seed, seed).items()}
    images = torch.randn(1, 5, channels, size, size, generator=seed)
    statistics = Statistics.fresh({}, 1)
    quiet = model.forward(parameters, images, statistics)
    torch.testing.assert_close(quiet, model.forward(parameters, images, statistics, None))
    noisy = model.forward(parameters, images, statistics, lambda layer, shape: torch.rand(shape))
    assert not torch.allclose(quiet, noisy)


def test_filters_of_vgg_begin_with_the_variance_of_their_fan_out():
    values = vgg.build(3, 32, 10, k=64).initial(
        torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    )
    weight = values["block3.conv2.weight"]
    assert float(weight.var()) == pytest.approx(2 / (9 * len(weight)), rel=0.02)
    assert not values["block3.conv2.bias"].any()
    assert float(values["hidden1.weight"].abs().max()) == pytest.approx(512**-0.5, rel=0.01)


@pytest.mark.parametrize("build, size", [(vgg.build, 12), (wide_resnet.build, 2)])
def test_images_that_do_not_fit_are_refused_by_their_size(build, size):
    with pytest.raises(ValueError, match=f"got size {size}"):
        build(3, size, 10, k=4)
