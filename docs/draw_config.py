"""Write docs/reference/config.md and config/schema.json from the code that reads the configuration.

    python docs/draw_config.py

Both are made of what the readers themselves go by: the fields of the dataclasses that `read` fills,
and the entries of the catalogue. So a key that is read is on the page and known to editors.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from refigure.graph import config, experiments, numbers, publications, selections, spec
from refigure.graph.catalogue import CATALOGUE, NESTED
from refigure.graph.overrides import REPLACE
from refigure.graph.reading import (
    MISSING,
    NAME,
    Each,
    Hex,
    Items,
    Key,
    Kinds,
    Nullable,
    Number,
    OneOf,
    default_of,
    keys_of,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE, SCHEMA = ROOT / "docs/reference/config.md", ROOT / "config/schema.json"
KINDS_OF_FILES = {
    "config": "config.yaml",
    "scale": "scales/*.yaml",
    "family": "experiments/*.yaml",
    "paper": "papers/*.yaml",
}
"""Definition of the schema -> the files under `config/` that it is of."""


def _keys(kind: type) -> dict[str, Key]:
    return {name: one for name, (_, one) in keys_of(kind).items()}


SECTIONS: dict[str, tuple[str, str, dict[str, Key]]] = {
    "config": (
        "config.yaml and local.yaml",
        "`config/config.yaml` is committed; `config/local.yaml`, which is not, writes the same "
        "keys over it, but for `papers`.",
        _keys(config.ConfigFile),
    ),
    "scale": (
        "A scale",
        "`config/scales/<name>.yaml` says which data there are and how large the work is.",
        _keys(config.ScaleFile),
    ),
    "limits": ("Limits", "Under `limits` of a scale.", _keys(config.Limits)),
    "resources": (
        "Resources",
        "Under a rule in `resources` of a scale, and under `resources` of an experiment.",
        _keys(config.Resources),
    ),
    "family": (
        "A family of runs",
        "A file in `config/experiments/` may have any name.",
        _keys(config.FamilyFile),
    ),
    "experiment": (
        "An experiment",
        "Under its name in `experiments`: a named family of runs.",
        _keys(experiments.Experiment),
    ),
    "base": (
        "Base",
        "Under `base` of an experiment. What takes a name with keys may be written as the name "
        "alone; the names are listed below.",
        spec.KEYS,
    ),
    "head": ("Head", "Under `head` of a base.", _keys(spec.Head)),
    "stop": ("Stop", "Under `stop` of a base.", _keys(spec.Stop)),
    "case": (
        "A case",
        "A row of `cases`: its axes, as in a grid, and two keys that are no axes.",
        experiments.CASE_KEYS,
    ),
    "start": ("Start", "Under `start` of an experiment.", _keys(experiments.Start)),
    "point": (
        "A point",
        "Under its name in `points`. It is of one kind: `epoch`, `fraction`, `average`, `best` or "
        "`event`.",
        _keys(spec.Point),
    ),
    "average": ("Average", "Under `average` of a point.", _keys(spec.Average)),
    "clock": (
        "A clock",
        "Under `every` of a recorder; without it, every epoch. The start and the end are always "
        "measured.",
        _keys(spec.Clock),
    ),
    "predictions": (
        "Predictions",
        "Under `predictions` of an experiment; a list alone are `sets`.",
        _keys(experiments.Kept),
    ),
    "probe": (
        "A probe",
        "Under its name in `probes`: a measurement of trained networks.",
        _keys(selections.ProbeKeys),
    ),
    "selection": (
        "A selection",
        "In `of` of a probe, and in `runs` and `grid` of a table. The name of an experiment alone "
        "selects all of its runs.",
        _keys(selections.SelectionKeys),
    ),
    "table": (
        "A table",
        "Under its name in `tables`. The columns are in [columns.md](../columns.md).",
        _keys(selections.TableKeys),
    ),
    "paper": ("A paper", "`config/papers/<slug>.yaml`.", _keys(config.PaperFile)),
    "figure": ("A figure", "Under its name in `figures` of a paper.", _keys(publications.Figure)),
    "claim": ("A claim", "Under its name in `claims` of a paper.", _keys(publications.Claim)),
    "published": ("Published", "Under `published` of a claim.", _keys(publications.Published)),
    "number": (
        "A published number",
        "Under its name in `published` of a figure: one number, a row, or a line of several.",
        _keys(numbers.Number),
    ),
    "number_table": (
        "Published numbers in a file",
        "Under its name in `published_tables` of a figure.",
        _keys(numbers.NumberTable),
    ),
    "download": (
        "A file of a download",
        "Under its name in `files` of a source.",
        config.DOWNLOAD_KEYS,
    ),
    **{name: (name, f"Under `{name}` of a recipe.", keys) for name, keys in NESTED.items()},
}
"""Name of what is inside another -> title, where it stands, and its keys."""
NAMED = {
    "model": "Models",
    "task": "Tasks",
    "optimiser": "Optimisers",
    "schedule": "Schedules",
    "augment": "Augmentations",
    "init": "Initialisations",
    "start": "What a start takes",
    "record": "Recorders",
    "event": "Events",
    "recipe": "Recipes of data",
}
"""Kind of the catalogue -> title. What is kept of a run is written as points and predictions."""
CHECKED = ("experiment", "probe", "table", "figure", "claim", "source")
"""What becomes the name of a file, and so may hold few characters only."""
CLASSES = {"experiment", "probe", "table", "selection"}
"""Whose entries scales may override."""
REQUIRED = {
    "config",
    "figure",
    "claim",
    "published",
    "number",
    "number_table",
    "download",
    *NESTED,
}
"""Where a key without a default must be written in this very mapping: no scale or axis adds it."""

# ---------------------------------------------------------------- the page

HEAD = """# Configuration

