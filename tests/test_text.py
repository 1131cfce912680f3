"""Text from source to rows of a vocabulary: tokens, vocabularies, splits, word vectors."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from refigure.data import reference
from refigure.data.prepared import load
from refigure.data.sources import digest_of
from refigure.data.text import documents, language, texts
from refigure.errors import UserError
from refigure.graph.catalogue import settings

SHARED = Path(__file__).parents[2] / "shared" / "data" / "text"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real texts")


def recipe(name: str, **keys) -> dict:
    """The keys of a recipe, defaults filled in."""
    found = settings("recipe", {"name": name, "source": "x", **keys}, "test")
    found.pop("name")
    return found


def made(files: dict[str, str | bytes], name: str = "documents", vectors=None, **keys):
    """What a recipe makes of files."""
    contents = {
        file: text if isinstance(text, bytes) else text.encode() for file, text in files.items()
    }
    if name == "documents":
        chosen = recipe(name, **{"length": 6, "validation": 0.0, **keys})
        return documents.prepare(documents.Raw(contents, vectors), chosen)
    return language.prepare(contents, recipe(name, **keys))


def reviews(train: list[tuple[str, str]], test: list[tuple[str, str]]) -> dict[str, str]:
    """Reviews in the folders of IMDb."""
    return {
        f"aclImdb/{part}/{label}/{number}.txt": text
        for part, texts in (("train", train), ("test", test))
        for number, (label, text) in enumerate(texts)
    }


TRAIN = [("pos", "A film, a GOOD film"), ("neg", "Bad film: don't!"), ("pos", "a don film<br />")]
TEST = [("neg", "a bad film"), ("pos", "Film")]


def texts_in(data, part: str) -> list[str]:
    """The documents of a part in words."""
    return [" ".join(data.words[row] for row in document) for document in data.tokens[part]]


# Documents


def test_tokens_keep_their_case_and_lie_between_what_is_no_word():
    assert documents.split("It's a <br />fine_film -- 10/10!\n") == [
        *("It", "s", "a", "br", "fine_film", "10", "10"),
    ]


def test_the_vocabulary_is_of_words_in_two_documents_by_frequency_then_alphabet():
    # film: 4 in three documents; a: 3 in two; don: 2 in two; GOOD, Bad, t, A, br: in one only
    words = documents.vocabulary([documents.split(text) for _, text in TRAIN])
    assert words == ["film", "a", "don"]


def test_documents_are_rows_with_specials_cropped_and_padded_on_the_left():
    data = made(reviews(TRAIN, TEST))
    assert data.words == ["<pad>", "<start>", "<oov>", "film", "a", "don", "</s>"]
    assert sorted(texts_in(data, "train")) == [
        "<pad> <pad> <start> film don </s>",
        "<pad> <start> a don film </s>",
        "<pad> <start> film a film </s>",
    ]
    assert data.tokens["train"].shape == (3, 6) and data.classes == ["neg", "pos"]
    # "Film" is not listed: what is left of it is one id, the end mark, and it is dropped
    assert texts_in(data, "test") == ["<pad> <pad> <start> a film </s>"]
    assert data.labels["test"].tolist() == [0]
    cropped = made(reviews(TRAIN, TEST), length=3)
    assert {text.split()[0] for text in texts_in(cropped, "train")} == {"<start>"}  # the beginning


def test_rank_zero_has_row_three_and_decoding_gives_the_text_back():
    data = made(reviews(TRAIN, TEST))
    for row, label in zip(data.tokens["train"], data.labels["train"]):
        words = [data.words[i] for i in row[row > 1][:-1]]
        listed = {
            tuple(w for w in documents.split(text) if w in ("film", "a", "don")): name
            for name, text in TRAIN
        }
        assert data.classes[label] == listed[tuple(words)]
    assert data.words[3] == "film" and int(data.counts[3]) == 4


def test_rows_beyond_the_limit_are_out_of_vocabulary_and_three_rows_are_never_addressed():
    data = made(reviews(TRAIN, TEST), words=5)
    assert data.words == ["<pad>", "<start>", "<oov>", "film", "a", *["<unused>"] * 3]
    assert any("<oov>" in text for text in texts_in(data, "train"))
    assert max(tokens.max() for tokens in data.tokens.values() if len(tokens)) < 5
    # what the specification counts: 20,003 rows for 19,997 words
    many = {
        f"train/{c}/{n}.txt": " ".join(f"w{i}" for i in range(25_000))
        for c in ("neg", "pos")
        for n in range(1)
    }
    many |= {"test/neg/0.txt": "w1 w2", "test/pos/0.txt": "w3 w4"}
    data = made(many, words=20_000)
    assert len(data.words) == 20_003 and data.words[19_999] != "<unused>"
    assert data.words[20_000:] == ["<unused>"] * 3


def test_training_and_test_are_shuffled_by_one_stream_training_first():
    train = [("pos" if n % 2 else "neg", f"both w{n} w{n}") for n in range(20)]
    train += [(label, text) for label, text in train]
    data = made(reviews(train, train[:6]), validation=0.25)
    names = sorted(range(40), key=lambda n: (train[n][0], str(n)))
    order = np.random.RandomState(113)
    first, second = order.permutation(40), order.permutation(6)
    expected = [train[names[place]][1].split()[1] for place in first]
    for part, words in (("train", expected[:30]), ("validation", expected[30:])):
        assert [text.split()[-2] for text in texts_in(data, part)] == words
    tested = sorted(range(6), key=lambda n: (train[n][0], str(n)))
    assert [text.split()[-2] for text in texts_in(data, "test")] == [
        train[tested[place]][1].split()[1] for place in second
    ]


def test_the_first_row_of_each_table_is_lost_and_classes_count_from_one():
    rows = [
        '"3","Lost, ""really""","row"',
        '"1","One two","one"',
        '"2","two","one\\two"',
        '"2","One","two two"',
    ]
    data = made({"d/train.csv": "\n".join(rows) + "\n", "d/test.csv": "\n".join(rows[1:]) + "\n"})
    assert len(data.labels["train"]) == 3 and len(data.labels["test"]) == 2
    assert sorted(data.labels["train"].tolist()) == [0, 1, 1]
    assert "Lost" not in data.words and data.words[3:] == ["two", "One", "one", "</s>"]
    assert data.classes == ["1", "2"]


