"""`docs/columns.md` names every column of every table, and no other."""

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from refigure.claims.large_lr import by_setup
from refigure.graph.lookups import function_of
from refigure.measures import spectra
from refigure.models import convnet
from refigure.models.layers import Statistics
from refigure.tables import (
    decay,
    large_lr,
    memorization,
    own_members,
    pools,
    rnn,
    sphere,
    ticks,
    toy,
    transfer,
)
from refigure.tables.histories import Recorded
from refigure.training.passes import TrainPass
from refigure.training.recorders import basic as recorders
from refigure.training.recorders import step_norms
from refigure.training.stack import Stack

ROOT = Path(__file__).parents[1]


@cache
def documented() -> dict[str, list[str]]:
    """Table -> its columns as the page lists them."""
    text = (ROOT / "docs/columns.md").read_text(encoding="utf-8")
    found = {}
    for section in text.split("\n## ")[1:]:
        columns = re.findall(r"^\| (\w+) \|", section, re.MULTILINE)
        listed = re.search(r"^Tables: (.*?)\n\n", section, re.MULTILINE | re.DOTALL)
        names = re.findall(r"`(\w+)`", listed.group(1)) if listed else [section.split("\n")[0]]
        assert columns[0] == "column"
        for name in names:
            assert name not in found, f"{name} stands twice on the page"
            found[name] = columns[1:]
    return found


@cache
def written() -> dict[str, dict]:
    """The tables of the configuration."""
    tables = {}
    for path in sorted((ROOT / "config/experiments").glob("*.yaml")):
        tables |= yaml.safe_load(path.read_text(encoding="utf-8")).get("tables", {})
    return tables


COLUMNS = {
    "regimes_main": sphere.REGIMES,
    "borders_main": sphere.BORDERS,
    "equal_loss": sphere.EQUAL_LOSS,
    "finetuned": sphere.FINETUNED,
    "best_errors": sphere.BEST_ERRORS,
    "switched": sphere.SWITCHED,
    "convergence_times": sphere.CONVERGENCE_TIMES,
    "curvature": sphere.CURVATURE,
    "random_walk": sphere.RANDOM_WALK,
    "paths_r1": sphere.PATHS,
    "decay_jumps": decay.JUMPS,
    "decay_runs": decay.RUNS,
    "periods_main": decay.PERIODS,
    "minima_of_periods": decay.MINIMA,
    "sharpness_before_jumps": decay.BRINKS,
    "lr_pretrained_main": large_lr.PRETRAINED,
    "lr_finetuned_main": large_lr.FINETUNED,
    "lr_averaged_main": large_lr.AVERAGED,
    "lr_geometry_main": large_lr.GEOMETRY,
    "lr_bands_main": large_lr.BANDS,
    "lr_bounds_main": large_lr.BOUNDS,
    "lr_summary_main": large_lr.SUMMARY,
    "lr_two_stages": large_lr.TWO_STAGE,
    "lr_norms": large_lr.NORMS,
    "lr_sharpness": large_lr.SHARPNESS,
    "lr_verdicts": by_setup.VERDICTS,
    "lr_band_example": spectra.EXAMPLE,
    "lr_bands_moved": ticks.MOVED,
    "tick_features": ticks.FEATURES,
    "tick_points": ticks.POINTS,
    "rnn_networks": rnn.NETWORKS,
    "rnn_epochs": rnn.EPOCHS,
    "rnn_gates": rnn.GATES,
    "rnn_log_alpha": rnn.LOG_ALPHA,
    "rnn_latency": rnn.LATENCY,
    "rnn_thresholds": rnn.THRESHOLDS,
    "kept_words": rnn.WORDS,
    "word_survival": rnn.SURVIVAL,
    "interpretability": rnn.INTERPRETABILITY,
    "pool_sizes": pools.SIZES,
    "own_pool_1": own_members.ROWS,
    "pool_ensembles_main": pools.ENSEMBLES,
    "pool_temperatures_main": pools.TEMPERATURES,
    "pool_fits_main": pools.FITS,
    "pool_splits_main": pools.SPLITS,
    "pool_predictions_main": pools.PREDICTIONS,
    "pool_predicted_splits_main": pools.PREDICTED_SPLITS,
    "transfer_ensembles": transfer.ENSEMBLES,
    "transfer_soups": transfer.SOUPS,
    "transfer_lines": transfer.LINES,
    "transfer_barriers": transfer.BARRIERS,
    "transfer_planes": transfer.PLANES,
    "transfer_similarities": transfer.SIMILARITIES,
    "transfer_shifts": transfer.SHIFTS,
    "transfer_tuning": transfer.TUNING,
    "transfer_data": transfer.DATA,
    "transfer_settings": transfer.SETTINGS,
    "cm_objects": memorization.OBJECTS,
    "cm_steps": memorization.STEPS,
    "cm_points": memorization.POINTS,
    "cm_resamples": memorization.RESAMPLES,
    "cm_views": memorization.VIEWS,
    "cm_matched": memorization.MATCHED,
    "cm_pairs": memorization.PAIRS,
    "cm_classes": memorization.CLASSES,
    "cm_correlations": memorization.CORRELATIONS,
    "cm_held_out": memorization.HELD_OUT,
    "cm_probes": memorization.PROBES,
    "cm_kl": memorization.DIVERGENCES,
    "cm_tsne": memorization.NEIGHBOURS,
    "cm_pseudo_images": memorization.PATCHES,
}


