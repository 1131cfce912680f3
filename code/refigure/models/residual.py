"""The plan of blocks that residual networks of several kinds share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Block:
    """A residual block of two 3x3 convolutions; `reshapes` where its shortcut is a convolution."""

    name: str
    inputs: int
    outputs: int
    stride: int

    @property
    def reshapes(self) -> bool:
        return self.stride != 1 or self.inputs != self.outputs


def blocks(k: int, stages: int, depth: int, first: int = 1) -> Iterator[Block]:
    """The blocks of a network in order; stages have k, 2k, 4k, ... channels.

    Args:
        k: channels of the first stage, and of what enters it.
        stages: all but the first begin with a stride of 2.
        depth: blocks of each stage.
        first: the number in the name of a stage's first block.
    """
    inputs = k
    for stage in range(1, stages + 1):
        outputs = k * 2 ** (stage - 1)
        for number in range(depth):
            stride = 2 if stage > 1 and number == 0 else 1
            yield Block(f"stage{stage}.block{first + number}", inputs, outputs, stride)
            inputs = outputs
