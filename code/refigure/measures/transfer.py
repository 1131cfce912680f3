"""Ensembles of fine-tuned networks, and where in the pre-train basin their members lie.

Each probe reads all networks of one target: its roles are `first`, `second`, `third`, `fourth`,
`fifth`, `longer`, `scratch` and, for FGE, `triangles_second` to `triangles_fifth`, any of which may
be empty. `schemes` makes the ensembles of the paper of them, by parents and cells.

Source: pretrain-basin, sections 5 and 6.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refigure.data.images.recipes import Corruption
from refigure.graph.experiments import Run
from refigure.measures import soups
from refigure.measures.accuracy import accuracies
from refigure.measures.ensembles import (
    accuracy,
    brier,
    calibrated_exactly,
    calibration_error,
    halves,
    softmax,
    tempered_after,
)
from refigure.measures.members import Group, Member
from refigure.measures.paths import along
from refigure.measures.pools import Pool
from refigure.measures.similarity import distances, linear_cka, normalised_disagreement
from refigure.models.layers import Statistics

CYCLES = ("second", "third", "fourth", "fifth")
SUBSETS = 10
"""Of the subsets of one size of independent networks, so many are averaged: all of 5 choose m."""

Roles = Mapping[str, Sequence[tuple[Run, Any]]]


@dataclass(frozen=True)
class Scheme:
    """One ensemble, its members in the order in which they join.

    Attributes:
        pretrain: family of checkpoints, such as "own" or "byol"; "none" for from scratch.
        method: single, scratch, local, longer (local, with more epochs), global, sse, star or fge.
        lr_ratio, ep_ratio: the cycles' learning rate and length over the first network's; NaN where
            there are no cycles.
        checkpoint: number of the pre-training among its family; -1 where members differ in it.
        seed: of the first network; of "global" of all members; -1 where members differ in it.
        members: what the roles hold, such as networks.
    """

    pretrain: str
    method: str
    lr_ratio: float
    ep_ratio: float
    checkpoint: int
    seed: int
    members: Sequence[Any]

    @property
    def row(self) -> dict[str, Any]:
        """The columns that tell it apart."""
        names = ("pretrain", "method", "lr_ratio", "ep_ratio", "checkpoint", "seed")
        return {name: getattr(self, name) for name in names}

    def choices(self, size: int) -> list[tuple[int, ...]]:
        """Which members an ensemble of that size may have: places among `members`.

        Of a chain the first ones; of a star the first network and any branches; else any.
        """
        places = range(len(self.members))
        if self.method in ("sse", "fge"):
            return [tuple(places[:size])]
        if self.method == "star":
            return [(0, *rest) for rest in combinations(places[1:], size - 1)][:SUBSETS]
        return list(combinations(places, size))[:SUBSETS]


def schemes(roles: Roles) -> Iterator[Scheme]:
    """The ensembles of one target, each with all the members that it has.

    Args:
        roles: role -> runs, each with what stands for it; a run that failed is absent, and a
            chain ends before it.
    """
    by_parent: dict[str, dict[str, list[tuple[Run, Any]]]] = defaultdict(lambda: defaultdict(list))
    for role in CYCLES:
        for run, item in roles.get(role, ()):
            by_parent[role][run.parent.id].append((run, item))
    names = _checkpoints(roles)
    nan = math.nan
    for role, method in (("first", "local"), ("longer", "longer")):
        alike: dict[tuple, list] = defaultdict(list)
        across: dict[tuple, list] = defaultdict(list)
        for run, item in sorted(roles.get(role, ()), key=lambda pair: pair[0].axes["seed"]):
            family, checkpoint = _family(run), names[run.axes["checkpoint"]]
            alike[family, checkpoint].append(item)
            across[family, run.axes["seed"]].append((checkpoint, item))
        for (family, checkpoint), items in alike.items():
            yield Scheme(family, method, nan, nan, checkpoint, -1, items)
        if method == "local":
            for (family, seed), pairs in across.items():
                items = [item for _, item in sorted(pairs, key=lambda pair: pair[0])]
                if len(items) > 1:
                    yield Scheme(family, "global", nan, nan, -1, seed, items)
    if scratch := [item for _, item in roles.get("scratch", ())]:
        yield Scheme("none", "scratch", nan, nan, -1, -1, scratch)
    for run, item in roles.get("first", ()):
        about = _family(run), names[run.axes["checkpoint"]], run.axes["seed"]
        cells: dict[tuple[float, float], list] = defaultdict(list)
        for branch, of in by_parent["second"][run.id]:
            cells[_ratios(branch, run)].append((branch, of))
        for (lr, epochs), branches in cells.items():
            branches.sort(key=lambda pair: pair[0].axes["seed"])
            star = [item, *(of for _, of in branches)]
            yield Scheme(about[0], "star", lr, epochs, *about[1:], star)
            chain, last = [item, branches[0][1]], branches[0][0]
            for role in CYCLES[1:]:
                following = by_parent[role][last.id]
                if not following:
                    break
                last, of = following[0]
                chain.append(of)
            yield Scheme(about[0], "sse", lr, epochs, *about[1:], chain)
    yield from _triangles(roles, names)


def _triangles(roles: Roles, names: Mapping[Any, int]) -> Iterator[Scheme]:
    first = {run.id: item for run, item in roles.get("first", ())}
    kept: dict[str, list] = defaultdict(list)
    runs: dict[str, Run] = {}
    for cycle in CYCLES:
        for run, item in roles.get(f"triangles_{cycle}", ()):
            kept[run.id].append(item)
            runs[run.id] = run
    for key, run in runs.items():
        if run.parent.id not in first:
            continue
        cycle = run.spec.schedule["cycle"] / run.parent.spec.epochs
        about = names[run.axes["checkpoint"]], run.axes["seed"]
        items = [first[run.parent.id], *kept[key]]
        ratio = float(run.spec.schedule["ratio"])
        yield Scheme(_family(run), "fge", ratio, _power_of_two(cycle), *about, items)


def _checkpoints(roles: Roles) -> dict[Any, int]:
    """The number of each checkpoint, in the order of the first networks: files have names."""
    found = [
        run.axes["checkpoint"]
        for role, members in roles.items()
        if role != "scratch"
        for run, _ in members
    ]
    own = {value: value for value in found if isinstance(value, int)}
    files = dict.fromkeys(value for value in found if not isinstance(value, int))
    number = {name: re.search(r"(\d+)$", str(name)) for name in files}
    return own | {name: int(match[1]) if match else 0 for name, match in number.items()}


def _family(run: Run) -> str:
    """The family of checkpoints, the second word of the experiment's name."""
    return run.experiment.split("_")[1]


