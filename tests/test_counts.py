"""The runs of all ten papers at the papers' own scale, against what their pages list."""

import json
from collections import Counter
from pathlib import Path

import pytest
from refigure.graph.catalogue import import_entry
from refigure.graph.config import Config
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.spec import canonical
from refigure.graph.steps import Steps
from refigure.training.clocks import epoch_is_due

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"

SHA256 = "0" * 64
TICKS = 23
POOLS = {  # max(64, 2^(3-j)) for VGG16, max(12, 2^(3-j)) for WideResNet-28
    "vgg": [1024, 512, 256, 128, 64, 64, 64, 64, 64, 64, 64],
    "wrn": [512, 256, 128, 64, 32, 16, 12, 12, 12, 12],
}
IMAGES = {  # training and validation images of pretrain-basin's targets, section 3.1
    "images100_imagenet": 45_000 + 5_000,
    "images10_imagenet": 45_000 + 5_000,
    "sun397": 15_880 + 3_970,
    "clipart": 26_820 + 6_705,
    "chestx": 15_593 + 3_898,
}
STEPS = {"byol": 5_000, "supervised": 5_000, "imagenet": 5_000, "swin": 20_000, "simmim": 20_000}
"""Pre-training -> steps of 256 images that a first network takes."""
CYCLES = ("second", "third", "fourth", "fifth")


@pytest.fixture(scope="module")
def graph(committed: Path) -> Graph:
    """The graph at `paper` scale of somebody who has every source."""
    sources = Config(committed).user["sources"]
    given = {
        name: {"kind": "weights", "path": f"/there/{name}", "sha256": SHA256}
        for name, source in sources.items()
        if source is None
    }
    return Graph(Config(committed, {"sources": given}), "paper")


def count(graph: Graph, *experiments: str, **where) -> int:
    return len(chosen(graph, *experiments, **where))


def chosen(graph: Graph, *experiments: str, **where) -> list[Run]:
    """The runs whose axes have one of the values wanted, each id once."""
    runs = {
        run.id: run
        for name in experiments
        for run in graph.runs(name)
        if all(
            run.axes[axis] in (values if isinstance(values, (list, set)) else [values])
            for axis, values in where.items()
        )
    }
    return list(runs.values())


def values(graph: Graph, experiment: str, axis: str) -> list:
    return sorted({run.axes[axis] for run in graph.runs(experiment)})


def decades(first: int, last: int, digits=(1, 2, 5)) -> list[float]:
    """1, 2 and 5 times each power of ten."""
    return [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits]


G16 = [*decades(-5, -1), 1.0]
G32 = sorted([1e-6, 2e-6, 5e-6, *decades(-5, -2, (1, 1.4, 2, 3, 5, 7)), 0.1, 0.2, 0.5, 1.0, 2.0])


def test_three_regimes_has_the_runs_of_its_section_5_2(graph):
    per_seed = {
        "sphere_convnet_c10_long": 16,  # M1
        "sphere_convnet_c100_long": 16,  # M2
        "sphere_resnet_c10": 32,  # M3, the wide grid
        "sphere_resnet_c10_long": 20,  # and the ELRs near its border
        "sphere_resnet_c100_long": 16,  # M4
        "sphere_convnet_c10_switch": 8,  # F2
        "sphere_border": 10,  # TR: 30 with its three seeds, and one ELR beyond
        "sphere_fixed_filters": 8,  # I
        "decay_convnet_c10": 8,  # W
    }
    assert {name: count(graph, name, seed=0) for name in per_seed} == per_seed
    assert count(graph, "sphere_border") == 30
    targets = [1e-5, 5e-5, 1e-4, 5e-4]
    assert count(graph, "sphere_convnet_c10_ft", seed=0, plr=G16, elr=targets) == 64  # F
    assert count(graph, "sphere_resnet_c10_ft", seed=0, plr=G16) == 80
    assert count(graph, "practical_convnet_c10", "practical_resnet_c10") == 26  # P
    variants = ["sphere_augmented", "sphere_momentum", "sphere_squared", "sphere_weight_norm"]
    variants += ["plain_no_norm", "sphere_noisy_labels", "sphere_full_batch"]
    assert count(graph, *variants, "sphere_uniform_start", "sphere_width") == 3 * 88  # A1-A9