Every key of every file under `config/`, with its type, default, meaning and an example. This page
is written by `python docs/draw_config.py` from the code that reads the files, and a test compares
the two.

Editors that know the YAML language server complete and check the files as you type, by
`config/schema.json`: each file names it in its first line, and `config/local.yaml` may do so too:

```yaml
# yaml-language-server: $schema=schema.json#/definitions/config
```
"""


def type_of(shape: Any) -> str:
    """A key's type in words."""
    if isinstance(shape, OneOf):
        return " or ".join(f"`{_yaml(word)}`" for word in shape.words)
    if isinstance(shape, Nullable):
        return f"{type_of(shape.kind)}, or null"
    if isinstance(shape, Kinds):
        return type_of(shape.types)
    if isinstance(shape, tuple):
        return " or ".join(type_of(one) for one in shape)
    if isinstance(shape, Number):
        return f"{type_of(shape.kind)} {shape.bounds}"
    if isinstance(shape, Hex):
        return f"{shape.digits} hexadecimal digits"
    kind = shape if isinstance(shape, type) else type(shape)
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return {**names, list: "list", dict: "keys and values"}[kind]


def _yaml(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    for mark in '"':
        text = text.replace(mark, "")
    return text


def written(name: str, value: Any) -> str:
    """A key with a value, as YAML writes it in one line."""
    import yaml

    class Plain(yaml.SafeDumper):
        pass

    text = yaml.dump(
        {name: value}, Dumper=Plain, default_flow_style=True, sort_keys=False, width=10**6
    )
    return text.strip()[1:-1]


def line(name: str, one: Key) -> str:
    """The entry of one key."""
    default = default_of(one.shape)
    told = "required" if default is MISSING else f"default `{written('x', default)[3:]}`"
    if isinstance(one.shape, OneOf):
        told = f"default `{_yaml(default)}`"
    text = f"- **`{name}`** ({type_of(one.shape)}; {told}): {one.meaning}"
    if one.example is not None:
        text += f" For example `{written(name, one.example)}`."
    return "\n".join(
        textwrap.wrap(
            text, 118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    )


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name, (title, where, keys) in SECTIONS.items():
        level = "##" if name in (*CLASSES, *KINDS_OF_FILES, "figure", "claim") else "###"
        lines += [f"{level} {title}", "", *textwrap.wrap(where, 118), ""]
        lines += [*(line(key, one) for key, one in keys.items()), ""]
    lines += ["## Kinds of sources", "", "Under its name in `sources`, by `kind`.", ""]
    for kind, (meaning, keys) in config.SOURCES.items():
        lines += [f"### Source `{kind}`", "", meaning, ""]
        lines += [*(line(key, one) for key, one in keys.items()), *([""] if keys else [])]
    for kind, title in NAMED.items():
        lines += [f"## {title}", ""]
        for name, entry in CATALOGUE[kind].items():
            if (kind, name) == ("start", "initial"):
                continue
            later = "" if entry.there() else " Its code is not there yet."
            lines += [f"### {kind.capitalize()} `{name}`", ""]
            lines += [*textwrap.wrap(entry.meaning + later, 118), ""]
            lines += [line(key, one) for key, one in entry.written.items()]
            lines += [""] if entry.written else []
    return "\n".join(lines).rstrip() + "\n"


# ---------------------------------------------------------------- the schema

TYPES = {
    int: "integer",
    float: "number",
    str: "string",
    bool: "boolean",
    list: "array",
    dict: "object",
}
AXIS = {
    "anyOf": [
        {"enum": list(spec.AXES)},
        {"pattern": r"^(model|task|optimiser|schedule|init|augment|head|stop|start)\.\w+$"},
    ]
}
OVER = "_over"  # of definitions: what a scale writes over the thing, where any key may be left out


def ref(name: str, over: bool) -> dict[str, Any]:
    """A reference to a definition."""
    return {"$ref": f"#/definitions/{name}{OVER if over else ''}"}


def of_shape(shape: Any) -> dict[str, Any]:
    """What values a shape takes."""
    if isinstance(shape, OneOf):
        return {"enum": list(shape.words)}
    if isinstance(shape, Nullable):
        found = of_shape(shape.kind)
        types = found["type"] if isinstance(found["type"], list) else [found["type"]]
        return {**found, "type": [*types, "null"]}
    if isinstance(shape, Number):
        bounds = {
            "minimum": shape.least,
            "maximum": shape.most,
            "exclusiveMinimum": shape.above,
        }
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        return {"type": TYPES[shape.kind], **given}
    if isinstance(shape, Hex):
        return {"type": "string", "pattern": f"^[0-9a-fA-F]{{{shape.digits}}}$"}
    if isinstance(shape, Kinds):
        return of_shape(shape.types)
    if isinstance(shape, tuple):
        return {"type": [TYPES[one] for one in shape]}
    return {"type": TYPES[shape if isinstance(shape, type) else type(shape)]}


def of_inside(inside: Any, over: bool, owner: str) -> dict[str, Any]:
    """What stands inside a mapping or a list."""
    if isinstance(inside, Each):
        found = of_inside(inside.inside, over, owner)
        if inside.inside in ("recipe", "source"):
            found = {"anyOf": [found, {"type": "null"}]}
        named = {"type": "object", "additionalProperties": found}
        if inside.inside in CHECKED:
            named["propertyNames"] = {"pattern": f"^{NAME}$"}
        if over:
            named["properties"] = {REPLACE: {"type": "boolean"}}
        return named
    if isinstance(inside, Items):
        return {"type": "array", "items": of_inside(inside.inside, over, owner)}
    if inside == "override":
        return ref(f"{owner}_override", False)
    return ref(inside, over) if isinstance(inside, str) else of_shape(inside)


def of_key(one: Key, over: bool, owner: str) -> dict[str, Any]:
    """The schema of one key, with what editors show of it."""
    found = of_shape(one.shape)
    if one.inside is not None:
        inner = of_inside(one.inside, over, owner)
        types = found["type"] if isinstance(found["type"], list) else [found["type"]]
        plain = [name for name in types if name not in ("object", "array")]
        if isinstance(one.inside, str) and one.inside in (*NAMED, "predictions", "table_runs"):
            plain = [name for name in plain if name == "null"]  # they take a text or list too
        found = {"anyOf": [inner, {"type": plain}]} if plain else inner
    if over:
        found = {"anyOf": [found, {"type": "null"}]}
    default = default_of(one.shape)
    about: dict[str, Any] = {"description": one.meaning}
    if default is not MISSING and default is not None:
        about["default"] = default
    if one.example is not None:
        about["examples"] = [one.example]
    return {**(found if "$ref" not in found else {"allOf": [found]}), **about}


def mapping(name: str, over: bool) -> dict[str, Any]:
    """The definition of a section."""
    title, _, keys = SECTIONS[name]
    properties = {key: of_key(one, over, name) for key, one in keys.items()}
    found: dict[str, Any] = {"type": "object", "title": title, "properties": properties}
    found["additionalProperties"] = False
    if name == "case":
        del found["additionalProperties"]
        found["propertyNames"] = {"anyOf": [*AXIS["anyOf"], {"enum": list(keys)}]}
    if name == "point":
        properties["event"]["enum"] = [*CATALOGUE["event"], None]
        for entry in CATALOGUE["event"].values():
            for key, one in entry.written.items():
                properties.setdefault(key, of_key(one, over, name))
    if over:
        properties[REPLACE] = {"type": "boolean"}
    elif name in REQUIRED:
        found["required"] = [key for key, one in keys.items() if default_of(one.shape) is MISSING]
        if name == "config":
            found.pop("required")  # local.yaml writes what it likes
    return found


def named(kind: str, over: bool) -> dict[str, Any]:
    """A name of the catalogue, or a name with the keys of its entry."""
    entries = {n: e for n, e in CATALOGUE[kind].items() if (kind, n) != ("start", "initial")}
    more = [REPLACE] if over else []
    known = {key for entry in entries.values() for key in entry.written}
    rules = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {
                "propertyNames": {"enum": ["name", *entry.written, *more]},
                "properties": {k: of_key(one, over, kind) for k, one in entry.written.items()},
            },
        }
        for name, entry in entries.items()
    ]
    one = {
        "type": "object",
        "properties": {"name": {"enum": list(entries)}},
        "propertyNames": {"enum": ["name", *sorted(known), *more]},
        "allOf": rules,
    }
    return {"anyOf": [{"enum": list(entries)}, one]}


