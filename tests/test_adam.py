"""Adam of many networks at once, against torch's own optimisers one network at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine import CLASSES, scalars, spec, training
from refigure.errors import UserError
from refigure.models.convnet import build as convnet
from refigure.models.torchvision_nets import swin_t
from refigure.training.optimisers.adam import build
from refigure.training.stack import Stack
from torch import Tensor

HERE = Path(__file__).parent
FREE = {"model": {"name": "convnet", "k": 2, "norm": "none"}, "head": None}
PLAIN = {
    "wd": 0.0,
    "decoupled": False,
    "decay": "all",
    "layer_decay": 1.0,
    "clip": None,
    "epsilon_hat": False,
}


def adam(lr: float, **keys):
    """An optimiser's entry."""
    return {"name": "adam", "lr": lr, **keys}


def stack_of(count: int) -> Stack:
    """Networks with matrices and with tensors of one axis, all trained."""
    model = convnet(1, 8, CLASSES, k=2, norm="batch_affine")
    values = [
        model.initial(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed))
        for seed in range(count)
    ]
    return Stack(model, values, frozenset(), torch.device("cpu"))


def reference(
    stack: Stack, place: int, setting: dict
) -> tuple[list[Tensor], torch.optim.Optimizer]:
    """One network's tensors as leaves, and torch's optimiser of them."""
    leaves = [leaf[place].detach().clone().requires_grad_() for leaf in stack.leaves.values()]
    groups = [
        {
            "params": [leaf],
            "weight_decay": setting["wd"] * (setting["decay"] == "all" or leaf.dim() > 1),
        }
        for leaf in leaves
    ]
    kind = torch.optim.AdamW if setting["decoupled"] else torch.optim.Adam
    return leaves, kind(groups, lr=setting["lr"])


@pytest.mark.parametrize("clip", [None, 3.0])
@pytest.mark.parametrize("decay", ["all", "matrices"])
@pytest.mark.parametrize("decoupled", [False, True])
def test_each_network_steps_as_torch_does_with_its_own_rate_and_decay(decoupled, decay, clip):
    common = PLAIN | {"decoupled": decoupled, "decay": decay, "clip": clip}
    settings = [common | {"lr": 0.01, "wd": 0.3}, common | {"lr": 0.002, "wd": 0.0}]
    stack = stack_of(2)
    theirs = [reference(stack, place, setting) for place, setting in enumerate(settings)]
    ours = build(settings, stack)
    factors = [1.0, 0.5, 0.25, 1.0, 2.0]
    norms = []
    for number, factor in enumerate(factors):
        gradient = torch.randn(stack.flat.shape, generator=torch.Generator().manual_seed(number))
        gradient *= 10.0 ** -(number % 3)  # below the bound and above it
        norms.append(float(gradient[0].norm()))
        ours.step(stack, gradient, factor)
        for row, (leaves, optimiser), setting in zip(gradient, theirs, settings):
            parts = row.split([leaf.numel() for leaf in leaves])
            for leaf, part in zip(leaves, parts):
                leaf.grad = part.view_as(leaf).clone()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(leaves, clip)
            for group in optimiser.param_groups:
                group["lr"] = setting["lr"] * factor
            optimiser.step()
    assert min(norms) < 3.0 < max(norms)
    for place, (leaves, _) in enumerate(theirs):
        flat = torch.cat([leaf.detach().flatten() for leaf in leaves])
        torch.testing.assert_close(stack.flat[place], flat, rtol=1e-5, atol=1e-6)


def test_networks_trained_side_by_side_are_those_trained_alone():
    rates = [1e-3, 1e-2, 3e-2]
    specs = [
        spec(**FREE, seed=seed, optimiser=adam(lr, wd=0.01, clip=1.0))
        for seed, lr in enumerate(rates)
    ]
    together = training(specs)
    together.run()
    for place, alone in enumerate(specs):
        made = training(alone)
        made.run()
        torch.testing.assert_close(
            together.stack.flat[place], made.stack.flat[0], rtol=1e-4, atol=1e-5
        )


