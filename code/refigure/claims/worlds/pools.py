"""Worlds of memory-split and power-laws: tables of pools with other means, and the noise they have.

Splits have the noise of their disjoint ensembles; curves and fits move as a whole, by the error
that the halves of their pools give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd

from refigure.claims.worlds import Redrawn, redraw
from refigure.tables.pools import on_ladder

Tables = Mapping[str, pd.DataFrame]
Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]

STEP = 0.8
"""Points of accuracy that a split loses a step of log2 n from the best one."""
PART = 0.03
"""What of a CNLL goes with a point of accuracy."""
SPREAD = 0.3
"""Relative deviation of what a world draws as a share."""


# ------------------------------------------------------------------ splits of budgets


def splits(tables: Tables, rng: np.random.Generator, rule: Rule) -> dict[str, pd.DataFrame]:
    """Every split of a budget is as good as its budget's mean, and better by a rule.

    Args:
        rule: of log2 of the budget over S and of log2 n, in points of accuracy.
    """
    frame = tables["ensembles"]
    own = on_ladder(frame)
    for column, sign in (("accuracy", None), ("cnll", -1.0), ("cnll_after", -1.0)):
        cells = ("setup", "budget", "n")
        how = Redrawn(cells, (column,), flat=("n",), by=cells, replicates=("number",))
        drawn = redraw(own, how, rng)
        points = rule(drawn["budget"].to_numpy(), np.log2(drawn["n"].to_numpy(float)))
        if sign is None:
            drawn[column] += points
        else:
            drawn[column] *= np.exp(sign * PART * points)
        frame = frame.assign(**{column: _put(frame[column], own.index, drawn[column])})
    return {"ensembles": frame}


def _best(budget: np.ndarray) -> np.ndarray:
    """log2 of the best n: one network for small budgets, two at S, and more from there on."""
    return np.maximum(np.round(1 + 0.6 * budget), 0.0)


indifferent = partial(splits, rule=lambda budget, n: np.zeros(len(n)))
growing = partial(splits, rule=lambda budget, n: -STEP * np.abs(n - _best(budget)))
constant = partial(splits, rule=lambda budget, n: -STEP * np.abs(n - 1.0))
rising = partial(splits, rule=lambda budget, n: STEP * np.minimum(n, 1.0))


def smaller_is_better(tables: Tables, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """C7 of power-laws: ensembles of n are best with the middle one of the sizes."""
    frame = tables["ensembles"]
    cells = ("setup", "k", "n")
    whole = {"part": ["ensemble"]}
    how = Redrawn(
        cells, ("cnll",), flat=("k",), by=cells, where=whole, replicates=("number",), log=True
    )
    drawn = redraw(frame, how, rng)
    place = drawn.groupby("setup")["parameters"].rank(method="dense")
    middle = place.groupby(drawn["setup"]).transform("max") / 2
    return {"ensembles": drawn.assign(cnll=drawn["cnll"] * np.exp(0.05 * (place - middle).abs()))}


# ------------------------------------------------------------------ curves and fits


def limits(tables: Tables, rng: np.random.Generator, rho: float) -> dict[str, pd.DataFrame]:
    """C1: n (NLL - c) / b is `rho` at all n, with the error of the halves."""
    frame = tables["ensembles"]
    for name in ("", "_hot"):
        value, limit, gain = (frame[f"{kind}{name}"] for kind in ("nll", "limit", "gain"))
        measured = frame.assign(rho=frame["n"] * (value - limit) / gain)
        drawn = _by_halves(measured, ("rho",), rng)
        mean = measured["rho"].where(measured["part"] == "curve")
        mean = mean.groupby([frame["setup"], frame["k"], frame["n"]]).transform("mean")
        fresh = limit + (drawn["rho"] - mean + rho) * gain / frame["n"]
        curve = frame["part"].isin(["curve", "half"]) & np.isfinite(fresh)
        frame = frame.assign(**{f"nll{name}": value.where(~curve, fresh)})
    return {"ensembles": frame}


def far_from_envelope(
    tables: Tables, rng: np.random.Generator, share: float
) -> dict[str, pd.DataFrame]:
    """C3: CNLL is off the envelope by a share of the gain, with a third of it as error."""
    frame, fits = tables["ensembles"], tables["fits"]
    own = fits[(fits["axis"] == "n") & (fits["quantity"] == "cnll") & (fits["method"] == "r2")]
    limit = own[own["half"] == -1].set_index(["setup", "fixed"])["c"]
    at = pd.MultiIndex.from_frame(frame[["setup", "k"]].astype({"k": float}))
    first = frame["cnll"].where((frame["part"] == "curve") & (frame["n"] == 1))
    first = first.groupby([frame["setup"], frame["k"]]).transform("mean")
    gain = first - limit.reindex(at).to_numpy()
    which = frame.groupby(["setup", "k"]).ngroup().to_numpy()
    half = _half(frame).to_numpy()
    of_pool = rng.standard_normal(which.max() + 1)[which]
    of_half = rng.standard_normal((which.max() + 1, half.max() + 2))[which, half + 1]
    # Halves of a pool lie about it as the pool does about the truth.
    off = share * (1 + SPREAD * (of_pool + of_half * (half >= 0)))
    return {"ensembles": frame.assign(envelope=frame["cnll"] - off * gain)}


def temperatures(tables: Tables, rng: np.random.Generator, slope: float) -> dict[str, pd.DataFrame]:
    """C4: the best temperature changes by a factor exp(`slope`) where n doubles."""
    drawn = _by_halves(tables["ensembles"], ("best_temperature",), rng, flat=("n",), log=True)
    factor = np.exp(slope * np.log2(drawn["n"].clip(lower=1)))
    return {"ensembles": drawn.assign(best_temperature=drawn["best_temperature"] * factor)}


def budget_fit(tables: Tables, rng: np.random.Generator, r2: float) -> dict[str, pd.DataFrame]:
    """C8: the law over budgets has this r2, and an asymptote a fifth below the least CNLL, with the
    errors of the halves."""
    fits, ensembles = tables["fits"], tables["ensembles"]
    where = {"axis": ["B"], "method": ["r2"]}
    drawn = redraw(fits, Redrawn(("setup",), ("r2", "c"), where=where, resamples="half"), rng)
    own = (fits["axis"] == "B") & (fits["method"] == "r2")
    whole = fits[["r2", "c"]].where(own & (fits["half"] == -1)).groupby(fits["setup"])
    moved = drawn[["r2", "c"]] - whole.transform("mean")
    least = ensembles[ensembles["part"] == "curve"].groupby("setup")["cnll"].min()
    fresh = np.minimum(moved["r2"] + r2, 1.0)
    below = moved["c"] + 0.8 * fits["setup"].map(least)
    return {"fits": fits.assign(r2=fits["r2"].where(~own, fresh), c=fits["c"].where(~own, below))}


def exponents(tables: Tables, rng: np.random.Generator, share: float) -> dict[str, pd.DataFrame]:
    """C2: the exponent of CNLL is above that of NLL by a share of what it is in the tables.

    Both are fitted to the same networks, so that their difference moves, by its own error.
    """
    fits = tables["fits"].reset_index(drop=True)
    own = fits[(fits["axis"] == "n") & (fits["method"] == "r2")]
    keys = ["setup", "fixed", "half"]
    both = {name: own[own["quantity"] == name].set_index(keys)["a"] for name in ("cnll", "nll")}
    apart = (both["cnll"] - both["nll"]).dropna().rename("apart").reset_index()
    cells = ("setup", "fixed")
    drawn = redraw(apart, Redrawn(cells, ("apart",), resamples="half"), rng)
    whole = apart[apart["half"] == -1].set_index(list(cells))["apart"]
    at = pd.MultiIndex.from_frame(drawn[list(cells)])
    drawn["apart"] -= (1 - share) * whole.reindex(at).to_numpy()
    nll = both["cnll"] - drawn.set_index(keys)["apart"]
    rows = own.index[own["quantity"] == "nll"]
    fresh = nll.reindex(pd.MultiIndex.from_frame(fits.loc[rows, keys]))
    known = np.isfinite(fresh.to_numpy())
    fits.loc[rows[known], "a"] = fresh.to_numpy()[known]
    return {"fits": fits}


same_exponents, own_exponents = partial(exponents, share=0.0), partial(exponents, share=1.0)


# ------------------------------------------------------------------ predictions


def foretold(tables: Tables, rng: np.random.Generator, wise: bool) -> dict[str, pd.DataFrame]:
    """C10: the law errs by a twentieth of the gain, or as much as CNLL of four networks does."""
    frame = tables["predictions"]
    which = frame.groupby(["setup", "k", "repetition"]).ngroup().to_numpy()
    error = rng.standard_normal(which.max() + 1)[which]
    if wise:
        off = 0.05 * (frame["first"] - frame["last"]) * error
    else:
        off = (frame["constant"] - frame["measured"]) * np.exp(SPREAD * error)
    return {"predictions": frame.assign(predicted=frame["measured"] + off)}


def foretold_splits(
    tables: Tables, rng: np.random.Generator, wise: bool
) -> dict[str, pd.DataFrame]:
    """C11: the predicted split is a step off in one of five, or any that the table knows."""
    frame = tables["predicted_splits"]
    known = np.unique(np.log2(frame["n_best"]))
    best = np.log2(frame["n_best"].to_numpy(float))
    if wise:
        predicted = best + rng.choice([-1, 0, 1], len(frame), p=[0.1, 0.8, 0.1])
        predicted = np.clip(predicted, 0, None)
    else:
        predicted = rng.choice(known, len(frame))
    off = np.abs(predicted - best)
    excess = off * (frame["cnll_best_se"] if wise else PART * frame["cnll_best"])
    return {
        "predicted_splits": frame.assign(
            n_predicted=(2.0**predicted).astype(int),
            cnll_of_predicted=frame["cnll_best"] + excess,
        )
    }


at_bound, at_one = partial(limits, rho=1.3), partial(limits, rho=1.0)
off_envelope, on_envelope = (
    partial(far_from_envelope, share=0.2),
    partial(far_from_envelope, share=0.05),
)
one_temperature, falling = partial(temperatures, slope=0.0), partial(temperatures, slope=-0.1)
poor_fit, good_fit = partial(budget_fit, r2=0.95), partial(budget_fit, r2=0.995)
unforeseen, foreseen = partial(foretold, wise=False), partial(foretold, wise=True)
unforeseen_splits, foreseen_splits = (
    partial(foretold_splits, wise=False),
    partial(foretold_splits, wise=True),
)


def _half(frame: pd.DataFrame) -> pd.Series:
    """The half of a row of a curve, -1 of a whole pool."""
    return frame["number"].where(frame["part"] == "half", -1)


def _by_halves(
    frame: pd.DataFrame,
    columns: tuple[str, ...],
    rng: np.random.Generator,
    flat: tuple[str, ...] = (),
    log: bool = False,
) -> pd.DataFrame:
    """Columns of curves moved as a whole, by the error that the halves give."""
    how = Redrawn(
        ("setup", "k", "n"),
        columns,
        flat=flat,
        log=log,
        where={"part": ["curve", "half"]},
        resamples="half",
    )
    drawn = redraw(frame.assign(half=_half(frame)), how, rng)
    return drawn.drop(columns="half").set_axis(frame.index)


def _put(column: pd.Series, index: pd.Index, values: pd.Series) -> pd.Series:
    """A column with other values in some rows."""
    whole = column.astype(float).copy()
    whole.loc[index] = values.to_numpy(float)
    return whole
