"""Training with states against training without, in one run: at most 2 % slower.

One pack of ConvNets on the embedded digits, in one process, by turns with a state at the interval
that the rule uses and with none, the order swapped each time; CPU seconds of the whole job, so that
other work on the machine does not count. Prints the median of the ratios, and its spread.

    python benchmarks/overhead.py [--repeats 9] [--every 10] [--epochs 60]

`--every` is the interval in seconds: the default, 10, is six times shorter than that of `refigure
train`, so that a job of some seconds writes states at all. What one state costs is printed too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from refigure import stages
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.training.jobs import states
from refigure.training.jobs.job import Job

CONFIG = "{scale: cost, device: cpu, papers: [], sources: {digits: {kind: digits}}}"
SCALE = "data: {digits: {source: digits, train: 896, test: 901, standardise: global}}"
EXPERIMENTS = """
experiments:
  cost:
    base: {data: digits, model: {name: convnet, k: 8}, optimiser: {name: sphere_sgd},
           head: {seed: 228, norm: 10}, batch: 128, epochs: EPOCHS}
    grid: {elr: [1.0e-3], seed: [0]}
    points: {end: {epoch: last}, average: {average: {count: 20, to: last}}, best: {best: test_loss}}
    record: {train: {every: {epochs: 1}}, test: {every: {epochs: 1}}}
"""


def main() -> None:
    """Print the median ratio of CPU times, and what a state costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between states")
    parser.add_argument("--epochs", type=int, default=60, help="length of a job")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        graph = project(root, options.epochs)
        [pack] = graph.packs.values()
        costs: list[float] = []
        write = states.Clock.save

        def timed(*arguments) -> None:
            began = time.process_time()
            write(*arguments)
            costs.append(time.process_time() - began)

        states.Clock.save = timed

        def job(interval_s: float) -> float:
            made = Job(
                pack,
                {},
                graph.paths.data(pack.data),
                root / "out",
                root / "scratch",
                {},
                [],
                torch.device("cpu"),
                interval_s,
            )
            began = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                made.run()
            return time.process_time() - began

        job(options.every)  # warms up
        ratios, seconds, written = [], [], []
        for repeat in range(options.repeats):
            before = len(costs)
            order = [options.every, 1e9] if repeat % 2 else [1e9, options.every]
            took = {interval_s: job(interval_s) for interval_s in order}
            ratios.append(took[options.every] / took[1e9])
            seconds.append(took[1e9])
            written.append(len(costs) - before)
        if not costs:
            sys.exit(f"no job took {options.every:g} s, so none wrote a state: a smaller --every")
        cost = statistics.median(costs)
        length = statistics.median(seconds)
    low, high = min(ratios), max(ratios)
    print(
        f"training with states takes {statistics.median(ratios):.3f} times as long as without"
        f" ({low:.3f} to {high:.3f}, {options.repeats} repeats; {length:.1f} CPU s,"
        f" {statistics.median(written):.0f} states a job)"
    )
    print(
        f"a state costs {1000 * cost:.1f} ms of CPU: {100 * cost / options.every:.3f} % at one each"
        f" {options.every:g} s, {100 * cost / 60:.4f} % at one a minute, as `refigure train` does"
    )


def project(root: Path, epochs: int) -> Graph:
    """The configuration above in a folder, with its data prepared."""
    for name, text in (
        ("config.yaml", CONFIG),
        ("scales/cost.yaml", SCALE),
        ("experiments/cost.yaml", EXPERIMENTS.replace("EPOCHS", str(epochs))),
    ):
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    graph = Graph(Config(root), "cost")
    for data in graph.recipes:
        stages.prepare(graph, data)
    return graph


if __name__ == "__main__":
    sys.exit(main())
