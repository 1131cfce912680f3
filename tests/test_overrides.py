"""What a scale writes over an entry of the configuration is merged key by key. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from refigure.errors import UserError
from refigure.graph.config import Config
from refigure.graph.experiments import TOP
from refigure.graph.overrides import at_scale, merged
from refigure.graph.reading import read_yaml

SCALES = ["smoke", "demo", "small", "small8", "shakespeare", "paper"]
CLOCKED = {"record": {"test": {"every": {"epochs": 1}, "recomputed": True}}}


def over(written: dict, override: dict) -> dict:
    """An experiment with one scale's override."""
    return at_scale({**written, "scales": {"demo": override}}, ["demo"], "f: x", "base", TOP)


@pytest.mark.parametrize(
    "override",
    [
        {"record.test": {"every": {"epochs": 9}}},
        {"record": {"test": {"every": {"epochs": 9}}}},
        {"record.test.every.epochs": 9},
    ],
)
def test_a_new_clock_keeps_what_else_the_recorder_was_told(override):
    found = over(CLOCKED, override)
    assert found["record"]["test"] == {"every": {"epochs": 9}, "recomputed": True}
    assert CLOCKED["record"]["test"]["every"] == {"epochs": 1}  # what was written stays


@pytest.mark.parametrize(
    ("base", "override", "expected"),
    [
        ({"a": 1, "b": {"c": 2}}, {"b": {"d": 3}}, {"a": 1, "b": {"c": 2, "d": 3}}),
        ({"a": 1, "b": 2}, {"replace": True, "b": 3}, {"b": 3}),
        ({"a": 1}, {"replace": True}, {}),
        ({"name": "x", "a": 1}, {"name": "y"}, {"name": "y"}),  # another thing, other keys
        ({"name": "x", "a": 1}, {"name": "x", "b": 2}, {"name": "x", "a": 1, "b": 2}),
        ({"epoch": 4}, {"average": {"count": 2}}, {"average": {"count": 2}}),
        ({"log": 4, "trailing": 2}, {"epochs": 5}, {"epochs": 5}),
        ({"log": 4, "trailing": 2}, {"log": 5}, {"log": 5, "trailing": 2}),
        ("x", {"name": "x", "b": 2}, {"name": "x", "b": 2}),
        ({"a": 1}, None, None),
        ([1, 2], [3], [3]),
    ],
)
def test_a_mapping_is_merged_unless_it_says_that_it_replaces(base, override, expected):
    assert merged(base, override, "here") == expected


def test_replace_is_true_or_false():
    with pytest.raises(UserError, match=r"here\.replace must be true or false, got 'yes'"):
        merged({}, {"replace": "yes"}, "here")


def test_a_selection_in_an_override_keeps_overrides_of_its_own():
    own = {"demo": {"where": {"replace": True}}}
    found = over({"of": {"from": "a"}}, {"of": {"from": "b", "scales": own}})
    assert found["base"]["of"] == {"from": "b", "scales": own}


def test_a_scale_that_extends_another_changes_one_key_of_its_data(project):
    project.write("scales/mine.yaml", "extends: small\ndata: {images10: {pool: 8}}\n")
    mine, small = (project.graph(name).scale.data["images10"] for name in ("mine", "small"))
    assert mine == {**small, "pool": 8}


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths to everything in a mapping that holds no keys itself."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


def replaced(override: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths below which an override says that nothing of the base stays."""
    if not isinstance(override, Mapping):
        yield path  # a value in its place
    elif override.get("replace") or "name" in override or {"average", "epoch"} & set(override):
        yield path
    else:
        for key, inner in override.items():
            yield from replaced(inner, (*path, key))


@pytest.mark.parametrize("scale", SCALES)
def test_no_scale_loses_a_key_of_its_base_unseen(scale, committed: Path):
    chain = Config(committed).scale(scale).chain
    for file in sorted((committed / "config/experiments").glob("*.yaml")):
        for kind, entries in read_yaml(file).items():
            top = ("base", TOP) if kind == "experiments" else ("", ())
            for name, written in entries.items():
                found = set(leaves(at_scale(written, chain, name, *top)))
                said = set()
                for one in chain:
                    for path, value in ((written.get("scales") or {}).get(one) or {}).items():
                        first = path.split(".")
                        if kind == "experiments" and first[0] not in TOP:
                            first = ["base", *first]
                        said |= set(replaced(value, tuple(first)))
                base = {key: value for key, value in written.items() if key != "scales"}
                for path in leaves(base):
                    kept = any(other[: len(path)] == path for other in found)
                    told = any(path[: len(start)] == start for start in said)
                    assert kept or told, f"{file.name}: {name} at {scale}: {'.'.join(path)} is lost"


def test_data_that_a_scale_replaces_are_absent_and_not_unknown(projects):
    """A user's scale names what stands in for the papers' data, and nothing else is asked for."""
    project = projects()
    project.write("scales/mine.yaml", "extends: demo\ndata: {replace: true, images10: null}\n")
    graph = project.graph("mine")
    assert set(graph.scale.data) == set(project.graph("demo").scale.data)
    assert set(graph.scale.data.values()) == {None}
    assert not graph.owned[0]
