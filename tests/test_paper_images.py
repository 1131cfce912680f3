"""Images at paper scale: kept as bytes, cropped and framed as torchvision does, bfloat16 steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as vision
from engine import images, sgd, spec, training
from refigure.data.images import images as arrays
from refigure.data.images.recipes import prepare
from refigure.data.images.resized_crop import ResizedCrop, build
from refigure.data.sources import Raw
from refigure.errors import UserError
from refigure.graph.catalogue import settings
from refigure.models.autocast import Autocast
from torch import Tensor

COLOURS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return torch.rand(12, 3, 32, 32, generator=seeded(0))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_crops_are_torchvision_s_on_the_same_draw(pictures, kernel):
    made = ResizedCrop(48, 56, kernel)
    draws = made.draw(seeded(1), len(pictures), 32)
    found = made.apply(pictures[None], draws[None], torch.zeros(3))[0]
    assert found.shape == (12, 3, 48, 48)
    flips = draws[:, 4]
    assert 0 < flips.sum() < len(flips)
    for image, ours, (top, left, height, width, flip) in zip(pictures, found, draws.tolist()):
        mode = vision.InterpolationMode(kernel)
        theirs = vision.resized_crop(
            image, top, left, height, width, [48, 48], mode, antialias=False
        )
        theirs = vision.hflip(theirs) if flip else theirs
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_boxes_have_the_areas_and_ratios_of_random_resized_crops():
    drawn = ResizedCrop(8, 8).draw(seeded(2), 20_000, 224).double()
    top, left, height, width, flip = drawn.unbind(1)
    assert (top >= 0).all() and (top + height <= 224).all() and (left + width <= 224).all()
    share = height * width / 224**2
    assert share.min() > 0.078 and share.max() <= 1
    assert (width / height).min() > 0.74 and (width / height).max() < 1.35
    # Of areas uniform from 0.08 to 1 the largest fit less often: half of them lie below this.
    theirs = [box[2] * box[3] / 224**2 for box in map(_torchvision_s_box, range(4000))]
    assert float(share.mean()) == pytest.approx(np.mean(theirs), abs=0.02)
    assert float(flip.mean()) == pytest.approx(0.5, abs=0.02)


def _torchvision_s_box(seed: int) -> tuple[int, int, int, int]:
    from torchvision.transforms import RandomResizedCrop

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RandomResizedCrop.get_params(torch.empty(3, 224, 224), (0.08, 1), (3 / 4, 4 / 3))


@pytest.mark.parametrize(("size", "resize"), [(224, 256), (32, 37)])
def test_an_evaluation_resizes_and_cuts_out_the_centre(pictures, size, resize):
    found = ResizedCrop(size, resize).framed(pictures)
    theirs = vision.center_crop(vision.resize(pictures, [resize], antialias=False), [size])
    torch.testing.assert_close(found, theirs, rtol=1e-6, atol=1e-6)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="size must be from 1 to resize 256, got 300"):
        build(settings("augment", {"name": "resized_crop", "size": 300}, "test"), images())


def test_a_network_learns_on_crops_and_is_evaluated_on_frames():
    augment = {"name": "resized_crop", "size": 12, "resize": 14}
    made = training(spec(augment=augment, head=None, optimiser=sgd(0.1), epochs=1))
    assert made.task.batch(0, 0).images.shape[-1] == 12
    frames = next(made.task.evaluation("test", 1)).images
    expected = vision.resize(made.task.data.test_images[:20], [14], antialias=False)
    torch.testing.assert_close(frames[0], vision.center_crop(expected, [12]))
    assert not bool(made.run().diverged.any())


# ------------------------------------------------------------------ bytes


def raw(dtype=np.uint8) -> Raw:
    source = np.random.default_rng(0)
    pixels = source.integers(0, 256, (18, 3, 8, 8)).astype(dtype)
    labels = np.arange(18) % 3
    return Raw(pixels[:12], labels[:12], pixels[12:], labels[12:], ["a", "b", "c"])


def test_bytes_stay_bytes_and_give_the_same_network(tmp_path):
    found = {}
    for kept in (False, True):
        recipe = {"name": "images", "source": "drawn", "bytes": kept, **COLOURS}
        path = tmp_path / f"{kept}.safetensors"
        arrays.save(
            prepare(raw(), {key: recipe[key] for key in recipe if key != "name"}), path, recipe
        )
        data = arrays.load(path, "cpu")
        assert data.train_images.dtype == (torch.uint8 if kept else torch.float32)
        written = spec(augment="crop_flip", head=None, optimiser=sgd(0.1), batch=5, epochs=2)
        trained = training(written, data=data)
        done = trained.run()
        found[kept] = trained.stack.flat.clone(), done.history.scalars
    assert torch.equal(found[False][0], found[True][0])
    assert repr(found[False][1]) == repr(found[True][1])


def test_bytes_of_pixels_that_are_none_are_refused():
    recipe = {"source": "drawn", "bytes": True, **COLOURS}
    with pytest.raises(
        UserError, match=r"recipe of 'drawn'.bytes: the pixels are no whole numbers"
    ):
        prepare(raw(np.float32), recipe)
    with pytest.raises(UserError, match="bytes"):
        prepare(raw(), {**recipe, "pool": 4})


# ------------------------------------------------------------------ bfloat16


def test_steps_are_in_bfloat16_and_measures_are_not():
    plain, low = (
        training(spec(precision=precision, head=None, optimiser=sgd(0.05), epochs=2))
        for precision in ("float32", "bfloat16")
    )
    assert isinstance(low.task.model, Autocast) and not isinstance(plain.task.model, Autocast)
    assert low.task.model.groups == plain.task.model.groups
    batch = plain.task.batch(0, 0)
    logits = {}
    for name, made in (("float32", plain), ("bfloat16", low)):
        for mode in ("train", "running", "recompute"):
            statistics = made.statistics.in_mode(mode)
            logits[name, mode] = made.task.logits(made.stack.parameters, batch, statistics)
            assert logits[name, mode].dtype == torch.float32
            assert all(
                part.dtype == torch.float32 for pair in statistics.running.values() for part in pair
            )
    assert torch.equal(logits["float32", "running"], logits["bfloat16", "running"])
    assert torch.equal(logits["float32", "recompute"], logits["bfloat16", "recompute"])
    far = (logits["float32", "train"] - logits["bfloat16", "train"]).abs()
    # Eight bits of mantissa: relative errors of 2^-9 a rounding, of logits of some units.
    assert (
        0 < float(far.detach().max()) < 0.1 * float(logits["float32", "train"].detach().abs().max())
    )
    done = [made.run() for made in (plain, low)]
    assert low.stack.flat.dtype == torch.float32
    assert not bool(done[1].diverged.any())
    assert float((low.stack.flat - plain.stack.flat).abs().max()) < 0.1