def test_periodic_behavior_has_the_runs_of_its_section_5(graph):
    families = {
        "L+": count(graph, "decay_lr", lr=[3e-3, 1e-1, 3e-1]),
        "WDs": count(graph, "decay_wd"),
        "N": count(graph, "decay_convnet_c100", "decay_resnet_c10", "decay_resnet_c100"),
        "Z": count(graph, "decay_zoom"),
        "FX": count(graph, "decay_fixed_norm"),
        "W0": count(graph, "decay_none"),
        "SW": count(graph, "decay_switch_off", "decay_switch_norm", "decay_switch_head"),
        "V1": count(graph, "decay_all_parameters"),
        "V2": count(graph, "decay_momentum"),
        "V3": count(graph, "decay_width"),
        "V4": count(graph, "decay_augmented"),
        "V5": count(graph, "decay_ramp", "decay_stairs", "decay_cosine"),
        "V8": count(graph, "decay_adam", "decay_adamw"),
        "V9": count(graph, "decay_practical"),
        "R": count(graph, "decay_lr_repeats"),
    }
    assert families == {
        "L+": 3,
        "WDs": 6,
        "N": 12,
        "Z": 4,
        "FX": 5,
        "W0": 3,
        "SW": 3,
        "V1": 6,
        "V2": 3,
        "V3": 4,
        "V4": 4,
        "V5": 3,
        "V8": 4,
        "V9": 3,
        "R": 8,
    }
    first = chosen(graph, "decay_lr", lr=[1.0, 0.03, 0.01, 0.001])
    long = graph.runs("decay_lr_long")
    assert len(first) == 4  # L: two of them to 1000 epochs, two to 10,000
    assert sorted((run.axes["lr"], run.spec.epochs) for run in long) == [
        (0.001, 10000),
        (0.01, 10000),
    ]
    assert {run.parent.id for run in long} <= {run.id for run in first}


def test_where_periodic_behavior_counts_less_than_it_lists_all_that_it_lists_is_there(graph):
    # periodic-behavior, section 5, writes 4 for GD's 3 x 2 values and 4 for V6's 2 with V7's 2 x 2.
    assert count(graph, "decay_full_batch") == 6
    assert count(graph, "decay_noisy_labels") == 2
    assert count(graph, "decay_less_data") == 4


def test_where_large_lrs_has_the_networks_of_its_section_5_8(graph):
    plotted = [value for value in G32 if 1e-5 <= value <= 0.1]
    assert len(plotted) == 25
    assert count(graph, "sphere_resnet_c10", seed=0, elr=plotted) == 25
    assert count(graph, "sphere_resnet_c10_ft", seed=0, plr=plotted) == 125
    every = ("sphere_resnet_c10_ft", "sphere_resnet_c10_ft_more")
    assert count(graph, *every, seed=0, plr=plotted) == 225
    assert count(graph, "sphere_convnet_c10", seed=0, elr=G16[:13]) == 13
    assert count(graph, "sphere_convnet_c10_ft", seed=0, plr=G16[:13]) == 65
    for name in ("sphere_convnet_c100", "sphere_resnet_c100"):
        assert count(graph, name, seed=0, elr=G16[:15]) == 15
        assert count(graph, f"{name}_ft", seed=0) == 75
    for name, pretrained in (("practical_constant_c10", 13), ("practical_constant_c100", 12)):
        assert count(graph, name, seed=0) == pretrained
        assert count(graph, f"{name}_ft", seed=0) == 5 * pretrained
    assert count(graph, "vit_c10", "vit_c100", seed=0) == 2 * 10
    assert count(graph, "vit_c10_ft", "vit_c100_ft", seed=0) == 2 * 40
    assert count(graph, "sphere_border") == 30
    assert count(graph, "sphere_two_stage", "sphere_two_stage_ft", seed=0) == 3
    assert count(graph, "ticks") == 1150
    assert count(graph, "ticks_ft") == 12650
    assert count(graph, "ticks_ft", elr=values(graph, "ticks_ft", "elr")[:1]) == 50 * TICKS
    subset = [values(graph, "ticks_ft", "elr")[index] for index in (0, 2, 3, 6, 8, 10)]
    assert count(graph, "ticks_ft", elr=subset) == 6900


