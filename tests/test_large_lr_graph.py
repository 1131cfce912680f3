"""What the large-learning-rate papers train, and what they share with others. No torch."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest
from refigure.graph.config import Config
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.measures.spectra import bands_of

SCALES = ["smoke", "demo", "small", "small8", "paper"]
LARGE = ("sphere_convnet_c10_reduced", "sphere_convnet_c10_reduced_ft", "sphere_two_stage")
LARGE += ("sphere_two_stage_ft", "sphere_resnet_c10_ft_more")


@pytest.fixture(scope="module")
def graph_at(committed: Path):
    """A graph of the committed configuration, made once a scale."""
    return cache(lambda scale: Graph(Config(committed), scale))


def runs_of(graph: Graph, table: str) -> dict[str, str]:
    """Run id -> experiment of all that a table is made of, through probes and other tables."""
    definition = graph.table(table)
    runs = [run for members in definition.runs.values() for run in members]
    for probe in definition.probes.values():
        runs += [run for members in graph.probes[probe].roles.values() for run, _ in members]
    found = {run.id: run.experiment for run in runs}
    for other in definition.tables.values():
        found |= runs_of(graph, other)
    return found


def packs_of(graph: Graph, slug: str) -> set[str]:
    """The packs that a paper's figures and claims are made of, their parents' among them."""
    targets = [*graph.figures(slug).values(), *graph.claims(slug).values()]
    tables = {table for target in targets for table in target.tables.values()}
    packs = {graph.pack_of[run] for table in tables for run in runs_of(graph, table)}
    following = packs
    while following:
        parents = {parent.id for name in following for parent in graph.packs[name].parents}
        following = {graph.pack_of[run] for run in parents} - packs
        packs |= following
    return packs


@pytest.mark.parametrize("scale", SCALES)
def test_how_large_lrs_has_no_pack_of_its_own(scale, graph_at):
    graph = graph_at(scale)
    own, shared = packs_of(graph, "how-large-lrs"), packs_of(graph, "where-large-lrs")
    assert own and own <= shared


@pytest.mark.parametrize("scale", SCALES)
def test_every_table_of_how_large_lrs_is_one_of_where_large_lrs_or_made_of_them(scale, graph_at):
    graph = graph_at(scale)
    theirs = set()
    for target in [*graph.figures("where-large-lrs").values()]:
        theirs |= set(target.tables.values())
    for target in graph.figures("how-large-lrs").values():
        for name in target.tables.values():
            assert name in theirs or set(graph.table(name).tables.values()) <= theirs


def test_at_demo_the_sphere_runs_of_three_regimes_are_large_lr_runs(graph_at):
    graph = graph_at("demo")
    assert set(runs_of(graph, "sphere_m1")) <= set(runs_of(graph, "lr_pretrained_border"))
    assert set(runs_of(graph, "finetune_m1")) <= set(runs_of(graph, "lr_finetuned_border"))
    for table in ("sphere_m2", "sphere_m3", "sphere_m4"):
        assert set(runs_of(graph, table)) <= set(runs_of(graph, "lr_pretrained_others"))
    assert set(runs_of(graph, "finetune_m3")) <= set(runs_of(graph, "lr_finetuned_others"))


def test_at_demo_three_regimes_trains_no_more_for_it(graph_at):
    graph = graph_at("demo")
    owners = {graph.packs[name].runs[0].experiment for name in packs_of(graph, "three-regimes")}
    assert "sphere_convnet_c10" in owners
    assert not owners & set(LARGE)


def test_at_paper_scale_three_regimes_fine_tunes_the_same_runs_and_goes_on_from_the_same(graph_at):
    graph = graph_at("paper")
    assert set(runs_of(graph, "lr_finetuned_main")) <= set(runs_of(graph, "finetune_m3"))
    before = {run.parent.id for run in graph.runs("sphere_resnet_c10_long")}
    # Three of its twenty ELRs are right of what the paper plots.
    assert len(before) == 3 * 20
    assert len(before & set(runs_of(graph, "lr_pretrained_main"))) == 3 * 17


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_averages_are_of_the_runs_that_are_fine_tuned(scale, graph_at):
    graph = graph_at(scale)
    for group in ("main", "others", "practical"):
        pretrained = runs_of(graph, f"lr_pretrained_{group}")
        assert set(runs_of(graph, f"lr_averaged_{group}")) == set(pretrained)
        for run in (id for id in runs_of(graph, f"lr_finetuned_{group}")):
            assert graph.owned[0][run].parent.id in pretrained


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_the_lines_are_between_the_ends_of_the_smallest_and_the_largest_plotted_rate(
    scale, graph_at
):
    graph = graph_at(scale)
    for name, probe in graph.probes.items():
        if name.startswith("paths_") and probe.roles.get("ft_low") and "vit" not in name:
            rates = {role: defaultdict(set) for role in ("ft_low", "ft_high")}
            for role, found in rates.items():
                for run, _ in probe.roles[role]:
                    rate = run.axes.get("elr", run.axes.get("lr"))
                    found[run.labels["setup"]].add(rate)
            setups = {run.labels["setup"] for run, _ in probe.roles["pt"]}
            assert {run.labels["setup"] for run, _ in probe.roles["ft_low"]} == setups
            for setup in setups:
                low, high = (rates[role][setup] for role in ("ft_low", "ft_high"))
                assert len(low) == len(high) == 1 and min(low) < min(high)
            assert len(probe.roles["pt"]) == len(probe.roles["ft_low"]) == len(probe.roles["swa5"])


@pytest.mark.parametrize("scale", SCALES)
def test_bands_of_the_scales_images_are_not_empty(scale, graph_at):
    graph = graph_at(scale)
    size = {"paper": 32, "small": 16}.get(scale, 8)
    ends = [probe.options["ends"] for name, probe in graph.probes.items() if "bands_" in name]
    for own in [*ends, graph.table("lr_band_example").options["ends"]]:
        assert list(bands_of(size, own)) == ["background", "low", "mid", "high"]


@pytest.mark.parametrize("scale", SCALES)
def test_no_two_setups_of_a_table_share_runs(scale, graph_at):
    graph = graph_at(scale)
    for name in graph.config.families["tables"]:
        owners: dict[str, str] = {}
        for run in runs_below(graph, name):
            if "setup" in run.labels:
                setup = run.labels["setup"]
                assert owners.setdefault(run.id, setup) == setup, f"{name}: {run.label}"


def runs_below(graph: Graph, name: str) -> list[Run]:
    """The runs of a table, its probes and the tables it is made of, as each selects them."""
    table = graph.table(name)
    found = [run for runs in table.runs.values() for run in runs]
    for probe in table.probes.values():
        found += [run for ms in graph.probes[probe].roles.values() for run, _ in ms]
    return found + [run for other in table.tables.values() for run in runs_below(graph, other)]


@pytest.mark.parametrize("scale", SCALES)
def test_a_title_names_the_network_that_is_trained(scale, graph_at):
    """Of one setup at a scale, one title; its width is the spec's, and its data one recipe."""
    graph = graph_at(scale)
    nets: dict[str, set] = {}
    for name in graph.experiments:
        for run in graph.runs(name):
            if "title" not in run.labels:
                continue
            title, model = run.labels["title"], run.spec.model
            nets.setdefault(title, set()).add((model["name"], model.get("k"), model.get("dim")))
            if " k=" in title:
                assert f" k={model['k']}," in title, run.label
            words = {"convnet": "ConvNet", "resnet18": "ResNet", "vit": "ViT", "tick_mlp": "MLP"}
            assert words[model["name"]] in title, run.label
            assert ("SI " in title) == (run.spec.optimiser["name"] == "sphere_sgd"), run.label
            source = graph.recipes[run.spec.data].get("source", "ticks")
            named = {"digits": "digits", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
            named |= {"tiny_imagenet": "Tiny ImageNet", "ticks": "tick features"}
            assert named[source] in title, run.label
    assert nets and all(len(found) == 1 for found in nets.values())


@pytest.mark.parametrize("scale", ["demo", "small", "paper"])
def test_every_group_of_setups_has_runs(scale, graph_at):
    """A label that nothing has would select nothing without a word."""
    graph = graph_at(scale)
    for kind in ("pretrained", "finetuned", "averaged", "geometry"):
        for group in ("main", "others", "practical", "vit", "ticks"):
            assert runs_of(graph, f"lr_{kind}_{group}"), (kind, group)
    for name in ("lr_two_stages", "lr_norms", "lr_pretrained_border", "lr_finetuned_border"):
        assert runs_of(graph, name), name
    setups = {run.labels["setup"] for run in runs_below(graph, "lr_bands_all")}
    assert setups == {"resnet_c10", "convnet_c10", "convnet_c100", "resnet_c100"}
