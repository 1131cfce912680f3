"""Pre-training at a large learning rate (PLR), then fine-tuning at a small one (FLR) or averaging.

A setup is a network and its data; it is the label `setup` of its experiments, and so a column of
what these functions take. Histories have one row a run and recorded epoch, sorted by run and step,
with labels and axes as columns; whatever the recipe calls its learning rate, it is `plr` before and
`flr` after. `data` names the data set where a setup has several (draws of the split and the noise,
or sets of the synthetic task), and is empty elsewhere. Accuracies are in percent.

Source: specification where-large-lrs, sections 2, 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of

PRETRAINED = {
    "setup": str,
    "title": str,
    "plr": float,
    "data": str,
    "seed": "int64",
    "train_loss": float,
    "train_accuracy": float,
    "test_accuracy": float,
    "running_test_accuracy": float,
    "test_accuracy_mean": float,
    "test_accuracy_std": float,
    "converged": bool,
    "chance": float,
}
FINETUNED = {
    "setup": str,
    "plr": float,
    "flr": float,
    "data": str,
    "seed": "int64",
    "train_loss": float,
    "train_accuracy": float,
    "test_accuracy": float,
    "running_test_accuracy": float,
}
AVERAGED = {
    "setup": str,
    "plr": float,
    "count": "int64",
    "data": str,
    "seed": "int64",
    "train_accuracy": float,
    "test_accuracy": float,
}
GEOMETRY = {
    "setup": str,
    "plr": float,
    "data": str,
    "seed": "int64",
    "pair": str,
    "angle": float,
    "train_barrier": float,
    "test_barrier": float,
}
BANDS = {
    "setup": str,
    "plr": float,
    "data": str,
    "seed": "int64",
    "stage": str,
    "band": str,
    "accuracy": float,
    "running_accuracy": float,
    "accuracy_raw": float,
}
BOUNDS = {
    "setup": str,
    "title": str,
    "eta12": float,
    "eta2AB": float,
    "eta23": float,
    "chance": float,
    "drawn_eta12": float,
    "drawn_eta2AB": float,
    "drawn_eta23": float,
}
SUMMARY = {
    "setup": str,
    "title": str,
    "eta12": float,
    "eta2AB": float,
    "eta23": float,
    "argmax_ft": float,
    "best_ft": float,
    "best_ft_se": float,
    "argmax_swa": float,
    "best_swa": float,
    "best_swa_se": float,
    "best_regime_1": float,
    "best_regime_1_se": float,
    "width": float,
    "grid_step": float,
    "gain_ft": float,
    "gain_ft_se": float,
    "gain_best_flr": float,
    "gain_best_flr_se": float,
    "gain_swa": float,
    "gain_swa_se": float,
    "position": float,
}
NORMS = {
    "plr": float,
    "stage": str,
    "data": str,
    "seed": "int64",
    "filter": "int64",
    "log10_share": float,
}
SHARPNESS = {
    "setup": str,
    "regime": str,
    "plr": float,
    "lr": float,
    "data": str,
    "seed": "int64",
    "train_loss": float,
    "epoch": float,
    "sharpness": float,
    "test_error": float,
}
TWO_STAGE = {
    "start": str,
    "plr": float,
    "flr": float,
    "data": str,
    "seed": "int64",
    "test_accuracy": float,
}

STARTS = ("2B", "2B, 2A", "2A", "none")
"""Where the runs of `two_stages` were pre-trained, in the order they are drawn."""

MOMENTS = {"recomputed": "test_error_recomputed", "running": "test_error"}
"""How batch norm's moments are had for a test error -> the column of the histories that has it."""

Best = tuple[float, pd.Series]
"""The PLR of the best cell, NaN where there is none, and its accuracies by data set and seed."""