def test_every_value_of_where_large_lrs_table_5_1_is_trained(graph):
    rates = {  # pre-training and fine-tuning rates that the table lists
        "sphere_resnet_c10": (G32, [1e-5, 5e-5, 1e-4, 2e-4, 3e-4]),
        "sphere_convnet_c10": (G16, [1e-5, 5e-5, 1e-4, 2e-4, 5e-4]),
        "sphere_convnet_c100": (G16, [1e-5, 2e-5, 5e-5, 1e-4, 2e-4]),
        "sphere_resnet_c100": (G16, [1e-5, 2e-5, 5e-5, 7e-5, 1e-4]),
    }
    for name, (pretraining, finetuning) in rates.items():
        assert values(graph, name, "elr") == pretraining
        assert values(graph, f"{name}_ft", "elr") == finetuning
    more = {3e-5, 7e-5, 1.4e-4, 2.5e-4}
    assert set(values(graph, "sphere_resnet_c10_ft_more", "elr")) == more
    practical = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3]
    for data, last in (("c10", [1.0]), ("c100", []), ("tiny", [])):
        name = f"practical_constant_{data}"
        assert values(graph, name, "lr") == decades(-4, -1) + last
        assert values(graph, f"{name}_ft", "lr") == practical
    for name in ("vit_c10", "vit_c100"):
        assert values(graph, name, "lr") == [*decades(-5, -3), 0.01]
        assert values(graph, f"{name}_ft", "lr") == [1e-5, 2e-5, 5e-5, 1e-4]
    powers = [-4.5 + n / 4 for n in range(9)] + [-2.25 + n / 8 for n in range(8)]
    powers += [-1.25 + n / 4 for n in range(6)]
    assert len(powers) == TICKS
    assert values(graph, "ticks", "elr") == pytest.approx([10**p for p in powers], rel=5e-4)
    assert values(graph, "ticks_ft", "elr") == values(graph, "ticks", "elr")[:11]


def test_how_large_lrs_trains_nothing_of_its_own(graph):
    papers = graph.config.papers
    mine = set(papers["how-large-lrs"]["experiments"])
    assert mine <= set(papers["where-large-lrs"]["experiments"])
    assert count(graph, *mine, seed=0) == sum(
        [
            *(32 + 16 + 16 + 16, 28 * 5 + 16 * 5 + 75 + 75),
            *(13 + 12 + 65 + 60, 12 + 60),  # practical; the second on Tiny ImageNet
            *(10, 3, 2 + 20),  # the border, two stages, from scratch and long
        ]
    )


