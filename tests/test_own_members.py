"""Members of one's own: softmax files of a library's classifiers in, figures and verdicts out."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from refigure.data import members
from refigure.errors import UserError
from refigure.files import read_json, read_parquet
from refigure.graph.config import Config
from refigure.graph.lookups import Graph
from refigure.tables import own_members
from scipy.special import log_softmax, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from test_workflow import clone, snakemake, would_run
from tiny import refigure

COUNT = 20
FIGURES = [f"results/members/figures/power-laws/{name}.pdf" for name in ("fig1", "figA_tau_opt")]
CLAIMS = [f"results/members/claims/power-laws/C{number}.json" for number in (1, 2, 3, 4, 5)]


@cache
def classifiers() -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels of digits that were not trained on, and the softmax of each of 20 classifiers."""
    digits = load_digits()
    generator = np.random.default_rng(0)
    order = generator.permutation(len(digits.target))
    known, held = order[:400], order[1200:]
    found = []
    for _ in range(COUNT):
        own = np.concatenate([known[:20], generator.choice(known, 100)])
        model = LogisticRegression(max_iter=30, tol=1e-2).fit(
            digits.data[own] / 16, digits.target[own]
        )
        assert list(model.classes_) == list(range(10))
        found.append(model.predict_proba(digits.data[held] / 16))
    return digits.target[held], found


def write(folder: Path, count: int = COUNT) -> Path:
    """A folder of members: labels.npy, 0.npy, ..."""
    labels, found = classifiers()
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels.npy", labels)
    for number, shares in enumerate(found[:count]):
        np.save(folder / f"{number}.npy", shares)
    return folder


