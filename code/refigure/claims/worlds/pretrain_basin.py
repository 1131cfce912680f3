"""Worlds of pretrain-basin: one in which every claim holds, and ones in which a claim does not.

Levels are round numbers near those of the demo; `spread` is the noise of an ensemble's accuracy, in
percentage points, beside a part of standard deviation 1 that a whole draw shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from refigure.tables import transfer

CELLS = [(0.25, 1.0), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (8.0, 1.0), (1.0, 0.5)]
STARTS = [(0, 0), (1, 0)]
ALL = ("ensembles", "soups", "lines", "barriers", "similarities", "shifts", "planes")
QUALITY = {0.25: 74.0, 1.0: 78.0, 2.0: 80.0, 4.0: 79.0, 8.0: 70.0}
DEPTH = {0.25: 0.0, 1.0: 0.2, 2.0: 0.4, 4.0: 3.0, 8.0: 15.0}


def world(
    noise: np.random.Generator,
    draws: int = 4,
    pairs: Sequence[tuple[str, str]] = (("transfer_target", "own"),),
    spread: float = 0.3,
    only: Sequence[str] = ALL,
) -> dict[str, pd.DataFrame]:
    """A world in which all claims hold but C9, which needs two pairs.

    Args:
        noise: of the world.
        draws: of source and target.
        pairs: of a target and a family of checkpoints.
        spread: of an ensemble's accuracy, percentage points.
        only: the tables that are made, of `ALL`: others would take most of the time.

    Returns:
        The tables by argument.
    """
    rows: dict[str, list] = {name: [] for name in ("ensembles", "soups", "lines", "planes")}
    rows |= {"similarities": [], "shifts": []}
    for (target, pretrain), draw in product(pairs, range(draws)):
        base = noise.normal(0, 1.0)
        for about, level, members, depth, spreads, distance in _schemes():
            method = about["method"]
            row = {"target": target, "draw": draw, "pretrain": pretrain, **about}
            if method == "scratch":
                row["pretrain"] = "none"
            jitter = base + noise.normal(0, spread)
            for size in range(1, 6):
                share = (size - 1) / 4
                last = members + (spreads - members) * share
                rows["ensembles"].append(
                    {
                        **row,
                        "size": size,
                        "accuracy": members + (level - members) * share + jitter,
                        "member_accuracy": (members + last) / 2 + jitter,
                        "last_accuracy": last + jitter,
                        "disagreement": distance if size > 1 else np.nan,
                        "first_last": distance if size > 1 else np.nan,
                        "gap": 0.1 * share,
                        "nll": 0.9 - 0.1 * share,
                        "cnll": 0.85 - 0.1 * share,
                        "brier": 0.3,
                        "ece": 0.05,
                        "objects": 697,
                    }
                )
                if method != "scratch" and "soups" in only:
                    soup = 20.0 if method == "global" else level - (0 if method == "star" else 2)
                    soup = members + (soup - members) * share + jitter
                    greedy = {"greedy_accuracy": soup, "greedy_size": 4.0} if size == 5 else {}
                    rows["soups"].append({**row, "size": size, "soup_accuracy": soup, **greedy})
            if method in ("scratch", "longer"):
                continue
            ends = {"sse": ["1-2", "1-5", "2-3", "3-4", "4-5"], "star": ["1-2", "1-5", "2-3"]}
            lined = ends.get(method, ["1-2", "1-5"]) if {"lines", "barriers"} & set(only) else []
            for pair, alpha in product(lined, np.linspace(0, 1, 5)):
                sag = 4 * alpha * (1 - alpha) * (depth if pair == "1-5" or method != "sse" else 0)
                line = {"pair": pair, "alpha": alpha, "train_accuracy": 99 - sag}
                rows["lines"].append({**row, **line, "test_accuracy": members - sag + jitter})
            blocks = ("all", "conv1", "head") if "similarities" in only else ()
            for member, block in product(range(1, 6), blocks):
                steps = (member - 1) ** 0.5 if method == "sse" else float(member > 1)
                rows["similarities"].append(
                    {
                        **row,
                        "member": member,
                        "block": block,
                        "from_first": 0.3 * steps * (1 + noise.normal(0, 0.01)),
                        "from_checkpoint": 0.5 if block != "head" else np.nan,
                        "cka": 0.9 if block == "all" else np.nan,
                    }
                )
            shifts = [("none", 0), *product(("noise", "blur"), (1, 2, 3))]
            for shift, severity in shifts if "shifts" in only else []:
                moved = level + 3 * (method == "star") - 5 * severity + noise.normal(0, spread)
                both = {"accuracy": moved, "soup_accuracy": moved - 1}
                rows["shifts"].append({**row, "shift": shift, "severity": severity, **both})
            if draw == 0 and about["checkpoint"] <= 0 and "planes" in only:
                for a, b in product(np.linspace(0, 1, 4), repeat=2):
                    if a + b <= 1.001:
                        shares = {"first": a, "second": b, "third": 1 - a - b}
                        both = {"train_accuracy": 99.0, "test_accuracy": members - depth * a * b}
                        rows["planes"].append({**row, **shares, **both})
    columns = {
        "ensembles": transfer.ENSEMBLES,
        "soups": transfer.SOUPS,
        "lines": transfer.LINES,
        "similarities": transfer.SIMILARITIES,
        "shifts": transfer.SHIFTS,
        "planes": transfer.PLANES,
    }
    found = {
        name: pd.DataFrame(rows[name], columns=list(of)).astype(dict(of))
        for name, of in columns.items()
    }
    if "barriers" in only:
        found["barriers"] = transfer.barriers(found["lines"])
    return {name: found[name] for name in only}


def alike(
    noise: np.random.Generator, spread: float = 1.0, only: Sequence[str] = ALL
) -> dict[str, pd.DataFrame]:
    """A world in which five networks of any method and cell are equally good, and so are soups.

    What lies behind barriers, and how far members are apart, is as in `world`; only the diversity
    and the members of a chain do not depend on the rate.
    """
    found = world(noise, spread=spread, only=only)
    for table, columns in (
        ("ensembles", ["accuracy", "last_accuracy", "member_accuracy", "disagreement"]),
        ("soups", ["soup_accuracy"]),
    ):
        if table not in found:
            continue
        frame = found[table]
        same = (frame["size"] == 5) & (frame["method"] != "scratch")
        fresh = 76 + spread * noise.standard_normal((int(same.sum()), len(columns)))
        frame.loc[same, columns] = fresh
    return found


def one_valley(noise: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C2: lines between members of Local DE are a quarter as deep as those of Global DE."""
    found = world(noise, only=("ensembles", "barriers"))
    frame = found["barriers"]
    for method, depth in (("local", 6.0), ("global", 24.0)):
        own = frame["method"] == method
        frame.loc[own, "test_barrier"] = depth + 2 * noise.standard_normal(int(own.sum()))
    return found