def test_the_pools_of_power_laws_have_as_many_members_as_a_power_of_two_asks(graph):
    # max(N, 2^(3-j)), power-laws, section 5.3 [design], where ceil(8 S / s) would give 2,218 and
    # 2,260 for VGG16 and 1,051 and 1,057 for WideResNet-28.
    def pool(name: str) -> list[int]:
        sizes = Counter(run.axes["k"] for run in graph.runs(name))
        return [sizes[k] for k in sorted(sizes)]

    for data in ("c100", "c10"):
        assert pool(f"vgg_pool_{data}") == POOLS["vgg"]
        assert pool(f"wrn_pool_{data}") == POOLS["wrn"]
        assert pool(f"vgg_pool_{data}_free") == [64] * 11
    assert [sum(POOLS[name]) for name in ("vgg", "wrn")] == [2368, 1056]
    names = graph.config.papers["power-laws"]["experiments"]
    names = [name for name in names if name in graph.experiments]  # without those of digits
    narrow = [name for name in names if graph.experiments[name].optional]
    # 2 x 2,368 and 2 x 1,056 regularised, 2 x 11 x 64 free of it
    assert count(graph, *(set(names) - set(narrow))) == 4736 + 2112 + 1408 == 8256
    # 64 each of k = 2, 3, 4 of VGG16 and 5, 7, 10, 14 of WideResNet-28, on two data sets
    assert count(graph, *narrow) == 2 * 3 * 64 + 2 * 4 * 64
    for data, dropout in (("c100", 0.25), ("c10", 0.0)):  # of the narrowest listed width
        specs = [run.spec for run in graph.runs(f"vgg_pool_{data}_narrow")]
        assert sorted({spec.model["k"] for spec in specs}) == [2, 3, 4]
        listed = chosen(graph, f"vgg_pool_{data}", k=6)[0].spec
        assert {canonical(spec.optimiser) for spec in specs} == {canonical(listed.optimiser)}
        assert {spec.model["dropout"] for spec in specs} == {listed.model["dropout"]} == {dropout}
        assert values(graph, f"wrn_pool_{data}_narrow", "k") == [5, 7, 10, 14]
    assert values(graph, "vgg_pool_c10", "k") == [6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181]
    assert values(graph, "wrn_pool_c100", "k") == [20, 28, 40, 56, 80, 113, 160, 226, 320, 453]
    assert 57 in values(graph, "wrn_pool_c10", "k")


def test_memory_split_adds_88_and_168_networks_to_the_pools(graph):
    assert count(graph, "vgg_pool_c100_stairs", "vgg_pool_c100_exponential") == 88
    assert count(graph, "vgg_pool_c100_small") == 168
    papers = graph.config.papers
    own = set(papers["memory-split"]["experiments"]) - set(papers["power-laws"]["experiments"])
    assert count(graph, *own) == 88 + 168


def test_pretrain_basin_has_the_networks_of_its_section_5_6(graph):
    # 20 cells of 4 starts make 80 second networks, which SSE and StarSSE share, and 80 x 3 further
    # branches of StarSSE: 320. The third to fifth networks of SSE are 3 x 80. So 320 (F2) and 320
    # (F3) less the 80 shared are 560. Of Swin's thinned 8 cells: 32 x 4 + 3 x 32 = 224.
    for name, starts in (("byol", 25), ("supervised", 25), ("imagenet", 5)):
        one = {"data": "images100_imagenet"}
        assert count(graph, f"transfer_{name}", **one) == starts  # F1
        cycles = [count(graph, f"transfer_{name}_{cycle}", **one) for cycle in CYCLES]
        assert cycles == [320, 80, 80, 80]
        assert sum(cycles) == 560
        assert count(graph, f"transfer_{name}_longer", **one) == starts  # F4
        assert count(graph, f"transfer_{name}_tuning", data="images100_imagenet_validation") == 72
    assert count(graph, "transfer_scratch", data="images100_imagenet") == 5  # F5
    assert count(graph, "transfer_swin", data="images100_imagenet") == 25
    cycles = [count(graph, f"transfer_swin_{cycle}", data="images100_imagenet") for cycle in CYCLES]
    assert cycles == [128, 32, 32, 32]
    assert sum(cycles) == 224
    assert count(graph, "transfer_swin_tuning", data="images100_imagenet_validation") == 24


def test_every_target_has_its_own_epochs_for_as_many_steps(graph):
    for name, steps in STEPS.items():
        ratios = (0.5, 1, 2, 4) if steps == 5_000 else (1, 2)
        for target, images in IMAGES.items():
            epochs = int(steps * 256 / images)
            lengths = [int(ratio * epochs) for ratio in ratios]
            mean = round(sum(lengths) / len(lengths))
            tuned = [int(tried * 256 / images) for tried in (2_500, 5_000, 10_000, 20_000)]
            found = {
                kind: {
                    run.spec.epochs
                    for run in chosen(graph, f"transfer_{name}{kind}", data=f"{target}{split}")
                }
                for kind, split in (
                    ("", ""),
                    *((f"_{cycle}", "") for cycle in CYCLES),
                    ("_longer", ""),
                    ("_tuning", "_validation"),
                )
            }
            assert found == {
                "": {epochs},
                **{f"_{cycle}": set(lengths) for cycle in CYCLES},
                "_longer": {epochs + mean},
                "_tuning": set(tuned),
            }
    lengths = {run.axes["data"]: run.spec.epochs for run in graph.runs("transfer_scratch")}
    assert lengths == {name: 8 * int(5_000 * 256 / images) for name, images in IMAGES.items()}


