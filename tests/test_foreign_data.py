"""Data as people have them: packed, hidden files beside, links, other encodings and bit depths.

Each case of `bugs.md` whose kind is that data of an unforeseen shape change the numbers, or that
two commands read one thing by different rules. What is read has the right value; what is refused is
one line.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import yaml
from PIL import Image
from refigure.data.archives import Files, _below
from refigure.data.sources import digest_of, read, survey
from refigure.data.text import documents, language, texts
from refigure.errors import UserError
from refigure.explain.pin import pin
from test_data import TREE, assert_same, png, read_images, unpacked
from test_text import made, recipe

BOOK = "Birds sing.\nThe sea is wide.\n" * 40


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def tar_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return stream.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def packings(files: dict[str, bytes]) -> dict[str, bytes]:
    """Every way in which a folder may be packed; by no name: what it is its bytes say."""
    plain = tar_of(files)
    ways = {"tar": plain, "zip": zip_of(files)}
    return ways | {f"tar.{ending}": pack(plain) for ending, pack in PACKERS.items()}


def read_text(path: Path, **keys) -> dict[str, bytes]:
    return texts.read({"kind": "text", "path": str(path), "sha256": digest_of(path), **keys}, path)


def symbols(path: Path) -> str:
    """The training text of characters that a source gives."""
    data = language.prepare(read_text(path), recipe("characters", parts=[300, 50, 50]))
    return "".join(data.words[row] for row in data.symbols["train"])


# ---------------------------------------------------------------------- packed


@pytest.mark.parametrize("way", ["plain", *packings({}), *PACKERS])
@pytest.mark.parametrize("suffix", ["", ".TXT", ".TAR.GZ"])
def test_a_text_is_the_same_in_whatever_packing_and_under_whatever_name(tmp_path, way, suffix):
    book = BOOK.encode()
    ways = {"plain": book, **packings({"book.txt": book})}
    ways |= {ending: pack(book) for ending, pack in PACKERS.items()}
    path = tmp_path / f"book{suffix}"
    path.write_bytes(ways[way])
    if suffix == ".TAR.GZ" and "tar" not in way and way != "zip":
        with pytest.raises(UserError, match="not a readable tar archive"):
            symbols(path)
        return
    assert symbols(path) == BOOK[:300]


@pytest.mark.parametrize("way", packings({}))
def test_images_are_the_same_in_whatever_packing(tmp_path, way):
    path = tmp_path / "things"
    path.write_bytes(packings(TREE)[way])
    assert_same(read_images(path), read_images(unpacked(tmp_path / "tree", TREE)))


def test_a_packed_file_in_a_folder_of_texts_is_unpacked(tmp_path):
    folder = unpacked(tmp_path / "t", {"book.txt.gz": gzip.compress(BOOK.encode())})
    assert symbols(folder) == BOOK[:300]


@pytest.mark.parametrize("magic", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00", b"\x04\x22\x4d\x18"])
def test_a_packing_that_is_not_read_is_named_with_the_mend(tmp_path, magic):
    path = tmp_path / "book"
    path.write_bytes(magic + bytes(100))
    with pytest.raises(UserError, match=r"is packed by \w+, which is not read; unpack it"):
        read_text(path)


def test_a_text_that_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "book.txt.xz"
    path.write_bytes(lzma.compress(bytes(30_000_000)))
    with pytest.raises(UserError, match="unpacks to 16 MiB and more"):
        read_text(path)


# ---------------------------------------------------------------------- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_is_heeded_and_dropped_and_lines_end_alike(tmp_path, encoding, end):
    path = tmp_path / "book.txt"
    text = BOOK.replace("sea", "s\u00e9a")
    path.write_bytes(text.replace("\n", end).encode(encoding))
    assert symbols(path) == text[:300]


@pytest.mark.parametrize("content", [BOOK.encode("utf-16-le"), png(), b"\0\0\0\1Bud1\x80"])
def test_what_is_no_text_is_refused(tmp_path, content):
    folder = unpacked(tmp_path / "t", {"a.txt": BOOK.encode(), "cover.txt": content})
    with pytest.raises(UserError, match=r"'cover.txt' is no text: it holds NUL"):
        symbols(folder)


# ---------------------------------------------------------------------- hidden files

COMPANIONS = (".DS_Store", "._book.txt", "Thumbs.db", "__MACOSX/book.txt", ".git/x.txt")


@pytest.mark.parametrize("name", COMPANIONS)
def test_a_companion_is_neither_text_nor_of_the_checksum(tmp_path, name, capsys):
    plain = unpacked(tmp_path / "plain", {"book.txt": BOOK.encode()})
    beside = unpacked(tmp_path / "beside", {"book.txt": BOOK.encode(), name: b"\0\0\0\1Bud1"})
    assert digest_of(plain) == digest_of(beside)
    assert symbols(plain) == symbols(beside) == BOOK[:300]
    assert "passed over: 1 hidden" in capsys.readouterr().out


@pytest.mark.parametrize("name", [".DS_Store", "things/train/cat/._0.png", "__MACOSX/cat/._0.png"])
def test_a_companion_is_no_image_for_any_command(tmp_path, name):
    plain = unpacked(tmp_path / "plain", TREE)
    beside = unpacked(tmp_path / "beside", TREE | {name: b"\0\5\26\7" * 4})
    assert digest_of(plain) == digest_of(beside)
    assert_same(read_images(plain), read_images(beside))
    (found, first, line), (other, again, _) = survey(beside), survey(plain)
    assert found.counts == other.counts and np.array_equal(first, again)
    assert line.endswith("passed over: 1 hidden")


# ---------------------------------------------------------------------- names


def test_a_name_that_is_not_utf8_is_a_class_by_its_letters(tmp_path):
    folder = tmp_path / "f"
    for part in ("train", "test"):
        for kind in (b"caf\xe9", "caf\u00e8".encode()):
            path = os.fsencode(folder) + b"/" + part.encode() + b"/" + kind
            os.makedirs(path)
            Path(os.fsdecode(path + b"/0.png")).write_bytes(png())
    assert read_images(folder).classes == ["caf\u00e8", "caf\u00e9"]
    with tarfile.open(tmp_path / "f.tar", "w") as archive:
        archive.add(folder, "f")
    assert_same(read_images(folder), read_images(tmp_path / "f.tar"))


def test_accents_in_two_forms_are_one_class(tmp_path):
    files = {f"train/{kind}/0.png": png(seed=1) for kind in ("caf\u00e9", "tea")}
    files |= {f"test/{kind}/0.png": png(seed=2) for kind in ("cafe\u0301", "tea")}
    assert read_images(unpacked(tmp_path / "f", files)).classes == ["caf\u00e9", "tea"]


# ---------------------------------------------------------------------- links


def test_links_inside_are_followed_and_others_by_leave(tmp_path):
    plain = unpacked(tmp_path / "plain", TREE)
    linked = tmp_path / "linked"
    shutil.copytree(plain / "things", linked / ".store")
    (linked / "train").symlink_to(".store/train")
    (linked / "test").symlink_to(".store/test")
    assert_same(read_images(linked), read_images(plain))
    out = tmp_path / "out"
    out.mkdir()
    for part in ("train", "test"):
        (out / part).symlink_to(plain / "things" / part)
    with pytest.raises(UserError, match=r"holds a link, 'test', out of it; `follow_links: true`"):
        digest_of(out)
    source = {"kind": "images", "path": str(out), "follow_links": True}
    source["sha256"] = digest_of(out, True)
    assert_same(read(source, tmp_path), read_images(plain))


@pytest.mark.parametrize(("to", "words"), [("gone", "to nothing"), (".", "a folder around it")])
def test_a_link_to_nothing_or_in_a_circle_is_one_line(tmp_path, to, words):
    folder = unpacked(tmp_path / "f", TREE)
    (folder / "again").symlink_to(to)
    with pytest.raises(UserError, match=words):
        digest_of(folder)


def test_links_in_a_tar_are_read_as_files(tmp_path):
    folder = unpacked(tmp_path / "f", {"train/a/0.png": png(seed=1), "train/b/0.png": png(seed=2)})
    os.link(folder / "train/a/0.png", folder / "train/a/1.png")
    (folder / "train/b/1.png").symlink_to("../a/0.png")
    (folder / "test").symlink_to("train")
    with tarfile.open(tmp_path / "f.tar.gz", "w:gz") as archive:
        archive.add(folder, "f")
    raw = read_images(tmp_path / "f.tar.gz")
    assert_same(raw, read_images(folder))
    assert raw.train_labels.tolist() == raw.test_labels.tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(raw.train_images[1], raw.train_images[3])


# ---------------------------------------------------------------------- pixels


def image(array: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


def test_an_ending_in_capitals_is_read_and_an_empty_class_is_not_there(tmp_path):
    names = zip(TREE.items(), (".PNG", ".Png", ".png", ".PnG", ".pNG", ".pnG"), strict=True)
    tree = {name.removesuffix(".png") + ending: content for (name, content), ending in names}
    folder = unpacked(tmp_path / "capitals", tree)
    (folder / "things/train/bird").mkdir()
    found = read_images(folder)
    assert found.classes == ["cat", "dog"]
    assert_same(found, read_images(unpacked(tmp_path / "small", TREE)))


def smooth() -> Image.Image:
    """32x32 pixels of slowly changing colours, which JPEG keeps."""
    x, y = np.meshgrid(np.arange(32), np.arange(32))
    return Image.fromarray(
        np.stack([8 * x, 8 * y, 255 - 4 * (x + y)], -1).clip(0, 255).astype("u1")
    )


@pytest.mark.parametrize(("kind", "error"), [("JPEG", 4.0), ("TIFF", 0.0)])
def test_colours_for_printing_are_the_colours_of_a_screen(tmp_path, kind, error):
    """CMYK, one image among RGB; the loss of JPEG at quality 95 is a few of 255 in the mean."""
    stream = io.BytesIO()
    smooth().convert("CMYK").save(stream, kind, quality=95)
    plain = io.BytesIO()
    smooth().save(plain, "PNG")
    tree = {name: plain.getvalue() for name in TREE}
    first = min(name for name in tree if "train" in name)
    tree[first.replace("png", {"JPEG": "jpg", "TIFF": "tif"}[kind])] = stream.getvalue()
    del tree[first]
    found = read_images(unpacked(tmp_path / "f", tree)).train_images
    wanted = np.asarray(smooth()).transpose(2, 0, 1).astype(int)
    assert np.abs(found[0].astype(int) - wanted).mean() <= error
    assert (found[1:] == wanted).all()


def test_one_bit_is_black_and_white(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.eye(4) > 0).save(stream, "PNG")
    found = read_images(unpacked(tmp_path / "f", dict.fromkeys(TREE, stream.getvalue())))
    assert (found.train_images[0, 0] == 255 * np.eye(4)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_keeps_its_numbers(tmp_path, kind, capsys):
    pixels = (np.arange(16).reshape(4, 4) * 4096 + 7).astype(np.uint16)
    files = {f"{name}/0.{kind.lower()}": image(pixels, kind) for name in "ab"}
    raw = read_images(unpacked(tmp_path / "f", files))
    np.testing.assert_allclose(raw.train_images[0, 0], pixels / 65535, rtol=1e-6)
    assert "2 of 16 bits" in capsys.readouterr().out
    mixed = files | {"a/1.png": png((4, 4))}
    with pytest.raises(UserError, match="images of two bit depths"):
        read_images(unpacked(tmp_path / "mixed", mixed))


def test_floats_in_the_unit_range_are_kept_and_others_refused(tmp_path):
    pixels = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    files = {f"{name}/0.tif": image(pixels, "TIFF") for name in "ab"}
    raw = read_images(unpacked(tmp_path / "f", files))
    np.testing.assert_array_equal(raw.train_images[0, 0], pixels)
    files["a/0.tif"] = image(pixels * 300, "TIFF")
    with pytest.raises(UserError, match=r"float pixels from 0 to 300, and no known range"):
        read_images(unpacked(tmp_path / "wide", files))


@pytest.mark.parametrize("suffix", ["npy", "heic", "dcm", "svg", "gz"])
def test_a_format_that_is_not_read_is_refused_and_not_left_out(tmp_path, suffix):
    files = TREE | {f"things/train/cat/9.{suffix}": b"x"}
    with pytest.raises(UserError, match=rf"9.{suffix}' is of a format that is not read"):
        read_images(unpacked(tmp_path / "f", files))


def test_an_image_too_large_for_any_is_refused_with_the_reason(tmp_path, recwarn):
    for side in (10_000, 20_000):
        stream = io.BytesIO()
        Image.new("1", (side, side)).save(stream, "PNG")
        folder = unpacked(
            tmp_path / str(side), TREE | {"things/train/cat/9.png": stream.getvalue()}
        )
        with pytest.raises(UserError, match=r"9.png' is too large: Image size \(\d+ pixels\)"):
            read_images(folder)
    assert not recwarn.list


def test_transparency_and_pages_and_rotation_are_said(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 4), dtype=np.uint8)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(pixels[..., :3]).save(stream, "JPEG", exif=rotated)
    files = {"a/0.png": image(pixels, "PNG"), "b/0.jpg": stream.getvalue()}
    raw = read_images(unpacked(tmp_path / "f", files))
    np.testing.assert_array_equal(raw.train_images[0], pixels[..., :3].transpose(2, 0, 1))
    said = capsys.readouterr().out
    assert "1 with transparency, which is left out" in said
    assert "1 with a rotation in EXIF, which is not applied" in said


def test_one_class_and_a_third_part_are_refused_and_a_class_without_test_is_said(tmp_path, capsys):
    with pytest.raises(UserError, match=r"one class, 'cat': nothing to learn"):
        read_images(unpacked(tmp_path / "one", {"train/cat/0.png": png(), "test/cat/0.png": png()}))
    with pytest.raises(UserError, match=r"expected .*, found 'things/val/cat/0.png'"):
        read_images(unpacked(tmp_path / "three", TREE | {"things/val/cat/0.png": png()}))
    read_images(unpacked(tmp_path / "eel", TREE | {"things/train/eel/0.png": png()}))
    assert "3 classes (cat 2, dog 2, eel 1); not in test: eel" in capsys.readouterr().out


# ---------------------------------------------------------------------- documents


def folders(*classes: str, parts=("train", "test")) -> dict[str, str]:
    return {
        f"{part}/{name}/{n}.txt": f"both {name} {name}"
        for part in parts
        for name in classes
        for n in range(3)
    }


def test_any_class_names_are_classes(capsys):
    data = made(folders("neg", "neu", "pos"))
    assert data.classes == ["neg", "neu", "pos"]
    assert np.bincount(data.labels["train"]).tolist() == [3, 3, 3]
    assert "9 train documents (neg 3, neu 3, pos 3)" in capsys.readouterr().out


def test_reviews_without_labels_are_passed_over_with_a_word(capsys):
    files = folders("neg", "pos") | folders("unsup", parts=("train",)) | {"README.md": "x"}
    assert made(files).classes == ["neg", "pos"]
    assert "passed over: 4 files" in capsys.readouterr().out


def test_a_class_of_documents_in_test_only_and_one_class_are_refused():
    files = folders("neg", "pos") | folders("eel", parts=("test",))
    with pytest.raises(UserError, match="class 'eel' is in test but not in train"):
        made(files)
    with pytest.raises(UserError, match="one class, 'neg': nothing to learn"):
        made(folders("neg"))
    with pytest.raises(UserError, match="one class, 'pos': nothing to learn"):
        made({"x.pos": "a film\n" * 9}, held_out=0.3)


def rows(labels: str, header: str = "class,title,text\n") -> str:
    return header + "".join(f"{label},both,word{label} both\n" for label in labels)


def test_test_is_a_word_of_a_table_s_own_name():
    data = made({"testdata/train.csv": rows("1212"), "testdata/test.csv": rows("12")})
    assert [len(data.labels[part]) for part in ("train", "test")] == [4, 2]
    for name in ("latest_news.csv", "valid.csv"):
        with pytest.raises(UserError, match=rf"word 'train' or 'test'; '{name}'"):
            made({"train.csv": rows("1212"), name: rows("12")})
    texts_ = {"train.txt": BOOK, "valid.txt": BOOK, "latest.txt": BOOK}
    with pytest.raises(UserError, match=r"expected one file named by 'test', found 0 \(latest"):
        made(texts_, "characters")
    assert made(texts_ | {"the-test.txt": BOOK}, "characters").words


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("0101", ["0", "1"]), ("3537", ["3", "5", "7"]), ("abab", ["a", "b"])],
)
def test_labels_need_not_count_from_one(labels, classes):
    data = made({"train.csv": rows(labels), "test.csv": rows(labels)})
    assert data.classes == classes
    assert sorted(data.labels["train"].tolist()) == sorted(map(classes.index, labels))


def test_ten_classes_are_in_the_order_of_their_numbers():
    labels = [str(number) for number in range(1, 12)]
    table = "c,t\n" + "".join(f"{label},both w\n" for label in labels * 2)
    assert made({"train.csv": table, "test.csv": table}).classes == labels


def test_a_table_without_a_header_loses_no_row_if_told_and_says_so_else(capsys):
    files = {"train.csv": rows("1212", ""), "test.csv": rows("12", "")}
    assert [len(made(files).labels[part]) for part in ("train", "test")] == [3, 1]
    assert "the first row of train.csv ('1, both word1 both') is taken" in capsys.readouterr().out
    data = made(files, header=False)
    assert [len(data.labels[part]) for part in ("train", "test")] == [4, 2]


def test_a_table_with_more_classes_in_test_is_refused_like_images():
    with pytest.raises(UserError, match="class '5' is in test but not in train"):
        made({"train.csv": rows("1234"), "test.csv": rows("12345")})


@pytest.mark.parametrize("table", ["class;text\n1;a b\n2;c\n", "only\none\ncolumn\n", "x,y\n"])
def test_a_table_of_another_shape_is_one_line(table):
    with pytest.raises(UserError, match=r"expected a class and a text|has 1 rows"):
        made({"train.csv": table, "test.csv": table})


def test_every_second_character_goes_only_where_it_is_a_blank():
    files = {f"my.char.{part}.txt": BOOK for part in ("train", "valid", "test")}
    data = made(files, "characters")
    assert "".join(data.words[row] for row in data.symbols["train"]) == BOOK


# ---------------------------------------------------------------------- word vectors


@pytest.mark.parametrize(
    "content",
    [
        "the 0.5 -1.0 \ncat 2.0 0.25\n\n",
        "the\t0.5\t-1.0\ncat\t2.0\t0.25",
        "2 2\nthe 0.5 -1.0\ncat 2.0 0.25\n",
        "the 0.5 -1.0\r\ncat 2.0 0.25\r\n",
    ],
)
@pytest.mark.parametrize("pack", ["", *PACKERS, "zip"])
def test_word_vectors_are_read_as_they_come(tmp_path, content, pack):
    path = tmp_path / "v.vec"
    text = content.encode()
    packers = {"": bytes, "zip": lambda text: zip_of({"v.txt": text}), **PACKERS}
    path.write_bytes(packers[pack](text))
    source = {"kind": "text", "path": str(path), "sha256": digest_of(path)}
    found = {word: vector.tolist() for word, vector in texts.vectors(source, tmp_path)}
    assert found == {"the": [0.5, -1.0], "cat": [2.0, 0.25]}


def test_a_line_of_word_vectors_that_is_none_is_named_by_its_number(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("the 0.5 1\ncat x y\n", encoding="utf-8")
    source = {"kind": "text", "path": str(path), "sha256": digest_of(path)}
    with pytest.raises(UserError, match=r"v.txt: line 2 is not a word and 2 numbers: 'cat x y'"):
        dict(texts.vectors(source, tmp_path))


# ---------------------------------------------------------------------- pinning


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "config").mkdir()
    unpacked(tmp_path / "flowers", TREE)
    return tmp_path


def local(root: Path, text: str) -> Path:
    path = root / "config/local.yaml"
    path.write_text(text, encoding="utf-8")
    return path


FORMS = (
    "# mine\nsources:\n  f:\n    images: flowers  # photographs\n  # another\n  g: {text: x}\n",
    "# mine\nsources: {f: {images: flowers}, g: {text: x}}  # short\n",
    "sources:\n  f: {images: flowers}\n",
    "sources:\n  f:\n    images: flowers",
    "sources:\n  ? f\n  : {'images': \"flowers\"}\n# end",
)


@pytest.mark.parametrize("text", FORMS)
def test_pinning_writes_one_checksum_and_keeps_the_rest(root, text):
    path = local(root, text)
    said = pin(root, "f")
    assert "4 training images; 2 test images; 2 classes (cat 2, dog 2)" in said
    written = path.read_text(encoding="utf-8")
    wanted = yaml.safe_load(text)
    wanted["sources"]["f"]["sha256"] = digest_of(root / "flowers")
    assert yaml.safe_load(written) == wanted
    assert [
        line for line in text.splitlines() if "#" in line and line in written
    ] or "#" not in text
    assert "has the checksum that" in pin(root, "f") and path.read_text() == written
    (root / "flowers/things/train/cat/0.png").write_bytes(png(seed=77))
    with pytest.raises(UserError, match=r"after a wanted change `refigure pin --again f`"):
        pin(root, "f")
    pin(root, "f", again=True)
    wanted["sources"]["f"]["sha256"] = digest_of(root / "flowers")
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == wanted


def test_a_checksum_in_capitals_is_the_same(root):
    digest = digest_of(root / "flowers").upper()
    local(root, f"sources: {{f: {{images: flowers, sha256: {digest}}}}}")
    assert "has the checksum" in pin(root, "f")


@pytest.mark.parametrize("place", ["~/flowers", "$DATA/flowers", "${DATA}/flowers"])
def test_a_home_and_a_variable_in_a_path_are_put_in(root, monkeypatch, place):
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("DATA", str(root))
    local(root, f"sources: {{f: {{images: '{place}'}}}}")
    assert "wrote sha256" in pin(root, "f")


@pytest.mark.parametrize(("name", "near"), [("my flowers", "my_flowers"), ("caf\u00e9", "cafe")])
def test_pin_refuses_a_name_that_the_rules_cannot_have(root, name, near):
    local(root, f"sources: {{'{name}': {{images: flowers}}}}")
    with pytest.raises(UserError, match=f"call it '{near}'"):
        pin(root, name)


@pytest.mark.parametrize("what", ["a zip that is none", "a layout"])
def test_pin_refuses_what_prepare_would(root, what):
    local(root, "sources: {f: {images: x}}")
    if what == "a layout":
        unpacked(root / "x", {"0.png": png()})
    else:
        (root / "x").write_bytes(b"PK\3\4" + bytes(99))
    with pytest.raises(UserError, match=r"not a readable zip|expected "):
        pin(root, "f")
    assert "sha256" not in (root / "config/local.yaml").read_text(encoding="utf-8")


def test_a_file_is_named_by_what_it_is(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(tar_of(TREE)))
    assert Files(path).kind == "tar, gzip"
    assert documents.TABLES  # the layouts that `Files` is read for


def test_a_link_leads_to_a_file_or_to_what_is_below_a_folder_and_to_no_neighbour():
    names = sorted(["a", "a/x", "a/y/z", "a-b", "a.png", "ab/x", "b"])
    assert _below(names, "a") == ["a", "a/x", "a/y/z"]
    assert _below(names, "ab") == ["ab/x"]
    assert _below(names, "c") == []
