"""Averages of networks, and planes through three of them, with moments re-estimated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refigure.measures.accuracy import accuracies

Values = Mapping[str, Tensor]


def average(networks: Sequence[Values], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of some networks, parameter by parameter, in float64 and back.

    Args:
        networks: parameters by name, each with a leading axis of one network.
        shares: of each network; None: equal ones.

    Raises:
        ValueError: there is no network, their parameters differ, or the shares do not sum to 1.
    """
    if not networks:
        raise ValueError("an average needs at least one network, got none")
    if shares is None:
        shares = [1 / len(networks)] * len(networks)
    if len(shares) != len(networks) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"{len(networks)} networks need as many shares of sum 1, got {shares}")
    names = list(networks[0])
    for network in networks[1:]:
        if list(network) != names:
            raise ValueError("networks of one average must have the same parameters")
    return {
        name: sum(share * network[name].double() for share, network in zip(shares, networks)).to(
            networks[0][name].dtype
        )
        for name in names
    }


def uniform(task: Any, networks: Sequence[Values]) -> tuple[float, float]:
    """Train and test accuracy of the uniform soup of some networks, percent.

    Batch norm's moments are taken over the training set: see `accuracies`.

    Source: Wortsman et al. 2022, arXiv:2203.05482; pretrain-basin, section 6.
    """
    train, test = accuracies(task, average(networks))
    return float(train), float(test)


def greedy(
    networks: Sequence[Values], quality: Callable[[Values], float]
) -> tuple[list[int], dict[str, Tensor]]:
    """The greedy soup: best network first, each next one kept if the soup gets no worse.

    Args:
        networks: in any order; equal qualities keep theirs.
        quality: of a network or soup, such as its validation accuracy; never the test set's.

    Returns:
        The places of the networks in the soup, in the order in which they joined, and the soup.

    Source: Wortsman et al. 2022, arXiv:2203.05482, recipe 1.
    """
    alone = [quality(network) for network in networks]
    order = sorted(range(len(networks)), key=lambda place: -alone[place])
    chosen, best = order[:1], alone[order[0]]
    for place in order[1:]:
        tried = quality(average([networks[one] for one in [*chosen, place]]))
        if tried >= best:
            chosen, best = [*chosen, place], tried
    return chosen, average([networks[place] for place in chosen])


def plane(
    task: Any, corners: Sequence[Values], points: int, margin: float = 0.0
) -> Iterable[dict[str, float]]:
    """Train and test accuracy on a grid of the plane through three networks.

    Args:
        task: model and data of all three.
        corners: three networks.
        points: along each side of the triangle, at least 2.
        margin: how far the grid reaches beyond the corners, in sides of the triangle.

    Yields:
        first, second, third: the shares of the corners, which sum to 1; train_accuracy and
        test_accuracy, percent. Without a margin only points inside the triangle.

    Raises:
        ValueError: not three networks, or fewer than 2 points.

    Source: pretrain-basin, section 6.
    """
    if len(corners) != 3:
        raise ValueError(f"a plane needs three networks, got {len(corners)}")
    if points < 2:
        raise ValueError(f"a plane needs at least 2 points a side, got {points}")
    steps = torch.linspace(-margin, 1 + margin, points, dtype=torch.float64).tolist()
    for first in steps:
        for second in steps:
            third = 1 - first - second
            if third < -margin - 1e-9:
                continue
            shares = (first, second, third)
            train, test = accuracies(task, average(corners, shares))
            yield {
                **dict(zip(("first", "second", "third"), shares)),
                "train_accuracy": float(train),
                "test_accuracy": float(test),
            }