def _ratios(cycle: Run, first: Run) -> tuple[float, float]:
    """Learning rate and length of a cycle over those of the first network.

    The length is rounded to a power of two: 12 epochs of 25 are the cell of one half.
    """
    lr = cycle.spec.optimiser["lr"] / first.spec.optimiser["lr"]
    return round(lr, 6), _power_of_two(cycle.spec.epochs / first.spec.epochs)


def _power_of_two(ratio: float) -> float:
    return 2.0 ** round(math.log2(ratio))


# ---- of kept predictions


def ensembles(group: Group, *, sizes: Sequence[int], bins: int = 15) -> list[dict[str, Any]]:
    """Every ensemble of every size: accuracy, likelihood, calibration, diversity.

    Args:
        group: roles are pools of predictions on the test set.
        sizes: of the ensembles.
        bins: of the calibration error.

    Returns:
        the columns of `Scheme.row`; size; accuracy, member_accuracy (mean over the members) and
        last_accuracy (of the member that joined last; of a star or of independent networks the mean
        over those that could have), percent; disagreement (normalised, mean over pairs) and
        first_last (of the first and the last member); gap (mean NLL of the members less that of the
        ensemble), nll, brier, ece; cnll, of the first choice of members; objects, of the test set.
        All but cnll are means over the choices of `Scheme.choices`.
    """
    roles, labels = {}, np.zeros(0, np.int64)
    for role, pool in group.roles.items():
        if not isinstance(pool, Pool):
            raise ValueError(f"role {role} of ensembles must be a pool of predictions")
        logits = [one for chunk in pool.chunks(32) for one in chunk]
        roles[role] = list(zip(pool.members, logits))
        labels = pool.labels if len(pool.labels) else labels
    rows = []
    for scheme in schemes(roles):
        members = softmax(np.stack(scheme.members))
        answers, each = members.argmax(-1), 100 * accuracy(members, labels)
        likelihood = _likelihoods(members, labels)
        for size in sizes:
            if size > len(members):
                continue
            choices = scheme.choices(size)
            found = [
                _ensemble(members, answers, each, likelihood, labels, list(places), bins)
                for places in choices
            ]
            mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            mixed = members[list(choices[0])].mean(0)
            calibrated = _calibrated(mixed, labels)
            about = {**scheme.row, "size": size, **mean, "cnll": calibrated}
            rows.append(about | {"objects": len(labels)})
    return rows


