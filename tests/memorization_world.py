"""Made-up networks whose objects and views are hard by a known amount."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from refigure.tables.histories import Recorded

OBJECTS, VIEWS, NETWORKS = 240, 4, 10
STEPS = np.linspace(0.02, 0.98, 25)
RUNS = pd.DataFrame({"run": []})
LABELS = torch.arange(OBJECTS) % 5
DATA = SimpleNamespace(train_labels=LABELS, test_labels=LABELS, names=tuple("abcde"))
NONE = Recorded(pd.DataFrame([]), [], [])
LIKE_THE_PAPER = {  # standard deviations of the logit between objects, and between views of one
    "simclr": (0.5, 6.0),
    "supervised": (5.0, 2.0),
    "random_labels": (0.6, 0.0),
    "random_labels_augmented": (1.0, 0.3),
}


def recorded(
    spreads: dict,
    networks: int = NETWORKS,
    seed: int = 0,
    salt: int = 0,
    steps=STEPS,
    same: bool = False,
) -> Recorded:
    """Bits of networks whose chances differ between objects and views by that much.

    Args:
        same: the objects and views of all methods are equally hard, one by one.
    """
    rows, values = [], []
    for number, (method, (objects, views)) in enumerate(spreads.items()):
        generator = np.random.default_rng([seed, salt, 0 if same else number])
        # Second views of pairs are of the same objects.
        shared = np.random.default_rng([seed, 0 if same else number])
        count = VIEWS if views else 1
        hard = objects * shared.standard_normal((1, 1, OBJECTS))
        hard = hard + views * generator.standard_normal((1, count, OBJECTS))
        level = np.log(steps / (1 - steps))[:, None, None]
        # Averaging over a logit that varies pulls means to one half; steeper levels undo it.
        level = level * np.sqrt(1 + 0.35 * (objects**2 + views**2))
        chances = 1 / (1 + np.exp(-(level + hard)))
        generator = np.random.default_rng([seed, salt, number, 1])
        for network in range(networks):
            rows.append({"experiment": method, "seed": network, "run": f"{method}-{network}"})
            right = generator.random(chances.shape) < chances
            values.append(np.packbits(right, axis=-1))
    return Recorded(pd.DataFrame(rows), values, [np.arange(len(steps), dtype=float)] * len(rows))
