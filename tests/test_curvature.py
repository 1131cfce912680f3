"""Fisher trace and sharpness against matrices that are computed in full."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from refigure.data.images.images import Images
from refigure.graph.spec import Spec
from refigure.measures import curvature
from refigure.models import convnet
from refigure.models.layers import Statistics
from refigure.tasks.classification import Classification

IMAGES, CLASSES = 12, 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads cost more than they give for tensors this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def member() -> SimpleNamespace:
    """A ConvNet of width 1 and 387 scale-invariant weights, and 12 images in batches of 8 and 4."""
    drawn = torch.randn(IMAGES, 1, 8, 8, generator=generator())
    labels = torch.arange(IMAGES) % CLASSES
    none = torch.zeros(IMAGES, dtype=torch.bool)
    data = Images(drawn, labels, drawn, labels, none, CLASSES, torch.zeros(1), torch.ones(1))
    model = convnet.build(1, 8, CLASSES, k=1)
    written = {
        "data": "random",
        "model": {"name": "convnet", "k": 1},
        "optimiser": {"name": "sgd", "lr": 0.1},
        "batch": 8,
        "epochs": 1,
        "seed": 0,
    }
    task = Classification(model, data, [Spec.of(written, "test")], ["0"])
    values = model.initial(generator(1), generator(2))
    return SimpleNamespace(
        run=SimpleNamespace(experiment="tiny", label="tiny"),
        model=model,
        task=task,
        parameters={name: value[None] for name, value in values.items()},
        statistics=Statistics.fresh(model.normalised, 1).in_mode("running"),
    )


def batches(images: int) -> list[slice]:
    return [slice(first, min(first + 8, images)) for first in range(0, images, 8)]


def flat_weights(member: SimpleNamespace) -> torch.Tensor:
    groups = member.model.groups.items()
    return torch.cat(
        [member.parameters[name].flatten() for name, group in groups if group == "invariant"]
    )


def logits(member: SimpleNamespace, flat: torch.Tensor, part: slice) -> torch.Tensor:
    """Of a batch, (images, classes), from the scale-invariant weights as one vector."""
    names = [name for name, group in member.model.groups.items() if group == "invariant"]
    shapes = [member.parameters[name].shape for name in names]
    parts = flat.split([shape.numel() for shape in shapes])
    own = {name: value.view(shape) for name, value, shape in zip(names, parts, shapes)}
    images = member.task.data.train_images[None, part]
    return member.model.forward({**member.parameters, **own}, images, Statistics({}, "batch"))[0]


def trace_in_full(member: SimpleNamespace, images: int) -> float:
    """Trace of the Fisher matrix, from the Jacobian of every logit."""
    weights, trace = flat_weights(member), 0.0
    for part in batches(images):
        shares = logits(member, weights, part).softmax(-1)
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, part=part: logits(member, flat, part), weights
        )
        for row, share in zip(jacobian, shares):
            middle = torch.diag(share) - torch.outer(share, share)
            trace += float(torch.trace(row.T @ middle @ row))
    return trace / images


def sharpness_in_full(member: SimpleNamespace) -> float:
    """Largest eigenvalue of the Hessian of the mean loss, entry by entry."""

    def loss(flat: torch.Tensor) -> torch.Tensor:
        sums = [
            F.cross_entropy(
                logits(member, flat, part), member.task.data.train_labels[part], reduction="sum"
            )
            for part in batches(IMAGES)
        ]
        return sum(sums) / IMAGES

    hessian = torch.autograd.functional.hessian(loss, flat_weights(member))
    return float(torch.linalg.eigvalsh(hessian.double())[-1])


@pytest.mark.parametrize("start", [-3.0, 0.5])
def test_the_largest_eigenvalue_of_a_matrix_is_found(start):
    values = torch.linspace(start, 2.0, 12, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(12, 12, generator=generator(), dtype=torch.float64))[0]
    matrix = basis @ torch.diag(values) @ basis.T

    def product(vector: curvature.Vector) -> curvature.Vector:
        return (matrix @ torch.cat([part.flatten() for part in vector])).split([4, 8])

    begin = (torch.ones(4, dtype=torch.float64), torch.arange(8, dtype=torch.float64))
    assert curvature.largest_eigenvalue(product, begin, 12) == pytest.approx(2.0)


def test_a_multiple_of_the_identity_ends_lanczos_at_once():
    begin = (torch.ones(5, dtype=torch.float64),)
    assert curvature.largest_eigenvalue(lambda v: (3 * v[0],), begin, 50) == pytest.approx(3.0)


def test_the_sharpness_of_a_network_is_that_of_its_whole_hessian(member):
    network = curvature.Network(member, IMAGES)
    begin = network.random(generator())
    found = curvature.largest_eigenvalue(network.hessian_product, begin, 40)
    assert found == pytest.approx(sharpness_in_full(member), rel=1e-3)


@pytest.mark.parametrize("images", [IMAGES, 5])
def test_the_trace_of_a_network_is_that_of_its_whole_fisher_matrix(member, images):
    estimates = curvature.fisher_trace(curvature.Network(member, images), 300, generator())
    error = float(estimates.std()) / len(estimates) ** 0.5
    expected = trace_in_full(member, images)
    assert float(estimates.mean()) == pytest.approx(expected, abs=4 * error)
    assert error < 0.1 * expected


def test_effective_curvatures_are_those_on_the_unit_sphere(member):
    options = {"probes": 4, "iterations": 10, "images": IMAGES, "seed": 0}
    row = curvature.measure(SimpleNamespace(roles={"net": [member]}), **options)[0]
    assert (row["experiment"], row["probes"], row["images"]) == ("tiny", 4, IMAGES)
    for name, group in member.model.groups.items():
        if group == "invariant":
            member.parameters[name] = member.parameters[name] * 3
    scaled = curvature.measure(SimpleNamespace(roles={"net": [member]}), **options)[0]
    for name in ("effective_trace", "effective_trace_se", "effective_sharpness"):
        assert scaled[name] == pytest.approx(row[name], rel=0.02)  # batch norm's eps breaks it


def test_a_network_without_scale_invariant_weights_is_refused(member):
    member.model = convnet.build(1, 8, CLASSES, k=1, norm="none")
    with pytest.raises(ValueError, match="tiny has no scale-invariant weights"):
        curvature.Network(member, IMAGES)


def test_one_probe_is_refused(member):
    with pytest.raises(ValueError, match="at least 2 probes, got 1"):
        curvature.fisher_trace(curvature.Network(member, IMAGES), 1, generator())
