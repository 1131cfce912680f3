"""Fingerprints: what changes the digest of code, and what leaves it alone."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from refigure.graph import fingerprint as module
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.config import Config
from refigure.graph.fingerprint import (
    OUTSIDE,
    PACKAGE,
    closure,
    fingerprint,
    is_outside,
    normalised,
)
from refigure.graph.lookups import Graph

CODE = '''
"""What this module is for."""

import math
from dataclasses import dataclass


@dataclass
class Step:
    """One step."""

    size: float
    power: int = 2


def decay(step: Step, rate: float = 0.1, *, warm: bool = False) -> float:
    """The rate after a step."""
    scale = 1.0 if warm else 2.0
    # A comment.
    return scale * rate * math.exp(-step.size)
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of ours; `write(module, text)` changes a file of it."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)

    def write(name: str, text: str) -> None:
        path = tmp_path.joinpath(*name.split(".")[1:]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        module.forget()

    yield write
    module.forget()


def digest_of(source: str) -> str:
    return repr(normalised(ast.parse(source)))


@pytest.mark.parametrize(
    "old,new",
    [
        ("    # A comment.\n", ""),
        ("# A comment.", "# Another comment, and longer."),
        ('"""What this module is for."""', '"""Something else."""'),
        ('"""What this module is for."""\n', ""),
        ('    """The rate after a step."""\n', ""),
        ('    """One step."""\n', '    """Two\n\n    lines."""\n'),
        ("step: Step, rate: float = 0.1", "step, rate=0.1"),
        (" -> float:", ":"),
        ("power: int = 2", "power: float = 2"),
        ("size: float", "size: 'int | None'"),
        ("    scale = 1.0", "    scale: float = 1.0"),
        ("    scale = 1.0", "    scale: float\n    scale = 1.0"),
        ("\n\n\ndef", "\n\n\n\n\n\ndef"),
        ("1.0 if warm else 2.0", "(\n        1.0\n        if warm\n        else 2.0\n    )"),
        ("2.0", "2.00"),
        ("2.0", "20e-1"),
        ('"""One step."""', "'''One step.'''"),
        ("\n", "\r\n"),
        ("    ", "  "),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_only_a_reader_sees_leaves_the_fingerprint_alone(old, new):
    assert old in CODE
    assert digest_of(CODE.replace(old, new)) == digest_of(CODE)


@pytest.mark.parametrize(
    "old,new",
    [
        ("scale * rate", "scale + rate"),
        ("-step.size", "step.size"),
        ("2.0", "2.5"),
        ("2.0", "2"),
        ("warm: bool = False", "warm: bool = True"),
        ("rate: float = 0.1", "rate: float = 0.2"),
        ("rate: float = 0.1", "rate: float"),
        ("*, warm", "warm"),
        ("@dataclass\n", "@dataclass(frozen=True)\n"),
        ("@dataclass\n", ""),
        ("def decay", "@dataclass\ndef decay"),
        ("    size: float\n", ""),
        ("    size: float\n    power: int = 2", "    power: int = 2\n    size: float"),
        ("power: int = 2", "power: int = 3"),
        ("math.exp", "math.expm1"),
        ("import math", "import cmath as math"),
        ("step: Step, rate: float = 0.1", "rate: float = 0.1, step: Step = None"),
        ("scale * rate * math", "rate * scale * math"),
        ("    return scale", "    yield scale"),
        ("return", "_ ="),
        ("class Step", "class Step2"),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_may_change_a_number_changes_the_fingerprint(old, new):
    assert old in CODE
    assert digest_of(CODE.replace(old, new)) != digest_of(CODE)


def test_reordered_imports_count_as_a_change():
    """An import may have an effect, so their order counts; formatters sort them anyway."""
    assert digest_of("import a\nimport b") != digest_of("import b\nimport a")


def test_a_name_of_a_text_is_told_from_a_text():
    assert digest_of("x = 'a'") != digest_of("x = a")
    assert digest_of("x = 1") != digest_of("x = True")
    assert digest_of("x = 1") != digest_of("x = '1'")
    assert digest_of("x = None") != digest_of("x = 'None'")
    assert digest_of("return_ = ...") != digest_of("return_ = None")


def test_imports_for_annotations_only_do_not_count(package):
    typing = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from refigure.b import B\n"
    package("refigure.b", "B = 1")
    package("refigure.a", typing)
    assert closure("refigure.a") == {"refigure.a"}
    before = fingerprint(("refigure.a",))
    package("refigure.a", typing + "    from refigure.c import C\n")
    assert fingerprint(("refigure.a",)) == before


def test_the_other_branch_of_a_check_for_annotations_counts():
    checked = "if TYPE_CHECKING:\n    a = 1\nelse:\n    a = 2"
    assert digest_of(checked) != digest_of(checked.replace("2", "3"))


# -------------------------------------------------------------------- modules and what they rest on


def test_a_module_changes_with_what_it_imports_and_with_what_that_imports(package):
    package("refigure.low", "x = 1")
    package("refigure.middle", "from refigure import low\ny = low.x")
    package("refigure.high", "from refigure.middle import y\nz = y")
    package("refigure.alone", "z = 1")
    high, alone = fingerprint(("refigure.high",)), fingerprint(("refigure.alone",))
    package("refigure.low", "x = 2")
    assert fingerprint(("refigure.high",)) != high
    assert fingerprint(("refigure.alone",)) == alone
    package("refigure.low", "x = 1  # back")
    assert fingerprint(("refigure.high",)) == high


@pytest.mark.parametrize(
    "line",
    [
        "import refigure.inner.low",
        "import refigure.inner.low as low",
        "from refigure.inner import low",
        "from refigure.inner.low import x",
        "def f():\n    from refigure.inner.low import x",
        "try:\n    import refigure.inner.low\nexcept ImportError:\n    pass",
    ],
)
def test_every_way_of_importing_is_followed(package, line):
    package("refigure.inner.low", "x = 1")
    package("refigure.high", line)
    assert "refigure.inner.low" in closure("refigure.high")


def test_a_module_rests_on_what_its_package_runs_at_import(package):
    package("refigure.inner.__init__", "import refigure.low")
    package("refigure.inner.a", "x = 1")
    package("refigure.low", "x = 1")
    assert closure("refigure.inner.a") == {"refigure.inner", "refigure.inner.a", "refigure.low"}
    before = fingerprint(("refigure.inner.a",))
    package("refigure.inner.__init__", "import refigure.low\nx = 2")
    assert fingerprint(("refigure.inner.a",)) != before


def test_modules_that_import_each_other_are_read_once(package):
    package("refigure.a", "import refigure.b")
    package("refigure.b", "import refigure.a")
    assert closure("refigure.a") == {"refigure.a", "refigure.b"}


def test_the_order_in_which_modules_are_named_does_not_matter(package):
    package("refigure.a", "x = 1")
    package("refigure.b", "x = 2")
    assert fingerprint(("refigure.a", "refigure.b")) == fingerprint(("refigure.b", "refigure.a"))


def test_a_renamed_module_is_another_module(package):
    package("refigure.a", "x = 1")
    package("refigure.b", "x = 1")
    assert fingerprint(("refigure.a",)) != fingerprint(("refigure.b",))


def test_modules_outside_do_not_count(package):
    package("refigure.errors", "x = 1")
    package("refigure.a", "import refigure.errors")
    before = fingerprint(("refigure.a",))
    package("refigure.errors", "x = 2")
    assert fingerprint(("refigure.a",)) == before
    assert closure("refigure.a") == {"refigure.a"}


def test_another_vit_changes_the_code_of_vits_only(tmp_path, monkeypatch, graph):
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    module.forget()
    made = graph()
    before = {name: made.training_code(pack) for name, pack in made.packs.items()}
    (copy / "models/vit.py").write_text("from refigure.models import layers\n")
    module.forget()
    after = {name: made.training_code(pack) for name, pack in made.packs.items()}
    changed = {name for name in made.packs if after[name] != before[name]}
    vits = {name for name in made.packs if made.packs[name].runs[0].spec.model["name"] == "vit"}
    assert changed == vits and vits
    before = after
    convnet = copy / "models/convnet.py"
    convnet.write_text(convnet.read_text() + "\nADDED = 1\n")
    module.forget()
    after = {name: made.training_code(pack) for name, pack in made.packs.items()}
    changed = {
        made.packs[name].runs[0].spec.model["name"]
        for name in before
        if before[name] != after[name]
    }
    same = {
        made.packs[name].runs[0].spec.model["name"]
        for name in before
        if before[name] == after[name]
    }
    assert changed == {"convnet"}
    assert "convnet" not in same
    module.forget()


# -------------------------------------------------------------------- the real package

REAL = sorted(
    ".".join(("refigure", *path.relative_to(PACKAGE).with_suffix("").parts))
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
LIBRARIES = {"torch", "torchvision", "numpy", "scipy", "pandas", "sklearn"}
NUMERICAL = {
    "refigure.training.jobs",
    "refigure.explain",
    "refigure.machine",
    "refigure.stages",
    "refigure.files",
}
"""Outside, yet with libraries of numbers: they copy, time or print what others have computed."""


def redrawn(tmp_path, monkeypatch, changed: str) -> tuple[set, set]:
    """The figures that change with a colour in a module of `plotting`, and all figures."""
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    made = Graph(Config(PACKAGE.parents[1]), "demo")
    figures = [(slug, name) for slug in made.built for name in made.figures(slug)]

    def code() -> dict[tuple[str, str], str]:
        module.forget()
        return {figure: str(made.figure_provenance(*figure)) for figure in figures}

    before, path = code(), copy / "plotting" / changed
    path.write_text(path.read_text() + "\nADDED = '#2c6fbb'\n")
    after = code()
    module.forget()
    return {figure for figure in figures if before[figure] != after[figure]}, set(figures)


FAMILIES = {
    "sphere.py": {"three-regimes", "periodic-behavior"},
    "large_lr.py": {"where-large-lrs", "how-large-lrs"},
    "rnn.py": {"sparse-gated-rnn", "bayesian-compression-nlp"},
}


@pytest.mark.parametrize("own", FAMILIES)
def test_a_colour_of_one_family_redraws_its_papers_only(tmp_path, monkeypatch, own):
    changed, figures = redrawn(tmp_path, monkeypatch, own)
    assert {slug for slug, _ in changed} == FAMILIES[own]
    assert len(changed) < len(figures) / 2


def test_a_change_of_style_redraws_every_figure(tmp_path, monkeypatch):
    changed, figures = redrawn(tmp_path, monkeypatch, "__init__.py")
    assert changed == figures


def test_what_stands_outside_is_there():
    for name in OUTSIDE:
        path = PACKAGE.joinpath(*name.split(".")[1:])
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_no_module_outside_computes_numbers():
    """What stands outside imports no library of numbers, but for the few that are named here."""
    for name in REAL:
        inside = any(name == part or name.startswith(f"{part}.") for part in NUMERICAL)
        if is_outside(name) and not inside:
            path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
            assert not libraries(path) & LIBRARIES, name


def libraries(path: Path) -> set[str]:
    """The first words of all that a file imports when it runs, so not for annotations only."""
    found, nodes = set(), [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)
    return found


def test_only_imports_for_annotations_are_none_of_a_file_s_libraries(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import json\n"
        "if TYPE_CHECKING:\n    import pandas as pd\n"
        "else:\n    import numpy\n"
        "def f():\n    from torch.nn import Linear\n"
        "if not TYPE_CHECKING:\n    import scipy\n"
    )
    assert libraries(file) == {"json", "numpy", "torch", "scipy"}


def test_nothing_that_the_catalogue_names_is_outside():
    named = {entry.module for entries in CATALOGUE.values() for entry in entries.values()}
    assert not [name for name in named if is_outside(name)]


def test_no_package_imports_its_own_modules():
    """Else each of them would rest on all, and a new architecture would retrain every network."""
    for path in PACKAGE.rglob("__init__.py"):
        package = ".".join(("refigure", *path.parent.relative_to(PACKAGE).parts))
        inner = {name for name in closure(package) if name.startswith(f"{package}.")}
        assert not inner, package


def test_every_import_within_the_package_is_absolute():
    """Relative imports are not followed."""
    for name in REAL:
        path = PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ImportFrom) and node.level), name


def test_the_version_of_the_package_is_in_no_fingerprint():
    for name in REAL:
        if is_outside(name):
            continue
        assert "refigure" not in closure(name), name


# -------------------------------------------------------------------- other interpreters

TRICKY = '''
from __future__ import annotations
import re
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

@dataclass(frozen=True)
class Box(Generic[T]):
    """A box."""
    item: T
    names: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return f"{self.item!r:>{10}.{3}}" f" and {self.item = }" "tail" f"{self.names[0]:{10}{2}}"

def outer(a, /, b: int = 1, *rest: float, c=lambda x, *y, z=2: (x, y, z), **more) -> dict[str, int]:
    def inner(v: int) -> int:
        nonlocal b
        b += v
        return b
    if (n := len(rest)) > 3:
        return {**more, "n": n, f"{n:x}{'a' 'b'}": inner(n)}
    match more:
        case {"kind": str() as kind, **others} if kind:
            return others
        case [1, 2, *tail] | (3, *tail):
            return tail
        case Box(item=0) | None:
            return {}
        case _:
            pass
    try:
        text = f"{n:%H:%M}{{}}{n:}" rf"\\d{n}\\n" + f"""{
            n + 1
        }"""
    except* (ValueError, TypeError) as group:
        raise group from None
    else:
        text: str = u"unicode \\N{BULLET} \\U0001fae8 \\U000130c0"
    with open(text) as one, open(text) as two:
        print(1_000, 0x1F, 1e-3, 1j, b"bytes", ..., -1, not n, one @ two, [*rest][::2], sep="")
    return {k: v for k, v in more.items() if k if v}

async def later():
    async with a as b: await b
    return [x async for x in b]
'''

PRINT = """
import ast, importlib.util, json, sys
found = importlib.util.spec_from_file_location("fingerprint", sys.argv[1])
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
print(json.dumps(module.normalised(ast.parse(sys.stdin.read()))))
for name in sys.argv[2:]:
    print(name, module.fingerprint((name,)))
"""


def digests(interpreter: str) -> str:
    """What an interpreter, with its standard library alone, makes of the code above and of ours."""
    done = subprocess.run(
        [interpreter, "-I", "-c", PRINT, str(PACKAGE / "graph/fingerprint.py"), *REAL],
        input=TRICKY,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpreter(version: str) -> str | None:
    """A Python of that version: of pyenv, or on the path, if it starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [str(path) for path in pyenv.glob(f"{version}.*/bin/python")]
    for path in [*found, shutil.which(f"python{version}")]:
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    return None


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_fingerprints_are_equal_under_another_python(version):
    path = interpreter(version)
    if path is None:
        pytest.skip(f"no Python {version} here")
    ours, theirs = digests(sys.executable).splitlines(), digests(path).splitlines()
    assert [line for line in theirs if line not in ours] == []