def pretrained(
    runs: pd.DataFrame,
    epoch: int,
    last: int,
    until: int | None = None,
    converged_loss: float | None = None,
    converged_accuracy: float | None = None,
    moments: str = "recomputed",
) -> pd.DataFrame:
    """How runs stand at the end of pre-training, and whether they have converged.

    Args:
        runs: histories.
        epoch: of the point that others start from, the last one of a shorter run; runs may go on.
        last: epochs over which the mean and deviation of test accuracy are taken, up to
        until: this one, None: `epoch`. Runs that go on for averages go on at the same PLR.
        converged_loss: a run whose train loss is below has converged; or
        converged_accuracy: one whose train accuracy, percent, is at least this.
        moments: of batch norm, by which test accuracies are taken: re-estimated over the training
            set where that was recorded, or running ones; one of `MOMENTS`.

    Returns:
        Columns `PRETRAINED`. `chance`: the accuracy of a guess; `running_test_accuracy`: by running
        moments. A run that ended before the epoch has NaN.

    Raises:
        ValueError: neither or both of the two bounds are given.

    Source: where-large-lrs, sections 5.6 and 6.9.
    """
    if (converged_loss is None) == (converged_accuracy is None):
        raise ValueError("one of converged_loss and converged_accuracy must be given")
    rows = []
    for run in _runs(runs):
        end = min(epoch, run["epoch"].max())
        up_to = min(until or epoch, run["epoch"].max())
        at = run[run["epoch"] <= end]
        errors = _test_errors(at, moments)
        loss, accuracy = _at(at, "train_loss", end), 100 - _at(at, "train_error", end)
        if converged_loss is not None:
            converged = bool(loss < converged_loss)
        else:
            converged = bool(accuracy >= converged_accuracy)
        over = run["epoch"].between(up_to - last, up_to, inclusive="right")
        looks = _test_errors(run, moments)[over].dropna()
        rows.append(
            {
                **_about(run, "setup", "title", "plr", "data", "seed"),
                "train_loss": loss,
                "train_accuracy": accuracy,
                "test_accuracy": 100 - _at(at.assign(error=errors), "error", end),
                "running_test_accuracy": 100 - _at(at, "test_error", end),
                "test_accuracy_mean": 100 - looks.mean(),
                "test_accuracy_std": looks.std(ddof=0),
                "converged": converged,
                "chance": 100 - run["chance"].max(),
            }
        )
    return frame_of(rows, PRETRAINED)


def finetuned(runs: pd.DataFrame, moments: str = "recomputed") -> pd.DataFrame:
    """How fine-tuned runs end.

    Args:
        runs: histories, with `plr` and `flr`.
        moments: as of `pretrained`.

    Returns:
        Columns `FINETUNED`, at the last epoch measured; NaN where a run did not get to its end.
    """
    rows = []
    for run in _runs(runs):
        end = run["epoch"].max()
        rows.append(
            {
                **_about(run, "setup", "plr", "flr", "data", "seed"),
                "train_loss": _at(run, "train_loss", end),
                "train_accuracy": 100 - _at(run, "train_error", end),
                "test_accuracy": 100
                - _at(run.assign(error=_test_errors(run, moments)), "error", end),
                "running_test_accuracy": 100 - _at(run, "test_error", end),
            }
        )
    return frame_of(rows, FINETUNED)