def test_sentences_one_a_line_are_held_out_and_may_hold_any_separator():
    text = "a fine\x85film\x0bindeed a\n" * 6
    data = made(
        {"x.neg": text.encode("latin-1"), "x.pos": text.replace("fine", "poor")},
        held_out=0.25,
        validation=0.2,
    )
    assert {part: len(labels) for part, labels in data.labels.items()} == {
        "train": 7,
        "validation": 2,
        "test": 3,
    }
    assert data.classes == ["neg", "pos"]


def test_classes_of_files_are_cut_into_documents_and_the_rest_is_left():
    files = {"b": "one two three one two three x", "a": "ONE two three", "c": "other"}
    data = made(files, classes=[["b"], ["a", "b"]], chunk=3, lower=True, held_out=0.2, words=50)
    # 7 words make two documents of three, 10 words three
    assert sum(len(labels) for labels in data.labels.values()) == 5
    assert "other" not in data.words and data.words[3] in ("one", "two", "three")
    with pytest.raises(UserError, match="no file 'd' in the source"):
        made(files, classes=[["d"], ["a"]])


def test_occurrences_are_those_of_the_training_documents_by_class():
    data = made(reviews(TRAIN, TEST))
    place = data.words.index("a")
    assert data.counts[place] == 2 and data.presence[:, place].tolist() == [0, 2]
    assert data.presence[:, data.words.index("film")].tolist() == [1, 2]


