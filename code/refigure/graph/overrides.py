"""What a scale writes over an experiment, a probe, a table, a selection or its data: key by key.

A mapping is merged into the one it overrides, so that a scale which shortens a clock keeps what
else the recorder was told: `record.test.every: {epochs: 10}` and `record: {test: {every: {epochs:
10}}}` say the same. The key `replace: true` inside the new mapping replaces the old one as a whole.
So does another `name`, and another kind of point or clock (`{epoch: 40}` over `{average: ...}`),
since the keys of one model are not those of another. Lists, texts and numbers are values: they
replace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from refigure.errors import UserError
from refigure.graph.reading import Keys, typed

REPLACE = "replace"
KINDS = (("epoch", "fraction", "average", "best", "event"), ("epochs", "steps", "log"))
"""The keys of which a point and a clock hold one: it says of which kind they are."""


def merged(base: Any, override: Any, place: str) -> Any:
    """What stands where `override` was written over `base`; neither is changed.

    Args:
        place: file and key of the override, as messages name it.

    Raises:
        UserError: `replace` is no truth value.
    """
    if not isinstance(override, Mapping):
        return override
    replaces = typed(override.get(REPLACE, False), bool, f"{place}.{REPLACE}")
    if isinstance(base, str) and "name" in override:
        base = {"name": base}
    if not isinstance(base, Mapping) or replaces or _another(base, override):
        base = {}
    found = dict(base)
    for key, value in override.items():
        if key == "scales":  # of a selection, whose own overrides are merged when it is read
            found[key] = {**base.get(key, {}), **value}
        elif key != REPLACE:
            found[key] = merged(base.get(key), value, f"{place}.{key}")
    return found


def _another(base: Mapping, override: Mapping) -> bool:
    if "name" in base and override.get("name", base["name"]) != base["name"]:
        return True
    for kinds in KINDS:
        old, new = ({key for key in kinds if key in one} for one in (base, override))
        if old and new and not old & new:
            return True
    return False


def at_scale(
    written: Any, chain: list[str], place: str, home: str = "", top: Iterable[str] = ()
) -> dict[str, Any]:
    """An entry of the configuration with what the scales of a chain write over it.

    Args:
        written: the entry, its overrides under `scales`.
        chain: names of scales, root first: overrides apply in this order.
        home: the key under which a path is looked up that begins with none of `top`, so that
            `model.k` may stand for `base.model.k`.

    Returns:
        The entry without `scales`.

    Raises:
        UserError: a path goes through a value that holds no keys.
    """
    found = dict(Keys(written, place).mapping)
    scales = Keys(found.pop("scales", None), f"{place}.scales").mapping
    for scale in chain:
        where = f"{place}.scales.{scale}"
        for path, value in Keys(scales.get(scale), where).mapping.items():
            parts = path.split(".")
            if home and parts[0] not in top:
                parts = [home, *parts]
            found = _with(found, parts, value, where, path)
    return found


def _with(target: Any, parts: list[str], value: Any, where: str, path: str) -> Any:
    """`target` with the value at some keys, one inside the other, merged into what is there."""
    first, *rest = parts
    found = dict(target)
    if not rest:
        found[first] = merged(target.get(first), value, f"{where}.{path}")
        return found
    inner = target.get(first, {})
    if isinstance(inner, str):
        inner = {"name": inner}
    if not isinstance(inner, Mapping):
        raise UserError(f"{where}: '{path}' goes through '{first}', which is {inner!r}")
    found[first] = _with(inner, rest, value, where, path)
    return found