def test_training_goes_on_from_a_state_between_steps_bit_for_bit():
    chosen = [spec(**FREE, seed=seed, optimiser=adam(0.01, wd=0.1)) for seed in (0, 1)]
    whole = training(chosen)
    whole.run()
    kept = {}

    def keep(made):
        if made.step == 4:
            kept.update({name: value.clone() for name, value in made.state().items()})

    training(chosen).run(between_steps=keep)
    resumed = training(chosen)
    resumed.resume(kept)
    resumed.run()
    assert torch.equal(resumed.stack.flat, whole.stack.flat)
    assert int(resumed.optimiser.state["steps"][0]) == 6


def test_a_network_whose_loss_is_infinite_keeps_its_moments_and_harms_no_other():
    chosen = [spec(**FREE, seed=0, optimiser=adam(lr), epochs=4) for lr in (0.01, 1e30)]
    both = training(chosen)
    found = both.run()
    alone = training(chosen[0])
    alone.run()
    assert found.diverged.tolist() == [False, True]
    assert float(both.optimiser.state["steps"][1]) < float(both.optimiser.state["steps"][0])
    torch.testing.assert_close(both.stack.flat[0], alone.stack.flat[0], rtol=1e-4, atol=1e-5)


def test_the_effective_rate_is_divided_by_the_norm_once():
    made = training(spec(optimiser=adam(0.01), epochs=1))
    found = made.run().history
    for elr, norm in zip(scalars(found, "elr"), scalars(found, "weight_norm")):
        assert elr == pytest.approx(0.01 / norm, rel=1e-6)


def test_a_layer_decay_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"layer_decay 0\.75"):
        build([PLAIN | {"lr": 0.1, "layer_decay": 0.75}], stack_of(1))


def test_epsilon_hat_steps_as_lasagne_does():
    """Against `lasagne.updates.adam`, written out in float64; gradients as small as epsilon."""
    stack = stack_of(1)
    ours = build([PLAIN | {"lr": 0.01, "epsilon_hat": True}], stack)
    other = stack_of(1)
    torchs = build([PLAIN | {"lr": 0.01}], other)
    weights = stack.flat.double().clone()
    start = weights.clone()
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    for t in range(1, 8):
        gradient = torch.randn(stack.flat.shape, generator=torch.Generator().manual_seed(t)) * 1e-7
        mean = 0.9 * mean + 0.1 * gradient.double()
        square = 0.999 * square + 0.001 * gradient.double() ** 2
        rate = 0.01 * (1 - 0.999**t) ** 0.5 / (1 - 0.9**t)
        weights = weights - rate * mean / (square.sqrt() + 1e-8)
        for optimiser, networks in ((ours, stack), (torchs, other)):
            optimiser.step(networks, gradient, 1.0)
    torch.testing.assert_close(stack.flat, weights.float(), rtol=1e-6, atol=1e-7)
    moved, torch_moved = ((found - start).abs().mean() for found in (weights, other.flat.double()))
    assert moved < 0.6 * torch_moved  # parity, difference 11: such first steps are smaller


def test_the_sparse_recurrent_networks_step_as_lasagne_does(graph):
    made = graph("paper")
    names = [
        name
        for name, (file, _) in made.config.families["experiments"].items()
        if "sparse_rnn" in str(file)
    ]
    optimisers = [run.spec.optimiser for name in names for run in made.runs(name)]
    assert optimisers and all(one["epsilon_hat"] for one in optimisers)


def test_swins_decayed_tensors_are_those_of_the_authors():
    """pretrain-basin, section 5.1: matrices but for the tables of relative positions."""
    known = json.loads((HERE / "reference/weight_decay_groups.json").read_text())["swin_t"]
    model = swin_t(3, 224, 100)
    values = model.initial(torch.Generator().manual_seed(0), torch.Generator().manual_seed(0))
    stack = Stack(model, [values], frozenset(), torch.device("cpu"))
    wd = build([PLAIN | {"lr": 1e-4, "wd": 0.25, "decay": "matrices"}], stack).wd[0]
    found = {"decayed": [0, 0], "not_decayed": [0, 0]}
    for part, shape in zip(wd.split([shape.numel() for shape in stack.shapes]), stack.shapes):
        assert bool((part == 0.25).all()) != bool((part == 0).all())
        group = found["decayed" if part[0] else "not_decayed"]
        group[0] += 1
        group[1] += shape.numel()
    assert found == {name: [one["tensors"], one["numbers"]] for name, one in known.items()}
