"""Soups, planes and similarities, on networks whose averages are known."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refigure.measures import similarity, soups

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "contrastive.json"


class Line:
    """A hand-made task: one weight w, ten objects x = 0..9, right where w > x."""

    model = SimpleNamespace(normalised={})

    def evaluation(self, which, networks):
        x = torch.arange(10.0).expand(networks, 10)
        yield SimpleNamespace(x=x, labels=torch.ones(networks, 10))

    def logits(self, parameters, batch, statistics):
        return parameters["w"] - batch.x

    def scores(self, logits, labels):
        return logits.abs(), (logits <= 0).float()


def network(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([[value] for value in values])[:1]}


def test_a_uniform_soup_is_the_mean_of_the_weights():
    # The mean of 1, 3 and 8 is 4: objects 0 to 3 are right.
    assert soups.uniform(Line(), [network(1.0), network(3.0), network(8.0)]) == (40.0, 40.0)


def test_shares_weigh_the_networks():
    mixed = soups.average([network(0.0), network(8.0)], [0.25, 0.75])
    assert mixed["w"].item() == 6.0 and mixed["w"].dtype == torch.float32


def test_a_greedy_soup_leaves_out_what_harms_it():
    networks = [network(2.0), network(9.0), network(9.0), network(8.5)]
    tried = []

    def quality(one):
        tried.append(one["w"].item())
        return float(soups.accuracies(Line(), one)[1])

    chosen, soup = soups.greedy(networks, quality)
    assert chosen == [1, 2, 3] and soup["w"].item() == pytest.approx(26.5 / 3)
    assert tried[-1] < 9  # the bad network was tried last, and left out


def test_a_plane_has_its_corners_and_nothing_outside_the_triangle():
    corners = [network(0.0), network(4.0), network(10.0)]
    rows = list(soups.plane(Line(), corners, 5))
    assert len(rows) == 15  # 5 + 4 + 3 + 2 + 1
    by_shares = {(row["first"], row["second"]): row["test_accuracy"] for row in rows}
    assert by_shares[1.0, 0.0] == 0 and by_shares[0.0, 1.0] == 40 and by_shares[0.0, 0.0] == 100
    assert by_shares[0.5, 0.0] == 50  # half of the first and of the third: w = 5
    for row in rows:
        assert row["first"] + row["second"] + row["third"] == pytest.approx(1)
    assert len(list(soups.plane(Line(), corners, 5, margin=0.5))) > 15


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: soups.average([]), "got none"),
        (lambda: soups.average([network(1.0)], [0.5]), "sum 1"),
        (lambda: soups.average([network(1.0), {"v": torch.zeros(1)}]), "same parameters"),
        (lambda: list(soups.plane(Line(), [network(1.0)] * 2, 5)), "three networks, got 2"),
        (lambda: list(soups.plane(Line(), [network(1.0)] * 3, 1)), "at least 2 points"),
    ],
)
def test_what_is_no_soup_or_plane_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_distances_by_block_leave_the_head_apart():
    groups = {"stage1.conv": "free", "stage2.conv": "free", "linear.weight": "head", "g": "fixed"}
    first = {name: torch.ones(1, 4) for name in groups}
    second = dict(first, **{"stage2.conv": torch.full((1, 4), 3.0)})
    second["linear.weight"] = torch.zeros(1, 4)
    found = similarity.distances(groups, first, second)
    assert found == {"stage1": 0.0, "stage2": 2.0, "head": 1.0, "all": pytest.approx(2 / 2**0.5)}


def test_disagreement_is_in_units_of_the_mean_error():
    labels = np.zeros(10, dtype=int)
    first, second = labels.copy(), labels.copy()
    first[:2], second[1:3] = 1, 2
    assert similarity.normalised_disagreement(first, second, labels) == pytest.approx(0.3 / 0.2)
    assert np.isnan(similarity.normalised_disagreement(labels, labels, labels))


def test_alignment_knows_rotations_and_independent_features():
    features = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    assert similarity.linear_cka(features, 3 * features @ rotation + 5) == pytest.approx(1)
    other = torch.randn(500, 9, generator=torch.Generator().manual_seed(2))
    assert similarity.linear_cka(features, other) < 0.05
    with pytest.raises(ValueError, match="do not vary"):
        similarity.linear_cka(features, torch.ones(500, 2))


def test_divergence_of_gaussians_is_the_authors():
    if not REFERENCE.is_file():
        pytest.skip(f"{REFERENCE} is not there: no numbers of the authors' code to compare with")
    about = json.loads(REFERENCE.read_text(encoding="utf-8"))["kl"]
    i, j = np.arange(12.0)[:, None], np.arange(3.0)
    first = np.sin(1.1 * i + j**2) + 0.2 * i * (j == 0)
    second = np.cos(0.7 * i * (j + 1)) + 0.5 * j
    assert similarity.gaussian_kl(first, second) == pytest.approx(about["kl_A_B"], rel=1e-9)
    assert similarity.gaussian_kl(second, first) == pytest.approx(about["kl_B_A"], rel=1e-9)


def test_divergence_of_one_dimensional_gaussians_is_the_closed_form():
    first = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    second = 2 * first + 3
    variance = first.var(ddof=1)
    closed = 0.5 * (1 / 4 + 9 / (4 * variance) + np.log(4) - 1)
    assert similarity.gaussian_kl(first, second) == pytest.approx(closed)
    assert similarity.gaussian_kl(first, first) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "features, named", [(np.zeros((3, 4)), "more than 3 objects"), (np.ones((9, 2)), "singular")]
)
def test_features_without_a_covariance_are_refused(features, named):
    with pytest.raises(ValueError, match=named):
        similarity.gaussian_kl(features, features)
