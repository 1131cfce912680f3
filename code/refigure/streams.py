"""Stateless randomness: every draw has its own generator, derived from what it is for."""

from __future__ import annotations

import hashlib

import torch


def generator(
    seed: int | str, purpose: str, *counters: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one purpose at one moment.

    Nothing is carried from draw to draw, so a state needs no generator, training can go on from
    the middle of an epoch, and a network draws the same numbers alone and beside others.

    Args:
        seed: of the run, or of what several runs share; `stream_of` for order and augmentation.
        purpose: "initialisation", "order", "augmentation", ...
        counters: the epoch, the step.
        device: where it draws; the same seed gives other numbers on another kind of device.
    """
    text = f"{seed}/{purpose}/{'/'.join(map(str, counters))}"
    value = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    return torch.Generator(device).manual_seed(value >> 1)
