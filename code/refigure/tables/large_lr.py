"""Pre-training at a large learning rate (PLR), then fine-tuning at a small one (FLR) or averaging.

Functions take frames by setup (`resnet_c10=...`): a network and its data. Histories have one row a
run and recorded epoch, sorted by run and step, with the axes as columns; whatever the recipe calls
its learning rate, it is `plr` before and `flr` after. Accuracies are in percent.

Source: specification where-large-lrs, sections 2, 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of

PRETRAINED = {
    "setup": str,
    "plr": float,
    "seed": "int64",
    "train_loss": float,
    "train_accuracy": float,
    "test_accuracy": float,
    "test_accuracy_mean": float,
    "test_accuracy_std": float,
    "converged": bool,
    "chance": float,
}
FINETUNED = {
    "setup": str,
    "plr": float,
    "flr": float,
    "seed": "int64",
    "train_loss": float,
    "train_accuracy": float,
    "test_accuracy": float,
}
AVERAGED = {
    "setup": str,
    "plr": float,
    "count": "int64",
    "seed": "int64",
    "train_accuracy": float,
    "test_accuracy": float,
}
GEOMETRY = {
    "setup": str,
    "plr": float,
    "seed": "int64",
    "pair": str,
    "angle": float,
    "train_barrier": float,
    "test_barrier": float,
}
BANDS = {
    "setup": str,
    "plr": float,
    "seed": "int64",
    "stage": str,
    "band": str,
    "accuracy": float,
    "accuracy_raw": float,
}
BOUNDS = {
    "setup": str,
    "eta12": float,
    "eta2AB": float,
    "eta23": float,
    "drawn_eta12": float,
    "drawn_eta2AB": float,
    "drawn_eta23": float,
}
SUMMARY = {
    "setup": str,
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
NORMS = {"stage": str, "seed": "int64", "filter": "int64", "log10_share": float}
SHARPNESS = {
    "setup": str,
    "regime": str,
    "plr": float,
    "lr": float,
    "seed": "int64",
    "common_loss": float,
    "epoch": float,
    "train_loss": float,
    "sharpness": float,
    "test_error": float,
}
TWO_STAGE = {"start": str, "flr": float, "seed": "int64", "test_accuracy": float}

STARTS = ("2B", "2B, 2A", "2A", "none")
"""Where the runs of `two_stages` were pre-trained, in the order they are drawn."""

Best = tuple[float, pd.Series]
"""The PLR of the best cell, NaN where there is none, and its accuracies, seed -> accuracy."""


def pretrained(
    epoch: int,
    last: int,
    converged_loss: float | None = None,
    converged_accuracy: float | None = None,
    **setups: pd.DataFrame,
) -> pd.DataFrame:
    """How runs stand at the end of pre-training, and whether they have converged.

    Args:
        epoch: of the point that others start from, the last one of a shorter run; runs may go on.
        last: epochs up to it, over which the mean and deviation of test accuracy are taken.
        converged_loss: a run whose train loss is below has converged; or
        converged_accuracy: one whose train accuracy, percent, is at least this.
        setups: histories.

    Returns:
        Columns `PRETRAINED`. `chance`: the accuracy of a guess. A run that ended before the epoch
        has NaN.

    Raises:
        ValueError: neither or both of the two bounds are given.

    Source: where-large-lrs, sections 5.6 and 6.9.
    """
    if (converged_loss is None) == (converged_accuracy is None):
        raise ValueError("one of converged_loss and converged_accuracy must be given")
    rows = []
    for setup, run in _runs(setups):
        end = min(epoch, run["epoch"].max())
        at = run[run["epoch"] <= end]
        loss, accuracy = _at(at, "train_loss", end), 100 - _at(at, "train_error", end)
        tested = at[at["epoch"] > end - last]["test_error"].dropna()
        known = loss if converged_loss is not None else accuracy
        converged = known < converged_loss if converged_loss is not None else None
        rows.append(
            {
                "setup": setup,
                "plr": run["plr"].iloc[0],
                "seed": run["seed"].iloc[0],
                "train_loss": loss,
                "train_accuracy": accuracy,
                "test_accuracy": 100 - _at(at, "test_error", end),
                "test_accuracy_mean": 100 - tested.mean(),
                "test_accuracy_std": tested.std(ddof=0),
                "converged": bool(known >= converged_accuracy if converged is None else converged),
                "chance": 100 - run["chance"].max(),
            }
        )
    return frame_of(rows, PRETRAINED)


def finetuned(**setups: pd.DataFrame) -> pd.DataFrame:
    """How fine-tuned runs end.

    Args:
        setups: histories, with `plr` and `flr`.

    Returns:
        Columns `FINETUNED`, at the last epoch measured; NaN where a run did not get to its end.
    """
    rows = []
    for setup, run in _runs(setups):
        end = run["epoch"].max()
        rows.append(
            {
                "setup": setup,
                "plr": run["plr"].iloc[0],
                "flr": run["flr"].iloc[0],
                "seed": run["seed"].iloc[0],
                "train_loss": _at(run, "train_loss", end),
                "train_accuracy": 100 - _at(run, "train_error", end),
                "test_accuracy": 100 - _at(run, "test_error", end),
            }
        )
    return frame_of(rows, FINETUNED)


def averaged(**setups: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of averages of weights, with batch norm's statistics taken anew.

    Args:
        setups: of `measures.accuracy.measure`, with roles named `swa5` for five checkpoints.

    Returns:
        Columns `AVERAGED`.
    """
    return _joined(
        {
            setup: frame.assign(count=frame["role"].str.removeprefix("swa").astype(int))
            for setup, frame in setups.items()
            if len(frame)
        },
        AVERAGED,
    )


