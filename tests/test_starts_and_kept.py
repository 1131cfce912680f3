"""How runs begin and what they leave: kinds of their own, which touch nobody else's runs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from engine import EXPERIMENTS, about, graph_of, point, prepared, project, tensors, trained
from refigure.graph import fingerprint
from refigure.graph.catalogue import CATALOGUE
from refigure.graph.fingerprint import PACKAGE
from refigure.graph.spec import canonical
from refigure.measures.ensembles import label_log_probabilities
from refigure.training.history import History


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny project with its data."""
    return prepared(graph_of(project(tmp_path_factory.mktemp("shop"))))


# ------------------------------------------------------------------ what is kept


def test_predictions_are_of_every_point_and_set_that_is_wanted(shop):
    texts = [
        "final",
        *(canonical(shop.experiments["plain"].point_of(name, 6)) for name in ("mid", "swa")),
    ]
    for folder in trained(shop, "plain"):
        found = tensors(folder / "predictions.safetensors")
        for run in about(folder):
            kept = {name for name in found if name.startswith(f"{run}|")}
            assert kept == {
                f"{run}|{text}|{which}" for text in texts for which in ("test", "train")
            }
        assert all(value.dtype == torch.float16 for value in found.values())
        assert len({value.shape[1] for value in found.values()}) == 1
        arrays = tensors(folder / "arrays.safetensors")
        assert not any("logits" in name for name in arrays)


def test_predictions_of_the_last_point_are_those_of_the_final_network(shop):
    made = graph_of(shop.config.root)
    experiment = made.experiments["plain"]
    assert experiment.point_of("end", 6) == {"epoch": 6}
    for folder in trained(shop, "plain"):
        found = tensors(folder / "predictions.safetensors")
        for run in about(folder):
            final, mid = (found[f"{run}|{text}|test"] for text in ("final", '{"epoch":3}'))
            assert final.shape == mid.shape and not torch.equal(final, mid)


def test_a_network_that_diverged_has_no_predictions(shop):
    for folder in trained(shop, "diverging"):
        found = tensors(folder / "predictions.safetensors")
        for run, row in about(folder).items():
            assert any(name.startswith(run) for name in found) == (row["status"] == "finished")


def test_half_precision_moves_a_likelihood_by_less_than_a_ten_thousandth():
    """Of networks far surer than those that anyone trains, at sharp and soft temperatures."""
    generator = torch.Generator().manual_seed(0)
    logits = 12 * torch.randn(8, 2000, 100, generator=generator)
    labels = torch.randint(100, (2000,), generator=generator)
    logits[:, torch.arange(2000), labels] += 25
    temperatures = torch.tensor([0.5, 1.0, 2.0]).numpy()
    whole, half = (
        label_log_probabilities([part.numpy()], labels.numpy(), temperatures)
        for part in (logits, logits.half())
    )
    assert abs(whole.mean((1, 2)) - half.mean((1, 2))).max() < 1e-4


def test_arrays_keep_what_they_are_made_of():
    history = History()
    history.add_array(0, "bits", torch.tensor([[1, 255]], dtype=torch.uint8))
    history.add_array(0, "halves", torch.ones(1, 2, dtype=torch.float16))
    history.add_array(0, "doubles", torch.ones(1, 2, dtype=torch.float64))
    back = History.from_tensors(history.as_tensors())
    found = {name: values[0].dtype for name, (_, values) in back.arrays.items()}
    assert found == {"bits": torch.uint8, "halves": torch.float16, "doubles": torch.float32}
    assert back.arrays["bits"][1][0].tolist() == [[1, 255]]


# ------------------------------------------------------------------ how runs begin


