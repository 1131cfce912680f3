"""One step of contrastive training against the forward and backward passes of its images alone.

A step draws and makes the two views of each image, embeds them, compares all with all and takes the
gradient. Beside it stand the same forward pass of the same 2B views and the backward pass of a
plain sum. Both in one process on one thread, by processor time, turn by turn.

    python benchmarks/contrastive.py [--batch N] [--size PIXELS] [--k WIDTH] [--repeats N]
"""

from __future__ import annotations

import argparse
import statistics
import time
from types import SimpleNamespace

import torch
from refigure.data.images.images import Images
from refigure.graph.catalogue import settings
from refigure.models import cifar_resnet
from refigure.models.layers import Statistics
from refigure.streams import generator
from refigure.tasks import contrastive
from refigure.training.stack import Stack


def made(batch: int, size: int, k: int) -> tuple[contrastive.Contrastive, Stack, Statistics]:
    """The task of one ResNet-18 on made-up images, its parameters and moments."""
    images = torch.rand(batch, 3, size, size, generator=generator(0, "benchmark"))
    labels = torch.arange(batch) % 10
    corrupted = torch.zeros(batch, dtype=torch.bool)
    black, std = torch.zeros(3), torch.ones(3)
    data = Images(images, labels, images, labels, corrupted, 10, black, std)
    model = cifar_resnet.build(3, size, 10, k=k, outputs=128)
    spec = SimpleNamespace(
        task=settings("task", "contrastive", "benchmark"),
        augment=settings("augment", "simclr", "benchmark"),
        batch=batch,
        drop_last=True,
    )
    values = model.initial(generator(0, "initialisation"), generator(0, "head"))
    stack = Stack(model, [values], frozenset(), torch.device("cpu"))
    task = contrastive.build(model, data, [spec], ["benchmark"])
    return task, stack, Statistics.fresh(model.normalised, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task, stack, statistics_of = made(options.batch, options.size, options.k)
    ratios = []
    for repeat in range(options.repeats + 1):
        began = time.process_time()
        batch = task.batch(repeat, 0)
        stack.gradient(task.losses(stack.parameters, batch, statistics_of.in_mode("train")))
        between = time.process_time()
        outputs = task.model.forward(stack.parameters, batch.images, statistics_of.in_mode("train"))
        stack.gradient(outputs.sum((1, 2)))
        ended = time.process_time()
        if repeat == 0:  # the first turn also builds what later ones find
            continue
        ratios.append((between - began) / (ended - between))
        print(
            f"{options.batch} images of {options.size} pixels, ResNet-18 of width {options.k}:"
            f" step {between - began:.3f} s, passes {ended - between:.3f} s,"
            f" ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