def empty(table: str, tables: dict[str, dict]) -> pd.DataFrame:
    """A table made of no runs, through the tables it is made of."""
    definition = tables[table]
    if "compute" not in definition:
        return pd.DataFrame({name: [] for name in ("experiment", "run", "step", "epoch")})
    arguments = {name: empty(other, tables) for name, other in definition.get("tables", {}).items()}
    arguments |= {name: pd.DataFrame() for name in definition.get("probes", {})}
    arrays = definition.get("arrays", [])
    if isinstance(arrays, dict):  # taken in their own types
        arguments |= {name: Recorded(pd.DataFrame([]), [], []) for name in arrays}
        arrays = []
    for array in arrays:
        names = ["run", "epoch", "index", array, "elr", "seed", "experiment"]
        arguments[array] = pd.DataFrame(columns=names)
    runs = definition.get("runs", {})
    roles = ["runs"] if not isinstance(runs, dict) or "from" in runs else runs
    arguments |= {role: pd.DataFrame({"run": []}) for role in roles}
    arguments |= {role: pd.DataFrame() for role in definition.get("grid", {})}
    arguments |= dict.fromkeys(definition.get("data", {}))
    return function_of(definition["compute"], table)(**arguments, **definition.get("options", {}))


def test_every_table_is_on_the_page_and_no_other():
    assert set(documented()) == set(written())


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_the_page_has_the_columns_of_the_table(table):
    assert documented()[table] == list(COLUMNS[table])


NOT_TOY = [name for name in written() if not name.startswith("toy_")]


@pytest.mark.parametrize("table", NOT_TOY)
def test_a_table_of_no_runs_has_its_columns(table):
    frame = empty(table, written())
    assert not len(frame)
    if "compute" in written()[table]:
        assert list(frame.columns) == documented()[table]


def test_the_page_has_the_columns_of_the_toys_tables():
    levels = toy.levels([(1.0, 2.0)], (0.5, 2.0), starts=2, steps=20, trailing=5)
    assert documented()["toy_levels"] == list(levels.columns)
    assert documented()["toy_dynamics"] == list(toy.dynamics(steps=20).columns)
    borders = toy.measured_borders([(1.0,)], (1.1,), starts=2, steps=1000)
    assert documented()["toy_borders"] == list(borders.columns)


def test_the_page_has_what_the_recorders_measure():
    """Each recorder at the initial state of a small network, on no more than its own shapes."""
    model = convnet.build(1, 8, 3, k=1)
    generator = torch.Generator().manual_seed(0)
    stack = Stack(model, [model.initial(generator, generator)], frozenset(), torch.device("cpu"))
    one = torch.ones(1)
    log = step_norms.StepLog(stack)
    log.state["steps"] += 1
    moment = SimpleNamespace(
        stack=stack,
        start=stack.flat,
        statistics=Statistics.fresh(model.normalised, 1),
        factor=1.0,
        task=SimpleNamespace(chance=200 / 3),
        optimiser=SimpleNamespace(effective_lr=lambda _: one),
        test=lambda _: (one, one),
        train_pass=TrainPass(one, one, Statistics({}), one, one, one),
        steps=log,
        memory={},
    )
    settings = {"gradient": True, "squared": True, "recomputed": True}
    measured = {}
    for record in (recorders.train, recorders.test, recorders.geometry, recorders.turn):
        measured |= record(moment, settings)
    measured |= step_norms.step_norms(moment, settings)
    axes = {"experiment", "elr", "lr", "plr", "wd", "k", "seed", "run", "step", "epoch"}
    # The loop itself adds the running loss.
    measured |= {"head_norm": one, "free_norm": one}  # of networks whose every weight is trained
    assert set(documented()["sphere_m1"]) == axes | set(measured) | {"train_loss_running"}
