"""A made-up world of pools: logits whose noise falls with the size of a network, and its tables."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from refigure.measures import pool_curves
from refigure.tables import pools

WIDTHS = {6: -3, 9: -2, 13: -1, 19: 0, 27: 1, 38: 2}
"""Width -> log2 of its size over the common one."""
MODEL = "mlp"


def logits(j: int, members: int, objects: int = 400, classes: int = 5, seed: int = 0):
    """Logits and labels: a fixed error that all members share, and one of each member.

    Both fall with the size; a member's own falls faster than the shared one, so that wide
    networks gain little from each other and thin ones much.
    """
    generator = np.random.default_rng((seed, j + 10))
    shared = np.random.default_rng((seed, 99))
    labels = shared.integers(0, classes, objects)
    truth = 2.6 * np.eye(classes)[labels] + shared.normal(0, 1.1, (objects, classes))
    own = 0.6 + 2.2 * 2.0 ** (-0.55 * (j + 3))
    thin = generator.normal(0, 0.9 * 2.0 ** (-(j + 3)), (objects, classes))
    noise = generator.normal(0, own, (members, objects, classes))
    return (1.6 * (truth + thin) + noise).astype(np.float32), labels


def sizes(setups: tuple[str, ...]) -> pd.DataFrame:
    """A table `pool_sizes`."""
    rows = [
        {
            "setup": setup,
            "k": k,
            "j": float(j),
            "parameters": int(1000 * 2.0**j),
            "relative": 2.0**j,
            "macs": int(900 * 2.0**j),
            "activations": int(100 * 2.0 ** (j / 2)),
            "members": 32,
            "model": MODEL,
            "lr": 0.05,
            "wd": 3e-4,
            "dropout": 0.0,
            "epochs": 60,
            "standard": j == 0,
        }
        for setup in setups
        for k, j in WIDTHS.items()
    ]
    return pd.DataFrame(rows).astype({k: v for k, v in pools.SIZES.items() if v is not str})


@cache
def rows(setup: str, members: int = 32) -> pd.DataFrame:
    """What the probe says of a setup."""
    seed = sum(map(ord, setup))
    plan = pool_curves.Plan(orders=6, most=8)
    found = []
    for k, j in WIDTHS.items():
        values, labels = logits(j, members, seed=seed)
        for row in pool_curves.of_logits(lambda values=values: [values], labels, plan):
            found.append({"setup": setup, "k": k, **row})
    return pd.DataFrame(found)


def tables(setups: tuple[str, ...] = ("digits",)) -> dict[str, pd.DataFrame]:
    """Every kind of table of some setups."""
    measured = pd.concat([rows(setup) for setup in setups])
    found = {"sizes": sizes(setups)}
    found["ensembles"] = pools.formed(measured, found["sizes"])
    found["temperatures"] = pools.temperatures(measured, found["sizes"])
    found["fits"] = pools.fits(found["ensembles"], found["temperatures"])
    for kind in ("splits", "predictions", "predicted_splits"):
        found[kind] = getattr(pools, kind)(found["ensembles"])
    return found
