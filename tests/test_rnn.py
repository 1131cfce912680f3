"""Sparse recurrent networks: the KL term, the cell, what is sampled, counted and compacted."""

import math
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refigure.data.text import baselines
from refigure.data.text.documents import Documents
from refigure.data.text.language import Text
from refigure.errors import UserError
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.spec import Spec
from refigure.measures import sparsity as probes
from refigure.measures.members import Group, Member
from refigure.models.layers import Statistics
from refigure.models.rnn import sparsity
from refigure.models.rnn.compaction import Compact, compacted
from refigure.models.rnn.lstm import folded, lstm_classifier, lstm_language
from refigure.models.rnn.recurrence import recurrence
from refigure.models.rnn.variational import CONSTANTS, SUFFIX, clipped, kl, log_alpha
from refigure.streams import generator
from refigure.tasks.variational import build
from refigure.training.initial import initial_values
from refigure.training.recorders.counts import counts

KL = {  # sparse-gated-rnn, section 5.1
    "authors": {-8: 3.97014, -4: 1.96812, 0: -0.24371, 3: -0.64470, 8: -0.66983},
    "molchanov": {-8: 4.63590, -4: 2.63421, 0: 0.43124, 3: 0.02542, 8: 0.00017},
}
CLASSIFIERS = ("DCDCCD", "LCLCCL", "LLLCCL", "LLLCLL", "LLLLCL", "LLLLLL")
LANGUAGE = ("DCCD", "LCCL", "LCIL", "LCRL", "LLCL", "LLRL", "LLLL")


def documents(classes: int = 3, length: int = 7, rows: int = 9, count: int = 40) -> Documents:
    """Random documents of one to `length` words, padded on the left; word 3 + k says class k."""
    source = torch.Generator().manual_seed(5)
    tokens, labels = {}, {}
    for part in ("train", "validation", "test"):
        labels[part] = torch.randint(classes, (count,), generator=source)
        tokens[part] = torch.randint(3, rows, (count, length), generator=source)
        first = torch.randint(length, (count, 1), generator=source)
        tokens[part][torch.arange(length) < first] = 0
        tokens[part][:, -1] = 3 + labels[part]
    counted = torch.bincount(tokens["train"].flatten(), minlength=rows)
    presence = torch.stack(
        [
            torch.stack(
                [(tokens["train"][labels["train"] == k] == row).any(1).sum() for row in range(rows)]
            )
            for k in range(classes)
        ]
    )
    words = ["<pad>", "<start>", "<oov>", *(f"w{row}" for row in range(3, rows))]
    return Documents(tokens, labels, words, counted, presence, None, classes)


def text(rows: int = 6, length: int = 5, streams: int | None = None) -> Text:
    """A text in which each symbol says the next one, but for some noise."""
    source = torch.Generator().manual_seed(6)
    symbols = {}
    for part, count in (("train", 203), ("validation", 64), ("test", 63)):
        noise = torch.randint(2, (count,), generator=source)
        symbols[part] = (torch.arange(count) + noise.cumsum(0)) % rows
    counted = torch.bincount(symbols["train"], minlength=rows)
    return Text(symbols, [f"s{row}" for row in range(rows)], counted, length, streams)


def spec(data, config: str, seed: int = 0, **task) -> Spec:
    """A small network."""
    if isinstance(data, Documents):
        model = {"name": "lstm_classifier", "embedding": 4, "hidden": 3, "config": config}
        objective = "documents"
    else:
        model = {"name": "lstm_language", "hidden": 3, "config": config}
        objective = "characters" if data.streams is None else "words"
    written = {
        "data": "x",
        "model": model,
        "task": {"name": "variational", "objective": objective, **task},
        "optimiser": {"name": "adam", "lr": 0.01},
        "batch": data.streams if objective == "words" else 16,
        "epochs": 2,
        "seed": seed,
    }
    return Spec.of(written, "test")


def model_of(data, config: str):
    """The model of `spec`."""
    if isinstance(data, Documents):
        return lstm_classifier(data.rows, data.outputs, None, embedding=4, hidden=3, config=config)
    return lstm_language(data.rows, hidden=3, config=config)


def network(data, config: str, seeds=(0,), log_sigma: float | None = None, **task):
    """A task with its parameters, (networks, ...), groups moved away from 1 a little."""
    model = model_of(data, config)
    specs = [spec(data, config, seed, **task) for seed in seeds]
    values = [initial_values(model, one) for one in specs]
    for seed, own in zip(seeds, values):
        source = generator(seed, "test")
        for name, value in own.items():
            if name.endswith("log_sigma"):
                if log_sigma is not None:
                    value.fill_(log_sigma)
            elif name.startswith("z_") or name.endswith("bias"):
                value += 0.3 * torch.randn(value.shape, generator=source)
    parameters = {name: torch.stack([own[name] for own in values]) for name in model.groups}
    return build(model, data, specs, [str(seed) for seed in seeds]), parameters


