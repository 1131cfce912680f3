"""Names and colours of the methods of pretrain-basin, and means over its replicates."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

COLOURS = {
    "single": "0.55",
    "scratch": "tab:brown",
    "local": "tab:red",
    "longer": "tab:orange",
    "global": "black",
    "sse": "tab:blue",
    "star": "tab:green",
    "fge": "tab:purple",
}
NAMES = {
    "single": "a single network",
    "scratch": "from scratch",
    "local": "Local DE",
    "longer": "Local DE, equal epochs",
    "global": "Global DE",
    "sse": "SSE",
    "star": "StarSSE",
    "fge": "FGE",
}
MARKERS = {"scratch": "v", "local": "s", "longer": "D", "global": "P", "sse": "o", "star": "*"}
TARGETS = {
    "transfer_target": "our target",
    "transfer_source": "our source",
    "images100_imagenet": "CIFAR-100",
    "images10_imagenet": "CIFAR-10",
    "sun397": "SUN397",
    "clipart": "Clipart",
    "chestx": "ChestX-ray14",
}
PRETRAIN = {
    "own": "own pre-training",
    "byol": "BYOL",
    "supervised": "supervised",
    "imagenet": "torchvision's ImageNet",
    "swin": "Swin-T",
    "simmim": "SimMIM",
}


def pairs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Targets and families of checkpoints that a table has, in the order of `PRETRAIN`."""
    own = frame.loc[frame["pretrain"] != "none", ["target", "pretrain"]].drop_duplicates()
    order = list(PRETRAIN)
    found = [(target, pretrain) for target, pretrain in own.itertuples(index=False)]
    return sorted(found, key=lambda pair: (order.index(pair[1]), list(TARGETS).index(pair[0])))


def of_pair(frame: pd.DataFrame, pair: tuple[str, str] | None) -> pd.DataFrame:
    """The rows of a pair, with those from scratch on its target."""
    if pair is None:
        return frame.iloc[:0]
    own = frame["pretrain"].isin([pair[1], "none"])
    return frame[(frame["target"] == pair[0]) & own]


def title(pair: tuple[str, str] | None) -> str:
    """A pair as the head of a panel."""
    if pair is None:
        return ""
    return f"{TARGETS.get(pair[0], pair[0])}, {PRETRAIN.get(pair[1], pair[1])}"


def spread(frame: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Mean and standard error of a column over replicates.

    Replicates are the draws where there are several, each the mean of its networks; else
    pre-trainings and seeds.

    Returns:
        `by`, then mean, se (0 of a single replicate) and n, sorted by `by`.
    """
    known = frame.dropna(subset=[column])
    if len(known["draw"].unique()) > 1:
        known = known.groupby([*by, "draw"], dropna=False)[column].mean().reset_index()
    grouped = known.groupby(list(by), dropna=False)[column].agg(["mean", "sem", "count"])
    grouped = grouped.reset_index().rename(columns={"sem": "se", "count": "n"})
    return grouped.fillna({"se": 0.0})


def best_cell(frame: pd.DataFrame, method: str, column: str) -> tuple[float, float] | None:
    """The cell of a method with the highest mean of a column; None of a method without cells.

    It is chosen and read on the same replicates, so a curve at it is a little too high; claims
    choose by the other replicates.
    """
    own = frame[(frame["method"] == method) & frame["lr_ratio"].notna()]
    means = spread(own, ["lr_ratio", "ep_ratio"], column)
    if not len(means):
        return None
    best = means.loc[means["mean"].idxmax()]
    return float(best["lr_ratio"]), float(best["ep_ratio"])


def in_cell(frame: pd.DataFrame, method: str, cell: tuple[float, float] | None) -> pd.DataFrame:
    """The rows of a method in a cell; of a method without cells all of its rows."""
    own = frame[frame["method"] == method]
    if method not in ("sse", "star", "fge"):
        return own
    if cell is None:
        return own.iloc[:0]
    return own[(own["lr_ratio"] == cell[0]) & (own["ep_ratio"] == cell[1])]


def cell_name(cell: tuple[float, float]) -> str:
    """A cell as legends have it."""
    return f"rate x{cell[0]:g}, length x{cell[1]:g}"