def test_word_vectors_go_to_the_rows_of_their_words():
    vectors = [("a", [1.0, 2.0]), ("zebra", [9.0, 9.0]), ("film", [3.0, 4.0]), ("a", [0.0, 0.0])]
    data = made(
        reviews(TRAIN, TEST), vectors=lambda: ((w, np.array(v, np.float32)) for w, v in vectors)
    )
    assert data.known.tolist() == [False, False, False, True, True, False, False]
    assert data.vectors[3].tolist() == [3.0, 4.0] and data.vectors[4].tolist() == [1.0, 2.0]


def test_both_formats_of_word_vectors_are_read_packed_or_not(tmp_path):
    words = {"the": [0.5, -1.0], "of course": [2.0, 0.25]}
    lines = "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in words.items())
    binary = b"2 2\n" + b"".join(
        w.encode() + b" " + np.array(v, "<f4").tobytes() + b"\n"
        for w, v in (("the", words["the"]), ("of_course", words["of course"]))
    )
    (tmp_path / "v.txt").write_text(lines)
    (tmp_path / "v.bin.gz").write_bytes(gzip.compress(binary))
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("v.txt", lines)
    for name in ("v.txt", "v.bin.gz", "v.zip"):
        path = tmp_path / name
        source = {"kind": "text", "path": str(path), "sha256": digest_of(path)}
        found = dict(texts.vectors(source, tmp_path))
        assert [value.tolist() for value in found.values()] == list(words.values())
        assert "the" in found


# Texts


def test_characters_are_every_second_one_and_words_are_the_same_in_both_files():
    characters = "t h e _ c a t \n a _ N \n "
    data = made(
        {"ptb.char.train.txt": characters, "ptb.char.valid.txt": "a b ", "ptb.char.test.txt": "z "},
        "characters",
    )
    assert "".join(data.words[row] for row in data.symbols["train"]) == "the_cat\na_N\n"
    assert data.words[0] == "a" and set(data.words) == set("the_cat\nNbz")
    both = [
        made({f"{name}.{part}.txt": text for part in ("train", "valid", "test")}, "words")
        for name, text in (("ptb.char", characters), ("ptb", " the cat \n a N \n"))
    ]
    for data in both:
        words = [data.words[row] for row in data.symbols["train"]]
        assert words == ["the", "cat", "<eos>", "a", "N", "<eos>"]
        assert data.words == ["<eos>", "N", "a", "cat", "the"]  # by frequency, then alphabet


def test_a_plain_text_is_cut_into_parts_and_rare_words_are_unknown():
    text = "The cat: the dog.\n\nA cat_1 the\n"
    data = made({"x": text}, "words", plain=True, parts=[5, 2, 2], words=4)
    assert [data.words[row] for row in data.symbols["train"]] == [
        "the",
        "<unk>",
        "the",
        "<unk>",
        "<eos>",
    ]
    assert data.words == ["the", "<eos>", "a", "<unk>"]
    with pytest.raises(UserError, match="parts of 99 symbols, but there are 9"):
        made({"x": text}, "words", plain=True, parts=[97, 1, 1])
    with pytest.raises(UserError, match="expected one file named by 'valid', found 0"):
        made({"train": "a", "test": "b"}, "characters")


def test_prepared_texts_load_as_they_were_saved(tmp_path):
    data = made(reviews(TRAIN, TEST))
    path = tmp_path / "x.safetensors"
    documents.save(
        data, path, {"name": "documents", **recipe("documents", length=6, validation=0.0)}
    )
    found = load(path, "cpu")
    for part in documents.PARTS:
        assert torch.equal(found.tokens[part], torch.from_numpy(data.tokens[part]).long())
    assert (found.rows, found.outputs, found.classes, found.pretrained) == (7, 1, 2, None)
    text = made({"x": "abcab" * 9}, "characters", parts=[20, 9, 9])
    language.save(text, path, {"name": "characters", **recipe("characters", length=4)})
    found = load(path, "cpu")
    assert (found.rows, found.length, found.streams) == (3, 4, None)
    assert found.symbols["train"].tolist() == text.symbols["train"].tolist()


# Sources


