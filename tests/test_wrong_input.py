"""Wrong inputs, each with the one line it gets: exit status not 0, no traceback, no file changed.

Data, archives, states, command line and environment here; what may be written wrongly in `config/`
is the list of test_config_errors.py; a full disk and damaged results are in test_survival.py.
"""

from __future__ import annotations

import ast
import contextlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engine import graph_of, packs, prepared, project
from PIL import Image
from refigure import cli
from refigure.data.sources import digest_of
from test_workflow import clone, snakemake

ROOT = Path(__file__).resolve().parents[1]
TREE = {f"{part}/{kind}/0.png": None for part in ("train", "test") for kind in ("cat", "dog")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The tiny project with its data."""
    root = project(tmp_path_factory.mktemp("whole"))
    prepared(graph_of(root))
    return root


@pytest.fixture
def root(whole, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "checkout"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for locks, which say nothing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def refused(root: Path, words: list[str], capsys) -> str:
    """What a command says that must fail: one line, and no file is changed."""
    before = contents(root)
    capsys.readouterr()
    try:
        status = cli.main(["--root", str(root), *words])
    except SystemExit as left:  # argparse
        status = left.code
    said = capsys.readouterr()
    assert status in (1, 2)
    [line] = said.err.splitlines()
    assert line.startswith("refigure: ")
    assert contents(root) == before
    return line


# ---------------------------------------------------------------------- data and archives


def pixels(width: int = 8, seed: int = 0) -> bytes:
    stream = io.BytesIO()
    drawn = np.random.default_rng(seed).integers(0, 256, (8, width), dtype=np.uint8)
    Image.fromarray(drawn).save(stream, "PNG")
    return stream.getvalue()


def archive(path: Path, *extra: tarfile.TarInfo, files: dict | None = None) -> None:
    """A tar of images, and members without content."""
    with tarfile.open(path, "w:xz" if path.suffix == ".xz" else "w") as tar:
        for name, content in (files or TREE).items():
            member = tarfile.TarInfo(name)
            content = pixels(seed=len(tar.getmembers())) if content is None else content
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)


def member(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, to
    return made


def bomb(path: Path) -> None:
    """A tar of 30 MB of zeros, packed to a few kilobytes."""
    archive(path, files=TREE | {"train/cat/1.png": bytes(30_000_000)})


def claimed(path: Path) -> None:
    """A header that claims five gigabytes, with nothing behind it."""
    head = tarfile.TarInfo("train/cat/1.png")
    head.size = 5 * 2**30
    path.write_bytes(lzma.compress(head.tobuf() + bytes(1024)))


def link_in_a_folder(path: Path) -> None:
    shutil.copytree(path.parent / "drawn", path)
    (path / "train/class0/0.png").unlink()
    (path / "train/class0/0.png").symlink_to("/etc/passwd")


def copied(path: Path, spoil: Callable[[Path], None]) -> None:
    shutil.copytree(path.parent / "drawn", path)
    spoil(path)


ARCHIVES = {  # what -> name, how it is made, words of the line
    "a path out of the archive": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"../../evil.png": None}),
        "a.tar: path outside the archive, '../../evil.png'",
    ),
    "an absolute path": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"/etc/evil.png": None}),
        "path outside the archive, '/etc/evil.png'",
    ),
    "a symbolic link": (
        "a.tar.xz",
        lambda path: archive(path, member("train/cat/9.png", tarfile.SYMTYPE, "/etc/passwd")),
        "holds a link, 'train/cat/9.png'",
    ),
    "a hard link": (
        "a.tar",
        lambda path: archive(path, member("train/cat/9.png", tarfile.LNKTYPE, "/etc/passwd")),
        "holds a link, 'train/cat/9.png'",
    ),
    "a device": (
        "a.tar",
        lambda path: archive(path, member("train/cat/9.png", tarfile.CHRTYPE)),
        "holds a device, 'train/cat/9.png'",
    ),
    "a pipe": (
        "a.tar",
        lambda path: archive(path, member("train/cat/9.png", tarfile.FIFOTYPE)),
        "holds a device, 'train/cat/9.png'",
    ),
    "an archive that unpacks to a thousand times its size": (
        "a.tar.xz",
        bomb,
        "a.tar.xz: unpacks to 29 MiB and more at 'train/cat/1.png'",
    ),
    "a file larger than any image": (
        "a.tar.xz",
        claimed,
        "a.tar.xz: unpacks to 5,120 MiB and more at 'train/cat/1.png'",
    ),
    "no archive": (
        "a.tar",
        lambda path: path.write_bytes(b"no tar " * 99),
        "a.tar: not a readable tar archive",
    ),
    "an archive cut short": (
        "a.tar.xz",
        lambda path: (archive(path), path.write_bytes(path.read_bytes()[:300])),
        "a.tar.xz: not a readable tar archive",
    ),
    "an archive of no images": (
        "a.tar",
        lambda path: archive(path, files={"train/cat/0.txt": b"text"}),
        "a.tar: holds no images",
    ),
    "a picture that is none": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"train/cat/1.png": b"text"}),
        "'train/cat/1.png' is not a readable image",
    ),
    "images of two sizes": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"train/cat/1.png": pixels(9)}),
        "images of two sizes (channels x height x width)",
    ),
    "a class without training images": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"test/eel/0.png": None}),
        "class 'eel' is in test but not in train",
    ),
    "another layout": (
        "a.tar",
        lambda path: archive(path, files=TREE | {"train/0.png": None}),
        "a.tar: expected [name/]{train,test}/<class>/<file>",
    ),
    "a link in a folder": ("a", link_in_a_folder, "a: holds a link, 'train/class0/0.png'"),
    "an empty folder": ("a", lambda path: path.mkdir(), "a: holds no images"),
    "nothing there": ("a", lambda path: None, "a: no such file or folder"),
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_a_wrong_archive_is_one_line(root, capsys, what):
    name, make, words = ARCHIVES[what]
    path = root / name
    make(path)
    with contextlib.suppress(Exception):
        checksum = digest_of(path)
    if what in ("a link in a folder", "nothing there"):
        checksum = "0" * 64
    (root / "config/local.yaml").write_text(
        f"sources: {{drawn: {{images: {name}, sha256: '{checksum}'}}}}"
    )
    assert words in refused(root, ["prepare", data_of(root)], capsys)


def test_an_archive_of_a_sane_size_is_not_refused(root, capsys):
    archive(root / "a.tar.xz")
    line = f"sources: {{drawn: {{images: a.tar.xz, sha256: {digest_of(root / 'a.tar.xz')}}}}}"
    (root / "config/local.yaml").write_text(line)
    assert cli.main(["--root", str(root), "prepare", data_of(root)]) == 0


def test_another_file_than_the_one_pinned_is_one_line_with_both_checksums(root, capsys):
    (root / "drawn/train/class0/0.png").write_bytes(b"other")
    line = refused(root, ["prepare", data_of(root)], capsys)
    assert "drawn: expected sha256 " in line and ", found " in line


# ---------------------------------------------------------------------- command line


def data_of(root: Path) -> str:
    return packs(graph_of(root), "plain")[0].data


def pack_of(root: Path, experiment: str = "plain") -> str:
    return packs(graph_of(root), experiment)[0].name


def device(name: str) -> Callable[[Path], None]:
    return lambda root: (root / "config/local.yaml").write_text(f"device: {name}")


def nothing(root: Path) -> None:
    pass


def no_data(root: Path) -> None:
    graph_of(root).paths.data(data_of(root)).unlink()


def foreign_data(root: Path) -> None:
    graph_of(root).paths.data(data_of(root)).write_bytes(b"\x80\x04\x95 a pickle")


COMMANDS = {  # what -> what is spoilt, the command, the line
    "no command": (nothing, lambda root: [], "a command is missing; `refigure --help` lists them"),
    "an unknown command": (
        nothing,
        lambda root: ["trian", "x"],
        "unknown command 'trian'; did you mean 'train'?",
    ),
    "an unknown option": (
        nothing,
        lambda root: ["train", "x", "--sclae", "tiny"],
        "unknown option '--sclae'",
    ),
    "a missing argument": (
        nothing,
        lambda root: ["train"],
        "the following arguments are required: pack",
    ),
    "seconds that are none": (
        nothing,
        lambda root: ["train", "x", "--state-every", "often"],
        "argument --state-every: invalid positive number of seconds value: 'often'",
    ),
    "no seconds at all": (
        nothing,
        lambda root: ["train", "x", "--state-every", "0"],
        "argument --state-every: invalid positive number of seconds value: '0'",
    ),
    "an unknown scale": (
        nothing,
        lambda root: ["train", "x", "--scale", "tinny"],
        "config/scales: unknown scale 'tinny'; did you mean 'tiny'?",
    ),
    "an unknown pack": (
        nothing,
        lambda root: ["train", pack_of(root)[:-1]],
        "is not in the configuration at scale 'tiny'; did you mean 'plain-",
    ),
    "unknown data": (nothing, lambda root: ["prepare", "drawn-0"], "data 'drawn-0' is not in "),
    "an unknown table": (
        nothing,
        lambda root: ["table", "line"],
        "unknown table 'line'; did you mean 'lines'?",
    ),
    "an unknown probe": (
        nothing,
        lambda root: ["measure", "x"],
        "measure 'x' is not in the configuration at scale 'tiny'",
    ),
    "an unknown experiment": (
        nothing,
        lambda root: ["index", "plian", "--to", "index.tsv"],
        "unknown experiment 'plian'; did you mean 'plain'?",
    ),
    "an unknown paper": (
        nothing,
        lambda root: ["claim", "three-regimes", "C1"],
        "unknown paper 'three-regimes'",
    ),
    "a target without its first folder": (
        nothing,
        lambda root: ["why", "result/tiny/tables/lines.parquet"],
        "unknown target 'result/tiny/tables/lines.parquet'; did you mean 'results/tiny/tables/",
    ),
    "an unknown source to pin": (
        lambda root: (root / "config/local.yaml").write_text("sources: {drawn: {images: drawn}}"),
        lambda root: ["pin", "drwan"],
        "no source 'drwan'; did you mean 'drawn'?",
    ),
    "data that are not prepared": (
        no_data,
        lambda root: ["train", pack_of(root)],
        ".safetensors: no such file",
    ),
    "prepared data that are a pickle": (
        foreign_data,
        lambda root: ["train", pack_of(root)],
        ".safetensors: not prepared ",
    ),
    "a parent that is not trained": (
        nothing,
        lambda root: ["train", pack_of(root, "longer")],
        "starts from plain",
    ),
    "histories that are not there": (
        nothing,
        lambda root: ["table", "lines"],
        "history.parquet: no such file; `snakemake` makes it",
    ),
    "a device that there is not": (
        device("gpu"),
        lambda root: ["train", pack_of(root)],
        "device must be auto, cpu or cuda[:n], got 'gpu'",
    ),
    "verdicts that are not there": (
        nothing,
        lambda root: ["show"],
        "results/tiny/all: not there yet",
    ),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_wrong_command_is_one_line(root, capsys, what):
    spoil, words, expected = COMMANDS[what]
    asked = words(root)  # before: a configuration that is refused names no pack
    spoil(root)
    assert expected in refused(root, asked, capsys)


def test_a_gpu_that_there_is_not_is_one_line(root, capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    device("cuda")(root)
    line = refused(root, ["train", pack_of(root)], capsys)
    assert line == "refigure: config: device 'cuda' is asked for, but torch finds no GPU"


def test_a_folder_that_is_no_checkout_is_one_line(tmp_path, capsys):
    line = refused(tmp_path, ["show"], capsys)
    assert line == f"refigure: {tmp_path} is no checkout: no config/config.yaml (--root)"


# ---------------------------------------------------------------------- environment


def test_a_missing_dependency_is_one_line(root, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    line = refused(root, ["table", "lines"], capsys)
    assert line == "refigure: module 'pandas' is not installed; `make setup` installs it"


def test_an_old_python_is_one_line_and_makes_no_environment(tmp_path):
    root = clone(tmp_path / "clone")
    shutil.copy(ROOT / "Makefile", root)
    old = tmp_path / "python3"
    old.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import sys; sys.version_info = (3, 10, 9);"
        ' exec(sys.argv[1])\' "$2"\n'
    )
    old.chmod(0o755)
    # `make test` runs this: what its make tells a make below it would change what that one says.
    outside = {
        key: value for key, value in os.environ.items() if "MAKE" not in key and key != "MFLAGS"
    }
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}"], cwd=root, env=outside, capture_output=True, text=True
    )
    assert done.returncode != 0
    first, rest = done.stderr.split("\n", 1)
    assert first == "Python 3.11 or newer is needed"
    assert rest.startswith("make: *** ") and "Traceback" not in done.stderr
    assert not (root / ".venv").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--", "results/demo/figure/three-regimes/fig1.pdf"], "unknown kind 'figure'; did you"),
        (["--", "result/demo/all"], "unknown target 'result/demo/all'; did you mean 'results/demo"),
        (["--config", "devise=cpu", "--", "all"], "--config devise: write it to config/local.yaml"),
        (["--config", "scale=dmeo"], "config/scales: unknown scale 'dmeo'; did you mean 'demo'?"),
    ],
)
def test_a_wrong_call_of_snakemake_is_one_line(words, line, tmp_path):
    root = clone(tmp_path / "clone")
    before = contents(root)
    done = snakemake(root, "-c", "1", *words, check=False)
    assert done.returncode != 0
    said = [text for text in done.stderr.splitlines() if not text.startswith("Using workflow")]
    assert len(said) == 1 and line in said[0] and said[0].startswith("refigure: ")
    kept = {name: text for name, text in contents(root).items() if ".snakemake" not in name}
    assert {n: t for n, t in kept.items() if "__pycache__" not in n} == before


def test_the_command_itself_ends_with_one_line_and_status_1(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "refigure.cli", "show"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "code"), "REFIGURE_ROOT": "nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines() == [
        f"refigure: {tmp_path}/nowhere is no checkout: no config/config.yaml (--root)"
    ]


# ---------------------------------------------------------------------- pickles


def test_no_module_reads_a_pickle_but_torchs_with_weights_only():
    """Foreign weights by `torch.load(weights_only=True)` alone; no other reader of pickles."""
    for path in sorted((ROOT / "code").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [name.name for name in node.names] + [getattr(node, "module", "") or ""]
                bad = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
                assert not bad & {name.split(".")[0] for name in names}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                keys = {key.arg: ast.unparse(key.value) for key in node.keywords}
                assert keys.get("allow_pickle") in (None, "False"), path
                assert not called.endswith("read_pickle"), path
                if called.endswith("torch.load"):
                    assert keys.get("weights_only") == "True", path
