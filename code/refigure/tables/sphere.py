"""Runs at a fixed effective learning rate (ELR): their regimes, borders, and what follows of both.

Functions take histories by family (`m1=...`, `a5=...`): one row a run and recorded epoch, with the
axes as columns, sorted by run and step. A history may be empty, and a run that ended early holds
NaN where it was not measured; what cannot be had is NaN.

The rate of a run is its ELR, and its learning rate in families that have no sphere.

Source: specification three-regimes, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of

REGIMES = {
    "family": str,
    "rate": float,
    "elr": float,
    "seed": "int64",
    "regime": "int64",
    "majority": "int64",
    "train_loss": float,
    "train_error": float,
    "test_error": float,
    "test_error_recomputed": float,
    "effective_gradient_norm": float,
    "train_loss_half": float,
    "effective_gradient_norm_half": float,
    "train_loss_half_std": float,
    "effective_gradient_norm_half_std": float,
    "final_train_loss": float,
    "final_test_error": float,
    "final_test_error_recomputed": float,
    "loss_slope": float,
    "first_train_loss": float,
    "first_gradient_norm": float,
    "epochs": float,
    "chance": float,
    "diverged": bool,
    "unfinished": bool,
    "cosine_to_previous": float,
    "share_r2": float,
    "share_r3": float,
    "alternations": float,
}
BORDERS = {
    "family": str,
    "seed": "int64",
    "last_r1": float,
    "first_r2": float,
    "last_r2": float,
    "first_r3": float,
    "epochs": float,
    "ordered": bool,
}
EQUAL_LOSS = {
    "family": str,
    "elr": float,
    "seed": "int64",
    "common_loss": float,
    "effective_gradient_norm_at_common_loss": float,
    "nearest_loss_off": float,
}
FINETUNED = {
    "family": str,
    "plr": float,
    "elr": float,
    "seed": "int64",
    "start_regime": float,
    "train_loss": float,
    "test_error": float,
    "test_error_recomputed": float,
    "converged": bool,
}
BEST_ERRORS = {
    "family": str,
    "best_r1_elr": float,
    "best_r1_test_error": float,
    "best_r1_se": float,
    "best_r1_n": "int64",
    "best_finetuned_plr": float,
    "best_finetuned_elr": float,
    "best_finetuned_test_error": float,
    "best_finetuned_se": float,
    "best_finetuned_n": "int64",
}
SWITCHED = {
    "family": str,
    "plr": float,
    "elr": float,
    "seed": "int64",
    "start_regime": float,
    "train_loss": float,
    "effective_gradient_norm": float,
}
CONVERGENCE_TIMES = {
    "elr": float,
    "seed": "int64",
    "epochs_to_converge": float,
    "cap": float,
    "threshold": float,
    "test_error": float,
    "test_error_recomputed": float,
}
CURVATURE = {
    "family": str,
    "experiment": str,
    "elr": float,
    "seed": "int64",
    "effective_trace": float,
    "effective_trace_se": float,
    "effective_sharpness": float,
    "probes": "int64",
    "images": "int64",
}
RANDOM_WALK = {
    "elr": float,
    "seed": "int64",
    "epoch": float,
    "cosine_to_previous": float,
    "cosine_expected": float,
}
PATHS = {
    "kind": str,
    "seed": "int64",
    "first_elr": float,
    "second_elr": float,
    "alpha": float,
    "train_loss": float,
    "log_barrier": float,
}

LOOKS = 10
"""Measures that a deviation over epochs needs."""

CORE = 0.85
"""Share of chance below which the train error is that of regime 2: three-regimes, section 2, C3."""

SLOPE = 0.25
"""How much the log of a stationary loss may move in half a run: three-regimes, section 2, C3."""


SMALLEST_LOSS = 1e-12
"""What a loss of exactly 0 counts as in a logarithm."""


def regimes(**families: pd.DataFrame) -> pd.DataFrame:
    """The regime of each run, and the levels by which it is told.

    Over the trailing quarter of epochs: regime 3 if the mean train error is above chance minus 3
    points; else 1 if the largest train loss is below 0.02, or the mean train error is below 0.5 %
    and the loss still falls; else 2. A run whose loss stopped being finite counts as 3: the
    specification does not say. The border of 1 and 2 depends on the budget: a run still on its
    plateau counts as 2, and is `unfinished` if its loss still falls, by more than 0.25 of its
    logarithm over the trailing half.

    Args:
        families: histories by family, named in lower case, with the error of a guess as `chance`.

    Returns:
        Columns `REGIMES`, one row a run; `majority` is the label of the seeds at its rate. A family
        whose runs differ in width has one name a width, such as "A9 k=8". Deviations are of ten
        looks at least. Over the trailing half, `share_r3` of the looks see the error of a guess,
        less 3 points, `share_r2` one below 85 % of it, and `alternations` times a run goes from
        the one to the other; `cosine_to_previous` is between measures one after another, over the
        trailing quarter.

    Source: specification three-regimes, section 6.7.
    """
    rows = []
    for family, axis, run in _runs(families):
        chance = run["chance"].max()  # constant, where it was measured
        name = f"{family} k={run['k'].iloc[0]:g}" if "k" in run else family
        rate = run[axis].iloc[0]
        rows.append(
            {
                "family": name,
                "rate": rate,
                "elr": rate if axis == "elr" else np.nan,
                "seed": run["seed"].iloc[0],
                **_levels(run),
                **_regime(run, chance),
                "chance": chance,
            }
        )
    found = pd.DataFrame(rows)
    for _, own in found.groupby("family") if rows else []:
        found.loc[own.index, "majority"] = own["rate"].map(majority(own))
    return frame_of(found.to_dict("records"), REGIMES)


def borders(regimes: pd.DataFrame) -> pd.DataFrame:
    """Between which rates one regime gives way to the next.

    Args:
        regimes: of `regimes`.

    Returns:
        Columns `BORDERS`, one row a family and seed, and one with seed -1 for the middle label of
        the seeds (the lower of two). `last_r1` is the largest rate in regime 1, and so on; NaN
        where there is none. `ordered`: the labels do not fall as the rate grows. An unfinished run
        is in neither of regimes 1 and 2.
    """
    rows = []
    for family, of_family in regimes.groupby("family", sort=False):
        labels = {seed: own.set_index("rate")["regime"] for seed, own in of_family.groupby("seed")}
        for seed, label in {**labels, -1: majority(of_family)}.items():
            label = label.sort_index()
            of_seed = of_family if seed == -1 else of_family[of_family["seed"] == seed]
            open_ended = of_seed.groupby("rate")["unfinished"].mean() > 0.5
            rates = {regime: label.index[label == regime] for regime in (1, 2, 3)}
            rates[2] = rates[2][~open_ended[rates[2]].to_numpy(bool)]
            rows.append(
                {
                    "family": family,
                    "seed": seed,
                    "last_r1": rates[1].max(),
                    "first_r2": rates[2].min(),
                    "last_r2": rates[2].max(),
                    "first_r3": rates[3].min(),
                    "epochs": of_family["epochs"].max(),
                    "ordered": label.is_monotonic_increasing,
                }
            )
    return frame_of(rows, BORDERS)


def majority(regimes: pd.DataFrame) -> pd.Series:
    """The middle label over the seeds at each rate, the lower of two: rate -> regime."""
    by_rate = regimes.groupby("rate")["regime"]
    return by_rate.quantile(0.5, interpolation="lower").astype(int)


def regime_at(labels: pd.Series, rate: float) -> float:
    """The regime at a rate: the one that the nearest rates on both sides share, or NaN.

    Args:
        labels: rate -> regime.
        rate: need not be among them.
    """
    labels = labels.sort_index()
    below, above = labels[labels.index <= rate], labels[labels.index >= rate]
    if not len(below) or not len(above) or below.iloc[-1] != above.iloc[0]:
        return np.nan
    return float(below.iloc[-1])


def equal_loss(regimes: pd.DataFrame, **families: pd.DataFrame) -> pd.DataFrame:
    """The effective gradient norm of the runs of regime 1 where their train loss is the same.

    The common loss of a family is the largest of those its runs of regime 1 end at. Each run is
    read where its loss last comes down through it, log gradient norm against log loss;
    `nearest_loss_off` is how far, relatively, the nearest of its measured losses lies.

    Args:
        regimes: of `regimes`, holding these families.
        families: histories by family, named in lower case.

    Returns:
        Columns `EQUAL_LOSS`.

    Source: specification three-regimes, section 6.9.
    """
    converged = regimes[regimes["regime"] == 1].set_index(["family", "rate", "seed"])
    common = converged.groupby("family")["final_train_loss"].max()
    rows = []
    for family, axis, run in _runs(families):
        key = (family, run[axis].iloc[0], run["seed"].iloc[0])
        if key not in converged.index:
            continue
        measured = run.dropna(subset=["train_loss", "effective_gradient_norm"])
        norm = _read_at(
            measured["train_loss"].to_numpy(),
            measured["effective_gradient_norm"].to_numpy(),
            common[family],
        )
        logs = np.log(measured["train_loss"].clip(lower=SMALLEST_LOSS) / common[family]).abs()
        off = np.expm1(logs.min()) if len(logs) else np.nan
        rows.append(dict(zip(EQUAL_LOSS, (*key, common[family], norm, off))))
    return frame_of(rows, EQUAL_LOSS)


def finetuned(
    regimes: pd.DataFrame, converged_loss: float = 0.05, **families: pd.DataFrame
) -> pd.DataFrame:
    """How fine-tuned runs end, and the regime of the ELR they started at.

    Args:
        regimes: of `regimes`, holding the families that the runs started from.
        converged_loss: the final train loss below which a run is judged.
        families: histories of fine-tuned runs, by the family they started from, in lower case.

    Returns:
        Columns `FINETUNED`. `start_regime` is NaN between two regimes.
    """
    rows = []
    for family, axis, run in _runs(families):
        first = run.iloc[0]
        final = _final(run, "train_loss")
        rows.append(
            {
                "family": family,
                "plr": first["plr"],
                "elr": first[axis],
                "seed": first["seed"],
                "start_regime": regime_at(_labels(regimes, family, first["seed"]), first["plr"]),
                "train_loss": final,
                "test_error": _final(run, "test_error"),
                "test_error_recomputed": _final(run, "test_error_recomputed"),
                "converged": bool(final < converged_loss),
            }
        )
    return frame_of(rows, FINETUNED)


def best_errors(
    regimes: pd.DataFrame, finetuned: pd.DataFrame, converged_loss: float = 0.05
) -> pd.DataFrame:
    """The best test error of regime 1 alone, and after fine-tuning from regime 2.

    Args:
        regimes: of `regimes`.
        finetuned: of `finetuned`.
        converged_loss: the final train loss below which a run of regime 1 is judged.

    Returns:
        Columns `BEST_ERRORS`, one row a family of `finetuned`, of its `best_cells`; errors in
        percent with their standard errors over the seeds, NaN for one seed, with re-estimated
        moments of batch norm.
    """
    rows = []
    for family in finetuned["family"].unique():
        alone, tuned = best_cells(regimes, finetuned, family, converged_loss)
        ((elr,), errors), ((plr, target), tuned_errors) = alone, tuned
        r1 = (elr, errors.mean(), errors.sem(), len(errors))
        after = (plr, target, tuned_errors.mean(), tuned_errors.sem(), len(tuned_errors))
        rows.append(dict(zip(BEST_ERRORS, (family, *r1, *after))))
    return frame_of(rows, BEST_ERRORS)


Best = tuple[tuple[float, ...], pd.Series]
"""The values of the axes of a cell, NaN where no cell counts, and its errors, seed -> error."""


def best_cells(
    regimes: pd.DataFrame, finetuned: pd.DataFrame, family: str, converged_loss: float
) -> tuple[Best, Best]:
    """The cells with the lowest mean test error over their seeds, without and with fine-tuning.

    A cell counts if all of its runs are in regime 1, or have started in regime 2 where they are
    fine-tuned, and have converged. Errors are with re-estimated moments of batch norm.

    Args:
        regimes: of `regimes`.
        finetuned: of `finetuned`.
        family: in upper case.
        converged_loss: the final train loss below which a run of regime 1 is judged.

    Returns:
        Of regime 1 (axis elr), and of runs fine-tuned from regime 2 (axes plr and elr).
    """
    alone = regimes[regimes["family"] == family]
    counts = (alone["regime"] == 1) & (alone["final_train_loss"] < converged_loss)
    tuned = finetuned[finetuned["family"] == family]
    tuned_counts = tuned["converged"] & (tuned["start_regime"] == 2)
    return (
        best_cell(alone.assign(counts=counts), ["elr"], "final_test_error_recomputed"),
        best_cell(tuned.assign(counts=tuned_counts), ["plr", "elr"], "test_error_recomputed"),
    )


def best_cell(runs: pd.DataFrame, axes: list[str], error: str) -> Best:
    """The cell with the lowest mean error over its seeds, and its errors by seed.

    Args:
        runs: with `axes`, `seed`, `counts` and the error; a cell counts if all of its runs do.
        axes: what tells cells apart.
        error: a column.

    Returns:
        The values of the axes, NaN where no cell counts, and seed -> error.
    """
    whole = runs[runs.groupby(axes)["counts"].transform("all").astype(bool)]
    means = whole.groupby(axes)[error].mean().dropna()
    if not len(means):
        return (np.nan,) * len(axes), pd.Series(dtype=float)
    best = means.idxmin()
    best = best if isinstance(best, tuple) else (best,)
    chosen = (whole[axes] == list(best)).all(axis=1)
    return best, whole[chosen].set_index("seed")[error]


def switched(regimes: pd.DataFrame, **families: pd.DataFrame) -> pd.DataFrame:
    """The levels that runs reach after a change of ELR, and from their initial state.

    Args:
        regimes: of `regimes`, holding the families.
        families: histories by family, in lower case (`m1`), and of runs that went on from it at
            another ELR (`m1_switch`).

    Returns:
        Columns `SWITCHED`: means over the trailing half. One row a switched run, and one a run of
        the family at an ELR that was switched to, whose `plr` and `start_regime` are NaN.
    """
    rows = []
    for name, switch in families.items():
        family = name.removesuffix("_switch")
        if family == name:
            continue
        upper, wanted = family.upper(), set()
        for _, axis, run in _runs({family: switch}):
            plr, elr, seed = run["plr"].iloc[0], run[axis].iloc[0], run["seed"].iloc[0]
            wanted.add(elr)
            start = regime_at(_labels(regimes, upper, seed), plr)
            rows.append(dict(zip(SWITCHED, (upper, plr, elr, seed, start, *_half_means(run)))))
        for _, axis, run in _runs({family: families[family]}):
            if (elr := run[axis].iloc[0]) in wanted:
                levels = (upper, np.nan, elr, run["seed"].iloc[0], np.nan, *_half_means(run))
                rows.append(dict(zip(SWITCHED, levels)))
    return frame_of(rows, SWITCHED)


def convergence_times(border: pd.DataFrame, threshold: float, cap: float) -> pd.DataFrame:
    """Epochs until the running train loss, the mean over an epoch's batches, is below a threshold.

    Args:
        border: histories of runs that end there, or at the cap.
        threshold: of the running train loss.
        cap: epochs.

    Returns:
        Columns `CONVERGENCE_TIMES`; NaN for a run that has not come there, and its test error too.
    """
    rows = []
    for _, axis, run in _runs({"border": border}):
        below = run[(run["train_loss_running"] < threshold) & (run["epoch"] <= cap)]
        first = below.iloc[0] if len(below) else pd.Series(dtype=float)
        of_run = (run[axis].iloc[0], run["seed"].iloc[0], first.get("epoch", np.nan))
        errors = (first.get(f"test_error{kind}", np.nan) for kind in ("", "_recomputed"))
        rows.append(dict(zip(CONVERGENCE_TIMES, (*of_run, cap, threshold, *errors))))
    return frame_of(rows, CONVERGENCE_TIMES)


def curvature(**families: pd.DataFrame) -> pd.DataFrame:
    """The curvature at the end of runs, of the probes of several families.

    Args:
        families: what `measures.curvature.measure` gave, by family, named in lower case.

    Returns:
        Columns `CURVATURE`.
    """
    frames = [frame.assign(family=name.upper()) for name, frame in families.items() if len(frame)]
    rows = pd.concat(frames).to_dict("records") if frames else []
    return frame_of(rows, CURVATURE)


def random_walk(m1: pd.DataFrame) -> pd.DataFrame:
    """The cosine between weights measured one after another, and that of a random walk.

    A step of the walk on the sphere is theta' = (theta + s xi) / sqrt(1 + s^2), xi of unit length
    and uniform among tangent directions. Then E[cos'] = cos / sqrt(1 + s^2), since E[xi] = 0,
    exactly and in any dimension: the expectation after many steps is the product of
    cos(arctan s), and nothing is simulated. s is the ELR times the effective gradient norm, read
    halfway between the two measures.

    Args:
        m1: histories of sphere runs.

    Returns:
        Columns `RANDOM_WALK`, one row a run and measure but the first.
    """
    rows = []
    for _, axis, run in _runs({"m1": m1}):
        if "cosine_to_previous" not in run:
            continue
        elr, seed = run[axis].iloc[0], run["seed"].iloc[0]
        known = run.dropna(subset=["effective_gradient_norm"])
        turned = run[run["cosine_to_previous"].notna() | (run["epoch"] == 0)]
        if not len(known) or len(turned) < 2:
            continue
        steps = turned["step"].to_numpy(float)
        halfway = (steps[1:] + steps[:-1]) / 2
        norms = np.interp(halfway, known["step"], known["effective_gradient_norm"])
        expected = np.exp(-np.diff(steps) * np.log1p((elr * norms) ** 2) / 2)
        later = turned.iloc[1:]
        for epoch, measured, walk in zip(later["epoch"], later["cosine_to_previous"], expected):
            rows.append(dict(zip(RANDOM_WALK, (elr, seed, epoch, measured, walk))))
    return frame_of(rows, RANDOM_WALK)


def paths(between: pd.DataFrame) -> pd.DataFrame:
    """Train loss on straight lines between minima, and how high the loss rises over its ends.

    Args:
        between: of `measures.regime_paths.measure`.

    Returns:
        Columns `PATHS`, one row a path and place. `log_barrier`: the largest excess of the log of
        the loss over the straight line between the logs of its ends.
    """
    rows = []
    key = ["kind", "seed", "first_elr", "second_elr"]
    for _, path in between.groupby(key, sort=False) if len(between) else []:
        path = path.sort_values("alpha")
        logs = np.log(path["train_loss"].clip(lower=SMALLEST_LOSS).to_numpy(float))
        alphas = path["alpha"].to_numpy(float)
        excess = logs - ((1 - alphas) * logs[0] + alphas * logs[-1])
        rows += path.assign(log_barrier=max(excess.max(), 0.0)).to_dict("records")
    return frame_of(rows, PATHS)


def filters(
    runs: pd.DataFrame, filter_norm: pd.DataFrame, filter_step: pd.DataFrame
) -> pd.DataFrame:
    """The norm and the effective step of every filter where they were recorded, side by side.

    Args:
        runs: histories of the runs, which are not needed.
        filter_norm: recorded array: run, epoch, index, value, axes, experiment.
        filter_step: the same, of the effective steps.

    Returns:
        The columns of `filter_norm`, and filter_step after it.
    """
    key = ["run", "epoch", "index"]
    frame = filter_norm.merge(filter_step[[*key, "filter_step"]], on=key, validate="1:1")
    first = [*key, "filter_norm", "filter_step"]
    return frame[[*first, *(name for name in frame.columns if name not in first)]]


def slope(run: pd.DataFrame) -> float:
    """Least-squares slope of log train loss over the given rows, times their length in epochs.

    It is how much the log of the loss has moved along the fitted line; NaN below two values.
    """
    measured = run.dropna(subset=["train_loss"])
    epochs = measured["epoch"].to_numpy(float)
    if len(epochs) < 2:
        return np.nan
    logs = np.log(measured["train_loss"].clip(lower=SMALLEST_LOSS).to_numpy(float))
    centred = epochs - epochs.mean()
    return float(centred @ logs / (centred @ centred) * (epochs[-1] - epochs[0]))


def trailing(run: pd.DataFrame, share: float) -> pd.DataFrame:
    """The rows of the last epochs of a run, such as the last quarter; epoch 0 is never among them.

    Args:
        run: of one run.
        share: of the epochs that the run has.
    """
    return run[run["epoch"] > (1 - share) * run["epoch"].max()]


def _runs(families: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Family in upper case, the column of its rate, and the history of each of its runs."""
    for name, frame in families.items():
        if len(frame):
            axis = "elr" if "elr" in frame else "lr"
            for _, run in frame.groupby("run", sort=False):
                yield name.upper(), axis, run


def _levels(run: pd.DataFrame) -> dict[str, float]:
    quarter, half = trailing(run, 0.25), trailing(run, 0.5)
    names = ("train_loss", "train_error", "test_error", "test_error_recomputed")
    names += ("effective_gradient_norm", "cosine_to_previous")
    first = run[run["epoch"] == 0]
    loss_half, norm_half = _half_means(run)
    moved = slope(half)
    errors, chance = half["train_error"].dropna(), run["chance"].max()
    guessed, better = errors > chance - 3, errors < CORE * chance
    levels = guessed[guessed | better].astype(int)
    return {
        **{name: _mean(quarter, name) for name in names},
        "train_loss_half": loss_half,
        "effective_gradient_norm_half": norm_half,
        "train_loss_half_std": _deviation(half, "train_loss"),
        "effective_gradient_norm_half_std": _deviation(half, "effective_gradient_norm"),
        "final_train_loss": _final(run, "train_loss"),
        "final_test_error": _final(run, "test_error"),
        "final_test_error_recomputed": _final(run, "test_error_recomputed"),
        "loss_slope": moved,
        "first_train_loss": _mean(first, "train_loss"),
        "first_gradient_norm": _mean(first, "effective_gradient_norm"),
        "epochs": run["epoch"].max(),
        "share_r2": better.mean() if len(errors) else np.nan,
        "share_r3": guessed.mean() if len(errors) else np.nan,
        "alternations": float(levels.diff().abs().sum()) if len(errors) else np.nan,
    }


def _deviation(rows: pd.DataFrame, column: str) -> float:
    """Standard deviation over epochs, of ten looks at least."""
    values = rows[column].dropna() if column in rows else []
    return values.std() if len(values) >= LOOKS else np.nan


def _regime(run: pd.DataFrame, chance: float) -> dict[str, float | bool]:
    # A run that diverges is measured once more, and gives no finite loss.
    diverged = not np.isfinite(run["train_loss"].iloc[-1])
    quarter = trailing(run, 0.25)
    error = quarter["train_error"].mean()
    if diverged or error > chance - 3:
        regime = 3
    elif quarter["train_loss"].max() < 0.02 or (error < 0.5 and slope(quarter) < 0):
        regime = 1
    else:
        regime = 2
    unfinished = regime == 2 and slope(trailing(run, 0.5)) < -SLOPE
    return {"regime": regime, "diverged": diverged, "unfinished": unfinished}


def _half_means(run: pd.DataFrame) -> tuple[float, float]:
    half = trailing(run, 0.5)
    return _mean(half, "train_loss"), _mean(half, "effective_gradient_norm")


def _labels(regimes: pd.DataFrame, family: str, seed: int) -> pd.Series:
    own = regimes[(regimes["family"] == family) & (regimes["seed"] == seed)]
    return own.set_index("rate")["regime"]


def _mean(rows: pd.DataFrame, column: str) -> float:
    return rows[column].mean() if column in rows else np.nan


def _final(run: pd.DataFrame, column: str) -> float:
    """The last measured value of a run."""
    measured = run[column].dropna() if column in run else []
    return measured.iloc[-1] if len(measured) else np.nan


def _read_at(losses: np.ndarray, norms: np.ndarray, common: float) -> float:
    """The norm where the loss last comes down to the common one, log against log; NaN if never."""
    above = np.flatnonzero(losses >= common)
    if not above.size:
        return np.nan
    last = above[-1]
    if last == losses.size - 1:
        return norms[last] if losses[last] == common else np.nan
    start, end = np.log(losses[last : last + 2].clip(SMALLEST_LOSS))
    share = (start - np.log(common)) / (start - end)
    return float(norms[last] ** (1 - share) * norms[last + 1] ** share)
