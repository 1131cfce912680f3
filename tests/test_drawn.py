"""One figure and what it needs, nothing else: counted network by network, at the papers' size."""

from __future__ import annotations

from pathlib import Path

import pytest
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.graph.steps import Steps

GRAPH = Graph(Config(Path(__file__).parents[1]), "paper")
STEPS = Steps(GRAPH)
FIGURES = [
    (slug, name)
    for slug in GRAPH.built
    for name, figure in GRAPH.figures(slug).items()
    if not figure.verdicts
]
STATED = {
    ("three-regimes", "fig1"): (33, 33),
    ("three-regimes", "fig_fix_all"): (8, 0),
    ("three-regimes", "fig_diag_testerr"): (68, 68),
    ("three-regimes", "fig_groups"): (108, 108),
    ("periodic-behavior", "fig1"): (2, 0),
    ("periodic-behavior", "fig_lr_sweep"): (4, 0),
    ("periodic-behavior", "fig_long"): (2, 2),
    ("where-large-lrs", "fig12"): (24, 15),
    ("where-large-lrs", "fig13"): (15, 0),
    ("sparse-gated-rnn", "fig1"): (0, 0),
    ("bayesian-compression-nlp", "tab1"): (18, 0),
}
"""Figure -> networks that it draws, and networks that these start from besides."""


def trained(slug: str, name: str) -> set[str]:
    """The networks in the packs that a figure's target rests on."""
    chain = STEPS.chain([f"results/paper/figures/{slug}/{name}.pdf"]).values()
    packs = [GRAPH.pack(step.names[0]) for step in chain if step.rule == "train"]
    return {run.id for pack in packs for run in pack.runs}


@pytest.mark.parametrize("key", FIGURES, ids="/".join)
def test_a_figure_trains_the_networks_that_its_tables_select_and_their_parents(key):
    own, parents = GRAPH.drawn(GRAPH.figure(*key))
    assert trained(*key) == own.keys() | parents.keys()


@pytest.mark.parametrize("key", STATED, ids="/".join)
def test_the_numbers_of_networks_are_as_stated(key):
    own, parents = GRAPH.drawn(GRAPH.figure(*key))
    assert (len(own), len(parents)) == STATED[key]


@pytest.mark.parametrize("key", FIGURES, ids="/".join)
def test_a_figure_of_one_seed_selects_that_seed_or_says_why_it_trains_more(key):
    figure = GRAPH.figure(*key)
    seeds = {run.spec.seed for run in GRAPH.drawn(figure)[0].values()}
    assert not ("seed" in figure.parameters and len(seeds) > 1 and not figure.trains_more)
    assert not (figure.trains_more and len(seeds) <= 1)


def test_a_figure_asks_for_verdicts_only_where_it_tabulates_them():
    for slug in GRAPH.built:
        for name, figure in GRAPH.figures(slug).items():
            chain = STEPS.chain([f"results/paper/figures/{slug}/{name}.pdf"]).values()
            assert any(step.rule in ("claim", "verdicts") for step in chain) == figure.verdicts
