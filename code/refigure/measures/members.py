"""The points that a probe measures, brought together in groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from refigure.data.prepared import load as load_data
from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.selections import Probe
from refigure.measures.pools import Pool, pool
from refigure.models.layers import Model, Statistics
from refigure.tasks import Task
from refigure.training.jobs import parts
from refigure.training.networks import build_model, stream_of


@dataclass(frozen=True)
class Member:
    """One network at one of its points.

    Args:
        parameters: by name, each with a leading axis of one network.
        statistics: batch norm's running moments, in mode "running".
        task: model and data; its batches are the run's.
        pixel_std: (channels,), by which the data's pixels in [0, 1] were divided; None where it has
            no pixels.
    """

    run: Run
    model: Model
    task: Task
    parameters: dict[str, Tensor]
    statistics: Statistics
    pixel_std: Tensor | None = None


@dataclass(frozen=True)
class Group:
    """What is measured together, told apart by the values of the axes in `key`.

    Args:
        roles: role -> its networks, or the pool of predictions that they have kept.
    """

    key: Mapping[str, Any]
    roles: Mapping[str, list[Member] | Pool]


def groups(
    graph: Graph,
    probe: Probe,
    roles: Mapping[str, list[tuple[Run, str | None]]],
    device: torch.device,
) -> Iterator[Group]:
    """The groups of a part of a probe, one after another, so that few networks are in memory.

    A member whose run has no such point (it diverged, or the event did not happen) is left out, and
    with it a group that is then empty. A role may be. A pool of predictions counts them as failed.
    An axis that a run lacks is empty in its key.
    """
    each = probe.each or list(next(iter(roles.values()))[0][0].axes)
    keyed: dict[tuple, dict[str, list[tuple[Run, str | None]]]] = {}
    for role, members in roles.items():
        for run, point in members:
            key = tuple(run.columns.get(axis) for axis in each)
            keyed.setdefault(key, {name: [] for name in roles})[role].append((run, point))
    data: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for key, by_role in keyed.items():
        found: dict[str, list[Member] | Pool] = {}
        for role, members in by_role.items():
            if role in probe.predictions:
                found[role] = pool(graph, members, probe.predictions[role], labels)
                continue
            found[role] = [
                member
                for run, point in members
                if (member := _member(graph, run, point, data, device)) is not None
            ]
        if any(found.values()):
            yield Group(dict(zip(each, key)), found)


def _member(
    graph: Graph, run: Run, point: str | None, loaded: dict[str, Any], device: torch.device
) -> Member | None:
    folder = graph.paths.pack(graph.pack_of[run.id])
    tensors = parts.read_tensors(folder / "points.safetensors", [run.id], point)
    values = parts.named_point(tensors, run.id, point)
    if values is None:
        return None
    if run.spec.data not in loaded:
        loaded.clear()
        loaded[run.spec.data] = load_data(graph.paths.data(run.spec.data), device)
    data = loaded[run.spec.data]
    model = build_model(run.spec, data)
    task = import_entry("task", run.spec.task["name"]).build(
        model, data, [run.spec], [stream_of(run)]
    )
    moments = {
        layer: tuple(values[f"{kind}/{layer}"][None].to(device) for kind in ("mean", "variance"))
        for layer in model.normalised
    }
    parameters = {name: values[name][None].to(device) for name in model.groups}
    return Member(
        run, model, task, parameters, Statistics(moments, "running"), getattr(data, "std", None)
    )


def on_data(member: Member, data: Any) -> Member:
    """The member with a task on other data than its run's: a shifted test set, held-out images.

    Args:
        data: on the member's device, of the shape and classes that its model takes.
    """
    spec = member.run.spec
    task = import_entry("task", spec.task["name"]).build(
        member.model, data, [spec], [stream_of(member.run)]
    )
    return replace(member, task=task, pixel_std=getattr(data, "std", None))
