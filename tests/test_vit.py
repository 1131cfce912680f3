"""The ViT against modules of torch, its dropout, and RandAugment against Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine import images as small_images
from engine import spec, training
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from refigure.data.images import randaugment
from refigure.data.images.augment import Augmentation
from refigure.data.images.randaugment import OPERATIONS, RandAugment
from refigure.models.layers import Statistics, dropout
from refigure.models.vit import build
from refigure.tasks.noise import DropoutNoise
from torch import nn

SMALL = {"patch": 2, "dim": 12, "depth": 2, "heads": 2, "mlp": 20}


def drawn(model, seeds=(0,)) -> dict[str, torch.Tensor]:
    values = [
        model.initial(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 99))
        for seed in seeds
    ]
    return {name: torch.stack([value[name] for value in values]) for name in values[0]}


class Block(nn.Module):
    """One block of attention and perceptron, written with torch's modules and a plain softmax."""

    def __init__(self, dim: int, heads: int, mlp: int):
        super().__init__()
        self.heads = heads
        self.norm, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * heads * 64, bias=False)
        self.out = nn.Linear(heads * 64, dim)
        self.temperature = nn.Parameter(torch.log(torch.tensor(64**-0.5)))
        self.mlp = nn.Sequential(
            nn.Linear(dim, mlp),
            nn.LayerNorm(mlp),
            nn.GELU(),
            nn.Linear(mlp, dim),
            nn.LayerNorm(dim),
        )

    def forward(self, x):
        images, tokens, _ = x.shape
        q, k, v = (
            part.view(images, tokens, self.heads, 64).transpose(1, 2)
            for part in self.qkv(self.norm(x)).chunk(3, dim=-1)
        )
        products = q @ k.transpose(-1, -2) * self.temperature.exp()
        products[..., torch.arange(tokens), torch.arange(tokens)] = -torch.inf
        y = (products.softmax(-1) @ v).transpose(1, 2).reshape(images, tokens, -1)
        x = x + self.out(y)
        return x + self.mlp(self.second(x))