def lineage(run: Run) -> list[Run]:
    """A network and those that it goes back to, the first one first."""
    return [*(lineage(run.parent) if run.parent else []), run]


def test_a_chain_is_five_networks_each_from_seed_0_of_the_one_before(graph):
    for name in STEPS:
        for run in graph.runs(f"transfer_{name}_fifth"):
            chain = lineage(run)
            names = [f"transfer_{name}", *(f"transfer_{name}_{cycle}" for cycle in CYCLES)]
            assert [one.experiment for one in chain] == names
            assert [one.spec.seed for one in chain[1:]] == [0, 0, 0, 0]
            assert {one.spec.start["take"] for one in chain[1:]} == {"weights"}  # no momentum
            assert len({(one.spec.epochs, one.spec.optimiser["lr"]) for one in chain[1:]}) == 1
            axes = {key: run.axes[key] for key in ("lr", "epochs", "first_seed", "data")}
            assert axes == {key: chain[1].axes[key] for key in axes}


def test_a_star_is_four_branches_of_one_network_the_first_of_which_is_the_chains(graph):
    for name in STEPS:
        branches = Counter()
        seeds = set()
        for run in graph.runs(f"transfer_{name}_second"):
            branches[run.parent.id, run.axes["lr"], run.axes["epochs"]] += 1
            seeds.add(run.spec.seed)
        assert set(branches.values()) == {4}
        assert seeds == {0, 10, 11, 12}
        shared = {run.id for run in chosen(graph, f"transfer_{name}_second", seed=0)}
        assert {run.parent.id for run in graph.runs(f"transfer_{name}_third")} == shared


def test_every_network_of_a_cycle_is_kept_with_its_predictions_and_measured_at_its_end(graph):
    wanted = graph.owned[1]
    for name in STEPS:
        for kind in ("", *(f"_{cycle}" for cycle in CYCLES)):
            for run in graph.runs(f"transfer_{name}{kind}"):
                mine = wanted[run.id]
                assert canonical({"epoch": run.spec.epochs}) in mine.points
                assert "final|test" in mine.predictions
                clocks = [json.loads(record)["every"] for record in mine.records]
                assert len(clocks) == 2
                last = run.spec.epochs
                assert all(epoch_is_due(clock, last, last) for clock in clocks)


def test_triangles_leave_a_network_and_its_predictions_at_each_low_end(graph):
    for run in graph.runs("transfer_byol_triangles"):
        mine = graph.owned[1][run.id]
        points = [canonical({"epoch": epoch}) for epoch in (25, 50, 75, 100)]
        assert mine.points == set(points)
        assert mine.predictions == {f"{point}|test" for point in [*points[:3], "final"]}
        clocks = [json.loads(record)["every"] for record in mine.records]
        assert all(epoch_is_due(clock, n, 100) for clock in clocks for n in (25, 50, 75, 100))


def rates(run: Run, epochs: int | None = None) -> list[float]:
    """The learning rate of each epoch of a network."""
    schedule, epochs = run.spec.schedule, epochs or run.spec.epochs
    factor = import_entry("schedule", schedule["name"]).build(schedule, epochs)
    return [run.spec.optimiser["lr"] * factor(epoch) for epoch in range(epochs)]


