"""How many networks fit the memory of a device side by side."""

from __future__ import annotations

import gc
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run, Wanted
from refigure.models.layers import Statistics
from refigure.training.initial import initial_values
from refigure.training.loop import build_optimiser
from refigure.training.networks import build_model, frozen_groups
from refigure.training.stack import Stack

SHARE = 0.9  # of the memory that is free: what a library holds for itself is not seen
FLATS = 6  # weights, gradient, its parts, the start, a copy before each step, and a temporary one
OPTIMISER = 2  # its state, and a copy before each step
BACKWARD = 1.25  # gradients of some activations live beside what the forward pass has kept
REFUSALS = ("ALLOC_FAILED", "can't allocate memory")
"""What libraries say in a RuntimeError that is no `OutOfMemoryError`: cuDNN, cuBLAS, a CPU."""


def free_bytes(device: torch.device) -> int | None:
    """What stacks may take of a device's memory now; None on a CPU, which has no such limit."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(SHARE * (free + held))


def bytes_of_one(run: Run, data: Any, wanted: Wanted, device: torch.device) -> int:
    """An estimate of what one more network takes while a stack trains, bytes.

    What autograd keeps of a batch is counted in one forward pass of one network; everything of the
    size of its weights is counted by how often the loop holds it, points included. An estimate: one
    that is too low costs an attempt, one that is too high a few more stacks.

    Args:
        run: one of the stack.
        data: prepared, on the device.
        wanted: what the networks leave behind.
    """
    model = build_model(run.spec, data)
    values = initial_values(model, run.spec)
    stack = Stack(model, [values], frozen_groups(run.spec), device)
    statistics = Statistics.fresh(model.normalised, 1, device).in_mode("train")
    task = import_entry("task", run.spec.task["name"]).build(model, data, [run.spec], ["estimate"])
    known = {_place(value) for value in (*stack.parameters.values(), *_tensors(data))}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[_place(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = task.losses(stack.parameters, task.batch(0, 0), statistics)
    activations = sum(size for place, size in kept.items() if place not in known)
    del losses
    flat = stack.flat.nbytes
    state = sum(value.nbytes for value in build_optimiser([run.spec], stack).state.values())
    points = len(wanted.points) * flat + len(wanted.states) * state
    return int(BACKWARD * activations + FLATS * flat + OPTIMISER * state + points)


def split(runs: Sequence[Run], most: int) -> list[list[Run]]:
    """Runs in order, in as few stacks of at most `most` as there need be, of equal size."""
    size = math.ceil(len(runs) / math.ceil(len(runs) / max(1, most)))
    return [list(runs[first : first + size]) for first in range(0, len(runs), size)]


def is_refusal(error: RuntimeError) -> bool:
    """Whether an error says that memory is short."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in REFUSALS
    )


def release(device: torch.device) -> None:
    """Give back the memory of what nobody holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(data: Any) -> list[Tensor]:
    return [value for value in vars(data).values() if isinstance(value, Tensor)]
