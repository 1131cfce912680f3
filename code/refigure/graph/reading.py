"""Reading YAML and taking its keys one by one, so that a typo is one line naming key and file."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from refigure.errors import UserError

MISSING = object()
"""Where a value would stand that there is not."""
Read = TypeVar("Read")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """The safe loader, which also refuses a key written twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    written = [loader.construct_object(key) for key, _ in node.value if key.value != "<<"]
    for key in written:
        if not isinstance(key, str):
            line = node.start_mark.line + 1
            raise UserError(f"{node.start_mark.name}: key {key!r} is no text (line {line})")
        if written.count(key) > 1:
            line = node.start_mark.line + 1
            raise UserError(
                f"{node.start_mark.name}: key '{key}' is written twice"
                f" (in the keys from line {line})"
            )
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing, is not YAML, holds no mapping, or writes a key twice.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{path}: not YAML: {problem}{place}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, got {type(content).__name__}")
    return content


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when one of the known words is near, else the list of them."""
    known = sorted(known)
    near = difflib.get_close_matches(str(word), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    if len(known) > 12:
        known = [*known[:10], f"and {len(known) - 10} more"]
    return f"; known: {', '.join(known)}" if known else ""


NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""What sources, scales, experiments, probes, tables, papers, figures and claims may be called. The
rules find their files by it."""


def check_name(name: str, where: str) -> None:
    """Refuse a name that no file of the rules may have, with the nearest one that may.

    Raises:
        UserError: `where` begins the line.
    """
    if re.fullmatch(NAME, name):
        return
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii")
    near = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain.strip()).lstrip(".-")
    hint = f"; call it '{near}'" if near else ""
    raise UserError(f"{where}: name {name!r} may hold letters, digits, '_', '-' and '.' only{hint}")


