"""Power laws y = c + b m^a with a < 0: fits by three methods, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

Method = Literal["r2", "log2_local", "lsq"]
Array = NDArray[np.floating]

GRID = 500
"""Asymptotes tried before the best one is refined."""
LEAST_POINTS = 4


@dataclass(frozen=True)
class Fit:
    """A fitted power law y = c + b m^a.

    Attributes:
        a, b, c: exponent, gain at m = 1, asymptote; NaN where `status` says that there is no fit.
        r2: share of the variance of log2(y - c) that the line in log2 m explains.
        loss: root of the mean squared residual of log2(y - c), the papers' own measure.
        rmse: root of the mean squared residual of y, in the unit of y.
        points: the values of m that were used.
        status: "ok"; "no_asymptote": the best c lies at the low end of its range, so that the data
            fall like a logarithm; "c_at_data": at its high end, just below the least y; "none": the
            paper's loss has no interior minimum; "few_points": fewer than four.
    """

    a: float
    b: float
    c: float
    r2: float
    loss: float
    rmse: float
    points: tuple[float, ...]
    status: str

    def at(self, m: ArrayLike) -> Array:
        """The law at some m."""
        return self.c + self.b * np.asarray(m, dtype=float) ** self.a


def fit(m: ArrayLike, y: ArrayLike, method: Method = "r2") -> Fit:
    """A power law through some points.

    The papers minimise the mean squared residual of log2(y - c) over a, b and c. That loss has no
    global minimum: it goes to 0 as c goes to minus infinity, where every curve is straight
    (power-laws, section 6.7 and trap 1). The methods differ in how they keep away from there:

    - "r2" maximises the R^2 of the same regression over c in [0, min y), which no scale can win;
    - "log2_local" takes the papers' loss at an interior local minimum, if there is one;
    - "lsq" minimises the squared residual of y itself over a in [-3, -0.02].

    Args:
        m: positive, such as numbers of networks or of parameters.
        y: positive, such as a negative log-likelihood.
        method: one of the three.

    Raises:
        ValueError: an unknown method, a value that is not positive and finite, unequal lengths.

    Source: power-laws, section 6.7.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    m, y = np.asarray(m, dtype=float), np.asarray(y, dtype=float)
    if m.shape != y.shape:
        raise ValueError(f"m and y must have one shape, got {m.shape} and {y.shape}")
    for name, values in (("m", m), ("y", y)):
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise ValueError(f"{name} must be positive and finite, got {values.tolist()}")
    if len(m) < LEAST_POINTS:
        return _nothing(m, "few_points")
    return {"r2": _by_r2, "log2_local": _by_local_loss, "lsq": _by_squares}[method](m, y)


def _nothing(m: Array, status: str) -> Fit:
    return Fit(*[float("nan")] * 6, tuple(m.tolist()), status)


def _line(m: Array, y: Array, c: float) -> tuple[float, float, float, float]:
    """Slope, intercept, R^2 and mean squared residual of log2(y - c) against log2 m."""
    return tuple(float(one[0]) for one in _lines(m, y, np.array([c])))


def _lines(m: Array, y: Array, c: Array) -> tuple[Array, Array, Array, Array]:
    """`_line` at several c at once, (asymptotes,) each."""
    x, z = np.log2(m), np.log2(y - c[:, None])
    deviation, middle = x - x.mean(), z.mean(1)
    slope = z @ deviation / (deviation @ deviation)
    intercept = middle - slope * x.mean()
    squares = ((z - intercept[:, None] - slope[:, None] * x) ** 2).mean(1)
    variance = z.var(1)
    r2 = 1 - squares / np.where(variance > 0, variance, np.inf)
    return slope, intercept, r2, squares


def _fitted(m: Array, y: Array, c: float, status: str) -> Fit:
    slope, intercept, r2, squares = _line(m, y, c)
    b = float(2**intercept)
    rmse = float(np.sqrt(np.mean((c + b * m**slope - y) ** 2)))
    return Fit(slope, b, c, r2, float(np.sqrt(squares)), rmse, tuple(m.tolist()), status)


def _refined(objective: Callable[[float], float], logs: Array, place: int) -> float:
    """The logarithm at which an objective is least between the neighbours of a grid's point."""
    bounds = (logs[max(place - 1, 0)], logs[min(place + 1, len(logs) - 1)])
    found = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    return float(found.x) if found.fun <= objective(logs[place]) else float(logs[place])


