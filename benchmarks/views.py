"""SimCLR's augmentation of whole batches against torchvision's, one picture at a time.

Both sides make two views of the same pictures on one core; the ratio of their times is printed.

    python benchmarks/views.py [--pictures N] [--size PIXELS] [--repeats N]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from refigure.data.images import views
from refigure.graph.catalogue import settings
from torchvision import transforms


def one_by_one(pictures: torch.Tensor) -> torch.Tensor:
    """Two views a picture by torchvision, as the authors' loader makes them."""
    size = pictures.shape[-1]
    jitter = transforms.ColorJitter(0.8, 0.8, 0.8, 0.2)
    made = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([jitter], p=0.8),
            transforms.RandomGrayscale(0.2),
            transforms.GaussianBlur(3, (0.1, 2.0)),
            transforms.ToTensor(),
        ]
    )
    return torch.stack([made(picture) for picture in pictures for _ in range(2)])


def at_once(pictures: torch.Tensor, epoch: int) -> torch.Tensor:
    """Two views a picture by ours, all in one batch."""
    made = views.build(settings("augment", {"name": "simclr"}, "benchmark"), None)
    both = torch.cat([pictures, pictures])
    generator = torch.Generator().manual_seed(epoch)
    draws = made.draw(generator, len(both), pictures.shape[-1])
    return made.apply(both[None], draws[None], torch.zeros(3))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = torch.rand(options.pictures, 3, options.size, options.size)
    ratios = []
    for repeat in range(options.repeats):
        began = time.perf_counter()
        one_by_one(pictures)
        between = time.perf_counter()
        at_once(pictures, repeat)
        ended = time.perf_counter()
        ratios.append((between - began) / (ended - between))
        print(
            f"{options.pictures} pictures of {options.size} pixels, two views each:"
            f" one by one {between - began:.3f} s, at once {ended - between:.3f} s,"
            f" ratio {ratios[-1]:.1f}",
            flush=True,
        )
    print(f"median ratio {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
