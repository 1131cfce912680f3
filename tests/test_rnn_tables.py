"""Tables of sparse recurrent networks, against values worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from refigure.graph.config import Config
from refigure.graph.experiments import Run
from refigure.graph.lookups import Graph
from refigure.tables import rnn

CORPORA = {"sentiment": "reviews", "topics": "news", "characters": "letters", "words": "text"}


def history(config: str, valid, seed: int = 0, **columns) -> pd.DataFrame:
    """A run of epochs 0, 1, ... with that validation metric; odd rows are not measured."""
    rows = []
    for epoch, value in enumerate(valid):
        row = {"metric_val": value, "metric_test": value + 1, "C": 2.0 + epoch, "n_h": 5.0}
        row |= {"nnz_x": 7.0, "C_strict": 3.0 + epoch, "all_x": 70.0} | columns
        rows.append({"epoch": float(epoch), **row})
        rows.append({"epoch": epoch + 0.5, **dict.fromkeys(row, np.nan)})
    frame = pd.DataFrame(rows)
    return frame.assign(run=f"{config}-{seed}", config=config, seed=seed, step=range(len(frame)))


def test_the_original_is_read_at_its_best_epoch_and_sparse_ones_at_their_last():
    runs = [history("DCCD", [3.0, 1.0, 2.0]), history("LCCL", [3.0, 1.0, 2.0])]
    table = rnn.networks(CORPORA, words=pd.concat(runs)).set_index("method")
    assert list(table["epoch"]) == [1, 2]
    assert table.loc["Original", ["valid", "test", "compression"]].tolist() == [1, 2, 3]
    assert table.loc["W", ["valid", "test", "compression"]].tolist() == [2, 3, 4]
    assert table.loc["W", ["valid_best", "valid_last", "best_epoch", "epochs"]].tolist() == [
        1,
        2,
        1,
        2,
    ]
    assert table.loc["W", ["compression_strict", "nnz_x", "all_x"]].tolist() == [5, 7, 70]
    assert table["nnz_emb"].isna().all()


def test_of_accuracy_the_best_is_the_largest():
    table = rnn.networks(CORPORA, topics=history("DCDCCD", [50.0, 80.0, 60.0])).iloc[0]
    assert (table["epoch"], table["valid"], table["metric"]) == (1, 80, "accuracy")


def test_every_configuration_of_the_specification_has_a_method():
    documents = ["DCDCCD", "LCLCCL", "LLLCCL", "LLLCLL", "LLLLCL", "LLLLLL"]
    language = ["DCCD", "LCCL", "LCIL", "LCRL", "LLCL", "LLRL"]
    methods = ["Original", "W", "W+Voc", "W+N", "W+G", "W+G+N"]
    assert [rnn.METHODS[config] for config in documents + language] == methods * 2


def test_the_epochs_hold_what_was_measured_and_nothing_else():
    table = rnn.epochs(CORPORA, characters=history("LLRL", [3.0, 1.0, 2.0]))
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["corpus"].eq("letters").all() and table["method"].eq("W+G+N").all()


def vocabulary(**columns) -> pd.DataFrame:
    """Two special rows and four words of a two-class text of 8 and 18 documents."""
    frame = pd.DataFrame(
        {
            "config": "LLLCCL",
            "seed": 0,
            "row": range(6),
            "token": ["<pad>", "<oov>", "the", "good", "bad", "rare"],
            "train_count": [0, 9, 50, 9, 8, 1],
            "docs_1": [0, 3, 8, 0, 4, 1],
            "docs_2": [0, 3, 18, 9, 0, 0],
            "n_docs_1": 8,
            "n_docs_2": 18,
            "log_alpha_z": 0.0,
            "n_alive_weights": 1,
            "row_norm": 1.0,
            "kept": [False, True, False, True, True, False],
        }
    )
    return frame.assign(**columns)


def test_log_odds_are_of_presence_with_one_document_added():
    table = rnn.words(CORPORA, sentiment=vocabulary()).set_index("token")
    assert table["special"].tolist() == [True, True, False, False, False, False]
    assert np.isnan(table.loc["<oov>", "log_odds"])
    # (9 + 1) / (18 + 2) against (0 + 1) / (8 + 2), and (0 + 1) / 20 against (4 + 1) / 10
    assert table.loc["good", "log_odds"] == pytest.approx(np.log(5))
    assert table.loc["bad", "log_odds"] == pytest.approx(np.log(0.1))
    assert table.loc[["good", "bad"], "odds_class"].tolist() == [2, 1]
    assert table.loc["the", "docs"] == 26


def test_log_odds_of_more_classes_are_of_the_class_that_has_the_word_most():
    documents = np.array([[1.0, 1, 7], [0, 8, 8], [1, 1, 1]])
    totals = np.full((3, 3), 8.0)
    odds, classes = rnn.word_odds(documents, totals)
    # first word: 8 / 10 against 3 / 18; second: 9 / 10 against 9 / 18, though the class that
    # avoids it, with 1 / 10 against 17 / 18, stands out more
    assert odds[:2] == pytest.approx([np.log(4.8), np.log(1.8)])
    assert classes[:2].tolist() == [2, 1]
    sizes = rnn.odds_sizes(documents, totals)
    assert sizes[:2] == pytest.approx([np.log(4.8), np.log(170 / 18)])


OWN = SimpleNamespace(source="letters", names=tuple("abcdefg"), labels={"test": range(31)})
"""Documents of one's own, as a table sees them."""


