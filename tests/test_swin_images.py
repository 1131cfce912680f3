"""Swin's augmentation and soft targets, against torchvision, Pillow and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as vision
from engine import images, sgd, spec, training
from PIL import Image, ImageEnhance, ImageOps
from refigure.data.images.resized_crop import ResizedCrop
from refigure.data.images.swin import BOX, OPERATIONS, Swin, operate, strength
from refigure.tasks.soft_targets import Mixture, cut, mixed, smoothed
from torchvision.transforms import v2

TASK = {"name": "soft_targets"}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(magnitude: float = 9, erase: float = 0.25, size: int = 24) -> Swin:
    return Swin(ResizedCrop(size, 28, "bicubic"), magnitude, erase, torch.full((3,), 0.25))


@pytest.fixture(scope="module")
def levels() -> torch.Tensor:
    return torch.randint(256, (3, 3, 20, 20), generator=seeded(0)).float()


# ------------------------------------------------------------------ Swin's augmentation


@pytest.mark.parametrize("magnitude", [0.0, 4.3, 9.0, 10.0])
@pytest.mark.parametrize("name", ["posterize", "solarize", "colour", "contrast", "brightness"])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_operations_are_pillow_s_at_the_strengths_that_grow(levels, name, magnitude, sign):
    given = strength(name, magnitude, sign, 20)
    factor = max(0.1, 1 + 0.09 * magnitude * sign)
    theirs = {
        "posterize": lambda one: (
            ImageOps.posterize(one, 4 - int(0.4 * magnitude))
            if magnitude < 10
            else Image.new("RGB", one.size)
        ),  # no bit is left, which Pillow refuses by now
        "solarize": lambda one: ImageOps.solarize(one, 256 - int(25.6 * magnitude)),
        "colour": lambda one: ImageEnhance.Color(one).enhance(factor),
        "contrast": lambda one: ImageEnhance.Contrast(one).enhance(factor),
        "brightness": lambda one: ImageEnhance.Brightness(one).enhance(factor),
    }[name]
    found = operate(levels, OPERATIONS.index(name), magnitude, sign)
    for ours, image in zip(found, levels):
        pixels = np.moveaxis(image.numpy().astype(np.uint8), 0, -1)
        expected = np.moveaxis(np.asarray(theirs(Image.fromarray(pixels))), -1, 0)
        # Pillow blends in other float32 steps: one level at most.
        assert np.abs(ours.numpy() - expected).max() <= 1, given


def test_every_operation_but_three_is_stronger_with_its_magnitude():
    for name in OPERATIONS:
        weak, strong = (strength(name, magnitude, 1.0, 20) for magnitude in (0.0, 10.0))
        if name in ("posterize", "solarize"):
            assert weak > strong == 0
        else:
            assert strong > weak


def test_draws_follow_their_distributions():
    draws = made().draw(seeded(1), 20_000, 32)
    assert draws.shape == (20_000, 5 + 2 * 3 + BOX)
    which, magnitude, sign = draws[:, 5:8].unbind(1)
    assert float((which < 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    assert set(which.tolist()) == {-1.0, *map(float, range(len(OPERATIONS)))}
    assert float(magnitude.mean()) == pytest.approx(9, abs=0.05) and magnitude.max() <= 10
    assert float(sign.mean()) == pytest.approx(0, abs=0.05)
    top, left, height, width = draws[:, -BOX:-1].unbind(1)
    there = height > 0
    assert float(there.double().mean()) == pytest.approx(0.25, abs=0.02)
    assert ((top + height)[there] <= 24).all() and ((left + width)[there] <= 24).all()
    share = (height * width)[there] / 24**2
    assert share.min() > 0.012 and share.max() < 0.36


def test_an_image_that_nothing_is_done_to_is_the_crop_in_whole_levels():
    pictures = torch.randint(256, (1, 4, 3, 32, 32), generator=seeded(2)).float() / 255
    black, std = torch.full((3,), -2.0), torch.full((3, 1, 1), 0.25)
    normal = pictures / std + black[:, None, None]
    one = made(erase=0.0)
    draws = one.draw(seeded(3), 4, 32)[None]
    draws[..., 5] = draws[..., 8] = -1
    found = one.apply(normal, draws, black)
    assert found.shape == (1, 4, 3, 24, 24)
    for ours, image, box in zip(found[0], pictures[0], draws[0, :, :5].long().tolist()):
        mode = vision.InterpolationMode.BICUBIC
        theirs = vision.resized_crop(image, *box[:4], [24, 24], mode, antialias=False)
        theirs = vision.hflip(theirs) if box[4] else theirs
        theirs = (255 * theirs).clamp(0, 255)
        assert float((((ours - black[:, None, None]) * std * 255) - theirs).abs().max()) < 0.51


def test_erased_boxes_are_standard_normal_and_all_else_stays():
    pictures, black = torch.zeros(1, 64, 3, 32, 32), torch.full((3,), -2.0)
    one = made(erase=1.0)
    draws = one.draw(seeded(4), 64, 32)[None]
    draws[..., 5] = draws[..., 8] = -1
    found, again = (one.apply(pictures, draws, black) for _ in range(2))
    assert torch.equal(found, again)
    noise = []
    for image, (top, left, height, width, _) in zip(found[0], draws[0, :, -BOX:].int().tolist()):
        noise.append(image[:, top : top + height, left : left + width].flatten())
        image[:, top : top + height, left : left + width] = 0
        assert float(image.abs().max()) < 0.02  # levels are whole
    noise = torch.cat(noise)
    assert float(noise.mean()) == pytest.approx(0, abs=0.05)
    assert float(noise.std()) == pytest.approx(1, abs=0.05)


# ------------------------------------------------------------------ soft targets


def test_mixup_is_torchvision_s_on_the_same_share():
    pictures, labels = torch.rand(6, 3, 8, 8, generator=seeded(5)), torch.tensor([0, 1, 2, 3, 0, 1])
    mix = v2.MixUp(num_classes=4)
    # Their partner is the image before; ours is that from the end. The formula is one.
    theirs = mix.transform(pictures, {"lam": 0.3, "labels": labels, "batch_size": 6})
    ours = 0.3 * pictures + 0.7 * pictures.roll(1, 0)
    torch.testing.assert_close(theirs, ours)
    found = mixed(pictures, Mixture(0.3))
    torch.testing.assert_close(found, 0.3 * pictures + 0.7 * pictures.flip(0))


def test_cutmix_replaces_a_clipped_square_and_its_share_of_the_label():
    how = cut(0.75, 0.5, 0.5, 16)
    assert how == Mixture(0.75, (4, 12, 4, 12))
    corner = cut(0.75, 0.0, 0.0, 16)
    assert corner == Mixture(1 - 16 / 256, (0, 4, 0, 4))
    pictures = torch.rand(4, 3, 16, 16, generator=seeded(6))
    found = mixed(pictures, how)
    assert torch.equal(found[:, :, 4:12, 4:12], pictures.flip(0)[:, :, 4:12, 4:12])
    found[:, :, 4:12, 4:12] = pictures[:, :, 4:12, 4:12]
    assert torch.equal(found, pictures)


def test_smoothed_labels_are_probabilities():
    found = smoothed(torch.tensor([[2, 0]]), 4, 0.1)
    torch.testing.assert_close(found[0, 0], torch.tensor([0.025, 0.025, 0.925, 0.025]))
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 2))


def test_a_batch_s_targets_are_mixed_as_its_images_are():
    one = training(spec(task=TASK, head=None, optimiser=sgd(0.1)))
    batch = one.task.batch(0, 0)
    assert batch.targets.shape == (1, 20, 3)
    torch.testing.assert_close(batch.targets.sum(-1), torch.ones(1, 20))
    how = one.task.mixture(one.task.streams[0], 0, 0, 8)
    soft = smoothed(batch.labels, 3, 0.1)
    torch.testing.assert_close(batch.targets, how.share * soft + (1 - how.share) * soft.flip(1))
    again = one.task.batch(0, 0)
    assert torch.equal(batch.images, again.images) and torch.equal(batch.targets, again.targets)
    assert not torch.equal(batch.targets, one.task.batch(0, 1).targets)


def test_shares_follow_their_betas_and_half_of_the_batches_are_cut():
    one = training(spec(task=TASK, head=None, optimiser=sgd(0.1))).task
    drawn = [one.mixture("stream", epoch, 0, 64) for epoch in range(4000)]
    cuts = [how for how in drawn if how.box is not None]
    assert len(cuts) / len(drawn) == pytest.approx(0.5, abs=0.03)
    shares = np.array([how.share for how in drawn if how.box is None])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.01)


def test_without_mixing_the_loss_is_cross_entropy_with_smoothed_labels():
    task = {"name": "soft_targets", "mixup": 0.0, "cutmix": 0.0, "smoothing": 0.1}
    one = training(spec(task=task, head=None, optimiser=sgd(0.1)))
    batch, statistics = one.task.batch(0, 0), one.statistics.in_mode("train")
    found = one.task.losses(one.stack.parameters, batch, statistics)
    logits = one.task.logits(one.stack.parameters, batch, one.statistics.in_mode("train"))
    expected = torch.nn.functional.cross_entropy(logits[0], batch.labels[0], label_smoothing=0.1)
    torch.testing.assert_close(found[0], expected)


def test_a_network_learns_from_mixed_images_and_is_scored_on_single_ones():
    one = training(spec(task=TASK, head=None, optimiser=sgd(0.1), epochs=2))
    test = next(one.task.evaluation("test", 1))
    assert test.labels.dtype == torch.int64 and not hasattr(test, "targets")
    done = one.run()
    assert not bool(done.diverged.any())
    assert all(math.isfinite(row["test_loss"][0]) for row in done.history.scalars.values())


def test_a_mixture_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"smoothing in \[0, 1\)"):
        training(spec(task={"name": "soft_targets", "smoothing": 1.0}), data=images())
