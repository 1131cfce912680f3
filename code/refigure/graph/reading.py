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


class _Refused(Exception):
    """What YAML takes and a configuration does not, without the name of the file."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    written = [loader.construct_object(key) for key, _ in node.value if key.value != "<<"]
    line = node.start_mark.line + 1
    for key in written:
        if not isinstance(key, str):
            raise _Refused(f"key {key!r} is no text (line {line})")
        if written.count(key) > 1:
            raise _Refused(f"key '{key}' is written twice (in the keys from line {line})")
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path, name: str = "") -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        name: what messages call the file; without one, its path.

    Raises:
        UserError: the file is missing, is not YAML, holds no mapping, or writes a key twice.
    """
    name = name or str(path)
    try:
        with path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: not readable: {error.strerror}") from None
    except _Refused as error:
        raise UserError(f"{name}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UserError(f"{name}: not YAML: {problem}{place}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{name}: expected keys and values, got {type(content).__name__}")
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


def under(where: str, key: str) -> str:
    """The place of a key, as messages name it: `file: key`, and `file: entry.key` further in."""
    return f"{where}: {key}" if where.endswith(".yaml") or where == "--config" else f"{where}.{key}"


def number(value: Any, where: str) -> float:
    """`value` as a float, refusing text: YAML reads 1e-3 as text, 1.0e-3 as a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{where} must be a number, got {value!r}{meant(value, float)}")
    if not math.isfinite(value):
        raise UserError(f"{where} must be finite, got {value!r}")
    return float(value)


def meant(value: Any, kind: type) -> str:
    """How to write a number that is a text."""
    with contextlib.suppress(ValueError, TypeError):
        found = float(value)
        if isinstance(value, str) and math.isfinite(found):
            whole = kind is int and found.is_integer()
            return f" (YAML reads it as text; write {int(found) if whole else _as_yaml(found)})"
    return ""


def _as_yaml(value: float) -> str:
    # YAML 1.1 takes 1e-05 for text: it wants a point in the mantissa.
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa + ("" if "." in mantissa or not e else ".0") + e + exponent


def typed(value: Any, kind: type | tuple[type, ...] | Number | Hex, where: str) -> Any:
    """`value` if it is of that kind, or of one of some; an int is taken where a float is asked for.

    Raises:
        UserError: it is of another, or outside the kind's bounds: the line names the place, what is
            asked for, and the value.
    """
    if isinstance(kind, (Number, Hex)):
        return kind.checked(value, where)
    if kind is float:
        return number(value, where)
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds):
        return value
    wanted = " or ".join(_KINDS[one] for one in kinds if one is not int or float not in kinds)
    hint = meant(value, kind) if kind is int else ""
    raise UserError(f"{where} must be {wanted}, got {value!r}{hint}")


_KINDS = {
    int: "a whole number",
    float: "a number",
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
class Number:
    """A key of a number with bounds: a count, a size, a share.

    Args:
        kind: int or float.
        default: `MISSING`: there is none, the key must be written.
        least, most: bounds that it may have; None: it has no such bound.
        above: a bound that it may not have.
    """

    kind: type
    default: Any = MISSING
    least: float | None = None
    most: float | None = None
    above: float | None = None

    @property
    def bounds(self) -> str:
        """In words: `at least 1`, `above 0`, `from 0 to 1`."""
        if self.above is not None:
            return f"above {self.above}"
        return (
            f"at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
        )

    def checked(self, value: Any, where: str) -> int | float:
        """The value, if it is such a number."""
        found = typed(value, self.kind, where)
        within = self.least is None or found >= self.least
        within &= self.most is None or found <= self.most
        within &= self.above is None or found > self.above
        if not within:
            raise UserError(f"{where} must be {self.bounds}, got {value}")
        return found


def positive(kind: type, default: Any = MISSING) -> Number:
    """The shape of a count or size that is not 0: a whole number of at least 1, or one above 0."""
    return Number(int, default, least=1) if kind is int else Number(float, default, above=0)


def not_negative(kind: type, default: Any = MISSING) -> Number:
    """The shape of a number that may be 0."""
    return Number(kind, default, least=0)


def share(default: Any = MISSING) -> Number:
    """The shape of a share, rate or chance, from 0 to 1."""
    return Number(float, default, least=0, most=1)


@dataclass(frozen=True)
class Hex:
    """A key of a text of so many hexadecimal digits, capitals or not; read as small letters."""

    digits: int

    def checked(self, value: Any, where: str) -> str:
        """The value, if it is such a text."""
        if not re.fullmatch(f"[0-9a-fA-F]{{{self.digits}}}", typed(value, str, where)):
            raise UserError(f"{where} must be {self.digits} hexadecimal digits, got '{value}'")
        return value.lower()


@dataclass(frozen=True)
class Nullable:
    """A key that may be null, which is its default where none other is given.

    Args:
        kind: a type, or several, a `Number` or `Hex`.
    """

    kind: type | tuple[type, ...] | Number | Hex
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
            asked for; or `OneOf`, `Nullable`, `Kinds`, `Number`, `Hex`.
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
        shape, place = self.shape, under(keys.where, name)
        if isinstance(shape, OneOf):
            value = one_of(shape, keys.take(name, object, shape.words[0]), place)
        elif isinstance(shape, Nullable):
            written = keys.mapping.get(name) is not None
            value = keys.take(name, shape.kind if written else object, shape.default)
        elif isinstance(shape, Kinds):
            value = keys.take(name, shape.types, copy(shape.default))
        elif isinstance(shape, (type, tuple, Number, Hex)):
            value = keys.take(name, shape, default_of(shape))
        else:
            value = keys.take(name, type(shape), copy(shape))
        self.check_inside(value, place)
        return self.parse(value, place) if self.parse else value

    def check_inside(self, value: Any, place: str) -> None:
        """Refuse what a list or mapping may not hold, where that is one type or a few."""
        kind = getattr(self.inside, "inside", None)
        if not isinstance(kind, (type, tuple, Number)):
            return
        if isinstance(self.inside, Items) and isinstance(value, list):
            for item in value:
                typed(item, kind, f"{place}: an item")
        if isinstance(self.inside, Each) and isinstance(value, Mapping):
            for name, item in value.items():
                typed(item, kind, f"{place}.{name}")


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
    keys.refuse_others(keys_of(kind))  # first: a key that is missing may be one written wrongly
    values = {field: key.take(keys, name) for name, (field, key) in keys_of(kind).items()}
    return kind(**values, **given)


def read_written(kind: type, mapping: Any, where: str) -> dict[str, Any]:
    """The values of those keys of a dataclass that a mapping writes: no defaults.

    Raises:
        UserError: an unknown key, or a value of another type.
    """
    keys = Keys(mapping, where)
    known = {name: key for name, (_, key) in keys_of(kind).items()}
    keys.refuse_others(known)
    return {name: key.take(keys, name) for name, key in known.items() if name in keys.mapping}


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
    if isinstance(shape, (Nullable, Kinds, Number)):
        return shape.default
    return MISSING if isinstance(shape, (type, tuple, Hex)) else shape


class Keys:
    """The keys of one mapping, taken one by one; `done` refuses what nobody took."""

    def __init__(self, mapping: Any, where: str):
        if mapping is None:
            mapping = {}
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where} must be keys and values, got {mapping!r}")
        self.mapping, self.where, self.taken = mapping, where, []

    def take(
        self, key: str, kind: type | tuple | Number | Hex = object, default: Any = MISSING
    ) -> Any:
        """The value of `key`, of that kind; the default (or an error) where it is not written."""
        self.taken.append(key)
        if key not in self.mapping:
            if default is MISSING:
                others = [name for name in self.mapping if name not in self.taken]
                near = difflib.get_close_matches(key, others, n=1, cutoff=0.6)
                hint = f"; is '{near[0]}' meant for it?" if near else ""
                raise UserError(f"{self.where}: key '{key}' is missing{hint}")
            return default
        value = self.mapping[key]
        if value is None and default is None:
            return None
        if kind is object:
            return value
        return typed(value, kind, under(self.where, key))

    def done(self) -> None:
        """Refuse a key that nobody took."""
        self.refuse_others(self.taken)

    def refuse_others(self, known: Iterable[str]) -> None:
        """Refuse a key that is none of these."""
        for key in self.mapping:
            if key not in known:
                raise UserError(f"{self.where}: unknown key '{key}'{suggest(key, known)}")