def ladder(folder: Path) -> Path:
    """Five members of each of four widths, with their sizes."""
    labels, found = classifiers()
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", labels)
    for number, shares in enumerate(found):
        own = folder / f"k={2 ** (1 + number // 5)}" / f"{number}.npy"
        own.parent.mkdir(exist_ok=True)
        np.save(own, shares)
    sizes = {"parameters": {"2": 100, "4": 205, "8": 390, "16": 800}, "standard": 8}
    (folder / "sizes.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    """A clone whose source `members` is a folder of 20 softmax files, pinned."""
    root = clone(tmp_path_factory.mktemp("own") / "clone")
    write(root.parent / "exported")
    (root / "config/local.yaml").write_text(
        "scale: members\nsources:\n  members: {predictions: ../exported}\n"
    )
    said = refigure(root, "pin", "members").stdout
    line = f"{COUNT} members; {len(classifiers()[0])} objects, 10 classes; 20 of probabilities"
    assert line in said and "wrote sha256" in said
    return root


def shown(root: Path, scale: str) -> dict[str, list[str]]:
    """Paper -> the figures and claims that a scale builds."""
    graph = Graph(Config(root), scale)
    return {
        paper: [
            one.name
            for one in (*graph.figures(paper).values(), *graph.claims(paper).values())
            if not (getattr(one, "optional", False) or graph.left_out(one))
        ]
        for paper in ("power-laws", "memory-split")
    }


def test_one_pool_gives_every_figure_over_n_in_few_jobs_and_trains_nothing(mine):
    names = shown(mine, "members")
    assert {"fig1", "fig2", "fig3", "fig6", "tab_fits", "figA_theory"} <= set(names["power-laws"])
    claims = [name for name in names["power-laws"] if re.fullmatch(r"C\d+", name)]
    assert claims == ["C1", "C2", "C3", "C4", "C5", "C10"]
    assert names["memory-split"] == []  # a split has networks of two sizes
    jobs = would_run(mine, "power-laws")
    assert set(jobs) == {"prepare", "table", "figure", "claim", "verdicts", "power-laws"}
    assert jobs["prepare"] == 1 and jobs["figure"] == len(names["power-laws"]) - len(claims)
    assert sum(jobs.values()) < 50


def test_widths_give_the_figures_and_claims_of_both_papers(mine):
    names = shown(mine, "members_by_width")
    wanted = [*(f"fig{n}" for n in range(1, 7)), *(f"C{n}" for n in range(1, 12))]
    assert set(wanted) <= set(names["power-laws"])
    wanted = {*(f"ms{n}" for n in range(6)), "ms7", "ms8", "mstab1", "mstab2"}
    assert wanted | {"M1", "M2", "M3", "M4", "M5", "M6", "M8"} <= set(names["memory-split"])
    # What needs training of another kind, or hyperparameters and multiplications, is none of them.
    assert not {"M7", "M9", "ms6", "ms9", "ms_cost"} & set(names["memory-split"])
    assert not {"figA_noreg", "tabA_hyper", "fig20"} & set(names["power-laws"])
    jobs = would_run(mine, *(f"results/members_by_width/claims/{paper}.json" for paper in names))
    assert not {"train", "measure"} & set(jobs)


def test_figures_and_verdicts_of_twenty_softmax_files(mine):
    snakemake(mine, "-c", "2", "--", *FIGURES, *CLAIMS)
    for figure in FIGURES:
        assert (mine / figure).read_bytes().startswith(b"%PDF")
        assert len((mine / figure).with_suffix(".csv").read_text().splitlines()) > 4
    verdicts = {path[-7:-5]: read_json(mine / path) for path in CLAIMS}
    assert verdicts["C4"]["verdict"] in ("holds", "fails", "undecided")
    assert verdicts["C2"]["numbers"]["median r2 of CNLL_n"] and verdicts["C3"]["numbers"]
    assert verdicts["C1"]["verdict"] == "undecided"  # 20 networks are less than four times eight
    formed = read_parquet(mine / "results/members/tables/pool_ensembles_main.parquet")
    labels, found = classifiers()
    alone = formed[(formed["part"] == "ensemble") & (formed["n"] == 1)].sort_values("number")
    assert alone["nll"].tolist() == pytest.approx(
        [log_loss(labels, shares, labels=range(10)) for shares in found], abs=2e-4
    )
    sixteen = formed[(formed["part"] == "ensemble") & (formed["n"] == 16)]["nll"].item()
    mean = np.mean(found[:16], axis=0)
    assert sixteen == pytest.approx(log_loss(labels, mean, labels=range(10)), abs=2e-4)
    assert set(formed["setup"]) == {"members"} and set(formed["members"]) == {COUNT}


def rows(folder: Path, tmp_path: Path):
    raw = members.survey(folder)
    members.save(raw, tmp_path / "pool.safetensors", {"name": "members"})
    return own_members.measured(members.load(tmp_path / "pool.safetensors", "cpu"))


def test_logits_and_probabilities_half_and_double_npy_and_npz_say_the_same(tmp_path):
    labels, found = classifiers()
    plain = rows(write(tmp_path / "plain", 6), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "labels.npz", labels=labels.astype(np.uint8))
    for number, shares in enumerate(found[:6]):
        logits = np.log(shares) + 7.0 * np.arange(len(shares))[:, None]  # a constant of each row
        np.savez(other / f"net_{number}.npz", logits.astype(np.float32))
    assert members.survey(other).kinds == {"logits": 6}
    mine = rows(other, tmp_path)
    for name in ("nll", "cnll", "accuracy", "brier"):
        np.testing.assert_allclose(mine[name], plain[name], rtol=2e-3)


def test_members_stand_in_the_order_of_the_numbers_in_their_names(tmp_path):
    folder = write(tmp_path / "pool", 12)
    members.save(members.survey(folder), tmp_path / "p.safetensors", {"name": "members"})
    pool = members.load(tmp_path / "p.safetensors", "cpu")
    [chunk] = pool.chunks(1, 32)
    np.testing.assert_allclose(softmax(chunk[2].astype(float), -1), classifiers()[1][2], atol=2e-3)


def test_widths_are_folders_and_their_sizes_a_file(tmp_path):
    raw = members.survey(ladder(tmp_path / "ladder"))
    assert {k: len(own) for k, own in raw.logits.items()} == {2: 5, 4: 5, 8: 5, 16: 5}
    assert "k = 2: 5, k = 4: 5" in raw.line(tmp_path)
    members.save(raw, tmp_path / "p.safetensors", {"name": "members"})
    sizes = own_members.sizes(pool_1=members.load(tmp_path / "p.safetensors", "cpu"), pool_2=None)
    assert dict(zip(sizes["k"], sizes["j"])) == {2: -2.0, 4: -1.0, 8: 0.0, 16: 1.0}
    assert sizes[sizes["standard"]]["k"].tolist() == [8]
    assert sizes["parameters"].tolist() == [100, 205, 390, 800]


def test_a_tar_of_the_folder_is_the_folder(tmp_path):
    folder = ladder(tmp_path / "ladder")
    with tarfile.open(tmp_path / "ladder.tar.gz", "w:gz") as archive:
        archive.add(folder, "ladder")
    packed, plain = members.survey(tmp_path / "ladder.tar.gz"), members.survey(folder)
    assert packed.parameters == plain.parameters and list(packed.logits) == list(plain.logits)
    for k, own in plain.logits.items():
        for name, logits in own.items():
            np.testing.assert_array_equal(packed.logits[k][name], logits)


def test_a_probability_of_zero_is_the_smallest_of_its_file_and_is_counted(tmp_path):
    folder = write(tmp_path / "pool", 2)
    forest = np.array([[0.0, 0.02, 0.98], [0.5, 0.25, 0.25]])
    np.save(folder / "labels.npy", np.array([0, 1]))
    np.save(folder / "0.npy", forest)
    np.save(folder / "1.npy", forest[:, ::-1])
    raw = members.survey(folder)
    assert raw.zeros == 2 and "2 probabilities of 0" in raw.line(folder)
    eps = float(np.finfo(float).eps)
    expected = log_softmax(np.log([eps, 0.02, 0.98]))
    np.testing.assert_allclose(
        log_softmax(raw.logits[1]["0"][0].astype(float)), expected, rtol=1e-3, atol=1e-3
    )


def test_no_pool_no_rows():
    assert len(own_members.measured(None)) == 0
    assert len(own_members.sizes(pool_1=None)) == 0


# ---------------------------------------------------------------------- wrong input


def put(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Write a file anew with its array changed."""
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def at(row: int, column: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[row, column] = value
        return array

    return change


def same_twice(folder: Path) -> None:
    shutil.copy(folder / "1.npy", folder / "3.npy")


def archive_of_two(folder: Path) -> None:
    array = np.load(folder / "1.npy")
    (folder / "1.npy").unlink()
    np.savez(folder / "1.npz", a=array, b=array)


def pickled(folder: Path) -> None:
    np.save(folder / "1.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


WRONG = {
    "wrong shape": (put("1.npy", lambda a: a[:, 0]), r"'1.npy' holds float64 of shape \(597,\)"),
    "one column": (
        put("1.npy", lambda a: a[:, :1]),
        r"'1.npy' holds .* \(597, 1\); expected floats",
    ),
    "other rows": (put("1.npy", lambda a: a[:-1]), "'1.npy' is of 596 x 10 .* '0.npy' of 597 x 10"),
    "other classes": (put("2.npy", lambda a: a[:, :9] / a[:, :9].sum(1)[:, None]), "597 x 9"),
    "whole numbers": (put("1.npy", lambda a: a.argmax(1)[:, None] + [0, 1]), "'1.npy' holds int64"),
    "NaN": (put("1.npy", at(17, 3, np.nan)), "'1.npy' holds nan in row 17, column 3"),
    "infinite": (put("1.npy", at(5, 2, np.inf)), "'1.npy' holds inf in row 5, column 2"),
    "few labels": (
        put("labels.npy", lambda a: a[:-7]),
        "'labels.npy' holds 590 labels, '0.npy' 597 rows",
    ),
    "a label outside": (
        put("labels.npy", lambda a: np.where(np.arange(len(a)) == 4, 10, a)),
        "'labels.npy' holds 10 at 4, which is none of the classes 0 to 9",
    ),
    "a label below": (
        put("labels.npy", lambda a: np.where(np.arange(len(a)) == 4, -1, a)),
        "'labels.npy' holds -1 at 4",
    ),
    "labels one-hot": (put("labels.npy", lambda a: np.eye(10)[a]), "'labels.npy' holds float64"),
    "no labels": (lambda folder: (folder / "labels.npy").unlink(), "holds no labels; expected"),
    "no members": (
        lambda folder: [(folder / f"{n}.npy").unlink() for n in range(4)],
        "holds no members; expected",
    ),
    "one member": (
        lambda folder: [(folder / f"{n}.npy").unlink() for n in (1, 2, 3)],
        "'0.npy' is the only member there: an ensemble has 2",
    ),
    "equal files": (same_twice, "'3.npy' holds the same numbers as '1.npy'"),
    "percent": (
        put("1.npy", lambda a: 100 * a),
        "'1.npy' holds neither logits nor probabilities: .* the sum of row 0 is 100 and not 1",
    ),
    "sigmoids": (put("1.npy", lambda a: a / (a + 0.1)), "'1.npy' holds neither logits nor"),
    "one row": (
        put("1.npy", lambda a: a * np.where(np.arange(len(a)) == 9, 3, 1)[:, None]),
        "'1.npy' holds probabilities, but for row 9, whose sum is 3",
    ),
    "answers": (put("1.npy", lambda a: np.eye(10)[a.argmax(1)]), "'1.npy' holds only 0 and 1"),
    "zeros": (put("1.npy", np.zeros_like), "'1.npy' holds neither logits nor probabilities"),
    "two arrays": (archive_of_two, r"'1.npz' holds 2 arrays \(a, b\), not one"),
    "pickle": (pickled, "'1.npy' is not a readable NumPy file"),
    "damaged": (
        lambda folder: (folder / "1.npy").write_bytes(b"\x93NUMPY\x01\0v"),
        "'1.npy' is not a readable NumPy file",
    ),
    "too deep": (
        lambda folder: shutil.copytree(folder, folder / "run" / "k=8"),
        "'run/k=8/0.npy' lies where no member should",
    ),
    "both": (
        lambda folder: shutil.move(folder / "3.npy", (folder / "k=8").mkdir() or folder / "k=8"),
        "'0.npy' lies beside widths such as 'k=8/3.npy'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_folder_is_one_line_that_names_file_and_value(case, tmp_path):
    folder = write(tmp_path / "pool", 4)
    change, line = WRONG[case]
    change(folder)
    with pytest.raises(UserError, match=line) as refused:
        members.survey(folder)
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        (None, "holds the widths 2, 4, 8, 16 and no sizes.json"),
        ({"2": 1}, "'sizes.json' is not"),
        ({"parameters": {"2": 1, "4": 2, "8": 3}}, "'sizes.json' says None parameters of width 16"),
        ({"parameters": {"2": 1, "4": 2, "8": 3, "16": 0}}, "says 0 parameters of width 16"),
        ({"parameters": {"2": 1, "4": 2, "8": 3, "16": 3}}, "the same parameters of two widths"),
        (
            {"parameters": {"2": 1, "4": 2, "8": 3, "16": 4}, "standard": 5},
            "'sizes.json' names 5 as standard",
        ),
        ({"parameters": {}, "common": 8}, "'sizes.json' has an unknown key 'common'"),
    ],
)
def test_wrong_sizes_are_one_line(sizes, line, tmp_path):
    folder = ladder(tmp_path / "ladder")
    (folder / "sizes.json").unlink()
    if sizes is not None:
        (folder / "sizes.json").write_text(json.dumps(sizes))
    with pytest.raises(UserError, match=line):
        members.survey(folder)


def test_one_member_of_a_width_is_refused(tmp_path):
    folder = ladder(tmp_path / "ladder")
    for number in (16, 17, 18, 19):
        (folder / f"k=16/{number}.npy").unlink()
    with pytest.raises(UserError, match=r"'k=16/15\.npy' is the only member of k = 16"):
        members.survey(folder)


def test_what_is_refused_writes_nothing(tmp_path):
    """`pin` leaves local.yaml as it is; a file that changed since is refused by `prepare`."""
    root = clone(tmp_path / "clone")
    folder = write(tmp_path / "exported", 4)
    local = root / "config/local.yaml"
    local.write_text("sources:\n  members: {predictions: ../exported}\n")
    before = local.read_bytes()
    put("2.npy", at(0, 0, np.nan))(folder)
    done = refigure(root, "pin", "members", check=False)
    assert done.returncode != 0 and done.stderr.count("\n") == 1
    assert "'2.npy' holds nan in row 0, column 0" in done.stderr and "Traceback" not in done.stderr
    assert local.read_bytes() == before
    write(folder, 4)
    refigure(root, "pin", "members")
    recipes = Graph(Config(root), "members").recipes
    [data] = [name for name, recipe in recipes.items() if recipe["name"] == "members"]
    np.save(folder / "4.npy", classifiers()[1][4])
    done = refigure(root, "prepare", data, "--scale", "members", check=False)
    assert done.returncode != 0 and "expected sha256" in done.stderr
    assert not list((root / "results").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("without", "line"),
    [
        ("power-lows/fig1", "unknown paper 'power-lows'; did you mean 'power-laws'"),
        ("power-laws/fig99", "'power-laws' has no 'fig99'"),
    ],
)
def test_a_scale_leaves_out_what_there_is(without, line, tmp_path):
    root = clone(tmp_path / "clone")
    (root / "config/scales/few.yaml").write_text(f"extends: members\nwithout: [{without}]\n")
    graph = Graph(Config(root), "few")
    with pytest.raises(UserError, match=f"config/scales/few.yaml: without: {line}"):
        graph.joined("power-laws")


def test_a_recipe_of_members_reads_predictions_alone(tmp_path):
    with pytest.raises(UserError, match="not one of kind 'digits'"):
        members.read({"source": {"kind": "digits"}}, tmp_path)
