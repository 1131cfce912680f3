"""Faults that users meet outside their data: clocks, environments, folders, downloads."""

from __future__ import annotations

import ast
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import Project
from refigure import cli
from refigure.data.sources import digest_of
from refigure.data.text import texts
from refigure.errors import UserError
from refigure.explain.timing import Times
from refigure.files import alone, socket_folder
from refigure.graph.reading import NAME, check_name
from refigure.graph.steps import PACK_FILES
from refigure.machine.locks import release_dead
from refigure.machine.scratch import keep_trained
from tiny import checkout, copied, edit

ROOT = Path(__file__).resolve().parents[1]
TABLE = "results/tiny/tables/lines.parquet"


def called(folder: Path, *words: str, **changed: str | None) -> subprocess.CompletedProcess:
    """Snakemake as it is called without an activated environment."""
    environment = {
        key: value
        for key, value in {**os.environ, "OMP_NUM_THREADS": "1", **changed}.items()
        if value is not None
    }
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A tiny checkout with one table built, by nothing but its own files."""
    root = checkout(tmp_path_factory.mktemp("faults") / "shop")
    # As a queue starts a job that passes no environment on: no HOME, no locale, no path to Python.
    nothing = dict.fromkeys(os.environ)
    done = called(root, "-c", "1", "--", TABLE, **{**nothing, "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr
    return root


def test_neither_an_activated_environment_nor_a_path_is_needed_and_scratch_is_cleared(shop):
    assert (shop / TABLE).is_file()
    assert not list((shop / "scratch/tiny").glob("*"))  # Snakemake has accepted the packs


def test_code_is_the_checkout_s_own_whatever_is_installed(shop, tmp_path):
    """A worktree beside the environment's own checkout: what is edited there is what runs."""
    root = Path(shutil.copytree(shop, tmp_path / "other"))
    with (root / "code/refigure/tables/sample.py").open("a", encoding="utf-8") as stream:
        stream.write("\nraise RuntimeError('edited')\n")
    words = ("-c", "1", "-f", "--", TABLE)
    for path in (None, str(shop / "code")):
        done = called(root, *words, PYTHONPATH=path, PATH="/usr/bin:/bin")
        assert done.returncode != 0
        log = root / "results/tiny/logs/table/lines.log"
        assert "RuntimeError: edited" in log.read_text(encoding="utf-8")


def test_another_checkout_in_the_environment_is_not_written_to(shop, tmp_path):
    root = Path(shutil.copytree(shop, tmp_path / "other"))
    before = (shop / TABLE).stat().st_mtime_ns
    (root / TABLE).unlink()
    done = called(root, "-c", "1", "--", TABLE, REFIGURE_ROOT=str(shop))
    assert done.returncode == 0, done.stderr
    assert (root / TABLE).is_file() and (shop / TABLE).stat().st_mtime_ns == before


def test_it_starts_in_any_folder_and_refuses_results_elsewhere(shop, tmp_path):
    done = called(tmp_path, "-n", "-s", str(shop / "Snakefile"), "--", TABLE)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    done = called(shop, "-n", "--directory", str(tmp_path), "--", TABLE)
    lines = [line for line in done.stderr.splitlines() if line.startswith("refigure: ")]
    assert done.returncode != 0 and "results lie in the checkout" in lines[0]
    assert "Traceback" not in done.stderr


def test_a_pack_that_snakemake_deletes_for_a_clock_is_not_trained_again(shop, tmp_path):
    """An input from the future: Snakemake deletes the pack, and the next start takes it up."""
    root = Path(shutil.copytree(shop, tmp_path / "skewed"))
    [pack] = [path for path in (root / "results/tiny/packs").iterdir() if "plain" in path.name]
    held = {path.name: path.read_bytes() for path in pack.iterdir() if path.suffix != ".json"}
    shutil.rmtree(pack)
    (root / TABLE).unlink()
    ahead = time.time() + 7200
    for path in (root / "results/tiny/data").iterdir():
        os.utime(path, (ahead, ahead))
    assert called(root, "-c", "1", "--", TABLE).returncode != 0
    parts = list((root / "scratch/tiny" / pack.name).glob("part-*"))
    assert (parts and not pack.is_dir()) or not list(pack.glob("*.parquet"))
    for path in (root / "results/tiny/data").iterdir():
        os.utime(path)
    done = called(root, "-c", "1", "--", TABLE)
    assert done.returncode == 0, done.stderr
    log = (root / f"results/tiny/logs/train/{pack.name}.log").read_text(encoding="utf-8")
    assert "2 of 2 networks adopted" in log
    assert {name: (pack / name).read_bytes() for name in held} == held
    assert not (root / "scratch/tiny" / pack.name).exists()