def recorders(over: bool) -> dict[str, Any]:
    """The recorders of an experiment, each with its keys and clock."""
    every = Key({"epochs": 1}, "When it measures; see a clock.", {"log": 8}, "clock")
    found = {}
    for name, entry in CATALOGUE["record"].items():
        keys = {**entry.written, "every": every}
        found[name] = {
            "type": ["object", "null"],
            "description": entry.meaning,
            "properties": {key: of_key(one, over, "record") for key, one in keys.items()}
            | ({REPLACE: {"type": "boolean"}} if over else {}),
            "additionalProperties": False,
        }
    more = {REPLACE: {"type": "boolean"}} if over else {}
    return {"type": "object", "properties": found | more, "additionalProperties": False}


def sources() -> dict[str, Any]:
    """A source by its kind; `{images: PATH}` is short for one."""
    rules: list[dict[str, Any]] = []
    for kind, (_, keys) in config.SOURCES.items():
        properties = {key: of_key(one, False, "source") for key, one in keys.items()}
        rules.append(
            {
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {
                    "properties": properties,
                    "propertyNames": {"enum": ["kind", *keys]},
                },
            }
        )
        if kind in config.FILES:
            short = {key: one for key, one in properties.items() if key != "path"}
            rules.append(
                {
                    "if": {"required": [kind]},
                    "then": {
                        "properties": {kind: properties["path"], **short},
                        "propertyNames": {"enum": [kind, *short]},
                    },
                }
            )
    either = [{"required": [key]} for key in ("kind", *config.FILES)]
    kinds = {"properties": {"kind": {"enum": list(config.SOURCES)}}}
    return {"type": "object", **kinds, "anyOf": either, "allOf": rules}