def _ensemble(members, answers, each, likelihood, labels, places, bins) -> dict[str, float]:
    mixed = members[places].mean(0)
    pairs = list(combinations(places, 2))
    apart = [normalised_disagreement(answers[i], answers[j], labels) for i, j in pairs]
    nll = float(_likelihoods(mixed[None], labels)[0])
    return {
        "accuracy": 100 * float(accuracy(mixed, labels)),
        "member_accuracy": float(each[places].mean()),
        "last_accuracy": float(each[places[-1]]),
        "disagreement": float(np.mean(apart)) if pairs else math.nan,
        "first_last": apart[len(places) - 2] if pairs else math.nan,
        "gap": float(likelihood[places].mean()) - nll,
        "nll": nll,
        "brier": brier(mixed, labels),
        "ece": calibration_error(mixed, labels, bins),
    }


def _likelihoods(members: NDArray, labels: NDArray) -> NDArray:
    """The NLL of each, (members,), nats; a probability that underflows is the least float."""
    own = np.take_along_axis(members, labels[None, :, None], axis=-1)[..., 0]
    return -np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean(-1)


def _calibrated(mixed: NDArray, labels: NDArray) -> float:
    """NLL after a temperature that halves of the test set fit for each other.

    Source: pretrain-basin, section 6.
    """

    def nll_at(temperature: float, objects: NDArray[np.bool_]) -> float:
        own = tempered_after(mixed[None, objects], labels[objects], np.array([temperature]))
        return -float(own[0].mean())

    return calibrated_exactly(nll_at, halves(len(labels), repeats=1))[0]


# ---- of networks


def soup(group: Group, *, sizes: Sequence[int], **held_out: Any) -> list[dict[str, Any]]:
    """Uniform soups of the first 1, 2, ... members, and the greedy soup of all.

    Batch norm's moments are those of the training set, taken anew for each soup.

    Args:
        group: of networks.
        sizes: of the uniform soups.
        held_out: target (a value of the axis `data`) -> images by which the greedy soup chooses its
            members; without them it has none. Never the test set.

    Returns:
        the columns of `Scheme.row`; size; soup_accuracy, percent; and in the row of the largest
        size greedy_accuracy, percent, and greedy_size.
    """
    rows = []
    for scheme in schemes(_networks(group)):
        members: list[Member] = list(scheme.members)
        values = [member.parameters for member in members]
        for size in (size for size in sizes if size <= len(members)):
            _, test = soups.uniform(members[0].task, values[:size])
            row = {**scheme.row, "size": size, "soup_accuracy": test}
            held = held_out.get(group.key.get("data", ""))
            last = size == min(max(sizes), len(members))
            if last and held is not None:
                task = _tested_on(members[0], held.test_images, held.test_labels)
                chosen, mixed = soups.greedy(
                    values, lambda tried, task=task: float(accuracies(task, tried)[1])
                )
                row["greedy_size"] = len(chosen)
                row["greedy_accuracy"] = float(accuracies(members[0].task, mixed)[1])
            rows.append({"greedy_size": math.nan, "greedy_accuracy": math.nan, **row})
    return rows


