"""The runs of all ten papers at the papers' own scale, against what their pages list."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from refigure.graph.catalogue import import_entry
from refigure.graph.config import Config
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.graph.spec import canonical

REFERENCE = Path(__file__).parents[2] / "shared" / "reference"

SHA256 = "0" * 64
TICKS = 23
POOLS = {  # max(64, 2^(3-j)) for VGG16, max(12, 2^(3-j)) for WideResNet-28
    "vgg": [1024, 512, 256, 128, 64, 64, 64, 64, 64, 64, 64],
    "wrn": [512, 256, 128, 64, 32, 16, 12, 12, 12, 12],
}


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
        "sphere_resnet_c10_long": 16,
        "sphere_resnet_c100_long": 16,  # M4
        "sphere_convnet_c10_switch": 8,  # F2
        "sphere_border": 9,  # TR: 27 with its three seeds
        "sphere_fixed_filters": 8,  # I
        "decay_convnet_c10": 8,  # W
    }
    assert {name: count(graph, name, seed=0) for name in per_seed} == per_seed
    assert count(graph, "sphere_border") == 27
    targets = [1e-5, 5e-5, 1e-4, 5e-4]
    assert count(graph, "sphere_convnet_c10_ft", seed=0, plr=G16, elr=targets) == 64  # F
    assert count(graph, "sphere_resnet_c10_ft", seed=0, plr=G16) == 80
    assert count(graph, "practical_convnet_c10", "practical_resnet_c10") == 26  # P
    variants = ["sphere_augmented", "sphere_momentum", "sphere_squared", "sphere_weight_norm"]
    variants += ["plain_no_norm", "sphere_noisy_labels", "sphere_full_batch"]
    assert count(graph, *variants, "sphere_uniform_start", "sphere_width") == 88  # A1-A9


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
    assert count(graph, "sphere_border") == 27
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
        "sphere_resnet_tiny": ([*decades(-5, -2), 0.1], [1e-5, 1e-4, 2e-4, 5e-4]),
    }
    for name, (pretraining, finetuning) in rates.items():
        assert values(graph, name, "elr") == pretraining
        assert values(graph, f"{name}_ft", "elr") == finetuning
    more = {3e-5, 7e-5, 1.4e-4, 2.5e-4}
    assert set(values(graph, "sphere_resnet_c10_ft_more", "elr")) == more
    practical = [1e-4, 2e-4, 5e-4, 1e-3, 2e-3]
    for name, last in (("practical_constant_c10", [1.0]), ("practical_constant_c100", [])):
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
        [32 + 16 + 16 + 16, 28 * 5 + 16 * 5 + 75 + 75, 13 + 12 + 65 + 60, 9, 3, 1 + 16]
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
    assert count(graph, *graph.config.papers["power-laws"]["experiments"]) == 8256
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
    # A chain is the four cycles of a cell as one run with a point after each: 80 runs are F2's 320
    # cycles. A star is three branches a cell: its second network is the chain's first point.
    for name in ("byol", "supervised"):
        one = {"data": "images100_imagenet"}
        assert count(graph, f"transfer_{name}", **one) == 25  # F1
        chains = chosen(graph, f"transfer_{name}_chain", **one)
        assert len(chains) == 20 * 4
        assert sum(len(graph.experiments[run.experiment].points) for run in chains) == 320  # F2
        assert count(graph, f"transfer_{name}_star", **one) == 320 - 80  # F3
        assert count(graph, f"transfer_{name}_longer", **one) == 25  # F4
        assert count(graph, f"transfer_{name}_tuning", data="images100_imagenet_validation") == 72
    assert count(graph, "transfer_scratch", data="images100_imagenet") == 5  # F5
    assert count(graph, "transfer_swin", data="images100_imagenet") == 25
    assert count(graph, "transfer_swin_chain", data="images100_imagenet") == 8 * 4
    assert count(graph, "transfer_swin_star", data="images100_imagenet") == 8 * 4 * 3
    assert count(graph, "transfer_swin_tuning", data="images100_imagenet_validation") == 24


def test_a_chain_of_cycles_leaves_a_point_after_each_cycle(graph):
    for run in graph.runs("transfer_byol_chain"):
        points = graph.experiments[run.experiment].points
        ends = [graph.experiments[run.experiment].point_of(p, run.spec.epochs) for p in points]
        cycle = run.axes["cycle"]
        assert cycle == run.spec.schedule["cycle"]
        assert ends == [{"epoch": n * cycle} for n in (1, 2, 3, 4)]


def test_no_branch_of_a_star_repeats_a_cycle_of_a_chain(graph):
    for name in ("byol", "imagenet", "swin"):
        chained = {run.spec.seed for run in graph.runs(f"transfer_{name}_chain")}
        assert not chained & {run.spec.seed for run in graph.runs(f"transfer_{name}_star")}


def test_contrastive_memorization_has_thirty_networks_a_method_and_two_more(graph):
    methods = ("simclr", "supervised", "random_labels", "random_labels_augmented")
    assert [count(graph, name) for name in methods] == [30, 30, 30, 30]
    assert [graph.runs(name)[0].spec.epochs for name in methods] == [200, 50, 20, 500]
    assert count(graph, "supervised_long", "random_labels_long") == 2
    for name in ("supervised_long", "random_labels_long"):
        assert graph.runs(name)[0].spec.start["take"] == "state"


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
        assert tuned in values(graph, f"transfer_{name}_tuning", "epochs")
        assert {run.spec.epochs for run in graph.runs(f"transfer_{name}")} == {tuned}


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
    run = chosen(graph, "transfer_byol_chain", checkpoint="byol_2", seed=1)[0]
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
    absent = ("sphere_resnet_tiny", "sphere_resnet_tiny_ft")
    for name in (*absent, "transfer_byol", "transfer_byol_chain", "transfer_swin_star"):
        assert graph.runs(name) == []
    assert values(graph, "transfer_imagenet", "data") == ["images100_imagenet", "images10_imagenet"]
    assert count(graph, "transfer_imagenet", data="images100_imagenet") == 5
    assert count(graph, "transfer_imagenet_chain", data="images100_imagenet") == 20 * 4


@pytest.mark.parametrize("scale", ["smoke", "demo", "small", "small8"])
def test_the_other_papers_experiments_are_absent_at_reduced_scales(scale, committed):
    graph = Graph(Config(committed), scale)
    files = {"ensemble_pools", "transfer", "memorization"}
    assert not {Path(e.file).stem for e in graph.experiments.values()} & files


def test_ten_papers_expand_to_packs_within_three_seconds(committed):
    begin = time.process_time()
    graph = Graph(Config(committed), "paper")
    runs, packs = len(graph.owned[0]), len(graph.packs)
    seconds = time.process_time() - begin
    print(f"{runs} runs, {packs} packs in {seconds:.2f} s")
    assert runs > 20_000
    assert seconds < 3