def override(name: str) -> dict[str, Any]:
    """What a scale writes over an entry: its keys, or paths of keys with dots between."""
    keys = dict(SECTIONS[name][2])
    if name == "experiment":
        keys = {**spec.KEYS, **keys}
    found = mapping(name, True)
    found["properties"] = {key: of_key(one, True, name) for key, one in keys.items()}
    del found["properties"]["scales"]
    found["title"] = f"Override of {SECTIONS[name][0].lower()}"
    paths: dict[str, Any] = {}
    for key, one in keys.items():
        if one.inside in CATALOGUE and key in spec.KEYS:
            inner: dict[str, list] = {"name": [{"enum": list(CATALOGUE[one.inside])}]}
            for entry in CATALOGUE[one.inside].values():
                for sub, its in entry.written.items():
                    inner.setdefault(sub, []).append(of_key(its, True, name))
            for sub, shapes in inner.items():
                paths[rf"^(base\.)?{key}\.{sub}$"] = {"anyOf": shapes}
        elif isinstance(one.inside, str) and one.inside in SECTIONS:
            for sub, its in SECTIONS[one.inside][2].items():
                lead = r"(base\.)?" if key in spec.KEYS else ""
                if key == "base":
                    paths[rf"^base\.{sub}$"] = of_key(its, True, name)
                else:
                    paths[rf"^{lead}{key}\.{sub}(\..+)?$"] = {}
    if name == "experiment":
        paths |= {
            r"^grid\.[^.]+(\..+)?$": {"type": "array", "minItems": 1},
            r"^points\.[^.]+$": ref("point", True),
            rf"^points\.[^.]+\.({'|'.join(SECTIONS['point'][2])})(\..+)?$": {},
            r"^labels\..+$": {},
        }
        for recorder, entry in CATALOGUE["record"].items():
            inner_keys = "|".join([*entry.written, r"every(\.\w+)?"])
            paths[rf"^record\.{recorder}(\.({inner_keys}))?$"] = {}
    else:
        paths[r"^(of|where|carry|runs|grid|tables|probes|data|options|arrays)\..+$"] = {}
    found["patternProperties"] = paths
    found.pop("required", None)
    return found