def geometry(**setups: pd.DataFrame) -> pd.DataFrame:
    """Angles and barriers: columns `GEOMETRY`, of `measures.paths.measure` by setup."""
    return _joined(setups, GEOMETRY)


def bands(**setups: pd.DataFrame) -> pd.DataFrame:
    """Band accuracies: columns `BANDS`, of `measures.spectra.measure` by setup."""
    return _joined(setups, BANDS)


def norms(norms: pd.DataFrame) -> pd.DataFrame:
    """Shares of filters: columns `NORMS`, of `measures.norms.measure`."""
    return _joined({"": norms}, NORMS)


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
        rows.append({"setup": setup, **edges, **shown})
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
    """Accuracy of fine-tuning, the mean over the FLRs: one row a setup, PLR and seed."""
    by = finetuned.groupby(["setup", "plr", "seed"], as_index=False)
    return by.agg(test_accuracy=("test_accuracy", lambda values: values.mean(skipna=False)))


def best(runs: pd.DataFrame, *axes: str) -> Best:
    """The cell with the highest mean test accuracy over its seeds.

    Args:
        runs: with columns test_accuracy, seed, plr and `axes`; a cell with a run that has no
            accuracy does not count.
        axes: what tells cells apart beside the PLR.
    """
    whole = runs.groupby(["plr", *axes]).filter(lambda cell: cell["test_accuracy"].notna().all())
    if not len(whole):
        return np.nan, pd.Series(dtype=float)
    cells = whole.groupby(["plr", *axes])
    key = cells["test_accuracy"].mean().idxmax()
    chosen = cells.get_group(key if isinstance(key, tuple) else (key,))
    return float(chosen["plr"].iloc[0]), chosen.set_index("seed")["test_accuracy"]


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
        standard errors; `width`: decades from the first to the last optimal PLR; `grid_step`:
        decades between the PLRs beside the optimum, at most; `position`: decades from eta12 to the
        optimum. NaN where there is nothing to compare.

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


def _summary(edges, alone, tuned, averages, count, points) -> dict[str, float]:
    averages = averages[averages["count"] == count]
    means = flr_means(tuned)
    means = means.assign(regime=regime(means["plr"], edges))
    r1 = best_regime_1(alone[alone["regime"] == "1"], tuned[tuned["regime"] == "1"])
    large = {
        "ft": best(_large(means)),
        "best_flr": best(_large(tuned), "flr"),
        "swa": best(_large(averages)),
    }
    row = {name: edges[name] for name in ("setup", "eta12", "eta2AB", "eta23")}
    row |= dict(zip(("best_regime_1", "best_regime_1_se"), _mean(r1[1])))
    row |= dict(zip(("best_ft", "best_ft_se"), _mean(large["ft"][1])))
    row |= dict(zip(("best_swa", "best_swa_se"), _mean(large["swa"][1])))
    for name, (_, accuracies) in large.items():
        gain = (accuracies - r1[1]).dropna()
        row |= dict(zip((f"gain_{name}", f"gain_{name}_se"), _mean(gain)))
    row["argmax_ft"], row["argmax_swa"] = best(means)[0], best(averages)[0]
    if len(means):
        optimal = optimal_plrs(tuned, points)
        row["width"] = np.log10(optimal.max() / optimal.min())
        steps = np.diff(np.log10(np.sort(means["plr"].unique())))
        place = int(np.searchsorted(np.sort(means["plr"].unique()), row["argmax_ft"]))
        near = steps[max(place - 1, 0) : place + 1]
        row["grid_step"] = near.max() if len(near) else np.nan
        row["position"] = np.log10(row["argmax_ft"] / edges["eta12"])
    return row


