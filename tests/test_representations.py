"""Probes of features: a linear layer, Gaussians of classes, a map, and what channels answer to."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine import images
from refigure.errors import UserError
from refigure.measures import representations
from refigure.measures.members import Group, Member
from refigure.models import cifar_resnet, plain_convnet
from refigure.models.layers import Statistics
from refigure.streams import generator

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "contrastive.json"


def a_member(model, data=None) -> Member:
    values = model.initial(generator(0, "initialisation"), generator(0, "head"))
    parameters = {name: value[None] for name, value in values.items()}
    run = SimpleNamespace(spec=SimpleNamespace(model={"name": "plain_convnet"}))
    task = SimpleNamespace(data=data or images())
    statistics = Statistics.fresh(model.normalised, 1).in_mode("running")
    return Member(run, model, task, parameters, statistics)


def plain(data=None) -> Member:
    return a_member(plain_convnet.build(1, 8, 3, widths=[6, 8], head="flatten"), data)


def test_the_last_layer_of_the_features_gives_the_logits():
    for member in (plain(), a_member(cifar_resnet.build(1, 8, 3, k=4))):
        found = representations.features_of(member, member.task.data.test_images)
        weight, bias = (member.parameters[f"linear.{part}"][0] for part in ("weight", "bias"))
        with torch.no_grad():
            logits = member.model.forward(
                member.parameters, member.task.data.test_images[None], member.statistics
            )[0]
        torch.testing.assert_close(found @ weight.T + bias, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stage, shape", [(1, (4, 8, 8)), (2, (8, 4, 4)), (4, (32, 1, 1))])
def test_stages_of_the_resnet_have_their_shapes(stage, shape):
    member = a_member(cifar_resnet.build(1, 8, 3, k=4))
    found = representations.features_of(member, member.task.data.test_images[:2], stage)
    assert found.shape == (2, *shape) and member.model.stages == 4


def test_a_model_without_features_is_refused_in_one_line():
    member = plain()
    member = Member(member.run, SimpleNamespace(), member.task, {}, member.statistics)
    with pytest.raises(UserError, match="model 'plain_convnet' has no method `features`"):
        representations.features_of(member, torch.zeros(1, 1, 8, 8))


def test_a_linear_probe_learns_what_is_linear():
    data = images()
    rows = representations.linear(Group({}, {"net": [plain(data)]}), data, 60, 1e-2, 20)
    assert [row["method"] for row in rows] == ["net", "pixels"]
    assert [row["features"] for row in rows] == [8 * 16, 64]
    assert all(row["test_accuracy"] > 80 and row["objects"] == 30 for row in rows)
    again = representations.linear(Group({}, {"net": [plain(data)]}), data, 60, 1e-2, 20)
    assert again == rows
    assert representations.linear(Group({}, {"net": [plain(data)]}), None) == []


def test_divergences_are_zero_to_itself_and_of_components_where_classes_are_small():
    data = images()
    group = Group({}, {"net": [plain(data)]})
    rows = representations.divergences(group, data, components=3)
    assert len(rows) == 9
    own = [row["divergence"] for row in rows if row["row"] == row["column"]]
    assert own == [0.0] * 3
    assert all(row["divergence"] > 0 for row in rows if row["row"] != row["column"])
    # 128 features of 20 images a class have no covariance to invert
    whole = representations.divergences(group, data)
    assert all(np.isnan(row["divergence"]) for row in whole if row["row"] != row["column"])


def test_principal_components_keep_the_variance():
    source = np.random.default_rng(0)
    features = source.standard_normal((50, 4)) * [10, 3, 1, 0.1]
    found = representations.principal(features, 2)
    spread = np.linalg.svd(features - features.mean(0), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), spread[:2])


def test_a_map_has_a_point_an_image():
    data = images()
    group = Group({}, {"net": [plain(data)]})
    rows = representations.neighbours(group, data, share=0.5)
    assert len(rows) == 30 and all(np.isfinite([row["x"], row["y"]]).all() for row in rows)
    labels = [row["label"] for row in rows]
    assert np.bincount(labels).tolist() == [10, 10, 10]  # stratified
    assert [row["label"] for row in rows] == [int(data.train_labels[r["object"]]) for r in rows]


def test_patches_excite_their_channel_more_with_every_few_steps():
    group = Group({}, {"net": [plain()]})
    few, many = (
        representations.patches(group, [3, 5], [1, 2], steps, channels=5, lr=0.1)
        for steps in (0, 30)
    )
    assert [row["stage"] for row in many] == [1] * 5 + [2] * 5
    assert {len(row["pixels"]) for row in many} <= {9, 25, 0}
    known = [(a["activation"], b["activation"]) for a, b in zip(few, many) if b["pixels"]]
    assert len(known) >= 5 and all(b > a for a, b in known)


def test_channels_and_central_pixels_are_the_authors():
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    about = json.loads(REFERENCE.read_text(encoding="utf-8"))["activation_patches"]
    order = np.random.RandomState(42).permutation(64)[:36].tolist()
    assert order == about["first_36_channels_of_64_by_RandomState(42).permutation"]
    sides, strides = (11, 19, 27, 35), (1, 2, 4, 8)
    central = about["central_pixel_(kernel-1)//(2*stride)"].values()
    assert [(a - 1) // (2 * b) for a, b in zip(sides, strides)] == list(central)