def test_own_documents_of_seven_classes_go_by_their_own_names():
    """Not by those of another text: source, classes and the test's size are the data's."""
    many = vocabulary(**{f"docs_{n}": 1 for n in range(1, 7)}, docs_7=[0, 3, 5, 6, 7, 1])
    many = many.assign(**{f"n_docs_{n}": 8 for n in range(1, 8)})
    given = {"sentiment": many, "sentiment_data": OWN}
    table = rnn.words({"imdb": "IMDb"}, {"imdb": ["negative", "positive"]}, **given)
    assert table["corpus"].eq("letters").all()
    assert table.set_index("token").loc["good", ["odds_class", "odds_name"]].tolist() == [7, "g"]
    run = {"topics": history("DCDCCD", [50.0, 80.0]), "topics_data": OWN}
    networks = rnn.networks({}, **run)
    assert networks[["corpus", "test_objects"]].to_numpy().tolist() == [["letters", 31]]


def test_names_of_classes_that_do_not_count_right_are_not_used():
    given = {"sentiment": vocabulary(), "sentiment_data": OWN}
    table = rnn.words({}, {"letters": ["one", "two", "three"]}, **given)
    assert set(table["odds_name"]) <= {"", *"abcdefg"}


def test_a_configuration_of_no_paper_goes_by_its_letters():
    table = rnn.networks(CORPORA, topics=history("LCLCLL", [50.0, 80.0]))
    assert table["method"].tolist() == ["LCLCLL"]


def test_what_a_guess_comes_to_and_how_the_embedding_began_are_in_the_table():
    run = history("LCLCCL", [50.0, 80.0], trivial_test=37.0, vectors=0.0, macs_dense=9.0)
    row = rnn.networks(CORPORA, topics=run).iloc[0]
    assert (row["metric_trivial"], row["embedding"], row["macs_dense"]) == (37, "uniform", 9)
    found = rnn.networks(CORPORA, topics=run.assign(vectors=19947.0)).iloc[0]
    assert (found["embedding"], found["vectors"]) == ("pre-trained", 19947)
    language = rnn.networks(CORPORA, words=history("LCCL", [3.0, 2.0])).iloc[0]
    assert language["embedding"] == "none"


def test_the_losses_of_an_epoch_stand_beside_its_counts():
    run = history("LLRL", [3.0, 1.0], kl=0.5, kl_least=-0.6, kl_weight=1.0)
    table = rnn.epochs(CORPORA, words=run.assign(train_loss_running=2.5, val_loss=2.4))
    assert table[["loss", "valid_nll", "kl"]].to_numpy().tolist() == [[2.5, 2.4, 0.5]] * 2


def test_language_models_have_words_without_odds():
    table = rnn.words(CORPORA, words=vocabulary().drop(columns=["docs_1", "docs_2"]))
    assert table["log_odds"].isna().all() and len(table) == 6


def test_bins_hold_equally_many_words_and_the_first_the_most_frequent():
    counts = pd.Series([5, 100, 1, 7, 3, 50])
    assert rnn.frequency_bins(counts, 3).tolist() == [1, 0, 2, 1, 2, 0]
    assert rnn.frequency_bins(counts, 20).max() == 5
    assert not len(rnn.frequency_bins(pd.Series(dtype=float), 20))


def test_survival_is_the_share_kept_by_frequency_without_special_rows():
    table = rnn.survival(rnn.words(CORPORA, sentiment=vocabulary()), bins=2)
    assert table["bin"].tolist() == [1, 2]
    assert table["words"].tolist() == [2, 2]
    assert table["share"].tolist() == [0.5, 0.5]


def test_kept_and_dropped_words_are_compared_within_their_bins():
    sizes = np.array([3.0, 1, 1, 9, 5, 4, 7])
    kept = np.array([True, False, False, True, True, False, True])
    bins = np.array([0, 0, 0, 1, 1, 1, 2])  # the last bin has nothing to compare with
    value, error = rnn.matched(sizes, kept, bins, draws=50)
    assert value == pytest.approx((1 * (3 - 1) + 2 * (7 - 4)) / 3)
    assert error > 0
    assert np.isnan(rnn.matched(sizes, np.ones(7, bool), bins, 50)).all()


