"""Every figure of periodic-behavior, drawn by its notebook from made-up tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import drawing
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from refigure.tables import decay

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "code/notebooks/periodic-behavior"
PAPER = yaml.safe_load((ROOT / "config/papers/periodic-behavior.yaml").read_text())
FIGURES = PAPER["figures"]
SHAPES = list({figure["notebook"]: name for name, figure in reversed(FIGURES.items())}.values())
WRITTEN = yaml.safe_load((ROOT / "config/experiments/periodic_tables.yaml").read_text())["tables"]
EPOCHS, AN_EPOCH = 60, 7


def history(lr: float, wd: float, seed: int = 0, kind: str = "", **columns) -> pd.DataFrame:
    """One run: below a product of 1e-3 it converges, up to 2e-2 it jumps every 15 epochs."""
    epoch = np.arange(EPOCHS + 1.0)
    noise = np.random.default_rng([seed, int(lr * 1e4)]).standard_normal(EPOCHS + 1)
    product = lr * wd
    kind = kind or ("periodic" if 1e-3 < product < 2e-2 else "converging")
    kind = "equilibrium" if product >= 2e-2 else kind
    since = epoch % 15 if kind == "periodic" else epoch
    loss = np.maximum(4 * 0.4**since, 1e-3) if kind != "equilibrium" else 0.6 + 0 * epoch
    elr = lr / 40 * np.exp(2 * product * AN_EPOCH * (since if kind != "equilibrium" else 0))
    frame = {
        "train_loss": loss * np.exp(0.1 * noise),
        "test_error": 20 + 60 * loss / 4,
        "test_error_recomputed": 18 + 60 * loss / 4,
        "weight_norm": np.sqrt(lr / elr),
        "elr": elr,
        "effective_gradient_norm": 30 * (loss / 4) ** 0.5,
        "effective_gradient_rms": 33 * (loss / 4) ** 0.5,
        "steps_rms": np.sqrt(2 * product) + 0 * epoch,
        "steps_gradient": 32 * (loss / 4) ** 0.5,
        "head_norm": 10 + 0 * epoch,
        "free_norm": 5 - 0.02 * epoch,
    } | columns
    run = f"{lr}-{wd}-{seed}-{kind}-{columns.get('k', '')}{columns.get('norm', '')}"
    keys = {"experiment": "decay_lr", "lr": lr, "wd": wd, "seed": seed, "run": run}
    return pd.DataFrame(keys | frame, index=range(EPOCHS + 1)).assign(
        epoch=epoch, step=AN_EPOCH * epoch
    )


def together(*frames: pd.DataFrame, **columns) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True).assign(**columns)


def named(experiment: str, *frames: pd.DataFrame) -> pd.DataFrame:
    own = together(*frames, experiment=experiment)
    return own.assign(run=experiment + own["run"])


def zoomed() -> pd.DataFrame:
    """A run with every step of some epochs about its first jump."""
    run = history(1.0, 0.01, 1)
    steps = np.arange(12 * AN_EPOCH, 22 * AN_EPOCH)
    burst = np.exp(-(((steps - 14.3 * AN_EPOCH) / 5) ** 2))
    within = pd.DataFrame(
        {
            "step": steps,
            "epoch": steps / AN_EPOCH,
            "step_loss": 1e-3 + 3 * burst,
            "step_size": 0.02 + burst,
            "step_weight_norm": 3 + 20 * burst,
            "step_turn": 1e-4 + 0.3 * burst,
        }
    ).assign(lr=1.0, wd=0.01, seed=1, run=run["run"][0], experiment="decay_zoom")
    return together(run, within)


def switched() -> pd.DataFrame:
    """Three runs that are one up to epoch 30."""
    frames = []
    for n, name in enumerate(("off", "norm", "head")):
        run = history(1.0, 0.01, 1)
        run.loc[run["epoch"] > 30, "train_loss"] = 10.0 ** -(n + 1)
        frames.append(named(f"decay_switch_{name}", run))
    return together(*frames)


def histories() -> dict[str, pd.DataFrame]:
    sweep = together(*(history(lr, 0.01) for lr in (0.01, 0.3, 1.0, 3.0)))
    repeats = together(*(history(1.0, 0.01, seed) for seed in (1, 2)))
    nets = ("decay_convnet_c100", "decay_resnet_c10", "decay_resnet_c100")
    return {
        "decay_l": sweep,
        "lines_lr_sweep": sweep,
        "line_closer_look": sweep[sweep["lr"] == 1.0],
        "decay_r": repeats,
        "decay_wds": together(*(history(0.3, wd) for wd in (0.02, 0.03)), history(1.0, 9e-3)),
        "decay_long": named("decay_lr_long", history(1.0, 0.01)),
        "decay_z": zoomed(),
        "decay_fx": together(
            *(history(1.0, 0.01, kind="converging", norm=norm) for norm in (16.0, 3.0, 40.0))
        ),
        "decay_w0": named("decay_none", history(1.0, 0.0)),
        "decay_sw": switched(),
        "decay_nets": together(*(named(name, history(1.0, 0.01)) for name in nets)),
        "decay_gd": named("decay_full_batch", history(1.0, 0.01)),
        "decay_v1": named("decay_all_parameters", history(1.0, 0.01), history(0.3, 0.01)),
        "line_v1": named("decay_all_parameters", history(1.0, 0.01)),
        "decay_v2": named("decay_momentum", history(0.1, 0.05)),
        "decay_v3": named("decay_width", *(history(1.0, 0.01, k=k) for k in (4, 16))),
        "decay_v4": named("decay_augmented", *(history(1.0, 0.01, k=k) for k in (4, 8))),
        "decay_v5": together(
            *(named(f"decay_{name}", history(1.0, 0.01)) for name in ("ramp", "stairs", "cosine"))
        ),
        "decay_v6": named("decay_noisy_labels", history(1.0, 0.01)),
        "decay_v7": named("decay_less_data", history(1.0, 0.01).assign(data="digits_256")),
        "decay_v8": named("decay_adam", history(0.01, 0.01)),
        "decay_v9": named("decay_practical", history(0.1, 0.05)),
        "line_v9": named("decay_practical", history(0.1, 0.05)),
    }


def made_up() -> dict[str, pd.DataFrame]:
    """All tables that figures draw, computed from made-up histories by the real functions."""
    tables = histories()
    for name, written in WRITTEN.items():
        compute = written.get("compute", "")
        if compute.split(".")[-1] in ("jumps", "periods", "runs"):
            families = {key: tables[table] for key, table in written["tables"].items()}
            function = getattr(decay, compute.split(".")[-1])
            tables[name] = function(**written["options"], **families)
    rows = [
        {
            **{"lr": 1.0, "wd": 0.01, "seed": 0, "first": first, "second": second},
            "cosine": 0.5 ** (second - first),
            "disagreement": 10.0 * (second - first),
            "test_error": 20.0 - first if first == second else np.nan,
            "ensemble_error": 20.0 - 2 * first if first == second else np.nan,
            "test_error_recomputed": 19.0 - first if first == second else np.nan,
            "ensemble_error_recomputed": 19.0 - 2 * first if first == second else np.nan,
        }
        for first in (1, 2, 3)
        for second in range(first, 4)
    ]
    tables["minima_of_periods"] = decay.minima(pd.DataFrame(rows))
    sharpness = [{"lr": 1.0, "wd": 0.01, "seed": 0, "effective_sharpness": 40.0, "images": 8}] * 2
    brinks = decay.brinks(pd.DataFrame(sharpness), tables["jumps_main"])
    tables["sharpness_before_jumps"] = brinks
    return tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them."""
    folder = tmp_path_factory.mktemp("tables")
    drawing.write_tables(folder, made_up(), bare=True)
    for kind in ("full", "empty"):
        (folder / kind / "verdicts.json").write_text('{"claims": []}')
    return folder


