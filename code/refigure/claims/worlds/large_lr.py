"""Worlds of where-large-lrs and how-large-lrs: tables at hand with the means that the papers see.

Each function changes the tables of a claim by the regimes of the borders at hand, keeps their size,
and takes the noise of accuracies from the tables (a part that a replicate's cells share, and one of
each cell).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from refigure.claims.worlds import Redrawn, redraw
from refigure.tables.large_lr import regime

Tables = Mapping[str, pd.DataFrame]

ACCURACIES = {
    "pretrained": (("setup", "plr"), ("test_accuracy", "test_accuracy_mean")),
    "finetuned": (("setup", "plr", "flr"), ("test_accuracy",)),
    "averaged": (("setup", "plr", "count"), ("test_accuracy",)),
    "bands": (("setup", "plr", "stage", "band"), ("accuracy",)),
    "features": (("setup", "plr", "stage", "rank"), ("accuracy",)),
}
"""Table -> its cells and accuracies."""
WORST = 2.0
"""Points by which a restart may differ from scratch: how-large-lrs, section 2, B6."""


def obeying(tables: Tables, rng: np.random.Generator, restart: float = 0.0) -> dict:
    """All tables as the papers say that they are.

    Args:
        restart: points by which fine-tuning from regime 3 at the highest FLR is off what comes from
            scratch.
    """
    found = {}
    for name, frame in tables.items():
        kind = name.split("_")[0]
        bounds = tables.get(name.replace(kind, "bounds", 1))
        if kind == "geometry" and len(frame):
            found[name] = _lines(_placed(frame, bounds), rng)
        elif kind in ACCURACIES and len(frame):
            level = partial(LEVELS[kind], restart=restart) if kind == "finetuned" else LEVELS[kind]
            found[name] = _levelled(frame, bounds, kind, level, rng)
    for name, frame in found.items():
        if name.startswith("averaged") and name.replace("averaged", "pretrained") in found:
            # In regime 1 averaging changes nothing, run by run.
            keys = [key for key in ("setup", "plr", "data", "seed") if key in frame]
            alone = found[name.replace("averaged", "pretrained")].set_index(keys)["test_accuracy"]
            same = alone.reindex(pd.MultiIndex.from_frame(frame[keys])).to_numpy()
            small = (frame["regime"] == "1").to_numpy() & np.isfinite(same)
            off = 0.2 * rng.standard_normal(len(frame))
            frame["test_accuracy"] = np.where(small, same + off, frame["test_accuracy"])
    return found


off_by_the_bound = partial(obeying, restart=WORST)


def all_alike(tables: Tables, rng: np.random.Generator) -> dict:
    """Every accuracy about one level: no rate, fine-tuned or averaged or alone, is better."""
    found = {}
    for name, frame in tables.items():
        kind = name.split("_")[0]
        if kind in ACCURACIES and len(frame):
            bounds = tables[name.replace(kind, "bounds", 1)]
            found[name] = _levelled(frame, bounds, kind, lambda rows: np.full(len(rows), 75.0), rng)
    return found


def last_stage(tables: Tables, rng: np.random.Generator) -> dict:
    """C9: 2A after 2B is as 2A, and 2B alone is five points worse."""
    how = Redrawn(("start", "flr"), ("test_accuracy",), flat=("start",))
    drawn = redraw(tables["two_stage"], how, rng)
    drawn["test_accuracy"] -= 5.0 * drawn["start"].isin(["2B", "none"])
    return {"two_stage": drawn}


def sharpness(tables: Tables, rng: np.random.Generator, factor: float) -> dict:
    """C12: test errors do not depend on the PLR, and sharpness grows by a factor from one to the
    next."""
    frame = tables["sharpness"]
    cells = ("setup", "plr", "lr")
    drawn = redraw(frame, Redrawn(cells, ("test_error",), flat=("plr",)), rng)
    drawn = redraw(drawn, Redrawn(cells, ("sharpness",), flat=("plr",), log=True), rng)
    places = drawn["plr"].rank(method="dense") - 1
    drawn["sharpness"] *= factor**places
    return {"sharpness": drawn}


apart, alike = partial(sharpness, factor=3.0), partial(sharpness, factor=1.0)


def _levelled(
    frame: pd.DataFrame,
    bounds: pd.DataFrame,
    kind: str,
    level: Callable[[pd.DataFrame], np.ndarray],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Accuracies about given levels, with the noise of the table."""
    cells, columns = ACCURACIES[kind]
    drawn = redraw(frame, Redrawn(cells, columns, by=("setup",)), rng)
    placed = _placed(frame, bounds)
    wanted = level(placed)
    for column in columns:
        own = frame.groupby(list(cells))[column].transform("mean")
        drawn[column] = (drawn[column] - own + wanted).clip(0, 100)
    if kind == "pretrained":
        first = (placed["regime"] == "1").to_numpy()
        drawn["test_accuracy_std"] = np.where(first, 0.3, 4.0) * rng.uniform(0.7, 1.3, len(drawn))
    return drawn.assign(regime=placed["regime"])


