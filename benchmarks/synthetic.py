"""Training the networks of the synthetic task, on one CPU core: side by side against one by one.

The same networks, points, batches and steps in one call:

- ours: the training loop with all networks of a pack as one stack;
- the plain loop: a module and an optimiser of torch a network, batches by slicing a tensor in
  memory, one backward pass and one projection to the sphere a step; no data loader, no measures.

    python benchmarks/synthetic.py [--networks 115] [--epochs 8] [--repeats 3]

Prints time a network and step of both and the median of their ratio, and how much the gradients of
the two differ at most, as a share of the largest.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from refigure.data.ticks import Ticks, prepare
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.spec import Spec
from refigure.models import tick_mlp
from refigure.models.layers import Statistics
from refigure.tasks import binary
from refigure.training.initial import initial_values
from refigure.training.loop import Training
from refigure.training.points import Points
from refigure.training.stack import Stack
from torch import Tensor, nn

RATES = [10 ** (-4.5 + 0.25 * number) for number in range(9)] + [
    10 ** (-2.25 + 0.125 * number) for number in range(8)
]


def data() -> Ticks:
    """The first data set of the paper's size."""
    recipe = {**CATALOGUE["recipe"]["ticks"].defaults, "seed": 1}
    arrays = prepare(None, recipe)
    return Ticks(**{name: torch.from_numpy(array) for name, array in arrays.items()})


def specs_of(networks: int, epochs: int) -> list[Spec]:
    """Networks of several learning rates and seeds: the convergent and the chaotic regime."""
    common = {
        "data": "ticks",
        "model": "tick_mlp",
        "task": "binary",
        "init": "uniform_sphere",
        "head": {"seed": 1, "norm": 10},
        "batch": 16,
        "drop_last": True,
        "epochs": epochs,
    }
    numbers = [divmod(number, len(RATES)) for number in range(networks)]
    return [
        Spec.of(
            common
            | {
                "seed": seed,
                "optimiser": {"name": "sphere_sgd", "elr": RATES[place], "radius": 1.0},
            },
            "benchmark",
        )
        for seed, place in numbers
    ]


def ours(points: Ticks, specs: list[Spec]) -> Training:
    """The stack of these networks, before its first step."""
    model = tick_mlp.build(points.inputs)
    values = [initial_values(model, spec) for spec in specs]
    stack = Stack(model, values, frozenset({"head"}), torch.device("cpu"))
    task = binary.build(model, points, specs, [str(spec.seed) for spec in specs])
    return Training(task, specs, stack, Statistics.fresh({}, len(specs)), Points([]), [])


class Plain(nn.Sequential):
    """One network as modules of torch."""

    def __init__(self, values: dict[str, Tensor]):
        def layer() -> list[nn.Module]:
            norm = nn.LayerNorm(32, eps=1e-7, elementwise_affine=False)
            return [nn.Linear(32, 32, bias=False), norm, nn.ReLU()]

        super().__init__(*layer(), *layer(), nn.Linear(32, 1, bias=False))
        with torch.no_grad():
            self[0].weight.copy_(values["layer1.weight"].T)
            self[3].weight.copy_(values["layer2.weight"].T)
            self[6].weight.copy_(values["linear.weight"])
        self[6].weight.requires_grad_(False)
        self.trained = [self[0].weight, self[3].weight]


def train_plain(net: Plain, spec: Spec, points: Ticks, orders: list[Tensor]) -> None:
    """The plain loop of one network."""
    optimiser = torch.optim.SGD(net.trained, lr=spec.optimiser["elr"])
    loss_of = nn.BCEWithLogitsLoss()
    labels = points.train_labels.float()
    for order in orders:
        for batch in order.split(spec.batch):
            loss = loss_of(net(points.train_points[batch])[:, 0], labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                norm = sum(weight.square().sum() for weight in net.trained).sqrt()
                for weight in net.trained:
                    weight /= norm


def gradient_difference(training: Training, points: Ticks) -> float:
    """The largest difference of a gradient's entry, as a share of that network's largest entry."""
    batch = training.task.batch(0, 0)
    losses = training.task.losses(training.stack.parameters, batch, training.statistics)
    mine = training.stack.gradient(losses)
    worst = 0.0
    for place in range(training.stack.networks):
        net = Plain({name: part[place] for name, part in training.stack.parameters.items()})
        out = net(batch.points[place])[:, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(out, batch.labels[place].float())
        loss.backward()
        theirs = torch.cat([weight.grad.T.flatten() for weight in net.trained])
        worst = max(worst, float((mine[place] - theirs).abs().max() / theirs.abs().max()))
    return worst


def main() -> None:
    """Run both and print the ratio."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--networks", type=int, default=115)
    options.add_argument("--epochs", type=int, default=8)
    options.add_argument("--repeats", type=int, default=3)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    points = data()
    specs = specs_of(chosen.networks, chosen.epochs)
    ratios = []
    for _ in range(chosen.repeats):
        training = ours(points, specs)
        difference = gradient_difference(training, points)
        if difference > 1e-5:
            raise SystemExit(f"gradients differ by {difference:.1e} of the largest, above 1e-5")
        steps = training.epochs * training.steps_per_epoch
        began = time.process_time()
        training.run()
        side_by_side = (time.process_time() - began) / steps / chosen.networks
        few = specs[:: max(chosen.networks // 4, 1)]  # one by one takes the same time each
        orders = [torch.randperm(len(points.train_labels)) for _ in range(chosen.epochs)]
        began = time.process_time()
        for spec in few:
            train_plain(Plain(initial_values(training.task.model, spec)), spec, points, orders)
        one_by_one = (time.process_time() - began) / steps / len(few)
        ratios.append(one_by_one / side_by_side)
        print(
            f"a network and step: {1e6 * side_by_side:.1f} us side by side ({chosen.networks}), "
            f"{1e6 * one_by_one:.0f} us one by one: {ratios[-1]:.1f} times; gradients differ by "
            f"{difference:.1e} of the largest at most",
            flush=True,
        )
    print(f"{statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
