"""Training with all measures of every epoch, on one CPU core: a pack against the usual way.

The same networks, images, batches and epochs, one after the other in one call:

- ours: one process, images as one tensor, measures taken during training (train loss and error,
  gradient norm, test error with running and with re-estimated batch-norm moments, norms);
- the usual way: one process a network, `DataLoader` over PIL images with per-image transforms, a
  checkpoint every epoch, then one pass over the checkpoints for each measure.

    python benchmarks/training_cpu.py [--images ../shared/data/cifar10-jpg.tar.xz] [--pool 8]
        [--train 2000] [--test 1000]

Without CIFAR images it makes random ones of the same size and says so; times do not depend on what
the images show. Prints the median ratio of wall times over the repeats.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

CLASSES = 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def load_images(path: Path, train: int, test: int) -> dict[str, np.ndarray]:
    """CIFAR-10's first images after a permutation, uint8 (images, 32, 32, 3); random if absent."""
    if path.exists():
        from refigure.data.images.recipes import prepare
        from refigure.data.sources import digest_of, read

        raw = read({"kind": "images", "path": str(path), "sha256": digest_of(path)}, path.parent)
        kept = prepare(raw, {"source": "cifar10", "train": train, "test": test})
        return {
            "train_images": kept.train_images.transpose(0, 2, 3, 1),
            "train_labels": kept.train_labels,
            "test_images": kept.test_images.transpose(0, 2, 3, 1),
            "test_labels": kept.test_labels,
        }
    print(f"{path} is not there: random images of CIFAR's size instead")
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (train, 32, 32, 3), dtype=np.uint8),
        "train_labels": random.integers(0, CLASSES, train),
        "test_images": random.integers(0, 256, (test, 32, 32, 3), dtype=np.uint8),
        "test_labels": random.integers(0, CLASSES, test),
    }


# ---------------------------------------------------------------------------- the usual way


class UsualConvNet(nn.Sequential):
    """The same scale-invariant ConvNet as modules."""

    def __init__(self, k: int):
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            return [conv, nn.BatchNorm2d(outputs, affine=False), nn.ReLU()]

        super().__init__(
            *block(3, k),
            *block(k, 2 * k),
            nn.MaxPool2d(2),
            *block(2 * k, 4 * k),
            nn.MaxPool2d(2),
            *block(4 * k, 8 * k),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * k, CLASSES),
        )


