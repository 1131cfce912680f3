"""Packs: how runs travel, cut by seed, and which of them change when something is added."""

from __future__ import annotations

import pytest
from refigure.graph.experiments import Run, Wanted
from refigure.graph.packs import cut
from refigure.graph.spec import Spec, digest

NOTHING = Wanted()


def run(seed: int = 0, elr: float = 1e-3, start: dict | None = None, **changes) -> Run:
    """One run of an experiment named `pool`."""
    written = {
        "data": "digits-0123456789",
        "model": {"name": "convnet", "k": changes.pop("k", 8)},
        "optimiser": {"name": "sphere_sgd", "elr": elr},
        "epochs": 60,
        "seed": seed,
        "start": start,
        **changes,
    }
    return Run(Spec.of(written, "test"), "pool", {"elr": elr, "seed": seed})


def packs_of(runs: list[Run], block: int = 64, wanted: dict[str, Wanted] | None = None):
    """The packs of these runs, which leave nothing behind unless it is said."""
    return cut(runs, {run.id: NOTHING for run in runs} | (wanted or {}), block)


def grid(seeds, elrs) -> list[Run]:
    """The product, in the order in which an experiment lists it."""
    return [run(seed, elr) for elr in elrs for seed in seeds]


def shape(packs) -> list[list[tuple[int, float]]]:
    """(seed, ELR) of the runs of each pack."""
    return [[(run.spec.seed, run.spec.optimiser["elr"]) for run in pack.runs] for pack in packs]


def names(packs) -> set[str]:
    return {pack.name for pack in packs}


def test_packs_are_cut_by_seed():
    packs = packs_of(grid([0, 1], [0.1, 0.2, 0.3]))
    assert shape(packs) == [[(0, 0.1), (0, 0.2), (0, 0.3)], [(1, 0.1), (1, 0.2), (1, 0.3)]]


def test_no_pack_is_larger_than_its_block():
    packs = packs_of(grid([0, 1], [0.1, 0.2, 0.3]), block=2)
    assert shape(packs) == [
        [(0, 0.1), (0, 0.2)],
        [(0, 0.3)],
        [(1, 0.1), (1, 0.2)],
        [(1, 0.3)],
    ]


def test_twenty_seeds_with_block_ten_and_one_value_make_two_packs():
    packs = packs_of(grid(range(20), [0.1]), block=10)
    assert [[seed for seed, _ in pack] for pack in shape(packs)] == [
        list(range(10)),
        list(range(10, 20)),
    ]


def test_a_pool_fills_its_packs_in_the_order_of_seeds_whatever_order_they_are_written_in():
    packs = packs_of(grid([5, 3, 9, 1], [0.1]), block=3)
    assert [[seed for seed, _ in pack] for pack in shape(packs)] == [[1, 3, 5], [9]]


def test_every_run_is_in_exactly_one_pack():
    runs = [*grid(range(7), [0.1, 0.2, 0.3]), run(0, 0.1, k=4), run(0, 0.1, epochs=5)]
    for block in (1, 2, 3, 64):
        packed = [run.id for pack in packs_of(runs, block) for run in pack.runs]
        assert sorted(packed) == sorted(run.id for run in runs)


def test_a_new_seed_makes_only_a_new_pack():
    before, after = packs_of(grid([0, 1], [0.1, 0.2])), packs_of(grid([0, 1, 2], [0.1, 0.2]))
    assert names(before) < names(after)
    assert shape([pack for pack in after if pack.name not in names(before)]) == [
        [(2, 0.1), (2, 0.2)]
    ]


def test_a_new_seed_of_a_pool_changes_only_its_last_pack_if_that_is_not_full():
    full, more = packs_of(grid(range(20), [0.1]), 10), packs_of(grid(range(21), [0.1]), 10)
    assert names(full) < names(more)
    part, more = packs_of(grid(range(15), [0.1]), 10), packs_of(grid(range(16), [0.1]), 10)
    assert part[0].name == more[0].name
    assert part[1].name != more[1].name


def test_a_new_value_changes_one_pack_a_seed_and_no_run():
    before, after = grid([0, 1], [0.1, 0.2]), grid([0, 1], [0.1, 0.15, 0.2])
    assert {run.id for run in before} < {run.id for run in after}
    assert len(packs_of(after)) == 2
    assert not names(packs_of(before)) & names(packs_of(after))


@pytest.mark.parametrize(
    "other",
    [
        {"data": "digits-9876543210"},
        {"k": 4},
        {"epochs": 30},
        {"model": {"name": "resnet18", "k": 8}},
    ],
    ids=str,
)
def test_runs_of_other_data_architecture_or_length_travel_apart(other):
    packs = packs_of([run(0, 0.1), run(0, 0.2, **other), run(0, 0.3)])
    assert [len(pack.runs) for pack in packs] == [2, 1]


