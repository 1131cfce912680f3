"""Data, ensembles and measures of pretrain-basin: what a made-up case must give."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from refigure.data.images.recipes import prepare
from refigure.data.sources import Raw
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.measures import transfer as measures
from refigure.measures.pools import Pool
from refigure.tables import transfer as tables

ROOT = Path(__file__).parents[1]
DRAWS = {"demo": (0, 1, 2, 3, 9), "small": (0, 1, 2, 3, 9)}


@pytest.fixture(scope="module", params=["demo", "small"])
def graph(request) -> Graph:
    return Graph(Config(ROOT), request.param)


@pytest.fixture(scope="module")
def demo() -> Graph:
    return Graph(Config(ROOT), "demo")


def numbered(source: str) -> Raw:
    """A source whose images are their own numbers, so that a recipe tells which it took."""
    if source == "digits":
        from sklearn.datasets import load_digits

        labels, names, test = load_digits().target, 10, 0
    else:
        labels, names, test = np.repeat(np.arange(100), 500), 100, 10000
    count = len(labels)
    images = np.arange(count + test, dtype=np.float32)[:, None, None, None]
    size = 8 if source == "digits" else 16
    images = np.ascontiguousarray(np.broadcast_to(images, (count + test, 1, size, size)))
    return Raw(
        images[:count],
        labels.astype(np.int64),
        images[count:],
        np.repeat(np.arange(names), test // names).astype(np.int64),
        [str(name) for name in range(names)],
    )


def taken(recipe, raw: Raw) -> tuple[set[int], set[int]]:
    """The numbers of the images that a recipe trains and tests on."""
    plain = {key: value for key, value in recipe.items() if key not in ("name", "noise")}
    plain |= {"standardise": "published", "mean": [0.0], "std": [1.0]}
    made = prepare(raw, plain)
    parts = (made.train_images, made.test_images)
    return tuple({round(float(x)) for x in part[:, 0, 0, 0]} for part in parts)


def test_source_target_and_held_out_images_share_none(graph):
    """What is pre-trained on is never fine-tuned on, tested on, or chosen by.

    Source: pretrain-basin, section 10.1.
    """
    config, raws = graph.config, {}
    recipes = {}
    for name, written in graph.scale.data.items():
        if name.startswith("transfer_"):
            recipes[name] = graph.recipes[graph.data_of(name, "test")]
            source = written["source"]
            raws.setdefault(source, numbered(source))
    assert config is not None
    for draw in DRAWS[graph.scale.name]:
        of = {part: f"transfer_{part}_{draw}" for part in ("source", "target", "held_out")}
        found = {
            part: taken(recipes[name], raws[recipes[name]["source"]])
            for part, name in of.items()
            if name in recipes
        }
        source, target = found["source"], found["target"]
        assert len(source[0]) >= 900 and len(target[0]) >= 100
        assert not source[0] & (target[0] | target[1])
        assert not target[0] & target[1]
        if "held_out" in found:
            held = found["held_out"][1]
            assert len(held) >= 99
            assert not held & (target[0] | target[1]) and not held & source[0]
        else:
            assert draw == 9


def test_draws_are_of_other_images(demo):
    raw = numbered("digits")
    trained = [
        taken(demo.recipes[demo.data_of(f"transfer_target_{draw}", "test")], raw)[0]
        for draw in range(4)
    ]
    for one in range(4):
        for other in range(one):
            assert len(trained[one] & trained[other]) < 20  # of 100, by chance


def roles(graph: Graph, probe: str, target: str) -> dict:
    """The roles of one group of a probe, each run standing for itself."""
    return {
        role: [(run, run) for run, _ in members if run.axes["data"] == target]
        for role, members in graph.probes[probe].roles.items()
    }


def test_schemes_are_the_ensembles_of_the_paper(demo):
    found = list(measures.schemes(roles(demo, "transfer_ensembles", "transfer_target_0")))
    by = pd.DataFrame([scheme.row | {"n": len(scheme.members)} for scheme in found])
    assert (by["n"] == 5).all()
    count = by.groupby("method").size().to_dict()
    cells = len(by[by["method"] == "sse"].groupby(["lr_ratio", "ep_ratio"]))
    assert count == {
        "local": 5,
        "global": 5,
        "longer": 2,
        "scratch": 1,
        "sse": 2 * cells,
        "star": 2 * cells,
    }
    for scheme in found:
        ids = [run.id for run in scheme.members]
        assert len(set(ids)) == 5
        if scheme.method == "local":
            assert {run.axes["checkpoint"] for run in scheme.members} == {scheme.checkpoint}
        if scheme.method == "global":
            assert sorted(run.axes["checkpoint"] for run in scheme.members) == [0, 1, 2, 3, 4]
            assert {run.axes["seed"] for run in scheme.members} == {scheme.seed}
        if scheme.method == "sse":  # a chain: each starts from the one before
            parents = [run.parent.id for run in scheme.members[1:]]
            assert parents == ids[:-1]
        if scheme.method == "star":
            assert {run.parent.id for run in scheme.members[1:]} == {ids[0]}
    chains = {str(s.row | {"method": ""}): s.members for s in found if s.method == "sse"}
    for scheme in found:
        if scheme.method == "star":  # of two members both are the same networks
            chain = chains[str(scheme.row | {"method": ""})]
            assert [run.id for run in chain[:2]] == [run.id for run in scheme.members[:2]]


def test_cycles_are_cosines_from_their_own_rate_with_a_fresh_optimiser(demo):
    first = demo.runs("transfer_own_0")[0]
    for run in demo.runs("transfer_own_0_fifth"):
        assert run.spec.start["take"] == "weights"  # a state would carry the momentum on
        assert run.spec.schedule["name"] == "cosine" and not run.spec.schedule["warmup"]
        assert run.spec.epochs in (15, 30) and first.spec.epochs == 30
        assert run.spec.optimiser["wd"] == first.spec.optimiser["wd"]


def test_a_chain_ends_before_a_network_that_failed(demo):
    own = roles(demo, "transfer_ensembles", "transfer_target_0")
    broken = own["third"][0]
    found = list(measures.schemes(own | {"third": own["third"][1:]}))
    short = [scheme for scheme in found if len(scheme.members) == 2]
    assert [scheme.method for scheme in short] == ["sse"]
    assert short[0].members[1].id == broken[0].parent.id


def test_triangles_are_a_first_network_and_one_a_low_end(demo):
    found = list(measures.schemes(roles(demo, "transfer_triangles", "transfer_target_0")))
    fge = [scheme for scheme in found if scheme.method == "fge"]
    assert {(scheme.lr_ratio, scheme.ep_ratio) for scheme in fge} == {(1.0, 1.0), (4.0, 1.0)}
    assert {len(scheme.members) for scheme in fge} == {5}


@pytest.mark.parametrize(
    ("method", "size", "count"), [("sse", 3, 1), ("star", 3, 6), ("local", 3, 10), ("fge", 2, 1)]
)
def test_choices_of_members(method, size, count):
    scheme = measures.Scheme("own", method, 1.0, 1.0, 0, 0, range(5))
    choices = scheme.choices(size)
    assert len(choices) == len(set(choices)) == count
    assert all(len(set(choice)) == size for choice in choices)
    if method == "star":
        assert all(choice[0] == 0 for choice in choices)
    if method == "sse":
        assert choices == [(0, 1, 2)]


class Kept(Pool):
    """A pool whose logits are at hand."""

    def __init__(self, members, logits, labels):
        super().__init__(members, [], labels, [])
        object.__setattr__(self, "logits", np.asarray(logits, np.float16))

    def chunks(self, count):
        yield self.logits


def test_ensembles_of_known_predictions(demo):
    """Five networks from scratch on ten objects, each wrong on one object of its own."""
    runs = demo.runs("transfer_own_0_scratch")
    labels = np.zeros(10, np.int64)
    logits = np.zeros((5, 10, 2))
    logits[:, :, 0] = 4
    for number in range(5):
        logits[number, number] = [0, 1]
    pool = Kept(runs, logits, labels)
    group = SimpleNamespace(roles={"scratch": pool}, key={"data": "transfer_target_0"})
    rows = pd.DataFrame(measures.ensembles(group, sizes=[1, 2, 5])).set_index("size")
    assert rows["accuracy"].tolist() == [90, 100, 100]
    assert rows["member_accuracy"].tolist() == [90, 90, 90]
    assert rows["disagreement"].iloc[1:].tolist() == pytest.approx([2.0, 2.0])  # 0.2 over 0.1
    assert math.isnan(rows["disagreement"].iloc[0]) and rows["gap"].iloc[0] == pytest.approx(0)
    assert rows["gap"].iloc[2] > rows["gap"].iloc[1] > 0
    single = (9 * np.log1p(np.exp(-4)) + np.log1p(np.exp(1))) / 10
    assert rows["nll"].iloc[0] == pytest.approx(single, rel=1e-3)
    assert rows["cnll"].iloc[2] < rows["nll"].iloc[2]  # all right, so the colder the better
    assert set(rows["objects"]) == {10}


def test_a_barrier_is_the_depth_below_the_chord_and_may_be_negative():
    row = {"target": "t", "draw": 0, "pretrain": "own", "method": "sse", "lr_ratio": 1.0}
    row |= {"ep_ratio": 1.0, "checkpoint": 0, "seed": 0}
    rows = []
    for pair, values in {"1-2": [80, 70, 90], "2-3": [80, 90, 84]}.items():
        for alpha, value in zip((0, 0.5, 1), values):
            about = {"pair": pair, "alpha": alpha, "train_accuracy": 100.0}
            rows.append({**row, **about, "test_accuracy": float(value)})
    found = tables.barriers(pd.DataFrame(rows)).set_index("pair")
    assert found["test_barrier"].to_dict() == {"1-2": 15.0, "2-3": -8.0}
    assert found["train_barrier"].to_dict() == {"1-2": 0.0, "2-3": 0.0}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("transfer_target_3", ("transfer_target", 3)),
        ("images100_imagenet", ("images100_imagenet", 0)),
        ("sun397", ("sun397", 0)),
    ],
)
def test_a_draw_is_the_number_at_the_end_of_a_target(name, expected):
    assert tables.target_of(name) == expected


def test_lengths_are_powers_of_two_and_rates_are_ratios(demo):
    second = demo.runs("transfer_own_0_second")
    cells = {measures._ratios(run, run.parent) for run in second}
    assert {(8.0, 1.0), (0.25, 1.0), (1.0, 0.5)} <= cells
    # 12 epochs of 25 are the cell of one half
    run = replace(second[0], spec=replace(second[0].spec, epochs=12))
    first = replace(run.parent, spec=replace(run.parent.spec, epochs=25))
    assert measures._ratios(run, first)[1] == 0.5


def test_what_the_last_layer_reads_is_found_by_an_identity(demo):
    from refigure.models import plain_convnet
    from refigure.models.layers import Statistics

    model = plain_convnet.build(1, 8, 10, widths=[4, 6])
    generator = torch.Generator().manual_seed(0)
    values = {k: v[None] for k, v in model.initial(generator, generator).items()}
    images = torch.randn(7, 1, 8, 8, generator=generator)
    moments = Statistics.fresh(model.normalised, 1)
    member = SimpleNamespace(
        model=model,
        parameters=values,
        statistics=moments,
        run=demo.runs("transfer_own_0")[0],
        task=SimpleNamespace(data=SimpleNamespace(test_images=images), shown=lambda part: part),
    )
    features = measures.penultimate(member)
    assert features.shape == (7, 6)
    logits = model.forward(values, images[None], moments.in_mode("running"))[0]
    again = features @ values["linear.weight"][0].double().T + values["linear.bias"][0].double()
    assert torch.allclose(again, logits.double(), atol=1e-5)


def test_shared_names_of_checkpoints_have_numbers():
    run = SimpleNamespace(axes={"checkpoint": "byol_3"})
    assert measures._checkpoints({"first": [(run, None)]}) == {"byol_3": 3}
    run = SimpleNamespace(axes={"checkpoint": 2})
    assert measures._checkpoints({"first": [(run, None)]}) == {2: 2}
