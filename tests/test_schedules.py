"""Schedules, epoch by epoch, against those of the authors' code.

A few numbers of each schedule lie in `tests/reference/`; where the whole files lie beside the
checkout, every epoch is compared.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from refigure.errors import UserError
from refigure.graph.catalogue import import_entry, settings
from refigure.graph.spec import without_defaults

HERE = Path(__file__).parent / "reference" / "schedules.json"
WHOLE = Path(__file__).parents[2] / "shared" / "reference"
FEW = json.loads(HERE.read_text(encoding="utf-8"))
CYCLE = "byol_sse_lr_ratio_4.0_cycle_50"
FACTORS = "factor_of_the_initial_learning_rate_in_epoch_1_2_..."
WRITTEN = {  # experiment whose base has the schedule, and its epochs at scale paper
    "power_laws/standard": ("vgg_pool_c100", 200),
    "power_laws/stair": ("vgg_pool_c100_stairs", 200),
    "power_laws/exp": ("vgg_pool_c100_exponential", 200),
    "contrastive/simclr": ("simclr", 200),
    "contrastive/supervised": ("supervised_thesis_literal", 50),
    "pretrain_basin/byol_resnet_baseline_25": ("transfer_byol", 25),
    f"pretrain_basin/{CYCLE}": ("transfer_byol_second", 50),
    "pretrain_basin/swin_baseline_102": ("transfer_swin", 102),
    "periodic/continuous": ("decay_ramp", 1000),
    "periodic/discrete": ("decay_stairs", 1000),
    "periodic/default": ({"name": "linear_tail", "first_epoch": 0}, 1000),
}


def factors(written, epochs: int) -> list[float]:
    """The factor in epochs 1, 2, ... at the first step of each."""
    entry = settings("schedule", written, "test")
    factor = import_entry("schedule", entry["name"]).build(entry, epochs)
    return [factor(float(epoch)) for epoch in range(epochs)]


def schedule_of(graph, experiment) -> dict:
    """The schedule that an experiment's base writes."""
    if isinstance(experiment, dict):
        return experiment
    _, written = graph("paper").config.families["experiments"][experiment]
    return written["base"]["schedule"]


@pytest.mark.parametrize("name", WRITTEN)
def test_experiments_have_the_authors_schedules(graph, name):
    experiment, epochs = WRITTEN[name]
    found = factors(schedule_of(graph, experiment), epochs)
    assert {epoch: found[int(epoch) - 1] for epoch in FEW[name]} == pytest.approx(
        FEW[name], rel=1e-9
    )


@pytest.mark.parametrize("name", [name for name in WRITTEN if not name.startswith("periodic")])
def test_every_epoch_is_the_authors(graph, name):
    paper, _, key = name.partition("/")
    path = WHOLE / f"{paper}_schedules.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there: tests/reference/ holds a few of its numbers")
    known = json.loads(path.read_text(encoding="utf-8"))
    known = known.get(FACTORS, known)
    [rates] = [rates for name, rates in known.items() if name.startswith(key)]
    experiment, epochs = WRITTEN[name]
    if key == CYCLE:
        rates = rates[25:75]
    found = factors(schedule_of(graph, experiment), epochs)
    # Theirs are rates for pretrain-basin: of a whole schedule, to which ours is in proportion.
    scale = max(rates) if paper == "pretrain_basin" else 1.0
    assert found == pytest.approx([rate / scale for rate in rates], rel=1e-9, abs=1e-13)


def test_the_practical_runs_step_once_an_epoch_as_torch_does(graph):
    """three-regimes, section 0: a CosineAnnealingLR that is stepped at the end of each epoch."""
    torch = pytest.importorskip("torch")
    [spec] = {
        json.dumps(dict(run.spec.schedule)) for run in graph("paper").runs("practical_convnet_c10")
    }
    entry = json.loads(spec)
    factor = import_entry("schedule", entry["name"]).build(entry, 200)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 200)
    for epoch in range(200):
        expected = pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-14)
        assert factor(float(epoch)) == factor(epoch + 0.75) == expected
        optimiser.step()
        theirs.step()


def test_a_warm_up_starts_where_it_is_told():
    found = factors({"name": "cosine", "by": "epoch", "warmup": 4, "warmup_start": 0.2}, 8)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    even = factors({"name": "cosine", "by": "epoch", "warmup": 4}, 8)
    assert even[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize("name", ["ramp", "stairs", "linear_tail"])
def test_counting_from_0_is_one_epoch_later(name):
    from_1, from_0 = (factors({"name": name, "first_epoch": first}, 40) for first in (1, 0))
    assert from_0[1:] == from_1[:-1] and from_0 != from_1


def test_a_schedule_counts_from_0_or_1_alone():
    with pytest.raises(UserError, match="first_epoch: unknown value '2'; known: 0, 1"):
        settings("schedule", {"name": "ramp", "first_epoch": 2}, "test")
    with pytest.raises(UserError, match="first_epoch: unknown value 'True'"):
        settings("schedule", {"name": "ramp", "first_epoch": True}, "test")


def test_new_keys_leave_the_identities_of_old_schedules():
    for name in ("cosine", "ramp", "stairs", "linear_tail"):
        assert without_defaults("schedule", settings("schedule", name, "test")) == {"name": name}
