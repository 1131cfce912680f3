"""LSTM classifiers and language models whose weights, gates, neurons and words may be sparse.

Which parts are probabilistic (L), deterministic (D), or absent (C: group variables of constant 1)
is a word: of six letters for a classifier (embedding, vocabulary groups, LSTM weights, gate groups,
neuron groups, last layer), of four for a language model (LSTM weights, gate groups, neuron groups,
last layer), whose neuron groups may also be I (of the inputs, its vocabulary) or R (recurrent).

Source: sparse-gated-rnn, sections 1.1 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, Tensor

from refigure.models.layers import Group, Stacking, Statistics
from refigure.models.rnn.recurrence import recurrence
from refigure.models.rnn.variational import SUFFIX, clipped

LETTERS = {6: ("LD", "LC", "LD", "LC", "LC", "LD"), 4: ("LD", "LC", "CIRL", "LD")}
GATES = ("i", "f", "g", "o")
FIRST_LOG_SIGMA = -3.0

State = tuple[Tensor, Tensor]


def lstm_classifier(
    rows: int,
    outputs: int,
    pretrained: tuple[Tensor, Tensor] | None,
    *,
    embedding: int,
    hidden: int,
    config: str,
) -> LSTM:
    """Embedding, LSTM with the hard sigmoid, and a linear layer on the last state.

    Args:
        rows: of the vocabulary; row 0 is padding on the left.
        outputs: logits; 1 for two classes.
        pretrained: vectors of the rows, (rows, embedding), and which rows have one, (rows,) bool.
        embedding: its dimensions.
        hidden: units.
        config: six letters.

    Raises:
        ValueError: an unknown letter, or vectors of other dimensions.
    """
    _check(config, 6)
    if pretrained is not None and pretrained[0].shape[1] != embedding:
        raise ValueError(f"embedding {embedding}, but vectors of {pretrained[0].shape[1]}")
    return LSTM(rows, outputs, hidden, config, embedding, 1.0, pretrained)


def lstm_language(rows: int, *, hidden: int, config: str, forget_bias: float = 0.0) -> LSTM:
    """LSTM with the sigmoid on one-hot inputs, and a linear layer to the next symbol at every step.

    Args:
        rows: of the vocabulary, read and predicted.
        hidden: units.
        config: four letters.
        forget_bias: of the forget gate at the start.

    Raises:
        ValueError: an unknown letter.
    """
    _check(config, 4)
    return LSTM(rows, rows, hidden, config, None, forget_bias, None)


def _check(config: str, letters: int) -> None:
    if len(config) != letters or any(
        letter not in known for letter, known in zip(config, LETTERS[letters])
    ):
        shown = " ".join(LETTERS[letters])
        raise ValueError(f"config must be {letters} letters, each of {shown}, got {config!r}")


@dataclass(frozen=True)
class LSTM:
    """See `lstm_classifier` and `lstm_language`; `embedding` is None for a language model.

    Parameters, a mean each and a `.log_sigma` where probabilistic: `embedding` (rows, E), `z_words`
    (rows,), `w_x` (E or rows, 4 H), `w_h` (H, 4 H), `z_x` (E or rows,), `z_gates` (4 H,), `z_h`
    (H,), `dense` (H, outputs); `bias` (4 H,) and `dense_bias` (outputs,), always deterministic.
    Columns of 4 H are in the order i, f, g, o, as in `torch.nn.LSTM`.
    """

    rows: int
    outputs: int
    hidden: int
    config: str
    embedding: int | None
    forget_bias: float
    pretrained: tuple[Tensor, Tensor] | None

    @property
    def stacking(self) -> Stacking:
        return "native"

    @property
    def normalised(self) -> dict[str, int]:
        return {}

    @property
    def hard(self) -> bool:
        """Whether gates have the hard sigmoid: those of classifiers."""
        return self.embedding is not None

    @property
    def inputs(self) -> int:
        """Of the LSTM: embedding dimensions, or the vocabulary of a language model."""
        return self.rows if self.embedding is None else self.embedding

    @cached_property
    def kinds(self) -> dict[str, str]:
        """Each tensor that is there, and L or D."""
        if self.embedding is None:
            weights, gates, neurons, dense = self.config
            kinds = {"w_x": weights, "w_h": weights}
            kinds["z_x"] = "L" if neurons in "IL" else "C"
            kinds["z_h"] = "L" if neurons in "RL" else "C"
        else:
            embedding, words, weights, gates, neurons, dense = self.config
            kinds = {"embedding": embedding, "z_words": words, "w_x": weights, "w_h": weights}
            kinds |= {"z_x": neurons, "z_h": neurons}
        kinds |= {"z_gates": gates, "dense": dense, "bias": "D", "dense_bias": "D"}
        return {name: kind for name, kind in kinds.items() if kind != "C"}

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor that is there."""
        shapes = {
            "embedding": (self.rows, self.embedding),
            "z_words": (self.rows,),
            "w_x": (self.inputs, 4 * self.hidden),
            "w_h": (self.hidden, 4 * self.hidden),
            "z_x": (self.inputs,),
            "z_gates": (4 * self.hidden,),
            "z_h": (self.hidden,),
            "dense": (self.hidden, self.outputs),
            "bias": (4 * self.hidden,),
            "dense_bias": (self.outputs,),
        }
        return {name: shapes[name] for name in self.kinds}

    @property
    def groups(self) -> dict[str, Group]:
        names = {}
        for name, kind in self.kinds.items():
            group: Group = "head" if name.startswith("dense") else "free"
            names[name] = group
            if kind == "L":
                names[name + SUFFIX] = group
        return names

    def initial(self, generator: Generator, head_generator: Generator) -> dict[str, Tensor]:
        """Source: sparse-gated-rnn, section 4.3."""
        values = {}
        for name, shape in self.shapes.items():
            source = head_generator if name.startswith("dense") else generator
            values[name] = self._initial(name, torch.empty(shape), source)
            if self.kinds[name] == "L":
                values[name + SUFFIX] = torch.full(shape, FIRST_LOG_SIGMA)
        return values

    def _initial(self, name: str, value: Tensor, source: Generator) -> Tensor:
        init = torch.nn.init
        if name.startswith("z_"):
            return value.fill_(1)
        if name == "bias":
            value.fill_(0)
            value[self.hidden : 2 * self.hidden] = self.forget_bias
            return value
        if name == "dense_bias":
            return value.fill_(0)
        if name == "embedding":
            value.uniform_(-0.05, 0.05, generator=source)
            if self.pretrained is not None:
                vectors, known = (tensor.cpu() for tensor in self.pretrained)
                value[known] = vectors[known]
            return value
        language = self.embedding is None
        if name == "dense":
            return _glorot(value, source) if not language else _orthogonal(value, source)
        for gate in value.split(self.hidden, dim=1):
            if name == "w_h":
                init.orthogonal_(gate, 1.0 if language else 1.1, generator=source)
            elif language:
                _orthogonal(gate, source)
            else:
                _glorot(gate, source)
        return value

    # ------------------------------------------------------------------ forward

    def states(
        self,
        weights: Mapping[str, Tensor],
        inputs: Tensor,
        present: Tensor | None = None,
        groups: Mapping[str, Tensor] | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """The LSTM's hidden states, and the state it ends in.

        Args:
            weights: `w_h` and `bias`, (networks, ...), as sampled or as they are.
            inputs: (networks, steps, batch, 4 H): what the inputs add to the preactivations.
            present: (networks, steps, batch) of 0 and 1; see `recurrence`.
            groups: `z_gates` (networks, batch, 4 H) and `z_h` (networks, batch, H), as sampled.
            state: h and c that it begins in.

        Returns:
            (networks, steps, batch, H), scaled by `z_h`; and (h, c), (networks, batch, H) each.
        """
        groups = groups or {}
        return recurrence(
            inputs,
            weights["w_h"],
            weights["bias"],
            groups.get("z_gates"),
            groups.get("z_h"),
            present,
            state,
            self.hard,
        )

    def by_torch(self, device: torch.device) -> bool:
        """Whether `torch_states` computes what it can: the recurrence with the sigmoid, on a GPU.

        There it is one call of a library where ours is a dozen a time step. On a CPU ours is as
        fast or faster, and needs no one-hot inputs (`benchmarks/rnn.py`).
        """
        return self.embedding is None and device.type == "cuda"

    def forward(
        self, parameters: Mapping[str, Tensor], images: Tensor, statistics: Statistics
    ) -> Tensor:
        """Logits by the means, pruned scalars at 0, each window from a zero state.

        Args:
            parameters: by name, each with a leading axis `networks`.
            images: tokens, (networks, steps, batch), int64.
            statistics: not used.

        Returns:
            (networks, batch, outputs) of a classifier, (networks, steps * batch, outputs) of a
            language model, steps first.
        """
        return self.evaluate(folded(clipped(parameters)), images)[0]

    def evaluate(
        self, plain: Mapping[str, Tensor], tokens: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Logits of plain weights (`folded`), and the state the tokens end in.

        Args:
            tokens: (networks, steps, batch), int64, row 0 of a classifier being padding.
            state: that they begin in.
        """
        if self.by_torch(tokens.device):
            states, last = torch_states(plain, one_hot(tokens, self.rows), state)
        elif self.embedding is None:
            states, last = self.states(plain, rows_of(plain["w_x"], tokens), state=state)
        else:
            inputs = projected(rows_of(plain["embedding"], tokens), plain["w_x"])
            states, last = self.states(plain, inputs, presence(tokens), state=state)
        read = states.flatten(1, 2) if self.embedding is None else last[0]
        return torch.baddbmm(plain["dense_bias"][:, None], read, plain["dense"]), last


def folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Plain weights of an ordinary LSTM: group variables multiplied into what they scale.

    The recurrent state then means h before z^h. The bias is outside the gates' groups.

    Args:
        weights: means by name, (networks, ...), group variables among them.

    Source: sparse-gated-rnn, sections 6.6 and 13.4.
    """
    plain = {name: value for name, value in weights.items() if not name.startswith("z_")}
    if "z_words" in weights:
        plain["embedding"] = plain["embedding"] * weights["z_words"][..., None]
    if "z_x" in weights:
        plain["w_x"] = plain["w_x"] * weights["z_x"][..., None]
    if "z_h" in weights:
        plain["w_h"] = plain["w_h"] * weights["z_h"][..., None]
        plain["dense"] = plain["dense"] * weights["z_h"][..., None]
    if "z_gates" in weights:
        plain["w_x"] = plain["w_x"] * weights["z_gates"][:, None]
        plain["w_h"] = plain["w_h"] * weights["z_gates"][:, None]
    return plain


def torch_states(
    weights: Mapping[str, Tensor], inputs: Tensor, state: State | None
) -> tuple[Tensor, State]:
    """As `LSTM.states` without groups and padding, by `torch.nn.LSTM`, network after network.

    Args:
        weights: `w_x`, `w_h` and `bias`, (networks, ...), as sampled or folded.
        inputs: (networks, steps, batch, inputs): one-hot, scaled by group variables if there are.

    Source: sparse-gated-rnn, section 13.4.
    """
    size = weights["w_h"].shape[1]
    module = torch.nn.LSTM(inputs.shape[3], size, device="meta")
    found = []
    for place in range(len(inputs)):
        named = {
            "weight_ih_l0": weights["w_x"][place].T,
            "weight_hh_l0": weights["w_h"][place].T,
            "bias_ih_l0": weights["bias"][place],
            "bias_hh_l0": torch.zeros_like(weights["bias"][place]),
        }
        begun = None if state is None else tuple(part[place][None] for part in state)
        found.append(torch.func.functional_call(module, named, (inputs[place], begun)))
    states = torch.stack([states for states, _ in found])
    last = tuple(torch.stack([part[place][0] for _, part in found]) for place in range(2))
    return states, last


def one_hot(tokens: Tensor, rows: int) -> Tensor:
    """(..., rows), float32."""
    return torch.nn.functional.one_hot(tokens, rows).float()


def rows_of(table: Tensor, rows: Tensor) -> Tensor:
    """Rows of each network's table: (networks, rows, n), (networks, ...) -> (networks, ..., n)."""
    offset = torch.arange(len(table), device=table.device) * table.shape[1]
    places = rows + offset.view(-1, *[1] * (rows.dim() - 1))
    return torch.nn.functional.embedding(places, table.flatten(0, 1))


def projected(x: Tensor, weight: Tensor) -> Tensor:
    """(networks, steps, batch, E) times each network's (networks, E, n)."""
    return torch.bmm(x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def presence(tokens: Tensor) -> Tensor | None:
    """1.0 at words, 0.0 at padding (row 0), of the tokens' shape; None where no step is padding."""
    present = tokens != 0
    return None if bool(present.all()) else present.float()


def _glorot(value: Tensor, source: Generator) -> Tensor:
    return torch.nn.init.xavier_uniform_(value, generator=source)


def _orthogonal(value: Tensor, source: Generator) -> Tensor:
    return torch.nn.init.orthogonal_(value, generator=source)