def draw(figure: str, folder: Path, kind: str, target: Path, scale: str = "demo") -> pd.DataFrame:
    """Draw a figure from made-up tables."""
    return drawing.draw("periodic-behavior", FIGURES[figure], folder / kind, target, scale)


def cells(notebook: str) -> list[dict]:
    return json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text())["cells"]


DRAWN = [figure for figure in SHAPES if "tab_claims" not in FIGURES[figure]["notebook"]]


@pytest.mark.parametrize("figure", [*DRAWN, "fig_practical", "fig_all_params", "figA_noise_size"])
def test_a_figure_is_drawn_and_its_csv_has_rows(figure, folder, tmp_path, quick):
    assert len(draw(figure, folder, "full", tmp_path / figure))
    assert (tmp_path / f"{figure}.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("figure", [name for name in SHAPES if name != "fig2"])
def test_a_figure_is_drawn_from_empty_tables(figure, folder, tmp_path, quick):
    assert not len(draw(figure, folder, "empty", tmp_path / figure))


def test_the_sweep_draws_the_papers_own_numbers_at_paper_scale(folder, tmp_path, quick):
    draw("fig_lr_sweep", folder, "full", tmp_path / "sweep", scale="paper")


def test_the_csv_of_the_sweep_holds_the_numbers_drawn(folder, tmp_path, quick):
    numbers = draw("fig_lr_sweep", folder, "full", tmp_path / "sweep")
    table = pd.read_parquet(folder / "full/lines_lr_sweep.parquet")
    both = numbers.merge(table, on=["run", "epoch"], suffixes=("", "_table"))
    assert len(both) == len(table) == len(numbers)
    for name in ("train_loss", "test_error", "weight_norm", "elr"):
        np.testing.assert_allclose(both[name], both[f"{name}_table"], rtol=1e-9)
    np.testing.assert_allclose(both["gradient"], both["effective_gradient_norm"], rtol=1e-9)


def test_no_line_of_the_ablations_goes_back_in_time(folder, tmp_path, quick, monkeypatch):
    drawn, plot = [], Axes.plot

    def noted(axes, *values, **style):
        drawn.append(np.asarray(values[0], float))
        return plot(axes, *values, **style)

    monkeypatch.setattr(Axes, "plot", noted)
    draw("fig_fixed_norm", folder, "full", tmp_path / "fixed")
    long = [epochs for epochs in drawn if len(epochs) > EPOCHS / 2]
    assert len(long) >= 10
    assert all((np.diff(epochs) > 0).all() for epochs in long)


def test_the_drawing_has_gradient_steps_at_right_angles_that_lengthen(folder, tmp_path, quick):
    arrows = draw("fig2", folder, "full", tmp_path / "fig2")
    for _, rows in arrows.groupby("panel"):
        by = rows.set_index("arrow")
        vectors = {name: by.loc[name, ["dx", "dy"]].to_numpy(float) for name in by.index}
        assert vectors["weights"] @ vectors["gradient step"] == pytest.approx(0, abs=1e-9)
        moved = vectors["weights"] + vectors["gradient step"]
        assert np.linalg.norm(moved) > np.linalg.norm(vectors["weights"])
        assert vectors["new weights"] == pytest.approx(moved + vectors["weight decay"])
        decay_is = vectors["weight decay"] / vectors["weights"]
        assert decay_is[0] == pytest.approx(decay_is[1]) and decay_is[0] < 0


def test_every_target_of_the_specification_is_there():
    assert list(FIGURES) == [
        *("fig1", "fig2", "fig_lr_sweep", "fig_closer_look", "fig_zoom", "fig_fixed_norm"),
        *("fig_wd_sweep", "fig_long", "fig_minima", "fig_theory", "fig_class_map"),
        *("fig_all_params", "fig_practical", "figA_gd", "figA_nets", "figA_width"),
        *("figA_noise_size", "figA_adam", "tab_jumps", "tab_claims"),
    ]
    assert [name for name in FIGURES if FIGURES[name].get("optional")] == ["figA_adam"]
    assert list(PAPER["claims"]) == [f"C{number}" for number in range(1, 12)]


def test_a_design_figure_says_so_in_its_caption():
    for name, figure in FIGURES.items():
        assert ("[design]" in figure["caption"]) == figure.get("design", False), name
        assert figure["look"], name
        assert figure["alt"], name


def test_every_notebook_draws_a_figure_and_names_tables_that_exist():
    found = {path.stem: path.read_text() for path in NOTEBOOKS.glob("*.ipynb")}
    named = {figure["notebook"] for figure in FIGURES.values()}
    assert set(found) == named - {"../three-regimes/tab_claims"}
    for text in found.values():
        assert set(re.findall(r"tables/(\w+)\.parquet", text)) <= set(WRITTEN)