def test_rates_of_pretrain_basin_are_those_of_the_released_schedules(graph):
    path = REFERENCE / "pretrain_basin_schedules.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    known = json.loads(path.read_text())
    one = {"data": "images100_imagenet", "seed": 0}
    for name in ("byol", "supervised"):
        first = chosen(graph, f"transfer_{name}", **one)[0]
        assert rates(first) == pytest.approx(known[f"{name}_resnet_baseline_25"], rel=1e-9)
    for ratio, cycle in ((0.25, 12), (1.0, 25), (4.0, 50)):
        last = chosen(graph, "transfer_byol_fifth", **one, lr=ratio * 0.05, epochs=cycle)[0]
        found = [rate for run in lineage(last) for rate in rates(run)]
        key = f"byol_sse_lr_ratio_{ratio}_cycle_{cycle}"
        assert found == pytest.approx(known[key], rel=1e-9)
    # Half a length is not among Swin's thinned cells; its cycle is the same, without a warm-up.
    second = chosen(graph, "transfer_swin_second", **one, lr=2e-4, epochs=102)[0]
    found = rates(second, 51) * 4
    assert found == pytest.approx(known["swin_sse_lr_ratio_2_cycle_51"][102:], rel=1e-9)


def test_nothing_optional_is_trained_for_all_and_each_is_a_target_of_its_own(graph):
    optional = {name for name, one in graph.experiments.items() if one.optional}
    by_file = Counter(Path(graph.experiments[name].file).stem for name in optional)
    # 8 of each ResNet-50 and 7 of each Swin-Tiny, and scratch; four pools; three readings
    assert by_file == {"transfer": 3 * 8 + 2 * 7 + 1, "ensemble_pools": 4, "memorization": 3}
    steps = Steps(graph)
    trained = {
        graph.pack(step.names[0]).runs[0].experiment
        for step in steps.chain(["results/paper/all"]).values()
        if step.rule == "train"
    }
    assert trained and not trained & optional
    for name in ("transfer_imagenet", "transfer_byol_fifth", "supervised_thesis_literal"):
        chain = steps.chain([f"results/paper/experiments/{name}.tsv"]).values()
        packs = [graph.pack(step.names[0]) for step in chain if step.rule == "train"]
        trained = {run.id for pack in packs for run in pack.runs}
        assert {run.id for run in graph.runs(name)} <= trained


def test_contrastive_memorization_has_thirty_networks_a_method_and_two_more(graph):
    methods = ("simclr", "supervised", "random_labels", "random_labels_augmented")
    assert [count(graph, name) for name in methods] == [30, 30, 30, 30]
    assert [graph.runs(name)[0].spec.epochs for name in methods] == [200, 50, 20, 500]
    assert count(graph, "supervised_long", "random_labels_long") == 2 * 3
    for name in ("supervised_long", "random_labels_long"):
        assert graph.runs(name)[0].spec.start["take"] == "state"


def test_weights_are_kept_of_the_networks_that_representations_need(graph):
    # Three a method, the longer ones of two methods, and untrained ones: 18, 21 points.
    wanted = graph.owned[1]
    names = [
        name
        for name, experiment in graph.experiments.items()
        if Path(experiment.file).stem == "memorization"
    ]
    points = {run.id: wanted[run.id].points for name in names for run in graph.runs(name)}
    assert len(points) == 4 * 30 + 2 * 3 + 3 * 30
    assert sorted(len(kept) for kept in points.values() if kept) == [1] * 15 + [2] * 3
    for name in ("simclr", "supervised", "random_labels", "random_labels_augmented"):
        first = graph.runs(f"{name}_first")
        assert [run.id for run in first] == [run.id for run in graph.runs(name)[:3]]
        assert all(points[run.id] for run in first)


def test_the_thesis_to_the_letter_differs_in_rate_and_period_only(graph):
    for name in ("supervised", "random_labels", "random_labels_augmented"):
        assert graph.experiments[f"{name}_thesis_literal"].optional
        ours, literal = graph.runs(name), graph.runs(f"{name}_thesis_literal")
        assert len(ours) == len(literal) == 30
        for one, other in zip(ours, literal):
            assert (other.spec.optimiser["lr"], other.spec.schedule["period"]) == (3e-4, 200)
            spec = one.spec.with_axis("lr", 3e-4, "test").with_axis("schedule.period", 200, "test")
            assert spec.id == other.id


