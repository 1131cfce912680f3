"""Sparse recurrent networks: what survives of them, by task, method and seed.

Functions take histories or probes by task (`sentiment=...`, `topics=...`, `characters=...`,
`words=...`), of the experiments with axes config and seed, the prepared text of each task
(`sentiment_data=...`), and `corpora`, what to call a source: a text goes by its own source, so that
one's own is never shown under another's name. A task without runs gives no rows; what cannot be had
is NaN.

Source: specifications sparse-gated-rnn, sections 5.5 and 6; bayesian-compression-nlp, section 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from refigure.tables.histories import frame_of

METHODS = {
    "DCDCCD": "Original",
    "LCLCCL": "W",
    "LLLCCL": "W+Voc",
    "LLLCLL": "W+N",
    "LLLLCL": "W+G",
    "LLLLLL": "W+G+N",
    "DCCD": "Original",
    "LCCL": "W",
    "LCIL": "W+Voc",
    "LCRL": "W+N",
    "LLCL": "W+G",
    "LLRL": "W+G+N",
}
"""Which parts are probabilistic -> the method: sparse-gated-rnn, section 1.1. In classification
W+N, W+G and W+G+N have groups of words too, W has not. Another configuration goes by its letters.
"""

KEY = {"task": str, "corpus": str, "method": str, "config": str, "seed": "int64"}
DATA = "_data"  # of an argument: the text of a task
QUALITY = {"metric": str, "valid": float, "test": float}
COUNTS = {
    "compression": float,
    "n_voc": float,
    "n_x": float,
    "n_h": float,
    "n_gates": float,
    "n_i": float,
    "n_f": float,
    "n_g": float,
    "n_o": float,
    "macs": float,
    "macs_dense": float,
    "nnz_emb": float,
    "nnz_x": float,
    "nnz_h": float,
    "nnz_d": float,
}
STRICT = {f"{name}_strict": float for name in COUNTS}
WHOLE = {name: float for name in ("all_emb", "all_x", "all_h", "all_d")}
WHOLE |= {"macs_full": float, "macs_dense_full": float}
LOSS = {"loss": float, "valid_nll": float}
LOSS |= {name: float for name in ("kl", "kl_least", "kl_weight")}
GUESSES = {
    "trivial_val": "metric_trivial_valid",
    "trivial_test": "metric_trivial",
    "pairs_test": "metric_pairs",
}
"""What `counts` records of a guess that learns nothing, and the column of the tables."""

EPOCHS = {**KEY, "epoch": float, **QUALITY, **LOSS, **COUNTS}
EPOCHS |= {name: float for name in GUESSES.values()}
NETWORKS = {
    **KEY,
    "epoch": float,
    "epochs": float,
    **QUALITY,
    "valid_last": float,
    "test_last": float,
    "best_epoch": float,
    "valid_best": float,
    "test_best": float,
    **COUNTS,
    **STRICT,
    **WHOLE,
    **{name: float for name in GUESSES.values()},
    "embedding": str,
    "vectors": float,
    "test_objects": float,
}
GATES = {
    **KEY,
    "unit": "int64",
    "gate": str,
    "alive": bool,
    "nonconstant": bool,
    "nonconstant_strict": bool,
    "bias": float,
    "constant": float,
}
LATENCY = {
    **KEY,
    "net": str,
    "latency_us": float,
    "latency_share": float,
    "latency_share_low": float,
    "latency_share_high": float,
    "difference": float,
    "n_x": float,
    "n_h": float,
    "macs": float,
    "macs_dense": float,
}
LOG_ALPHA = {
    **KEY,
    "tensor": str,
    "low": float,
    "high": float,
    "count": float,
    "share": float,
}
THRESHOLDS = {
    **KEY,
    "metric": str,
    "threshold": float,
    "valid": float,
    "test": float,
    "compression": float,
    "n_voc": float,
    "n_h": float,
}
WORDS = {
    **KEY,
    "row": "int64",
    "token": str,
    "special": bool,
    "train_count": float,
    "docs": float,
    "log_odds": float,
    "odds_class": float,
    "odds_name": str,
    "odds_size": float,
    "odds_size_test": float,
    "odds_size_shuffled": float,
    "log_alpha_z": float,
    "n_alive_weights": float,
    "row_norm": float,
    "kept": bool,
}
SURVIVAL = {**KEY, "bin": "int64", "words": "int64", "kept": "int64", "share": float}
INTERPRETABILITY = {
    **KEY,
    "words": "int64",
    "kept": "int64",
    "difference": float,
    "difference_se": float,
    "difference_test": float,
    "difference_test_se": float,
}

SPECIALS = ("<pad>", "<start>", "<oov>", "<unused>")
METRICS = {
    "sentiment": "accuracy",
    "topics": "accuracy",
    "characters": "bits per character",
    "words": "perplexity",
}
"""Accuracy is in percent, of which more is better; of the other two less is."""


def networks(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """What each network came to, at the epoch that the papers report.

    That is the last epoch of sparse networks and the best on validation data of the original ones,
    which overfit (sparse-gated-rnn, section 5.5). Both are there.

    Args:
        corpora: source -> what to call it (`_corpus`).
        tasks: histories, with what the recorder `counts` measures; and texts.

    Returns:
        Columns `NETWORKS`, one row a run. `metric`, `valid` and `test` are of the reported epoch.
        `embedding` is "pre-trained", "uniform", or "none" of a language model.
    """
    rows = []
    for key, run in _runs(corpora, tasks):
        text = tasks.get(f"{key['task']}{DATA}")
        sign = -1 if key["metric"] == "accuracy" else 1
        order = sign * run["metric_val"].to_numpy(float)
        last = run.iloc[-1]
        best = run.iloc[int(np.nanargmin(order))] if np.isfinite(order).any() else last
        reported = best if key["method"] == "Original" else last
        rows.append(
            {
                **key,
                "epoch": reported["epoch"],
                "epochs": last["epoch"],
                "best_epoch": best["epoch"],
                **_quality(reported),
                **{f"{name}_last": value for name, value in _quality(last).items()},
                **{f"{name}_best": value for name, value in _quality(best).items()},
                **_counts(reported, COUNTS),
                **_counts(reported, STRICT),
                **{name: reported.get(name, np.nan) for name in WHOLE},
                **_guesses(reported),
                **_embedding(reported),
                "test_objects": len(text.labels["test"]) if hasattr(text, "labels") else np.nan,
            }
        )
    return frame_of(rows, NETWORKS)


def epochs(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """Quality, loss and counts of each network over its training.

    Returns:
        Columns `EPOCHS`, one row a run and measured epoch. `loss` is the mean of the epoch's
        batches, sampled, with the KL term at its weight, as the authors log it.
    """
    rows = [
        {
            **key,
            "epoch": row["epoch"],
            **_quality(row),
            **_losses(row),
            **_counts(row, COUNTS),
            **_guesses(row),
        }
        for key, run in _runs(corpora, tasks)
        for _, row in run.iterrows()
    ]
    return frame_of(rows, EPOCHS)


def gates(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """Which gates of which units are constant, and their values there.

    Args:
        corpora: source -> what to call it (`_corpus`).
        tasks: texts, and of the probe `measures.sparsity.gates`.

    Returns:
        Columns `GATES`, one row a run, unit and gate.
    """
    return _joined(corpora, tasks, GATES)


def latency(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """Measured times of a step of the full and of the compacted network: columns `LATENCY`.

    Args:
        corpora: source -> what to call it (`_corpus`).
        tasks: texts, and of the probe `measures.sparsity.latency`.
    """
    return _joined(corpora, tasks, LATENCY)


def log_alpha(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """Histograms of log alpha of each kind of tensor: columns `LOG_ALPHA`.

    Args:
        corpora: source -> what to call it (`_corpus`).
        tasks: texts, and of the probe `measures.sparsity.log_alpha`.
    """
    return _joined(corpora, tasks, LOG_ALPHA)


def thresholds(corpora: Mapping[str, str], **tasks: Any) -> pd.DataFrame:
    """Quality and counts with other thresholds of log alpha: columns `THRESHOLDS`.

    Args:
        corpora: source -> what to call it (`_corpus`).
        tasks: texts, and of the probe `measures.sparsity.thresholds`.
    """
    names = {"metric_val": "valid", "metric_test": "test", "C": "compression"}
    renamed = {
        task: given.rename(columns=names) if isinstance(given, pd.DataFrame) else given
        for task, given in tasks.items()
    }
    return _joined(corpora, renamed, THRESHOLDS)


def words(
    corpora: Mapping[str, str], classes: Mapping[str, list[str]] | None = None, **tasks: Any
) -> pd.DataFrame:
    """The rows of the vocabulary, kept or not, and how much each word tells of the class.

    Args:
        corpora: source -> what to call it (`_corpus`).
        classes: source -> what to call its classes, in their order, where their own names, of
            files or numbers, say little.
        tasks: texts, and of the probe `measures.sparsity.kept_words`.

    Returns:
        Columns `WORDS`, one row a run and row of the vocabulary. `log_odds`, `odds_class` and its
        name are those of `word_odds`, `odds_size` that of `odds_sizes`; `odds_size_test` the same
        on the test documents, `odds_size_shuffled` with the classes of the training documents
        dealt out anew. NaN for special rows and in language models.
    """
    measured: dict[str, Any] = {}
    for task, frame in tasks.items():
        if not isinstance(frame, pd.DataFrame) or not len(frame):
            measured[task] = frame
            continue
        frame = frame.assign(special=frame["token"].isin(SPECIALS), docs=np.nan, odds_name="")
        empty = ("log_odds", "odds_class", "odds_size", "odds_size_test", "odds_size_shuffled")
        frame = frame.assign(**dict.fromkeys(empty, np.nan))
        documents, totals = _documents(frame, "")
        if documents.shape[1]:
            known = ~frame["special"]
            odds, places = word_odds(documents, totals)
            frame["docs"] = documents.sum(1)
            frame["log_odds"] = np.where(known, odds, np.nan)
            frame["odds_class"] = np.where(known, places + 1.0, np.nan)
            text = tasks.get(f"{task}{DATA}")
            names = _class_names(classes or {}, task, text, documents.shape[1])
            frame["odds_name"] = np.where(known, np.array(names)[places], "")
            for part, column in (("", ""), ("test_", "_test"), ("shuffled_", "_shuffled")):
                counted = _documents(frame, part)
                if counted[0].shape[1]:
                    sizes = odds_sizes(*counted)
                    frame[f"odds_size{column}"] = np.where(known, sizes, np.nan)
        measured[task] = frame
    return _joined(corpora, measured, WORDS)


def _documents(frame: pd.DataFrame, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Documents with each word by class, and documents by class: (words, classes) each."""
    numbers = [n for n in range(1, len(frame.columns)) if f"{part}docs_{n}" in frame]
    documents = frame[[f"{part}docs_{n}" for n in numbers]].to_numpy(float)
    return documents, frame[[f"n_{part}docs_{n}" for n in numbers]].to_numpy(float)