def test_results_and_scratch_may_be_links_and_one_to_nothing_is_one_line(shop, tmp_path):
    root, there = Path(shutil.copytree(shop, tmp_path / "linked")), tmp_path / "disk"
    (root / "scratch").mkdir(exist_ok=True)
    for name in ("results", "scratch"):
        shutil.move(root / name, there / name)
        (root / name).symlink_to(there / name)
    done = called(root, "-n", "--", TABLE)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr
    (root / TABLE).unlink()
    done = called(root, "-c", "1", "--", TABLE)
    assert done.returncode == 0, done.stderr
    assert (there / TABLE).is_file() and (root / "results").is_symlink()
    shutil.rmtree(there / "scratch")
    done = called(root, "-n", "--", TABLE)
    lines = [line for line in done.stderr.splitlines() if line.startswith("refigure: ")]
    assert lines == [f"refigure: scratch is a link to {there}/scratch, where no folder is"]
    assert done.returncode != 0 and "Traceback" not in done.stderr


def test_accepted_packs_whose_times_change_are_taken_up_and_not_trained_again(shop, tmp_path):
    """Results copied without their times, and data above the size whose content is compared."""
    root = Path(shutil.copytree(shop, tmp_path / "copied"))
    packs = root / "results/tiny/packs"
    held = {path: path.read_bytes() for path in packs.glob("*/*") if path.suffix != ".json"}
    behind = time.time() - 86_400
    for path in packs.glob("*/*"):
        os.utime(path, (behind, behind))
    words = ("-c", "1", "--max-checksum-file-size", "0")
    done = called(root, *words, "--", TABLE)
    assert done.returncode == 0, done.stderr
    [pack] = packs.iterdir()
    log = root / f"results/tiny/logs/train/{pack.name}.log"
    assert "2 of 2 networks adopted" in log.read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in held} == held
    assert not (root / "scratch/tiny" / pack.name).exists()
    # The table was made anew, and that of the other had no environment at all.
    assert (root / TABLE).read_bytes() == (shop / TABLE).read_bytes()
    done = called(root, *words, "-f", "--", str((pack / "run.json").relative_to(root)))
    assert done.returncode == 0, done.stderr
    assert "adopted" not in log.read_text(encoding="utf-8")  # who asks by force is given it


def test_results_copied_without_times_but_with_snakemake_s_records_are_up_to_date(shop, tmp_path):
    root = Path(shutil.copytree(shop, tmp_path / "copied", copy_function=shutil.copyfile))
    done = called(root, "-n", "--", TABLE)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr


def test_results_copied_without_times_and_records_are_not_trained_again(shop, tmp_path):
    """Without Snakemake's records times are all that it has: packs that look older than their data
    are adopted, tables are made anew, and every byte is the same."""
    root = Path(shutil.copytree(shop, tmp_path / "copied", copy_function=shutil.copyfile))
    shutil.rmtree(root / ".snakemake")
    packs = root / "results/tiny/packs"
    held = {path: path.read_bytes() for path in packs.glob("*/*") if path.suffix != ".json"}
    behind = time.time() - 86_400
    for path in packs.glob("*/*"):
        os.utime(path, (behind, behind))
    shutil.rmtree(root / "results/tiny/logs")
    done = called(root, "-c", "1", "--", TABLE)
    assert done.returncode == 0, done.stderr
    for log in (root / "results/tiny/logs/train").glob("*.log"):
        assert "2 of 2 networks adopted" in log.read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in held} == held
    assert (root / TABLE).read_bytes() == (shop / TABLE).read_bytes()


