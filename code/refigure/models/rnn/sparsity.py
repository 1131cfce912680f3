"""What is left of a sparse LSTM: weights, words, units and gates, counted in two ways.

Source: sparse-gated-rnn, sections 6.2 to 6.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from refigure.models.rnn.lstm import GATES, LSTM
from refigure.models.rnn.variational import SUFFIX, THRESHOLD, mask

WEIGHTS = {"emb": "embedding", "x": "w_x", "h": "w_h", "d": "dense"}
"""Short name -> the weights that are counted; biases and group variables are not."""


@dataclass(frozen=True)
class Structure:
    """What survives in each network.

    Args:
        weights: short name (`WEIGHTS`) -> (networks, ...) bool, each weight.
        words: (networks, rows) bool.
        inputs: (networks, inputs) bool: embedding dimensions, or words of a language model.
        units: (networks, H) bool.
        gates: (networks, 4, H) bool: those of a surviving unit that are not constant.
    """

    weights: dict[str, Tensor]
    words: Tensor
    inputs: Tensor
    units: Tensor
    gates: Tensor


def masks(
    model: LSTM, parameters: Mapping[str, Tensor], threshold: float = THRESHOLD
) -> dict[str, Tensor]:
    """Which scalars of each tensor survive by themselves, by name."""
    return {
        name: mask(parameters[name], parameters.get(name + SUFFIX), threshold)
        for name in model.kinds
    }


def structure(model: LSTM, alive: Mapping[str, Tensor], strict: bool = False) -> Structure:
    """What survives, given which scalars do.

    The authors' rule is one pass: words and embedding dimensions, units by their *outgoing*
    weights, gates by their incoming ones before those of dropped units go; then the weights of what
    is dropped. It leaves the weights into a gate that its group killed, and words without weights.
    The strict rule drops those too, and repeats until nothing changes.

    Args:
        alive: of `masks`, (networks, ...).

    Source: sparse-gated-rnn, sections 6.3 and 6.4.
    """
    weights = {short: alive[name] for short, name in WEIGHTS.items() if name in alive}
    while True:
        found = _one_pass(model, alive, weights, strict)
        same = all(bool((found.weights[name] == weights[name]).all()) for name in weights)
        if not strict or same:
            return found
        weights = found.weights


def _one_pass(
    model: LSTM, alive: Mapping[str, Tensor], weights: Mapping[str, Tensor], strict: bool
) -> Structure:
    x, h, d = weights["x"], weights["h"], weights["d"]
    networks = len(h)
    read = x.any(2)
    if "z_x" in alive:
        read = read & alive["z_x"]
    kept = {}
    if model.embedding is None:
        words = inputs = read
    else:
        table = weights["emb"]
        words = table.any(2)
        if "z_words" in alive:
            words = alive["z_words"] & words if strict else alive["z_words"]
        inputs = read & table.any(1)
        kept["emb"] = table & words[:, :, None] & inputs[:, None]
    units = h.any(2) | d.any(2)
    if "z_h" in alive:
        units = units & alive["z_h"]
    gates = x.any(1) | h.any(1)
    if "z_gates" in alive:
        gates = gates & alive["z_gates"]
    gates = gates.view(networks, len(GATES), -1) & units[:, None]
    columns = gates if strict else units[:, None].expand_as(gates)
    columns = columns.flatten(1)[:, None]
    kept["x"] = x & inputs[:, :, None] & columns
    kept["h"] = h & units[:, :, None] & columns
    kept["d"] = d & units[:, :, None]
    return Structure(kept, words, inputs, units, gates)


def counts(model: LSTM, found: Structure) -> dict[str, Tensor]:
    """Numbers of what survives, (networks,) each, float64, by the columns of `docs/columns.md`.

    `C` is all weights over the surviving ones (over 1 where none survives); `macs` the products of
    a time step: each non-constant gate with the inputs (looked up in a language model) and units;
    `macs_dense` those of the last layer, which a language model takes at every step.

    Source: sparse-gated-rnn, sections 6.3 and 6.5.
    """
    left = {name: weights.flatten(1).sum(1) for name, weights in found.weights.items()}
    total = sum(weights[0].numel() for weights in found.weights.values())
    n_x, n_h = found.inputs.sum(1), found.units.sum(1)
    by_gate = found.gates.sum(2)
    n_gates = by_gate.sum(1)
    read = n_h if model.embedding is None else n_x + n_h
    numbers = {
        "C": total / sum(left.values()).clamp_min(1),
        **{f"nnz_{name}": number for name, number in left.items()},
        "n_voc": found.words.sum(1),
        "n_x": n_x,
        "n_h": n_h,
        "n_gates": n_gates,
        **{f"n_{gate}": by_gate[:, place] for place, gate in enumerate(GATES)},
        "macs": n_gates * read,
        "macs_dense": n_h * model.outputs,
    }
    return {name: number.double() for name, number in numbers.items()}


def sizes(model: LSTM) -> dict[str, int]:
    """Weights of the whole network by short name, `all_...`, and its `macs_full`,
    `macs_dense_full`."""
    found = {
        f"all_{short}": _size(model.shapes[name])
        for short, name in WEIGHTS.items()
        if name in model.shapes
    }
    read = model.hidden + (model.embedding or 0)
    products = {"macs_full": 4 * model.hidden * read}
    return found | products | {"macs_dense_full": model.hidden * model.outputs}


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1]