def _class_names(classes: Mapping[str, list[str]], task: str, text: Any, count: int) -> list[str]:
    """The names of a text's classes: given for its task and source, or its source, else its own."""
    own = list(getattr(text, "names", ()))
    source = getattr(text, "source", "")
    given = classes.get(f"{task} of {source}", classes.get(source, own))
    return given if len(given) == count else own or [f"class {n + 1}" for n in range(count)]


def word_odds(documents: np.ndarray, totals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class that the presence of each word speaks for, and how strongly, as log-odds.

    Of two classes it is log p(w | second) - log p(w | first), and the sign tells the class; of more
    the largest log p(w | class) - log p(w | rest), and so that class. p is the share of documents
    that hold the word, with one document added on either side.

    Args:
        documents: (words, classes), documents of the class that hold the word.
        totals: the same shape, documents of the class.

    Returns:
        (words,) log-odds, nats; (words,) the class, from 0, in which the word is more frequent.

    Source: bayesian-compression-nlp, section 6.4.
    """
    each = _each_class(documents, totals)
    if documents.shape[1] == 2:
        return each[:, 1], (each[:, 1] > 0).astype(int)
    classes = each.argmax(1)
    return each[np.arange(len(each)), classes], classes


def odds_sizes(documents: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """How much each word tells of the class, (words,) nats: the largest size of its log-odds.

    A word that a class avoids tells of the class too, so that the sign is left out. The largest of
    several is never near 0 for words of few documents: compare words of like frequency.

    Source: bayesian-compression-nlp, section 6.4.
    """
    return np.abs(_each_class(documents, totals)).max(1)


def _each_class(documents: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """log p(w | class) - log p(w | rest), (words, classes)."""
    own = np.log((documents + 1) / (totals + 2))
    if documents.shape[1] == 2:
        odds = own[:, 1] - own[:, 0]
        return np.stack([-odds, odds], axis=1)
    without = documents.sum(1, keepdims=True) - documents
    return own - np.log((without + 1) / (totals.sum(1, keepdims=True) - totals + 2))


def survival(words: pd.DataFrame, bins: int = 20) -> pd.DataFrame:
    """The share of words kept by frequency rank, in bins of equally many words.

    Args:
        words: of `words`; special rows are left out.
        bins: how many; fewer where there are fewer words.

    Returns:
        Columns `SURVIVAL`, one row a run and bin; bin 1 holds the most frequent words.
    """
    rows = []
    for key, own in _networks_of(words):
        counts = own.assign(bin=frequency_bins(own["train_count"], bins) + 1)
        for number, inside in counts.groupby("bin"):
            kept = int(inside["kept"].sum())
            share = kept / len(inside)
            rows.append({**key, "bin": number, "words": len(inside), "kept": kept, "share": share})
    return frame_of(rows, SURVIVAL)


def interpretability(words: pd.DataFrame, bins: int = 20, draws: int = 1000) -> pd.DataFrame:
    """Whether the kept words tell more of the class than dropped words of like frequency.

    Args:
        words: of `words`; special rows are left out, and tasks without classes.
        bins: of frequency ranks, of equally many words.
        draws: of the bootstrap over words.

    Returns:
        Columns `INTERPRETABILITY`, one row a run: `difference` and its error of `matched`; and the
        same of log-odds in the test documents, on which nothing was trained.
    """
    rows = []
    for key, own in _networks_of(words[words["odds_size"].notna()]):
        binned = frequency_bins(own["train_count"], bins)
        kept = own["kept"].to_numpy(bool)
        found = {}
        for column in ("", "_test"):
            sizes = own[f"odds_size{column}"].to_numpy()
            given = (np.nan, np.nan)
            if np.isfinite(sizes).all():
                given = matched(sizes, kept, binned, draws)
            found[f"difference{column}"], found[f"difference{column}_se"] = given
        rows.append({**key, "words": len(own), "kept": int(kept.sum()), **found})
    return frame_of(rows, INTERPRETABILITY)


def matched(
    sizes: np.ndarray, kept: np.ndarray, bins: np.ndarray, draws: int
) -> tuple[float, float]:
    """Mean size of kept less dropped words within each bin, over the bins by their kept words.

    A bin that holds only kept or only dropped words has nothing to compare and is left out.

    Args:
        sizes: (words,).
        kept: (words,), bool.
        bins: (words,), from 0.
        draws: of the bootstrap over words.

    Returns:
        The difference and its bootstrap standard error; NaN where no bin holds both.

    Source: bayesian-compression-nlp, section 6.4.
    """
    count = int(bins.max()) + 1 if len(bins) else 0
    cell = bins + count * kept
    member = np.zeros((len(sizes), 2 * count))
    member[np.arange(len(sizes)), cell] = 1

    def differences(weights: np.ndarray) -> np.ndarray:
        """(draws, words) -> (draws,)."""
        totals, number = (weights * sizes) @ member, weights @ member
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = totals[:, count:] / number[:, count:] - totals[:, :count] / number[:, :count]
            both = np.isfinite(gap)
            share = np.where(both, number[:, count:], 0)
            return (share * np.where(both, gap, 0)).sum(1) / share.sum(1)

    value = float(differences(np.ones((1, len(sizes))))[0])
    if not np.isfinite(value):
        return np.nan, np.nan
    generator = np.random.default_rng(0)
    chances = np.full(len(sizes), 1 / len(sizes))
    drawn = [
        differences(generator.multinomial(len(sizes), chances, size).astype(float))
        for size in (50,) * (draws // 50)
    ]
    return value, float(np.nanstd(np.concatenate(drawn), ddof=1))


def frequency_bins(counts: pd.Series, bins: int) -> np.ndarray:
    """Bins of equally many words, from 0 for the most frequent; ties in the order given.

    Args:
        counts: occurrences of each word.
        bins: how many; fewer where there are fewer words.
    """
    order = np.argsort(-counts.to_numpy(float), kind="stable")
    ranks = np.empty(len(order), int)
    ranks[order] = np.arange(len(order))
    return ranks * min(bins, len(order)) // max(len(order), 1)


def _runs(
    corpora: Mapping[str, str], tasks: Mapping[str, Any]
) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """The key of each run, with its metric, and its rows where counts were recorded.

    The loss that the loop takes over an epoch stands in a row of its own; it joins the counts.
    """
    for task, frame in tasks.items():
        if task.endswith(DATA) or not len(frame):
            continue
        corpus = _corpus(corpora, task, tasks.get(f"{task}{DATA}"))
        measured = frame[frame["C"].notna()]
        for _, run in measured.groupby("run", sort=False):
            config, seed = run["config"].iloc[0], run["seed"].iloc[0]
            key = {"task": task, "corpus": corpus, "method": method_of(config)}
            yield {**key, "config": config, "seed": seed, "metric": METRICS[task]}, run


def method_of(config: str) -> str:
    """The method of a configuration; one that the papers do not have goes by its letters."""
    return METHODS.get(config, config)


def _corpus(corpora: Mapping[str, str], task: str, text: Any) -> str:
    """What to call the text of a task: by task and source, else by source, else the source."""
    source = getattr(text, "source", "") or task
    return corpora.get(f"{task} of {source}", corpora.get(source, source))


def _quality(row: pd.Series) -> dict[str, float]:
    return {"valid": row["metric_val"], "test": row["metric_test"]}


def _counts(row: pd.Series, columns: Mapping[str, object]) -> dict[str, float]:
    """The counts of a row; the recorder calls the compression C."""
    names = {name: name.replace("compression", "C") for name in columns}
    return {name: row.get(recorded, np.nan) for name, recorded in names.items()}


def _losses(row: pd.Series) -> dict[str, float]:
    names = {"train_loss_running": "loss", "val_loss": "valid_nll"}
    names |= {name: name for name in ("kl", "kl_least", "kl_weight")}
    return {name: row.get(recorded, np.nan) for recorded, name in names.items()}


def _guesses(row: pd.Series) -> dict[str, float]:
    return {name: row.get(recorded, np.nan) for recorded, name in GUESSES.items()}


def _embedding(row: pd.Series) -> dict[str, object]:
    """How the embedding began, and how many words had a vector."""
    vectors = row.get("vectors", np.nan)
    if pd.isna(vectors):
        return {"embedding": "none", "vectors": np.nan}
    return {"embedding": "pre-trained" if vectors else "uniform", "vectors": vectors}


def _joined(
    corpora: Mapping[str, str], tasks: Mapping[str, Any], columns: Mapping[str, object]
) -> pd.DataFrame:
    """Probes of the tasks in one table."""
    frames = [
        frame.assign(
            task=task,
            corpus=_corpus(corpora, task, tasks.get(f"{task}{DATA}")),
            metric=METRICS[task],
            method=frame["config"].map(method_of),
        )
        for task, frame in tasks.items()
        if not task.endswith(DATA) and len(frame)
    ]
    if not frames:
        return frame_of([], columns)
    return pd.concat(frames, ignore_index=True).reindex(columns=list(columns)).astype(dict(columns))


def _networks_of(words: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """The key of each network and its words, special rows left out."""
    for key, own in words[~words["special"]].groupby(list(KEY), sort=False):
        yield dict(zip(KEY, key)), own
