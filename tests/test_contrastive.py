"""SimCLR: its loss, its two views a picture, and each operation of its augmentation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision.transforms.functional as vision
from refigure.data.images import views
from refigure.data.images.images import Images
from refigure.graph.catalogue import settings
from refigure.models import cifar_resnet, plain_convnet
from refigure.models.layers import Statistics
from refigure.tasks import contrastive
from torch import Tensor
from torchvision.transforms import InterpolationMode, RandomResizedCrop

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "contrastive.json"


@pytest.fixture(scope="module")
def reference() -> dict:
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(count, channels, size, size, generator=seeded(5), dtype=torch.float64)


# ------------------------------------------------------------------ models


@pytest.mark.parametrize("outputs", [10, 128])
def test_the_network_has_the_authors_number_of_parameters(reference, outputs):
    model = cifar_resnet.build(3, 32, 10, outputs=outputs)
    count = sum(math.prod(parameter.shape) for parameter in model._parameters.values())
    assert count == reference["parameters"][str(outputs)]


@pytest.mark.parametrize("outputs, parameters", [(None, 56_242), (32, 64_712)])
def test_the_reduced_network_has_the_specification_s_parameters(outputs, parameters):
    model = plain_convnet.build(1, 8, 10, widths=[24, 48, 96], head="flatten", outputs=outputs)
    assert sum(math.prod(one.shape) for one in model._parameters.values()) == parameters


def ours(name: str) -> str:
    """Our name of a parameter of the authors' network."""
    *layers, part = name.split(".")
    if layers[0].startswith("layer"):
        inner = {"conv1": "conv1", "conv2": "conv2", "bn1": "norm1", "bn2": "norm2"}
        inner |= {"shortcut0": "shortcut", "shortcut1": "shortcut_norm"}
        layer = inner["".join(layers[2:])]
        return f"stage{layers[0][5:]}.block{int(layers[1]) + 1}.{layer}.{part}"
    return {"conv1": "stem", "bn1": "stem_norm"}.get(layers[0], "linear") + f".{part}"


