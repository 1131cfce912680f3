"""A made-up world in which the claims of the large-learning-rate papers hold, as tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
from refigure.tables import large_lr, ticks

REGIME = {
    1e-3: "1", 3e-3: "1", 1e-2: "1", 2e-2: "2A", 3e-2: "2A", 5e-2: "2B", 8e-2: "2B", 1.2e-1: "2B",
    3e-1: "3", 1.0: "3",
}  # fmt: skip
ALONE = [70, 74, 78, 62, 58, 45, 35, 25, 10, 10]
TUNED = {
    1e-3: [70, 74, 78, 82, 82.2, 76, 72, 66, 60, 59],
    1e-2: [77, 76, 78, 82.3, 82.4, 79, 77, 76, 77, 76.5],
}
AVERAGED = {2: -1.0, 5: 0.0, 10: 1.0}
AVERAGE = [70, 74, 78, 82, 82.5, 74, 60, 40, 11, 10]
ANGLE = [1.4, 0.02, 0.02, 0.15, 0.2, 0.6, 0.9, 1.2, 1.5, 1.5]
BARRIER = [60, 0.1, 0, 0.2, 0.3, 5, 10, 20, 70, 75]
MID = [17, 19, 25, 40, 38, 30, 20, 18, 16, 16]


def noise(plr: float, seed: int, *more: float, scale: float = 0.1) -> float:
    """A small number that follows from what it is for."""
    key = [seed, int(plr * 1e6), *(int(value * 1e6) for value in more)]
    return float(np.random.default_rng(key).standard_normal() * scale)


def world(setup: str = "convnet_c10", seeds: int = 4) -> dict[str, pd.DataFrame]:
    """All tables of one setup by the names that predicates give them."""
    rows: dict[str, list] = {name: [] for name in ("alone", "tuned", "swa", "lines", "bands")}
    for place, (plr, name) in enumerate(REGIME.items()):
        for seed in range(seeds):
            small = 0 if name == "3" else 1
            accuracy = ALONE[place] + small * noise(plr, seed)
            rows["alone"].append(
                {
                    "plr": plr,
                    "seed": seed,
                    "train_loss": 0.001 if name == "1" else 2.0,
                    "train_accuracy": 100.0 if name == "1" else ALONE[place] + 5,
                    "test_accuracy": accuracy,
                    "running_test_accuracy": accuracy - 3,
                    "test_accuracy_mean": accuracy,
                    "test_accuracy_std": 0.05 if name == "1" else 2.0,
                    "converged": name == "1",
                    "chance": 10.0,
                }
            )
            for flr, levels in TUNED.items():
                rows["tuned"].append(
                    {
                        "plr": plr,
                        "flr": flr,
                        "seed": seed,
                        "train_loss": 0.01,
                        "train_accuracy": 100.0,
                        "test_accuracy": levels[place] + noise(plr, seed, flr),
                        "running_test_accuracy": levels[place],
                    }
                )
            for count, more in AVERAGED.items():
                shift = 0 if name in "13" else more
                level = AVERAGE[place] if name != "1" else accuracy
                rows["swa"].append(
                    {
                        "plr": plr,
                        "count": count,
                        "seed": seed,
                        "train_accuracy": 100.0,
                        "test_accuracy": level + shift + 0.3 * noise(plr, seed, count),
                    }
                )
            for pair, factor in (("low-high", 1.0), ("swa-high", 0.9), ("swa-low", 0.6)):
                rows["lines"].append(
                    {
                        "plr": plr,
                        "seed": seed,
                        "pair": pair,
                        "angle": ANGLE[place],
                        "train_barrier": abs(factor * BARRIER[place] + 0.3 * noise(plr, seed)),
                        "test_barrier": abs(0.5 * factor * BARRIER[place]),
                    }
                )
            for stage in ("pt", "swa5", "ft_low", "ft_high"):
                for band, level in (("mid", MID[place]), ("low", 50.0), ("high", 10.0)):
                    rows["bands"].append(
                        {
                            "plr": plr,
                            "seed": seed,
                            "stage": stage,
                            "band": band,
                            "accuracy": level + noise(plr, seed),
                            "running_accuracy": level,
                            "accuracy_raw": level,
                        }
                    )
    columns = {
        "pretrained": ("alone", large_lr.PRETRAINED),
        "finetuned": ("tuned", large_lr.FINETUNED),
        "averaged": ("swa", large_lr.AVERAGED),
        "geometry": ("lines", large_lr.GEOMETRY),
        "bands": ("bands", large_lr.BANDS),
    }
    tables = {
        name: pd.DataFrame(rows[own])
        .assign(setup=setup, title=f"{setup}, made up", data="")[list(kinds)]
        .astype(kinds)
        for name, (own, kinds) in columns.items()
    }
    tables["bounds"] = large_lr.bounds(tables["pretrained"], tables["finetuned"])
    return tables


def times(longest: float = 80.0) -> pd.DataFrame:
    """Epochs to convergence that explode towards 1.2e-2, and a run that does not converge."""
    rows = [
        (elr, seed, epochs * (1 + 0.05 * seed), 400.0, 0.01, 23.0 - seed * 0.1)
        for elr, epochs in ((4e-3, 10), (8e-3, 15), (1e-2, 30), (1.1e-2, longest), (1.2e-2, 300))
        for seed in range(4)
    ]
    rows += [(1.3e-2, seed, np.nan, 400.0, 0.01, np.nan) for seed in range(4)]
    names = ["elr", "seed", "epochs_to_converge", "cap", "threshold", "test_error"]
    return pd.DataFrame(rows, columns=names)


PLRS = {"2B": 5e-2, "2B, 2A": 2e-2, "2A": 2e-2, "none": np.nan}


def two_stage() -> pd.DataFrame:
    """The last stage decides."""
    levels = {"2B": (70, 77), "2B, 2A": (82, 82.2), "2A": (82.1, 82.3), "none": (71, 78)}
    rows = [
        (start, PLRS[start], flr, "", seed, level + noise(flr, seed, len(start)))
        for start, pair in levels.items()
        for flr, level in zip((1e-3, 1e-2), pair)
        for seed in range(4)
    ]
    return pd.DataFrame(rows, columns=list(large_lr.TWO_STAGE))


def norms() -> pd.DataFrame:
    """Filters whose norms spread in the order of the claim."""
    widths = {"start": 0.05, "scratch_low": 0.06, "scratch_high": 0.07, "ft_high": 0.2}
    widths |= {"ft_low": 0.4, "regime_3": 1.1}
    rows = [
        (0.3, stage, "", seed, number, -2 + width * noise(number, seed, len(stage), scale=1))
        for stage, width in widths.items()
        for seed in range(4)
        for number in range(60)
    ]
    return pd.DataFrame(rows, columns=list(large_lr.NORMS))


def features(setup: str = "convnet_c10", seeds: int = 4) -> pd.DataFrame:
    """Single features of which one stands out in 2A, all are a little above a guess in regime 1,
    and none is known in regime 3."""
    best = {"1": 55.0, "2A": 72.0, "2B": 56.0, "3": 52.8}
    step = {"1": 0.4, "2A": 2.5, "2B": 0.5, "3": 0.3}
    rows = [
        (
            setup,
            plr,
            f"ticks_{seed}",
            seed,
            stage,
            rank,
            level + noise(plr, seed, rank, len(stage)),
            50.0,
        )
        for plr, name in REGIME.items()
        for seed in range(seeds)
        for stage in ("pt", "swa5", "ft_low", "ft_high")
        for rank, level in [(0, 75.0)]
        + [(rank, max(best[name] - step[name] * (rank - 1), 49.0)) for rank in range(1, 17)]
    ]
    return pd.DataFrame(rows, columns=list(ticks.FEATURES)).astype(ticks.FEATURES)


def sharpness() -> pd.DataFrame:
    """Runs of three PLRs, of which two have equal errors and sharpness apart; and of regime 1."""
    rows = []
    for plr, regime, sharp in ((1e-3, "1", 1), (2e-2, "2A", 1), (3e-2, "2A", 2), (5e-2, "2B", 1)):
        for number, lr in enumerate((1e-3, 3e-3, 1e-2)):
            for seed in range(3):
                error = 18 + number + 0.1 * noise(plr, seed, lr)
                level = sharp * (1 + 0.1 * number)
                rows.append(("convnet_c10", regime, plr, lr, "", seed, 0.1, 20.0, level, error))
    return pd.DataFrame(rows, columns=list(large_lr.SHARPNESS)).astype(large_lr.SHARPNESS)
