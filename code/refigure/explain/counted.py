"""What is counted of a network; without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Counted:
    """Of one network and one object.

    Args:
        forward: operations of a forward pass: multiplications and additions, both counted.
        kernels: launched by one, whatever the batch.
        parameters: numbers of the network and its moments.
        stacking: how its networks stack.
    """

    forward: float
    kernels: int
    parameters: int
    stacking: str