def averaged(**probes: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of averages of weights, with batch norm's moments re-estimated.

    Args:
        probes: of `measures.accuracy.measure`, with roles named `swa5` for five checkpoints.

    Returns:
        Columns `AVERAGED`.
    """
    counted = {
        name: frame.assign(count=frame["role"].str.removeprefix("swa").astype(int))
        for name, frame in probes.items()
        if len(frame)
    }
    return _joined(counted, AVERAGED)


def geometry(**probes: pd.DataFrame) -> pd.DataFrame:
    """Angles and barriers: columns `GEOMETRY`, of `measures.paths.measure`."""
    return _joined(probes, GEOMETRY)


def bands(**probes: pd.DataFrame) -> pd.DataFrame:
    """Band accuracies: columns `BANDS`, of `measures.spectra.measure`."""
    return _joined(probes, BANDS)


def norms(norms: pd.DataFrame, third: pd.DataFrame) -> pd.DataFrame:
    """Shares of filters: columns `NORMS`.

    Args:
        norms: of `measures.norms.measure`.
        third: the runs, not trained for this, whose ELR is the PLR of regime 3.
    """
    rates = third["elr"].unique() if len(third) else [np.nan]
    return _joined({"norms": norms.assign(plr=rates[0])}, NORMS)


def bounds(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    chance_points: float = 2.0,
    drawn: Mapping[str, Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Where the regimes of a setup begin and end, by rules free of what claims test.

    eta12 is the last PLR of the first unbroken row of PLRs at which all seeds converge; eta23 the
    first from which on mean test accuracy is within `chance_points` of a guess; eta2AB the last of
    the unbroken row of PLRs between them from which fine-tuning at the smallest FLR comes out at
    least as well as the best pre-training up to eta12 does. What is not there is NaN: without
    eta12 nothing can be told; without eta23 regime 2 has no end. PLRs too small to have converged
    yet lie below that row and count as regime 1.

    Args:
        pretrained, finetuned: of the functions of these names.
        chance_points: percentage points.
        drawn: setup -> borders as the paper draws them.

    Returns:
        Columns `BOUNDS`, one row a setup of `pretrained`.

    Source: where-large-lrs, section 5.6.
    """
    rows = []
    for setup, runs in pretrained.groupby("setup", sort=False):
        edges = _edges(runs, finetuned[finetuned["setup"] == setup], chance_points)
        named = (drawn or {}).get(setup, {})
        shown = {f"drawn_{name}": named.get(name, np.nan) for name in edges}
        about = {"setup": setup, "title": runs["title"].iloc[0], "chance": runs["chance"].max()}
        rows.append({**about, **edges, **shown})
    return frame_of(rows, BOUNDS)


def _edges(runs: pd.DataFrame, tuned: pd.DataFrame, points: float) -> dict[str, float]:
    by_plr = runs.groupby("plr")
    converged = by_plr["converged"].all()
    eta12 = eta2ab = eta23 = np.nan
    if converged.any():
        first = converged[converged].index[0]
        row = converged[converged.index >= first]
        broken = row.index[~row]
        eta12 = row.index[row.index < (broken[0] if len(broken) else np.inf)][-1]
    guesses = by_plr["test_accuracy_mean"].mean() <= runs["chance"].max() + points
    for plr in guesses.index[::-1]:
        if not guesses[plr]:
            break
        eta23 = plr
    if np.isfinite(eta12) and len(tuned):
        alone = runs[runs["plr"] <= eta12].groupby("plr")["test_accuracy"].mean().max()
        lowest = tuned[tuned["flr"] == tuned["flr"].min()].groupby("plr")["test_accuracy"].mean()
        last = eta23 if np.isfinite(eta23) else np.inf
        for plr, accuracy in lowest[(lowest.index > eta12) & (lowest.index < last)].items():
            if not accuracy >= alone:
                break
            eta2ab = plr
    return {"eta12": eta12, "eta2AB": eta2ab, "eta23": eta23}


def regime(plr: pd.Series, edges: Mapping[str, float]) -> pd.Series:
    """The regime of each PLR: "1", "2A", "2B" or "3"; "" where eta12 is not known.

    Args:
        plr: learning rates.
        edges: a row of `bounds`.
    """
    eta12, eta2ab, eta23 = (edges[name] for name in ("eta12", "eta2AB", "eta23"))
    if not np.isfinite(eta12):
        return pd.Series("", index=plr.index)
    # A comparison with NaN is false: an empty 2A, or no regime 3.
    named = np.select([plr <= eta12, plr <= eta2ab, plr >= eta23], ["1", "2A", "3"], "2B")
    return pd.Series(named, index=plr.index)


def flr_means(finetuned: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of fine-tuning, the mean over the FLRs: a row a setup, PLR, data set and seed."""
    by = finetuned.groupby(["setup", "plr", "data", "seed"], as_index=False)
    return by.agg(test_accuracy=("test_accuracy", lambda values: values.mean(skipna=False)))


def best(runs: pd.DataFrame, *axes: str) -> Best:
    """The cell with the highest mean test accuracy over its seeds.

    Args:
        runs: with columns test_accuracy, data, seed, plr and `axes`; a cell with a run that has no
            accuracy does not count.
        axes: what tells cells apart beside the PLR.
    """
    whole = runs.groupby(["plr", *axes]).filter(lambda cell: cell["test_accuracy"].notna().all())
    if not len(whole):
        return np.nan, pd.Series(dtype=float)
    cells = whole.groupby(["plr", *axes])
    key = cells["test_accuracy"].mean().idxmax()
    chosen = cells.get_group(key if isinstance(key, tuple) else (key,))
    return float(chosen["plr"].iloc[0]), chosen.set_index(["data", "seed"])["test_accuracy"]


def best_regime_1(pretrained: pd.DataFrame, finetuned: pd.DataFrame) -> Best:
    """The best that small PLRs reach, by pre-training alone or with the best FLR after it.

    A tiny PLR with a large FLR is nothing but training at that FLR from a bad minimum: leaving it
    out would flatter large PLRs (how-large-lrs, trap 3).

    Args:
        pretrained, finetuned: of one setup, in regime 1 only.
    """
    alone, tuned = best(pretrained), best(finetuned, "flr")
    return max((alone, tuned), key=lambda found: found[1].mean() if len(found[1]) else -np.inf)


def optimal_plrs(finetuned: pd.DataFrame, points: float) -> pd.Index:
    """The PLRs whose fine-tuning, mean over FLRs and seeds, is within some points of the best.

    Args:
        finetuned: of one setup.
        points: percentage points.

    Source: how-large-lrs, section 6, I_delta.
    """
    means = flr_means(finetuned).groupby("plr")["test_accuracy"].mean()
    return means.index[means >= means.max() - points]


def summary(
    pretrained: pd.DataFrame,
    finetuned: pd.DataFrame,
    averaged: pd.DataFrame,
    bounds: pd.DataFrame,
    count: int = 5,
    points: float = 1.0,
) -> pd.DataFrame:
    """The optimal learning rates of each setup, and what they gain.

    Args:
        pretrained, finetuned, averaged, bounds: of the functions of these names.
        count: of checkpoints in the averages.
        points: of accuracy, that the optimal interval may lose.

    Returns:
        Columns `SUMMARY`. Gains are mean differences over the seeds, regime 2 less regime 1, with
        standard errors over data sets, or over seeds where there is one; both cells are chosen on
        the runs that they are compared on, unlike in the claims. `width`: decades from the first to
        the last optimal PLR; `grid_step`: the median of the grid's steps; `position`: decades from
        eta12 to the optimum. NaN where there is nothing to compare.

    Source: how-large-lrs, section 6.
    """
    rows = []
    for edges in bounds.to_dict("records"):
        of = [
            frame[frame["setup"] == edges["setup"]].pipe(
                lambda own, edges=edges: own.assign(regime=regime(own["plr"], edges))
            )
            for frame in (pretrained, finetuned, averaged)
        ]
        rows.append(_summary(edges, *of, count, points))
    return frame_of(rows, SUMMARY)


def _summary(
    edges: Mapping[str, float],
    alone: pd.DataFrame,
    tuned: pd.DataFrame,
    averages: pd.DataFrame,
    count: int,
    points: float,
) -> dict[str, float]:
    """One row of `summary`, of the rows of one setup with their regimes."""
    averages = averages[averages["count"] == count]
    means = flr_means(tuned)
    means = means.assign(regime=regime(means["plr"], edges))
    small = best_regime_1(alone[alone["regime"] == "1"], tuned[tuned["regime"] == "1"])[1]
    large = {
        "ft": best(_large(means))[1],
        "best_flr": best(_large(tuned), "flr")[1],
        "swa": best(_large(averages))[1],
    }
    levels = {"best_regime_1": small, "best_ft": large["ft"], "best_swa": large["swa"]}
    levels |= {f"gain_{name}": (found - small).dropna() for name, found in large.items()}
    row = {name: edges[name] for name in ("setup", "title", "eta12", "eta2AB", "eta23")}
    for name, values in levels.items():
        row[name], row[f"{name}_se"] = _mean(values)
    row["argmax_ft"], row["argmax_swa"] = best(means)[0], best(averages)[0]
    if len(means):
        optimal = optimal_plrs(tuned, points)
        row["width"] = np.log10(optimal.max() / optimal.min())
        row["grid_step"] = np.median(np.diff(np.log10(np.sort(means["plr"].unique()))))
        row["position"] = np.log10(row["argmax_ft"] / edges["eta12"])
    return row


def _large(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["regime"].isin(["2A", "2B"])]


def _mean(values: pd.Series) -> tuple[float, float]:
    """Mean and standard error over data sets, or over the seeds of one."""
    if not len(values):
        return np.nan, np.nan
    by_data = values.groupby(level="data").mean()
    outer = by_data if len(by_data) > 1 else values
    return outer.mean(), outer.sem()


def sharpness(
    before: pd.DataFrame, after: pd.DataFrame, bounds: pd.DataFrame, loss: float
) -> pd.DataFrame:
    """Sharpness and test error of runs where their train loss is the same.

    Sharpness is the effective gradient norm: the mean over batches of the norm of the batch
    gradient by the scale-invariant weights, times their norm. Each run is read where its train loss
    first falls below `loss`: the mean of the two recorded epochs around, weighted by their losses'
    distance from it. A run that does not fall so far, or begins below, has NaN.

    Args:
        before: histories of pre-training, with `plr`; those in regime 1 count.
        after: histories of fine-tuning, with `plr` and `flr`; those from regime 2 count.
        bounds: of the one setup that these are of.
        loss: nats.

    Returns:
        Columns `SHARPNESS`; `lr` is the learning rate of the run itself.

    Source: where-large-lrs, sections 0 and 6.8.
    """
    if not len(bounds):
        return frame_of([], SHARPNESS)
    edges = bounds.iloc[0].to_dict()
    rows = []
    for frame, lr, regimes in ((before, "plr", ["1"]), (after, "flr", ["2A", "2B"])):
        for run in _runs(frame):
            own = regime(run["plr"].iloc[:1], edges).iloc[0]
            if own in regimes:
                about = _about(run, "setup", "plr", "data", "seed")
                about |= {"regime": own, "lr": run[lr].iloc[0], "train_loss": loss}
                rows.append(about | _where_loss_is(run, loss))
    return frame_of(rows, SHARPNESS)


def _where_loss_is(run: pd.DataFrame, loss: float) -> dict[str, float]:
    """Epoch, sharpness and test error where the train loss of a run first falls below `loss`."""
    names = {"epoch": "epoch", "effective_gradient_norm": "sharpness", "error": "test_error"}
    run = run.assign(error=_test_errors(run, "recomputed"))
    run = run.dropna(subset=["train_loss", *names])
    below = np.flatnonzero(run["train_loss"].to_numpy() < loss)
    if not len(below) or not below[0]:
        return dict.fromkeys(names.values(), np.nan)
    over, under = run.iloc[below[0] - 1], run.iloc[below[0]]
    share = (over["train_loss"] - loss) / (over["train_loss"] - under["train_loss"])
    return {new: (1 - share) * over[old] + share * under[old] for old, new in names.items()}


def two_stages(
    once: pd.DataFrame,
    twice: pd.DataFrame,
    scratch: pd.DataFrame,
    large: float,
    middle: float,
    scratch_epochs: int,
    moments: str = "recomputed",
) -> pd.DataFrame:
    """Test accuracy after fine-tuning from one stage of pre-training, from two, and from none.

    Args:
        once: histories of fine-tuning, with `plr` and `flr`.
        twice: the same, of runs pre-trained at `large`, then at `middle`.
        scratch: histories of runs from the initial state at an FLR, with `flr`.
        large, middle: PLRs of regimes 2B and 2A.
        scratch_epochs: at which runs from scratch are read.
        moments: as of `pretrained`.

    Returns:
        Columns `TWO_STAGE`; `start` is one of `STARTS`, `plr` that of the last stage.

    Source: where-large-lrs, sections 5.5 (two_stage) and 7 (fig12).
    """
    from_2b, from_2a = (
        once[np.isclose(once["plr"], plr)] if len(once) else once for plr in (large, middle)
    )
    parts = zip(STARTS, (from_2b, twice, from_2a, scratch), (large, middle, middle, np.nan))
    rows = []
    for start, frame, plr in parts:
        for run in _runs(frame):
            end = run["epoch"].max()
            end = min(scratch_epochs, end) if start == "none" else end
            errors = run.assign(error=_test_errors(run, moments))
            about = {"start": start, "plr": plr, **_about(run, "flr", "data", "seed")}
            rows.append(about | {"test_accuracy": 100 - _at(errors, "error", end)})
    return frame_of(rows, TWO_STAGE)


def _runs(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The history of each run; none of a frame without rows."""
    for _, run in frame.groupby("run", sort=False) if len(frame) else []:
        yield run


def _about(run: pd.DataFrame, *names: str) -> dict[str, object]:
    """What a run is told apart by; "" where it has no such column or value."""
    row = run.iloc[0]
    return {name: "" if name not in row or pd.isna(row[name]) else row[name] for name in names}


def _test_errors(run: pd.DataFrame, moments: str) -> pd.Series:
    """Test errors by the moments that are asked for; running ones where no others were recorded."""
    column = MOMENTS[moments]
    known = column in run and run[column].notna().any()
    return run[column if known else "test_error"]


def _at(run: pd.DataFrame, column: str, epoch: float) -> float:
    """The value at an epoch; NaN where it was not measured then."""
    if column not in run:
        return np.nan
    found = run[run["epoch"] == epoch][column]
    return float(found.iloc[0]) if len(found) else np.nan


def _joined(probes: Mapping[str, pd.DataFrame], columns: Mapping[str, object]) -> pd.DataFrame:
    frames = [frame for frame in probes.values() if len(frame)]
    if not frames:
        return frame_of([], columns)
    joined = pd.concat(frames, ignore_index=True)
    joined["data"] = joined["data"].fillna("") if "data" in joined else ""
    return joined[list(columns)].astype(columns)