def sparse(parameters, keep: float = 0.4, seed: int = 0):
    """The same with the noise of most scalars raised above the threshold."""
    source = torch.Generator().manual_seed(seed)
    found = dict(parameters)
    for name, value in parameters.items():
        if name.endswith("log_sigma"):
            mean = parameters[name.removesuffix(".log_sigma")]
            share = 0.8 if name.startswith("z_") else keep
            kept = torch.rand(value.shape, generator=source) < share
            found[name] = torch.where(kept, value, mean.abs().log() + 2.0)
    return found


# The KL term


@pytest.mark.parametrize("approximation", list(KL))
def test_the_kl_term_has_the_specified_values(approximation):
    for ratio, expected in KL[approximation].items():
        mean, log_sigma = torch.tensor([[2.0]]), torch.tensor([[ratio / 2 + math.log(2.0)]])
        assert float(log_alpha(mean, log_sigma)) == pytest.approx(ratio, abs=1e-5)
        assert float(kl(mean, log_sigma, approximation)) == pytest.approx(expected, abs=1e-5)


def test_both_approximations_differ_by_a_constant_within_what_is_specified():
    log_sigma = torch.linspace(-4, 4, 2001)[:, None]
    mean = torch.ones_like(log_sigma)
    gap = kl(mean, log_sigma, "molchanov") - kl(mean, log_sigma, "authors") - 0.67
    assert float(gap.abs().max()) <= 0.0081
    grads = []
    for approximation in CONSTANTS:
        leaf = log_sigma.clone().requires_grad_()
        grads.append(torch.autograd.grad(kl(mean, leaf, approximation).sum(), leaf)[0] / 2)
    assert float((grads[0] - grads[1]).abs().max()) <= 0.0074


@pytest.mark.parametrize("approximation", list(KL))
def test_gradients_of_the_kl_term_are_those_of_finite_differences(approximation):
    source = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 5, 3, generator=source, dtype=torch.float64).requires_grad_()
    log_sigma = (2 * torch.randn(2, 5, 3, generator=source, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, s: kl(m, s, approximation), (mean, log_sigma))


def test_the_kl_term_ends_at_its_clip_and_a_mean_of_zero_has_a_finite_gradient():
    mean = torch.tensor([[1.0, 1.0, 0.0, 1e-30]]).requires_grad_()
    log_sigma = torch.tensor([[-4.5, 4.5, -3.0, -3.0]]).requires_grad_()
    value = kl(mean, log_sigma)
    assert value.item() == pytest.approx(3.97014 - 3 * 0.66983, abs=1e-4)
    by_mean, by_sigma = torch.autograd.grad(value.sum(), [mean, log_sigma])
    assert torch.equal(by_mean, torch.zeros(1, 4)) and torch.equal(by_sigma, torch.zeros(1, 4))


# The cell


def slow(inputs, recurrent, bias, gates, hidden, present, state, hard):
    """Section 4.2 as it is written, by autograd."""
    size = inputs.shape[-1] // 4
    networks, steps, batch, _ = inputs.shape
    zeros = inputs.new_zeros(networks, batch, size)
    h, c = state or (zeros, zeros)
    found = []
    for step in range(steps):
        a = inputs[:, step] + h @ recurrent
        a = (a if gates is None else a * gates) + bias[:, None]
        i, f, g, o = a.split(size, -1)
        if hard:
            i, f, o = ((0.2 * x + 0.5).clamp(0, 1) for x in (i, f, o))
        else:
            i, f, o = (x.sigmoid() for x in (i, f, o))
        new_c = f * c + i * g.tanh()
        new_h = o * new_c.tanh() * (1 if hidden is None else hidden)
        if present is not None:  # masked steps copy h and c
            here = present[:, step, :, None].bool()
            new_h, new_c = torch.where(here, new_h, h), torch.where(here, new_c, c)
        h, c = new_h, new_c
        found.append(h)
    return torch.stack(found, 1), (h, c)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_recurrence_and_its_gradient_are_those_of_the_plain_loop(hard, grouped, masked):
    source = torch.Generator().manual_seed(1)

    def drawn(*shape):
        return torch.randn(*shape, generator=source, dtype=torch.float64).requires_grad_()

    networks, steps, batch, size = 2, 5, 3, 4
    leaves = [drawn(networks, steps, batch, 4 * size), drawn(networks, size, 4 * size)]
    leaves += [drawn(networks, 4 * size)]
    groups = [drawn(networks, batch, 4 * size), drawn(networks, batch, size)]
    state = [drawn(networks, batch, size), drawn(networks, batch, size)]
    present = (torch.arange(steps)[:, None] >= torch.tensor([0, 2, 4])).double()
    given = groups if grouped else [None, None]
    wanted = leaves + (groups if grouped else []) + ([] if masked else state)
    found = []
    for function in (recurrence, slow):
        states, (h, c) = function(
            *leaves,
            *given,
            present.expand(networks, -1, -1) if masked else None,
            None if masked else tuple(state),
            hard,
        )
        if not masked:
            assert torch.equal(states[:, -1], h)
        weighted = (
            (h * 0.7).sum() + (c * c).sum() + (0 if masked else (states.sin() * states).sum())
        )
        found.append((states, c, torch.autograd.grad(weighted, wanted)))
    if masked:  # before the first word nothing is read
        torch.testing.assert_close(found[0][0][:, -1], found[1][0][:, -1])
    else:
        torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])
    for one, other in zip(found[0][2], found[1][2]):
        torch.testing.assert_close(one, other)


