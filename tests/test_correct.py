"""Which objects networks get right: the recorder, the objects and views that it asks about."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine import images, spec, training
from refigure.data.images import estimation
from refigure.graph.catalogue import settings
from refigure.training.loop import Training
from refigure.training.passes import Moment
from refigure.training.recorders import correct as recorder

MODEL = {"name": "plain_convnet", "widths": [4, 8], "head": "flatten", "outputs": 6}
SIMCLR = {"name": "simclr", "low_area": 0.5, "flip": False, "grey": 0.0, "clamp": False}
RECORD = {"name": "correct", "objects": 21, "held_out": 10, "views": 3, "redrawn": True}


def pictures():
    """The engine's images as a contrastive network takes them: a black pixel is 0."""
    found = images()
    return type(found)(**{**vars(found), "black": torch.zeros(1), "std": torch.ones(1)})


def a_training(seeds=(0,), contrastive: bool = True, augment=True, records=(), **keys) -> Training:
    written = {
        "model": MODEL if contrastive else {**MODEL, "outputs": None},
        "task": {"name": "contrastive" if contrastive else "classification"},
        "augment": (SIMCLR if contrastive else {"name": "crop_flip", "padding": 1})
        if augment
        else None,
        "optimiser": {"name": "sgd", "lr": 0.05},
        "head": None,
        "batch": 8,
        "epochs": 3,
        **keys,
    }
    specs = [spec(**written, seed=seed) for seed in seeds]
    return training(specs, records=records, data=pictures())


def moment_of(one: Training) -> Moment:
    return one._moment([])


def bits(packed: torch.Tensor, objects: int) -> np.ndarray:
    return np.unpackbits(packed.numpy(), axis=-1, count=objects).astype(bool)


def a_trained(**keys) -> Training:
    """After some steps, so that running moments are not those of a batch."""
    one = a_training(**keys)
    for _ in range(5):
        one._train_step()
        one.step += 1
    return one


# ------------------------------------------------------------------ objects and views


def test_bits_are_packed_as_numpy_packs_them():
    right = torch.rand(3, 2, 21, generator=torch.Generator().manual_seed(0)) < 0.5
    assert np.array_equal(recorder.packed(right).numpy(), np.packbits(right.numpy(), axis=-1))


def test_objects_are_drawn_once_without_replacement():
    chosen = estimation.objects(100, 40)
    assert len(set(chosen.tolist())) == 40
    assert torch.equal(chosen, estimation.objects(100, 40))
    assert torch.equal(chosen, estimation.objects(100, 60)[:40])  # more keep what there are
    assert sorted(estimation.objects(10, 40).tolist()) == list(range(10))
    assert not torch.equal(chosen, estimation.objects(100, 40, "test"))


@pytest.mark.parametrize("count, batch, sizes", [(21, 8, [7, 7, 7]), (16, 8, [8, 8]), (5, 8, [5])])
def test_each_object_has_companions_of_one_batch(count, batch, sizes):
    for redrawn in (False, True):
        parts = estimation.companions(count, batch, redrawn)
        assert [len(part) for part in parts] == sizes
        assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert torch.equal(torch.cat(estimation.companions(count, batch)), torch.arange(count))


# ------------------------------------------------------------------ the recorder


