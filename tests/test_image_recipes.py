"""Recipes of images: the other images, some classes, stratified validation, corruption, labels."""

import json
from pathlib import Path

import numpy as np
import pytest
from refigure.data.images import corrupted, shuffled_labels
from refigure.data.images.recipes import prepare
from refigure.data.sources import Raw, digest_of, read
from refigure.errors import UserError
from refigure.graph.catalogue import settings
from refigure.graph.spec import without_defaults

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "pretrain_basin.json"
AS_THEY_ARE = {"source": "x", "standardise": "published", "mean": [0.0], "std": [1.0]}
DIGITS = {"source": "digits", "standardise": "global"}


def numbered(count, classes, test=0):
    """Images of one pixel that holds their own number."""
    pixels = np.arange(count + test, dtype=np.float32)[:, None, None, None]
    labels = np.arange(count + test) % classes
    names = [f"class{number}" for number in range(classes)]
    return Raw(pixels[:count], labels[:count], pixels[count:], labels[count:], names)


def numbers(images):
    return images[:, 0, 0, 0].astype(int).tolist()


def test_two_recipes_share_no_image_where_one_skips_what_the_other_takes(tmp_path):
    raw = read({"kind": "digits"}, tmp_path)
    source = prepare(raw, DIGITS | {"train": 900, "test": 0})
    target = prepare(raw, DIGITS | {"skip": 900, "train": 100, "per_class": True})
    order = np.random.RandomState(0).permutation(1797)
    assert np.array_equal(source.train_labels, raw.train_labels[order[:900]])
    assert np.bincount(target.train_labels).tolist() == [10] * 10
    assert len(target.test_labels) == 797
    there = np.bincount(np.concatenate([target.train_labels, target.test_labels]))
    assert np.array_equal(there, np.bincount(raw.train_labels[order[900:]]))


def test_file_order_keeps_the_first_images_of_the_source():
    prepared = prepare(numbered(20, 4, 8), AS_THEY_ARE | {"order_seed": None, "train": 5})
    assert numbers(prepared.train_images) == [0, 1, 2, 3, 4]
    assert numbers(prepared.test_images) == list(range(20, 28))


@pytest.mark.parametrize("written", [["class2", "class0"], [2, 0], ["2-2", 0]])
def test_classes_are_numbered_anew_in_the_order_written(written):
    recipe = AS_THEY_ARE | {"order_seed": None, "classes": written}
    prepared = prepare(numbered(12, 4, 8), recipe)
    assert prepared.classes == ["class2", "class0"]
    assert numbers(prepared.train_images) == [0, 2, 4, 6, 8, 10]
    assert prepared.train_labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert numbers(prepared.test_images) == [12, 14, 16, 18]


@pytest.mark.parametrize(
    "recipe, words",
    [
        ({"classes": ["clas1"]}, "classes: unknown class 'clas1'"),
        ({"classes": [1, "0-2"]}, "a class is written twice"),
        ({"classes": ["2-9"]}, "no class 9, there are 4"),
        ({"classes": []}, "classes is an empty list"),
        ({"skip": 12}, "the source has 0 beyond the 12 skipped"),
        ({"stratified": 42}, "validation is 0"),
        ({"stratified": 42, "validation": 1}, "stratified: The test_size = 1"),
        ({"corruption": {"name": "fog", "strength": 1}}, "unknown value 'fog'"),
        ({"corruption": {"name": "blur", "strength": 0}}, "strength must be above 0, got 0"),
    ],
)
def test_a_recipe_that_cannot_be_names_its_key(recipe, words):
    with pytest.raises(UserError, match=words):
        prepare(numbered(12, 4, 4), AS_THEY_ARE | recipe)


def test_stratified_validation_is_scikit_learns():
    if not REFERENCE.exists():
        pytest.skip(f"no {REFERENCE}")
    known = json.loads(REFERENCE.read_text())
    key = "stratified_split_of_60_objects_label_i_mod_5_train_50_random_state_42"
    recipe = AS_THEY_ARE | {"validation": 10, "stratified": 42}
    in_order = prepare(numbered(60, 5), recipe | {"order_seed": None})
    assert numbers(in_order.test_images) == known[key]["validation_indices"]
    mixed = prepare(numbered(60, 5), recipe | {"order_seed": 228})
    assert sorted(numbers(mixed.test_images)) == known[key]["validation_indices"]
    assert np.bincount(mixed.test_labels).tolist() == [2] * 5
    assert sorted(numbers(mixed.train_images) + numbers(mixed.test_images)) == list(range(60))


