"""The claims of pretrain-basin as predicates over tables, each with the transfer gain as a premise.

A claim is judged for every pair of a target and a family of checkpoints. Where a pair has several
draws of source and target these are what is counted; checkpoints and seeds within a draw are
averaged first. Where it has one, pre-trainings are counted, and the error of the shared test set is
added. SSE and StarSSE are compared by their best cells, chosen by the other replicates.

Source: pretrain-basin, section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from refigure.claims.statistics import (
    Comparison,
    Estimate,
    by_replicate,
    cells,
    compare_best,
    correlations,
    estimate,
)
from refigure.claims.verdict import (
    ABSENT,
    HOLDS,
    Finding,
    above,
    all_of,
    at_least,
    below,
    given,
    missing,
    of_parts,
    recorded,
    within,
)

CELL = ["lr_ratio", "ep_ratio"]
SIZE = 5


@dataclass(frozen=True)
class Pair:
    """The tables' rows of one target and one family of checkpoints.

    Attributes:
        name: "target, pretrain".
        tables: argument -> its rows; of `ensembles` also those from scratch on that target.
        several: whether it has several draws, which then are counted.
    """

    name: str
    tables: Mapping[str, pd.DataFrame]
    several: bool

    def rows(self, table: str, method: str, size: int | None = None) -> pd.DataFrame:
        """The rows of a method, with a column `seed` that is its pre-training's number.

        Members of "global" differ in it, and it is their own seed. With one draw there is no column
        `draw`; what has no cell has the cell (0, 0).
        """
        frame = self.tables[table]
        frame = frame[frame["method"] == method]
        if size is not None:
            frame = frame[frame["size"] == size]
        frame = frame.assign(seed=frame["seed" if method == "global" else "checkpoint"])
        frame[CELL] = frame[CELL].fillna(0.0)
        return frame if self.several else frame.drop(columns="draw")

    def values(self, table: str, method: str, column: str, size: int | None = None) -> pd.Series:
        """A column by replicate, the mean over the cells of a method; by draw where there are
        several."""
        frame = self.rows(table, method, size)
        found = by_replicate(frame, column) if len(frame) else pd.Series(dtype=float)
        return found.groupby(level=0).mean() if self.several and len(found) else found

    def cells(self, table: str, method: str, column: str, size: int | None = None) -> pd.DataFrame:
        """A column by replicate and cell: see `statistics.cells`."""
        return cells(self.rows(table, method, size), CELL, column)

    def difference(self, first: pd.Series, second: pd.Series, paired: bool) -> Estimate | None:
        """The mean of the first less that of the second.

        Args:
            paired: whether they share pre-trainings; draws are always shared.
        """
        if not len(first) or not len(second):
            return None
        if self.several or paired:
            return estimate((first - second).dropna())
        one, other = estimate(first), estimate(second)
        return None if one is None or other is None else one - other

    def tested(self, found: Estimate | None, *accuracies: float) -> Estimate | None:
        """With the error of the test set, where replicates share it."""
        objects = int(self.tables["ensembles"]["objects"].iloc[0])
        errors = [100 - float(accuracy) for accuracy in accuracies]
        return None if found is None else found.tested_on(objects, *errors)


def pairs(**tables: pd.DataFrame) -> list[Pair]:
    """The pairs that the ensembles have, each with its rows of every table."""
    ensembles = tables["ensembles"]
    own = ensembles[ensembles["pretrain"] != "none"]
    found = []
    for (target, pretrain), rows in own.groupby(["target", "pretrain"], sort=False):
        kept = {
            name: frame[(frame["target"] == target) & frame["pretrain"].isin([pretrain, "none"])]
            for name, frame in tables.items()
        }
        found.append(Pair(f"{target}, {pretrain}", kept, len(rows["draw"].unique()) > 1))
    return found


def transfer_gain(pair: Pair) -> Estimate | None:
    """Accuracy of a first network less that of a tuned network from scratch, percentage points."""
    single = pair.values("ensembles", "local", "accuracy", 1)
    scratch = pair.values("ensembles", "scratch", "accuracy", 1)
    if not len(single) or not len(scratch):
        return None
    if not pair.several:  # one row of networks from scratch: no pre-training to pair them by
        scratch = pd.Series(scratch.mean(), index=single.index)
    found = pair.difference(single, scratch, paired=True)
    return pair.tested(found, single.mean(), scratch.mean())


def judged(judge: Callable[[Pair], Finding], **tables: pd.DataFrame) -> Finding:
    """A predicate on every pair, each only where a checkpoint helps at all."""
    found = pairs(**tables)
    if not found:
        return missing(ABSENT)
    findings = {}
    for pair in found:
        gain = transfer_gain(pair)
        helps = above(gain, 0, name="gain over networks from scratch")
        finding = all_of(judge(pair), recorded("gain over networks from scratch", gain))
        premise = f"no transfer: the gain is {helps.reason}"
        findings[pair.name] = given({premise: helps.verdict == HOLDS}, finding)
    if len(findings) == 1:
        return next(iter(findings.values()))
    return of_parts(findings)


# ---- C1 to C9


def diversity_lost(ensembles: pd.DataFrame) -> Finding:
    """C1: Local DE is worse than Global DE of the same size, and better than a single network.

    Args:
        ensembles: of `tables.transfer.ensembles`.
    """
    return judged(_diversity_lost, ensembles=ensembles)


def _diversity_lost(pair: Pair) -> Finding:
    local = pair.values("ensembles", "local", "accuracy", SIZE)
    across = pair.values("ensembles", "global", "accuracy", SIZE)
    single = pair.values("ensembles", "local", "accuracy", 1)
    lost = pair.tested(pair.difference(across, local, False), across.mean(), local.mean())
    won = pair.tested(pair.difference(local, single, True), local.mean(), single.mean())
    return all_of(
        above(lost, 0, name="accuracy: Global DE less Local DE"),
        above(won, 0, name="accuracy: Local DE less a single network"),
    )


def one_basin(
    ensembles: pd.DataFrame, barriers: pd.DataFrame, share: float, points: float
) -> Finding:
    """C2: members of Local DE share a basin, those of Global DE do not.

    Args:
        ensembles: of `tables.transfer.ensembles`.
        barriers: of `tables.transfer.barriers`.
        share: of the barrier between members of Global DE; that of Local DE is below it.
        points: percentage points, below which the barrier of Local DE is none.
    """

    def judge(pair: Pair) -> Finding:
        local, across = (_barrier(pair, method) for method in ("local", "global"))
        beside = pair.difference(local, share * across, False)
        return all_of(
            below(beside, 0, name=f"barrier: Local DE less {share:g} of Global DE"),
            below(_own(local), points, name="barrier: Local DE"),
            recorded("barrier: Global DE", _own(across)),
        )

    return judged(judge, ensembles=ensembles, barriers=barriers)


def exploring_helps(ensembles: pd.DataFrame, barriers: pd.DataFrame, points: float) -> Finding:
    """C3: some cell of SSE inside the basin beats Local DE, also one that trained as long (F4).

    Args:
        ensembles: of `tables.transfer.ensembles`.
        barriers: of `tables.transfer.barriers`.
        points: percentage points of the barrier from the first network to the last, below which
            the cell stays in the basin, by its mean.
    """

    def judge(pair: Pair) -> Finding:
        inside = pair.cells("ensembles", "sse", "accuracy", SIZE)
        near = [cell for cell, barrier in _depths(pair).items() if barrier < points]
        inside = inside[[cell for cell in inside if cell in near]]
        if not inside.size:
            return missing(f"no cell of SSE with a barrier below {points:g} percentage points")
        gains = []
        for method, words in (("local", "Local DE"), ("longer", "Local DE of equal epochs")):
            best = compare_best(inside, pair.cells("ensembles", method, "accuracy", SIZE))
            gains.append(above(_tested(pair, best), 0, name=f"accuracy: SSE less {words}"))
        return all_of(*gains, recorded("cells inside the basin", float(inside.shape[1])))

    return judged(judge, ensembles=ensembles, barriers=barriers)


def leaving_hurts(ensembles: pd.DataFrame, barriers: pd.DataFrame, points: float) -> Finding:
    """C4: cells of SSE that leave the basin are worse than the best one, and their last member is
    worse than the first.

    Args:
        ensembles: of `tables.transfer.ensembles`.
        barriers: of `tables.transfer.barriers`.
        points: percentage points of the barrier from the first network to the last, above which
            the cell has left the basin, by its mean.
    """

    def judge(pair: Pair) -> Finding:
        all_cells = pair.cells("ensembles", "sse", "accuracy", SIZE)
        depths = _depths(pair)
        far = [cell for cell in all_cells if depths.get(cell, -np.inf) > points]
        if not far:
            return missing(f"no cell of SSE with a barrier above {points:g} percentage points")
        near = all_cells.drop(columns=far)
        if not near.size:
            return missing("no cell of SSE in the basin")
        left = all_cells[far].mean(axis=1).to_frame()
        left.columns = pd.MultiIndex.from_tuples([("far", "far")], names=CELL)
        best = compare_best(near, left)
        last = pair.cells("ensembles", "sse", "last_accuracy", SIZE)[far].mean(axis=1)
        first = pair.cells("ensembles", "sse", "last_accuracy", 1)[far].mean(axis=1)
        return all_of(
            above(_tested(pair, best), 0, name="accuracy: best cell less those outside the basin"),
            above(_own(first - last), 0, name="accuracy: first member less last, outside"),
            recorded("cells outside the basin", float(len(far))),
        )

    return judged(judge, ensembles=ensembles, barriers=barriers)


def trade_off(ensembles: pd.DataFrame, correlation: float, ep_ratio: float) -> Finding:
    """C5: along the rate of the cycles diversity rises and members get worse, and the best
    ensemble is at neither end.

    Args:
        ensembles: of `tables.transfer.ensembles`.
        correlation: Spearman's, of rate and diversity, above this.
        ep_ratio: the cycles' length over the first network's; rates of at least 1 are correlated.
    """

    def judge(pair: Pair) -> Finding:
        rows = pair.rows("ensembles", "sse", SIZE)
        rows = rows[rows["ep_ratio"] == ep_ratio]
        strong = rows[rows["lr_ratio"] >= 1]
        if strong["lr_ratio"].nunique() < 3:
            return missing(f"{strong['lr_ratio'].nunique()} of at least 3 rates")
        found = {
            column: correlations(strong, "lr_ratio", column)
            for column in ("disagreement", "member_accuracy")
        }
        wide = cells(rows, CELL, "accuracy")
        ends = [min(wide), max(wide)]
        inner = wide.drop(columns=ends)
        parts = [
            above(
                found["disagreement"], correlation, name="rank correlation of rate and diversity"
            ),
            below(found["member_accuracy"], 0, name="rank correlation of rate and members"),
        ]
        for end, words in zip(ends, ("lowest", "highest")):
            best = compare_best(inner, wide[[end]])
            name = f"accuracy: best rate inside less the {words}"
            parts.append(above(_tested(pair, best), 0, name=name))
        return all_of(*parts)

    return judged(judge, ensembles=ensembles)


def star_beats_chain(ensembles: pd.DataFrame) -> Finding:
    """C6: the best cell of StarSSE is better than that of SSE.

    Args:
        ensembles: of `tables.transfer.ensembles`; of two members both are the same networks.
    """
    return judged(_star_beats_chain, ensembles=ensembles)


def _star_beats_chain(pair: Pair) -> Finding:
    best = _best(pair, "star", "sse", "ensembles", "accuracy", SIZE)
    controlled = compare_best(
        pair.cells("ensembles", "star", "accuracy", SIZE),
        pair.cells("ensembles", "longer", "accuracy", SIZE),
    )
    return all_of(
        above(_tested(pair, best), 0, name="accuracy: StarSSE less SSE, best cells"),
        recorded("best rate of StarSSE", _rate(best.inside)),
        recorded("best rate of SSE", _rate(best.outside)),
        recorded("accuracy: StarSSE less Local DE of equal epochs", controlled.gain),
    )


def star_soups(ensembles: pd.DataFrame, soups: pd.DataFrame) -> Finding:
    """C7: the best uniform soup of StarSSE is better than those of SSE and of Local DE.

    Args:
        ensembles: of `tables.transfer.ensembles`, for the premise.
        soups: of `tables.transfer.soups`.
    """

    def judge(pair: Pair) -> Finding:
        parts = []
        names = {"sse": "SSE", "local": "Local DE", "longer": "Local DE of equal epochs"}
        for method, words in names.items():
            best = _best(pair, "star", method, "soups", "soup_accuracy", SIZE)
            name = f"soup accuracy: StarSSE less {words}"
            gain = _tested(pair, best)
            parts.append(recorded(name, gain) if method == "longer" else above(gain, 0, name=name))
        return all_of(*parts)

    return judged(judge, ensembles=ensembles, soups=soups)


def chains_drift(
    ensembles: pd.DataFrame, similarities: pd.DataFrame, ratio: float, low: float, high: float
) -> Finding:
    """C8: members of SSE drift ever further from the first, those of StarSSE are equally far.

    Args:
        ensembles: of `tables.transfer.ensembles`, for the premise.
        similarities: of `tables.transfer.similarities`.
        ratio: distance of the last member over that of the second, above this for SSE.
        low, high: bounds of the same for StarSSE.
    """

    def judge(pair: Pair) -> Finding:
        found = {}
        for method in ("sse", "star"):
            rows = pair.rows("similarities", method)
            rows = rows[rows["block"] == "all"]
            last = rows["member"].max()
            keys = [name for name in ("draw", "seed") if name in rows]
            by = rows.pivot_table("from_first", [*keys, *CELL], "member")
            if not len(by) or last < 3:
                return missing(ABSENT)
            growth = (by[last] / by[2]).groupby(keys).mean()
            found[method] = estimate(growth)
        name = "distance to the first network, last over second: {}"
        return all_of(
            above(found["sse"], ratio, name=name.format("SSE")),
            within(found["star"], low, high, name=name.format("StarSSE")),
        )

    return judged(judge, ensembles=ensembles, similarities=similarities)


def carries_over(
    ensembles: pd.DataFrame, barriers: pd.DataFrame, shifts: pd.DataFrame, points: float
) -> Finding:
    """C9: C1, C3 and C6 hold for most pairs, and StarSSE is no worse than Local DE under shift.

    Args:
        ensembles: of `tables.transfer.ensembles`.
        barriers: of `tables.transfer.barriers`.
        shifts: of `tables.transfer.shifts`.
        points: as of `exploring_helps`.
    """
    found = pairs(ensembles=ensembles, barriers=barriers, shifts=shifts)
    if not found:
        return missing(ABSENT)
    parts = []
    if len(found) < 2:
        parts.append(missing("1 of at least 2 pairs of a target and a pre-training"))
    else:
        for name, finding in {
            "C1": diversity_lost(ensembles),
            "C3": exploring_helps(ensembles, barriers, points),
            "C6": star_beats_chain(ensembles),
        }.items():
            holding = sum(verdict == HOLDS for verdict, _ in finding.parts.values())
            reason = f"{name} holds for {holding} of {len(found)} pairs"
            parts.append(Finding(HOLDS if 2 * holding > len(found) else "fails", reason))
    parts.append(judged(_robust, ensembles=ensembles, shifts=shifts))
    return all_of(*parts)


def _robust(pair: Pair) -> Finding:
    shifts = pair.tables["shifts"]
    shifts = shifts[shifts["severity"] > 0]
    findings = []
    for (shift, severity), _ in shifts.groupby(["shift", "severity"]):
        own = shifts[(shifts["shift"] == shift) & (shifts["severity"] == severity)]
        at = Pair(pair.name, {**pair.tables, "shifts": own}, pair.several)
        best = _best(at, "star", "local", "shifts", "accuracy")
        name = f"accuracy under {shift} {severity}: StarSSE less Local DE"
        findings.append(at_least(_tested(pair, best), 0, name=name))
    return all_of(*findings) if findings else missing(ABSENT)


# ---- what they share


def _own(values: pd.Series) -> Estimate | None:
    return estimate(values) if len(values) else None


def _barrier(pair: Pair, method: str) -> pd.Series:
    """Barrier of test accuracy from the first member to the second, by replicate."""
    frame = pair.rows("barriers", method)
    frame = frame[frame["pair"] == "1-2"]
    found = by_replicate(frame, "test_barrier") if len(frame) else pd.Series(dtype=float)
    return found.groupby(level=0).mean() if pair.several and len(found) else found


def _depths(pair: Pair) -> dict[tuple[float, float], float]:
    """Cell of SSE -> mean barrier of test accuracy from the first network to the last."""
    frame = pair.rows("barriers", "sse")
    frame = frame[frame["pair"].str.startswith("1-") & (frame["pair"] != "1-2")]
    return frame.groupby(CELL)["test_barrier"].mean().to_dict()


def _best(pair: Pair, inside: str, outside: str, table: str, column: str, size: int | None = None):
    sides = [pair.cells(table, method, column, size) for method in (inside, outside)]
    return compare_best(*sides)


def _tested(pair: Pair, best: Comparison) -> Estimate | None:
    if best.gain is None:
        return None
    return pair.tested(best.gain, best.inside_level, best.outside_level)


def _rate(cell: object) -> float | None:
    return None if cell is None else float(cell[0])