def test_a_source_may_be_a_file_a_folder_a_tar_or_a_list_of_files(tmp_path):
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "sub/a.txt").write_text("a")
    with tarfile.open(tmp_path / "texts.tar.gz", "w:gz") as archive:
        archive.add(folder, "texts")
    paths = [folder / "b.txt", folder / "sub/a.txt"]
    for path, names in (
        (paths[0], ["b.txt"]),
        (folder, ["b.txt", "sub/a.txt"]),
        (tmp_path / "texts.tar.gz", ["texts/b.txt", "texts/sub/a.txt"]),
        (paths, ["a.txt", "b.txt"]),
    ):
        several = isinstance(path, list)
        source = {"kind": "text", "sha256": digest_of(path)}
        source["path"] = [str(one) for one in path] if several else str(path)
        assert list(texts.read(source, tmp_path)) == names
    paths[1].write_text("another")
    with pytest.raises(UserError, match=r"b\.txt, .*a\.txt: expected sha256 [0-9a-f]{64}, found"):
        texts.read(source, tmp_path)
    with pytest.raises(UserError, match=r"gone\.txt: no such file"):
        digest_of([folder / "gone.txt"])


def test_downloads_are_checked_and_terms_come_first(tmp_path, monkeypatch):
    content = b"a text\n"
    blob = hashlib.sha1(b"blob 7\0" + content).hexdigest()
    asked = []

    def opened(url, timeout):
        asked.append(url)
        return io.BytesIO(content)

    monkeypatch.setattr("urllib.request.urlopen", opened)
    source = {
        "kind": "download",
        "terms": "source 'x': read its terms",
        "files": {"deep/x.txt": {"url": "https://example.org/x", "git_blob": blob}},
    }
    with pytest.raises(UserError, match=r"^source 'x': read its terms$"):
        texts.read(source, tmp_path)
    assert not asked
    source["terms"] = None
    for _ in range(2):
        assert texts.read(source, tmp_path) == {"x.txt": content}
    assert asked == ["https://example.org/x"]  # once: the second time it is there
    source["files"]["deep/x.txt"] = {"url": "https://example.org/x", "sha256": "0" * 64}
    with pytest.raises(UserError, match=r"x\.txt: expected sha256 0{64}, found [0-9a-f]{64}"):
        texts.read(source, tmp_path)

    def refused(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refused)
    (tmp_path / "deep/x.txt").unlink()
    with pytest.raises(UserError, match=r"^https://example\.org/x: not to be downloaded"):
        texts.read(source, tmp_path)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [".x.txt.lock"]


def test_the_reference_text_is_ascii_and_its_checksum_is_of_it():
    text = "\n".join(reference.topics().values())
    assert text.isascii() and len(text) > 300_000
    assert reference.reference_sha256() == hashlib.sha256(text.encode()).hexdigest()
    source = {"source": {"kind": "reference"}}
    assert language.read(source, Path()) == {"reference": text.encode()}
    assert set(documents.read(source, Path()).files) >= {"specialnames", "compound", "debugger"}


@real
def test_the_real_files_have_the_specified_sizes():
    def parts(name, kind, sizes):
        paths = [SHARED / f"ptb{name}.{part}.txt" for part in ("test", "valid")]
        files = {path.name: path.read_bytes() for path in paths}
        return language.prepare(files, recipe(kind, parts=sizes))

    characters = parts(".char", "characters", [442_423, 393_041, 1])
    assert len(characters.words) == 50
    words = parts("", "words", [82_430, 73_759, 1])
    same = parts(".char", "words", [82_430, 73_759, 1])
    for part in ("train", "validation", "test"):
        assert np.array_equal(words.symbols[part], same.symbols[part])
    news = made(
        {"ag_news_test.csv": (SHARED / "ag_news_test.csv").read_bytes()}, length=100, held_out=0.2
    )
    assert sum(len(labels) for labels in news.labels.values()) == 7599  # of 7,600 rows
    reviews = {path.name: path.read_bytes() for path in SHARED.glob("rt-polarity.*")}
    found = made(reviews, length=100, held_out=0.2)
    assert sum(len(labels) for labels in found.labels.values()) in range(10_600, 10_663)