def usual_worker(options: argparse.Namespace) -> None:
    """One network: train with a checkpoint an epoch, then a pass over them for each measure."""
    import torchvision.transforms as transforms
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(1)
    arrays = np.load(options.arrays)
    transform = transforms.Compose(
        [
            transforms.Resize(options.pool),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Images(Dataset):
        def __init__(self, which: str):
            self.images, self.labels = arrays[f"{which}_images"], arrays[f"{which}_labels"]

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int):
            return transform(Image.fromarray(self.images[index])), int(self.labels[index])

    torch.manual_seed(options.seed)
    model = UsualConvNet(options.k)
    head = model[-1]
    with torch.no_grad():
        head.weight.mul_(10 / head.weight.norm())
    weights = [module.weight for module in model if isinstance(module, nn.Conv2d)]
    radius = torch.cat([weight.detach().flatten() for weight in weights]).norm()
    optimiser = torch.optim.SGD(weights, lr=options.elr * float(radius) ** 2)
    loss_of = nn.CrossEntropyLoss()
    train = DataLoader(Images("train"), batch_size=128, shuffle=True)
    stored = DataLoader(Images("train"), batch_size=128)
    test = DataLoader(Images("test"), batch_size=128)
    folder = Path(options.checkpoints)

    def save(epoch: int) -> None:
        torch.save(model.state_dict(), folder / f"{options.seed}-{options.elr}-{epoch}.pt")

    save(0)
    for epoch in range(1, options.epochs + 1):
        model.train()
        for images, labels in train:
            optimiser.zero_grad()
            loss_of(model(images), labels).backward()
            optimiser.step()
            with torch.no_grad():
                norm = sum(float((weight**2).sum()) for weight in weights) ** 0.5
                for weight in weights:
                    weight.mul_(radius / norm)
        save(epoch)

    def restore(epoch: int) -> None:
        model.load_state_dict(
            torch.load(folder / f"{options.seed}-{options.elr}-{epoch}.pt", weights_only=True)
        )

    def scores(loader: DataLoader) -> tuple[float, float]:
        losses, errors = 0.0, 0
        with torch.no_grad():
            for images, labels in loader:
                logits = model(images)
                losses += float(loss_of(logits, labels)) * len(labels)
                errors += int((logits.argmax(1) != labels).sum())
        return losses, errors

    epochs = range(options.epochs + 1)
    for epoch in epochs:  # train loss and error, in train mode
        restore(epoch)
        model.train()
        scores(stored)
    for epoch in epochs:  # test error, in eval mode
        restore(epoch)
        model.eval()
        scores(test)
    for epoch in epochs:  # test error with batch-norm moments re-estimated
        restore(epoch)
        for module in model:
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        model.train()
        scores(stored)
        model.eval()
        scores(test)
    for epoch in epochs:  # mean norm of the batch gradient
        restore(epoch)
        model.train()
        norms = []
        for images, labels in stored:
            model.zero_grad()
            loss_of(model(images), labels).backward()
            norms.append(sum(float((weight.grad**2).sum()) for weight in weights) ** 0.5)
    for epoch in epochs:  # norms and angle to the initial weights
        restore(0)
        start = torch.cat([weight.detach().flatten() for weight in weights])
        restore(epoch)
        now = torch.cat([weight.detach().flatten() for weight in weights])
        torch.cosine_similarity(start, now, dim=0)


def usual_seconds(options: argparse.Namespace, arrays: Path) -> float:
    """Wall time of one process a network, one after another."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for elr in options.elrs:
            subprocess.run(
                [
                    sys.executable,
                    __file__,
                    *("--worker", "--arrays", str(arrays), "--checkpoints", folder),
                    *("--elr", str(elr), "--epochs", str(options.epochs)),
                    *("--k", str(options.k), "--pool", str(options.pool)),
                ],
                check=True,
            )
    return time.perf_counter() - began


# ---------------------------------------------------------------------------- ours


def our_seconds(options: argparse.Namespace, arrays: Path) -> float:
    """Wall time of one process that trains the same networks as a pack, start included."""
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            __file__,
            *("--pack", "--arrays", str(arrays), "--epochs", str(options.epochs)),
            *("--k", str(options.k), "--pool", str(options.pool)),
            *("--elrs", *map(str, options.elrs)),
        ],
        check=True,
    )
    return time.perf_counter() - began


def our_worker(options: argparse.Namespace) -> None:
    """The pack, through the job that Snakemake's rule calls, files written."""
    from refigure.data.images import images
    from refigure.data.images.recipes import prepare
    from refigure.data.sources import Raw
    from refigure.graph.catalogue import settings
    from refigure.graph.experiments import Run, Wanted
    from refigure.graph.packs import Pack
    from refigure.graph.spec import Spec, canonical
    from refigure.training.jobs.devices import device_of
    from refigure.training.jobs.job import Job

    arrays = np.load(options.arrays)
    raw = Raw(
        *(
            arrays["train_images"].transpose(0, 3, 1, 2),
            arrays["train_labels"].astype(np.int64),
            arrays["test_images"].transpose(0, 3, 1, 2),
            arrays["test_labels"].astype(np.int64),
            [str(label) for label in range(CLASSES)],
        )
    )
    every = {"epochs": 1}
    recorders = [{"name": "train"}, {"name": "test", "recomputed": True}, {"name": "geometry"}]
    records = [settings("record", keys, "benchmark") | {"every": every} for keys in recorders]
    wanted = Wanted(records=frozenset(canonical(record) for record in records))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = {"name": "images", "source": "benchmark", "pool": options.pool}
        recipe["standardise"] = "channel"
        images.save(prepare(raw, recipe), folder / "data.safetensors", recipe)
        runs = []
        for elr in options.elrs:
            written = {
                "data": "benchmark",
                "model": {"name": "convnet", "k": options.k},
                "optimiser": {"name": "sphere_sgd", "elr": elr},
                "head": {"seed": 228, "norm": 10},
                "epochs": options.epochs,
                "seed": 0,
            }
            runs.append(Run(Spec.of(written, "benchmark"), "benchmark", {"elr": elr}))
        device = device_of("cpu", folder)
        pack = Pack("benchmark", tuple(runs), wanted)
        data, scratch = folder / "data.safetensors", folder / "scratch"
        Job(pack, {"benchmark": "now"}, data, folder / "pack", scratch, {}, [], device).run()


def main() -> None:
    """Run both sides and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[2] / "shared/data/cifar10-jpg.tar.xz"
    parser.add_argument("--images", type=Path, default=shared)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--elrs", type=float, nargs="+", default=[1e-4, 1e-3, 1e-2, 1e-1])
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--pool", type=int, default=8, help="size of the images, pixels")
    for part, count in (("train", 2000), ("test", 1000)):
        parser.add_argument(f"--{part}", type=int, default=count, help="images")
    parser.add_argument("--repeats", type=int, default=3)
    for name in ("worker", "pack"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    for name in ("arrays", "checkpoints"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--elr", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return usual_worker(options)
    if options.pack:
        return our_worker(options)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "images.npz"
        np.savez(arrays, **load_images(options.images, options.train, options.test))
        for repeat in range(options.repeats):
            ours, usual = our_seconds(options, arrays), usual_seconds(options, arrays)
            ratios.append(usual / ours)
            print(
                f"repeat {repeat + 1}: pack {ours:.1f} s, usual way {usual:.1f} s,"
                f" ratio {ratios[-1]:.1f}",
                flush=True,
            )
    print(
        f"{len(options.elrs)} ConvNets k={options.k}, {options.train} images of"
        f" {options.pool}x{options.pool}, {options.epochs} epochs:"
        f" the pack is {statistics.median(ratios):.1f} times faster (median of {len(ratios)})"
    )
    return None


if __name__ == "__main__":
    main()
