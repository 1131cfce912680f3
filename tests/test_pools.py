"""Pools of kept predictions: read in chunks, failed members counted; arrays keep their type."""

import json
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refigure.errors import UserError
from refigure.measures.pools import pool
from refigure.tables.histories import recorded
from refigure.tasks.classification import Classification
from safetensors.numpy import save_file

OBJECTS, CLASSES = 500, 20


def written(folder, packs, data="d1"):
    """A graph of packs on disk: pack -> {run: status}; logits of run n are n everywhere."""
    of = {}
    for name, runs in packs.items():
        (folder / name).mkdir(exist_ok=True)
        logits = {
            f"{run}|final|test": np.full((OBJECTS, CLASSES), int(run[1:]), np.float16)
            for run, status in runs.items()
            if status == "finished"
        }
        save_file(logits, folder / name / "predictions.safetensors")
        about = {"runs": {run: {"status": status} for run, status in runs.items()}}
        (folder / name / "run.json").write_text(json.dumps(about))
        of |= dict.fromkeys(runs, name)
    labels = np.arange(OBJECTS) % CLASSES
    save_file({"test_labels": labels, "train_labels": labels[:7]}, folder / "d1.safetensors")
    paths = SimpleNamespace(
        pack=lambda name: folder / name, data=lambda name: folder / f"{name}.safetensors"
    )
    members = [
        (SimpleNamespace(id=run, label=run, spec=SimpleNamespace(data=data)), None) for run in of
    ]
    return SimpleNamespace(paths=paths, pack_of=of), members


def test_chunks_hold_the_members_in_order_across_packs_and_failed_ones_are_counted(tmp_path):
    packs = {
        "a": {"r0": "finished", "r1": "diverged", "r2": "finished"},
        "b": {"r3": "finished", "r4": "no_parent_point"},
    }
    graph, members = written(tmp_path, packs)
    found = pool(graph, members, "test", {})
    assert [run.id for run in found.members] == ["r0", "r2", "r3"]
    assert [run.id for run in found.failed] == ["r1", "r4"]
    assert len(found) == 3 and len(found.labels) == OBJECTS
    chunks = list(found.chunks(2))
    assert [chunk.shape for chunk in chunks] == [(2, OBJECTS, CLASSES), (1, OBJECTS, CLASSES)]
    assert all(chunk.dtype == np.float16 for chunk in chunks)
    assert [int(logits[0, 0]) for chunk in chunks for logits in chunk] == [0, 2, 3]


def test_a_pool_of_failed_members_alone_is_still_there(tmp_path):
    graph, members = written(tmp_path, {"a": {"r0": "diverged"}})
    found = pool(graph, members, "test", {})
    assert found and not len(found) and list(found.chunks(4)) == []


def test_a_pool_grows_by_a_pack_and_keeps_its_members(tmp_path):
    first = {"a": {"r0": "finished", "r1": "finished"}}
    before = pool(*written(tmp_path, first), "test", {})
    bytes_before = (tmp_path / "a" / "predictions.safetensors").read_bytes()
    graph, members = written(tmp_path, first | {"b": {"r2": "finished"}})
    after = pool(graph, members, "test", {})
    assert [run.id for run in after.members][:2] == [run.id for run in before.members]
    assert (tmp_path / "a" / "predictions.safetensors").read_bytes() == bytes_before
    assert len(after) == 3


def test_predictions_that_a_healthy_run_has_not_kept_are_one_line(tmp_path):
    graph, members = written(tmp_path, {"a": {"r0": "finished"}})
    with pytest.raises(UserError, match="r0 has kept no predictions of 'train' at final"):
        pool(graph, members, "train", {})


def test_logits_of_another_number_of_objects_than_the_set_are_refused(tmp_path):
    graph, members = written(tmp_path, {"a": {"r0": "finished"}})
    path = tmp_path / "a" / "predictions.safetensors"
    save_file({"r0|final|test": np.zeros((3, CLASSES), np.float16)}, path)
    with pytest.raises(UserError, match="are of 3 objects, the set has 500"):
        list(pool(graph, members, "test", {}).chunks(1))


def test_a_pool_is_never_in_memory_as_a_whole(tmp_path):
    """200 members are 40 MB; chunks of 10 are 2 MB, and no more than two of them are there."""
    packs = {
        f"p{pack}": {f"r{50 * pack + number}": "finished" for number in range(50)}
        for pack in range(4)
    }
    graph, members = written(tmp_path, packs)
    found = pool(graph, members, "test", {})
    tracemalloc.start()
    total = sum(float(chunk[:, 0, 0].sum()) for chunk in found.chunks(10))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == sum(range(200))
    whole = 200 * OBJECTS * CLASSES * 2
    assert peak < whole / 8


def test_recorded_arrays_keep_their_type_and_stack():
    bits = np.arange(12, dtype=np.uint8).reshape(3, 4)
    epochs = np.array([0.0, 1.0, 2.0])
    arrays = {"a|correct": bits, "a|correct|epoch": epochs}
    arrays |= {"b|correct": bits + 1, "b|correct|epoch": epochs}
    found = recorded(arrays, {"b": {"seed": 1}, "c": {"seed": 2}, "a": {"seed": 0}}, "correct")
    assert found.axes["run"].tolist() == ["b", "a"] and found.axes["seed"].tolist() == [1, 0]
    assert found.stacked().dtype == np.uint8
    assert np.array_equal(found.stacked(), np.stack([bits + 1, bits]))
    arrays["a|correct|epoch"] = epochs + 1
    with pytest.raises(ValueError, match="different moments"):
        recorded(arrays, {"a": {}, "b": {}}, "correct").stacked()


def test_an_unknown_evaluation_set_is_an_error():
    task = Classification.__new__(Classification)
    task.data = SimpleNamespace(train_images=torch.zeros(1), test_images=torch.zeros(1))
    with pytest.raises(UserError, match="unknown evaluation set 'tset'"):
        next(task.evaluation("tset", 1))
