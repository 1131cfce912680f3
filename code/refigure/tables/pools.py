"""Pools of networks of many sizes: ensembles over n, s and the budget B = n s, and what follows.

Functions take the rows of `measures.pool_curves` by setup and width, or what a function above made
of them. A setup is a network, its data and its regularisation; its sizes are near S 2^j, with S the
size of the common width. An empty frame gives an empty table with its columns.

Source: specification power-laws, section 6; memory-split, sections 4 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from refigure.models.sizes import size_of
from refigure.tables.histories import frame_of
from refigure.tables.power_laws import Fit, fit

SIZES = {
    "setup": str,
    "k": "int64",
    "j": float,
    "parameters": "int64",
    "relative": float,
    "macs": "int64",
    "activations": "int64",
    "members": "int64",
    "model": str,
    "lr": float,
    "wd": float,
    "dropout": float,
    "epochs": "int64",
    "standard": bool,
}
ENSEMBLES = {
    "setup": str,
    "k": "int64",
    "j": float,
    "parameters": "int64",
    "part": str,
    "number": "int64",
    "n": "int64",
    "members": "int64",
    "failed": "int64",
    "nll": float,
    "nll_hot": float,
    "cnll": float,
    "temperature": float,
    "envelope": float,
    "best_temperature": float,
    "limit": float,
    "gain": float,
    "limit_hot": float,
    "gain_hot": float,
    "accuracy": float,
    "cnll_after": float,
    "temperature_after": float,
    "disagreement": float,
    "brier": float,
    "calibration_error": float,
}
TEMPERATURES = {
    "setup": str,
    "k": "int64",
    "j": float,
    "parameters": "int64",
    "members": "int64",
    "temperature": float,
    "n": "int64",
    "nll": float,
    "limit": float,
    "gain": float,
}
FITS = {
    "setup": str,
    "axis": str,
    "quantity": str,
    "fixed": float,
    "temperature": float,
    "half": "int64",
    "method": str,
    "a": float,
    "b": float,
    "c": float,
    "r2": float,
    "loss": float,
    "rmse": float,
    "points": "int64",
    "status": str,
    "first": float,
    "least": float,
}
SPLITS = {
    "setup": str,
    "quantity": str,
    "j": "int64",
    "n": "int64",
    "k": "int64",
    "parameters": "int64",
    "value": float,
    "se": float,
    "runs": "int64",
    "best": bool,
    "share_best": float,
}
PREDICTIONS = {
    "setup": str,
    "k": "int64",
    "j": float,
    "repetition": "int64",
    "n": "int64",
    "measured": float,
    "predicted": float,
    "constant": float,
    "first": float,
    "last": float,
}
PREDICTED_SPLITS = {
    "setup": str,
    "repetition": "int64",
    "j": "int64",
    "n_best": "int64",
    "n_predicted": "int64",
    "cnll_best": float,
    "cnll_best_se": float,
    "cnll_of_predicted": float,
    "accuracy_best": float,
    "accuracy_of_predicted": float,
}

LEAST_RUNS = 3
"""Ensembles that a point of a fit is a mean over (power-laws, section 6.4)."""
NEAR = 0.25
"""How far, in powers of two, a size may lie from S 2^j to stand for it: VGG of k = 6 lies 0.22."""
BETTER = {"accuracy": -1.0}
"""Sign by which a quantity is to be multiplied so that lower is better; 1 where it is not named."""
DRAWS = 500
"""Of the bootstrap over ensembles of the best split (memory-split, section 6)."""


def sizes(runs: pd.DataFrame, standard: Mapping[str, int]) -> pd.DataFrame:
    """Sizes and hyperparameters of every setup and width: of the configuration alone.

    Args:
        runs: a grid; with the labels setup, channels, pixels, classes.
        standard: the common width of each model.

    Source: power-laws, sections 4.3, 5.2 and 5.3; memory-split, section 4.
    """
    rows = []
    groups = runs.groupby(["setup", "k"], sort=False) if len(runs) else []
    for (setup, k), own in groups:
        one = own.iloc[0]
        shape = (int(one["channels"]), int(one["pixels"]), int(one["classes"]))
        model = {
            key.removeprefix("model."): value
            for key, value in one.items()
            if key.startswith("model.") and not pd.isna(value)
        }
        model |= {
            "k": int(k),
            **{key: int(model[key]) for key in ("layers", "depth") if key in model},
        }
        found = size_of(model, *shape)
        common = size_of({**model, "k": standard[model["name"]]}, *shape)
        rows.append(
            {
                "setup": setup,
                "k": k,
                "j": exponent(found.parameters / common.parameters),
                "parameters": found.parameters,
                "relative": found.parameters / common.parameters,
                "macs": found.macs,
                "activations": found.activations,
                "members": own["run"].nunique(),
                "model": model["name"],
                "lr": one.get("lr", one.get("optimiser.lr")),
                "wd": one.get("wd", one.get("optimiser.wd")),
                "dropout": one.get("dropout", one.get("model.dropout", 0.0)),
                "epochs": one["epochs"],
                "standard": k == standard[model["name"]],
            }
        )
        rows[-1] |= {key: _plain(rows[-1][key]) for key in ("lr", "wd", "dropout")}
    frame = frame_of(rows, SIZES)
    return frame.sort_values(["setup", "k"], ignore_index=True) if len(frame) else frame


def _plain(value: Any) -> Any:
    """A hyperparameter, 0 where the model or optimiser has none."""
    return 0.0 if value is None or (isinstance(value, float) and np.isnan(value)) else value


def exponent(ratio: float) -> float:
    """j of a size S 2^j; NaN of one that lies between two."""
    power = float(np.log2(ratio))
    return float(round(power)) if abs(power - round(power)) <= NEAR else float("nan")


def formed(rows: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """One row an ensemble or curve of a pool: likelihood, calibration, accuracy.

    Args:
        rows: of the probe `measures.pool_curves.measure`.
        sizes: of `sizes`.
    """
    return _sized(rows, sizes, ENSEMBLES, lambda own: own[own["part"] != "temperature"])


def temperatures(rows: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """NLL of ensembles of every size at every temperature of the grid; arguments as of `formed`."""
    return _sized(rows, sizes, TEMPERATURES, lambda own: own[own["part"] == "temperature"])


def _sized(rows, sizes, columns, chosen) -> pd.DataFrame:
    if not len(rows):
        return frame_of([], columns)
    own = chosen(rows).merge(sizes[["setup", "k", "j", "parameters"]], on=["setup", "k"])
    own = own.reindex(columns=list(columns)).astype(
        {name: kind for name, kind in columns.items() if kind is not str}
    )
    return own.sort_values(["setup", "k"], kind="stable", ignore_index=True)


def joined(**tables: pd.DataFrame) -> pd.DataFrame:
    """Some tables of one kind under each other."""
    frames = [frame for frame in tables.values() if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else next(iter(tables.values()))


def means(ensembles: pd.DataFrame, part: str = "ensemble") -> pd.DataFrame:
    """Mean, standard error and number over disjoint ensembles, a row a setup, width and n.

    Returns:
        setup, k, j, parameters, members, n, runs, and for each quantity its mean and `<it>_se`.
    """
    own = ensembles[ensembles["part"] == part]
    keys = ["setup", "k", "j", "parameters", "members", "n"]
    quantities = ["nll", "nll_hot", "cnll", "cnll_after", "accuracy"]
    grouped = own.groupby(keys, dropna=False)
    found = grouped[quantities].mean().join(grouped[quantities].sem().add_suffix("_se"))
    return found.join(grouped.size().rename("runs")).reset_index()


def _curves(ensembles: pd.DataFrame) -> Iterator[tuple[str, int, pd.DataFrame]]:
    """Setup, half (-1: the whole pool) and the means over subsets of it at n that fits may use."""
    most = ensembles["members"] // LEAST_RUNS
    usable = ensembles[ensembles["part"].isin(["curve", "half"]) & (ensembles["n"] <= most)]
    usable = usable.assign(half=usable["number"].where(usable["part"] == "half", -1))
    for (setup, half), own in usable.groupby(["setup", "half"]):
        yield setup, half, own


def fits(
    ensembles: pd.DataFrame,
    temperatures: pd.DataFrame | None = None,
    methods: Sequence[str] = ("r2", "log2_local", "lsq"),
) -> pd.DataFrame:
    """Power laws over n, s and B: by three methods of whole pools, by the first of their halves.

    Over n at each width (`fixed`: k), of CNLL, NLL and NLL at temperature 2 (means over subsets),
    and of CNLL over disjoint ensembles with the temperature before and after averaging; over s at
    each n (`fixed`: n) of CNLL and NLL; over B of the best split's CNLL. Sizes are in units of S
    and budgets at their nominal value (power-laws, trap 19).

    Args:
        ensembles: of `formed`.
        temperatures: of `temperatures`; NLL over n at each of the grid's temperatures.
        methods: of whole pools.

    Source: power-laws, sections 6.4, 6.7 and trap 4.
    """
    rows: list[dict[str, Any]] = []

    def add(points: pd.DataFrame, x: str, y: str, chosen: Sequence[str], **about: Any) -> None:
        points = points[np.isfinite(points[y]) & np.isfinite(points[x])]
        about = {"temperature": np.nan, "half": -1, "fixed": np.nan} | about
        if not len(points):
            return
        ends = {"first": points[y].iloc[0], "least": points[y].min()}
        for method in chosen:
            found = fit(points[x], points[y], method)
            rows.append({**about, "method": method, **_of(found), **ends})

    for setup, half, own in _curves(ensembles):
        about = {"setup": setup, "half": half}
        chosen = methods if half < 0 else ("r2",)
        for k, curve in own.groupby("k"):
            for quantity in ("cnll", "nll", "nll_hot"):
                add(curve, "n", quantity, chosen, axis="n", quantity=quantity, fixed=k, **about)
        for n, curve in _relative(own).sort_values("size").groupby("n"):
            if n in (1, 2, 4, 8, 16):
                for quantity in ("cnll", "nll"):
                    add(
                        curve,
                        "size",
                        quantity,
                        chosen,
                        axis="s",
                        quantity=quantity,
                        fixed=n,
                        **about,
                    )
        add(envelope(own), "budget", "cnll", chosen, axis="B", quantity="cnll", **about)
    disjoint = means(ensembles)
    disjoint = disjoint[disjoint["runs"] >= LEAST_RUNS]
    disjoint = disjoint.assign(
        cnll_after=disjoint["cnll_after"].where(disjoint["n"] > 1, disjoint["cnll"])
    )
    both = disjoint[np.isfinite(disjoint["cnll_after"])]
    for (setup, k), curve in both.groupby(["setup", "k"]):
        for name, column in (("cnll_disjoint", "cnll"), ("cnll_after", "cnll_after")):
            about = {"setup": setup, "axis": "n", "quantity": name, "fixed": k}
            add(curve, "n", column, methods, **about)
    if temperatures is not None and len(temperatures):
        usable = temperatures[temperatures["n"] <= temperatures["members"] // LEAST_RUNS]
        for (setup, k, temperature), curve in usable.groupby(["setup", "k", "temperature"]):
            about = {"setup": setup, "axis": "n", "quantity": "nll_fixed", "fixed": k}
            add(curve, "n", "nll", ("r2",), temperature=temperature, **about)
    return frame_of(rows, FITS)


def _of(found: Fit) -> dict[str, Any]:
    names = ("a", "b", "c", "r2", "loss", "rmse", "status")
    return {name: getattr(found, name) for name in names} | {"points": len(found.points)}


def _relative(own: pd.DataFrame) -> pd.DataFrame:
    """With the size of a member in units of S, as it is."""
    unit = own["parameters"] / np.exp2(own["j"])
    common = unit[own["j"] == own["j"].abs().min()].median()
    return own.assign(size=own["parameters"] / common)


def envelope(curves: pd.DataFrame) -> pd.DataFrame:
    """The lowest CNLL at each budget S 2^j over the splits into a power of two: budget, cnll, n.

    Args:
        curves: of one setup: j, n, cnll.
    """
    own = curves[np.isfinite(curves["j"]) & (curves["n"] & (curves["n"] - 1) == 0)]
    own = own.assign(budget=own["n"] * np.exp2(own["j"]))
    # Beyond the largest network no budget has all its splits.
    own = own[own.groupby("budget")["n"].transform("min") == 1]
    if not len(own):
        return pd.DataFrame({"budget": [], "cnll": [], "n": []})
    return own.loc[own.groupby("budget")["cnll"].idxmin(), ["budget", "cnll", "n"]]


def splits(ensembles: pd.DataFrame) -> pd.DataFrame:
    """Quality of every split of every budget S 2^j into a power of two of networks.

    Means over disjoint ensembles. `best` is the best of the cells with three ensembles at least,
    `share_best` how often each of these is the best when the ensembles of each cell are drawn anew
    with replacement; NaN of the others, which are drawn hollow and decide nothing.

    Args:
        ensembles: of `formed`.

    Source: memory-split, sections 4.2 and 6, trap 4; power-laws, section 6.8.
    """
    rows: list[dict[str, Any]] = []
    own = on_ladder(ensembles)
    generator = np.random.default_rng(0)
    for quantity in ("accuracy", "cnll", "cnll_after", "nll"):
        known = own[np.isfinite(own[quantity])]
        for (setup, j), budget in known.groupby(["setup", "budget"]):
            cells = [cell for _, cell in budget.groupby("n")]
            values = [cell[quantity].to_numpy() for cell in cells]
            taking_part = [place for place, one in enumerate(values) if len(one) >= LEAST_RUNS]
            sign = BETTER.get(quantity, 1.0)
            shares = np.full(len(cells), np.nan)
            best = None
            if taking_part:
                drawn = np.stack(
                    [
                        values[place][
                            generator.integers(len(values[place]), size=(DRAWS, len(values[place])))
                        ].mean(1)
                        for place in taking_part
                    ]
                )
                chosen = (sign * drawn).argmin(0)
                shares[taking_part] = np.bincount(chosen, minlength=len(taking_part)) / DRAWS
                best = min(taking_part, key=lambda place: sign * values[place].mean())
            for place, (cell, one) in enumerate(zip(cells, values)):
                rows.append(
                    {
                        "setup": setup,
                        "quantity": quantity,
                        "j": int(j),
                        **{key: int(cell[key].iloc[0]) for key in ("n", "k", "parameters")},
                        "value": one.mean(),
                        "se": one.std(ddof=1) / np.sqrt(len(one)) if len(one) > 1 else np.nan,
                        "runs": len(one),
                        "best": place == best,
                        "share_best": shares[place],
                    }
                )
    return frame_of(rows, SPLITS)


def on_ladder(ensembles: pd.DataFrame) -> pd.DataFrame:
    """The disjoint ensembles that are splits of a budget S 2^budget: of a size that stands for a
    power of two, and as many networks, up to the largest size there is.

    CNLL with the temperature after averaging is that before it where n is 1.
    """
    own = ensembles[(ensembles["part"] == "ensemble") & np.isfinite(ensembles["j"])]
    own = own[(own["n"] > 0) & (own["n"] & (own["n"] - 1) == 0)]
    own = own.assign(
        budget=own["j"] + np.log2(own["n"].to_numpy(dtype=float)),
        cnll_after=own["cnll_after"].where(own["n"] > 1, own["cnll"]),
    )
    return own[own["budget"] <= own.groupby("setup")["j"].transform("max")]


def predictions(ensembles: pd.DataFrame) -> pd.DataFrame:
    """CNLL of large ensembles as a power law through n = 1 to 4 foretells it.

    Args:
        ensembles: of `formed`.

    Returns:
        A row a setup, width, repetition and n above 4. Repetitions are of six networks each;
        repetition -1 has its four points from the whole pool. `constant` foretells CNLL_4.

    Source: power-laws, section 6.9.
    """
    rows = []
    for setup, k, repetition, four, curve in _repetitions(ensembles):
        law = fit(four.index, four, "r2")
        for n, measured in curve[curve.index > 4].items():
            rows.append(
                {
                    "setup": setup,
                    "k": k,
                    "repetition": repetition,
                    "n": n,
                    "measured": measured,
                    "predicted": _foretold(law, n, four),
                    "constant": four.iloc[-1],
                    "first": curve.iloc[0],
                    "last": curve.iloc[-1],
                }
            )
    exponents = ensembles.drop_duplicates(["setup", "k"]).set_index(["setup", "k"])["j"]
    for row in rows:
        row["j"] = exponents[row["setup"], row["k"]]
    return frame_of(rows, PREDICTIONS)


def _repetitions(
    ensembles: pd.DataFrame,
) -> Iterator[tuple[str, int, int, pd.Series, pd.Series]]:
    """Setup, k, repetition, CNLL at n = 1 to 4 from it, and CNLL of the whole pool by n."""
    whole = ensembles[(ensembles["part"] == "curve")]
    whole = whole[whole["n"] <= whole["members"] // LEAST_RUNS]
    six = ensembles[ensembles["part"] == "six"]
    for (setup, k), own in whole.groupby(["setup", "k"]):
        curve = own.set_index("n")["cnll"].sort_index()
        repetitions = six[(six["setup"] == setup) & (six["k"] == k)]
        if not {1, 2, 3, 4} <= set(curve.index) or not np.isfinite(curve).all():
            continue
        yield setup, k, -1, curve.loc[1:4], curve
        for number, points in repetitions.groupby("number"):
            yield setup, k, number, points.set_index("n")["cnll"].sort_index(), curve


def _foretold(law: Fit, n: int, four: pd.Series) -> float:
    """What a law says of n; where there is none, the last point."""
    return float(law.at(n)) if np.isfinite(law.a) else float(four.iloc[-1])


def predicted_splits(ensembles: pd.DataFrame) -> pd.DataFrame:
    """The best split of each budget as six networks a width foretell it, beside the measured one.

    Args:
        ensembles: of `formed`.

    Returns:
        A row a setup, repetition and budget S 2^j at which each split's measured CNLL is known.
        Measured CNLL are means over disjoint ensembles, and so is accuracy.

    Source: power-laws, section 6.9; memory-split, section 6.
    """
    rows: list[dict[str, Any]] = []
    own = on_ladder(ensembles)
    cells = own.groupby(["setup", "budget", "n"]).agg(
        j=("j", "first"),
        cnll=("cnll", "mean"),
        cnll_se=("cnll", "sem"),
        accuracy=("accuracy", "mean"),
        runs=("cnll", "size"),
    )
    cells = cells[cells["runs"] >= LEAST_RUNS].reset_index()
    at = ensembles.drop_duplicates(["setup", "k"]).set_index(["setup", "k"])["j"]
    laws: dict[tuple[str, int], dict[float, tuple[Fit, pd.Series]]] = {}
    for setup, k, repetition, four, _ in _repetitions(ensembles):
        if repetition >= 0 and np.isfinite(at[setup, k]):
            laws.setdefault((setup, repetition), {})[at[setup, k]] = (fit(four.index, four), four)
    for (setup, repetition), known in laws.items():
        for j, budget in cells[cells["setup"] == setup].groupby("budget"):
            budget = budget.set_index("n")
            if len(budget) < 2 or not set(budget["j"]) <= set(known):
                continue
            foretold = {
                n: float(known[size][1][n])
                if n <= 4
                else _foretold(known[size][0], n, known[size][1])
                for n, size in budget["j"].items()
            }
            best, chosen = budget["cnll"].idxmin(), min(foretold, key=foretold.get)
            rows.append(
                {
                    "setup": setup,
                    "repetition": repetition,
                    "j": int(j),
                    "n_best": best,
                    "n_predicted": chosen,
                    "cnll_best": budget.loc[best, "cnll"],
                    "cnll_best_se": budget.loc[best, "cnll_se"],
                    "cnll_of_predicted": budget.loc[chosen, "cnll"],
                    "accuracy_best": budget["accuracy"].max(),
                    "accuracy_of_predicted": budget.loc[chosen, "accuracy"],
                }
            )
    return frame_of(rows, PREDICTED_SPLITS)