def slow_drift(noise: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C8: the last member of SSE is as far as the claim's threshold says, 1.2 times the second."""
    found = world(noise, only=("ensembles", "similarities"))
    frame = found["similarities"]
    own = (frame["method"] == "sse") & (frame["member"] == 5)
    frame.loc[own, "from_first"] = 0.36 * (1 + 0.02 * noise.standard_normal(int(own.sum())))
    return found


def obeys(*names: str):
    """`world` with these tables alone, at the noise of the demo."""
    return lambda noise: world(noise, spread=1.0, only=names)


def indifferent(*names: str):
    """`alike` with these tables alone."""
    return lambda noise: alike(noise, only=names)


ensembles, barriers = obeys("ensembles"), obeys("ensembles", "barriers")
soups, similarities = obeys("ensembles", "soups"), obeys("ensembles", "similarities")
alike_ensembles, alike_barriers = indifferent("ensembles"), indifferent("ensembles", "barriers")
alike_soups = indifferent("ensembles", "soups")


def _schemes():
    """Columns that tell an ensemble apart, its accuracy, that of its first member, the barrier
    between first and last, the accuracy of its last member, its diversity."""
    nothing = {"lr_ratio": np.nan, "ep_ratio": np.nan}
    for method, level in (("local", 76.0), ("longer", 77.0)):
        for checkpoint in range(5 if method == "local" else 2):
            about = {"method": method, **nothing, "checkpoint": checkpoint, "seed": -1}
            yield about, level, 72.0, 0.0, 72.0, 0.8
    for seed in range(5):
        about = {"method": "global", **nothing, "checkpoint": -1, "seed": seed}
        yield about, 82.0, 72.0, 25.0, 72.0, 1.0
    about = {"method": "scratch", **nothing, "checkpoint": -1, "seed": -1}
    yield about, 70.0, 66.0, 0.0, 66.0, 0.9
    for (checkpoint, seed), (lr, epochs) in product(STARTS, CELLS):
        place = sorted(QUALITY).index(lr)
        for method, more in (("sse", 0.0), ("star", 2.0)):
            about = {"method": method, "lr_ratio": lr, "ep_ratio": epochs}
            about |= {"checkpoint": checkpoint, "seed": seed}
            level = QUALITY[lr] + more + (0 if epochs == 1 else -1)
            yield about, level, 72.0, DEPTH[lr], 73.0 - 3 * place, 0.5 + 0.2 * place