def _placed(frame: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """The rows with their regime, and how far inside it their PLR stands, from 0 to 1."""
    rows = frame.copy()
    rows["regime"], rows["eta12"] = "", np.nan
    for edges in bounds.to_dict("records"):
        own = rows["setup"] == edges["setup"]
        rows.loc[own, "regime"] = regime(rows.loc[own, "plr"], edges)
        rows.loc[own, "eta12"] = edges["eta12"]
    by = rows.groupby(["setup", "regime"])["plr"]
    place = by.rank(method="dense") - 1
    rows["inside"] = np.where(
        by.transform("nunique") > 1, place / (by.transform("nunique") - 1).clip(lower=1), 1.0
    )
    return rows


def _by_regime(rows: pd.DataFrame, **levels: float | np.ndarray | pd.Series) -> np.ndarray:
    """The level of each row: of regimes 1 (`one`), 2A (`a`), 2B (`b`) and 3 (`three`)."""
    names = {"one": "1", "a": "2A", "b": "2B", "three": "3"}
    chosen = [(rows["regime"] == names[key]).to_numpy() for key in levels]
    values = [np.broadcast_to(level, len(rows)) for level in levels.values()]
    return np.select(chosen, values, default=50.0)


def _alone(rows: pd.DataFrame) -> np.ndarray:
    inside = rows["inside"].to_numpy()
    return _by_regime(
        rows, one=66 + 10 * inside, a=64 - 4 * inside, b=40 - 20 * inside, three=rows["chance"]
    )


def _tuned(rows: pd.DataFrame, restart: float = 0.0) -> np.ndarray:
    inside = rows["inside"].to_numpy()
    order = rows.groupby("setup")["flr"].rank(method="dense") - 1
    share = (order / order.groupby(rows["setup"]).transform("max").clip(lower=1)).to_numpy()
    highest = restart * (share == 1)
    return _by_regime(
        rows,
        one=66 + 8 * inside + 2 * share,
        a=81.0,
        b=70 - 2 * inside + 6 * share,
        three=62 + 14 * share - highest,
    )


def _average(rows: pd.DataFrame) -> np.ndarray:
    inside = rows["inside"].to_numpy()
    return _by_regime(rows, one=66 + 10 * inside, a=82.0, b=72 - 12 * inside, three=10.0)


def _band(rows: pd.DataFrame) -> np.ndarray:
    middle = _by_regime(rows, one=18 + 7 * rows["inside"].to_numpy(), a=45.0, b=30.0, three=16.0)
    return np.where(rows["band"] == "mid", middle, 40.0)


def _feature(rows: pd.DataFrame) -> np.ndarray:
    rank = rows["rank"].to_numpy(float) - 1
    best = _by_regime(rows, one=55.0, a=72.0, b=56.0, three=52.0)
    step = _by_regime(rows, one=0.4, a=2.5, b=0.5, three=0.2)
    return np.where(rank < 0, 75.0, np.maximum(best - step * rank, 49.0))


LEVELS = {
    "pretrained": _alone,
    "finetuned": _tuned,
    "averaged": _average,
    "bands": _band,
    "features": _feature,
}


def _lines(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Angles and barriers: small near the border and in 2A, large far below it and from 2B on."""
    far = (rows["plr"] < rows["eta12"] / 6 * (1 - 1e-9)).to_numpy()
    inside = rows["inside"].to_numpy()
    barrier = _by_regime(
        rows, one=np.where(far, 40.0, 0.2), a=0.2, b=4 + 10 * inside, three=45 + 10 * inside
    )
    angle = _by_regime(rows, one=np.where(far, 1.4, 0.1), a=0.2, b=0.7 + 0.4 * inside, three=1.5)
    noise = [1 + 0.2 * rng.standard_normal(len(rows)) for _ in range(3)]
    return rows.assign(
        angle=angle * noise[0],
        train_barrier=np.abs(barrier * noise[1]),
        test_barrier=np.abs(0.5 * barrier * noise[2]),
    )
