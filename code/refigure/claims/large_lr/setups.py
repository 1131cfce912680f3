"""A setup's rows with their regimes, its cells, and how a predicate is asked of every setup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pandas as pd

from refigure.claims.statistics import (
    Comparison,
    Estimate,
    by_replicate,
    cells,
    compare_best,
    estimate,
    reading,
    replicates,
)
from refigure.claims.verdict import (
    ABSENT,
    FAILS,
    Finding,
    above,
    missing,
    of_parts,
    part_of,
)
from refigure.tables.large_lr import regime

LARGE = ("2A", "2B")
Decide = Callable[..., Finding]


@dataclass(frozen=True)
class Setup:
    """One network and its data: the borders of its regimes and its rows.

    Attributes:
        edges: a row of `tables.large_lr.bounds`.
        frames: name of a table -> its rows of this setup, with their `regime`.
        objects: of its test set; None where their error is not asked for.
    """

    edges: dict
    frames: dict[str, pd.DataFrame]
    objects: int | None = None

    def of(self, key: str, *regimes: str) -> pd.DataFrame:
        """The rows of a table, of some regimes or of all."""
        rows = self.frames[key]
        return rows[rows["regime"].isin(regimes)] if regimes else rows

    def averaged(self, count: int, *regimes: str) -> pd.DataFrame:
        """The rows of averages of so many checkpoints."""
        rows = self.of("averaged", *regimes)
        return rows[rows["count"] == count]

    def flr_means(self, *regimes: str) -> pd.DataFrame:
        """Accuracy of fine-tuning by PLR and replicate, the mean over the FLRs.

        Missing where an FLR has none.
        """
        rows = self.of("finetuned", *regimes)
        keys = ["plr", "regime", *replicates(rows)]
        whole = rows["test_accuracy"].notna().groupby([rows[key] for key in keys]).transform("all")
        return (
            rows.assign(test_accuracy=rows["test_accuracy"].where(whole))
            .groupby(keys, as_index=False)["test_accuracy"]
            .agg(lambda values: values.mean())
        )

    def cells(self, rows: pd.DataFrame, *axes: str, column: str = "test_accuracy") -> pd.DataFrame:
        """Values by replicate and cell, of the PLR and some axes."""
        return cells(rows, ["plr", *axes], column)

    def small(self) -> pd.DataFrame:
        """The cells of regime 1: pre-training alone, and with each FLR after it.

        A tiny PLR with a large FLR is nothing but training at that FLR from a bad minimum: leaving
        it out would flatter large PLRs (how-large-lrs, trap 3).
        """
        alone = self.of("pretrained", "1").assign(flr=0.0)
        return self.cells(pd.concat([alone, self.of("finetuned", "1")]), "flr")

    def tested(self, comparison: Comparison) -> Comparison:
        """The comparison with the error of the test set, which all its cells share."""
        if comparison.gain is None or not self.objects:
            return comparison
        errors = 100 - comparison.inside_level, 100 - comparison.outside_level
        return comparison._replace(gain=comparison.gain.tested_on(self.objects, *errors))

    def difference(self, first: pd.Series, second: pd.Series) -> Estimate | None:
        """First less second over the replicates that both have, with the test set's error."""
        found = estimate((first - second).dropna())
        if found is None or not self.objects:
            return found
        return found.tested_on(self.objects, 100 - first.mean(), 100 - second.mean())

    def best(self, inside: pd.DataFrame, outside: pd.DataFrame) -> Comparison:
        """The best cell of one set beside that of another: see `statistics.compare_best`."""
        return self.tested(compare_best(inside, outside))


def clearly(comparison: Comparison, name: str, other: str) -> Finding:
    """Whether the best of one set is better than the best of another, with both cells named."""
    if comparison.gain is None:
        return missing(f"no cell to compare: {name} - {other}")
    places = [cell[0] if isinstance(cell, tuple) else cell for cell in comparison[1:3]]
    label = f"{name} (PLR {places[0]:g}) - {other} (PLR {places[1]:g})"
    return above(comparison.gain, 0, name=label)


