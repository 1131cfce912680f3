"""Every figure of the two recurrent papers, drawn by its notebook from made-up tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import drawing
import numpy as np
import pandas as pd
import pytest
import yaml
from refigure.tables import rnn

ROOT = Path(__file__).parents[1]
PAPERS = ("sparse-gated-rnn", "bayesian-compression-nlp")
FIGURES = {
    (paper, name): figure
    for paper in PAPERS
    for name, figure in yaml.safe_load((ROOT / f"config/papers/{paper}.yaml").read_text())[
        "figures"
    ].items()
}
SHAPES = list(
    {
        Path(paper, figure["notebook"]).name: (paper, name)
        for (paper, name), figure in reversed(FIGURES.items())
    }.values()
)
DRAWN_BY_HAND = [("sparse-gated-rnn", "fig1")]
OWN = [
    path for paper in PAPERS for path in sorted((ROOT / "code/notebooks" / paper).glob("*.ipynb"))
]
TASKS = ("sentiment", "topics", "words")
CORPORA = {task: "made-up text" for task in TASKS}
EMBEDDING, HIDDEN, VOCABULARY = 16, 24, 400
DOCUMENTS = ("DCDCCD", "LCLCCL", "LLLCCL", "LLLCLL", "LLLLLL", "LLLLCL")
LANGUAGE = ("DCCD", "LCCL", "LCIL", "LCRL", "LLRL", "LLCL")
METRICS = {"sentiment": (60, 85), "topics": (40, 80), "characters": (3.5, 2.7), "words": (900, 180)}


def history(task: str, config: str, seed: int) -> pd.DataFrame:
    """A run of 30 epochs whose counts fall as the method allows, and whose Original overfits."""
    classifier = task in ("sentiment", "topics")
    place = (DOCUMENTS if classifier else LANGUAGE).index(config)
    epoch = np.arange(31.0)
    done = 1 - np.exp(-epoch / 8)
    first, last = METRICS[task]
    metric = first + (last * (1 + 0.01 * seed) - first) * (1 - np.exp(-epoch / 4))
    if place == 0:
        done = 0 * done
        metric = metric * (1 if classifier else 1 + np.maximum(epoch - 10, 0) * 0.02)
    left = 1 - done * (0.55 + 0.08 * place - 0.01 * seed)
    n_h = np.round(HIDDEN * left)
    gates = {
        f"n_{gate}": np.round(n_h * (1 - done * fall))
        for gate, fall in zip("ifgo", (0.6, 0.8, 0.4, 0.9 if classifier else 0.05))
    }
    n_x = np.round((EMBEDDING if classifier else VOCABULARY) * left)
    weights = {
        "emb": VOCABULARY * EMBEDDING if classifier else np.nan,
        "x": 4 * HIDDEN * (EMBEDDING if classifier else VOCABULARY),
        "h": 4 * HIDDEN**2,
        "d": HIDDEN * (4 if classifier else VOCABULARY),
    }
    nnz = {f"nnz_{name}": np.round(size * left**3) for name, size in weights.items()}
    whole = np.nansum(list(weights.values()))
    counts = {
        "C": whole / np.nansum(list(nnz.values()), axis=0),
        "n_voc": np.round(VOCABULARY * left**2),
        "n_x": n_x,
        "n_h": n_h,
        "n_gates": sum(gates.values()),
        **gates,
        **nnz,
        "macs": sum(gates.values()) * (n_x * classifier + n_h),
    }
    strict = {f"{name}_strict": np.round(value * 0.9) for name, value in counts.items()}
    return pd.DataFrame(
        {
            "experiment": "made_up",
            "config": config,
            "seed": seed,
            "run": f"{task}-{config}-{seed}",
            "step": epoch * 7,
            "epoch": epoch,
            "metric_val": metric,
            "metric_test": metric * 1.01,
            **counts,
            **strict,
            **{f"all_{name}": size for name, size in weights.items()},
            "macs_full": 4 * HIDDEN * (EMBEDDING * classifier + HIDDEN),
            "train_loss_running": 2 - done,
            "kl": 0.4 - done,
            "kl_least": -0.7,
            "kl_weight": np.clip((epoch - 5) / 10, 0, 1) if classifier else 1.0,
            "trivial_val": first,
            "trivial_test": first,
            "pairs_test": np.nan if classifier else (first + last) / 2,
            "vectors": 0.0 if classifier else np.nan,
        }
    )


def histories(configs=None, tasks=TASKS) -> dict[str, pd.DataFrame]:
    chosen = {task: DOCUMENTS if task in ("sentiment", "topics") else LANGUAGE for task in tasks}
    return {
        task: pd.concat(
            [history(task, config, seed) for config in own[slice(configs)] for seed in range(3)],
            ignore_index=True,
        )
        for task, own in chosen.items()
    }


def gates(task: str) -> pd.DataFrame:
    generator = np.random.default_rng(len(task))
    share = dict(zip("ifgo", (0.5, 0.2, 0.6, 0.05 if task in ("sentiment", "topics") else 0.95)))
    rows = []
    for seed in range(2):
        for unit in range(HIDDEN):
            alive = generator.random() < 0.7
            for gate in "ifgo":
                live = alive and generator.random() < share[gate]
                bias = generator.normal()
                value = np.tanh(bias) if gate == "g" else 1 / (1 + np.exp(-bias))
                rows.append((seed, unit, gate, alive, live, live, bias, value))
    names = ["seed", "unit", "gate", "alive", "nonconstant", "nonconstant_strict", "bias"]
    config = "LLLLLL" if task in ("sentiment", "topics") else "LLRL"
    return pd.DataFrame(rows, columns=[*names, "constant"]).assign(config=config)


def latency(task: str) -> pd.DataFrame:
    configs = ("LLLCLL", "LLLLLL") if task in ("sentiment", "topics") else ("LCRL", "LLRL")
    rows = [
        (config, seed, net, time, time / 60, 0.9 * time / 60, 1.2 * time / 60, 1e-7, 8, 9, macs, 90)
        for config in configs
        for seed in range(3)
        for net, time, macs in (("full", 60, 9000), ("compacted", 20, 300))
    ]
    return pd.DataFrame(rows, columns=["config", "seed", *list(rnn.LATENCY)[5:]])


def log_alpha(task: str) -> pd.DataFrame:
    tensors = ["w_x", "w_h", "dense", "z_gates", "z_h"]
    tensors += ["embedding", "z_words", "z_x"] if task in ("sentiment", "topics") else []
    edges = np.arange(-8, 9.0)
    rows = [
        (tensor, low, low + 1, 100 + 90 * np.cos(low) + 10 * seed, 1 / 16, seed)
        for tensor in tensors
        for seed in range(2)
        for low in edges[:-1]
    ]
    return pd.DataFrame(rows, columns=["tensor", "low", "high", "count", "share", "seed"]).assign(
        config="LLLLLL" if task in ("sentiment", "topics") else "LLRL"
    )


def thresholds(task: str) -> pd.DataFrame:
    configs = ("LCLCCL", "LLLCCL") if task in ("sentiment", "topics") else ("LCCL", "LCIL")
    last = METRICS[task][1]
    rows = [
        (config, seed, threshold, last, last * (1 + 0.002 * threshold + 0.01 * seed), C, 90, 9)
        for place, config in enumerate(configs)
        for seed in range(3)
        for threshold, C in zip((2, 2.5, 3, 3.5, 4), (36 + 9 * place, 33, 30, 28, 27))
    ]
    names = ["config", "seed", "threshold", "metric_val", "metric_test", "C", "n_voc", "n_h"]
    return pd.DataFrame(rows, columns=names)


def vocabulary(task: str) -> pd.DataFrame:
    """Words of Zipf's frequencies; those that tell of the class are kept more often."""
    classes = 2 if task == "sentiment" else 4
    frames = []
    for config, seed in [(c, s) for c in ("LCLCCL", "LLLCCL") for s in range(3)]:
        generator = np.random.default_rng(seed)
        count = np.round(4000 / (np.arange(VOCABULARY) + 1)) + 2
        tells = generator.normal(0, 0.8, (VOCABULARY, classes))
        share = np.exp(tells) / np.exp(tells).sum(1, keepdims=True)
        documents = np.round(np.minimum(count[:, None] * share, 190))
        kept = np.abs(tells).max(1) + generator.normal(0, 0.3, VOCABULARY) > 1.2
        frame = pd.DataFrame(
            {
                "config": config,
                "seed": seed,
                "row": range(VOCABULARY),
                "token": [f"word{n}" for n in range(VOCABULARY)],
                "train_count": count,
                "log_alpha_z": 0.0,
                "n_alive_weights": 3,
                "row_norm": 1.0,
                "kept": kept | (config == "LCLCCL"),
            }
        )
        for number in range(classes):
            frame[f"docs_{number + 1}"] = documents[:, number]
            frame[f"n_docs_{number + 1}"] = 200
            for part in ("test", "shuffled"):
                frame[f"{part}_docs_{number + 1}"] = documents[:, number - 1]
                frame[f"n_{part}_docs_{number + 1}"] = 200
        frame.loc[0, "token"] = "<pad>"
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def made_up() -> dict[str, pd.DataFrame]:
    """All tables by name, computed by the real functions."""
    tasks, documents = TASKS, ("sentiment", "topics")
    five, three = histories(5), histories(3)
    words = rnn.words(CORPORA, **{task: vocabulary(task) for task in documents})
    return {
        "rnn_networks": rnn.networks(CORPORA, **five),
        "rnn_ablation": rnn.networks(CORPORA, **histories()),
        "rnn_epochs": rnn.epochs(CORPORA, **five),
        "compressed_networks": rnn.networks(CORPORA, **three),
        "compressed_epochs": rnn.epochs(CORPORA, **three),
        "compressed_documents": rnn.networks(CORPORA, **{t: three[t] for t in documents}),
        "compressed_language": rnn.networks(CORPORA, words=three["words"]),
        "rnn_gates": rnn.gates(CORPORA, **{task: gates(task) for task in tasks}),
        "rnn_latency": rnn.latency(CORPORA, **{task: latency(task) for task in tasks}),
        "rnn_log_alpha": rnn.log_alpha(CORPORA, **{task: log_alpha(task) for task in tasks}),
        "rnn_thresholds": rnn.thresholds(CORPORA, **{task: thresholds(task) for task in tasks}),
        "kept_words": words,
        "word_survival": rnn.survival(words),
        "interpretability": rnn.interpretability(words, draws=50),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Made-up tables in `full/`, and in `empty/` as a scale without their runs has them."""
    folder = tmp_path_factory.mktemp("tables")
    drawing.write_tables(folder, made_up())
    record = {"id": "C8", "statement": "The structure depends on the task.", "verdict": "holds"}
    number = {"value": 0.62, "se": 0.11, "n": 3, "n_of": "seeds"}
    record |= {"numbers": {"share": number}, "threshold": None, "figures": [], "reason": ""}
    for kind, records in (("full", [record]), ("empty", [])):
        (folder / kind / "verdicts.json").write_text(json.dumps({"claims": records}))
    return folder


def draw(
    key: tuple[str, str], folder: Path, kind: str, target: Path, scale: str = "demo"
) -> pd.DataFrame:
    """Draw a figure from made-up tables."""
    return drawing.draw(key[0], FIGURES[key], folder / kind, target, scale)


@pytest.mark.parametrize("key", SHAPES, ids="/".join)
def test_a_figure_is_drawn_and_its_csv_has_rows(key, folder, tmp_path, quick):
    assert len(draw(key, folder, "full", tmp_path / "figure"))
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("key", [key for key in SHAPES if key not in DRAWN_BY_HAND], ids="/".join)
def test_a_figure_is_drawn_from_empty_tables(key, folder, tmp_path, quick):
    assert not len(draw(key, folder, "empty", tmp_path / "figure"))


@pytest.mark.parametrize("key", [key for key in SHAPES if FIGURES[key].get("published")])
def test_published_numbers_can_be_drawn_at_paper_scale(key, folder, tmp_path, quick):
    draw(key, folder, "full", tmp_path / "figure", scale="paper")


def test_a_design_figure_says_so_in_its_caption():
    for key, figure in FIGURES.items():
        assert ("[design]" in figure["caption"]) == figure.get("design", False), key
        assert figure["look"] and figure["alt"], key


def test_the_results_table_shows_means_with_standard_errors_over_seeds(folder, tmp_path, quick):
    numbers = draw(("sparse-gated-rnn", "tab1"), folder, "full", tmp_path / "tab1")
    networks = pd.read_parquet(folder / "full/rnn_networks.parquet")
    own = networks[(networks["task"] == "topics") & (networks["method"] == "W+N")]
    drawn = numbers.query("task == 'topics' and method == 'W+N' and number == 'test'").iloc[0]
    assert drawn["n"] == 3
    assert drawn["mean"] == pytest.approx(own["test"].mean(), rel=1e-9)
    assert drawn["se"] == pytest.approx(own["test"].std(ddof=1) / np.sqrt(3), rel=1e-8)


def test_the_two_papers_write_the_same_logged_networks():
    first = FIGURES["sparse-gated-rnn", "tab1"]["published"]
    for name in ("tab1", "tab2"):
        for network, entry in FIGURES["bayesian-compression-nlp", name]["published"].items():
            assert entry == first[network]
    assert len(first) == 18


def test_the_logged_compressions_follow_from_the_logged_weights():
    """Sizes of section 4.1 over the surviving weights of section 8.1."""
    whole = {"sentiment": 6220164, "topics": 7665924, "characters": 4250000, "words": 13062144}
    for entry in FIGURES["sparse-gated-rnn", "tab1"]["published"].values():
        values = entry["values"]
        if weights := [value for column, value in values.items() if column.startswith("nnz_")]:
            expected = whole[entry["at"]["task"]] / sum(weights)
            assert values["compression"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("path", OWN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_notebook_draws_a_figure_and_names_tables_that_exist(path):
    known = yaml.safe_load((ROOT / "config/experiments/rnn_tables.yaml").read_text())["tables"]
    assert set(re.findall(r"tables/(\w+)\.parquet", path.read_text())) <= set(known)
    assert path in [drawing.notebook(key[0], figure) for key, figure in FIGURES.items()]
