"""The files of a pack: what they hold of an optimiser, and who may read them."""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict

import pytest
import torch
from engine import (
    about,
    graph_of,
    job,
    packs,
    point,
    prepared,
    project,
    sgd,
    spec,
    tensors,
    trained,
    training,
)
from refigure.files import whole, write_text
from refigure.graph.spec import canonical
from refigure.training.points import Points


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with its data."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


# ------------------------------------------------------------------ the optimiser's state


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_a_point_holds_an_optimisers_state_where_some_run_goes_on_from_it(graph, scale):
    """Of all papers: each start with `take: state` finds its state, and no other state is kept."""
    made = graph(scale)
    taken = defaultdict(set)
    for name in made.experiments:
        for run in made.runs(name):
            if run.spec.take == "state":
                taken[run.parent.id].add(run.point)
    assert taken
    kept = {run: wanted.states for run, wanted in made.owned[1].items() if wanted.states}
    assert kept == taken
    points = {run: wanted.points for run, wanted in made.owned[1].items()}
    assert all(states <= points[run] for run, states in kept.items())
    assert {run.id: pack.wanted.states for pack in made.packs.values() for run in pack.runs} == {
        run: wanted.states for run, wanted in made.owned[1].items()
    }
    if scale == "paper":
        every = sum(
            bool(json.loads(text).keys() & {"epoch", "event"})
            for texts in points.values()
            for text in texts
        )
        assert sum(map(len, kept.values())) < 0.05 * every


def test_a_pack_holds_the_states_that_are_wanted_and_no_other(shop):
    [folder] = trained(shop, "momentum")
    [pack] = packs(shop, "momentum")
    [run, *_] = about(folder)
    end = shop.experiments["momentum"].point_of("end", 6)
    assert pack.wanted.states == {canonical(end)}
    assert "optimiser/momentum" in point(folder, run, end)
    held = {
        name.split("|")[1] for name in tensors(folder / "points.safetensors") if "optim" in name
    }
    assert held == {canonical(end)}
    others = [json.loads(text) for text in pack.wanted.points - pack.wanted.states]
    assert [one for one in others if "epoch" in one]
    for one in others:
        found = point(folder, run, one)
        assert found and not any(name.startswith("optimiser/") for name in found)


def test_what_is_kept_of_the_optimiser_moves_no_weight():
    specs = [spec(optimiser=sgd(lr, momentum=0.9), epochs=4) for lr in (0.01, 0.02)]
    wanted = [
        {"epoch": 2},
        {"epoch": 4},
        {"best": "test_loss", "mode": "min"},
        {"average": {"count": 2, "every": 1, "from": 3}},
        {"event": "jump", "jump": 1.01, "floor": 50.0, "index": 1, "offset": -1},
    ]
    texts = [canonical(one) for one in wanted]
    found = []
    for states in ([], texts[:2], [texts[-1]]):
        made = training(specs, wanted)
        made.points = Points(texts, frozenset(states))
        end = made.run()
        found.append((made.stack.flat.clone(), end.points))
        for key, snapshot in end.points.items():
            assert bool(snapshot.optimiser) == (key in states), key
    [(flat, points), *others] = found
    assert set(texts[:4]) <= set(points)
    for other, those in others:
        assert torch.equal(flat, other) and those.keys() == points.keys()
        for key, snapshot in points.items():
            assert torch.equal(snapshot.flat, those[key].flat), key
            assert torch.equal(snapshot.epoch, those[key].epoch), key


# ------------------------------------------------------------------ who may read them


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request):
    """A umask for the time of a test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_every_file_of_a_pack_follows_the_umask(shop, tmp_path, umask):
    [pack] = packs(shop, "momentum")
    made = job(shop, pack, tmp_path / "out", interval_s=0.0)
    seen = set()
    save = made.clock.save

    def look(path, *rest):
        save(path, *rest)
        seen.add(mode(path))

    made.clock.save = look
    made.run()
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".parquet", ".json"}
    assert {path.name: oct(mode(path)) for path in files} == {
        path.name: oct(0o666 & ~umask) for path in files
    }
    assert seen == {0o666 & ~umask}  # training states too


def test_what_is_replaced_follows_the_umask_of_now(tmp_path, umask):
    path = tmp_path / "note.txt"
    path.touch(0o600)
    path.chmod(0o600)
    write_text("a", path)
    assert mode(path) == 0o666 & ~umask
    with whole(path) as temporary:  # as a library that replaces the file by its own
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert mode(path) == 0o666 & ~umask
