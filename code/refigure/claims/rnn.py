"""What the claims of the two recurrent papers share: tasks, methods, and their differences.

Predicates read the table of networks (`tables.rnn.networks`): one row a task, method and seed, at
the epoch that the papers report. "Less" and "at most" must be shown by more than their errors. A
network in which nothing survives, or that is no better than a guess, shows nothing, and nor does a
classifier of the papers' texts without the word vectors that theirs began with (`sound`); one that
fails while it still improves shows nothing of where it would end (`finished`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from refigure.claims.statistics import Estimate
from refigure.claims.verdict import (
    ABSENT,
    FAILS,
    HOLDS,
    UNDECIDED,
    Finding,
    all_of,
    given,
    missing,
    part_of,
)

CLASSIFICATION = ("sentiment", "topics")
LANGUAGE = ("characters", "words")
TASKS = (*CLASSIFICATION, *LANGUAGE)
PRETRAINED = ("IMDb", "AG News")
"""The texts whose embeddings began at pre-trained word vectors in all logs of the authors."""


def by_seed(networks: pd.DataFrame, task: str, method: str, column: str) -> pd.Series:
    """seed -> value of the networks of a task and method; empty where there is none."""
    own = networks[(networks["task"] == task) & (networks["method"] == method)]
    return own.set_index("seed")[column].astype(float)


def difference(first: pd.Series, second: pd.Series) -> Estimate | None:
    """First less second, with the errors of both; None where a value is missing.

    Networks of one seed and two methods share the text and nothing else: a network's draws are
    those of a digest that its configuration is part of (`streams.stream_of_spec`). So seeds are not
    paired, which would halve the degrees of freedom for nothing.
    """
    values = pd.concat([first, second])
    if not len(first) or not len(second) or not np.isfinite(values).all():
        return None
    return Estimate.of(first.to_numpy(), "seeds") - Estimate.of(second.to_numpy(), "seeds")


def change(
    networks: pd.DataFrame, task: str, column: str, before: str, after: str
) -> Estimate | None:
    """What a column becomes from one method to another: after less before."""
    return difference(
        by_seed(networks, task, after, column), by_seed(networks, task, before, column)
    )


def log_ratio(
    networks: pd.DataFrame, task: str, column: str, before: str, after: str
) -> Estimate | None:
    """The natural logarithm of after over before, of means of logarithms.

    Ratios of counts are compared by their logarithms: their errors are nearly symmetric.
    """
    first, second = (by_seed(networks, task, method, column) for method in (after, before))
    return difference(np.log(first.where(first > 0)), np.log(second.where(second > 0)))


def have(networks: pd.DataFrame, tasks: Sequence[str], *methods: str) -> list[str]:
    """The tasks that have networks of all methods, in order."""
    pairs = set(zip(networks["task"], networks["method"]))
    return [task for task in tasks if all((task, method) in pairs for method in methods)]


def every(findings: Mapping[str, Finding], tasks: Sequence[str], reduced: bool = False) -> Finding:
    """The conjunction over the tasks that a claim names.

    Args:
        findings: of the tasks at hand.
        tasks: that the claim names.
        reduced: the specification says that the tasks at hand decide; else they decide at most
            against the claim.
    """
    if not findings:
        return missing(ABSENT)
    joined = counted(all_of(*findings.values()))
    return joined if reduced else part_of(joined, list(findings), tasks)


def most(findings: Mapping[str, Finding], tasks: Sequence[str], needed: int) -> Finding:
    """A claim about at least `needed` of the tasks that it names.

    It holds where as many hold, and fails where too many fail for that, whatever the tasks that
    are not at hand would say.

    Args:
        findings: of the tasks at hand.
        tasks: that the claim names.
        needed: how many.
    """
    if not findings:
        return missing(ABSENT)
    of = {
        word: [task for task, finding in findings.items() if finding.verdict == word]
        for word in (HOLDS, FAILS, UNDECIDED)
    }
    verdict = UNDECIDED
    if len(of[HOLDS]) >= needed:
        verdict = HOLDS
    elif len(of[FAILS]) > len(tasks) - needed:
        verdict = FAILS
    told = "; ".join(
        f"{word} in {', '.join(names)}"
        + ("" if word == HOLDS else _reasons(findings[name] for name in names))
        for word, names in of.items()
        if names
    )
    joined = all_of(*findings.values())
    told = f"needed in {needed:g} of {len(tasks)}: {told}"
    absent = [task for task in tasks if task not in findings]
    if absent:
        told += f"; without {', '.join(absent)}"
        if verdict != UNDECIDED:
            told += ", which cannot change it"
    return counted(replace(joined, verdict=verdict, reason=told))


def sound(networks: pd.DataFrame, task: str, methods: Sequence[str], finding: Finding) -> Finding:
    """The finding, unless a network of the methods has collapsed or began otherwise than theirs.

    A network has collapsed where no unit or no gate survives; where the table has the metric of a
    trivial guess (`metric_trivial`), also where it is no better, in classification by more than two
    standard errors of the test documents. Without pre-trained vectors every weight of a
    `PRETRAINED` text's embedding begins at a signal-to-noise ratio below 1, and may be lost
    whatever the method (sparse-gated-rnn, section 11.3).
    """
    premises = {}
    for method in methods:
        own = networks[(networks["task"] == task) & (networks["method"] == method)]
        dead = pd.Series(False, index=own.index)
        for column in ("n_h", "n_gates"):
            if column in own:
                dead |= own[column] == 0
        if "metric_trivial" in own:
            better, margin = own["metric_trivial"] - own["test"], 0.0
            if task in CLASSIFICATION:
                better, margin = -better, 2 * _binomial(own)
            dead |= better <= margin
        premises[f"collapsed: {task} {method}"] = not dead.any()
    own = networks[(networks["task"] == task) & networks["method"].isin(list(methods))]
    if {"embedding", "corpus"} <= set(own):
        bare = own["corpus"].isin(PRETRAINED) & (own["embedding"] == "uniform")
        premises[f"{task} without the word vectors of the logged runs"] = not bare.any()
    return given(premises, finding)


def _binomial(own: pd.DataFrame) -> pd.Series | float:
    """The standard error of a trivial accuracy over the test documents; 0 where not known."""
    if "test_objects" not in own:
        return 0.0
    share = own["metric_trivial"] / 100
    return 100 * np.sqrt(share * (1 - share) / own["test_objects"]).fillna(0.0)


def finished(networks: pd.DataFrame, task: str, method: str, finding: Finding) -> Finding:
    """The finding, unless it fails while the network still improved at its last epoch.

    Such a run has not shown what it would come to (its best epoch is its last one in more than half
    of the seeds).
    """
    own = networks[(networks["task"] == task) & (networks["method"] == method)]
    if finding.verdict != FAILS or not {"best_epoch", "epochs"} <= set(own):
        return finding
    improving = (own["best_epoch"] >= own["epochs"]).mean() > 0.5
    return given({f"{task} {method} still improves at its last epoch": not improving}, finding)


def tested(
    lost: Estimate | None, networks: pd.DataFrame, task: str, methods: Sequence[str]
) -> Estimate | None:
    """A difference of accuracies with the error of the documents that all seeds share.

    Args:
        lost: of two methods.
        networks: of `tables.rnn.networks`; without `test_objects` the error is not known.
        task: whose documents.
        methods: the two.
    """
    own = networks[networks["task"] == task]
    objects = own["test_objects"].min() if "test_objects" in own else np.nan
    if lost is None or not np.isfinite(objects):
        return lost
    errors = [100 - by_seed(networks, task, method, "test").mean() for method in methods]
    return lost.tested_on(int(objects), *errors)


def _reasons(findings: Iterable[Finding]) -> str:
    reasons = dict.fromkeys(finding.reason for finding in findings if finding.reason)
    return f" ({'; '.join(reasons)})" if reasons else ""


def counted(finding: Finding) -> Finding:
    """The finding with how many seeds it rests on in its reason, where one network is all too few.

    A verdict over fewer seeds than another is worth less: the reader is told.
    """
    counts = {
        number.n
        for number in finding.numbers.values()
        if isinstance(number, Estimate) and number.n_of == "seeds"
    }
    if not counts or "1 seed" in finding.reason or "(n=" in finding.reason:
        return finding
    low, high = min(counts), max(counts)
    seeds = f"{low} seed{'s' * (low > 1)}" if low == high else f"{low} to {high} seeds"
    return replace(finding, reason=f"{finding.reason}; {seeds}" if finding.reason else seeds)