def test_runs_that_go_on_and_runs_that_start_anew_travel_apart():
    point = {"run": "0" * 12, "point": {"epoch": 5}}
    runs = [run(0, 0.1, {**point, "take": "state"}), run(0, 0.2, {**point, "take": "weights"})]
    assert len(packs_of(runs)) == 2


def test_runs_of_which_something_else_is_wanted_travel_apart():
    runs = [run(0, 0.1), run(0, 0.2), run(0, 0.3)]
    more = Wanted(points=frozenset({'{"epoch":3}'}))
    packs = packs_of(runs, wanted={runs[1].id: more})
    assert sorted(len(pack.runs) for pack in packs) == [1, 2]
    assert {pack.wanted for pack in packs} == {NOTHING, more}


def test_a_name_depends_on_what_is_wanted():
    runs = [run(0, 0.1)]
    found = {
        packs_of(runs, wanted={runs[0].id: wanted})[0].name
        for wanted in (
            NOTHING,
            Wanted(points=frozenset({'{"epoch":3}'})),
            Wanted(points=frozenset({'{"epoch":3}'}), states=frozenset({'{"epoch":3}'})),
            Wanted(predictions=frozenset({"final|test"})),
            Wanted(records=frozenset({'{"every":{"epochs":1},"gradient":true,"name":"train"}'})),
        )
    }
    assert len(found) == 5


def test_a_name_starts_with_the_experiment_that_owns_the_runs():
    assert packs_of([run()])[0].name.startswith("pool-")


def test_a_name_does_not_depend_on_the_order_in_which_points_were_written():
    runs = [run()]
    both = ['{"epoch":1}', '{"epoch":2}', '{"epoch":33}']
    found = {
        packs_of(runs, wanted={runs[0].id: Wanted(points=frozenset(points))})[0].name
        for points in (both, both[::-1])
    }
    assert len(found) == 1


def test_parents_are_named_once():
    parent = run(0, 0.1)
    start = {"run": parent.id, "point": {"epoch": 5}, "take": "weights"}
    children = [
        Run(run(0, elr, start).spec, "child", {}, parent, '{"epoch":5}') for elr in (0.1, 0.2)
    ]
    (pack,) = packs_of(children)
    assert [run.id for run in pack.parents] == [parent.id]


def test_wanted_things_are_compared_as_sets():
    few = Wanted(points=frozenset({"a"}))
    many = Wanted(points=frozenset({"a", "b"}), predictions=frozenset({"final|test"}))
    assert few <= many
    assert not many <= few
    assert few | many == many


def test_wanted_things_survive_json():
    record = '{"every":{"epochs":1},"gradient":false,"name":"train","squared":false}'
    wanted = Wanted(frozenset({'{"epoch":1}'}), frozenset({record}), frozenset({"test"}))
    assert Wanted.from_json(wanted.as_json()) == wanted
    assert "states" not in wanted.as_json()  # as it was before there were any
    going_on = Wanted(wanted.points, wanted.records, wanted.predictions, wanted.points)
    assert Wanted.from_json(going_on.as_json()) == going_on
    assert wanted <= going_on and not going_on <= wanted


def test_at_every_scale_packs_hold_each_owned_run_once_and_respect_their_block(graph):
    for scale in ("smoke", "demo", "small", "paper"):
        made = graph(scale)
        packed = [run.id for pack in made.packs.values() for run in pack.runs]
        assert sorted(packed) == sorted(made.owned[0])
        for pack in made.packs.values():
            first = pack.runs[0]
            block = first.block or made.experiments[first.experiment].block or made.scale.block
            assert len(pack.runs) <= block
            assert len({run.experiment for run in pack.runs}) == 1
            assert len({run.spec.data for run in pack.runs}) == 1
            assert len({digest(dict(run.spec.model)) for run in pack.runs}) == 1
            assert len({tuple(run.spec.modules()) for run in pack.runs}) == 1


def test_no_pack_waits_for_a_pack_that_waits_for_it(graph):
    made = graph()
    waits = {name: set(made.packs_of(list(pack.parents))) for name, pack in made.packs.items()}
    done: set[str] = set()
    while len(done) < len(waits):
        ready = {name for name, parents in waits.items() if name not in done and parents <= done}
        assert ready, sorted(set(waits) - done)
        done |= ready


def test_a_figure_of_one_seed_trains_only_that_seed(graph):
    made = graph()
    runs = made.table("sample_lines").runs["runs"]
    packs = [made.packs[name] for name in made.packs_of(runs)]
    assert {run.spec.seed for pack in packs for run in pack.runs} == {0}
