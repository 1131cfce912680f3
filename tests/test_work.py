"""Work counted from shapes: against closed forms and printed tables, and what a plan says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from refigure.errors import UserError
from refigure.explain import counting, work
from refigure.explain.holdings import Holdings
from refigure.explain.plan import plan, text
from refigure.explain.target import resolve
from refigure.explain.timing import Times
from refigure.graph.config import Config
from refigure.graph.lookups import Graph

IMAGES = {"kind": "images", "channels": 3, "size": 32, "classes": 100}


def count(model: dict, **about) -> work.Counted:
    return counting.count(model, SimpleNamespace(**{**IMAGES, **about}))


def test_operations_of_an_mlp_are_those_of_its_products():
    found = count({"name": "mlp", "k": 16, "layers": 2}, channels=1, size=8, classes=10)
    products = 64 * 16 + 16 * 16 + 16 * 10
    assert found.forward == 2 * products
    assert found.stacking == "native"


@pytest.mark.parametrize(("k", "macs"), [(2, 360096), (4, 1329472), (8, 5096064)])
def test_operations_of_vgg_are_twice_the_products_of_the_authors(k, macs):
    assert count({"name": "vgg16", "k": k}, classes=10).forward == 2 * macs


def test_torchvisions_networks_are_counted_without_training_them():
    found = count({"name": "resnet50"}, size=224, classes=1000)
    assert found.forward == pytest.approx(2 * 4.09e9, rel=0.01)  # torchvision's page: 4.09 GFLOPS
    assert found.parameters == 25_557_032 + 2 * 26_560


def test_an_lstm_is_counted_by_its_closed_form():
    about = {"kind": "text", "rows": 50, "outputs": 50, "length": 10, "pretrained": None}
    found = count({"name": "lstm_language", "hidden": 8, "config": "DCCD"}, **about)
    assert found.forward == 10 * (2 * 4 * 8 * 8) + 10 * 2 * 8 * 50
    about |= {"outputs": 4}
    settings = {"name": "lstm_classifier", "embedding": 6, "hidden": 8, "config": "DCDCCD"}
    found = count(settings, **about)
    assert found.forward == 10 * (2 * 4 * 8 * (6 + 8)) + 2 * 8 * 4


@pytest.fixture(scope="module")
def paper(committed_once):
    return Graph(Config(committed_once), "paper")


@pytest.fixture(scope="module")
def committed_once(tmp_path_factory):
    from conftest import copy_config

    return copy_config(tmp_path_factory.mktemp("costs"))


def test_twice_the_rate_is_half_the_time_where_launches_cost_nothing(paper):
    pack = next(one for one in paper.packs.values() if one.runs[0].experiment == "vgg_pool_c100")
    rates = dict.fromkeys(work.KINDS, 1e12)
    slow = work.Device("a", "A", rates, 0.0, 1e9)
    fast = work.Device("b", "B", {kind: 2e12 for kind in rates}, 0.0, 1e9)
    one, two = (work.timed(paper, pack.runs[0], pack, device) for device in (slow, fast))
    assert one.step_s == pytest.approx(2 * two.step_s)
    objects = work.sizes_of(paper, pack.runs[0].spec.data).objects
    operations = 200 * objects * 3 * work.counted_of(paper, pack.runs[0]).forward
    assert one.step_s * one.batches * 200 == pytest.approx(operations / 1e12, rel=0.01)


def test_launches_are_shared_by_the_networks_of_a_stack(paper):
    pack = next(one for one in paper.packs.values() if one.runs[0].experiment == "vgg_pool_c100")
    endless = work.Device("a", "A", dict.fromkeys(work.KINDS, 1e30), 1e-6, 1e9)
    pack = replace(pack, stack=None)
    alone = replace(pack, runs=pack.runs[:1])
    together = work.timed(paper, pack.runs[0], pack, endless).step_s
    assert work.timed(paper, pack.runs[0], alone, endless).step_s == pytest.approx(
        len(pack.runs) * together
    )
    by_two = work.timed(paper, pack.runs[0], replace(pack, stack=2), endless).step_s
    assert by_two == pytest.approx(len(pack.runs) / 2 * together)


def test_every_network_of_the_papers_is_counted(paper):
    """But for those whose data are not configured, whose sizes nobody knows."""
    times = Times(paper, Holdings(paper), device="h100")
    for pack in paper.packs.values():
        run = pack.runs[0]
        if times.counts(run) and work.sizes_of(paper, run.spec.data) is not None:
            assert times.seconds(run, pack) is None or times.seconds(run, pack) > 0, run.label


def test_a_plan_counts_hours_by_paper_and_days_on_several_devices(committed_once):
    target = resolve(Config(committed_once), "results/paper/figures/three-regimes/fig1.pdf")
    one = plan(target, may_time=False, device="h100")
    eight = plan(target, may_time=False, device="h100", devices=8)
    assert one["gpu"]["seconds"] == eight["gpu"]["seconds"] > 3600
    assert one["gpu"]["days"] >= eight["gpu"]["days"] > 0
    assert one["gpu"]["seconds"] / 86400 == pytest.approx(one["gpu"]["days"])
    slower = plan(target, may_time=False, device="v100")
    assert slower["gpu"]["seconds"] > 1.5 * one["gpu"]["seconds"]
    assert "GPU-hours on NVIDIA H100" in text(one)
    row = next(row for row in one["papers"] if row["paper"] == "three-regimes")
    assert list(row["figures"].values()) == sorted(row["figures"].values())


def test_counts_are_kept_and_a_damaged_file_is_counted_anew(tmp_path):
    settings, about = '{"k":2,"name":"vgg16"}', json.dumps(IMAGES)
    first = work._counted(tmp_path, settings, about)
    kept = json.loads((tmp_path / work.KEPT).read_text())
    assert [one["forward"] for one in kept.values()] == [first.forward]
    (tmp_path / work.KEPT).write_text("{")
    work._counted.cache_clear()
    work._store.cache_clear()
    assert work._counted(tmp_path, settings, about) == first


@pytest.mark.parametrize(
    ("changed", "single"),
    [
        ({}, 3e13),
        ({"dry_run": True}, 2e13),
        ({"device": "NVIDIA A100-SXM4-80GB"}, 2e13),
        ({"rates": {"grouped": 1.0}}, 2e13),
    ],
)
def test_rates_that_were_measured_on_such_a_device_are_taken(tmp_path, changed, single):
    from conftest import copy_config

    root = copy_config(tmp_path)
    assert work.device_class(root, "h100").rates["single"] == 2e13
    file = root / work.MEASURED
    file.parent.mkdir(parents=True)
    found = {"device": "NVIDIA H100 80GB HBM3", "dry_run": False, "rates": {"single": 3e13}}
    file.write_text(json.dumps({**found, **changed}))
    assert work.device_class(root, "h100").rates["single"] == single


@pytest.mark.parametrize(
    ("key", "said"), [("h1000", "unknown device 'h1000'; did you mean 'h100'"), ("tpu", "known: ")]
)
def test_an_unknown_device_is_one_line(committed_once, key, said):
    with pytest.raises(UserError, match=said):
        work.device_class(committed_once, key)


def test_nothing_is_computed_to_count(monkeypatch):
    """The forward pass is on the meta device."""
    seen = []
    monkeypatch.setattr(
        torch.nn.functional,
        "relu",
        lambda x, *_: seen.append(x.device.type) or torch.clamp(x, min=0),
    )
    count({"name": "mlp", "k": 16, "layers": 2}, channels=1, size=8, classes=10)
    assert set(seen) <= {"meta"}


def test_building_a_network_is_not_counted_as_a_pass_of_it():
    """ResNet-50: 53 convolutions and normalisations, 49 ReLUs, 16 sums and what is around them."""
    first = count({"name": "resnet50"}, channels=3, size=64)
    assert first == count({"name": "resnet50"}, channels=3, size=64)
    assert first.kernels < 2 * (53 + 53 + 49 + 16)
