"""Reading YAML and taking its keys one by one, so that a typo is one line naming key and file."""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from refigure.errors import UserError

_MISSING = object()


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


class Keys:
    """The keys of one mapping, taken one by one; `done` refuses what nobody took."""

    def __init__(self, mapping: Any, where: str):
        if mapping is None:
            mapping = {}
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where} must be keys and values, got {mapping!r}")
        self.mapping, self.where, self.taken = mapping, where, []

    def take(self, key: str, kind: type | tuple = object, default: Any = _MISSING) -> Any:
        """The value of `key`, of that kind; the default (or an error) where it is not written."""
        self.taken.append(key)
        if key not in self.mapping:
            if default is _MISSING:
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
