"""The page of all keys and the schema that editors use know what the readers know. No torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest
import test_config_errors as errors
from conftest import ROOT, Project
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.reading import read_yaml
from refigure.graph.spec import Point, resolve_clock, resolve_point

sys.path.insert(0, str(ROOT / "docs"))
import draw_config

SCHEMA = json.loads(draw_config.SCHEMA.read_text(encoding="utf-8"))
FILES = [
    (name, path)
    for name, pattern in draw_config.KINDS_OF_FILES.items()
    for path in sorted((ROOT / "config").glob(pattern))
]


def validator(name: str) -> jsonschema.Draft7Validator:
    """Of one definition of the schema."""
    definitions = SCHEMA["definitions"]
    return jsonschema.Draft7Validator({**definitions[name], "definitions": definitions})


def wrong(root: Path) -> list[str]:
    """What the schema refuses of the files under a folder's `config/`."""
    return [
        f"{path.name}: {list(error.absolute_path)}: {error.message}"
        for name, pattern in draw_config.KINDS_OF_FILES.items()
        for path in sorted((root / "config").glob(pattern))
        for error in validator(name).iter_errors(read_yaml(path))
    ]


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda one: getattr(one, "name", one))
def test_every_key_of_a_file_is_known_to_the_schema(name, path):
    assert [error.message for error in validator(name).iter_errors(read_yaml(path))] == []


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda one: getattr(one, "name", one))
def test_a_file_names_its_part_of_the_schema_in_its_first_line(name, path):
    line = draw_config.first_line(name, path)
    assert path.read_text(encoding="utf-8").startswith(line), "run `python docs/draw_config.py`"


@pytest.fixture
def project(project: Project) -> Project:
    """As of the tests of error lines: their own experiments and the sample."""
    return errors.project.__wrapped__(project)


def test_the_schema_accepts_what_is_not_spoilt(project):
    assert wrong(project.root) == []


TYPOS = [
    name
    for name, (_, _, words) in errors.CASES.items()
    if any(part in word for word in words for part in ("unknown key", "has no key"))
    and "local" not in name
    and name not in ("an axis of another optimiser", "an unknown key of a source")
]
VALUES = [
    "a word that is none of a few",
    "an unknown model",
    "an unknown optimiser",
    "an unknown schedule",
    "an unknown recorder",
    "an unknown axis",
    "an unknown event",
    "something to take that there is not",
    "text where a list of values is wanted",
    "a list where keys are wanted",
    "an empty axis",
    "a value of an axis twice",
    "a point that is a number",
    "a point of no kind",
    "a clock of no unit",
    "a source of no kind",
    "figures that are a list",
    "a figure without a notebook's name",
    "a claim without a predicate",
    "resources of a scale that are text",
    "half an epoch",
    "epochs as text",
    "an unknown set of predictions",
]


@pytest.mark.parametrize("name", [*TYPOS, *VALUES])
def test_the_schema_refuses_what_the_readers_refuse(project, name):
    errors.CASES[name][0](project)
    assert wrong(project.root)


def test_the_schema_knows_many_typos():
    assert len(TYPOS) > 12


@pytest.mark.parametrize("section", draw_config.SECTIONS)
def test_every_key_has_a_meaning_and_an_example_that_the_schema_takes(section):
    for name, key in draw_config.SECTIONS[section][2].items():
        assert key.meaning.endswith("."), f"{section}.{name}"
        shown = draw_config.of_key(key, False, section)
        shown = {**shown, "definitions": {**draw_config.schema()["definitions"]}}
        if key.example is not None:
            jsonschema.validate(key.example, shown)


@pytest.mark.parametrize("kind", sorted(draw_config.NAMED))
def test_every_entry_of_the_catalogue_and_every_key_of_it_has_a_meaning(kind):
    for name, entry in CATALOGUE[kind].items():
        assert entry.meaning.endswith("."), f"{kind} {name}: Entry(module, keys, meaning)"
        for key, one in entry.written.items():
            assert getattr(one, "meaning", "").endswith("."), f"{kind} {name}.{key}: use Key(...)"


def test_the_examples_of_points_and_clocks_are_read():
    points = {name: key.example for name, (_, key) in draw_config.keys_of(Point).items()}
    whole = [{"epoch": "last"}, {"fraction": points["fraction"]}, {"average": points["average"]}]
    whole += [{"best": points["best"], "mode": points["mode"]}, {"event": points["event"]}]
    whole.append({"average": {"count": 5, "steps": 10, "to": "last"}})
    whole.append({"average": {"count": 5, "every": 2, "to": 100}})
    for point in whole:
        resolve_point(point, 300, "here")
        validator("point").validate(point)
    for clock in ({"epochs": 5}, {"steps": 100}, {"log": 8, "trailing": 10}):
        resolve_clock(clock, "here")
        validator("clock").validate(clock)