def test_logits_are_the_authors_in_training_and_in_evaluation(reference):
    about = reference["resnet18_forward"]
    model = cifar_resnet.build(3, 32, 10)
    parameters = {}
    for place, (theirs, shape) in enumerate(about["names_and_shapes"]):
        i = torch.arange(math.prod(shape), dtype=torch.float64)
        if len(shape) > 1:
            values = math.sqrt(4 / math.prod(shape[1:])) * torch.cos(7 * i + place)
        elif theirs.endswith("weight"):
            values = 1 + 0.1 * torch.cos(i + place)
        else:
            values = 0.01 * torch.cos(i + place)
        parameters[ours(theirs)] = values.reshape(1, *shape)
    assert set(parameters) == set(model.groups)
    images = torch.cos(0.1 * torch.arange(2 * 3 * 32 * 32, dtype=torch.float64))
    images = images.reshape(1, 2, 3, 32, 32)
    statistics = Statistics.fresh(model.normalised, 1)
    for layer, moments in statistics.running.items():
        statistics.running[layer] = tuple(moment.double() for moment in moments)
    train = model.forward(parameters, images, statistics)[0]
    after = model.forward(parameters, images, statistics.in_mode("running"))[0]
    for found, key in ((train, "train_mode_logits"), (after, "eval_mode_logits_after_that_pass")):
        expected = torch.tensor(about[key], dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------ the loss


def embeddings() -> Tensor:
    """Of the reference: 10 views, the first ones of 5 objects and then their second ones."""
    i, j = torch.arange(10.0, dtype=torch.float64)[:, None], torch.arange(4.0, dtype=torch.float64)
    o = i % 5
    return torch.sin(1.7 * o + 0.9 * j * (1 + o)) + (0.25 + 1.6 * (o == 3)) * torch.cos(
        2.3 * i * j + i
    )


def scored(logits: Tensor, temperature: float = 0.07) -> tuple[Tensor, Tensor]:
    task = SimpleNamespace(temperature=temperature)
    labels = contrastive.pairs(logits.shape[1])[None].expand(len(logits), -1)
    return contrastive.Contrastive.scores(task, logits, labels)


def test_loss_correctness_and_gradient_are_the_authors(reference):
    about = reference["info_nce"]
    z = embeddings()[None].requires_grad_()
    loss, error = scored(z)
    expected = torch.tensor(about["loss_per_anchor"], dtype=torch.float64)
    torch.testing.assert_close(loss[0], expected, rtol=1e-6, atol=1e-12)
    assert float(loss.detach().mean()) == pytest.approx(about["loss"], abs=1e-6)
    assert (1 - error[0]).tolist() == about["correct_per_anchor"]
    chance = torch.tensor(about["probability_of_positive"], dtype=torch.float64)
    torch.testing.assert_close((-loss[0]).exp(), chance, rtol=1e-6, atol=1e-12)
    loss.mean().backward()
    gradient = torch.tensor(about["gradient_by_embeddings"], dtype=torch.float64)
    torch.testing.assert_close(z.grad[0], gradient, rtol=0, atol=1e-6)


def test_a_stack_of_networks_has_the_loss_of_each():
    z = torch.stack([embeddings(), embeddings().flip(0), 2 * embeddings()])
    together = scored(z)[0]
    for place, one in enumerate(z):
        torch.testing.assert_close(together[place], scored(one[None])[0][0])
    torch.testing.assert_close(together[2], together[0])  # only directions matter


def a_task(streams: list[str], augment: dict | None = None) -> contrastive.Contrastive:
    """On six pictures of 8x8 in batches of two, as the loop would make it."""
    images, black = pictures(6, 1, 8).float(), torch.zeros(1)
    labels = torch.arange(6)
    data = Images(
        train_images=images,
        train_labels=labels,
        test_images=images[:5],
        test_labels=labels[:5],
        train_corrupted=torch.zeros(6, dtype=torch.bool),
        classes=6,
        black=black,
        std=torch.ones(1),
    )
    model = plain_convnet.build(1, 8, 6, widths=[4, 8], outputs=16)
    spec = SimpleNamespace(
        task=settings("task", "contrastive", "test"),
        augment=settings("augment", augment or {"name": "simclr"}, "test"),
        batch=2,
        drop_last=False,
    )
    return contrastive.build(model, data, [spec] * len(streams), streams)


def test_a_batch_holds_two_views_of_each_picture_and_names_the_partner():
    batch = a_task(["0", "1"]).batch(3, 1)
    assert batch.images.shape == (2, 4, 1, 8, 8)
    assert batch.labels.tolist() == [[2, 3, 0, 1]] * 2
    views_of_first = batch.images[0]
    assert not torch.equal(views_of_first[:2], views_of_first[2:])
    alone = a_task(["1"]).batch(3, 1)
    assert torch.equal(alone.images[0], batch.images[1])  # packed or alone: the same draws


def test_views_without_any_change_are_the_pictures_themselves():
    still = {"name": "simclr", "low_area": 1.0, "jittered": 0.0, "flip": False, "grey": 0.0}
    task = a_task(["0"], still | {"blur": [0.01, 0.01]})
    batch = task.batch(0, 0)
    # a crop of the whole area is the whole picture but for the ratio's draw
    assert batch.images.shape == (1, 4, 1, 8, 8)
    torch.testing.assert_close(batch.images.amax(), batch.images.amax().clamp(0, 1))


def test_evaluation_draws_the_same_views_for_everyone_and_leaves_out_a_single_picture():
    first = list(a_task(["0", "1"]).evaluation("test", 2))
    second = list(a_task(["7"]).evaluation("test", 1))
    assert [batch.images.shape[1] for batch in first] == [4, 4]  # of 5 pictures the last is single
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images[0], one.images[1])
        assert torch.equal(one.images[0], other.images[0])