def test_streams_of_latin_1_change_no_byte_of_a_table(shop, tmp_path):
    root = copied(shop, tmp_path / "latin")
    (root / TABLE).unlink()
    done = called(root, "-c", "1", "--", TABLE, PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert (root / TABLE).read_bytes() == (shop / TABLE).read_bytes()


def test_what_snakemake_says_of_a_target_behind_config_is_explained(shop):
    done = called(shop, "-n", "--config", "scale=tiny", "sample")
    [said] = re.findall("Unparsable value: '[a-z-]+'", done.stdout + done.stderr)
    page = (ROOT / "docs/snakemake-says.md").read_text(encoding="utf-8")
    assert done.returncode != 0 and said.replace("sample", "three-regimes") in page


def test_a_temporary_folder_with_a_long_path_is_not_for_sockets():
    short, long = "/tmp/x", "/" + 150 * "t"
    assert socket_folder(short) == short and socket_folder(long) == "/tmp"
    assert socket_folder("/" + 50 * "\u00e9") == "/tmp"  # a letter, and two bytes of the address
    assert socket_folder("/" + 50 * "e") == "/" + 50 * "e"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_is_trained_and_the_next_start_goes_on(tmp_path, times):
    """As a terminal sends it: to Snakemake and all that it started. A state is due only in a
    minute, so the one that the next start goes on from was written because of it. The second one
    of an impatient user comes while the first is worked on."""
    root = checkout(tmp_path / "told")
    edit(root / "config/experiments/all.yaml", "epochs: 3", "epochs: 1000")
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "-c", "1", "--", TABLE],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    def training() -> bool:
        logs = (root / "results/tiny/logs/train").glob("*.log")
        return any("epoch" in path.read_text(encoding="utf-8") for path in logs)

    while first.poll() is None and not training():
        time.sleep(0.05)
    for _ in range(times):
        os.killpg(first.pid, signal.SIGINT)
        time.sleep(0.2)
    said = first.communicate(timeout=120)[0]
    assert first.returncode != 0, said
    assert not [one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(root)]
    assert times > 1 or list((root / "scratch/tiny").glob("plain-*/*.state")), said
    done = called(root, "-c", "1", "--", TABLE)
    assert done.returncode == 0, done.stderr
    if times > 1:
        return  # whether the state was whole by then is a matter of moments
    [log] = (root / "results/tiny/logs/train").glob("plain-*.log")
    assert "goes on from epoch" in log.read_text(encoding="utf-8")


def test_a_temporary_folder_that_does_not_exist_is_not_needed(shop, tmp_path):
    """A table and a figure are made with TMPDIR where no folder is."""
    root = copied(shop, tmp_path / "elsewhere")
    shutil.rmtree(root / "results/tiny/packs")
    shutil.rmtree(root / "results/tiny/tables")
    figure = "results/tiny/figures/sample/fig1.pdf"
    done = called(root, "-c", "1", "--", figure, TMPDIR=str(tmp_path / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert (root / figure).is_file() and not (tmp_path / "nowhere").exists()


def test_a_pack_that_cannot_be_kept_costs_a_line(tmp_path, capsys):
    for name in PACK_FILES:
        path = tmp_path / "results/tiny/packs/x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "scratch").write_text("no folder")
    assert keep_trained(tmp_path, [("tiny", "x"), ("tiny", "not there")]) == []
    assert capsys.readouterr().err.count("not kept") == 1
    (tmp_path / "scratch").unlink()
    [part] = keep_trained(tmp_path, [("tiny", "x")])
    assert {path.name: path.read_text() for path in part.iterdir()} == {n: n for n in PACK_FILES}


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize("name", ["my-flowers", "Flowers", "oxford.flowers", "flowers102", "_x"])
def test_a_name_that_the_configuration_takes_the_rules_take(name):
    check_name(name, "x")
    assert "data=NAME" in (ROOT / "rules/common.smk").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("my flowers", "my_flowers"),
        ("a/b", "a_b"),
        ("..", ""),
        ("é", "e"),
        ("a'b", "a_b"),
        ("", ""),
    ],
)
def test_another_name_is_refused_with_the_nearest(name, near):
    with pytest.raises(UserError) as raised:
        check_name(name, "config/local.yaml: sources")
    assert (f"; call it '{near}'" in str(raised.value)) == bool(near), NAME


