"""Stateless randomness: every draw has its own generator, derived from what it is for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from refigure.graph.spec import digest

if TYPE_CHECKING:
    from refigure.graph.spec import Spec


def stream_of_spec(spec: Spec) -> str:
    """What a network's initialisation, order, augmentation and noise are drawn from.

    A digest of its data, its model and its seed, so that networks of two widths or two data sets
    draw nothing in common, and a pool grows without changing its members. The optimiser, the
    schedule, the length and all else stay out of it on purpose: the learning rates of a grid begin
    at the same weights and take the same batches, and differ in nothing but the rate.

    Source: power-laws, section 0, and memory-split, section 4, whose standard errors take the
    pools of different widths for independent.
    """
    identity = spec.identity
    return digest([identity["data"], identity["model"], spec.seed])


def generator(
    seed: int | str, purpose: str, *counters: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one purpose at one moment.

    Nothing is carried from draw to draw, so a state needs no generator, training can go on from
    the middle of an epoch, and a network draws the same numbers alone and beside others.

    Args:
        seed: a stream: of a network (`stream_of_spec`), of a started run (`stream_of`), or the
            number that several runs share.
        purpose: "initialisation", "order", "augmentation", ...
        counters: the epoch, the step.
        device: where it draws; the same seed gives other numbers on another kind of device.
    """
    text = f"{seed}/{purpose}/{'/'.join(map(str, counters))}"
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return torch.Generator(device).manual_seed(value >> 1)