def test_the_error_of_guessing_counts_all_other_views():
    assert a_task(["0"]).chance == pytest.approx(100 * 2 / 3)


# ------------------------------------------------------------------ augmentation


def drawn(images: Tensor, **columns) -> Tensor:
    """Draws that change nothing, but for the columns that are given."""
    size = images.shape[-1]
    draws = torch.zeros(len(images), views.COLUMNS, dtype=torch.float64)
    draws[:, views.CROP] = torch.tensor([0.0, 0.0, size, size])
    draws[:, views.ORDER] = torch.arange(4.0)
    draws[:, views.FACTORS] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    draws[:, views.SIGMA] = 1e-3
    for name, value in columns.items():
        draws[:, getattr(views, name)] = value
    return draws


def applied(images: Tensor, draws: Tensor) -> Tensor:
    made = views.build(settings("augment", {"name": "simclr"}, "test"), None)
    return made.apply(images[None], draws[None], torch.zeros(images.shape[1]))[0]


def test_draws_that_change_nothing_leave_the_pictures_alone():
    images = pictures(4)
    torch.testing.assert_close(applied(images, drawn(images)), images)


@pytest.mark.parametrize("box", [(0, 0, 32, 32), (3, 5, 11, 9), (20, 1, 12, 31), (7, 7, 1, 4)])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_and_flips_are_torchvision_s(box, flip):
    images = pictures(2)
    boxes = torch.tensor([box, box], dtype=torch.float64)
    found = applied(images, drawn(images, CROP=boxes, FLIP=float(flip)))
    expected = vision.resized_crop(
        images, *box, [32, 32], InterpolationMode.BILINEAR, antialias=False
    )
    torch.testing.assert_close(found, vision.hflip(expected) if flip else expected)


@pytest.mark.parametrize(
    "number, name, factor",
    [
        (0, "adjust_brightness", 1.7),
        (0, "adjust_brightness", 0.3),
        (1, "adjust_contrast", 1.6),
        (1, "adjust_contrast", 0.2),
        (2, "adjust_saturation", 1.8),
        (2, "adjust_saturation", 0.25),
        (3, "adjust_hue", 0.2),
        (3, "adjust_hue", -0.15),
    ],
)
def test_each_part_of_the_jitter_is_torchvision_s(number, name, factor):
    images = pictures(3)
    images[2] = images[2, :1]  # a grey picture has no hue
    factors = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    factors[number] = factor
    found = applied(images, drawn(images, JITTER=1.0, FACTORS=factors))
    expected = getattr(vision, name)(images, factor)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_the_jitter_follows_its_order(order):
    images, factors = pictures(2), (1.4, 0.5, 1.7, 0.1)
    names = ("brightness", "contrast", "saturation", "hue")
    expected = images
    for number in order:
        adjust = getattr(vision, f"adjust_{names[number]}")
        expected = adjust(expected, factors[number])
    draws = drawn(images, JITTER=1.0, ORDER=torch.tensor(order, dtype=torch.float64))
    draws[:, views.FACTORS] = torch.tensor(factors, dtype=torch.float64)
    torch.testing.assert_close(applied(images, draws), expected, rtol=1e-5, atol=1e-6)