def reference(values, place, x, patch, heads, dim, mlp, depth):
    """Logits of one network by torch's modules, patch by patch."""
    own = {name: value[place] for name, value in values.items()}
    shifted = [x]
    for left, right, top, bottom in ((1, -1, 0, 0), (-1, 1, 0, 0), (0, 0, 1, -1), (0, 0, -1, 1)):
        shifted.append(F.pad(x, (left, right, top, bottom)))
    x = torch.cat(shifted, 1)
    count = x.shape[-1] // patch
    tokens = []
    for row in range(count):
        for column in range(count):
            block = x[..., row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append(block.permute(0, 2, 3, 1).flatten(1))
    x = torch.stack(tokens, 1)
    x = F.layer_norm(x, x.shape[-1:], own["patches.norm.weight"], own["patches.norm.bias"])
    x = F.linear(x, own["patches.weight"], own["patches.bias"])
    x = torch.cat([own["class_token"].expand(len(x), 1, -1), x], 1) + own["positions"]
    for number in range(1, depth + 1):
        block, prefix = Block(dim, heads, mlp), f"block{number}"
        names = {
            "norm": "attention.norm",
            "second": "mlp.norm",
            "qkv": "attention.qkv",
            "out": "attention.out",
            "mlp.0": "mlp.first",
            "mlp.1": "mlp.first.norm",
            "mlp.3": "mlp.second",
            "mlp.4": "mlp.second.norm",
        }
        state = {"temperature": own[f"{prefix}.attention.temperature"][0]}
        for theirs, ours in names.items():
            for part in ("weight", "bias"):
                if f"{prefix}.{ours}.{part}" in own:
                    state[f"{theirs}.{part}"] = own[f"{prefix}.{ours}.{part}"]
        block.load_state_dict(state)
        x = block(x)
    x = F.layer_norm(x[:, 0], (dim,), own["linear.norm.weight"], own["linear.norm.bias"])
    return F.linear(x, own["linear.weight"], own["linear.bias"])


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_each_network_gives_the_logits_of_its_modules(seeds):
    model = build(3, 6, 5, **SMALL)
    values = drawn(model, seeds)
    for name in values:  # norms and temperatures that are not at their beginning
        if name.endswith(("norm.weight", "norm.bias", "temperature")):
            values[name] = values[name] + 0.3 * torch.randn(
                values[name].shape, generator=torch.Generator().manual_seed(7)
            )
    x = torch.randn(len(seeds), 4, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    found = model.forward(values, x, Statistics.fresh({}, len(seeds)))
    sizes = {key: SMALL[key] for key in ("patch", "heads", "dim", "mlp", "depth")}
    for place in range(len(seeds)):
        wanted = reference(values, place, x[place], **sizes)
        torch.testing.assert_close(found[place], wanted, rtol=1e-4, atol=1e-4)


def test_the_papers_network_has_its_parameters():
    shapes = build(3, 32, 10)._parameters.values()
    assert sum(math.prod(parameter.shape) for parameter in shapes) == 9_634_800


def test_patches_must_divide_the_image():
    with pytest.raises(ValueError, match="patch 4"):
        build(1, 10, 3, patch=4)


# ---------------------------------------------------------------------- dropout

DROPPING = {
    "model": {"name": "vit", **SMALL, "dropout": 0.5},
    "optimiser": {"name": "adam", "lr": 1e-3},
    "head": None,
}


def test_dropout_keeps_its_share_and_its_mean_and_draws_each_layer_anew():
    noise = DropoutNoise(["0", "1"], 3, 4, torch.device("cpu"))
    first, again = (noise("one", (2, 50, 60)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, noise("two", (2, 50, 60)))
    assert not torch.equal(first[0], first[1])
    assert float(first.min()) >= 0 and float(first.max()) < 1
    dropped = dropout(torch.ones(2, 50, 60), 0.25, noise, "one")
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=4 * 0.0056)


def test_training_drops_units_and_evaluation_drops_none():
    made = training(spec(**DROPPING))
    batch = made.task.batch(0, 0)
    noisy, other = (
        made.task.logits(made.stack.parameters, made.task.batch(0, number), made.statistics)
        for number in (0, 0)
    )
    assert torch.equal(noisy, other)  # the same step drops the same units
    plain = made.task.model.forward(made.stack.parameters, batch.images, made.statistics)
    assert float((noisy - plain).detach().abs().max()) > 0.01
    for evaluated in made.task.evaluation("train", 1):
        assert evaluated.noise is None


def test_a_network_drops_the_same_units_alone_and_beside_another():
    specs = [spec(**DROPPING, seed=seed) for seed in (0, 1)]
    together, alone = training(specs), training(specs[1])
    both = together.task.losses(
        together.stack.parameters, together.task.batch(1, 2), together.statistics
    )
    one = alone.task.losses(alone.stack.parameters, alone.task.batch(1, 2), alone.statistics)
    torch.testing.assert_close(both[1], one[0], rtol=1e-4, atol=1e-5)


def test_a_model_without_dropout_gets_no_noise():
    assert training(spec()).task.batch(0, 0).noise is None


# ---------------------------------------------------------------------- RandAugment


def pillow(name: str, image: Image.Image, v: float, place: tuple[float, float]) -> Image.Image:
    """The operation as Pillow does it; v has its sign."""
    size = image.size
    match name:
        case "auto_contrast":
            return ImageOps.autocontrast(image)
        case "equalize":
            return ImageOps.equalize(image)
        case "invert":
            return ImageOps.invert(image)
        case "rotate":
            return image.rotate(v)
        case "posterize":
            return ImageOps.posterize(image, max(1, int(v)))
        case "solarize":
            return ImageOps.solarize(image, v)
        case "solarize_add":
            added = np.clip(np.array(image).astype(int) + v, 0, 255).astype(np.uint8)
            return ImageOps.solarize(Image.fromarray(added), 128)
        case "colour":
            return ImageEnhance.Color(image).enhance(v)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(v)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(v)
        case "sharpness":
            return ImageEnhance.Sharpness(image).enhance(v)
        case "shear_x":
            return image.transform(size, Image.AFFINE, (1, v, 0, 0, 1, 0))
        case "shear_y":
            return image.transform(size, Image.AFFINE, (1, 0, 0, v, 1, 0))
        case "translate_x":
            return image.transform(size, Image.AFFINE, (1, 0, v, 0, 1, 0))
        case "translate_y":
            return image.transform(size, Image.AFFINE, (1, 0, 0, 0, 1, v))
        case "cutout":
            x0, y0 = (int(max(0, share * size[0] - v / 2)) for share in place)
            image = image.copy()
            corner = (int(min(size[0], x0 + v)), int(min(size[1], y0 + v)))
            ImageDraw.Draw(image).rectangle((x0, y0, *corner), (125, 123, 114))
            return image


def pictures(size: int) -> np.ndarray:
    """Eight images of 8 bits: noise of full and of narrow range, ramps, one flat."""
    source = np.random.default_rng(0)
    found = source.integers(0, 256, (8, size, size, 3))
    found[1] = found[1] // 4 + 60
    found[2] = np.arange(size)[:, None, None] * 255 // size
    found[3] = np.arange(size)[None, :, None] * 200 // size + source.integers(0, 30, 3)
    found[4] = 77
    found[5, :, :, 0] = 12
    return found.astype(np.uint8)


@pytest.mark.parametrize("magnitude", [14, 25])
@pytest.mark.parametrize("name", [name for name, _, _ in OPERATIONS])
def test_each_operation_is_pillows(name, magnitude):
    low, high = next((low, high) for other, low, high in OPERATIONS if other == name)
    strength = low + magnitude / 30 * (high - low)
    signed = name.startswith(("rotate", "shear", "translate"))
    batch = pictures(32)
    x = torch.tensor(batch).permute(0, 3, 1, 2).float()
    sign = torch.tensor([1.0, -1.0] * 4)
    place = torch.rand(8, 2, generator=torch.Generator().manual_seed(1))
    found = randaugment._FUNCTIONS[name](x, strength, sign, place)
    for number, image in enumerate(batch):
        v = strength * (float(sign[number]) if signed else 1)
        wanted = np.array(pillow(name, Image.fromarray(image), v, place[number].tolist()))
        wanted = torch.tensor(wanted).permute(2, 0, 1).float()
        differs = (found[number] - wanted).abs()
        # Pillow rounds the matrix of an affine map, and blends in float32 in another order.
        assert float(differs.max()) <= 1 or float((differs > 0).float().mean()) < 0.005, number


def test_draws_choose_every_operation_evenly_and_images_without_change_stay():
    data = small_images()
    made = RandAugment(Augmentation(padding=1, flip=True), 2, 14, data.std)
    draws = made.draw(torch.Generator().manual_seed(0), 8000, 8)
    assert draws.shape == (8000, 11)
    counts = torch.bincount(draws[:, 3].long(), minlength=16)
    assert len(counts) == 16 and float((counts / 500 - 1).abs().max()) < 4 * 500**-0.5
    batch = data.train_images[:6][None]
    none = torch.zeros(1, 6, 11)
    none[..., :2], none[..., 3], none[..., 7] = 1, 2, 2  # middle of the padding; inverted twice
    torch.testing.assert_close(made.apply(batch, none, data.black), batch, rtol=0, atol=0.02)


def test_a_network_of_the_catalogue_trains_under_randaugment():
    data = small_images()
    made = training(
        [spec(**DROPPING, augment={"name": "randaugment", "padding": 1}, seed=s) for s in (0, 1)]
    )
    batch = made.task.batch(0, 0)
    assert batch.images.shape == (2, 20, 1, 8, 8) and bool(batch.images.isfinite().all())
    again = made.task.batch(0, 0).images
    assert torch.equal(batch.images, again)
    stored = data.train_images[made.task.order(0)[0, :20]]
    assert float((batch.images[0] - stored).abs().max()) > 0.1
    assert not made.run().diverged.any()


def test_auto_contrast_is_pillows_for_every_level_between_every_two():
    """All 256 x 255 / 2 pairs of lowest and highest level, with every level between them."""
    levels = np.arange(256)
    for low in range(255):
        highs = np.arange(low + 1, 256)
        rows = levels.clip(low, None)[None].repeat(len(highs), 0).clip(None, highs[:, None])
        found = randaugment._auto_contrast(torch.tensor(rows)[:, None, None].float(), 0, None, None)
        scale = 255.0 / (highs - low)[:, None]  # ImageOps.autocontrast, line by line
        expected = (rows * scale + -low * scale).astype(int).clip(0, 255)
        assert np.array_equal(found[:, 0, 0].numpy(), expected), low
