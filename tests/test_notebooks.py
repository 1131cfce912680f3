"""Every figure of three-regimes, drawn by its notebook from made-up tables of the real columns."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import drawing
import numpy as np
import pandas as pd
import pytest
import yaml
from refigure.tables import decay, sphere, toy

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "code/notebooks/three-regimes"
FIGURES = yaml.safe_load((ROOT / "config/papers/three-regimes.yaml").read_text())["figures"] or {}
SHAPES = list({figure["notebook"]: name for name, figure in reversed(FIGURES.items())}.values())
EPOCHS = 40
ELRS = (1.0e-3, 3.0e-3, 5.6e-3, 1.0e-2, 1.8e-2, 3.2e-2, 1.0e-1, 1.0)
FEW = (1.0e-3, 1.0e-2, 3.2e-2, 1.0e-1, 1.0)
STAND_INS = ("sphere_m2", "sphere_m3", "sphere_m4", "sphere_i")
VARIANTS = ("sphere_a1", "sphere_a2", "sphere_a3", "sphere_a4", "sphere_a6", "sphere_a7")


def history(rate: float, seed: int, epochs: int = EPOCHS, start: float = 8.0) -> pd.DataFrame:
    """One run: it converges below a rate of 8e-3, hovers below 5e-2, and else walks."""
    epoch = np.arange(epochs + 1.0)
    noise = np.random.default_rng([seed, int(rate * 1e6)]).standard_normal((4, epochs + 1))
    noise[:, 0] = 0
    if rate < 8e-3:
        loss = start * np.exp(-epoch * (0.15 + 40 * rate)) + 1e-4
        error, gradient = 60 * np.exp(-epoch / 5), 130 * (loss / start) ** 0.9
        test = 22 - 900 * rate + 65 * np.exp(-epoch / 4)
    elif rate < 5e-2:
        level = 0.3 * (rate / 8e-3) ** 0.9
        loss = level + (start - level) * np.exp(-epoch / 2)
        error, gradient = 60 * level / (1 + level) + 30 * np.exp(-epoch), 25 * (8e-3 / rate) ** 0.4
        gradient, test = gradient + 105 * np.exp(-epoch / 2), 30 + 20 * level + 0 * epoch
    else:
        loss, error, test = start + 0 * epoch, 90 + 0 * epoch, 90 + 0 * epoch
        gradient = 130 * (1 + 20 * rate * np.minimum(epoch, 5))
    cosine = np.exp(-np.minimum(rate * epoch * 5, 3)) * (1 + 0.02 * noise[3])
    return pd.DataFrame(
        {
            "seed": seed,
            "run": f"{rate:g}-{seed}-{epochs}",
            "step": epoch * 15,
            "epoch": epoch,
            "train_loss": loss * np.exp(0.08 * noise[0]),
            "train_error": np.clip(error, 0, 90),
            "chance": 90.0,
            "gradient_norm": gradient / 6,
            "effective_gradient_norm": gradient * np.exp(0.06 * noise[1]),
            "test_loss": loss + 1,
            "test_error": np.clip(test + noise[2], 0, 91),
            "test_error_recomputed": np.clip(test, 0, 91),
            "weight_norm": 6.3,
            "cosine_to_start": np.minimum(cosine, 1),
            "cosine_to_previous": np.where(epoch, np.exp(-5 * rate), np.nan),
            "distance_to_start": np.sqrt(2 - 2 * np.clip(cosine, 0, 1)),
            "train_loss_running": loss,
        }
    )


def runs(rates=ELRS, seeds=(0, 1, 2), axis: str = "elr", **axes: object) -> pd.DataFrame:
    """Histories of a grid, the second run without a test at odd epochs and one that ended early."""
    frames = [history(rate, seed).assign(**{axis: rate}) for rate in rates for seed in seeds]
    frames[1].loc[1::2, ["test_error", "test_error_recomputed"]] = np.nan
    frames[-1].loc[EPOCHS - 3 :, ["train_loss", "effective_gradient_norm"]] = np.nan
    return pd.concat(frames, ignore_index=True).assign(experiment="made_up", **axes)


def filters(rates=ELRS) -> pd.DataFrame:
    """Norms and steps of 12 filters whose steps become equal."""
    rng = np.random.default_rng(0)
    rows = []
    for rate in rates:
        for epoch in (0, 1, 2, 5, 10, 20, 40):
            steps = 20 * rate * np.exp(rng.standard_normal(12) * 0.8 * np.exp(-epoch / 10))
            rows += [(rate, 0, epoch, i, 1 + rng.random(), steps[i]) for i in range(12)]
    names = ["elr", "seed", "epoch", "index", "filter_norm", "filter_step"]
    return pd.DataFrame(rows, columns=names).assign(experiment="made_up")


def decaying() -> pd.DataFrame:
    """Runs whose ELR rises; the one of a middle LR jumps."""
    frames = []
    for lr in (0.01, 0.1, 1.0, 3.0):
        run = history(3e-3 if lr < 1 else 2e-2, 0)
        elr = lr / 40 * np.exp(np.minimum(run["epoch"] * lr * 0.3, 2))
        if lr == 0.1:
            run.loc[[20, 21, 34], "train_loss"] = [2.5, 1.4, 1.9]
        run["run"] = f"decay-{lr}"
        frames.append(run.assign(lr=lr, wd=0.01, elr=elr))
    return pd.concat(frames, ignore_index=True)


def made_up() -> dict[str, pd.DataFrame]:
    """All tables by name, computed from made-up histories by the real functions."""
    tables = {"sphere_m1": runs()}
    tables |= {name: runs(FEW, (0,)) for name in (*STAND_INS, *VARIANTS, "sphere_a8")}
    for number in (1, 2, 3, 4):
        table = tables[f"sphere_m{number}"]
        tables[f"lines_m{number}"] = table[table["seed"] == 0]
    tables["lines_fig1"] = tables["lines_m1"]
    wide = [
        runs(FEW, (0,)).assign(k=k, run=lambda frame, k=k: frame["run"] + f"-{k}") for k in (2, 4)
    ]
    tables["sphere_a9"] = pd.concat(wide)
    plain = runs((0.02, 0.2, 0.64, 2.0, 20.0), (0,), "lr")
    tables["plain_a5"] = plain.drop(columns=["effective_gradient_norm"])
    tables["lines_a5"], tables["lines_i"] = tables["plain_a5"], tables["sphere_i"]
    tables |= {f"lines_a{n}": tables[f"sphere_a{n}"] for n in (1, 2, 3, 4, 6, 7, 8, 9)}
    families = {f"m{number}": tables[f"sphere_m{number}"] for number in (1, 2, 3, 4)}
    regimes = sphere.regimes(**families)
    names = ("main", "m1", "pairs", "levels", "dense")
    tables |= {f"regimes_{name}": regimes for name in names}
    tables |= {f"borders_{name}": sphere.borders(regimes) for name in names if name != "pairs"}
    tables["sphere_r1"] = runs((1e-3, 3e-3), (0, 1)).assign(plr=3e-3)
    between = [
        (kind, seed, first, second, alpha, 1e-3 * (1 + 4 * alpha * (1 - alpha)))
        for kind, first, second in (("neighbours", 1e-3, 3e-3), ("fine-tuned", 3e-3, 1e-3))
        for seed in (0, 1)
        for alpha in np.linspace(0, 1, 5)
    ]
    columns = ["kind", "seed", "first_elr", "second_elr", "alpha", "train_loss"]
    tables["paths_r1"] = sphere.paths(pd.DataFrame(between, columns=columns))
    tables["equal_loss"] = sphere.equal_loss(regimes, **families)
    for family, seeds in (("m1", (0, 1, 2)), ("m3", (0,))):
        frames = [
            history(3e-3, seed, 15, start=1 + 30 * plr).assign(
                plr=plr, elr=elr, experiment="made_up", run=f"{plr}-{elr}-{seed}"
            )
            for plr in ELRS
            for elr in (1e-3, 3e-3)
            for seed in seeds
        ]
        tables[f"finetune_{family}"] = pd.concat(frames, ignore_index=True)
        tables[f"filters_{family}"] = filters()
    tuned = {family: tables[f"finetune_{family}"] for family in ("m1", "m3")}
    tables["finetuned"] = sphere.finetuned(regimes, **tuned)
    tables["best_errors"] = sphere.best_errors(regimes, tables["finetuned"])
    switch = [
        history(elr, seed, start=0.05 + 20 * plr).assign(
            plr=plr, elr=elr, experiment="made_up", run=f"{plr}-{elr}-{seed}"
        )
        for plr in (3e-3, 1e-2, 3.2e-2, 1e-1)
        for elr in (1e-2, 3.2e-2)
        for seed in (0, 1, 2)
    ]
    tables["switch_f2"] = pd.concat(switch, ignore_index=True)
    tables["transfer_after"], tables["transfer_initial"] = tables["switch_f2"], tables["sphere_m1"]
    tables["switched"] = sphere.switched(
        regimes, m1=tables["sphere_m1"], m1_switch=tables["switch_f2"]
    )
    times = [
        (elr, seed, 20 / (7.5e-3 - elr) * 2e-3 * (1 + 0.1 * seed) if elr < 7e-3 else np.nan)
        for elr in (4e-3, 5e-3, 6e-3, 7e-3, 8e-3)
        for seed in (0, 1, 2)
    ]
    times = pd.DataFrame(times, columns=["elr", "seed", "epochs_to_converge"])
    error = (32 - 800 * times["elr"] + times["seed"]).where(times["epochs_to_converge"].notna())
    tables["convergence_times"] = times.assign(
        cap=300.0, threshold=0.1, test_error=error, test_error_recomputed=error
    )
    tables["decay_w"] = decaying()
    tables["decay_jumps"] = decay.jumps(decay=tables["decay_w"], floor=0.05)
    curvature = regimes[["family", "elr", "seed"]].assign(
        effective_trace=3 / regimes["elr"], effective_sharpness=1 / regimes["elr"]
    )
    tables["curvature"] = curvature.reindex(columns=list(sphere.CURVATURE))
    tables["random_walk"] = sphere.random_walk(tables["sphere_m1"])
    practical = [
        runs((1e-3, 1e-2, 1e-1), (0,), "lr").assign(experiment=f"practical_{net}_c10")
        for net in ("convnet", "resnet")
    ]
    tables["practical_p"] = pd.concat(practical)
    tables["toy_levels"] = toy.levels(
        products=(0.5, 0.9, 1.1, 3.0, 30.0), starts=4, steps=300, trailing=50
    )
    tables["toy_dynamics"] = toy.dynamics(steps=200)
    return tables


def verdicts() -> dict:
    """Two verdicts as the stage of verdicts writes them."""
    records = []
    number = {"value": 0.62, "se": 0.11, "n": 3, "n_of": "seeds"}
    plain = {"value": 1.0, "se": None, "n": None, "n_of": None}
    for name, verdict, reason in (("C2", "holds", ""), ("C10", "undecided", "1 seed")):
        record = {
            "id": name,
            "statement": "Inside regime 1 a larger ELR trains faster and ends in flatter minima.",
            "verdict": verdict,
            "numbers": {"gain in test error": number, "spearman": plain},
            "threshold": {"gain in test error": 0.0},
            "figures": [],
            "reason": reason,
        }
        records.append(record)
    return {"paper": "three-regimes", "scale": "demo", "claims": records}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them."""
    folder = tmp_path_factory.mktemp("tables")
    drawing.write_tables(folder, made_up(), bare=True)
    for kind, record in (("full", verdicts()), ("empty", verdicts() | {"claims": []})):
        (folder / kind / "verdicts.json").write_text(json.dumps(record))
    return folder


