"""A run's network: its model for some data, what it trains, and the stream it draws from."""

from __future__ import annotations

from inspect import signature
from typing import Any

from refigure.errors import UserError
from refigure.graph.catalogue import import_entry
from refigure.graph.experiments import Run
from refigure.graph.spec import Spec
from refigure.models.autocast import Autocast
from refigure.models.layers import Model
from refigure.streams import stream_of_spec


def stream_of(run: Run) -> str:
    """What a run's order and augmentation are drawn from.

    The stream of its network; for a run that starts from another's weights also the parent, or
    the file, since it would repeat the parent's batches otherwise, and runs from two files would
    share theirs. One that goes on from a state goes on in the same stream.

    Source: where-large-lrs, section 11.13, where the authors' code repeats them; pretrain-basin,
    section 0.
    """
    start = run.spec.start
    if start is None:
        return stream_of_spec(run.spec)
    if start["take"] == "state":
        return stream_of(run.parent)
    return f"{stream_of_spec(run.spec)}/{start.get('file') or run.parent.id}"


def frozen_groups(spec: Spec) -> frozenset[str]:
    """The groups of parameters that a spec does not train."""
    return frozenset() if spec.head is None else frozenset({"head"})


def build_model(spec: Spec, data: Any) -> Model:
    """The model of a spec, for these data.

    The positional arguments of a model's `build` are attributes of the data, by their names; the
    keyword ones are the spec's. A module of several models has a function of each one's name.

    Raises:
        UserError: the data have not what the model needs, or the model refuses them or its keys.
    """
    settings = dict(spec.model)
    name = settings.pop("name")
    module = import_entry("model", name)
    build = getattr(module, name, None) or module.build
    needs = [
        need
        for need, parameter in signature(build).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    for need in needs:
        if not hasattr(data, need):
            kind = type(data).__name__.lower()
            raise UserError(f"model '{name}' needs '{need}' of its data, which {kind} have not")
    try:
        model = build(*(getattr(data, need) for need in needs), **settings)
    except ValueError as error:
        raise UserError(f"model '{name}': {error}") from error
    return model if spec.precision == "float32" else Autocast(model)