def test_grey_is_torchvision_s():
    images = pictures(2)
    found = applied(images, drawn(images, TO_GREY=1.0))
    expected = vision.rgb_to_grayscale(images, 3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_the_blur_has_the_authors_kernel_and_torchvision_s_border(reference, sigma):
    point = torch.zeros(1, 3, 9, 9, dtype=torch.float64)
    point[:, :, 4, 4] = 1
    kernel = torch.tensor(reference["blur"]["kernel_by_sigma"][str(sigma)], dtype=torch.float64)
    found = applied(point, drawn(point, SIGMA=sigma))
    torch.testing.assert_close(found[0, 0, 3:6, 3:6], torch.outer(kernel, kernel))
    images = pictures(2)
    expected = vision.gaussian_blur(images, [3, 3], [sigma, sigma])
    found = applied(images, drawn(images, SIGMA=sigma))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_blur_is_the_authors_but_for_their_8_bits(reference):
    about = reference["blur"]["example"]
    image = torch.tensor(about["image_levels_0_255"], dtype=torch.float64)[None] / 255
    found = applied(image, drawn(image, SIGMA=about["sigma"]))[0] * 255
    expected = torch.tensor(about["blurred_levels_0_255"], dtype=torch.float64)
    assert (found - expected).abs().max() <= 1.0  # they round, or cut, to whole levels


def test_draws_stay_in_their_ranges_and_are_spread_as_torchvision_s():
    made = views.build(settings("augment", {"name": "simclr"}, "test"), None)
    draws = made.draw(seeded(0), 20_000, 32)
    top, left, height, width = draws[:, views.CROP].unbind(1)
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 32).all() and (left + width <= 32).all()
    share = height * width / 32**2
    torch.manual_seed(0)
    params = [
        RandomResizedCrop.get_params(pictures(1), (0.08, 1), (3 / 4, 4 / 3)) for _ in range(4000)
    ]
    theirs = torch.tensor(params, dtype=torch.float64)
    for found, expected in ((share, theirs[:, 2] * theirs[:, 3] / 32**2), (height, theirs[:, 2])):
        assert found.mean() == pytest.approx(float(expected.mean()), rel=0.02)
        assert found.std() == pytest.approx(float(expected.std()), rel=0.05)
    assert left.mean() == pytest.approx(float(theirs[:, 1].mean()), rel=0.05)
    assert (draws[:, views.ORDER].sort(1).values == torch.arange(4.0)).all()
    assert draws[:, views.FLIP].mean() == pytest.approx(0.5, abs=0.02)
    assert draws[:, views.JITTER].mean() == pytest.approx(0.8, abs=0.02)
    assert draws[:, views.TO_GREY].mean() == pytest.approx(0.2, abs=0.02)
    factors = draws[:, views.FACTORS]
    assert factors[:, :3].min() >= 0.2 and factors[:, :3].max() <= 1.8
    assert factors[:, 3].abs().max() <= 0.2
    assert draws[:, views.SIGMA].min() >= 0.1 and draws[:, views.SIGMA].max() <= 2.0
    again = made.draw(seeded(0), 20_000, 32)
    assert torch.equal(draws, again)


def test_images_of_one_channel_lose_no_colour_and_keep_their_noise():
    images = pictures(3, channels=1, size=8) * 2 - 0.5
    made = views.build(settings("augment", {"name": "simclr", "clamp": False}, "test"), None)
    factors = torch.tensor([1.2, 0.8, 1.5, 0.1], dtype=torch.float64)
    draws = drawn(images, JITTER=1.0, FACTORS=factors, TO_GREY=1.0)
    found = made.apply(images[None], draws[None], torch.zeros(1))[0]
    bright = 1.2 * images
    expected = 0.8 * bright + 0.2 * bright.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(found, expected)


def test_standardised_images_are_refused():
    images = pictures(2)
    made = views.build(settings("augment", {"name": "simclr"}, "test"), None)
    with pytest.raises(ValueError, match="needs mean 0 and std 1"):
        made.apply(images[None], drawn(images)[None], torch.tensor([-1.0, -1.0, -1.0]))


@pytest.mark.parametrize(
    "written, named", [({"low_area": 0.0}, "low_area"), ({"blur": [2.0, 1.0]}, "blur")]
)
def test_settings_out_of_their_range_are_refused(written, named):
    with pytest.raises(ValueError, match=named):
        views.build(settings("augment", {"name": "simclr", **written}, "test"), None)