def test_rates_of_contrastive_memorization_are_those_of_the_released_scheduler(graph):
    path = REFERENCE / "contrastive_schedules.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    known = json.loads(path.read_text())["factor_of_the_initial_learning_rate_in_epoch_1_2_..."]
    names = {
        "simclr": "simclr_200_epochs_T_max_195_stepped_from_epoch_10_on",
        "supervised": "supervised_50_epochs_T_max_200",
    }
    for name, key in names.items():
        spec = graph.runs(name)[0].spec
        factor = import_entry("schedule", spec.schedule["name"]).build(spec.schedule, spec.epochs)
        assert [factor(epoch) for epoch in range(spec.epochs)] == pytest.approx(
            known[key], abs=1e-9
        )


def test_objects_without_augmentation_are_looked_at_once(graph):
    wanted = graph.owned[1]
    for name in ("random_labels", "random_labels_long"):
        for run in graph.runs(name):
            assert run.spec.augment is None
            views = [json.loads(record)["views"] for record in wanted[run.id].records]
            assert views == [1]


def test_tuning_holds_the_tuned_number_of_epochs(graph):
    for name, tuned in (("byol", 25), ("supervised", 25), ("swin", 102)):
        cifar = {"data": ["images100_imagenet", "images100_imagenet_validation"]}
        tried = {run.spec.epochs for run in chosen(graph, f"transfer_{name}_tuning", **cifar)}
        assert tuned in tried
        assert {run.spec.epochs for run in chosen(graph, f"transfer_{name}", **cifar)} == {tuned}


def test_the_recurrent_papers_have_20_networks_a_seed_of_which_8_serve_both(graph):
    tasks = ("rnn_imdb", "rnn_agnews", "rnn_characters", "rnn_words")
    original, sparse = {"DCDCCD", "DCCD"}, {"LCLCCL", "LCCL"}
    gated = original | sparse | {"LLLCLL", "LCRL", "LLLLLL", "LLRL"}
    compressed = original | sparse | {"LLLCCL", "LCIL"}
    for seed in (0, 1, 2):
        assert count(graph, *tasks, seed=seed) == 20
        assert count(graph, *tasks, seed=seed, config=gated) == 16
        assert count(graph, *tasks, seed=seed, config=compressed) == 12
        assert count(graph, *tasks, seed=seed, config=gated & compressed) == 8
    assert count(graph, *tasks) == sum(len(graph.runs(task)) for task in tasks) == 60
    assert count(graph, *[f"{task}_gates" for task in tasks], seed=0) == 4
    papers = graph.config.papers
    assert set(tasks) <= set(papers["sparse-gated-rnn"]["experiments"])
    assert set(tasks) == set(papers["bayesian-compression-nlp"]["experiments"])


def test_every_run_has_one_id_and_one_owner(graph):
    texts: dict[str, str] = {}
    for name in graph.experiments:
        for run in graph.runs(name):
            text = texts.setdefault(run.id, canonical(run.spec.identity))
            assert text == canonical(run.spec.identity)
    assert len(set(texts.values())) == len(texts)
    packed = [run.id for pack in graph.packs.values() for run in pack.runs]
    assert sorted(packed) == sorted(texts)


def test_the_weight_decay_runs_of_three_regimes_are_those_of_periodic_behavior(graph):
    theirs = {(run.axes["lr"], run.axes["wd"]): run.id for run in graph.runs("decay_convnet_c10")}
    for run in graph.runs("decay_lr"):
        key = (run.axes["lr"], 1e-3)
        if key in theirs:
            assert run.id == theirs.pop(key)
    for run in graph.runs("decay_wd"):
        key = (run.axes["lr"], run.axes["wd"])
        if key in theirs:
            assert run.id == theirs.pop(key)
    assert list(theirs) == [(0.1, 1e-2)]