def number(value: Any, where: str) -> float:
    """`value` as a float, refusing text: YAML reads 1e-3 as text, 1.0e-3 as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        hint = ""
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                hint = f" (YAML reads it as text; write {_as_yaml(float(value))})"
        raise UserError(f"{where} must be a number, got {value!r}{hint}")
    if not math.isfinite(value):
        raise UserError(f"{where} must be finite, got {value!r}")
    return float(value)


def _as_yaml(value: float) -> str:
    # YAML 1.1 takes 1e-05 for text: it wants a point in the mantissa.
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa + ("" if "." in mantissa or not e else ".0") + e + exponent


def typed(value: Any, kind: type, where: str) -> Any:
    """`value` if it is of that kind; an int is taken where a float is asked for."""
    if kind is float:
        return number(value, where)
    if kind is int:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str):
            number(value, where)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{where} must be {_KINDS.get(kind, kind.__name__)}, got {value!r}")
    return value


_KINDS = {
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    dict: "keys and values",
    list: "a list",
}


@dataclass(frozen=True)
class OneOf:
    """A key that takes one of a few values; the first is its default."""

    words: tuple[Any, ...]


@dataclass(frozen=True)
class Nullable:
    """A key that may be null, which is its default where none other is given.

    Args:
        kind: a type, or several.
    """

    kind: type | tuple[type, ...]
    default: Any = None


@dataclass(frozen=True)
class Kinds:
    """A key that takes values of several types, and its default."""

    types: tuple[type, ...]
    default: Any


@dataclass(frozen=True)
class Key:
    """What may be written under one key, what it means, and an example.

    Readers take the value by the shape. The page of all keys and the schema that editors use are
    made of the rest (`docs/draw_config.py`).

    Args:
        shape: a type, or several, where there is no default; the default itself, whose type is
            asked for; or `OneOf`, `Nullable`, `Kinds`.
        meaning: one sentence.
        example: a value.
        inside: what a mapping or list holds: a section of the page, `Each` or `Items` of one.
        name: of the key, where a field cannot have it.
        parse: (value, place) -> the field's value.
    """

    shape: Any
    meaning: str
    example: Any = None
    inside: Any = None
    name: str | None = None
    parse: Callable[[Any, str], Any] | None = None

    def take(self, keys: Keys, name: str) -> Any:
        """Its value among some keys; the default, or an error, where it is not written."""
        shape, place = self.shape, f"{keys.where}.{name}"
        if isinstance(shape, OneOf):
            value = one_of(shape, keys.take(name, object, shape.words[0]), place)
        elif isinstance(shape, Nullable):
            written = keys.mapping.get(name) is not None
            value = keys.take(name, shape.kind if written else object, shape.default)
        elif isinstance(shape, Kinds):
            value = keys.take(name, shape.types, copy(shape.default))
        elif isinstance(shape, (type, tuple)):
            value = keys.take(name, shape)
        else:
            value = keys.take(name, type(shape), copy(shape))
        return self.parse(value, place) if self.parse else value


@dataclass(frozen=True)
class Each:
    """Inside a mapping: any names, each of one thing.

    Args:
        inside: a section of the page, a type, or another of these.
        name: what the names are.
    """

    inside: Any
    name: str


@dataclass(frozen=True)
class Items:
    """Inside a list: each of one thing."""

    inside: Any


def keyed(
    shape: Any, meaning: str = "", example: Any = None, inside: Any = None, **more: Any
) -> Any:
    """The field of a dataclass that `read` fills: of a `Key`, or of its arguments."""
    told = shape if isinstance(shape, Key) else Key(shape, meaning, example, inside, **more)
    return field(metadata={"key": told})


@cache
def keys_of(kind: type) -> dict[str, tuple[str, Key]]:
    """The keys of a dataclass: name -> field and `Key`; fields of other makers are left out."""
    found = {one.name: one.metadata["key"] for one in fields(kind) if "key" in one.metadata}
    return {key.name or name: (name, key) for name, key in found.items()}


def read(kind: type[Read], mapping: Any, where: str, **given: Any) -> Read:
    """A dataclass from a mapping, its fields by their `keyed`.

    Args:
        kind: of the dataclass.
        where: begins the line of a mistake: file and entry.
        given: the fields that the mapping does not write.

    Raises:
        UserError: an unknown or missing key, or a value of another type.
    """
    keys = Keys(mapping, where)
    values = {field: key.take(keys, name) for name, (field, key) in keys_of(kind).items()}
    keys.done()
    return kind(**values, **given)


def read_written(kind: type, mapping: Any, where: str, but: Iterable[str] = ()) -> dict[str, Any]:
    """The values of those keys of a dataclass that a mapping writes: no defaults.

    Args:
        but: keys that may not be written here.

    Raises:
        UserError: an unknown key, or a value of another type.
    """
    keys = Keys(mapping, where)
    known = {name: key for name, (_, key) in keys_of(kind).items() if name not in but}
    found = {name: key.take(keys, name) for name, key in known.items() if name in keys.mapping}
    keys.taken = list(known)
    keys.done()
    return found


def one_of(shape: OneOf, written: Any, where: str) -> Any:
    """A value, if it is one of those that a key takes."""
    if written not in shape.words or isinstance(written, bool):
        known = map(str, shape.words)
        raise UserError(f"{where}: unknown value '{written}'{suggest(str(written), known)}")
    return written


def default_of(shape: Any) -> Any:
    """The default that a shape states, or `MISSING`."""
    if isinstance(shape, OneOf):
        return shape.words[0]
    if isinstance(shape, (Nullable, Kinds)):
        return shape.default
    return MISSING if isinstance(shape, (type, tuple)) else shape


class Keys:
    """The keys of one mapping, taken one by one; `done` refuses what nobody took."""

    def __init__(self, mapping: Any, where: str):
        if mapping is None:
            mapping = {}
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where} must be keys and values, got {mapping!r}")
        self.mapping, self.where, self.taken = mapping, where, []

    def take(self, key: str, kind: type | tuple = object, default: Any = MISSING) -> Any:
        """The value of `key`, of that kind; the default (or an error) where it is not written."""
        self.taken.append(key)
        if key not in self.mapping:
            if default is MISSING:
                raise UserError(f"{self.where}: key '{key}' is missing")
            return default
        value = self.mapping[key]
        if value is None and default is None:
            return None
        if kind is object:
            return value
        if isinstance(kind, tuple):
            if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kind):
                names = " or ".join(_KINDS.get(k, k.__name__) for k in kind)
                raise UserError(f"{self.where}.{key} must be {names}, got {value!r}")
            return value
        return typed(value, kind, f"{self.where}.{key}")

    def done(self) -> None:
        """Refuse a key that nobody took."""
        for key in self.mapping:
            if key not in self.taken:
                raise UserError(f"{self.where}: unknown key '{key}'{suggest(key, self.taken)}")