def test_a_backbone_comes_along_and_each_run_draws_its_own_head(shop):
    shop = graph_of(shop.config.root)
    runs = {run.id: run for run in shop.runs("transferred")}
    heads = []
    for folder in trained(shop, "transferred"):
        for run in about(folder):
            began = point(folder, run, {"epoch": 0})
            parent = runs[run].parent
            source = shop.paths.pack(shop.pack_of[parent.id])
            before = point(source, parent.id, json.loads(runs[run].point))
            for name, value in before.items():
                if name.startswith(("optimiser/", "epoch")):
                    continue
                same = torch.equal(began[name], value)
                assert same != name.startswith("linear"), name
            heads.append(began["linear.weight"])
    assert len(heads) == 4 == len({tuple(head.flatten().tolist()) for head in heads})


def test_a_backbone_s_head_with_a_seed_of_its_own_is_drawn_from_it_and_stays(tmp_path):
    headed = """  headed:
    start: {from: plain, at: mid, take: backbone, carry: {elr: plr}, where: {seed: 0}}
    base: {epochs: 1, head: {seed: 5, norm: 3.0}}
    grid: {elr: [3.0e-3], seed: [0, 1]}
    points: {start: {epoch: 0}, end: {epoch: last}}
  longer:
"""
    shop = prepared(graph_of(project(tmp_path, EXPERIMENTS.replace("  longer:\n", headed, 1))))
    heads = []
    for folder in trained(shop, "headed"):
        for run in about(folder):
            for epoch in (0, 1):
                kept = point(folder, run, {"epoch": epoch})
                heads.append(kept["linear.weight"])
    assert len(heads) == 8 and all(torch.equal(heads[0], head) for head in heads)
    assert float(heads[0].norm()) == pytest.approx(3.0)
    parent = shop.runs("headed")[0].parent
    own = point(shop.paths.pack(shop.pack_of[parent.id]), parent.id, {"epoch": 3})
    assert not torch.equal(own["linear.weight"] * 0.3, heads[0])


# ------------------------------------------------------------------ what a change retrains


@pytest.fixture
def retrained(tmp_path, monkeypatch, graph):
    """A function: the packs of scale demo whose code is another after files changed."""
    copy = tmp_path / "copy"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    fingerprint.forget()
    made = graph()

    def codes() -> dict[str, dict[str, str]]:
        fingerprint.forget()
        return {name: made.training_code(pack) for name, pack in made.packs.items()}

    before = codes()

    def changed(file: str, text: str = "\nADDED = 1\n") -> set[str]:
        nonlocal before
        path = copy / file
        path.write_text((path.read_text() if path.is_file() else "") + text)
        after = codes()
        found = {name for name in made.packs if after[name] != before[name]}
        before = after
        return found

    changed.packs = made.packs
    yield changed
    fingerprint.forget()


def test_a_new_start_recorder_or_kept_thing_retrains_nothing(retrained):
    for file in (
        "training/starts/another.py",
        "training/recorders/another.py",
        "training/kept/another.py",
        "training/schedules/another.py",
    ):
        assert retrained(file) == set(), file


def test_how_a_job_runs_retrains_nothing(retrained):
    for file in ("training/jobs/job.py", "training/jobs/parts.py", "machine/progress.py"):
        assert retrained(file) == set(), file


def test_a_start_retrains_only_what_starts_by_it(retrained):
    for take in ("state", "weights"):
        starting = {
            name for name, pack in retrained.packs.items() if pack.runs[0].spec.take == take
        }
        assert starting and retrained(f"training/starts/{take}.py") == starting


def test_what_is_kept_retrains_only_those_that_keep_it(retrained):
    keeping = {name for name, pack in retrained.packs.items() if pack.wanted.predictions}
    assert retrained("training/kept/predictions.py") == keeping != set(retrained.packs)


def test_the_loop_retrains_everything(retrained):
    assert retrained("training/loop.py") == set(retrained.packs)


def test_every_kind_of_start_and_of_what_is_kept_is_a_module():
    for kind in ("start", "kept"):
        for name, entry in CATALOGUE[kind].items():
            assert entry.there(), (kind, name)
