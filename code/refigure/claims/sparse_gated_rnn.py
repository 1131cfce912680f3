"""The claims of sparse-gated-rnn as predicates over tables.

The predicates are those of the specification's section 2; what they leave open is said here. The
networks are at the epoch that the paper reports: the last of sparse networks, the best on
validation data of the original ones (section 5.5).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import gammaincc

from refigure.claims.rnn import (
    CLASSIFICATION,
    LANGUAGE,
    TASKS,
    by_seed,
    change,
    counted,
    every,
    finished,
    have,
    log_ratio,
    most,
    sound,
    tested,
)
from refigure.claims.statistics import (
    Estimate,
    over_seeds,
)
from refigure.claims.verdict import (
    ABSENT,
    Exact,
    Finding,
    above,
    all_of,
    at_most,
    below,
    missing,
    recorded,
)

GATES = ("i", "f", "g", "o")


def keeps_quality(networks: pd.DataFrame, drop: float) -> Finding:
    """C1: W+G+N loses little accuracy in classification, and nothing in language modelling.

    Args:
        networks: of `tables.rnn.networks`; with `test_objects`, accuracies have the error of the
            test documents.
        drop: the most points of test accuracy that may be lost.
    """
    findings = {}
    for task in have(networks, TASKS, "Original", "W+G+N"):
        lost = change(networks, task, "test", "W+G+N", "Original")
        if task in CLASSIFICATION:
            lost = tested(lost, networks, task, ["Original", "W+G+N"])
            finding = at_most(lost, drop, name=f"{task}: points of accuracy lost")
        else:
            worse = None if lost is None else -lost
            finding = at_most(worse, 0, name=f"{task}: test metric over Original's")
        finding = finished(networks, task, "W+G+N", finding)
        findings[task] = sound(networks, task, ["Original", "W+G+N"], finding)
    return every(findings, TASKS)


def fewer_neurons(networks: pd.DataFrame) -> Finding:
    """C2: groups of neurons leave fewer neurons than sparse weights alone: W+N below W.

    In classification W+N has groups of words and W has not (section 1.1): beside it the change from
    W+Voc is recorded, which changes one thing.

    Args:
        networks: of `tables.rnn.networks`.
    """
    return _against_w(networks, "W+N", "neurons", below, change, "n_h")


def more_constant_gates(networks: pd.DataFrame, tasks: int) -> Finding:
    """C3: groups of gates leave fewer gates that are not constant: W+G+N below W+N.

    Args:
        networks: of `tables.rnn.networks`.
        tasks: in how many.
    """
    findings = {
        task: _sound(
            networks,
            task,
            below(
                change(networks, task, "n_gates", "W+N", "W+G+N"),
                0,
                name=f"{task}: gates, W+G+N less W+N",
            ),
        )
        for task in have(networks, TASKS, "W+N", "W+G+N")
    }
    return most(findings, TASKS, tasks)


def fewer_gates_a_neuron(networks: pd.DataFrame) -> Finding:
    """C4: of a surviving neuron fewer gates are not constant in W+G+N than in W+N.

    Args:
        networks: of `tables.rnn.networks`.
    """
    networks = networks.assign(gates_a_neuron=_share(networks, "n_gates"))
    findings = {
        task: _sound(
            networks,
            task,
            below(
                change(networks, task, "gates_a_neuron", "W+N", "W+G+N"),
                0,
                name=f"{task}: gates a neuron, W+G+N less W+N",
            ),
        )
        for task in have(networks, TASKS, "W+N", "W+G+N")
    }
    return every(findings, TASKS)


def gates_help_neurons(networks: pd.DataFrame, tasks: int) -> Finding:
    """C5: with groups of gates no more neurons survive: W+G+N at most W+N.

    Args:
        networks: of `tables.rnn.networks`.
        tasks: in how many.
    """
    findings = {
        task: _sound(
            networks,
            task,
            at_most(
                change(networks, task, "n_h", "W+N", "W+G+N"),
                0,
                name=f"{task}: neurons, W+G+N less W+N",
            ),
        )
        for task in have(networks, TASKS, "W+N", "W+G+N")
    }
    return most(findings, TASKS, tasks)


def better_compression(networks: pd.DataFrame) -> Finding:
    """C6: W+G+N compresses more than W. Against W+Voc, the stricter question, it is recorded.

    Args:
        networks: of `tables.rnn.networks`.
    """
    return _against_w(networks, "W+G+N", "log compression", above, log_ratio, "compression")


def cheaper_forward_pass(networks: pd.DataFrame, latency: pd.DataFrame, tasks: int) -> Finding:
    """C7: W+G+N needs fewer multiplications a step than W+N and the original network, and the
    compacted network of batch 1 is measured faster than the full one.

    Args:
        networks: of `tables.rnn.networks`.
        latency: of `tables.rnn.latency`.
        tasks: in how many W+G+N is below W+N; below the original it must be in all.
    """
    at_hand = have(networks, TASKS, "Original", "W+N", "W+G+N")
    if not at_hand:
        return missing(ABSENT)
    ratios = {
        before: {task: log_ratio(networks, task, "macs", before, "W+G+N") for task in at_hand}
        for before in ("W+N", "Original")
    }
    name = "{}: log MACs a step, W+G+N less {}"
    findings = {
        before: {
            task: below(ratio, 0, name=name.format(task, before)) for task, ratio in of.items()
        }
        for before, of in ratios.items()
    }
    measured = latency[latency["method"] == "W+G+N"]
    faster = {}
    for task in have(measured, at_hand, "W+G+N"):
        own = measured[measured["task"] == task]
        share = own[own["net"] == "compacted"].set_index("seed")["latency_share"]
        gained = over_seeds(np.log(share))
        name = f"{task}: log latency of W+G+N, compacted less full"
        faster[task] = below(gained, 0, name=name)
    # The last layer's products are beside the recurrence's: no group of gates touches them, and
    # the measured time has both.
    beside = [
        recorded(
            f"{task}: log products of the last layer, W+G+N less Original",
            log_ratio(networks, task, "macs_dense", "Original", "W+G+N"),
        )
        for task in at_hand
        if "macs_dense" in networks
    ]
    return all_of(  # the first part alone tells which tasks are not at hand
        *beside,
        most(findings["W+N"], TASKS, tasks),
        every(findings["Original"], TASKS, reduced=True),
        every(faster, TASKS, reduced=True) if faster else missing("no measured latency"),
    )


def structure_by_task(networks: pd.DataFrame, difference: float, p_value: float) -> Finding:
    """C8: which gates are constant depends on the task: output gates stay non-constant in language
    models, where every step is predicted, and become constant in classification.

    Decided on the tasks at hand of each kind (section 10 reads it off one of each). The shares are
    means over the surviving neurons of W+G+N; the test of independence of task and kind of gate
    counts the non-constant gates of all seeds.

    Args:
        networks: of `tables.rnn.networks`.
        difference: of the share of non-constant output gates, language models less classification.
        p_value: of the chi-squared test, which must be below this.
    """
    own = networks[networks["method"] == "W+G+N"]
    own = own.assign(share=_share(own, "n_o"))
    shares = {
        task: by_seed(own, task, "W+G+N", "share") for task in TASKS if task in set(own["task"])
    }
    kinds = [[task for task in kind if task in shares] for kind in (LANGUAGE, CLASSIFICATION)]
    if not all(kinds):
        return missing(ABSENT)
    estimates = {task: over_seeds(values) for task, values in shares.items()}
    if None in estimates.values():
        return missing("a network of W+G+N has no neuron left")
    language, classification = (
        sum(estimates[task] for task in kind) * (1 / len(kind)) for kind in kinds
    )
    findings = [
        above(
            language - classification,
            difference,
            name="share of output gates, language models less classification",
        )
    ]
    for model in kinds[0]:
        for classifier in kinds[1]:
            gap = estimates[model] - estimates[classifier]
            name = f"share of output gates, {model} less {classifier}"
            findings.append(above(gap, 0, name=name))
    counts = own.groupby("task")[[f"n_{gate}" for gate in GATES]].sum()
    statistic, chance = independence(counts.to_numpy(float))
    findings.append(below(Exact(chance), p_value, name="p of independence of task and gate"))
    noted = [recorded("chi-squared", statistic)]
    noted += [
        recorded(f"{task}: share of output gates", share) for task, share in estimates.items()
    ]
    return counted(all_of(*findings, *noted))


def independence(counts: np.ndarray) -> tuple[float, float]:
    """Pearson's chi-squared test of the independence of rows and columns.

    Rows and columns of no count are left out.

    Args:
        counts: (rows, columns).

    Returns:
        The statistic and the probability of a larger one; 0 and 1 where a single row or column is
        left.
    """
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if freedom < 1:
        return 0.0, 1.0
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, float(gammaincc(freedom / 2, statistic / 2))


def levels_help(networks: pd.DataFrame, tasks: int) -> Finding:
    """C9: the three levels help each other: with groups of both gates and neurons no more neurons
    survive than with either.

    Args:
        networks: of `tables.rnn.networks`, with W+G.
        tasks: in how many.
    """
    findings = {
        task: _sound(
            networks,
            task,
            all_of(
                *(
                    at_most(
                        change(networks, task, "n_h", other, "W+G+N"),
                        0,
                        name=f"{task}: neurons, W+G+N less {other}",
                    )
                    for other in ("W+N", "W+G")
                )
            ),
        )
        for task in have(networks, TASKS, "W+N", "W+G", "W+G+N")
    }
    return most(findings, TASKS, tasks)


def _against_w(
    networks: pd.DataFrame,
    method: str,
    what: str,
    judge: Callable[..., Finding],
    effect: Callable[..., Estimate | None],
    column: str,
) -> Finding:
    """A method against W in every task; in classification its effect against W+Voc is noted.

    Args:
        networks: of `tables.rnn.networks`.
        method: that is judged.
        what: name of the number.
        judge: whether an effect is above or below 0.
        effect: `change` or `log_ratio`,
        column: of this column.
    """
    findings, noted = {}, []
    for task in have(networks, TASKS, "W", method):
        name = f"{task}: {what}, {method} less W"
        finding = judge(effect(networks, task, column, "W", method), 0, name=name)
        findings[task] = sound(networks, task, ["W", method], finding)
        if task in CLASSIFICATION:
            fair = effect(networks, task, column, "W+Voc", method)
            noted.append(recorded(f"{name}+Voc", fair))
    return _with(every(findings, TASKS), noted)


def _sound(networks: pd.DataFrame, task: str, finding: Finding) -> Finding:
    return sound(networks, task, ["W+N", "W+G+N"], finding)


def _share(networks: pd.DataFrame, gates: str) -> pd.Series:
    """Gates over surviving neurons; NaN where none survives."""
    return networks[gates] / networks["n_h"].where(networks["n_h"] > 0)


def _with(finding: Finding, noted: list[Finding]) -> Finding:
    """A finding with numbers that decide nothing beside it."""
    return all_of(finding, *noted) if noted else finding