def test_the_error_of_a_difference_is_the_bootstraps():
    """One bin of many words: the textbook error of a difference of two means."""
    generator = np.random.default_rng(1)
    sizes, kept = generator.normal(0, 1, 2000), np.arange(2000) < 500
    value, error = rnn.matched(sizes, kept, np.zeros(2000, int), draws=1000)
    expected = np.sqrt(sizes[kept].var() / 500 + sizes[~kept].var() / 1500)
    assert error == pytest.approx(expected, rel=0.1)
    assert abs(value) < 4 * error


def test_interpretability_is_of_tasks_with_classes():
    words = rnn.words(CORPORA, sentiment=vocabulary(), words=vocabulary())
    table = rnn.interpretability(words[words["task"] == "sentiment"], bins=1, draws=50)
    kept = (np.log(5) + np.log(10)) / 2
    dropped = (abs(np.log(19 / 20 / 0.9)) + abs(np.log(0.05 / 0.2))) / 2
    assert table["difference"].tolist() == pytest.approx([kept - dropped])
    assert table["kept"].tolist() == [2] and table["words"].tolist() == [4]
    assert table["difference_test"].isna().all()
    tested = vocabulary(test_docs_1=[0, 1, 2, 0, 2, 0], test_docs_2=[0, 1, 2, 2, 0, 0])
    tested = tested.assign(n_test_docs_1=2, n_test_docs_2=2)
    words = rnn.words(CORPORA, sentiment=tested)
    table = rnn.interpretability(words, bins=1, draws=50)
    # 3 / 4 against 1 / 4 for both kept words, nothing for the others
    assert table["difference_test"].tolist() == pytest.approx([np.log(3)])


def test_probes_of_the_tasks_make_one_table():
    frame = pd.DataFrame(
        {
            "config": ["LCRL"],
            "seed": [1],
            "net": ["full"],
            "latency_us": [9.0],
            "latency_share": [1.0],
            "latency_share_low": [1.0],
            "latency_share_high": [1.0],
            "difference": [0.0],
            "n_x": [3],
            "n_h": [4],
            "macs": [48],
            "macs_dense": [12],
        }
    )
    table = rnn.latency(CORPORA, sentiment=pd.DataFrame(), words=frame)
    assert table[["task", "corpus", "method"]].to_numpy().tolist() == [["words", "text", "W+N"]]
    assert list(table.columns) == list(rnn.LATENCY)


@pytest.mark.parametrize(
    ("function", "columns"),
    [
        (rnn.networks, rnn.NETWORKS),
        (rnn.epochs, rnn.EPOCHS),
        (rnn.gates, rnn.GATES),
        (rnn.latency, rnn.LATENCY),
        (rnn.log_alpha, rnn.LOG_ALPHA),
        (rnn.thresholds, rnn.THRESHOLDS),
        (rnn.words, rnn.WORDS),
    ],
)
def test_a_table_of_no_runs_has_its_columns(function, columns):
    table = function(CORPORA, words=pd.DataFrame())
    assert not len(table) and list(table.columns) == list(columns)
    assert (
        len(rnn.survival(rnn.words(CORPORA))) == len(rnn.interpretability(rnn.words(CORPORA))) == 0
    )


def trained_for(graph: Graph, paper: str) -> list[Run]:
    """The runs that the figures and claims of a paper are made of, through tables and probes."""
    wanted = [*graph.figures(paper).values(), *graph.claims(paper).values()]
    names = [table for target in wanted for table in target.tables.values()]
    runs = {}
    while names:
        table = graph.table(names.pop())
        names += table.tables.values()
        members = [run for role in table.runs.values() for run in role]
        for probe in table.probes.values():
            members += [run for role in graph.probes[probe].roles.values() for run, _ in role]
        runs |= {run.id: run for run in members}
    return list(runs.values())


def test_the_first_paper_trains_24_networks_a_seed_and_the_second_twelve_of_them(committed):
    """Five methods and W+G in four tasks; the second asks for no network with other groups."""
    sources = {
        name: {"kind": "weights", "path": f"/there/{name}", "sha256": "0" * 64}
        for name, source in Config(committed).user["sources"].items()
        if source is None
    }
    graph = Graph(Config(committed, {"sources": sources}), "paper")
    gated, compressed = (
        {run.id: rnn.METHODS[run.axes["config"]] for run in trained_for(graph, paper)}
        for paper in ("sparse-gated-rnn", "bayesian-compression-nlp")
    )
    assert len(gated) == 3 * 24 and len(compressed) == 3 * 12
    assert set(compressed) < set(gated)
    own = [method for run, method in gated.items() if run in compressed]
    assert {method: own.count(method) for method in own} == {"Original": 12, "W": 12, "W+Voc": 12}
