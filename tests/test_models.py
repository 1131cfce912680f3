"""The models, alone and stacked, and batch norm's four modes."""

import math

import pytest
import torch
import torch.nn.functional as F
from refigure.models import convnet, resnet
from refigure.models.layers import (
    Model,
    Statistics,
    average_pool,
    batch_norm,
    conv2d,
    global_average_pool,
    global_max_pool,
    linear,
    max_pool,
)
from torch import Tensor, nn

NETS = [(convnet, norm) for norm in ("batch", "batch_affine", "none", "weight")]
NETS += [(resnet, norm) for norm in ("batch", "batch_affine")]
IDS = [f"{room.__name__.rsplit('.')[-1]}-{norm}" for room, norm in NETS]
INVARIANT = [(room, norm) for room, norm in NETS if norm != "none"]
INVARIANT_IDS = [name for name in IDS if name != "convnet-none"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stacked(model: Model, networks: int) -> dict[str, Tensor]:
    """Parameters of networks of seeds 0, 1, ..., affine ones moved off ones and zeros."""
    singles = [model.initial(seeded(seed), seeded(228 + seed)) for seed in range(networks)]
    parameters = {name: torch.stack([one[name] for one in singles]) for name in singles[0]}
    noise = seeded(99)
    for name, value in parameters.items():
        if name.rsplit(".", 1)[0] in model.normalised:
            value += 0.1 * torch.randn(value.shape, generator=noise)
    return parameters


def some_images(networks: int, *, count: int = 16, channels: int = 3, size: int = 16) -> Tensor:
    return torch.randn(networks, count, channels, size, size, generator=seeded(7))


def some_statistics(model: Model, networks: int) -> Statistics:
    noise = seeded(3)
    statistics = Statistics.fresh(model.normalised, networks)
    for layer, (mean, variance) in statistics.running.items():
        moved = torch.randn(mean.shape, generator=noise), torch.rand(mean.shape, generator=noise)
        statistics.running[layer] = (mean + 0.1 * moved[0], variance + moved[1])
    return statistics


def run(
    model: Model, parameters: dict[str, Tensor], images: Tensor, statistics: Statistics
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradients of the sum over networks of the mean cross-entropy."""
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    logits = model.forward(leaves, images, statistics)
    labels = torch.arange(images.shape[1]) % logits.shape[-1]
    loss = sum(F.cross_entropy(one, labels) for one in logits)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return logits.detach(), dict(zip(leaves, gradients, strict=True))


def assert_near(actual: Tensor, expected: Tensor, share: float = 1e-5) -> None:
    """Equal up to a share of the norm: sums in another order, nothing else."""
    assert actual.shape == expected.shape
    # a gradient that is zero but for rounding is compared with 0.01, the size of the others
    assert (actual - expected).norm().item() <= share * max(expected.norm().item(), 0.01)


def numbers_in(model: Model, group: str) -> int:
    values = model.initial(seeded(0), seeded(228))
    return sum(values[name].numel() for name, of in model.groups.items() if of == group)


@pytest.mark.parametrize(
    ("room", "channels", "size", "k", "invariant", "head"),
    [
        (convnet, 3, 32, 32, 387_936, 2_570),
        (convnet, 3, 32, 128, 6_196_608, 10_250),
        (convnet, 1, 8, 8, 24_264, 650),
        (convnet, 3, 8, 8, 24_408, 650),
        (resnet, 3, 32, 32, 2_790_240, 2_560),
        (resnet, 3, 32, 64, 11_159_232, 5_120),
    ],
)
def test_models_have_the_number_of_weights_in_the_paper(room, channels, size, k, invariant, head):
    model = room.build(channels, size, 10, k=k)
    assert numbers_in(model, "invariant") == invariant
    assert numbers_in(model, "head") == head
    assert set(model.groups.values()) == {"invariant", "head"}


@pytest.mark.parametrize(("room", "expected"), [(convnet, 160.0), (resnet, 800.0)])
def test_the_initial_squared_norm_is_a_third_of_the_output_channels(room, expected):
    model = room.build(3, 32, 10, k=32)
    values = model.initial(seeded(0), seeded(228))
    squares = [
        values[name].square().sum() for name, of in model.groups.items() if of == "invariant"
    ]
    assert sum(squares).item() == pytest.approx(expected, rel=0.01)


def test_initial_values_are_those_of_torch_modules_drawn_in_the_same_order():
    values = convnet.build(3, 8, 10, k=2, norm="none").initial(seeded(5), seeded(6))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        widths = (3, 2, 4, 8, 16)
        for number in range(1, 5):
            conv = nn.Conv2d(widths[number - 1], widths[number], 3)
            torch.testing.assert_close(values[f"conv{number}.weight"], conv.weight.detach())
            torch.testing.assert_close(values[f"conv{number}.bias"], conv.bias.detach())
        torch.manual_seed(6)
        head = nn.Linear(16, 10)
        torch.testing.assert_close(values["linear.weight"], head.weight.detach())
        torch.testing.assert_close(values["linear.bias"], head.bias.detach())


@pytest.mark.parametrize(("room", "norm"), NETS, ids=IDS)
def test_groups_name_every_parameter_in_order(room, norm):
    model = room.build(3, 16, 10, k=2, norm=norm)
    values = model.initial(seeded(0), seeded(1))
    assert list(values) == list(model.groups)
    heads = {name for name, group in model.groups.items() if group == "head"}
    other_head = model.initial(seeded(0), seeded(2))
    assert {name for name in values if not torch.equal(values[name], other_head[name])} == heads


@pytest.mark.parametrize("room", [convnet, resnet])
def test_an_unknown_norm_and_tiny_images_are_refused_by_name(room):
    with pytest.raises(ValueError, match="'layer'"):
        room.build(3, 32, 10, k=4, norm="layer")
    with pytest.raises(ValueError, match="size 4"):
        room.build(3, 4, 10, k=4)


def test_convnet_of_depth_3_has_no_widest_convolution():
    model = convnet.build(1, 8, 10, k=8, depth=3)
    values = model.initial(seeded(0), seeded(1))
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    assert shapes.pop("linear.weight") == (10, 32) and shapes.pop("linear.bias") == (10,)
    assert sum(math.prod(shape) for shape in shapes.values()) == 9 * (8 + 8 * 16 + 16 * 32)
    with pytest.raises(ValueError, match="depth of convnet must be 3 or 4, got 5"):
        convnet.build(1, 8, 10, k=8, depth=5)


def test_convnet_on_32_pixels_is_the_network_of_the_paper():
    k = 4
    model = convnet.build(3, 32, 10, k=k)
    parameters = stacked(model, 1)
    layers, inputs = [], 3
    for outputs, pools in ((k, ()), (2 * k, (2,)), (4 * k, (2,)), (8 * k, (2, 4))):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs, affine=False), nn.ReLU()]
        layers += [nn.MaxPool2d(pool) for pool in pools]
        inputs = outputs
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10))
    with torch.no_grad():
        for own, name in zip(net.parameters(), model.groups, strict=True):
            own.copy_(parameters[name][0])
    images = some_images(1, count=8, size=32)
    logits = model.forward(parameters, images, Statistics.fresh(model.normalised, 1))
    assert_near(logits[0], net(images[0]).detach())


def test_resnet_follows_the_equations_of_the_paper():
    model = resnet.build(3, 32, 10, k=2)
    parameters = {name: value[0].double() for name, value in stacked(model, 1).items()}
    images = some_images(1, count=8, size=32).double()

    def bn(x):
        return F.batch_norm(x, None, None, training=True)

    x = F.conv2d(images[0], parameters["stem.weight"], padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        for block in range(2):
            name = f"stage{stage}.block{block}"
            first, second = (parameters[f"{name}.{conv}.weight"] for conv in ("conv1", "conv2"))
            step = stride if block == 0 else 1
            h = F.relu(bn(x))
            out = F.conv2d(
                F.relu(bn(F.conv2d(h, first, padding=1, stride=step))), second, padding=1
            )
            if step == 2:
                x = F.conv2d(bn(h), parameters[f"{name}.shortcut.weight"], stride=step)
            x = x + out
    expected = F.avg_pool2d(F.relu(bn(x)), 4).flatten(1) @ parameters["linear.weight"].T
    one = {name: value[None] for name, value in parameters.items()}
    logits = model.forward(one, images, Statistics({}, "batch"))
    assert_near(logits[0], expected, 1e-12)


@pytest.mark.parametrize(("room", "norm"), INVARIANT, ids=INVARIANT_IDS)
def test_scaling_all_invariant_weights_leaves_train_mode_outputs(room, norm):
    model = room.build(3, 16, 10, k=8, norm=norm)
    parameters, images = stacked(model, 1), some_images(1, count=64)
    scaled = {
        name: 3 * value if model.groups[name] == "invariant" else value
        for name, value in parameters.items()
    }
    statistics = Statistics.fresh(model.normalised, 1)
    logits, other = (model.forward(p, images, statistics) for p in (parameters, scaled))
    assert (logits - other).abs().max() < 1e-3 * logits.abs().max()


@pytest.mark.parametrize(("room", "norm"), INVARIANT, ids=INVARIANT_IDS)
def test_gradients_are_orthogonal_to_invariant_weights(room, norm):
    model = room.build(3, 16, 10, k=8, norm=norm)
    parameters = stacked(model, 1)
    statistics = Statistics.fresh(model.normalised, 1)
    _, gradients = run(model, parameters, some_images(1, count=64), statistics)
    names = [name for name, group in model.groups.items() if group == "invariant"]
    weights, gradient = (
        torch.cat([values[name].double().flatten() for name in names])
        for values in (parameters, gradients)
    )
    assert abs(gradient @ weights) < 1e-4 * gradient.norm() * weights.norm()


def test_weight_norm_begins_as_the_plain_network():
    weight, none = (convnet.build(3, 8, 10, k=4, norm=norm) for norm in ("weight", "none"))
    parameters, images = stacked(weight, 1), some_images(1, size=8)
    plain = {name.replace(".v", ".weight"): value for name, value in parameters.items()}
    plain |= {f"conv{i}.bias": torch.zeros_like(parameters[f"conv{i}.g"]) for i in range(1, 5)}
    logits = weight.forward(parameters, images, Statistics({}))
    assert_near(logits, none.forward(plain, images, Statistics({})))
    assert numbers_in(weight, "fixed") == 15 * 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mode", ["train", "running"])
@pytest.mark.parametrize(("room", "norm"), NETS, ids=IDS)
def test_a_stack_gives_what_its_networks_give_one_at_a_time(room, norm, mode, dtype):
    # float64 shows that the arithmetic is the same; float32 rounds to 1e-5 over four layers and to
    # 1e-4 over twenty, where a ReLU at zero may flip: gradients jump then
    share = 1e-12 if dtype == torch.float64 else 1e-5 if room is convnet else 1e-4
    model = room.build(3, 16, 10, k=4, norm=norm)
    parameters = {name: value.to(dtype) for name, value in stacked(model, 3).items()}
    images = some_images(3).to(dtype)
    moments = {
        layer: (mean.to(dtype), variance.to(dtype))
        for layer, (mean, variance) in some_statistics(model, 3).running.items()
    }
    together = Statistics(dict(moments), mode)
    logits, gradients = run(model, parameters, images, together)
    for n in range(3):
        own = slice(n, n + 1)
        alone = Statistics({layer: (m[own], v[own]) for layer, (m, v) in moments.items()}, mode)
        expected, expected_gradients = run(
            model, {name: value[own] for name, value in parameters.items()}, images[own], alone
        )
        assert_near(logits[own], expected, share)
        if dtype == torch.float64:
            for name, gradient in expected_gradients.items():
                assert_near(gradients[name][own], gradient, share)
        for layer, pair in alone.running.items():
            for mine, theirs in zip(together.running[layer], pair, strict=True):
                assert_near(mine[own], theirs, share)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_stacked_convolution_and_batch_norm_have_the_gradients_of_single_ones(channels):
    noise = seeded(8)
    x = torch.randn(3, 16, channels, 8, 8, generator=noise)
    direction = torch.randn(3, 16, 6, 8, 8, generator=noise)
    weight = torch.randn(3, 6, channels, 3, 3, generator=noise).requires_grad_()
    statistics = Statistics({}, "batch")

    def value(own: slice) -> Tensor:
        y = batch_norm(conv2d(x[own], weight[own], padding=1), "norm", statistics)
        return (direction[own] * y.square()).sum()

    (together,) = torch.autograd.grad(value(slice(None)), weight)
    for n in range(3):
        (alone,) = torch.autograd.grad(value(slice(n, n + 1)), weight)
        assert_near(together[n], alone[n])


@pytest.mark.parametrize("k", [3, 8])
@pytest.mark.parametrize(("room", "norm"), NETS, ids=IDS)
def test_a_diverged_network_changes_no_bit_of_the_others(room, norm, k):
    model = room.build(3, 16, 10, k=k, norm=norm)
    parameters, images = stacked(model, 3), some_images(3)
    broken = {name: value.clone() for name, value in parameters.items()}
    for value in broken.values():
        value[1] = float("nan")
    healthy_statistics, broken_statistics = (some_statistics(model, 3) for _ in range(2))
    logits, gradients = run(model, parameters, images, healthy_statistics)
    others, other_gradients = run(model, broken, images, broken_statistics)
    assert others[1].isnan().all()
    for n in (0, 2):
        assert torch.equal(logits[n], others[n])
        for name in gradients:
            assert torch.equal(gradients[name][n], other_gradients[name][n])
        for layer, moments in healthy_statistics.running.items():
            for mine, theirs in zip(moments, broken_statistics.running[layer], strict=True):
                assert torch.equal(mine[n], theirs[n])


def test_networks_may_share_one_batch_expanded_over_them():
    model = convnet.build(1, 8, 10, k=4)
    parameters, images = stacked(model, 3), some_images(1, channels=1, size=8)
    statistics = Statistics.fresh(model.normalised, 3)
    logits = model.forward(parameters, images.expand(3, -1, -1, -1, -1), statistics)
    assert_near(logits, model.forward(parameters, images.repeat(3, 1, 1, 1, 1), statistics))


@pytest.mark.parametrize("networks", [1, 3])
def test_layers_are_torch_layers_applied_to_each_network(networks):
    noise = seeded(4)
    x = torch.randn(networks, 5, 4, 9, 9, generator=noise)
    weight = torch.randn(networks, 6, 4, 3, 3, generator=noise)
    bias = torch.randn(networks, 6, generator=noise)
    flat, map_ = x.flatten(2), torch.randn(networks, 6, 4 * 81, generator=noise)
    convolved = conv2d(x, weight, bias, stride=2, padding=1)
    for n in range(networks):
        assert_near(convolved[n], F.conv2d(x[n], weight[n], bias[n], stride=2, padding=1))
        assert_near(linear(flat, map_, bias)[n], F.linear(flat[n], map_[n], bias[n]))
        assert_near(linear(flat, map_)[n], F.linear(flat[n], map_[n]))
        assert_near(max_pool(x, 2)[n], F.max_pool2d(x[n], 2))
        assert_near(average_pool(x, 4)[n], F.avg_pool2d(x[n], 4))
        assert_near(global_max_pool(x)[n], x[n].amax((2, 3)))
        assert_near(global_average_pool(x)[n], x[n].mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [7, 8])
def test_a_strided_filter_of_one_pixel_is_that_of_the_library(channels, size):
    # In double precision: the library's own float32 kernel corrupts memory on CPUs with AVX2 only.
    shapes, noise = ((1, 5, channels, size, size), (1, 6, channels, 1, 1)), seeded(5)
    x, weight = (torch.randn(each, generator=noise).double().requires_grad_() for each in shapes)
    ours, theirs = conv2d(x, weight, stride=2)[0], F.conv2d(x[0], weight[0], stride=2)
    assert_near(ours, theirs)
    for mine, expected in zip(
        torch.autograd.grad(ours.square().sum(), (x, weight)),
        torch.autograd.grad(theirs.square().sum(), (x, weight)),
        strict=True,
    ):
        assert_near(mine, expected)


@pytest.mark.parametrize("pixels", [(), (6, 6)], ids=["vectors", "images"])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("networks", [1, 3])
def test_batch_norm_in_train_and_running_mode_is_torch_batch_norm(networks, affine, pixels):
    noise = seeded(11)
    modules = [
        (nn.BatchNorm2d if pixels else nn.BatchNorm1d)(4, affine=affine) for _ in range(networks)
    ]
    weight = bias = None
    if affine:
        weight, bias = (torch.randn(networks, 4, generator=noise) for _ in range(2))
        for n, module in enumerate(modules):
            module.weight.data, module.bias.data = weight[n].clone(), bias[n].clone()
    statistics = Statistics.fresh({"norm": 4}, networks)
    for _ in range(3):
        x = 2 + 3 * torch.randn(networks, 8, 4, *pixels, generator=noise)
        y = batch_norm(x, "norm", statistics, weight, bias)
        for n, module in enumerate(modules):
            assert_near(y[n], module(x[n]).detach())
            assert_near(statistics.running["norm"][0][n], module.running_mean)
            assert_near(statistics.running["norm"][1][n], module.running_var)
    y = batch_norm(x, "norm", statistics.in_mode("running"), weight, bias)
    for n, module in enumerate(modules):
        assert_near(y[n], module.eval()(x[n]).detach())


@pytest.mark.parametrize("networks", [1, 3])
def test_recompute_averages_batch_moments_weighted_by_images(networks):
    x = torch.randn(networks, 10, 4, 6, 6, generator=seeded(12)) * 2 + 1
    old = (torch.full((networks, 4), float("nan")),) * 2
    whole = Statistics({"norm": old}, "recompute")
    batch_norm(x, "norm", whole)
    values = x.transpose(1, 2).flatten(2)
    assert_near(whole.running["norm"][0], values.mean(2))
    assert_near(whole.running["norm"][1], values.var(2))

    again = whole.in_mode("recompute")
    parts = x.split([5, 3, 2], dim=1)
    for part in parts:
        batch_norm(part, "norm", again)
    variances = [part.transpose(1, 2).flatten(2).var(2) * part.shape[1] / 10 for part in parts]
    assert_near(again.running["norm"][0], values.mean(2))
    assert_near(again.running["norm"][1], sum(variances))
    mean, variance = (moment[:, None, :, None, None] for moment in again.running["norm"])
    expected = (x - mean) / (variance + 1e-5).sqrt()
    assert_near(batch_norm(x, "norm", again.in_mode("running")), expected)


@pytest.mark.parametrize("mode", ["train", "batch", "running", "recompute"])
def test_no_mode_changes_in_place_the_moments_it_was_handed(mode):
    noise = seeded(13)
    moments = torch.randn(2, 4, generator=noise), torch.rand(2, 4, generator=noise)
    before = [moment.clone() for moment in moments]
    origin = Statistics({"norm": moments})
    view = origin.in_mode(mode)
    for _ in range(2):
        batch_norm(torch.randn(2, 8, 4, 3, 3, generator=noise), "norm", view)
    assert all(map(torch.equal, moments, before))
    assert all(a is b for a, b in zip(origin.running["norm"], moments, strict=True))
    untouched = all(a is b for a, b in zip(view.running["norm"], moments, strict=True))
    assert untouched == (mode in ("batch", "running"))


def test_batch_mode_normalises_by_the_batch_whatever_the_running_moments():
    x = torch.randn(2, 16, 4, 3, 3, generator=seeded(14)) * 5 - 2
    statistics = Statistics({"norm": (torch.full((2, 4), 9.0),) * 2}, "batch")
    y = batch_norm(x, "norm", statistics).transpose(1, 2).flatten(2)
    torch.testing.assert_close(y.mean(2), torch.zeros(2, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(y.var(2, correction=0), torch.ones(2, 4), rtol=0, atol=1e-5)


def test_an_unknown_mode_is_refused_by_name():
    with pytest.raises(ValueError, match="'eval'"):
        Statistics.fresh({}, 1).in_mode("eval")
