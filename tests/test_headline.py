"""The scale for one GPU, and what the papers' own scale takes of a GPU, by counted work."""

from __future__ import annotations

from collections import defaultdict

import pytest
from refigure.explain.holdings import Holdings
from refigure.explain.plan import plan
from refigure.explain.target import resolve
from refigure.explain.timing import Times
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.graph.steps import Steps

DEVICE = "h100"
ALL, A_PAPER = 60, 20
"""GPU-hours of `headline`, in all and of a paper."""
LONGEST = 20
"""Hours that a pack may take; jobs are given 24."""
ALONE = {
    "wrn_pool_c100": {320: 20.9, 453: 41.7},
    "wrn_pool_c10": {320: 20.9, 453: 41.7},
}
"""Experiment -> width -> hours of one network that no block makes shorter: the widest WideResNets
are 8 and 16 times the standard one. The longer ones need a longer `runtime` than 24 hours, or go on
from their state when the queue ends them."""


@pytest.fixture(scope="module")
def headline(committed) -> dict:
    return plan(resolve(Config(committed), "results/headline/all"), False, DEVICE)


def test_headline_fits_one_gpu_for_a_weekend(headline):
    assert 0 < headline["gpu"]["seconds"] / 3600 <= ALL
    for row in headline["papers"]:
        assert row["seconds"] / 3600 <= A_PAPER, row["paper"]
        assert not row["unknown"], row["paper"]
    assert headline["longest"]["seconds"] / 3600 <= LONGEST


def test_headline_trains_for_every_paper(headline):
    assert len(headline["papers"]) == 10
    assert all(row["networks"] for row in headline["papers"])


def test_headline_reads_no_data_that_it_trains_nothing_on(committed):
    """IMDb would be downloaded, and its word vectors asked for, by a table that lists all tasks."""
    graph = Graph(Config(committed), "headline")
    steps = Steps(graph)
    jobs = steps.chain([file for slug in graph.built for file in steps.of_paper(slug)])
    prepared = [job.names[0] for job in jobs.values() if job.rule == "prepare"]
    sources = {graph.recipes[name].get("source") for name in prepared} - {None}
    assert sources == {"cifar10", "cifar100", "ptb"}


@pytest.mark.parametrize(
    "figure",
    [
        "three-regimes/fig1",
        "where-large-lrs/fig2",
        "periodic-behavior/fig1",
        "periodic-behavior/fig_lr_sweep",
        "memory-split/ms1",
        "sparse-gated-rnn/tab1",
        "bayesian-compression-nlp/tab2",
        "contrastive-memorization/cm-f01",
        "pretrain-basin/pb-f02",
        "pretrain-basin/pb-f09",
    ],
)
def test_the_best_known_figures_are_drawn(committed, figure):
    graph = Graph(Config(committed), "headline")
    slug, name = figure.split("/")
    assert f"results/headline/figures/{figure}.pdf" in Steps(graph).of_paper(slug)
    own, _ = graph.drawn(graph.figure(slug, name))
    assert own


def test_headline_trains_nothing_that_paper_does_not_but_the_reduced_sets(committed):
    """Its runs are those of `paper`, so that their results are adopted there; contrastive ones and
    the pools' few seeds are named."""
    config = Config(committed)
    paper, here = Graph(config, "paper"), Graph(config, "headline")
    others = {run.experiment for key, run in here.owned[0].items() if key not in paper.owned[0]}
    assert {name.removesuffix("_first") for name in others} <= {
        "simclr",
        "supervised",
        "random_labels",
        "random_labels_augmented",
    }


def test_no_pack_of_the_papers_scale_takes_longer_than_its_job_may(committed):
    graph = Graph(Config(committed), "paper")
    times = Times(graph, Holdings(graph), may_time=False, device=DEVICE)
    long: dict[str, float] = defaultdict(float)
    for pack in graph.packs.values():
        run = pack.runs[0]
        if not times.counts(run):
            continue
        hours = sum(times.seconds(one, pack) or 0.0 for one in pack.runs) / 3600
        most = ALONE.get(run.experiment, {}).get(run.spec.model.get("k"), LONGEST)
        assert len(pack.runs) == 1 or most == LONGEST
        if hours > most:
            long[run.experiment] = max(long[run.experiment], round(hours, 1))
    assert not long, f"longest packs, hours: {dict(long)}"