def _by_r2(m: Array, y: Array) -> Fit:
    least, spread = float(y.min()), float(np.ptp(y))
    if spread == 0:
        return _nothing(m, "no_asymptote")
    logs = np.linspace(np.log(1e-5 * spread), np.log(least), GRID)

    def objective(log_u: float) -> float:
        return -_line(m, y, least - np.exp(log_u))[2]

    values = -_lines(m, y, least - np.exp(logs))[2]
    place = int(values.argmin())
    status = {0: "c_at_data", GRID - 1: "no_asymptote"}.get(place, "ok")
    best = logs[place] if status != "ok" else _refined(objective, logs, place)
    return _fitted(m, y, least - float(np.exp(best)), status)


def _by_local_loss(m: Array, y: Array) -> Fit:
    least, spread = float(y.min()), float(np.ptp(y))
    if spread == 0:
        return _nothing(m, "none")
    logs = np.linspace(np.log(1e-5 * spread), np.log(3 * spread), GRID)

    def objective(log_u: float) -> float:
        return _line(m, y, least - np.exp(log_u))[3]

    values = _lines(m, y, least - np.exp(logs))[3]
    inner = np.nonzero((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:]))[0] + 1
    if not len(inner):
        return _nothing(m, "none")
    place = int(inner[values[inner].argmin()])
    return _fitted(m, y, least - float(np.exp(_refined(objective, logs, place))), "ok")


def _by_squares(m: Array, y: Array) -> Fit:
    def solved(exponents: Array) -> tuple[Array, Array, Array]:
        """b, c and the mean squared residual at some exponents: a straight line in m^a each."""
        x = m ** exponents[:, None]
        deviation = x - x.mean(1, keepdims=True)
        b = deviation @ y / (deviation**2).sum(1)
        c = y.mean() - b * x.mean(1)
        return b, c, ((c[:, None] + b[:, None] * x - y) ** 2).mean(1)

    exponents = -np.geomspace(0.02, 3, GRID)
    values = solved(exponents)[2]
    place = int(values.argmin())
    logs = np.log(-exponents)
    refined = _refined(lambda one: float(solved(-np.exp([one]))[2][0]), logs, place)
    a = -float(np.exp(refined))
    b, c, squares = (float(one[0]) for one in solved(np.array([a])))
    status = "no_asymptote" if place == 0 else "ok"
    if c < y.min():
        _, _, r2, loss = _line(m, y, c)
    else:
        r2, loss = float("nan"), float("nan")
    rmse = float(np.sqrt(squares))
    return Fit(a, b, c, r2, float(np.sqrt(loss)), rmse, tuple(m.tolist()), status)


def fits(
    frame: pd.DataFrame,
    m: str,
    y: str,
    each: Sequence[str],
    methods: Sequence[Method] = get_args(Method),
) -> pd.DataFrame:
    """A power law for each group of rows, by each method.

    Args:
        frame: with the columns m, y and `each`.
        m, y: names of columns.
        each: the columns that tell curves apart.

    Returns:
        One row a group and method: `each`, method, a, b, c, r2, loss, rmse, points (their number)
        and status.
    """
    rows: list[dict[str, Any]] = []
    groups = frame.groupby(list(each), sort=True) if each else [((), frame)]
    for key, group in groups:
        for method in methods:
            found = asdict(fit(group[m], group[y], method))
            found["points"] = len(found["points"])
            rows.append({**dict(zip(each, key)), "method": method, **found})
    return pd.DataFrame(rows)


def best_splits(
    curves: Mapping[int, Mapping[int, float]], lower_is_better: bool = True
) -> pd.DataFrame:
    """The best number of networks at each budget, where sizes and numbers are powers of two.

    Args:
        curves: size's exponent (a network has S 2^j parameters) -> number of networks -> quality.
        lower_is_better: of an NLL; False of an accuracy.

    Returns:
        One row a budget and split: j, the exponent of the budget S 2^j; n; size, the exponent of a
        member; value; and best, whether no other split of the budget is better.

    Source: memory-split, section 4.2.
    """
    rows = []
    for size, values in curves.items():
        for n, value in values.items():
            exponent = int(np.log2(n))
            if 2**exponent == n:
                rows.append({"j": size + exponent, "n": n, "size": size, "value": value})
    frame = pd.DataFrame(rows).sort_values(["j", "n"], ignore_index=True)
    extreme = frame.groupby("j")["value"].transform("min" if lower_is_better else "max")
    return frame.assign(best=frame["value"] == extreme)