def lines(group: Group, *, points: int, every: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Accuracy on the straight lines between members, moments taken anew at each point.

    From the first member to the second and to the last, and of a star between two branches. Of
    chains whose checkpoint is in `every` also from each member to the next.

    Returns:
        the columns of `Scheme.row`; pair, such as "1-2", by the members' numbers; alpha, from 0 at
        the first to 1; train_accuracy and test_accuracy, percent.
    """
    rows = []
    for scheme in schemes(_networks(group)):
        count = len(scheme.members)
        if count < 2 or scheme.method in ("longer", "scratch", "fge"):
            continue
        pairs = [(1, 2), (1, count)]
        if scheme.method == "star" and count > 2:
            pairs.append((2, 3))
        if scheme.method == "sse" and scheme.checkpoint in every:
            pairs += [(place, place + 1) for place in range(2, count)]
        for first, last in dict.fromkeys(pairs):
            ends = scheme.members[first - 1], scheme.members[last - 1]
            train, test = along(*ends, points, rescale=False)
            for place in range(points):
                rows.append(
                    {
                        **scheme.row,
                        "pair": f"{first}-{last}",
                        "alpha": place / (points - 1),
                        "train_accuracy": float(train[place]),
                        "test_accuracy": float(test[place]),
                    }
                )
    return rows


def planes(group: Group, *, points: int, cells: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Accuracy on the plane through the first, the second and the last member.

    Args:
        group: of networks.
        points: a side of the triangle.
        cells: of chains and stars, as (lr_ratio, ep_ratio); of other methods the first scheme.

    Returns:
        the columns of `Scheme.row`; first, second, third: the shares of the corners; train_accuracy
        and test_accuracy, percent.
    """
    rows, seen = [], set()
    wanted = {tuple(float(part) for part in cell) for cell in cells}
    for scheme in schemes(_networks(group)):
        cell = (scheme.lr_ratio, scheme.ep_ratio)
        key = (scheme.pretrain, scheme.method, *map(str, cell))
        drawn = scheme.method in ("local", "global") or cell in wanted
        if key in seen or not drawn or len(scheme.members) < 3 or scheme.method == "fge":
            continue
        seen.add(key)
        corners = [scheme.members[place].parameters for place in (0, 1, -1)]
        for row in soups.plane(scheme.members[0].task, corners, points):
            rows.append({**scheme.row, **row})
    return rows


def similarities(group: Group) -> list[dict[str, Any]]:
    """How far each member is from the first one and from the checkpoint, by block of layers.

    Args:
        group: of networks; a role `checkpoint` holds the first networks before their first step:
            the checkpoint's backbone below a new head.

    Returns:
        the columns of `Scheme.row`; member, from 1; block; from_first and from_checkpoint, the
        distance over the norm of the network that it is from (the head is no block of "all", and
        has no distance from the checkpoint); cka, linear, of the features below the head on the
        test set with the first member's, in the rows of block "all".
    """
    rows = []
    starts = {
        (_family(member.run), member.run.axes["checkpoint"]): member
        for member in group.roles.get("checkpoint", [])
    }
    roles = {role: members for role, members in group.roles.items() if role != "checkpoint"}
    for scheme in schemes({role: _pairs(members) for role, members in roles.items()}):
        first: Member = scheme.members[0]
        features = [penultimate(member) for member in scheme.members]
        for place, member in enumerate(scheme.members):
            groups = member.model.groups
            moved = distances(groups, first.parameters, member.parameters)
            start = starts.get((_family(member.run), _checkpoint_of(member.run)))
            far = start and distances(groups, start.parameters, member.parameters)
            for block, distance in moved.items():
                known = far and block != "head" and scheme.method != "scratch"
                rows.append(
                    {
                        **scheme.row,
                        "member": place + 1,
                        "block": block,
                        "from_first": distance,
                        "from_checkpoint": far[block] if known else math.nan,
                        "cka": linear_cka(features[0], features[place])
                        if block == "all"
                        else math.nan,
                    }
                )
    return rows


def shifts(
    group: Group, *, size: int, severities: Mapping[str, Sequence[float]], seed: int = 0
) -> list[dict[str, Any]]:
    """Accuracy of ensembles and soups where the test images are noisier or blurred.

    Args:
        group: of networks.
        size: of the ensembles and soups.
        severities: "noise" or "blur" -> strengths, as of `recipes.Corruption`, weakest first.
        seed: of the noise.

    Returns:
        the columns of `Scheme.row`; shift; severity: 0 for the test set itself, then 1, 2, ...;
        accuracy and soup_accuracy, percent; the soup has its own moments over the training set.
    """
    found = [scheme for scheme in schemes(_networks(group)) if len(scheme.members) >= size]
    if not found:
        return []
    some: Member = found[0].members[0]
    clean = some.task.data.normalised(some.task.data.test_images)
    sets = {("none", 0): clean}
    for name, strengths in severities.items():
        for place, strength in enumerate(strengths, 1):
            moved = Corruption(name, strength, seed).of(clean.cpu().numpy())
            sets[name, place] = torch.from_numpy(np.ascontiguousarray(moved)).to(clean)
    labels = some.task.data.test_labels
    shares: dict[tuple, dict[int, Tensor]] = {key: {} for key in sets}
    rows = []
    for scheme in found:
        members: list[Member] = list(scheme.members)[:size]
        mixed = soups.average([member.parameters for member in members])
        moments = _moments(members[0], mixed)
        for (name, place), images in sets.items():
            kept = shares[name, place]
            for member in members:
                if id(member) not in kept:
                    logits = _logits(member, member.parameters, member.statistics, images)
                    kept[id(member)] = logits.softmax(-1)
            together = sum(kept[id(member)] for member in members)
            alone = _logits(members[0], mixed, moments, images)
            rows.append(
                {
                    **scheme.row,
                    "shift": name,
                    "severity": place,
                    "accuracy": _percent_right(together, labels),
                    "soup_accuracy": _percent_right(alone, labels),
                }
            )
    return rows


@torch.no_grad()
def penultimate(member: Member) -> Tensor:
    """What the last layer of a network reads on the test set, (objects, features), float64.

    The last layer is replaced by the identity, so that any model of one linear head has them.
    """
    head = [name for name, group in member.model.groups.items() if group == "head"]
    [weight] = [name for name in head if member.parameters[name].dim() == 3]
    size = member.parameters[weight].shape[-1]
    values = dict(member.parameters)
    values[weight] = torch.eye(size, device=values[weight].device)[None]
    values |= {name: torch.zeros(1, size).to(values[weight]) for name in head if name != weight}
    return _logits(member, values, member.statistics, member.task.data.test_images).double()


@torch.no_grad()
def _logits(member: Member, values, statistics: Statistics, images: Tensor) -> Tensor:
    running = statistics.in_mode("running")
    found = [
        member.model.forward(values, member.task.shown(part)[None], running)[0]
        for part in images.split(max(member.run.spec.batch, 256))
    ]
    return torch.cat(found)


@torch.no_grad()
def _moments(member: Member, values: Mapping[str, Tensor]) -> Statistics:
    """Batch norm's moments over the training set, as `accuracies` takes them."""
    some = next(iter(values.values()))
    fresh = Statistics.fresh(member.model.normalised, 1, some.device).in_mode("recompute")
    for batch in member.task.evaluation("train", 1):
        member.task.logits(values, batch, fresh)
    return fresh


def _percent_right(scores: Tensor, labels: Tensor) -> float:
    return 100 * float((scores.argmax(-1) == labels).double().mean())


def _tested_on(member: Member, images: Tensor, labels: Tensor) -> Any:
    """The member's task with other test images; it keeps its training set, for the moments."""
    from refigure.measures.members import on_data

    data = replace(member.task.data, test_images=images, test_labels=labels)
    return on_data(member, data).task


def _networks(group: Group) -> Roles:
    return {role: _pairs(members) for role, members in group.roles.items() if role != "checkpoint"}


def _pairs(members: Sequence[Member]) -> list[tuple[Run, Member]]:
    return [(member.run, member) for member in members]


def _checkpoint_of(run: Run) -> Any:
    return run.axes.get("checkpoint")
