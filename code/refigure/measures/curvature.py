"""Curvature of the training loss at a point: trace of the Fisher matrix, sharpest direction.

Both are of the scale-invariant weights alone and "effective": times their squared norm, which makes
them what they are on the unit sphere, whatever the norm. In train mode: batch norm normalises by
the batch, and batches are the run's, in stored order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from refigure.measures.members import Group, Member
from refigure.tasks.classification import Batch

Vector = tuple[Tensor, ...]


def measure(
    group: Group, *, probes: int, iterations: int, images: int, seed: int
) -> list[dict[str, Any]]:
    """Effective Fisher trace and effective sharpness of every network of the role `net`.

    Args:
        group: with the role `net`.
        probes: Rademacher vectors of the trace estimate; at least 2.
        iterations: Lanczos steps of the sharpness.
        images: of the training set, the first in stored order.
        seed: of the probes and the Lanczos start, the same for every network.

    Returns:
        One row a network: experiment; effective_trace, tr(F) rho^2 (the trace itself, not the mean
        eigenvalue tr(F)/P that the authors' code gives), and effective_trace_se, its standard error
        over the probes; effective_sharpness, rho^2 lambda_max(H); and probes and images.

    Source: three-regimes, sections 6.4 and 11.10.
    """
    rows = []
    for member in group.roles["net"]:
        network = Network(member, images)
        generator = torch.Generator().manual_seed(seed)
        traces = fisher_trace(network, probes, generator)
        sharpness = largest_eigenvalue(
            network.hessian_product, network.random(generator), iterations
        )
        scale = network.squared_norm
        rows.append(
            {
                "experiment": member.run.experiment,
                "effective_trace": float(traces.mean()) * scale,
                "effective_trace_se": float(traces.std()) / probes**0.5 * scale,
                "effective_sharpness": sharpness * scale,
                "probes": probes,
                "images": network.images,
            }
        )
    return rows


class Network:
    """One network with its scale-invariant weights as what is differentiated.

    Args:
        member: whose batches and point these are.
        images: of the training set, at most.

    Raises:
        ValueError: the network has no scale-invariant weights.
    """

    def __init__(self, member: Member, images: int):
        self.member = member
        names = [name for name, group in member.model.groups.items() if group == "invariant"]
        if not names:
            raise ValueError(f"{member.run.label} has no scale-invariant weights")
        self.weights = {name: member.parameters[name].clone().requires_grad_() for name in names}
        self.images = min(images, len(member.task.data.train_labels))

    @property
    def squared_norm(self) -> float:
        """Of the scale-invariant weights together."""
        return sum(
            float(weight.detach().double().square().sum()) for weight in self.weights.values()
        )

    def batches(self) -> Iterator[Batch]:
        """The first images in the run's batches; the last may be smaller."""
        seen = 0
        for batch in self.member.task.evaluation("train", 1):
            left = self.images - seen
            if left <= 0:
                return
            yield Batch(batch.images[:, :left], batch.labels[:, :left])
            seen += batch.labels.shape[1]

    def logits(self, batch: Batch) -> Tensor:
        """(1, images, classes), in train mode; no moments are moved."""
        parameters = {**self.member.parameters, **self.weights}
        moments = self.member.statistics.in_mode("batch")
        return self.member.task.logits(parameters, batch, moments)

    def gradient(self, output: Tensor, **keywords: Any) -> Vector:
        """Of a number, by the scale-invariant weights."""
        return torch.autograd.grad(output, list(self.weights.values()), **keywords)

    def hessian_product(self, vector: Vector) -> Vector:
        """The Hessian of the mean loss over the images, times a vector."""
        total = tuple(torch.zeros_like(part) for part in vector)
        for batch in self.batches():
            loss = self.member.task.scores(self.logits(batch), batch.labels)[0].sum() / self.images
            gradient = self.gradient(loss, create_graph=True)
            along = sum((part * other).sum() for part, other in zip(gradient, vector))
            total = tuple(old + new for old, new in zip(total, self.gradient(along)))
        return total

    def random(self, generator: torch.Generator) -> Vector:
        """A Gaussian vector, drawn on the CPU."""
        return tuple(
            torch.randn(weight.shape, generator=generator).to(weight)
            for weight in self.weights.values()
        )


def fisher_trace(network: Network, probes: int, generator: torch.Generator) -> Tensor:
    """Unbiased estimates of the trace of the Fisher matrix, one a probe.

    F = (1/N) sum_i J_i^T (diag p_i - p_i p_i^T) J_i with the model's own distribution p, and J_i
    the Jacobian of the logits of image i by the weights. With diag p - p p^T = L L^T,
    L = diag(sqrt p) - p sqrt(p)^T, the trace is (1/N) E |sum_i J_i^T L_i r_i|^2 over Rademacher
    vectors r: one backward pass a probe, in the small space of the logits.

    Args:
        network: whose Fisher matrix.
        probes: at least 2.
        generator: on the CPU.

    Returns:
        (probes,), float64, on the CPU.

    Raises:
        ValueError: under two probes have no standard error.
    """
    if probes < 2:
        raise ValueError(f"the trace needs at least 2 probes, got {probes}")
    estimates = torch.zeros(probes, dtype=torch.float64)
    for batch in network.batches():
        logits = network.logits(batch)
        share = logits.detach().softmax(-1)
        root = share.sqrt()
        for probe in range(probes):
            signs = torch.randint(2, logits.shape, generator=generator).to(logits) * 2 - 1
            drawn = root * signs - share * (root * signs).sum(-1, keepdim=True)
            last = probe == probes - 1
            gradient = network.gradient((logits * drawn).sum(), retain_graph=not last)
            estimates[probe] += sum(float(part.double().square().sum()) for part in gradient)
    return estimates / network.images


def largest_eigenvalue(
    product: Callable[[Vector], Vector], start: Vector, iterations: int
) -> float:
    """The largest eigenvalue of a symmetric matrix, by Lanczos with full reorthogonalisation.

    A lower bound that grows with the iterations; the largest one, not the largest in size.

    Args:
        product: the matrix times a vector.
        start: any vector that is not orthogonal to the eigenvector.
        iterations: matrix-vector products, at most.

    Raises:
        ValueError: `iterations` is below 1.

    Source: three-regimes, section 6.4 (10 steps in the authors' code).
    """
    if iterations < 1:
        raise ValueError(f"Lanczos needs at least 1 iteration, got {iterations}")
    shapes = [part.shape for part in start]
    sizes = [part.numel() for part in start]
    vector = _flat(start)
    basis = [vector / vector.norm()]
    diagonal, beside = [], []
    for _ in range(iterations):
        parts = [part.view(shape) for part, shape in zip(basis[-1].split(sizes), shapes)]
        image = _flat(product(tuple(part.to(other) for part, other in zip(parts, start))))
        diagonal.append(float(image @ basis[-1]))
        # Twice: one pass leaves what rounding put back, and copies of eigenvalues appear.
        for _ in range(2):
            image = image - sum((image @ known) * known for known in basis)
        norm = float(image.norm())
        if norm <= 1e-6 * max(abs(value) for value in diagonal) or len(basis) == len(image):
            break
        beside.append(norm)
        basis.append(image / norm)
    beside = beside[: len(diagonal) - 1]
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for place, value in enumerate(beside):
        matrix[place, place + 1] = matrix[place + 1, place] = value
    return float(torch.linalg.eigvalsh(matrix)[-1])


def _flat(vector: Vector) -> Tensor:
    return torch.cat([part.detach().double().flatten() for part in vector])