def test_long_sphere_runs_go_on_from_pre_training(graph):
    for pair in ("convnet_c10", "convnet_c100", "resnet_c10", "resnet_c100"):
        before = {run.id for run in graph.runs(f"sphere_{pair}")}
        for run in graph.runs(f"sphere_{pair}_long"):
            assert run.parent.id in before
            assert (run.spec.start["take"], run.spec.start["point"]) == ("state", {"epoch": 300})
            assert run.spec.epochs == 1000


def test_every_point_that_a_run_starts_from_is_kept_by_its_parent(graph):
    owners, wanted = graph.owned
    for run in owners.values():
        if run.parent:
            assert run.parent.id in owners, run.label
            assert run.point in wanted[run.parent.id].points, run.label


def test_a_zoom_goes_on_from_an_event_and_counts_its_epochs_from_there(graph):
    for run in graph.runs("decay_zoom"):
        point = {"event": "jump", "jump": 5.0, "floor": 0.02, "index": 1, "offset": -3}
        assert run.spec.start == {"run": run.parent.id, "point": point, "take": "state"}
        assert (run.parent.spec.epochs, run.spec.epochs) == (1000, 10)


def test_averages_of_the_tick_networks_count_steps_back_from_the_end(graph):
    experiment = graph.experiments["ticks"]
    assert experiment.point_of("swa50", 1250) == {
        "average": {"count": 50, "steps": 100, "to": 1250}
    }
    assert {run.spec.head["seed"] for run in graph.runs("ticks")} == {1, 2, 3, 4, 5}


def test_a_network_that_starts_from_a_file_knows_its_checkpoint(graph):
    run = chosen(graph, "transfer_byol_second", checkpoint="byol_2", first_seed=1)[0]
    start = {"file": graph.config.file_id("byol_2", "test"), "take": "backbone"}
    assert run.parent.spec.start == start
    assert "there" not in start["file"]  # the checksum counts, the path does not


def test_word_vectors_make_other_data_and_may_be_missing(graph, committed):
    sources = {"imdb": {"kind": "text", "path": "/there", "sha256": SHA256}}
    without = Graph(Config(committed, {"sources": sources}), "paper")
    assert len(without.runs("rnn_imdb")) == 15
    assert without.recipes[without.data_of("imdb", "test")]["vectors"] is None
    assert without.data_of("imdb", "test") != graph.data_of("imdb", "test")


def test_no_pack_is_longer_than_its_block(graph):
    for pack in graph.packs.values():
        names = {run.experiment for run in pack.runs}
        assert len(names) == 1
        experiment = graph.experiments[names.pop()]
        block = pack.runs[0].block or experiment.block or graph.scale.block
        assert len(pack.runs) <= block
    widest = [pack for pack in graph.packs.values() if pack.runs[0].axes.get("k") == 453]
    assert [len(pack.runs) for pack in widest] == [1] * 24  # each takes most of a day


def test_without_a_source_there_are_no_runs_and_no_error(committed):
    graph = Graph(Config(committed), "paper")
    absent = ("practical_constant_tiny", "practical_constant_tiny_ft")
    for name in (*absent, "transfer_byol", "transfer_byol_third", "transfer_swin_second"):
        assert graph.runs(name) == []
    assert values(graph, "transfer_imagenet", "data") == ["images100_imagenet", "images10_imagenet"]
    assert count(graph, "transfer_imagenet", data="images100_imagenet") == 5
    assert count(graph, "transfer_imagenet_third", data="images100_imagenet") == 20 * 4


@pytest.mark.parametrize("scale", ["smoke", "demo", "small", "small8"])
def test_the_other_papers_experiments_are_absent_at_reduced_scales(scale, committed):
    graph = Graph(Config(committed), scale)
    files = {"transfer"}
    assert not {Path(e.file).stem for e in graph.experiments.values()} & files


def test_ten_papers_expand_to_packs(committed):
    graph = Graph(Config(committed), "paper")
    assert len(graph.owned[0]) > 20_000
    packed = [run.id for pack in graph.packs.values() for run in pack.runs]
    assert len(packed) == len(set(packed))
    assert set(packed) <= set(graph.owned[0])
