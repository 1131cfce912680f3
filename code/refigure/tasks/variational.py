"""Sparse variational dropout in recurrent networks: classification, and language models.

The loss of a step is the mean negative log-likelihood of the batch plus KL / N, N being the number
of objects that such a mean runs over in an epoch: documents, or predicted characters or words.

Source: sparse-gated-rnn, sections 3 and 5; where a choice was the authors', their code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from refigure.data.text.documents import Documents
from refigure.data.text.language import Text
from refigure.graph.spec import Spec
from refigure.models.layers import Statistics
from refigure.models.rnn.lstm import (
    LSTM,
    State,
    folded,
    one_hot,
    presence,
    projected,
    rows_of,
    torch_states,
)
from refigure.models.rnn.variational import SUFFIX, clipped, kl, sample
from refigure.streams import generator

CLIP = 1e-6  # probabilities of classes are held within CLIP..1 - CLIP
EVALUATED = 256  # documents or windows of an evaluation batch


@dataclass(frozen=True)
class Batch:
    """Tokens side by side.

    Args:
        tokens: (networks, steps, batch), int64.
        labels: (networks, objects): classes of documents, or the next symbols, steps first.
        moment: epoch and number in it, which the noise is drawn from.
        carried: where the state that the batch begins in is kept, and the one it ends in; None:
            every batch begins in a zero state.
    """

    tokens: Tensor
    labels: Tensor
    moment: tuple[int, int] = (0, 0)
    carried: dict[str, Tensor] | None = None


class Variational:
    """A recurrent model and text, as the loop and the recorders see them.

    Args:
        model: an LSTM whose config says what is probabilistic.
        data: documents for the objective "documents", else a text.
        specs: of the networks, equal but for seeds and numbers of the optimiser.
        streams: of each network, what its order and noise are drawn from.

    Attributes:
        objects: N.
        carried: h and c of every stream of words, which the next step begins in.
    """

    def __init__(
        self, model: LSTM, data: Documents | Text, specs: Sequence[Spec], streams: Sequence[str]
    ):
        spec = specs[0]
        self.model, self.data, self.streams = model, data, list(streams)
        self.settings = spec.task
        self.objective = spec.task["objective"]
        self.batch_size = spec.batch
        self.carried: dict[str, Tensor] = {}
        self._orders: tuple[int, Tensor] = (-1, torch.empty(0))
        self.feed = FEEDS[self.objective](data, spec.batch)
        self.batches, self.objects = self.feed.batches, self.feed.objects

    # ------------------------------------------------------------------ batches

    @property
    def epoch(self) -> int:
        """Of the last batch, from 0; -1 before the first."""
        return self._orders[0]

    def batch(self, epoch: int, number: int) -> Batch:
        """The tokens of one step of an epoch, for all networks."""
        if self._orders[0] != epoch:
            drawn = {
                stream: self.feed.order(generator(stream, "order", epoch))
                for stream in set(self.streams)
            }
            order = torch.stack([drawn[stream] for stream in self.streams])
            self._orders = (epoch, order)
        if number == 0:
            self.carried.clear()
        tokens, labels = self.feed.training(self._orders[1], number)
        carried = self.carried if self.objective == "words" else None
        return Batch(tokens, labels, (epoch, number), carried)

    def evaluation(self, which: str, networks: int) -> Iterator[Batch]:
        """The training, validation or test part in its stored order, for every network.

        Windows of characters begin in a zero state, as in the source; words carry theirs along.
        """
        carried: dict[str, Tensor] | None = {} if self.objective == "words" else None
        for tokens, labels in self.feed.evaluation(which):
            yield Batch(
                tokens.expand(networks, *tokens.shape),
                labels.flatten().expand(networks, -1),
                carried=carried,
            )

    # ------------------------------------------------------------------ the loss

    def losses(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """Mean negative log-likelihood of a sampled network, plus KL / N, (networks,)."""
        likelihood = self.scores(self.sampled_logits(parameters, batch), batch.labels)[0].mean(1)
        weight = self.kl_weight(batch.moment[0]) / self.objects
        return likelihood + weight * self.kl(parameters) if weight else likelihood

    def kl_weight(self, epoch: int) -> float:
        """0 for the first `kl_warmup[0]` epochs, then linear to 1 over `kl_warmup[1]`."""
        if self.settings["kl_warmup"] is None:
            return 1.0
        silent, rising = self.settings["kl_warmup"]
        return min(1.0, max(0.0, (epoch - silent) / rising))

    def kl(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Of all probabilistic scalars of each network, (networks,); 0 where there are none."""
        found = [
            kl(value, parameters[name + SUFFIX], self.settings["kl"])
            for name, value in parameters.items()
            if name + SUFFIX in parameters
        ]
        return (
            torch.stack(found).sum(0)
            if found
            else parameters["bias"].new_zeros(len(parameters["bias"]))
        )

    def sampled_logits(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Logits with one sample of the weights for the batch, and of the groups for each object.

        One weight sample serves all time steps and objects; group variables are drawn for each
        object and serve all its steps. The last layer of classifiers and of character models is
        sampled by its preactivations (with the same noise at all steps of a window).

        Source: sparse-gated-rnn, section 5.2.
        """
        model, networks = self.model, len(batch.tokens)
        noise = Noise(self.streams, batch.moment, batch.tokens.device)
        objects = batch.tokens.shape[2]
        shared = self.settings["z_sampling"] == "batch"

        def weight(name: str) -> Tensor:
            mean = parameters[name]
            if name + SUFFIX not in parameters:
                return mean
            return sample(mean, parameters[name + SUFFIX], noise.normal(mean.shape[1:]))

        def group(name: str, width: int) -> Tensor:
            mean = parameters[name][:, None]
            drawn = noise.normal((1 if shared else objects, width))
            return sample(mean, parameters[name + SUFFIX][:, None], drawn).expand(-1, objects, -1)

        groups = {
            name: group(name, parameters[name].shape[1])
            for name in ("z_gates", "z_h")
            if name in parameters
        }
        weights = {"w_h": weight("w_h"), "bias": parameters["bias"]}
        by_torch = model.by_torch(batch.tokens.device) and not groups
        table = "w_x" if model.embedding is None else "embedding"
        words = "z_x" if model.embedding is None else "z_words"
        if by_torch:
            weights["w_x"] = weight("w_x")
            inputs = one_hot(batch.tokens, model.rows)
        else:
            inputs = self._looked_up(parameters, table, batch.tokens, noise)
        if words in parameters:
            inputs = inputs * self._of_words(parameters, words, batch.tokens, noise, shared)
        present = None
        if model.embedding is not None:
            present = presence(batch.tokens)
            if "z_x" in parameters:
                inputs = inputs * group("z_x", model.embedding)[:, None]
            inputs = projected(inputs, weight("w_x"))
        state = self._state(batch, networks)
        if by_torch:
            states, last = torch_states(weights, inputs, state)
        else:
            states, last = model.states(weights, inputs, present, groups, state)
        self._carry(batch, last)
        if model.embedding is not None:
            return self._dense(parameters, last[0][:, None], noise).flatten(1, 2)
        if self.objective == "words":
            dense = weight("dense")
            return torch.baddbmm(parameters["dense_bias"][:, None], states.flatten(1, 2), dense)
        return self._dense(parameters, states, noise).flatten(1, 2)

    def _looked_up(
        self, parameters: Mapping[str, Tensor], name: str, tokens: Tensor, noise: Noise
    ) -> Tensor:
        """Sampled rows of a table at the tokens, (networks, steps, batch, columns).

        Where the table has more rows than the batch has tokens, only rows that occur are drawn: the
        distribution is the same, and the others' noise would change nothing.
        """
        table, sigma = parameters[name], parameters.get(name + SUFFIX)
        if sigma is None:
            return rows_of(table, tokens)
        if table.shape[1] <= tokens[0].numel():
            return rows_of(sample(table, sigma, noise.normal(table.shape[1:])), tokens)
        rows, places = distinct(tokens.flatten(1))
        drawn = noise.ragged([len(own) for own in rows], table.shape[2])
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        sampled = sample(rows_of(table, padded), rows_of(sigma, padded), drawn)
        return rows_of(sampled, places.view(tokens.shape))

    def _of_words(
        self,
        parameters: Mapping[str, Tensor],
        name: str,
        tokens: Tensor,
        noise: Noise,
        shared: bool,
    ) -> Tensor:
        """Vocabulary groups at the tokens, (networks, steps, batch, 1), one a word and object.

        Drawn for the distinct pairs of object and word: a word that occurs twice in an object has
        one value there, and another in another object.
        """
        mean, sigma = parameters[name], parameters[name + SUFFIX]
        objects = torch.arange(1 if shared else tokens.shape[2], device=tokens.device)
        pairs = tokens + objects * mean.shape[1]
        rows, places = distinct(pairs.flatten(1))
        drawn = noise.ragged([len(own) for own in rows], 1)
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True) % mean.shape[1]
        sampled = sample(rows_of(mean[..., None], padded), rows_of(sigma[..., None], padded), drawn)
        return rows_of(sampled, places.view(tokens.shape))

    def _dense(self, parameters: Mapping[str, Tensor], states: Tensor, noise: Noise) -> Tensor:
        """The last layer, (networks, steps, batch, outputs), its noise drawn at its outputs.

        y = x mean + sqrt(x^2 sigma^2 + 1e-8) noise, with noise for each object and output.
        """
        mean, sigma = parameters["dense"], parameters.get("dense" + SUFFIX)
        found = projected(states, mean) + parameters["dense_bias"][:, None, None]
        if sigma is None:
            return found
        variance = projected(states.square(), (2 * sigma).exp())
        drawn = noise.normal((states.shape[2], mean.shape[2]))
        return found + (variance + 1e-8).sqrt() * drawn[:, None]

    def _state(self, batch: Batch, networks: int) -> State | None:
        if not batch.carried:
            return None
        return batch.carried["h"], batch.carried["c"]

    def _carry(self, batch: Batch, last: State) -> None:
        if batch.carried is not None:
            batch.carried.update(h=last[0].detach(), c=last[1].detach())

    # ------------------------------------------------------------------ evaluation

    def logits(
        self, parameters: Mapping[str, Tensor], batch: Batch, statistics: Statistics
    ) -> Tensor:
        """Logits by the means, pruned scalars at 0, (networks, objects, outputs).

        Batches that carry a state must be taken in their order.
        """
        return self.plain_logits(folded(clipped(parameters)), batch)

    def plain_logits(self, plain: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """As `logits`, of weights that are clipped and folded already."""
        found, last = self.model.evaluate(
            plain, batch.tokens, self._state(batch, len(batch.tokens))
        )
        self._carry(batch, last)
        return found

    def scores(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (nats) and error (0 or 1) of each object, both (networks, objects).

        Probabilities of classes are held within 1e-6 of 0 and 1, as the authors' code does.
        """
        if logits.shape[-1] == 1:
            chance = logits[..., 0].sigmoid().clamp(CLIP, 1 - CLIP)
            loss = -torch.where(labels == 1, chance, 1 - chance).log()
            return loss, ((logits.detach()[..., 0] >= 0) != (labels == 1)).float()
        error = (logits.detach().argmax(-1) != labels).float()
        if self.objective == "documents":
            chance = logits.softmax(-1).clamp(CLIP, 1 - CLIP)
            return -chance.gather(-1, labels[..., None])[..., 0].log(), error
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return loss.view_as(labels), error

    @torch.no_grad()
    def quality(self, plain: Mapping[str, Tensor], which: str) -> tuple[Tensor, Tensor]:
        """Mean loss (nats) and metric of plain weights on a part, (networks,) each.

        The metric is accuracy in percent, bits per character, or perplexity.

        Source: sparse-gated-rnn, section 6.1.
        """
        networks = len(plain["bias"])
        losses = errors = objects = 0
        for batch in self.evaluation(which, networks):
            loss, error = self.scores(self.plain_logits(plain, batch), batch.labels)
            losses = losses + loss.double().sum(1)
            errors = errors + error.double().sum(1)
            objects += loss.shape[1]
        mean = losses / objects
        if self.objective == "documents":
            return mean, 100 * (1 - errors / objects)
        if self.objective == "characters":
            return mean, mean / math.log(2)
        return mean, mean.exp()


class Noise:
    """Normal draws of one step, each network's from its own stream, in the order they are asked.

    Args:
        streams: of the networks.
        moment: epoch and number of the step in it.
        device: where the draws are made and wanted.
    """

    def __init__(self, streams: Sequence[str], moment: tuple[int, int], device: torch.device):
        self.device = device
        self.sources = [generator(stream, "noise", *moment, device=device) for stream in streams]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """(networks, *shape)."""
        found = torch.empty(len(self.sources), *shape, device=self.device)
        for own, source in zip(found, self.sources):
            own.normal_(generator=source)
        return found

    def ragged(self, counts: Sequence[int], columns: int) -> Tensor:
        """(networks, most of the counts, columns), of which each network draws its own count."""
        found = torch.zeros(len(self.sources), max(counts), columns, device=self.device)
        for own, count, source in zip(found, counts, self.sources):
            own[:count].normal_(generator=source)
        return found


def distinct(rows: Tensor) -> tuple[list[Tensor], Tensor]:
    """Of each network's (networks, n) rows: the distinct ones, and the place of each among them."""
    found = [own.unique(return_inverse=True) for own in rows]
    return [values for values, _ in found], torch.stack([places for _, places in found])


# ---------------------------------------------------------------------- feeds


class DocumentFeed:
    """Documents in batches; the last one may be smaller."""

    def __init__(self, data: Documents, batch: int):
        self.data, self.batch = data, batch
        self.objects = len(data.labels["train"])
        self.batches = -(-self.objects // batch)

    def order(self, source: torch.Generator) -> Tensor:
        """The order of an epoch, (documents,)."""
        return torch.randperm(self.objects, generator=source)

    def training(self, orders: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Tokens (networks, steps, batch) and labels (networks, batch) of one step."""
        first = number * self.batch
        places = orders[:, first : first + self.batch].to(self.data.labels["train"].device)
        return self.data.tokens["train"][places].mT, self.data.labels["train"][places]

    def evaluation(self, which: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens (steps, batch) and labels (batch,) of a part."""
        for first in range(0, len(self.data.labels[which]), EVALUATED):
            part = slice(first, first + EVALUATED)
            yield self.data.tokens[which][part].T, self.data.labels[which][part]


class CharacterFeed:
    """Windows of a text, cut anew from a random offset every epoch; the last batch is smaller.

    Source: sparse-gated-rnn, section 3.2.
    """

    def __init__(self, data: Text, batch: int):
        self.data, self.batch = data, batch
        self.windows = len(data.symbols["train"]) // data.length - 1
        self.batches = -(-self.windows // batch)
        self.objects = self.windows * (data.length - 1)

    def order(self, source: torch.Generator) -> Tensor:
        """The first symbol of each window of an epoch, in their order, (windows,)."""
        room = len(self.data.symbols["train"]) - self.data.length * self.windows
        offset = torch.randint(room, (1,), generator=source)
        return offset + self.data.length * torch.randperm(self.windows, generator=source)

    def training(self, orders: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Tokens (networks, steps, batch) and the symbols after them (networks, steps * batch)."""
        first = number * self.batch
        starts = orders[:, None, first : first + self.batch]
        symbols = self.data.symbols["train"]
        places = starts + torch.arange(self.data.length)[:, None]
        windows = symbols[places.to(symbols.device)]
        return windows[:, :-1], windows[:, 1:].flatten(1)

    def evaluation(self, which: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Tokens (steps, batch) and targets of a part, from offset 0."""
        length, symbols = self.data.length, self.data.symbols[which]
        count = len(symbols) // length - 1
        windows = symbols[: count * length].view(count, length).T
        for part in windows.split(EVALUATED, dim=1):
            yield part[:-1], part[1:]


class WordFeed:
    """Parallel streams of a text, read step by step; the last step is shorter.

    Source: sparse-gated-rnn, section 3.3.
    """

    def __init__(self, data: Text, batch: int):
        if batch != data.streams:
            raise ValueError(f"batch {batch}, but the words are in {data.streams} streams")
        self.data = data
        self.streams = {part: self._streams(part) for part in data.symbols}
        targets = len(self.streams["train"]) - 1
        self.batches = -(-targets // data.length)
        self.objects = targets * data.streams

    def _streams(self, part: str) -> Tensor:
        """(symbols, streams)."""
        symbols = self.data.symbols[part]
        rows = len(symbols) // self.data.streams
        return symbols[: rows * self.data.streams].view(self.data.streams, rows).T.contiguous()

    def order(self, source: torch.Generator) -> Tensor:
        """Nothing is shuffled."""
        return torch.empty(0)

    def training(self, orders: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Tokens (networks, steps, streams) and the words after them."""
        tokens, targets = self._step("train", number)
        return tokens.expand(len(orders), -1, -1), targets.flatten().expand(len(orders), -1)

    def evaluation(self, which: str) -> Iterator[tuple[Tensor, Tensor]]:
        """The steps of a part, in order."""
        for number in range(-(-(len(self.streams[which]) - 1) // self.data.length)):
            yield self._step(which, number)

    def _step(self, which: str, number: int) -> tuple[Tensor, Tensor]:
        stream = self.streams[which]
        first = number * self.data.length
        last = min(first + self.data.length, len(stream) - 1)
        return stream[first:last], stream[first + 1 : last + 1]


FEEDS: dict[str, Any] = {
    "documents": DocumentFeed,
    "characters": CharacterFeed,
    "words": WordFeed,
}


def build(
    model: LSTM, data: Documents | Text, specs: Sequence[Spec], streams: Sequence[str]
) -> Variational:
    """The task of some networks that stack.

    Raises:
        ValueError: words are read in other streams than the batch has.
    """
    return Variational(model, data, specs, streams)