def test_a_deterministic_network_with_the_sigmoid_is_torchs_lstm():
    data = text()
    task, parameters = network(data, "DCCD", seeds=(0, 1))
    tokens = data.symbols["test"][:60].view(2, 10, 3)
    logits = task.model.forward(parameters, tokens, Statistics({}))
    for place in range(2):
        module = torch.nn.LSTM(data.rows, 3)
        module.weight_ih_l0.data = parameters["w_x"][place].T.contiguous()
        module.weight_hh_l0.data = parameters["w_h"][place].T.contiguous()
        module.bias_ih_l0.data, module.bias_hh_l0.data = parameters["bias"][place], torch.zeros(12)
        states = module(torch.nn.functional.one_hot(tokens[place], data.rows).float())[0]
        expected = states @ parameters["dense"][place] + parameters["dense_bias"][place]
        torch.testing.assert_close(logits[place], expected.flatten(0, 1), atol=2e-6, rtol=1e-5)


def test_initial_values_are_the_specified_ones():
    data = documents()
    vectors = (torch.arange(36.0).view(9, 4), torch.arange(9) > 5)
    model = lstm_classifier(9, 3, vectors, embedding=4, hidden=3, config="LLLLLL")
    values = initial_values(model, spec(data, "LLLLLL"))
    assert {float(v.min()) for n, v in values.items() if n.endswith("log_sigma")} == {-3.0}
    assert {float(v.max()) for n, v in values.items() if n.endswith("log_sigma")} == {-3.0}
    assert all(
        torch.equal(values[f"z_{n}"], torch.ones_like(values[f"z_{n}"]))
        for n in ("words", "x", "gates", "h")
    )
    assert values["bias"].tolist() == [0.0] * 3 + [1.0] * 3 + [0.0] * 6
    assert torch.equal(values["embedding"][6:], vectors[0][6:])
    assert float(values["embedding"][:6].abs().max()) <= 0.05
    for gate in values["w_h"].split(3, 1):
        torch.testing.assert_close(gate.T @ gate, 1.1**2 * torch.eye(3))
    bound = (6 / (4 + 3)) ** 0.5
    assert 0.7 * bound < float(values["w_x"].abs().max()) <= bound
    language = lstm_language(6, hidden=3, config="DCCD", forget_bias=1.0)
    values = initial_values(language, spec(text(), "DCCD"))
    for matrix in (*values["w_x"].split(3, 1), *values["w_h"].split(3, 1), values["dense"].T):
        torch.testing.assert_close(matrix.T @ matrix, torch.eye(3))
    assert values["bias"].sum() == 3
    with pytest.raises(ValueError, match="config must be 4 letters, each of LD LC CIRL LD"):
        lstm_language(6, hidden=3, config="LCXL")


# What is sampled


@pytest.mark.parametrize("config", [*CLASSIFIERS, *LANGUAGE])
def test_without_noise_a_sampled_network_is_the_evaluated_one(config):
    for data in [documents()] if len(config) == 6 else [text(), text(streams=4)]:
        task, parameters = network(data, config, log_sigma=-20.0)
        batch = task.batch(0, 0)
        sampled = task.sampled_logits(parameters, batch)
        if batch.carried is not None:
            batch.carried.clear()
        evaluated = task.logits(parameters, batch, Statistics({}))
        # the noise of a sampled last layer keeps the 1e-8 that its formula adds
        torch.testing.assert_close(sampled, evaluated, atol=6e-4, rtol=1e-4)