@pytest.mark.parametrize("kind", ["sources", "scales", "figures", "claims", "tables", "papers"])
def test_the_same_rule_holds_for_all_that_is_named(project: Project, kind):
    name = "my thing"
    if kind == "sources":
        project.write("local.yaml", f"sources: {{{name}: {{kind: digits}}}}")
    elif kind == "scales":
        project.write(f"scales/{name}.yaml", "extends: demo")
    elif kind == "papers":
        shutil.copy(
            project.root / "config/papers/sample.yaml", project.root / f"config/papers/{name}.yaml"
        )
        project.edit("config.papers", [name])
    elif kind == "tables":
        project.write("experiments/mine.yaml", f"tables: {{{name}: {{runs: sphere_convnet_c10}}}}")
    else:
        project.edit(f"papers/sample.{kind}.{name}", {})
    with pytest.raises(UserError, match="call it 'my_thing'"):
        graph = project.graph(name if kind == "scales" else "demo")
        graph.config.user, graph.config.families, graph.config.papers  # noqa: B018


# ---------------------------------------------------------------------- housekeeping


def test_a_disk_that_may_not_be_written_costs_a_line(monkeypatch, capsys, tmp_path):
    times = Times.__new__(Times)
    times.path, times._timed, times._refused = Path("/proc/none/timing.json"), {}, False
    times._store()
    times._store()
    assert capsys.readouterr().err.count("the timings are not kept") == 1

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("refigure.machine.locks.platform.node", full)
    assert release_dead(tmp_path) is None
    assert "locks are left as they are" in capsys.readouterr().err
    monkeypatch.setattr("fcntl.flock", full)
    with alone(tmp_path / "x.lock", "x"):
        pass


def test_one_fetches_and_the_others_wait(tmp_path, capsys):
    asked = []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            for _ in range(5):
                self.wfile.write(b"part ")
                time.sleep(0.1)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "whole").write_bytes(b"part " * 5)
    file = {"url": f"http://127.0.0.1:{server.server_port}/x"}
    file["sha256"] = digest_of(tmp_path / "whole")
    source = {"kind": "download", "terms": None, "files": {"x.txt": file}}
    found = []
    jobs = [
        threading.Thread(target=lambda: found.append(texts.read(source, tmp_path / "cache")))
        for _ in range(4)
    ]
    for job in jobs:
        job.start()
        time.sleep(0.05)
    for job in jobs:
        job.join()
    server.shutdown()
    assert found == [{"x.txt": b"part " * 5}] * 4 and asked == ["/x"]
    assert capsys.readouterr().out.count("waits for its end") == 3


# ---------------------------------------------------------------------- encodings


BINARY = {
    "tarfile",
    "Image",
    "zipfile",
    "gzip",
    "bz2",
    "lzma",
    "os",
    "archive",
    "_File",
    "webbrowser",
}


def test_all_text_is_read_and_written_as_utf8():
    wrong = []
    for path in sorted((ROOT / "code").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            keys = {key.arg for key in node.keywords}
            modes = [one.value for one in node.args if isinstance(one, ast.Constant)]
            modes += [key.value.value for key in node.keywords if key.arg == "mode"]
            text = not any(isinstance(mode, str) and "b" in mode for mode in modes)
            bare = name in ("read_text", "write_text") and owner
            opened = name == "open" and text and owner.split(".")[-1] not in BINARY
            if (bare or opened) and "encoding" not in keys and "utf-8" not in modes:
                wrong.append(f"{path.name}:{node.lineno}: {ast.unparse(node)[:60]}")
    assert not wrong


def test_a_name_that_no_terminal_shows_is_one_line(tmp_path, capsys):
    assert cli.main(["--root", str(tmp_path / "a\udce9\nb"), "show"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("refigure: ")
