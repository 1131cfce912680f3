"""Worlds of periodic-behavior: losses made up for each run, and tables at hand that are changed.

A made-up loss goes through the same rule for jumps (`tables.decay.find_jumps`) as a measured one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from refigure.claims.worlds import Redrawn, redraw
from refigure.tables.decay import find_jumps

Tables = Mapping[str, pd.DataFrame]

RATIO, EARLY = 5.0, 0.1
"""Of a jump's loss to the lowest before it, and the share of a run that is early: section 6.5."""
BOUNDS = {"slope": 0.9, "ratio": 1.25, "drift": 1.3}
"""The claims' thresholds (section 2, C3, C8, C6), on which a null world sits."""


def without_periods(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C1, C10, C11: half of the runs converge, half stay at a level, as noisy as the demo's."""
    frame = tables["runs"]
    rows = []
    for number, run in enumerate(frame.to_dict("records")):
        epochs = np.arange(1, int(run["epochs"]) + 1)
        noise = rng.standard_normal(len(epochs))
        if number % 2:  # deviations of log losses at demo: 0.3 where runs converge, 0.8 at a level
            losses = (2 * np.exp(-epochs / 10) + run["floor"] / 5) * np.exp(0.3 * noise)
        else:
            losses = 1.5 * np.exp(0.8 * noise)
        rows.append(_counted(losses, run))
    return {"runs": _with(frame, rows)}


def with_periods(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C1, C10, C11: every run falls and jumps, after a twentieth to an eighth of its epochs."""
    frame = tables["runs"]
    rows = []
    for run in frame.to_dict("records"):
        epochs, losses = int(run["epochs"]), []
        while len(losses) < epochs:
            length = rng.integers(max(epochs // 20, 4), max(epochs // 8, 8))
            rate = np.log(2 / run["floor"] * 10) / length
            own = 2 * np.exp(-rate * np.arange(length) + 0.3 * rng.standard_normal(length))
            losses += list(own)
        rows.append(_counted(np.array(losses[:epochs]), run))
    return {"runs": _with(frame, rows)}


def decay_not_needed(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C2: runs without decay jump as often as the run with decay and the same LR, at any time."""
    runs, jumps = decay_needed(tables, rng).values()
    late = jumps[(jumps["family"] == "l") & ~jumps["early"].astype(bool)]
    for row in runs.index[runs["family"] != "l"]:
        same = late[late["lr"] == runs["lr"][row]]
        often = (same["onset"] <= runs["epochs"][row]).sum() / max(same["run"].nunique(), 1)
        runs.loc[row, ["late_jumps", "jumps"]] = rng.poisson(often)
    return {"runs": runs, "jumps": jumps}


def decay_needed(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C2: runs without decay never jump; those with it at times drawn anew from their periods."""
    runs, jumps = tables["runs"].copy(), tables["jumps"].copy()
    runs.loc[runs["family"] != "l", ["late_jumps", "jumps"]] = 0
    for _, own in jumps.groupby("run"):
        lengths = np.diff(own["onset"], prepend=0.0)
        onsets = rng.choice(lengths, len(lengths)).cumsum()
        jumps.loc[own.index, "onset"] = onsets
        epochs = runs.loc[runs["run"] == own["run"].iloc[0], "epochs"].iloc[0]
        jumps.loc[own.index, "early"] = onsets <= EARLY * epochs
    return {"runs": runs, "jumps": jumps}


def slow_growth(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C3: the ELR grows by nine tenths of what weight decay alone would give, the claim's bound."""
    how = Redrawn(("run",), ("growth",), flat=("run",), replicates=("period",))
    periods = redraw(tables["periods"], how, rng)
    periods["growth"] += BOUNDS["slope"] - tables["periods"]["growth"].mean()
    return {"periods": periods}


def as_decay_says(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C3: the ELR grows by weight decay alone, but for the noise of the table."""
    how = Redrawn(("run",), ("growth",), flat=("run",), replicates=("period",))
    periods = redraw(tables["periods"], how, rng)
    periods["growth"] += 0.98 - tables["periods"]["growth"].mean()
    return {"periods": periods}


def inverse_periods(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C5: periods are as 1 / (lr wd), but for the noise of the table."""
    how = Redrawn(("run",), ("iterations",), flat=("run",), log=True, replicates=("period",))
    periods = redraw(tables["periods"], how, rng)
    product = periods["lr"] * periods["wd"]
    periods["iterations"] *= product.mean() / product
    return {"periods": periods}


def drifting(
    tables: Tables, rng: np.random.Generator, by: float = BOUNDS["drift"]
) -> dict[str, pd.DataFrame]:
    """C6: in the last third of a run periods are so many times as long as before."""
    how = Redrawn(
        ("run",), ("iterations", "loss_onset"), flat=("run",), log=True, replicates=("period",)
    )
    periods = redraw(tables["periods"], how, rng)
    epochs = tables["runs"].set_index("run")["epochs"]
    last = periods["end"] > 2 / 3 * periods["run"].map(epochs)
    periods.loc[last, "iterations"] *= by
    return {"periods": periods}


steady = partial(drifting, by=1.0)


def steps(tables: Tables, rng: np.random.Generator, level: float) -> dict[str, pd.DataFrame]:
    """C8: the mean ratio is at a level, of either kind of run, with the spread of the table."""
    runs = tables["runs"].copy()
    own = runs["kind"].isin(["equilibrium", "periodic"]) & (runs["step_ratio"] > 0)
    logs = np.log(runs.loc[own, "step_ratio"])
    spread = float((logs - logs.groupby(runs["kind"]).transform("mean")).std(ddof=1))
    fresh = spread * rng.standard_normal(int(own.sum())) - spread**2 / 2
    runs.loc[own, "step_ratio"] = level * np.exp(fresh)
    return {"runs": runs}


balanced, unbalanced = partial(steps, level=1.0), partial(steps, level=BOUNDS["ratio"])


def times(
    tables: Tables,
    rng: np.random.Generator,
    drawn: Callable[[pd.DataFrame, np.ndarray], np.ndarray],
) -> dict[str, pd.DataFrame]:
    """C9: times drawn by a rule from uniform numbers, rounded up to whole epochs."""
    periods = tables["periods"].copy()
    fresh = drawn(periods, rng.random(len(periods)))
    step = periods["resolution"]
    periods["time"] = np.where(periods["time"].isna(), np.nan, np.ceil(fresh / step) * step)
    return {"periods": periods}


def _anywhere(periods: pd.DataFrame, share: np.ndarray) -> np.ndarray:
    low, high = periods["resolution"].min(), periods["time_max"].max()
    return np.exp(np.log(low) + share * np.log(high / low))


def _inside(periods: pd.DataFrame, share: np.ndarray) -> np.ndarray:
    low = np.maximum(periods["time_min"], periods["resolution"])
    high = np.maximum(periods["time_max"] - periods["resolution"], low)
    return (low + share * (high - low)).to_numpy()


at_any_time, between_bounds = partial(times, drawn=_anywhere), partial(times, drawn=_inside)


def _counted(losses: np.ndarray, run: Mapping[str, object]) -> dict[str, float]:
    """What `tables.decay.runs` counts in such losses."""
    onsets = np.array([jump.onset + 1 for jump in find_jumps(losses, RATIO, run["floor"])])
    epochs = len(losses)
    return {
        "jumps": len(onsets),
        "late_jumps": int((onsets > EARLY * epochs).sum()),
        "last_third_jumps": int((onsets > 2 / 3 * epochs).sum()),
        "trailing_loss": float(losses[epochs // 2 :].mean()),
    }


def _with(frame: pd.DataFrame, rows: list[dict[str, float]]) -> pd.DataFrame:
    """The table with these columns in place of its own."""
    return frame.assign(**pd.DataFrame(rows, index=frame.index))