@pytest.mark.parametrize("config", ["DCCD", "LCCL", "LCIL", "LCRL", "LLRL"])
def test_where_torchs_lstm_can_be_used_it_gives_the_same(config, monkeypatch):
    for data in (text(), text(streams=4)):
        task, parameters = network(data, config, seeds=(0, 1))
        found = []
        for by_torch in (False, True):
            monkeypatch.setattr(type(task.model), "by_torch", lambda *_, by=by_torch: by)
            leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
            first = task.losses(leaves, task.batch(0, 0), Statistics({}))
            second = task.losses(leaves, task.batch(0, 1), Statistics({}))  # from the state carried
            gradient = torch.autograd.grad((first + second).sum(), list(leaves.values()))
            quality = task.quality(folded(clipped(parameters)), "test")
            found.append([first, second, *quality, *gradient])
        for own, other in zip(*found):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


def test_a_network_draws_the_same_alone_and_beside_others_and_anew_at_every_step():
    for data, config in ((documents(), "LLLLLL"), (text(), "LLLL"), (text(streams=4), "LLRL")):
        task, parameters = network(data, config, seeds=(3, 4, 3))
        first = task.losses(parameters, task.batch(1, 0), Statistics({}))
        again = task.losses(parameters, task.batch(1, 0), Statistics({}))
        later = task.losses(parameters, replace(task.batch(1, 0), moment=(1, 1)), Statistics({}))
        alone, own = network(data, config, seeds=(4,))
        single = alone.losses(own, alone.batch(1, 0), Statistics({}))
        assert torch.equal(first, again) and first[0] == first[2] and first[0] != first[1]
        assert not torch.equal(first, later)
        torch.testing.assert_close(first[1:2], single, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("config", ["LLLCCL", "LLLLLL"])
def test_noise_of_groups_is_per_object_and_shared_where_asked(config):
    data = documents()
    same = {part: tokens[:1].expand(16, -1) for part, tokens in data.tokens.items()}
    labels = {part: found[:16] for part, found in data.labels.items()}
    data = replace(data, tokens=same, labels=labels)
    for sampling, spread in (("object", True), ("batch", False)):
        task, parameters = network(data, config, z_sampling=sampling)
        parameters["embedding"] *= 20
        parameters["dense.log_sigma"].fill_(-20.0)  # its noise is per object too
        logits = task.sampled_logits(parameters, task.batch(0, 0))[0]
        assert (float(logits.std(0).max()) > 2e-3) == spread
    task, parameters = network(data, "LCLCCL")  # no groups: one weight sample for all
    parameters["dense.log_sigma"].fill_(-20.0)
    logits = task.sampled_logits(parameters, task.batch(0, 0))[0]
    assert float(logits.std(0).max()) < 5e-4


def test_a_word_has_one_group_value_in_a_document_and_others_elsewhere():
    data = documents()
    task, parameters = network(data, "LLLCCL", seeds=(0, 1))
    tokens = torch.tensor([[3, 3], [4, 4], [3, 3]]).expand(2, 3, 2)
    from refigure.tasks.variational import Noise

    noise = Noise(["0", "1"], (0, 0), torch.device("cpu"))
    values = task._of_words(parameters, "z_words", tokens, noise, shared=False)[..., 0]
    assert torch.equal(values[:, 0], values[:, 2])
    assert (values[:, 0] != values[:, 1]).all()  # another word
    assert (values[:, 0, 0] != values[:, 0, 1]).all()  # another document
    assert (values[0] != values[1]).all()  # another network
    drawn = Noise(["0"], (0, 0), torch.device("cpu"))
    many = tokens[:1, :1].expand(1, 1, 2).repeat(1, 1, 2000)
    sampled = task._of_words(
        {name: value[:1] for name, value in parameters.items()}, "z_words", many, drawn, False
    )
    mean, sigma = float(parameters["z_words"][0, 3]), math.exp(-3)
    assert float(sampled.mean()) == pytest.approx(mean, abs=4 * sigma / 4000**0.5)
    assert float(sampled.std()) == pytest.approx(sigma, rel=0.05)


def test_rows_drawn_for_the_words_of_a_batch_are_distributed_as_all_rows():
    data = replace(text(), words=[f"s{row}" for row in range(500)])
    task, parameters = network(data, "LCCL")
    from refigure.tasks.variational import Noise

    tokens = torch.tensor([[[1, 2], [1, 499]]])  # fewer than the 500 rows
    found = []
    for step in range(400):
        noise = Noise(["0"], (0, step), torch.device("cpu"))
        drawn = task._looked_up(parameters, "w_x", tokens, noise)
        assert torch.equal(drawn[0, 0, 0], drawn[0, 1, 0])  # one sample for all objects and steps
        found.append(drawn[0, 1])
    found = torch.stack(found)
    expected = parameters["w_x"][0, [1, 499]]
    torch.testing.assert_close(found.mean(0), expected, atol=5 * math.exp(-3) / 20, rtol=0)
    assert float(found.std(0).mean()) == pytest.approx(math.exp(-3), rel=0.05)


def test_the_kl_term_is_over_all_words_divided_by_the_objects_and_warmed_up():
    data = documents()
    task, parameters = network(data, "LLLLLL", kl_warmup=[2, 4])
    assert [task.kl_weight(epoch) for epoch in (0, 2, 3, 6, 9)] == [0, 0, 0.25, 1, 1]
    assert task.objects == 40
    batch = task.batch(0, 0)
    without = task.losses(parameters, batch, Statistics({}))
    whole = task.losses(parameters, replace(batch, moment=(0, 0)), Statistics({}))
    assert torch.equal(without, whole)
    task.settings = {**task.settings, "kl_warmup": None}
    assert task.objects * float(task.losses(parameters, batch, Statistics({})) - without) == (
        pytest.approx(float(task.kl(parameters)), rel=1e-4)
    )
    leaf = parameters["embedding"].clone().requires_grad_()
    own = {**parameters, "embedding": leaf}
    gradient = torch.autograd.grad(task.losses(own, batch, Statistics({})), leaf)[0]
    assert (gradient[0, 1] != 0).all()  # row 1 is in no document
    assert network(text(), "LCCL")[0].objects == 39 * 4  # floor(203/5) - 1 windows of 4 targets
    assert network(text(streams=4), "LCCL")[0].objects == 4 * 49


# Batches


def test_windows_of_characters_begin_at_a_random_offset_and_are_each_seen_once():
    data = text(length=5)
    task, _ = network(data, "DCCD", seeds=(0, 1))
    assert task.batches == 3
    offsets = set()
    for epoch in range(6):
        starts = task.feed.order(generator("0", "order", epoch))
        offset = int(starts.min())
        assert sorted((starts - offset).tolist()) == list(range(0, 195, 5)) and 0 <= offset < 8
        offsets.add(offset)
    assert len(offsets) > 2
    batch = task.batch(0, 2)
    assert batch.tokens.shape == (2, 4, 7) and batch.labels.shape == (2, 28)
    symbols = data.symbols["train"]
    start = int(task.feed.order(generator("0", "order", 0))[32])
    assert batch.tokens[0, :, 0].tolist() == symbols[start : start + 4].tolist()
    assert batch.labels[0].view(4, 7)[:, 0].tolist() == symbols[start + 1 : start + 5].tolist()
    tested = list(task.evaluation("test", 2))
    assert sum(part.labels.shape[1] for part in tested) == 11 * 4  # floor(63/5) - 1
    assert tested[0].tokens[1, :, 1].tolist() == data.symbols["test"][5:9].tolist()


def test_streams_of_words_carry_their_state_and_begin_anew_with_the_epoch():
    data = text(length=20, streams=4)
    task, parameters = network(data, "LLRL", seeds=(0, 1))
    assert task.batches == 3  # 49 targets a stream: 20, 20, 9
    batches = [task.batch(0, number) for number in range(3)]
    assert [batch.tokens.shape[1] for batch in batches] == [20, 20, 9]
    stream = data.symbols["train"][:200].view(4, 50).T
    assert torch.equal(torch.cat([batch.tokens[0] for batch in batches]), stream[:49])
    assert torch.equal(torch.cat([batch.labels[0].view(-1, 4) for batch in batches]), stream[1:])
    for batch in batches[:2]:
        task.losses(parameters, batch, Statistics({}))
    kept = {name: value.clone() for name, value in task.carried.items()}
    assert set(kept) == {"h", "c"} and not kept["h"].requires_grad
    task.losses(parameters, batches[2], Statistics({}))
    assert not torch.equal(task.carried["h"], kept["h"])
    task.batch(1, 0)
    assert not task.carried
    # evaluation in steps is that of the whole stream
    plain = folded(clipped(parameters))
    whole = data.symbols["test"][:60].view(4, 15).T
    logits, _ = task.model.evaluate(plain, whole[:-1].expand(2, -1, -1))
    loss, _ = task.scores(logits, whole[1:].flatten().expand(2, -1))
    short = replace(data, length=4)
    mean, metric = build(task.model, short, [spec(short, "LLRL")] * 2, ["0", "1"]).quality(
        plain, "test"
    )
    torch.testing.assert_close(mean, loss.double().mean(1), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(metric, mean.exp())


def test_probabilities_are_held_and_two_classes_have_one_output():
    data = documents(classes=2)
    task, _ = network(data, "DCDCCD")
    logits, labels = torch.tensor([[[40.0], [-40.0], [0.0]]]), torch.tensor([[0, 0, 1]])
    loss, error = task.scores(logits, labels)
    assert loss[0].tolist() == pytest.approx(
        [-math.log(1e-6), 0.0, math.log(2)], rel=0.02, abs=2e-6
    )
    assert error.tolist() == [[1.0, 0.0, 0.0]]
    many, _ = network(documents(), "DCDCCD")
    loss, error = many.scores(torch.tensor([[[0.0, 0.0, 60.0]]]), torch.tensor([[0]]))
    assert float(loss) == pytest.approx(-math.log(1e-6), rel=1e-3) and float(error) == 1


# What is left


def hand_made() -> tuple:
    """A classifier of 3 units, 3 words beyond the specials and 2 dimensions, counted by hand."""
    model = lstm_classifier(6, 2, None, embedding=2, hidden=3, config="LLLLLL")
    alive = {name: torch.zeros(1, *shape, dtype=torch.bool) for name, shape in model.shapes.items()}
    for name in ("z_words", "z_x", "z_h", "z_gates", "bias", "dense_bias"):
        alive[name][:] = True
    alive["z_words"][0, [0, 1, 2, 5]] = False
    alive["embedding"][0, 3, 0] = alive["embedding"][0, 5, 1] = (
        True  # word 5 is dropped by its group
    )
    alive["w_x"][0, 0, 0] = True  # dimension 0 -> i of unit 0
    alive["w_x"][0, 1, 7] = True  # dimension 1 -> g of unit 1, but only word 5 has dimension 1
    alive["w_x"][0, 0, 11] = True  # dimension 0 -> o of unit 2, which is dropped
    alive["w_h"][0, 0, 4] = True  # unit 0 -> f of unit 1
    alive["w_h"][0, 2, 2] = True  # unit 2 -> i of unit 2: dropped by its group
    alive["w_h"][0, 1, 9] = True  # unit 1 -> o of unit 0, a gate its group killed
    alive["dense"][0, 0, 1] = True
    alive["z_h"][0, 2] = False
    alive["z_gates"][0, 9] = False
    return model, alive


def test_counts_of_a_hand_made_network_by_both_rules():
    model, alive = hand_made()
    found = {
        name: float(value)
        for name, value in sparsity.counts(model, sparsity.structure(model, alive)).items()
    }
    # embedding (3,0), (5 is no word); w_x: (0,i0), (1,g1); w_h: (0,f1), (1,o0); dense: (0,1)
    assert {name: found[f"nnz_{name}"] for name in "xhd"} == {"x": 2, "h": 2, "d": 1}
    assert found["nnz_emb"] == 1 and (found["n_voc"], found["n_x"], found["n_h"]) == (2, 2, 2)
    assert [found[f"n_{gate}"] for gate in "ifgo"] == [1, 1, 1, 0] and found["n_gates"] == 3
    assert found["C"] == (6 * 2 + 2 * 12 + 3 * 12 + 3 * 2) / 6
    assert found["macs"] == 3 * (2 + 2)
    strict = {
        name: float(value)
        for name, value in sparsity.counts(model, sparsity.structure(model, alive, True)).items()
    }
    # o of unit 0 is constant, so unit 1 feeds nothing: it goes, and with it all that it is fed by
    assert {name: strict[f"nnz_{name}"] for name in ("emb", "x", "h", "d")} == {
        "emb": 1,
        "x": 1,
        "h": 0,
        "d": 1,
    }
    assert (strict["n_voc"], strict["n_x"], strict["n_h"], strict["n_gates"]) == (1, 1, 1, 1)


def test_nothing_is_missing_in_a_network_that_is_not_sparse():
    for data, config in ((documents(), "DCDCCD"), (text(), "DCCD")):
        task, parameters = network(data, config)
        moment = SimpleNamespace(
            task=task, stack=SimpleNamespace(parameters=parameters, networks=1)
        )
        found = counts(moment, {})
        assert float(found["C"]) == float(found["C_strict"]) == 1
        assert float(found["n_gates"]) == 12 and float(found["n_h"]) == 3
        assert (
            float(found["macs"]) == float(found["macs_full"]) == 12 * (3 + (len(config) == 6) * 4)
        )
        for short in sparsity.WEIGHTS:
            assert (f"nnz_{short}" in found) == (short != "emb" or len(config) == 6)
        # The catalogue names what may differ from epoch to epoch; the rest are sizes and guesses.
        named = set(CATALOGUE["record"]["counts"].columns)
        assert named - set(found) <= {"nnz_emb", "nnz_emb_strict"}
        rest = r"all_.*|macs_full|macs_dense_full|kl_least|trivial_.*|pairs_.*|vectors"
        assert not [name for name in set(found) - named if not re.fullmatch(rest, name)]


def test_the_kl_term_is_recorded_with_its_least_and_its_weight():
    """At the least every scalar is at the limit of log alpha: -0.66983 each by the authors'."""
    task, parameters = network(text(), "LLRL")
    moment = SimpleNamespace(task=task, stack=SimpleNamespace(parameters=parameters, networks=1))
    found = counts(moment, {})
    scalars = sum(value.numel() for name, value in parameters.items() if name.endswith(SUFFIX))
    assert float(found["kl_least"]) == pytest.approx(-0.66983 * scalars / task.objects, rel=1e-4)
    assert float(found["kl"]) == pytest.approx(float(task.kl(parameters)) / task.objects)
    assert float(found["kl"]) > float(found["kl_least"]) and float(found["kl_weight"]) == 1


def test_guesses_are_what_counting_by_hand_gives():
    """The text abab|ab: of the training part 2 of 4 symbols are a; b follows a, a follows b."""
    data = of_two_symbols(train=[0, 1, 0, 1], test=[0, 1])
    assert baselines.trivial(data, "test") == pytest.approx(math.log(2))
    # After a: one distinct follower, two times: 1 / 3 of the frequencies and 2 / 3 of certainty.
    assert baselines.pairs(data, "test") == pytest.approx(-math.log(1 / 3 / 2 + 2 / 3))
    assert baselines.metric_of(math.log(8), "characters") == pytest.approx(3)
    assert baselines.metric_of(math.log(8), "words") == pytest.approx(8)
    usual = documents()
    shares = usual.labels["train"].bincount(minlength=usual.classes)
    expected = 100 * (usual.labels["test"] == shares.argmax()).double().mean()
    assert baselines.trivial(usual, "test") == pytest.approx(float(expected))


def of_two_symbols(**parts) -> Text:
    symbols = {part: torch.tensor(values) for part, values in parts.items()}
    counts = symbols["train"].bincount(minlength=2)
    return Text(symbols, ["a", "b"], counts, 2, None)


def test_the_paper_networks_have_the_specified_sizes():
    for model, expected in (
        (lstm_classifier(20_003, 1, None, embedding=300, hidden=128, config="LLLLLL"), 6_220_164),
        (lstm_classifier(20_003, 4, None, embedding=300, hidden=512, config="LLLLLL"), 7_665_924),
        (lstm_language(50, hidden=1000, config="LLRL"), 4_250_000),
        (lstm_language(10_000, hidden=256, config="LLRL"), 13_062_144),
    ):
        sizes = sparsity.sizes(model)
        assert sum(size for name, size in sizes.items() if name.startswith("all_")) == expected
        assert sizes["macs_full"] in (219_136, 1_662_976, 4_000_000, 262_144)


def test_a_pruned_gate_does_not_depend_on_the_input():
    data = text()
    task, parameters = network(data, "LLCL")
    tokens = data.symbols["test"][:10].view(1, 10, 1)
    other = (tokens + 1) % data.rows
    plain = folded(clipped(parameters))
    before = [task.model.evaluate(plain, some)[1][1] for some in (tokens, other)]
    assert not torch.allclose(*before)
    # all gates but the outputs' killed: the cells are what the biases make them
    parameters["z_gates.log_sigma"][0, :9] = 5.0
    plain = folded(clipped(parameters))
    after = [task.model.evaluate(plain, some)[1][1] for some in (tokens, other)]
    assert torch.equal(*after)
    i, f, g, _ = parameters["bias"][0].split(3)
    c = torch.zeros(3)
    for _ in range(10):
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    torch.testing.assert_close(after[0][0, 0], c)


@pytest.mark.parametrize("config", [*CLASSIFIERS, *LANGUAGE])
def test_a_compacted_network_gives_what_the_masked_one_gives(config):
    data = documents() if len(config) == 6 else text()
    macs = []
    for seed in range(4):
        task, parameters = network(data, config, seeds=(seed,))
        parameters = sparse(parameters, seed=seed)
        alive = sparsity.masks(task.model, parameters)
        plain = folded(clipped(parameters))
        for strict in (False, True):
            left = sparsity.structure(task.model, alive, strict)
            net = compacted(task.model, plain, left)
            for part in data.tokens["test"] if len(config) == 6 else [data.symbols["test"]]:
                words = part[part != 0] if len(config) == 6 else part
                expected = task.model.evaluate(plain, words[None, :, None])[0][0]
                np.testing.assert_allclose(
                    np.atleast_2d(net.outputs(words.numpy())), expected, atol=1e-5
                )
        macs.append(net.macs)
    if config in ("LLLCLL", "LLLLCL", "LLLLLL", "LCRL", "LLCL", "LLRL", "LLLL"):
        assert min(macs) < 12 * (3 + (4 if len(config) == 6 else 0))


@pytest.mark.parametrize("config", ["LLLLLL", "LLRL", "DCCD"])
def test_a_compacted_network_is_read_back_as_it_was(config, tmp_path):
    data = documents() if len(config) == 6 else text()
    task, parameters = network(data, config)
    parameters = sparse(parameters)
    left = sparsity.structure(task.model, sparsity.masks(task.model, parameters), strict=True)
    net = compacted(task.model, folded(clipped(parameters)), left)
    net.save(tmp_path / "net.npz", data.words)
    read, words = Compact.load(tmp_path / "net.npz")
    assert words == data.words
    tokens = np.array([3, 5, 4, 3])
    np.testing.assert_array_equal(read.outputs(tokens), net.outputs(tokens))
    (tmp_path / "other.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "strange.npz", words=np.array(["a"]))
    for name in ("other", "strange"):
        with pytest.raises(UserError, match=name):
            Compact.load(tmp_path / f"{name}.npz")


def test_padding_on_the_left_changes_nothing():
    data = documents()
    task, parameters = network(data, "LLLLLL")
    plain = folded(clipped(parameters))
    words = torch.tensor([3, 5, 4])
    padded = torch.tensor([[0, 0, 3, 5, 4], [3, 5, 4, 3, 5]]).T[None]
    short = task.model.evaluate(plain, words[None, :, None])[0][0, 0]
    torch.testing.assert_close(task.model.evaluate(plain, padded)[0][0, 0], short)


# Probes


def group(data, config: str) -> Group:
    """A sparse network as a probe takes it."""
    task, parameters = network(data, config)
    member = Member(None, task.model, task, sparse(parameters), Statistics({}, "running"))
    return Group({"config": config, "seed": 0}, {"net": [member]})


def test_probes_say_what_the_counts_say():
    for data, config in ((documents(), "LLLLLL"), (text(), "LLLL"), (text(streams=4), "LCRL")):
        made = group(data, config)
        member = made.roles["net"][0]
        alive = sparsity.masks(member.model, member.parameters)
        numbers = sparsity.counts(member.model, sparsity.structure(member.model, alive))
        rows = list(probes.gates(made))
        assert sum(row["nonconstant"] for row in rows) == int(numbers["n_gates"])
        assert {row["unit"] for row in rows if row["alive"]} == set(
            sparsity.structure(member.model, alive).units[0].nonzero().flatten().tolist()
        )
        words = list(probes.kept_words(made))
        assert sum(row["kept"] for row in words) == int(numbers["n_voc"])
        assert [row["token"] for row in words] == data.words
        table = alive["embedding" if "embedding" in alive else "w_x"]
        assert [row["n_alive_weights"] for row in words] == table[0].sum(1).tolist()
        swept = {row["threshold"]: row for row in probes.thresholds(made)}
        assert list(swept) == [2.0, 2.5, 3.0, 3.5, 4.0]
        assert swept[3.0]["C"] == float(numbers["C"])
        assert swept[2.0]["C"] >= swept[3.0]["C"] >= swept[4.0]["C"]
        bins = list(probes.log_alpha(made))
        for name in {row["tensor"] for row in bins}:
            own = [row for row in bins if row["tensor"] == name]
            assert sum(row["count"] for row in own) == member.parameters[name].numel()
            below = sum(row["count"] for row in own if row["high"] <= 3)
            assert below == int(alive[name].sum())
        full, small = probes.latency(made, steps=40, repeats=3)
        assert full["macs"] >= small["macs"] and full["latency_us"] > 0
        assert max(full["difference"], small["difference"]) < 1e-5
    rows = [row for row in probes.kept_words(group(documents(), "LLLCCL"))]
    assert rows[5]["docs_1"] == int(documents().presence[0, 5]) and "n_docs_3" in rows[0]
    assert list(probes.thresholds(group(text(), "DCCD"))) == []