def special(over: bool) -> dict[str, dict[str, Any]]:
    """Definitions that are no mapping of fixed keys."""
    one = {"anyOf": [{"type": "string"}, ref("selection", over)]}
    several = {"anyOf": [*one["anyOf"], {"type": "array", "items": one}]}
    roles = {"type": "object", "additionalProperties": several}
    pointed = mapping("selection", over)
    pointed["properties"] = {
        **pointed["properties"],
        "points": {"type": "array", "items": {"type": "string"}},
    }
    del pointed["properties"]["point"]
    if over:
        extra = {REPLACE: {"type": "boolean"}}
        roles = {**roles, "properties": extra}
        of = {"anyOf": [pointed, roles]}
        runs = {"anyOf": [several, roles]}
    else:
        of = {"if": {"required": ["points"]}, "then": pointed, "else": roles}
        runs = {
            "if": {"type": "object", "not": {"required": ["from"]}},
            "then": roles,
            "else": several,
        }
    values = {"type": "array", "minItems": 1, "uniqueItems": True}
    grid: dict[str, Any] = {"type": "object", "additionalProperties": values}
    grid["propertyNames"] = AXIS
    if over:
        grid["properties"] = {REPLACE: {"type": "boolean"}}
        grid["propertyNames"] = {"anyOf": [*AXIS["anyOf"], {"const": REPLACE}]}
    sets = {"type": "array", "items": {"enum": list(experiments.SETS)}}
    return {
        "roles": of,
        "table_runs": runs,
        "grid": grid,
        "predictions": {"anyOf": [sets, mapping("predictions", over)]},
        "record": recorders(over),
    }


def schema() -> dict[str, Any]:
    """The whole schema, with a definition for each kind of file."""
    definitions: dict[str, Any] = {}
    for over in (False, True):
        end = OVER if over else ""
        definitions |= {f"{name}{end}": mapping(name, over) for name in SECTIONS}
        definitions |= {
            f"{kind}{end}": named(kind, over) for kind in NAMED if kind not in ("start", "record")
        }
        definitions |= {f"{name}{end}": one for name, one in special(over).items()}
    definitions["source"] = sources()
    definitions |= {f"{name}_override": override(name) for name in sorted(CLASSES)}
    used = _used(definitions, [*KINDS_OF_FILES])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Refigure's configuration",
        "description": "Written by `python docs/draw_config.py`. A file names its part of it in its"
        " first line, as # yaml-language-server: $schema=../schema.json#/definitions/family",
        "anyOf": [ref(name, False) for name in KINDS_OF_FILES],
        "definitions": {name: definitions[name] for name in sorted(used)},
    }


def _used(definitions: dict[str, Any], names: list[str]) -> set[str]:
    found: set[str] = set()
    while names:
        name = names.pop()
        if name not in found:
            found.add(name)
            text = json.dumps(definitions[name])
            names += [part.split('"')[0] for part in text.split("#/definitions/")[1:]]
    return found


def schema_text() -> str:
    """The schema as its file holds it, a definition a line."""
    found = schema()
    lines = [
        f"  {json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}"
        for name, one in found.pop("definitions").items()
    ]
    head = json.dumps(found, indent=1, ensure_ascii=False).removesuffix("\n}")
    return f'{head},\n "definitions": {{\n' + ",\n".join(lines) + "\n }\n}\n"


def first_line(name: str, path: Path) -> str:
    """The line by which a file names its part of the schema."""
    up = "../" * (len(path.relative_to(SCHEMA.parent).parts) - 1)
    return f"# yaml-language-server: $schema={up}{SCHEMA.name}#/definitions/{name}\n"


def name_schema() -> None:
    """Give each file its first line, where it lacks it."""
    for name, pattern in KINDS_OF_FILES.items():
        for path in sorted(SCHEMA.parent.glob(pattern)):
            text, line = path.read_text(encoding="utf-8"), first_line(name, path)
            if not text.startswith(line):
                path.write_text(line + text, encoding="utf-8")


if __name__ == "__main__":
    name_schema()
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)} and {SCHEMA.relative_to(ROOT)}")
