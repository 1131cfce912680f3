"""Images from source to device: what is read, what a recipe makes of it, what is augmented."""

import hashlib
import io
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import spec
from PIL import Image
from refigure.data import sources
from refigure.data.images import augment
from refigure.data.images.images import Images, load, save
from refigure.data.images.recipes import prepare, redrawn
from refigure.data.prepared import load as load_any
from refigure.data.sources import Raw, digest_of, read
from refigure.errors import UserError
from refigure.graph.catalogue import settings
from refigure.training.networks import build_model
from torchvision.transforms import functional as transforms

REAL_CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10-jpg.tar.xz"
REAL_CIFAR10_SHA256 = "2fe3f73ccba4e47e4a2c25cbfe9a3b2d88417d26992f2d907ef3cbcc38de25c1"
CIFAR_MEAN, CIFAR_STD = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
AS_THEY_ARE = {"standardise": "published", "mean": [0.0], "std": [1.0]}
PUBLISHED = {"standardise": "published", "mean": CIFAR_MEAN, "std": CIFAR_STD}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return read({"kind": "digits"}, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def coloured():
    """60 + 20 images of 8x8 in 4 classes, sorted by class as folders are."""
    pixels = np.random.default_rng(0)
    train, test = (pixels.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8) for count in (60, 20))
    return Raw(train, np.arange(60) // 15, test, np.arange(20) // 5, ["a", "b", "c", "d"])


def png(shape=(4, 4, 3), seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


TREE = {
    f"things/{part}/{kind}/{number}.png": png(seed=10 * p + 5 * k + number)
    for p, part in enumerate(("train", "test"))
    for k, kind in enumerate(("cat", "dog"))
    for number in range(2 - p)
}


def unpacked(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def packed(path, files, *extra):
    with tarfile.open(path, "w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return path


def read_images(path):
    source = {"kind": "images", "path": str(path), "sha256": digest_of(path)}
    return read(source, path.parent / "cache")


def assert_same(one, other):
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.classes == other.classes


def refused(path, *words):
    """Reading fails with one line that holds the words, and leaves the folder as it was."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(UserError) as error:
        read_images(path)
    assert sorted(path.parent.rglob("*")) == before
    assert "\n" not in str(error.value)
    for word in (path.name, *words):
        assert word in str(error.value)


# Sources


def test_digits_are_1797_images_in_the_unit_range(digits):
    assert digits.train_images.shape == (1797, 1, 8, 8)
    assert digits.train_images.min() == 0 and digits.train_images.max() == 1
    assert np.bincount(digits.train_labels).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180
    ]  # fmt: skip
    assert len(digits.test_labels) == 0 and len(digits.classes) == 10


def test_other_digits_than_ours_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"expected sha256 0000.* found 8b3b6ae9"):
        read({"kind": "digits"}, tmp_path)


def test_torchvision_images_come_channels_first(monkeypatch, tmp_path):
    class Stub:
        def __init__(self, root, train, download):
            self.classes = ["a", "b"]
            assert root == str(tmp_path) and download
            self.data = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3) + train
            self.targets = [0, 1]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Stub)
    raw = read({"kind": "torchvision", "name": "CIFAR10"}, tmp_path)
    assert raw.test_images.shape == (2, 3, 4, 4)
    assert raw.test_images[0, :, 0, 1].tolist() == [3, 4, 5]
    assert raw.train_images[0, 0, 0, 0] == 1


def test_one_job_fetches_images_of_torchvision_and_the_others_wait(monkeypatch, tmp_path):
    """A download that is seen half done is "corrupted" for torchvision."""
    fetched = []

    class Slow:
        def __init__(self, root, train, download):
            file = Path(root) / "images"
            if not file.is_file():
                fetched.append(threading.get_ident())
                file.write_bytes(b"half")
                time.sleep(0.3)
                file.write_bytes(b"whole")
            if file.read_bytes() != b"whole":
                raise RuntimeError("File not found or corrupted.")
            self.classes = ["a"]
            self.data, self.targets = np.zeros((1, 4, 4, 3), np.uint8), [0]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Slow)
    found = []
    source = {"kind": "torchvision", "name": "CIFAR10"}
    jobs = [threading.Thread(target=lambda: found.append(read(source, tmp_path))) for _ in range(3)]
    for job in jobs:
        job.start()
        time.sleep(0.05)
    for job in jobs:
        job.join()
    assert len(found) == 3 and len(fetched) == 1


def test_a_failed_download_is_one_line_with_the_folder(monkeypatch, tmp_path):
    def fail(root, train, download):
        raise RuntimeError("File not found\nor corrupted.")

    monkeypatch.setattr("torchvision.datasets.CIFAR100", fail)
    with pytest.raises(UserError, match=r"^CIFAR100: .*File not found or corrupted.$") as error:
        read({"kind": "torchvision", "name": "CIFAR100"}, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_folder_and_its_tar_give_the_same_images_in_any_packing_order(tmp_path):
    backwards = dict(reversed(TREE.items()))
    raw = read_images(packed(tmp_path / "things.tar.xz", backwards))
    assert_same(raw, read_images(unpacked(tmp_path / "tree", TREE)))
    assert raw.classes == ["cat", "dog"]
    assert raw.train_labels.tolist() == [0, 0, 1, 1] and raw.test_labels.tolist() == [0, 1]
    expected = np.random.default_rng(6).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(raw.train_images[3], expected.transpose(2, 0, 1))


def test_the_name_above_train_and_test_may_be_absent(tmp_path):
    bare = {name.removeprefix("things/"): content for name, content in TREE.items()}
    raw = read_images(packed(tmp_path / "bare.tar", bare))
    assert_same(raw, read_images(packed(tmp_path / "named.tar", TREE)))


def test_classes_without_a_split_are_all_in_train_and_grey_stays_one_channel(tmp_path):
    files = {f"{kind}/1.png": png((4, 4), seed=ord(kind)) for kind in "ba"}
    raw = read_images(unpacked(tmp_path / "grey", files | {"README.md": b"text"}))
    assert raw.train_images.shape == (2, 1, 4, 4) and raw.test_images.shape == (0, 1, 4, 4)
    assert raw.train_labels.tolist() == [0, 1] and raw.classes == ["a", "b"]


def test_another_checksum_is_refused_before_the_archive_is_opened(tmp_path, monkeypatch):
    path = packed(tmp_path / "things.tar.xz", TREE)
    monkeypatch.setattr(tarfile, "open", lambda *_: pytest.fail("opened"))
    with pytest.raises(UserError) as error:
        read({"kind": "images", "path": str(path), "sha256": "f" * 64}, tmp_path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(error.value).startswith(f"{path}: expected sha256 {'f' * 64}, found {found}")


def test_a_source_without_a_checksum_is_refused(tmp_path):
    path = packed(tmp_path / "things.tar.xz", TREE)
    with pytest.raises(UserError, match=r"things.tar.xz: no sha256"):
        read({"kind": "images", "path": str(path)}, tmp_path)


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.tar: no such file or folder"):
        read({"kind": "images", "path": str(tmp_path / "nowhere.tar"), "sha256": "0"}, tmp_path)


def test_the_digest_of_a_folder_follows_names_and_contents(tmp_path):
    digests = {
        digest_of(unpacked(tmp_path / str(number), files))
        for number, files in enumerate(
            [{"a": b"1", "b": b"2"}, {"a": b"2", "b": b"1"}, {"a": b"12"}, {"a": b"1", "c": b"2"}]
        )
    }
    assert len(digests) == 4
    again = unpacked(tmp_path / "again", {"b": b"2", "a": b"1"})
    assert digest_of(again) in digests


@pytest.mark.parametrize(
    ("kind", "word"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device")],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, word):
    member = tarfile.TarInfo("things/train/cat/9.png")
    member.type, member.linkname = kind, "/etc/passwd"
    refused(packed(tmp_path / "bad.tar.xz", TREE, member), f"holds a {word}", "9.png")


@pytest.mark.parametrize("name", ["../cat/1.png", "/train/cat/1.png", "a/../../cat/1.png"])
def test_paths_outside_a_tar_are_refused(tmp_path, name):
    refused(packed(tmp_path / "bad.tar", {name: png()}), "path outside", name)


def test_a_link_in_a_folder_is_refused(tmp_path):
    tree = unpacked(tmp_path / "tree", TREE)
    (tree / "things/train/cat/9.png").symlink_to("/etc/passwd")
    refused(tree, "holds a link", "9.png")


def test_images_of_two_sizes_are_refused(tmp_path):
    files = TREE | {"things/train/dog/9.png": png((4, 5, 3))}
    refused(packed(tmp_path / "bad.tar", files), "two sizes", "3x4x4", "3x4x5", "9.png")


def test_an_archive_without_images_is_refused(tmp_path):
    refused(packed(tmp_path / "empty.tar", {}), "no images")
    refused(packed(tmp_path / "text.tar", {"train/cat/1.txt": b"text"}), "no images")


def test_what_is_no_archive_or_cut_short_is_refused(tmp_path):
    (tmp_path / "text.tar").write_bytes(b"not a tar " * 100)
    refused(tmp_path / "text.tar", "not a readable tar")
    whole = packed(tmp_path / "whole.tar.xz", TREE).read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.tar.xz", "not a readable tar")


def test_a_file_that_is_no_image_is_refused(tmp_path):
    files = TREE | {"things/train/dog/9.png": b"not an image"}
    refused(packed(tmp_path / "bad.tar", files), "9.png' is not a readable image")


def damaged_images():
    """Name -> bytes of a picture that was cut short, is something else, or is empty."""
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 255, (40, 40, 3), np.uint8))
    for kind, ending in (("JPEG", "jpg"), ("PNG", "png"), ("TIFF", "tiff"), ("WEBP", "webp")):
        stream = io.BytesIO()
        picture.save(stream, kind)
        yield f"9.{ending}", stream.getvalue()[: len(stream.getvalue()) // 2]
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    yield "10.bmp", stream.getvalue()[:60]
    yield "11.png", b""
    yield "12.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    wrong = bytearray(stream.getvalue())
    wrong[wrong.index(b"IDAT") + 10] ^= 0xFF
    yield "13.png", bytes(wrong)


@pytest.mark.parametrize(("name", "content"), list(damaged_images()), ids=lambda one: str(one)[:8])
def test_a_damaged_image_is_one_line_with_its_file(tmp_path, name, content):
    tree = unpacked(tmp_path / "tree", TREE | {f"things/train/dog/{name}": content})
    refused(tree, "is not a readable image", name)


def test_a_class_only_in_test_is_refused(tmp_path):
    files = TREE | {"things/test/eel/1.png": png()}
    refused(packed(tmp_path / "bad.tar", files), "class 'eel' is in test but not in train")


@pytest.mark.parametrize(
    "name", ["1.png", "train/1.png", "more/things/train/cat/1.png", "things/cat/1.png", "x/1.png"]
)
def test_another_layout_is_refused(tmp_path, name):
    refused(packed(tmp_path / "bad.tar", TREE | {name: png()}), "expected [name/]", name)


@pytest.mark.skipif(not REAL_CIFAR10.exists(), reason=f"{REAL_CIFAR10} is not on this machine")
def test_the_real_cifar10_archive_is_read_whole(tmp_path):
    source = {"kind": "images", "path": str(REAL_CIFAR10), "sha256": REAL_CIFAR10_SHA256}
    raw = read(source, tmp_path)
    assert raw.train_images.shape == (50_000, 3, 32, 32)
    assert raw.test_images.shape == (10_000, 3, 32, 32)
    assert np.bincount(raw.train_labels).tolist() == [5000] * 10
    assert raw.classes[0] == "airplane" and raw.classes[9] == "truck"
    # Channel means of the official pixels (the published constants); JPEG moves them little.
    means = [raw.train_images[:, c].mean() / 255 for c in range(3)]
    np.testing.assert_allclose(means, CIFAR_MEAN, atol=2e-3)


# Recipes


def test_global_standardisation_gives_mean_0_and_std_1_over_all_images(digits):
    prepared = prepare(digits, {"source": "digits", "train": 900, "standardise": "global"})
    assert len(prepared.train_labels) == 900 and len(prepared.test_labels) == 897
    pixels = np.concatenate([prepared.train_images, prepared.test_images]).astype(np.float64)
    assert abs(pixels.mean()) < 1e-6 and abs(pixels.std() - 1) < 1e-6
    assert prepared.mean == pytest.approx(digits.train_images.mean(), abs=1e-6)


def test_channel_standardisation_uses_the_training_images_kept(coloured):
    recipe = {"source": "x", "train": 40, "standardise": "channel"}
    prepared = prepare(coloured, recipe)
    pixels = prepared.train_images / 255
    np.testing.assert_allclose(prepared.mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(prepared.std, pixels.std((0, 2, 3)), rtol=1e-6)


def test_images_are_permuted_by_the_seed_and_the_source_is_left_alone(coloured):
    before = coloured.train_images.copy(), coloured.train_labels.copy()
    prepared = prepare(coloured, {"source": "x", "order_seed": 3, "train": 40, "test": 10})
    train = np.random.RandomState(3).permutation(60)[:40]
    test = np.random.RandomState(3).permutation(20)[:10]
    np.testing.assert_array_equal(prepared.train_images, coloured.train_images[train])
    np.testing.assert_array_equal(prepared.train_labels, coloured.train_labels[train])
    np.testing.assert_array_equal(prepared.test_images, coloured.test_images[test])
    np.testing.assert_array_equal(prepared.test_labels, coloured.test_labels[test])
    prepared = prepare(coloured, {"source": "x", "label_noise": {"share": 1.0, "seed": 0}})
    np.testing.assert_array_equal(coloured.train_images, before[0])
    np.testing.assert_array_equal(coloured.train_labels, before[1])


def test_a_source_without_a_test_part_is_cut_in_two(digits):
    prepared = prepare(digits, {"source": "digits", "train": 100, "test": 50} | AS_THEY_ARE)
    order = np.random.RandomState(0).permutation(1797)
    np.testing.assert_array_equal(prepared.train_images, digits.train_images[order[:100]])
    np.testing.assert_array_equal(prepared.test_images, digits.train_images[order[100:150]])
    assert len(prepare(digits, {"source": "digits", "test": 97} | AS_THEY_ARE).train_labels) == 1700


def test_per_class_keeps_as_many_of_each_class_in_permuted_order(coloured):
    prepared = prepare(coloured, {"source": "x", "train": 20, "per_class": True})
    order = np.random.RandomState(0).permutation(60)
    kept, counts = [], [0] * 4
    for image in order:
        label = coloured.train_labels[image]
        if counts[label] < 5:
            counts[label] += 1
            kept.append(image)
    np.testing.assert_array_equal(prepared.train_images, coloured.train_images[kept])


def test_validation_takes_the_last_training_images(coloured):
    prepared = prepare(coloured, {"source": "x", "train": 40, "validation": 10})
    order = np.random.RandomState(0).permutation(60)
    np.testing.assert_array_equal(prepared.train_images, coloured.train_images[order[:30]])
    np.testing.assert_array_equal(prepared.test_images, coloured.train_images[order[30:40]])


def test_a_recipe_completed_by_the_catalogue_gives_the_same_arrays(coloured):
    written = {"source": "x", "train": 40, "standardise": "channel"}
    complete = settings("recipe", {"name": "images"} | written, "here")
    one, other = prepare(coloured, written), prepare(coloured, complete)
    for name in ("train_images", "train_labels", "test_images", "mean", "std"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_images_that_are_not_square_are_one_line(coloured):
    wide = replace(coloured, train_images=coloured.train_images[:, :, :6])
    wide = replace(wide, test_images=coloured.test_images[:, :, :6])
    with pytest.raises(UserError, match="recipe of 'x': images must be square, got 6x8 pixels"):
        prepare(wide, {"source": "x"})


def test_pooling_averages_square_blocks():
    image = np.array([[0, 51, 10, 10], [102, 51, 10, 10], [0, 0, 255, 0], [0, 0, 0, 255]])
    raw = Raw(
        image[None, None].astype(np.uint8),
        np.zeros(1, np.int64),
        np.zeros((0, 1, 4, 4), np.uint8),
        np.zeros(0, np.int64),
        ["only"],
    )
    pooled = prepare(raw, {"source": "x", "pool": 2} | AS_THEY_ARE).train_images
    expected = np.array([[51, 10], [0, 127.5]], dtype=np.float32) / 255
    np.testing.assert_allclose(pooled[0, 0], expected, rtol=1e-6)


def test_noise_is_the_same_at_every_call_and_another_for_another_seed(digits):
    def noisy(sd, seed):
        recipe = {"source": "digits", "train": 900, "standardise": "global"}
        return prepare(digits, recipe | ({"noise": {"sd": sd, "seed": seed}} if sd else {}))

    clean, first, again, other = noisy(0, 0), noisy(0.5, 1), noisy(0.5, 1), noisy(0.5, 2)
    for part in ("train_images", "test_images"):
        noise = getattr(first, part) - getattr(clean, part)
        assert abs(noise.std() - 0.5) < 0.01 and abs(noise.mean()) < 0.01
        np.testing.assert_array_equal(getattr(first, part), getattr(again, part))
        assert (getattr(first, part) != getattr(other, part)).mean() > 0.99
        assert getattr(first, part).dtype == np.float32
    shared = (first.train_images - clean.train_images)[:897]
    assert np.abs(shared - (first.test_images - clean.test_images)).mean() > 0.4


def test_label_noise_equals_a_slow_loop_and_leaves_a_tenth_of_it_right():
    labels = np.random.default_rng(0).integers(0, 10, 20_000)
    noisy, corrupted = redrawn(labels, 10, 0.2, seed=228)
    generator = np.random.RandomState(228)
    mask = [generator.rand() <= 0.2 for _ in labels]
    expected = [
        generator.randint(10) if hit else label for label, hit in zip(labels, mask, strict=True)
    ]
    assert noisy.tolist() == expected and corrupted.tolist() == mask
    # Standard error of the share of wrong labels: sqrt(0.18 * 0.82 / 20,000) = 0.0027.
    assert abs((noisy != labels).mean() - 0.2 * 0.9) < 3 * 0.0027


def test_only_training_labels_are_redrawn(coloured):
    plain = prepare(coloured, {"source": "x"})
    noisy = prepare(coloured, {"source": "x", "label_noise": {"share": 0.5, "seed": 228}})
    np.testing.assert_array_equal(noisy.test_labels, plain.test_labels)
    kept = ~noisy.train_corrupted
    np.testing.assert_array_equal(noisy.train_labels[kept], plain.train_labels[kept])
    assert 15 < noisy.train_corrupted.sum() < 45 and not plain.train_corrupted.any()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"trian": 5}, "has no key 'trian'; did you mean 'train'?"),
        ({"train": 61}, "asks for 61 images"),
        ({"train": 0}, "train must be at least 1, got 0"),
        ({"test": 21}, "asks for 21 test images, there are 20"),
        ({"train": 21, "per_class": True}, "train 21 is not a multiple of 4 classes"),
        ({"pool": 3}, "images of 8x8 pixels do not pool to 3x3"),
        ({"standardise": "channels"}, "unknown value 'channels'; did you mean 'channel'?"),
        ({"mean": [0.5], "std": [0.2]}, "mean has 1 values for 3 channels"),
        ({"mean": ["1e-3", 0, 0]}, "mean: an item must be a number, got '1e-3'"),
        ({"std": [0.2, 0.2, 0]}, "std: an item must be above 0, got 0"),
        ({"noise": {"sd": 1.0}}, "key 'seed' is missing"),
        ({"noise": {"sd": -1.0, "seed": 0}}, "noise.sd must be at least 0, got -1.0"),
        ({"label_noise": {"share": 1.5, "seed": 0}}, "got 1.5"),
        ({"validation": 60}, "validation 60 leaves none of 60"),
        ({"validation": 5, "test": 6}, "asks for 6 test images, there are 5"),
    ],
)
def test_a_recipe_that_cannot_be_is_one_line(coloured, recipe, words):
    with pytest.raises(UserError) as error:
        prepare(coloured, {"source": "x"} | recipe)
    assert "recipe of 'x'" in str(error.value) and words in str(error.value)
    assert "\n" not in str(error.value)


# Prepared arrays on a device


def test_prepared_images_load_as_saved_and_equal_arrays_give_equal_bytes(digits, tmp_path):
    recipe = {
        "source": "digits",
        "train": 100,
        "test": 50,
        "standardise": "global",
        "noise": {"sd": 1.0, "seed": 0},
        "label_noise": {"share": 0.2, "seed": 228},
    }
    prepared = prepare(digits, recipe)
    save(prepared, tmp_path / "new" / "one.safetensors", recipe)
    save(prepared, tmp_path / "new" / "two.safetensors", dict(reversed(recipe.items())))
    one, two = sorted((tmp_path / "new").iterdir())
    assert one.read_bytes() == two.read_bytes()
    images = load(one, "cpu")
    for name in ("train_images", "train_labels", "test_images", "test_labels", "train_corrupted"):
        np.testing.assert_array_equal(getattr(images, name).numpy(), getattr(prepared, name))
    assert (images.classes, images.channels, images.size) == (10, 1, 8)
    torch.testing.assert_close(images.black, torch.from_numpy(-prepared.mean / prepared.std))


def test_bytes_and_floats_of_the_same_pixels_load_alike(coloured, tmp_path):
    floats = Raw(
        coloured.train_images.astype(np.float32) / 255,
        coloured.train_labels,
        coloured.test_images.astype(np.float32) / 255,
        coloured.test_labels,
        coloured.classes,
    )
    for standardise in (PUBLISHED, {"standardise": "channel"}, {"standardise": "global"}):
        recipe = {"source": "x"} | standardise
        loaded = []
        for raw, dtype in ((coloured, np.uint8), (floats, np.float32)):
            prepared = prepare(raw, recipe)
            assert prepared.train_images.dtype == dtype
            save(prepared, tmp_path / "x.safetensors", recipe)
            loaded.append(load(tmp_path / "x.safetensors", "cpu"))
        one, other = loaded
        assert one.train_images.dtype == torch.float32
        for name in ("train_images", "test_images", "black"):
            torch.testing.assert_close(
                getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6
            )


def test_bytes_load_exactly_as_torchvision_normalises_them(coloured, tmp_path):
    recipe = {"source": "x"} | PUBLISHED
    save(prepare(coloured, recipe), tmp_path / "x.safetensors", recipe)
    images = load(tmp_path / "x.safetensors", "cpu")
    first = coloured.train_images[np.random.RandomState(0).permutation(60)[0]]
    expected = transforms.to_tensor(first.transpose(1, 2, 0))
    expected = transforms.normalize(expected, CIFAR_MEAN, CIFAR_STD)
    assert torch.equal(images.train_images[0], expected)


def test_a_failed_save_leaves_the_old_file_and_no_other(coloured, tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=rf"^cannot write {path}: No space left"):
        save(prepare(coloured, {"source": "x"}), path, {"source": "x"})
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]
    assert path.read_bytes() == b"old"


def test_a_missing_or_foreign_file_is_one_line(tmp_path):
    (tmp_path / "foreign").write_bytes(b"not safetensors at all")
    for name in ("missing", "foreign"):
        with pytest.raises(UserError, match=f"^.*{name}: no[^\n]*$"):
            load(tmp_path / name, "cpu")


def test_a_file_is_read_by_the_module_of_its_recipe(coloured, tmp_path):
    path = tmp_path / "x.safetensors"
    recipe = {"name": "images", "source": "x"}
    save(prepare(coloured, recipe), path, recipe)
    assert isinstance(load_any(path, "cpu"), Images)
    with pytest.raises(UserError, match=r"^model 'convnet' needs 'channels' of its data, which"):
        build_model(spec(), object())


# Augmentation


def test_crops_and_flips_equal_torchvision_which_pads_before_it_normalises():
    crop_flip = augment.Augmentation(padding=4, flip=True)
    pixels = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, 50, 3, 32, 32), dtype=np.uint8)
    )

    def normalised(image):
        image = transforms.to_tensor(image.permute(1, 2, 0).numpy())
        return transforms.normalize(image, CIFAR_MEAN, CIFAR_STD)

    draws = torch.stack(
        [crop_flip.draw(torch.Generator().manual_seed(seed), 50, 32) for seed in (0, 1)]
    )
    images = torch.stack([normalised(i) for i in pixels.flatten(0, 1)]).view(2, 50, 3, 32, 32)
    black = normalised(torch.zeros(3, 1, 1, dtype=torch.uint8)).flatten()
    found = crop_flip.apply(images, draws, black)
    for network in range(2):
        for number in range(50):
            row, column, flip = draws[network, number].tolist()
            expected = transforms.pad(pixels[network, number], [4])
            expected = transforms.crop(expected, row, column, 32, 32)
            expected = transforms.hflip(expected) if flip else expected
            assert torch.equal(found[network, number], normalised(expected))


def test_shifts_by_one_pixel_never_flip():
    shift = augment.Augmentation(padding=1, flip=False)
    images = torch.arange(4.0).view(1, 1, 1, 2, 2)
    black = torch.tensor([-1.0])
    expected = {
        (0, 0): [[-1, -1], [-1, 0]],
        (1, 1): [[0, 1], [2, 3]],
        (1, 2): [[1, -1], [3, -1]],
        (2, 0): [[-1, 2], [-1, -1]],
    }
    for (row, column), pixels in expected.items():
        found = shift.apply(images, torch.tensor([[[row, column, 0]]]), black)
        assert found[0, 0, 0].tolist() == pixels
    draws = shift.draw(torch.Generator().manual_seed(0), 1000, 8)
    assert draws[:, 2].eq(0).all()
    assert sorted({tuple(d) for d in draws[:, :2].tolist()}) == [
        (row, column) for row in range(3) for column in range(3)
    ]


def test_draws_follow_the_generator_and_cover_all_offsets_and_flips_evenly():
    crop_flip = augment.Augmentation(padding=4, flip=True)
    draws, again, other = (
        crop_flip.draw(torch.Generator().manual_seed(seed), 9000, 32) for seed in (5, 5, 6)
    )
    assert torch.equal(draws, again) and not torch.equal(draws, other)
    # 1000 of each offset and 4500 flips are expected, with standard deviations of 30 and 47.
    for axis in (0, 1):
        assert (draws[:, axis].bincount(minlength=9) - 1000).abs().max() < 120
    assert abs(int(draws[:, 2].sum()) - 4500) < 190


def test_a_crop_that_could_miss_the_image_is_refused():
    with pytest.raises(ValueError, match="size 8, got 8"):
        augment.Augmentation(padding=8, flip=True).draw(torch.Generator(), 1, 8)