def test_a_view_is_right_where_its_partner_is_the_most_similar_of_its_batch():
    one = a_trained()
    found = recorder.correct(moment_of(one), RECORD)
    data, task = one.task.data, one.task
    chosen = estimation.objects(60, 21)
    running = one.statistics.in_mode("running")
    for view in range(3):
        z = []
        for partner in (0, 1):
            made = estimation.view(
                task.augmentation, data.train_images[chosen], data.black, "train", view, partner
            )
            with torch.no_grad():
                z.append(task.model.forward(one.stack.parameters, made[None], running)[0])
        for name, order, mine in (
            ("correct", estimation.companions(21, 8), 0),
            ("correct_second", estimation.companions(21, 8), 1),
            ("correct_redrawn", estimation.companions(21, 8, True), 0),
        ):
            expected = np.zeros(21, bool)
            for batch in order:
                for place in batch.tolist():
                    own = z[mine][place]
                    others = [(z[s][k], s, int(k)) for s in (0, 1) for k in batch]
                    others = [
                        (float(torch.cosine_similarity(own, value, dim=0)), s, k)
                        for value, s, k in others
                        if (s, k) != (mine, place)
                    ]
                    expected[place] = max(others)[1:] == (1 - mine, place)
            assert np.array_equal(bits(found[name][0, view], 21), expected)
    assert found["correct_held_out"].shape == (1, 3, 2)


def test_supervised_networks_are_asked_for_the_label_in_eval_mode():
    one = a_trained(contrastive=False)
    before = {layer: tuple(map(torch.clone, m)) for layer, m in one.statistics.running.items()}
    found = recorder.correct(moment_of(one), RECORD)
    for layer, moments in one.statistics.running.items():
        assert all(map(torch.equal, moments, before[layer]))  # no buffer is moved
    assert set(found) == {"correct", "correct_held_out"}
    data, task = one.task.data, one.task
    for which, name, count in (("train", "correct", 21), ("test", "correct_held_out", 10)):
        of, labels = getattr(data, f"{which}_images"), getattr(data, f"{which}_labels")
        chosen = estimation.objects(len(labels), count, which)
        for view in range(3):
            made = estimation.view(task.augmentation, of[chosen], data.black, which, view)
            with torch.no_grad():
                logits = task.model.forward(
                    one.stack.parameters, made[None], one.statistics.in_mode("running")
                )
            expected = logits[0].argmax(-1) == labels[chosen]
            assert np.array_equal(bits(found[name][0, view], count), expected.numpy())


def test_without_augmentation_there_is_one_view():
    one = a_training(contrastive=False, augment=False)
    assert recorder.correct(moment_of(one), RECORD)["correct"].shape == (1, 1, 3)


@pytest.mark.parametrize("contrastive", [True, False])
def test_a_stack_of_networks_is_asked_as_each_alone(contrastive):
    together = recorder.correct(moment_of(a_training((0, 1, 2), contrastive)), RECORD)
    for place, seed in enumerate((0, 1, 2)):
        alone = recorder.correct(moment_of(a_training((seed,), contrastive)), RECORD)
        for name, value in alone.items():
            assert torch.equal(together[name][place], value[0])


def test_the_loop_keeps_bits_several_times_an_epoch_and_across_a_kill():
    record = {**RECORD, "every": {"steps": 3}}
    whole = a_training(records=[record])
    whole.run()
    steps, values = whole.history.arrays["correct"]
    assert steps == [0, 3, 6, 9, 12, 15, 18, 21, 24]  # of 8 an epoch
    assert {value.dtype for value in values} == {torch.uint8}
    killed, states = a_training(records=[record]), []

    def stop(one):
        if one.step == 10:
            states.append({name: value.clone() for name, value in one.state().items()})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.run(between_steps=stop)
    resumed = a_training(records=[record])
    resumed.resume(states[0])
    resumed.run()
    for name, (steps, values) in whole.history.arrays.items():
        assert resumed.history.arrays[name][0] == steps
        assert all(map(torch.equal, resumed.history.arrays[name][1], values))


def test_a_network_that_diverged_gets_nothing_right():
    record = {**RECORD, "every": {"epochs": 1}}
    one = a_training((0, 1), False, records=[record])
    one.stack.flat[1] = float("nan")
    one.run()
    last = one.history.arrays["correct"][1][-1]
    assert last[0].any() and not last[1].any()


def test_the_recorder_s_defaults_are_the_paper_s():
    found = settings("record", "correct", "test")
    assert (found["objects"], found["views"], found["redrawn"]) == (1024, 10, False)