def test_a_corruption_changes_the_test_images_only(tmp_path):
    raw = read({"kind": "digits"}, tmp_path)
    recipe = {"source": "digits", "train": 100, "test": 400, "standardise": "global"}
    clean = prepare(raw, recipe)
    noisy = prepare(raw, recipe | {"corruption": {"name": "noise", "strength": 1.2, "seed": 3}})
    blurred = prepare(raw, recipe | {"corruption": {"name": "blur", "strength": 1.0}})
    for other in (noisy, blurred):
        assert np.array_equal(clean.train_images, other.train_images)
        assert np.array_equal(clean.test_labels, other.test_labels)
    noise = noisy.test_images - clean.test_images
    assert abs(noise.std() - 1.2) < 0.02 and abs(noise.mean()) < 0.02
    assert noisy.test_images.dtype == blurred.test_images.dtype == np.float32
    assert blurred.test_images.std() < 0.8 * clean.test_images.std()


def test_a_blurred_point_is_a_gaussian_that_sums_to_one():
    images = np.zeros((2, 1, 21, 21), np.float32)
    images[1, 0, 10, 10] = 1
    raw = Raw(images[:1], np.zeros(1, int), images[1:], np.zeros(1, int), ["a"])
    recipe = AS_THEY_ARE | {"corruption": {"name": "blur", "strength": 1.5}}
    blurred = prepare(raw, recipe).test_images[0, 0].astype(float)
    assert abs(blurred.sum() - 1) < 1e-5
    assert abs(blurred[10, 11] / blurred[10, 10] - np.exp(-1 / (2 * 1.5**2))) < 1e-5


def test_shuffled_labels_are_one_permutation_and_test_labels_stay_true():
    raw = numbered(40, 4, 8)
    recipe = AS_THEY_ARE | {"order_seed": None}
    true, one, again = (
        prepare(raw, recipe),
        shuffled_labels.prepare(raw, recipe | {"label_seed": 1}),
        shuffled_labels.prepare(raw, recipe | {"label_seed": 1}),
    )
    other = shuffled_labels.prepare(raw, recipe | {"label_seed": 2})
    assert np.array_equal(one.train_labels, again.train_labels)
    assert np.bincount(one.train_labels).tolist() == [10] * 4
    assert (one.train_labels != true.train_labels).sum() > 20
    assert (one.train_labels != other.train_labels).sum() > 20
    assert np.array_equal(one.train_images, true.train_images)
    assert np.array_equal(one.test_labels, true.test_labels)
    assert one.train_corrupted.all()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "corrupted"
    folder.mkdir()
    for number, name in enumerate(("fog", "snow")):
        images = (
            np.zeros((20, 2, 2, 3), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
        )
        np.save(folder / f"{name}.npy", images + 100 * number)
    np.save(folder / "labels.npy", np.tile([2, 0, 1, 1], 5).astype(np.uint8))
    return folder


CORRUPTED = {"corruptions": ["fog", "snow"], "severity": 2, "mean": [0.0] * 3, "std": [1.0] * 3}


def test_corrupted_files_give_one_severity_of_each_corruption(folder, tmp_path):
    given = {"source": {"kind": "arrays", "path": str(folder), "sha256": digest_of(folder)}}
    recipe = settings("recipe", {"name": "corrupted", "source": "c100", **CORRUPTED}, "here")
    prepared = corrupted.prepare(corrupted.read(given, tmp_path), recipe)
    assert numbers(prepared.test_images) == [4, 5, 6, 7, 104, 105, 106, 107]
    assert prepared.test_labels.tolist() == [2, 0, 1, 1] * 2
    corrupted.save(prepared, tmp_path / "a.safetensors", recipe)
    loaded = corrupted.load(tmp_path / "a.safetensors", "cpu")
    assert loaded.channels == 3 and loaded.size == 2 and loaded.classes == 3
    assert len(loaded.train_labels) == 0
    two = corrupted.prepare(folder, recipe | {"test": 2})
    assert numbers(two.test_images) == [4, 5, 104, 105]


def test_corrupted_files_that_cannot_be_are_one_line(folder, tmp_path):
    given = {"source": {"kind": "arrays", "path": str(folder), "sha256": "0" * 64}}
    with pytest.raises(UserError, match="expected sha256 0"):
        corrupted.read(given, tmp_path)
    with pytest.raises(UserError, match="severity must be 1 to 5, got 6"):
        corrupted.prepare(folder, CORRUPTED | {"severity": 6})
    with pytest.raises(UserError, match=r"frost.npy: not readable"):
        corrupted.prepare(folder, CORRUPTED | {"corruptions": ["frost"]})
    np.save(folder / "fog.npy", np.zeros((20, 2, 2, 3)))
    with pytest.raises(UserError, match=r"expected .20, height, width, channels. bytes"):
        corrupted.prepare(folder, CORRUPTED)


def test_new_keys_are_no_part_of_what_a_recipe_was():
    recipe = settings("recipe", {"name": "images", "source": "digits"}, "here")
    assert without_defaults("recipe", recipe) == {"name": "images", "source": "digits"}