def by_plr(rows: pd.DataFrame, column: str) -> list[tuple[float, Estimate | None]]:
    """The estimate over replicates at each PLR, ascending; None where a value is missing."""
    return [(plr, estimate(by_replicate(own, column))) for plr, own in rows.groupby("plr")]


def over_setups(without_2a: Callable[[str], Finding] | None = None) -> Callable[[Decide], Decide]:
    """Ask a predicate of every setup: it holds if it does in each, whose verdicts are recorded.

    The predicate takes a `Setup` and its options; what it becomes takes tables by name (what begins
    with a name and an underscore holds further setups: `bounds`, `bounds_vit`), the options,
    `setups` that the claim names (None: those at hand), and `objects`, how many the test set has.

    Args:
        without_2a: of a claim about 2A, what it comes to where regime 2 shows but no PLR of it is
            as good as regime 1: C2 to C5a are `refuted` (where-large-lrs, section 5.6), others
            cannot be told and are `missing`.
    """

    def wrap(judge: Decide) -> Decide:
        @wraps(judge)
        def predicate(
            setups: Sequence[str] | None = None, objects: float | None = None, **given
        ) -> Finding:
            options = {k: v for k, v in given.items() if not isinstance(v, pd.DataFrame)}
            frames = joined({k: v for k, v in given.items() if k not in options})
            bounds = frames.pop("bounds")
            findings = {}
            for edges in bounds.to_dict("records"):
                own = {
                    key: frame[frame["setup"] == edges["setup"]].pipe(
                        lambda rows, edges=edges: rows.assign(regime=regime(rows["plr"], edges))
                    )
                    for key, frame in frames.items()
                }
                if all(len(frame) for frame in own.values()):
                    own = with_units(own)
                    setup = Setup(edges, own, int(objects) if objects else None)
                    absent = _absent(setup, without_2a)
                    findings[edges["setup"]] = absent or judge(setup, **options)
            if not findings:
                return missing(ABSENT)
            if len(findings) == 1 and not setups:
                return next(iter(findings.values()))
            finding = of_parts(findings)
            return part_of(finding, list(findings), setups) if setups else finding

        return predicate

    return wrap


def joined(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Tables by the first word of their names: `geometry` and `geometry_vit` are one."""
    found: dict[str, list[pd.DataFrame]] = {}
    for name, frame in frames.items():
        found.setdefault(name.split("_")[0], []).append(frame)
    return {
        key: pd.concat([frame for frame in parts if len(frame)] or parts[:1], ignore_index=True)
        for key, parts in found.items()
    }


def with_units(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of one setup with what its claims generalise over.

    With several data sets (draws of the split and the noise, or sets of the synthetic task) these
    are counted and seeds averaged within; of one the seeds are counted, and the column goes.
    """
    named = [
        frame["data"].astype(object).fillna("") for frame in frames.values() if "data" in frame
    ]
    sets = {one for column in named for one in column.unique()}
    if len(sets) > 1:
        return dict(frames)
    return {key: frame.drop(columns="data", errors="ignore") for key, frame in frames.items()}


def refuted(reason: str) -> Finding:
    """Fails, whatever else is measured."""
    return Finding(FAILS, reason)


def _absent(setup: Setup, without_2a: Callable[[str], Finding] | None) -> Finding | None:
    """What a setup comes to that lacks what every predicate needs; None where it does not."""
    frames = setup.frames.values()
    runs = max(len(frame.groupby(replicates(frame))) for frame in frames)
    if runs == 1 and not reading():
        return missing("1 seed")
    if not np.isfinite(setup.edges["eta12"]):
        return missing("premise: no PLR converges for all seeds, regime 1 is not seen")
    if not any(frame["regime"].isin(LARGE).any() for frame in frames):
        return missing("no PLR in regime 2")
    if without_2a and not np.isfinite(setup.edges["eta2AB"]):
        return without_2a("2A is empty")
    return None