def _large(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["regime"].isin(["2A", "2B"])]


def _mean(values: pd.Series) -> tuple[float, float]:
    return values.mean(), values.sem()


def sharpness(before: pd.DataFrame, after: pd.DataFrame, bounds: pd.DataFrame) -> pd.DataFrame:
    """Sharpness and test error of runs where their train loss is the same.

    Sharpness is the effective gradient norm: the mean over batches of the norm of the batch
    gradient by the scale-invariant weights, times their norm. The common loss is the largest that
    any of the runs ends at; each run is read at the epoch whose loss is nearest to it, in the
    logarithm.

    Args:
        before: histories of pre-training, with `plr`; those in regime 1 count.
        after: histories of fine-tuning, with `plr` and `flr`; those from regime 2 count.
        bounds: of the one setup that these are of.

    Returns:
        Columns `SHARPNESS`; `lr` is the learning rate of the run itself.

    Source: where-large-lrs, section 6.8.
    """
    if not len(bounds):
        return frame_of([], SHARPNESS)
    edges = bounds.iloc[0].to_dict()
    chosen = []
    for frame, lr, regimes in ((before, "plr", ["1"]), (after, "flr", ["2A", "2B"])):
        for _, run in _runs({"": frame}):
            own = regime(run["plr"].iloc[:1], edges).iloc[0]
            run = run.dropna(subset=["train_loss", "effective_gradient_norm", "test_error"])
            run = run[run["epoch"] > 0]
            if own in regimes and len(run):
                chosen.append((own, run[lr].iloc[0], run))
    common = max((run["train_loss"].iloc[-1] for *_, run in chosen), default=np.nan)
    rows = []
    for own, lr, run in chosen:
        distance = (run["train_loss"].clip(lower=1e-12) / common).map(np.log).abs()
        read = run.loc[distance.idxmin()]
        rows.append(
            {
                "setup": edges["setup"],
                "regime": own,
                "plr": read["plr"],
                "lr": lr,
                "seed": read["seed"],
                "common_loss": common,
                "epoch": read["epoch"],
                "train_loss": read["train_loss"],
                "sharpness": read["effective_gradient_norm"],
                "test_error": read["test_error"],
            }
        )
    return frame_of(rows, SHARPNESS)


def two_stages(
    once: pd.DataFrame,
    twice: pd.DataFrame,
    scratch: pd.DataFrame,
    large: float,
    middle: float,
    scratch_epochs: int,
    scratch_high: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Test accuracy after fine-tuning from one stage of pre-training, from two, and from none.

    Args:
        once: histories of fine-tuning, with `plr` and `flr`.
        twice: the same, of runs pre-trained at `large`, then at `middle`.
        scratch, scratch_high: histories of runs from the initial state at an FLR, with `flr`.
        large, middle: PLRs of regimes 2B and 2A.
        scratch_epochs: at which runs from scratch are read.

    Returns:
        Columns `TWO_STAGE`; `start` is one of `STARTS`.

    Source: where-large-lrs, sections 5.5 (two_stage) and 7 (fig12).
    """
    rows = []
    none = [scratch, *([] if scratch_high is None else [scratch_high])]
    for start, frames in zip(STARTS, ([once], [twice], [once], none), strict=True):
        for frame in frames:
            for _, run in _runs({start: frame}):
                plr = run["plr"].iloc[0] if start in ("2B", "2A") else None
                if plr is not None and not np.isclose(plr, large if start == "2B" else middle):
                    continue
                end = run["epoch"].max()
                end = min(scratch_epochs, end) if start == "none" else end
                accuracy = 100 - _at(run, "test_error", end)
                rows.append((start, run["flr"].iloc[0], run["seed"].iloc[0], accuracy))
    return frame_of(rows, TWO_STAGE)


def _runs(setups: Mapping[str, pd.DataFrame]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Setup and history of each run; none of frames without rows."""
    for setup, frame in setups.items():
        for _, run in frame.groupby("run", sort=False) if len(frame) else []:
            yield setup, run


def _at(run: pd.DataFrame, column: str, epoch: float) -> float:
    """The value at an epoch; NaN where it was not measured then."""
    if column not in run:
        return np.nan
    found = run[run["epoch"] == epoch][column]
    return float(found.iloc[0]) if len(found) else np.nan


def _joined(setups: Mapping[str, pd.DataFrame], columns: Mapping[str, object]) -> pd.DataFrame:
    frames = [frame.assign(setup=setup) for setup, frame in setups.items() if len(frame)]
    if not frames:
        return frame_of([], columns)
    joined = pd.concat(frames, ignore_index=True)
    return joined[list(columns)].astype(columns)
