"""A small network made of a sparse LSTM, equal in its outputs, for one text at a time.

Source: sparse-gated-rnn, sections 6.6 and 8.3.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from refigure.errors import UserError
from refigure.files import whole
from refigure.models.rnn.lstm import GATES, LSTM
from refigure.models.rnn.sparsity import Structure

ARRAYS = ("place", "vectors", "w_x", "w_h", "bias", "live", "constants", "dense", "dense_bias")


@dataclass(frozen=True)
class Compact:
    """An LSTM for texts one by one, in numpy: what is dropped is not computed, gates that are
    constant are constants.

    Args:
        place: (rows,) of each word among `vectors`; a dropped word's is the last, which is zero: it
            is read, it adds nothing, and it is not skipped.
        vectors: (words + 1, n_x) of a classifier, (words + 1, n_gates) of a language model, whose
            inputs are looked up.
        w_x: (n_x, n_gates); None for a language model.
        w_h: (n_h, n_gates).
        bias: (n_gates,) of the gates that are not constant.
        live: (n_gates,) their places among the 4 n_h gates, i, f, g, o; None where that is all.
        constants: (4 n_h,) the values of the constant ones.
        segments: (4,) gates that are not constant, of each kind, in their order.
        dense, dense_bias: (n_h, outputs), (outputs,).
        hard: see `recurrence`.
    """

    place: np.ndarray
    vectors: np.ndarray
    w_x: np.ndarray | None
    w_h: np.ndarray
    bias: np.ndarray
    live: np.ndarray | None
    constants: np.ndarray
    segments: tuple[int, ...]
    dense: np.ndarray
    dense_bias: np.ndarray
    hard: bool

    @property
    def macs(self) -> int:
        """Products of a time step, without the last layer: sparse-gated-rnn, section 6.5."""
        looked_up = self.w_x is None
        return self.w_h.size + (0 if looked_up else self.w_x.size)

    def save(self, path: Path, words: Sequence[str]) -> None:
        """Write the network as a packed `.npz` of arrays, with the vocabulary of its rows.

        The zeros inside the matrices that are left cost next to nothing, since it is packed.

        Args:
            path: of the file; there whole or not at all.
            words: the symbol of each row.
        """
        arrays = {name: value for name in ARRAYS if (value := getattr(self, name)) is not None}
        arrays["place"] = arrays["place"].astype(np.int32)
        arrays["segments"] = np.array(self.segments, np.int32)
        arrays["hard"] = np.array(self.hard)
        arrays["words"] = np.array(list(words), dtype=np.str_)
        with whole(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)

    @classmethod
    def load(cls, path: Path) -> tuple[Compact, list[str]]:
        """The network of a file that `save` wrote, and the symbol of each row of its vocabulary.

        Raises:
            UserError: the file is not one of ours.
        """
        try:
            with np.load(path, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            words = found.pop("words").tolist()
            hard, segments = bool(found.pop("hard")), tuple(found.pop("segments").tolist())
            absent = {name: None for name in ("w_x", "live") if name not in found}
            return cls(**found, **absent, hard=hard, segments=segments), words
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}: not a network that `refigure export` wrote: {error}"
            ) from None

    def outputs(self, tokens: np.ndarray) -> np.ndarray:
        """Logits of one text: (outputs,) after its last word, (steps, outputs) of a language model.

        Args:
            tokens: (steps,) rows of the vocabulary, without padding.
        """
        units = len(self.w_h)
        h, c = np.zeros(units, np.float32), np.zeros(units, np.float32)
        values = self.constants.copy()
        i, f, g, o = np.split(values, 4)
        read = None if self.w_x is not None else np.empty((len(tokens), units), np.float32)
        ends = np.cumsum(self.segments)
        before_g, after_g = ends[1], ends[2]
        scratch = np.empty_like(c)
        a = np.empty_like(self.bias)
        for step, place in enumerate(self.place[tokens]):
            np.dot(h, self.w_h, out=a)
            a += self.vectors[place] if self.w_x is None else self.vectors[place] @ self.w_x
            a += self.bias
            self._activate(a[:before_g])
            self._activate(a[after_g:])
            np.tanh(a[before_g:after_g], out=a[before_g:after_g])
            if self.live is None:
                i, f, g, o = a.reshape(4, units)
            else:
                values[self.live] = a
            c *= f
            np.multiply(i, g, out=scratch)
            c += scratch
            np.tanh(c, out=scratch)
            h = o * scratch
            if read is not None:
                read[step] = h
        return (h if read is None else read) @ self.dense + self.dense_bias

    def _activate(self, a: np.ndarray) -> None:
        if self.hard:
            a *= np.float32(0.2)
            a += np.float32(0.5)
            np.maximum(a, 0, out=a)
            np.minimum(a, 1, out=a)
        else:
            np.negative(a, out=a)
            np.exp(a, out=a)
            a += 1
            np.reciprocal(a, out=a)


def compacted(model: LSTM, plain: Mapping[str, Tensor], left: Structure | None) -> Compact:
    """The network of what is left; the whole one where `left` is None.

    Args:
        plain: weights of one network that are clipped and folded, with a leading axis of 1.
        left: by the strict rule, of one network.
    """
    weights = {name: value[0].detach().cpu().numpy() for name, value in plain.items()}
    if left is None:
        words, inputs = (np.ones(size, bool) for size in (model.rows, model.inputs))
        units, gates = np.ones(model.hidden, bool), np.ones((4, model.hidden), bool)
    else:
        words, inputs, units, gates = (
            mask[0].cpu().numpy() for mask in (left.words, left.inputs, left.units, left.gates)
        )
    columns = np.flatnonzero(gates)
    table = weights["w_x"][:, columns] if model.embedding is None else weights["embedding"]
    if model.embedding is not None:
        table = table[:, inputs]
    vectors = np.concatenate([table[words], np.zeros((1, table.shape[1]), table.dtype)])
    place = np.full(model.rows, len(vectors) - 1)
    place[words] = np.arange(len(vectors) - 1)
    bias = weights["bias"].reshape(4, -1)
    kept = gates[:, units]
    return Compact(
        place=place,
        vectors=np.ascontiguousarray(vectors),
        w_x=None
        if model.embedding is None
        else np.ascontiguousarray(weights["w_x"][inputs][:, columns]),
        w_h=np.ascontiguousarray(weights["w_h"][units][:, columns]),
        bias=bias[gates],
        live=None if kept.all() else np.flatnonzero(kept),
        constants=gate_constants(bias[:, units], model.hard).ravel(),
        segments=tuple(int(number) for number in kept.sum(1)),
        dense=np.ascontiguousarray(weights["dense"][units]),
        dense_bias=weights["dense_bias"],
        hard=model.hard,
    )


def gate_constants(bias: np.ndarray, hard: bool) -> np.ndarray:
    """The value of each gate that only its bias moves, (4, units): act(b), and tanh(b) of g."""
    act = np.clip(0.2 * bias + 0.5, 0, 1) if hard else 1 / (1 + np.exp(-bias))
    act[GATES.index("g")] = np.tanh(bias[GATES.index("g")])
    return act.astype(np.float32)
