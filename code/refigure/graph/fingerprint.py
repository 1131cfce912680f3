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
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1]

OUTSIDE = {
    "refigure.graph": "its outcome is specs, recipes and selections, which are digested themselves",
    "refigure.machine": "how a job runs and what it prints; no number depends on it",
    "refigure.explain": "explains results and makes none",
    "refigure.training.jobs": "opens files, and puts back unchanged what training left (tested)",
    "refigure.errors": "texts of messages",
    "refigure.files": "writes what it is given",
    "refigure.stages": "opens files and calls what is fingerprinted",
    "refigure.cli": "reads arguments and calls the stages",
}
"""Folders and modules outside every fingerprint, each with the reason."""

_ANNOTATIONS = {
    ast.FunctionDef: ("returns", "type_params"),
    ast.AsyncFunctionDef: ("returns", "type_params"),
    ast.ClassDef: ("type_params",),
    ast.arg: ("annotation",),
    ast.AnnAssign: ("annotation", "simple"),
}
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
REST = "outside functions"


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
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                value = _without_texts(value, isinstance(node, ast.ClassDef))
            if name == "values" and isinstance(node, ast.JoinedStr):
                # Python 3.12 ends some format specifications with an empty text.
                value = [part for part in value if getattr(part, "value", None) != ""]
            if value is not None and value != []:
                fields.append([name, normalised(value)])
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [normalised(item) for item in node]
    return ascii(node)  # not repr: which characters it escapes depends on the Unicode version


def _without_texts(body: list[ast.stmt], in_class: bool) -> list[ast.stmt]:
    """Statements that do something: no docstrings, no bare declarations, no type-only imports.

    In a class an annotated name may be a field of a dataclass: there its name and order matter.
    """
    return [
        item if in_class or not isinstance(item, ast.AnnAssign) else _unannotated(item)
        for item in body
        if not (
            isinstance(item, ast.Expr)
            and isinstance(item.value, ast.Constant)
            and isinstance(item.value.value, str)
        )
        and not (isinstance(item, ast.AnnAssign) and item.value is None and not in_class)
        and not _for_annotations_only(item)
    ]


def _unannotated(item: ast.AnnAssign) -> ast.Assign:
    return ast.Assign(targets=[item.target], value=item.value)


def _for_annotations_only(item: ast.stmt) -> bool:
    if not isinstance(item, ast.If) or item.orelse:
        return False
    return getattr(item.test, "id", getattr(item.test, "attr", None)) == "TYPE_CHECKING"


class _Module(NamedTuple):
    """What one look at a module tells.

    Args:
        digest: of its own code.
        imports: the modules of the package that it imports.
        names: what it defines or imports by name.
    """

    digest: str
    imports: tuple[str, ...]
    names: frozenset[str]


@cache
def _read(module: str) -> _Module:
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    text = json.dumps(normalised(tree), separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    return _Module(digest, tuple(sorted(set(_imports(tree)))), frozenset(_names(tree)))


def _path(module: str) -> Path:
    parts = module.split(".")[1:]
    path = PACKAGE.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _statements(node: ast.AST) -> Iterable[ast.AST]:
    """All statements below a node, without those for annotations only.

    An import is a statement, so expressions, which are most of a tree, need no look.
    """
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for item in getattr(node, field, ()):
            if not _for_annotations_only(item):
                yield item
                yield from _statements(item)


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("refigure."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "refigure":
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if _path(inner).is_file() else node.module


def _names(tree: ast.AST) -> Iterable[str]:
    for node in _statements(tree):
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (name.asname or name.name for name in node.names)


def is_outside(module: str) -> bool:
    """Whether a module, or a folder it lies in, is outside every fingerprint."""
    parts = module.split(".")
    return any(".".join(parts[:depth]) in OUTSIDE for depth in range(2, len(parts) + 1))


@cache
def closure(module: str) -> frozenset[str]:
    """A module and all modules of the package that it rests on, without those outside."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or is_outside(name) or not _path(name).is_file():
            continue
        found.add(name)
        waiting.extend(_read(name).imports)
        if name.count(".") > 1:  # importing a module runs its package's __init__.py first
            waiting.append(name.rpartition(".")[0])
    return frozenset(found)


@cache
def fingerprint(modules: tuple[str, ...]) -> str:
    """The digest of the code of some modules and of what they rest on: 16 hexadecimal digits."""
    return _digest([[name, own] for name, own in outline(modules).items()])


def outline(modules: Iterable[str]) -> dict[str, str]:
    """Module -> digest of its own code, of all that `fingerprint` covers."""
    names = sorted(set().union(*(closure(module) for module in modules)))
    return {name: _read(name).digest for name in names}


def names_of(module: str) -> frozenset[str] | None:
    """What a module defines or imports by name; None where there is no such module."""
    return _read(module).names if _path(module).is_file() else None


def functions(module: str) -> dict[str, str]:
    """Digests of a module's top-level functions and its classes' methods, by name.

    `Class` is what is left of a class without its methods, and `REST` of the module: a change
    of the module's digest is a change of at least one of these.
    """
    tree = ast.parse(_path(module).read_text(encoding="utf-8"))
    found: dict[str, list] = {REST: []}
    for node in _without_texts(tree.body, in_class=False):
        if isinstance(node, _FUNCTION):
            found.setdefault(node.name, []).append(normalised(node))
        elif isinstance(node, ast.ClassDef):
            methods = [item for item in node.body if isinstance(item, _FUNCTION)]
            for method in methods:
                found.setdefault(f"{node.name}.{method.name}", []).append(normalised(method))
            node.body = [item for item in node.body if not isinstance(item, _FUNCTION)]
            found.setdefault(node.name, []).append(normalised(node))
        else:
            found[REST].append(normalised(node))
    return {name: _digest(nodes) for name, nodes in found.items()}


def notebook_digest(path: Path) -> str:
    """The digest of the sources of a notebook's cells, without outputs and execution counts."""
    return _digest(_cells(path))


def notebook_modules(path: Path) -> tuple[str, ...]:
    """The modules of this package that a notebook's cells import, in order of their names."""
    return _modules_of(tuple(source for kind, source in _cells(path) if kind == "code"))


@cache
def _modules_of(cells: tuple[str, ...]) -> tuple[str, ...]:
    found: set[str] = set()
    for source in cells:
        try:
            found.update(_imports(ast.parse(source)))
        except SyntaxError:  # drawing will say where; until then it may rest on any of them
            found |= {
                f"refigure.plotting.{path.stem}" for path in (PACKAGE / "plotting").glob("*.py")
            }
    return tuple(sorted(name.removesuffix(".__init__") for name in found))


def cell_digests(path: Path) -> list[str]:
    """The digest of each cell of a notebook, in order."""
    return [_digest(cell) for cell in _cells(path)]


def _cells(path: Path) -> list[list[str]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [[cell["cell_type"], "".join(cell["source"])] for cell in cells]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def forget() -> None:
    """Read every module again (tests change files)."""
    _read.cache_clear()
    closure.cache_clear()
    fingerprint.cache_clear()
    _modules_of.cache_clear()