def draw(figure: str, folder: Path, kind: str, target: Path, scale: str = "demo") -> pd.DataFrame:
    """Draw a figure from made-up tables."""
    return drawing.draw("three-regimes", FIGURES[figure], folder / kind, target, scale)


@pytest.mark.parametrize("figure", [*SHAPES, "figA_A5", "figA_A9"])
def test_a_figure_is_drawn_and_its_csv_has_rows(figure, folder, tmp_path, quick):
    numbers = draw(figure, folder, "full", tmp_path / figure)
    assert len(numbers)
    assert (tmp_path / f"{figure}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("figure", SHAPES)
def test_a_figure_is_drawn_from_empty_tables(figure, folder, tmp_path, quick):
    assert not len(draw(figure, folder, "empty", tmp_path / figure))


def test_every_figure_names_tables_that_are_made_up_here(folder):
    tables = {name for figure in FIGURES.values() for name in figure.get("tables", {}).values()}
    assert tables == {path.stem for path in (folder / "full").glob("*.parquet")} & tables


def test_a_design_figure_says_so_in_its_caption():
    for name, figure in FIGURES.items():
        assert ("[design]" in figure["caption"]) == figure.get("design", False), name
        assert figure["look"], name
        assert figure["alt"], name


@pytest.mark.parametrize("figure", [name for name in FIGURES if FIGURES[name].get("published")])
def test_published_numbers_can_be_drawn_at_paper_scale(figure, folder, tmp_path, quick):
    draw(figure, folder, "full", tmp_path / figure, scale="paper")


@pytest.mark.parametrize("figure", ["fig1", "fig_border", "tab_claims"])
def test_the_same_tables_give_the_same_bytes(figure, folder, tmp_path):
    for copy in ("first", "second"):
        draw(figure, folder, "full", tmp_path / copy)
    for suffix in ("pdf", "png", "csv"):
        first = (tmp_path / f"first.{suffix}").read_bytes()
        assert first == (tmp_path / f"second.{suffix}").read_bytes()
    assert 5_000 < (tmp_path / "first.png").stat().st_size < 200_000


def test_the_csv_of_figure_1_holds_the_numbers_drawn(folder, tmp_path, quick):
    numbers = draw("fig1", folder, "full", tmp_path / "fig1")
    table = pd.read_parquet(folder / "full/lines_fig1.parquet")
    columns = ["elr", "seed", "epoch", "train_loss", "test_error_recomputed"]
    columns += ["effective_gradient_norm", "test_error"]
    expected = table[table["seed"] == 0][columns].reset_index(drop=True)
    lines = numbers[numbers["part"] == "over training"][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(lines, expected, check_dtype=False, rtol=1e-9)
    ends = numbers[numbers["part"] == "at the end"]  # the second row
    assert len(ends) and ends["final_train_loss"].notna().all()


def test_levels_are_means_over_seeds_with_standard_errors(folder, tmp_path, quick):
    numbers = draw("fig_r2_levels", folder, "full", tmp_path / "levels")
    regimes = pd.read_parquet(folder / "full/regimes_main.parquet")
    own = regimes[(regimes["family"] == "M1") & (regimes["elr"] == 1.8e-2)]
    own = own["train_loss_half"]
    wanted = "family == 'M1' and elr == 0.018 and quantity == 'train_loss_half'"
    drawn = numbers.query(wanted).iloc[0]
    assert drawn["n"] == 3
    assert drawn["mean"] == pytest.approx(own.mean(), rel=1e-9)
    assert drawn["se"] == pytest.approx(own.std(ddof=1) / np.sqrt(3), rel=1e-8)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_names_tables_that_exist(path):
    known = set()
    for file in ("regime_tables", "figure_tables"):
        text = (ROOT / f"config/experiments/{file}.yaml").read_text(encoding="utf-8")
        known |= set(yaml.safe_load(text)["tables"])
    assert set(re.findall(r"tables/(\w+)\.parquet", path.read_text())) <= known


def test_every_notebook_draws_a_figure():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {
        figure["notebook"] for figure in FIGURES.values()
    }


DRAW = """
import json, sys
from pathlib import Path
from refigure.machine.notebooks import execute
execute(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), Path.cwd())
"""


def executed(notebook: dict, given: dict, folder: Path, **environment: str) -> subprocess.Popen:
    """A notebook executed by a process of its own, from `in.ipynb` to `out.ipynb` of a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "in.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    command = [sys.executable, "-c", DRAW, "in.ipynb", "out.ipynb", json.dumps(given)]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def cells(*sources: str) -> dict:
    """A notebook of some cells, after one tagged `parameters`."""
    made = [
        {
            "cell_type": "code",
            "id": f"cell{number}",
            "metadata": {"tags": ["parameters"] if number == 0 else []},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(["value = 1", *sources])
    ]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def test_figures_import_no_library_that_they_do_not_need(folder, tmp_path):
    """torch, scipy and seaborn stay out: each would take longer to load than a figure to draw."""
    source = NOTEBOOKS / f"{FIGURES['fig1']['notebook']}.ipynb"
    notebook = json.loads(source.read_text(encoding="utf-8"))
    probe = "import sys; print(sorted({'torch', 'scipy', 'seaborn', 'sklearn'} & set(sys.modules)))"
    notebook["cells"].append(dict(notebook["cells"][-1], id="probe", source=probe))
    given = drawing.parameters(FIGURES["fig1"], folder / "full", tmp_path / "figure")
    done = executed(notebook, given, tmp_path / "own")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figure.pdf").is_file()
    kept = json.loads((tmp_path / "own/out.ipynb").read_text(encoding="utf-8"))
    shown = [output.get("data", {}) for cell in kept["cells"] for output in cell.get("outputs", [])]
    [picture] = [data["image/png"] for data in shown if "image/png" in data]
    assert base64.b64decode(picture).startswith(b"\x89PNG") and " at 0x" not in json.dumps(shown)
    assert "".join(kept["cells"][-1]["outputs"][0]["text"]) == "[]\n"


def test_outputs_of_cells_are_kept_in_order(tmp_path):
    done = executed(
        cells("print(value)\nvalue + 1", "import sys; print(3, file=sys.stderr)"),
        {"value": 4},
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in kept for output in cell.get("outputs", [])]
    assert [output["output_type"] for output in outputs] == ["stream", "execute_result", "stream"]
    assert "".join(outputs[0]["text"]) == "4\n"  # the parameter, not the notebook's default
    assert outputs[1]["data"]["text/plain"] == ["5"] or outputs[1]["data"]["text/plain"] == "5"


def test_a_cell_that_raises_ends_the_notebook_and_shows_its_own_lines(tmp_path):
    done = executed(
        cells("def f():\n    return 1 / (value - 1)", "f()", "print('after')"),
        {"value": 1},
        tmp_path,
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    kept = json.loads((tmp_path / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    [error] = [
        output
        for cell in kept
        for output in cell.get("outputs", [])
        if output["output_type"] == "error"
    ]
    told = "".join(error["traceback"])
    assert "return 1 / (value - 1)" in told and "notebooks.py" not in told
    assert "after" not in json.dumps([cell.get("outputs") for cell in kept[-1:]])


def test_few_open_files_are_enough_and_a_cell_that_needs_more_says_so(tmp_path):
    """A kernel took more than 64 for its sockets, and its end had no reason."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    done = executed(cells(limit, "print(value)"), {"value": 1}, tmp_path / "few")
    assert done.returncode == 0, done.stderr
    many = "files = [open('/dev/null') for _ in range(100)]"
    done = executed(cells(limit, many), {"value": 1}, tmp_path / "many")
    assert done.returncode == 1 and "Too many open files" in done.stderr


HOSTILE = """
import matplotlib
matplotlib.rcParams["lines.linewidth"] = 17
raise SystemExit("the user's own start-up file ran")
"""


def test_a_hostile_environment_changes_no_byte_of_a_figure(folder, tmp_path):
    source = NOTEBOOKS / f"{FIGURES['fig1']['notebook']}.ipynb"
    notebook = json.loads(source.read_text(encoding="utf-8"))
    home = tmp_path / "home"
    startup = home / ".ipython/profile_default/startup/00-start.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(HOSTILE, encoding="utf-8")
    (home / "start.py").write_text(HOSTILE, encoding="utf-8")
    (home / "matplotlibrc").write_text("lines.linewidth: 9\nfont.size: 30\nbackend: svg\n")
    hostile = {
        "HOME": str(home),
        "PYTHONSTARTUP": str(home / "start.py"),
        "IPYTHONDIR": str(home / ".ipython"),
        "MATPLOTLIBRC": str(home / "matplotlibrc"),
        "MPLBACKEND": "svg",
        "LANG": "C",
        "LC_ALL": "C",
        "TZ": "Asia/Kathmandu",
    }
    drawn = []
    for name, environment in (("plain", {}), ("hostile", hostile)):
        target = tmp_path / name / "figure"
        target.parent.mkdir()
        given = drawing.parameters(FIGURES["fig1"], folder / "full", target)
        done = executed(notebook, given, tmp_path / name, **environment)
        assert done.returncode == 0, done.stderr
        drawn.append(
            [target.with_suffix(f".{kind}").read_bytes() for kind in ("pdf", "png", "csv")]
        )
    assert drawn[0] == drawn[1]
