"""Digests of code that a comment, a docstring, an annotation or another Python leave alone.

A module's fingerprint covers the modules of this package that it imports, and theirs, so that
what a result rests on is found by reading imports. `OUTSIDE` is the one list of exceptions.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent

OUTSIDE = {
    "refigure.errors": "texts of messages",
    "refigure.reading": "reads YAML; what it read is in the spec",
    "refigure.catalogue": "its defaults are in the spec, its modules are fingerprinted by name",
    "refigure.spec": "its outcome is the run's id",
    "refigure.experiments": "its outcome is the run's spec",
    "refigure.packs": "only how runs travel",
    "refigure.paths": "only where files lie",
    "refigure.config": "its outcome is specs and recipes",
    "refigure.graph": "look-ups",
    "refigure.fingerprint": "would make every change of itself a change of everything",
    "refigure.training.states": "a resumed run is bit-equal to an uninterrupted one (tested)",
    "refigure.training.progress": "what is printed",
    "refigure.training.adoption": "copies finished runs unchanged (tested)",
    "refigure.cli": "reads arguments and calls stages",
}
"""Modules outside every fingerprint, each with the reason."""

_ANNOTATIONS = {
    ast.FunctionDef: ("returns", "type_params"),
    ast.AsyncFunctionDef: ("returns", "type_params"),
    ast.ClassDef: ("type_params",),
    ast.arg: ("annotation",),
    ast.AnnAssign: ("annotation", "simple"),
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def normalised(node: object) -> object:
    """A syntax tree as nested lists, without positions, comments, docstrings and annotations.

    Fields that are empty are left out: Python versions differ in which empty fields they have.
    """
    if isinstance(node, ast.AST):
        skipped = _ANNOTATIONS.get(type(node), ())
        fields = []
        for name, value in ast.iter_fields(node):
            if name in skipped or name in ("type_comment", "kind", "ctx"):
                continue
            if name == "body" and isinstance(value, list):
                value = _without_texts(value)
            if value is not None and value != []:
                fields.append([name, normalised(value)])
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [normalised(item) for item in node]
    return repr(node)


def _without_texts(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that do something: no docstrings, no bare declarations, no type-only imports."""
    return [
        item
        for item in body
        if not (
            isinstance(item, ast.Expr)
            and isinstance(item.value, ast.Constant)
            and isinstance(item.value.value, str)
        )
        and not (isinstance(item, ast.AnnAssign) and item.value is None and not _in_dataclass(item))
        and not _for_annotations_only(item)
    ]


def _in_dataclass(item: ast.AnnAssign) -> bool:
    # A bare `name: type` in a dataclass is a field: its name and order matter.
    return isinstance(item.target, ast.Name)


def _for_annotations_only(item: ast.stmt) -> bool:
    return isinstance(item, ast.If) and "TYPE_CHECKING" in ast.dump(item.test)


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """A module's own digest, and the modules of the package that it imports."""
    path = _path(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    text = json.dumps(normalised(tree), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest(), tuple(sorted(set(_imports(tree))))


def _path(module: str) -> Path:
    parts = module.split(".")[1:]
    path = PACKAGE.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("refigure."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "refigure":
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if _path(inner).is_file() else node.module


@cache
def closure(module: str) -> frozenset[str]:
    """A module and all modules of the package that it rests on, without those outside."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name in OUTSIDE or not _path(name).is_file():
            continue
        found.add(name)
        waiting.extend(_read(name)[1])
    return frozenset(found)


def fingerprint(modules: Iterable[str]) -> str:
    """The digest of the code of some modules and of what they rest on: 16 hexadecimal digits."""
    names = sorted(set().union(*(closure(module) for module in modules)))
    parts = [[name, _read(name)[0]] for name in names]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def notebook_digest(path: Path) -> str:
    """The digest of the sources of a notebook's cells; outputs and execution counts are left out."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [[cell["cell_type"], "".join(cell["source"])] for cell in cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


def forget() -> None:
    """Read every module again (tests change files)."""
    _read.cache_clear()
    closure.cache_clear()
