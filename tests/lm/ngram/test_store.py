"""n-gram models in arrays: against kenlm and the ARPA rules, on disk, and when damaged."""

from __future__ import annotations

import gzip
import math
import os
import random
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import kenlm
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lm.ngram.store
from lm.errors import InputError
from lm.ngram.arpa import Arpa, Section, write_arpa
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.model import NgramModel
from lm.ngram.quantise import code_book, coded
from lm.ngram.store import compile_model, is_store, open_store, write_store
from tests.support.arpas import Dictionary, small_model
from tests.support.damage import refusals

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "ÉTÉ", "on"]
HEADER = "\\data\\\nngram 1={}\nngram 2={}\n\n\\1-grams:\n"
UNIGRAMS = "-1\t<unk>\t0\n0\t<s>\t-0.3\n-0.9\t</s>\t0\n-0.5\ta\t-0.2\n-0.6\tb\t0\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "secondpass" / "ngram"


def written(folder: Path, text: str) -> Path:
    """An ARPA file."""
    path = folder / "lm.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def random_texts(words: list[str], count: int, seed: int) -> list[str]:
    """Texts of known and unknown words, and the empty text."""
    draw = random.Random(seed)
    longest = [draw.choices([*words, "zzyzx"], k=draw.randint(1, 12)) for _ in range(count)]
    return ["", *map(" ".join, longest)]


def reference_lines(shared_data: Path) -> list[str]:
    """The text that the reference models were made from."""
    packed = (shared_data / "lmplz-reference" / "text.txt.gz").read_bytes()
    return gzip.decompress(packed).decode().splitlines()


def assert_equals_kenlm(path: Path, plain: Path, texts: list[str]) -> None:
    """Word by word, log10, to 1e-5; unknown words."""
    model, other = NgramModel.load(path), kenlm.Model(str(plain))
    logprobs, first = model.word_logprobs(texts)
    for i, text in enumerate(texts):
        expected = [score for score, _, _ in other.full_scores(text)]
        found = logprobs[first[i] : first[i + 1]] / math.log(10)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    oov = [sum(bad for *_, bad in other.full_scores(text)) for text in texts]
    assert [score.oov for score in model.score_texts(texts)] == oov


@pytest.mark.parametrize("name", ["o2", "o3", "o5", "o4-prune0011", "o3-prune012"])
def test_equals_kenlm_on_models_of_real_text(shared_data: Path, tmp_path: Path, name: str) -> None:
    path = shared_data / "lmplz-reference" / f"{name}.arpa.gz"
    plain = tmp_path / "plain.arpa"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    lines = reference_lines(shared_data)
    words = " ".join(lines[:300]).split()
    shuffled = random_texts(words, 500, seed=1)
    assert_equals_kenlm(path, plain, [*lines[:300], *shuffled])


@pytest.mark.parametrize("order", [2, 3, 6])
def test_equals_kenlm_on_small_models(tmp_path: Path, order: int) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, order, WORDS), path)
    assert_equals_kenlm(path, path, random_texts(WORDS, 300, seed=order))


def test_missing_back_offs_and_missing_suffixes(tmp_path: Path) -> None:
    """A context without a back-off weight; `a b` is no bigram though `b a b` is a trigram."""
    text = (
        "\\data\\\nngram 1=5\nngram 2=3\nngram 3=2\n\n\\1-grams:\n"
        + UNIGRAMS
        + "\n\\2-grams:\n-0.2\tb a\n-0.3\ta a\t-0.4\n-0.25\t<s> b\t-0.1\n"
        + "\n\\3-grams:\n-0.1\tb a b\n-0.15\t<s> b a\n\n\\end\\\n"
    )
    model = NgramModel.load(written(tmp_path, text))
    rules = Dictionary(read_arpa(model.path))
    texts = [" ".join(words) for n in range(6) for words in product("ab", repeat=n)]
    logprobs, first = model.word_logprobs(texts)
    for i, line in enumerate(texts):
        words = ("<s>", *line.split(), "</s>")
        expected = [rules.probability(words[:n], words[n]) for n in range(1, len(words))]
        found = np.exp(logprobs[first[i] : first[i + 1]])
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("order", [3, 4, 5])
def test_models_with_holes_equal_kenlm(tmp_path: Path, order: int) -> None:
    """Back-off weights are missing, and n-grams that are ends of others but no context."""
    words = [f"w{i}" for i in range(30)]
    model = small_model(tmp_path, order, words, seed=order, sentences=400)
    draw = np.random.default_rng(order)
    sections = list(model.sections)
    for k in range(1, order - 1):
        section = sections[k]
        contexts = {tuple(gram[:-1]) for gram in sections[k + 1].words.tolist()}
        needed = np.array([tuple(gram) in contexts for gram in section.words.tolist()])
        keep = needed | (draw.random(len(section)) < 0.9)
        backoff = section.backoff * (draw.random(len(section)) < 0.5)
        sections[k] = Section(section.words[keep], section.logprob[keep], backoff[keep])
    path = tmp_path / "lm.arpa"
    write_arpa(Arpa(model.vocabulary, sections), path)
    text = re.sub(r"\t-?0$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    assert_equals_kenlm(path, path, random_texts(words, 2000, seed=order))


def test_unknown_word_inside_ngrams(tmp_path: Path) -> None:
    text = (
        HEADER.format(5, 2) + UNIGRAMS + "\n\\2-grams:\n-0.2\t<unk> a\n-0.3\ta <unk>\n\n\\end\\\n"
    )
    path = written(tmp_path, text)
    assert_equals_kenlm(path, path, random_texts(["a", "b"], 100, seed=2))


@pytest.mark.parametrize("name", ["", "-2\t<unk>\t0\n", "-2\t<UNK>\t0\n"])
def test_every_way_to_have_unknown_words(tmp_path: Path, name: str) -> None:
    words = UNIGRAMS.partition("\n")[2] + name
    text = HEADER.format(4 + bool(name), 1) + words + "\n\\2-grams:\n-0.2\ta b\n\n\\end\\\n"
    path = written(tmp_path, text)
    assert_equals_kenlm(path, path, random_texts(["a", "b", "<unk>", "<UNK>"], 100, seed=6))
    assert (NgramModel.load(path).score("q").logprob < -200) == (not name)


def test_special_words_in_texts(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, 3, WORDS), path)
    assert_equals_kenlm(path, path, random_texts([*WORDS, "<s>", "</s>", "<unk>"], 200, seed=8))


@pytest.mark.parametrize(
    ("words", "bos", "eos", "expected"),
    [
        ("-0.9\t</s>\t0\n", -1, 0, -0.5 - 0.3 - 0.1 - 100 - 0.6 - 0.1 - 0.9),
        ("-9\t<s>\t-0.4\n", 0, -1, -0.4 - 0.5 - 0.3 - 0.1 - 100 - 0.6),
        ("", -1, -1, -0.5 - 0.3 - 0.1 - 100 - 0.6),
    ],
    ids=["no begin", "no end", "neither"],
)
def test_without_begin_or_end(
    tmp_path: Path, words: str, bos: int, eos: int, expected: float
) -> None:
    """Texts begin in the empty context, or their end is not scored."""
    body = f"{words}-0.5\ta\t-0.2\n-0.6\tb\t-0.1\n\n\\2-grams:\n-0.3\ta b\n\n\\end\\\n"
    model = NgramModel.load(written(tmp_path, HEADER.format(2 + bool(words), 1) + body))
    score = model.score("a b x b")
    assert score.logprob / math.log(10) == pytest.approx(expected, abs=1e-4)
    assert (score.words, score.oov) == (4, 1)
    assert (model.bos, model.eos) == (bos, eos)


def test_unigrams_only(tmp_path: Path) -> None:
    text = "\\data\\\nngram 1=5\n\n\\1-grams:\n" + UNIGRAMS + "\n\\end\\\n"
    model = NgramModel.load(written(tmp_path, text))
    expected = -0.5 - 0.6 - 1 - 0.9
    assert model.score("a b x").logprob / math.log(10) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("grams", "says"),
    [
        ("-0.2\ta b\n\n-0.3\ta b\n", "lm.arpa:15: 'a b' is listed a second time"),
        ("-0.2\ta x\n-0.3\ta b\n", "lm.arpa:13: a word of 'a x' is not among the unigrams"),
        ("-0.2\t<s> b\n0.2\ta b\n", "lm.arpa:14: a log10 probability must be 0 or less"),
        (
            "-inf\ta b\n-0.3\ta a\n",
            "lm.arpa:13: a log10 probability must be 0 or less, and fin",
        ),
        ("nan\ta b\n-0.3\ta a\n", "lm.arpa:13: a log10 probability must be 0 or less"),
        ("-0.2\ta b\tinf\n-0.3\ta a\n", "lm.arpa:13: a back-off weight cannot be inf"),
        ("-0.2\ta b\n-0.3\ta a b\t0\n", "lm.arpa:14: this is not a 2-gram"),
        ("-0.2\ta b\n", "lm.arpa:15: the header says 2 2-grams, and the section .* has 1"),
        ("-0.2\ta b\n-0.2\ta a\n-0.2\tb a\n", "lm.arpa:15: the header says 2 2-grams, and"),
        ("-0.2\ta b\n-0.2\ta a\n\n\\3-grams:\n-0.1\ta b a\n", r"lm.arpa:16: expected \\end"),
    ],
)
def test_damaged_models_are_named(tmp_path: Path, grams: str, says: str) -> None:
    path = written(
        tmp_path, HEADER.format(5, 2) + UNIGRAMS + "\n\\2-grams:\n" + grams + "\n\\end\\\n"
    )
    with pytest.raises(InputError, match=says):
        NgramModel.load(path)


def test_context_that_is_no_ngram_is_named(tmp_path: Path) -> None:
    vocabulary = ["<unk>", "<s>", "</s>", "a", "b"]
    grams = [np.arange(5)[:, None], np.array([[3, 4], [4, 4]]), np.array([[3, 4, 4], [4, 3, 4]])]
    sections = [Section(g.astype(np.int32), *np.full((2, len(g)), -0.5, np.float32)) for g in grams]
    model = Arpa(vocabulary, sections)
    with pytest.raises(InputError, match="model: 'b a b' is an n-gram, but its first 2 words"):
        compile_model(model, "model")
    write_arpa(model, tmp_path / "lm.arpa.gz")
    with pytest.raises(
        InputError, match=r"lm\.arpa\.gz:19: 'b a b' is an n-gram, but its first 2 words"
    ):
        NgramModel.load(tmp_path / "lm.arpa.gz")
    # KenLM does not load it either.
    write_arpa(model, tmp_path / "lm.arpa")
    with pytest.raises(OSError, match="context of every 3-gram should appear as a 2-gram"):
        kenlm.Model(str(tmp_path / "lm.arpa"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no \\\\data\\\\ line"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0\0", "KenLM binary"),
        (b"\x1f\x8b", "gzip data"),
        (b"\\data\\\nngram 1=999999999999999\n\n\\1-grams:\n-1\t<unk>\n\n\\end\\\n", "has 1"),
        (b"\x00" * 9999, "not an ARPA model"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        NgramModel.load(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("ending", [".arpa", ".arpa.gz"])
def test_every_cut_is_found(tmp_path: Path, ending: str) -> None:
    whole, cut = tmp_path / f"whole{ending}", tmp_path / f"cut{ending}"
    write_arpa(small_model(tmp_path, 2, WORDS[:3], sentences=5), whole)
    content = whole.read_bytes()
    for length in range(0, len(content) - 2, 3):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut"):
            NgramModel.load(cut)


def test_opened_again_it_is_the_same_and_reads_no_arpa(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, 3, WORDS), path)
    texts = random_texts(WORDS, 50, seed=3)
    first = NgramModel.load(path).score_texts(texts)
    (kept,) = own_cache.iterdir()
    assert NgramModel.load(path).score_texts(texts) == first
    # Another model in the place of the kept one is taken for it, so the ARPA file is not read.
    other = small_model(tmp_path, 2, WORDS[:3], seed=1)
    write_store(other, kept)
    write_store(other, tmp_path / "other.ngram")
    expected = NgramModel.load(tmp_path / "other.ngram").score_texts(texts)
    assert NgramModel.load(path).score_texts(texts) == expected != first
    # A file that has changed is read again.
    path.write_text(path.read_text() + "\n")
    assert NgramModel.load(path).score_texts(texts) == first
    assert len(list(own_cache.iterdir())) == 1, "what the file was before is still there"


def test_a_damaged_or_forbidden_cache_does_no_harm(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, 3, WORDS), path)
    texts = random_texts(WORDS, 50, seed=4)
    expected = NgramModel.load(path).score_texts(texts)
    (kept,) = own_cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert NgramModel.load(path).score_texts(texts) == expected
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert NgramModel.load(path).score_texts(texts) == expected


@pytest.mark.parametrize("quantise", [False, True])
def test_own_format(tmp_path: Path, quantise: bool) -> None:
    model = small_model(tmp_path, 3, WORDS)
    write_store(model, tmp_path / "lm.ngram", quantise)
    write_arpa(model, tmp_path / "lm.arpa")
    stored, arpa = (
        NgramModel.load(tmp_path / "lm.ngram"),
        NgramModel.load(tmp_path / "lm.arpa"),
    )
    assert list(stored.vocabulary) == list(model.vocabulary)
    assert stored.order == 3
    texts = random_texts(WORDS, 100, seed=5)
    found = [score.logprob for score in stored.score_texts(texts)]
    expected = [score.logprob for score in arpa.score_texts(texts)]
    np.testing.assert_allclose(found, expected, rtol=1e-5 if not quantise else 0.02, atol=1e-4)
    assert not any(array.flags.writeable for array in stored.arrays)


def test_eight_bits_change_the_perplexity_by_less_than_a_hundredth(shared_data: Path) -> None:
    path = shared_data / "lmplz-reference" / "o3.arpa.gz"
    lines = reference_lines(shared_data)
    full, small = NgramModel.load(path), NgramModel.load(path, quantise=True)
    means = [model.word_logprobs(lines)[0].mean() for model in (full, small)]
    assert math.exp(abs(means[0] - means[1])) < 1.01
    sizes = [sum(array.nbytes for array in model.arrays) for model in (full, small)]
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content[:-1], "is cut off"),
        (lambda content: content[:200], "not an n-gram model in our format"),
        (lambda content: content.replace(b'"version":"3"', b'"version":"0"'), "version 0"),
    ],
)
def test_damaged_own_files_are_named(tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "lm.ngram"
    write_store(small_model(tmp_path, 2, WORDS), path)
    assert callable(change)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=says):
        open_store(path)
    with pytest.raises(InputError, match=str(path)):
        NgramModel.load(path)


@pytest.mark.parametrize("quantise", [False, True])
def test_a_damaged_own_file_is_refused_or_the_same(tmp_path: Path, quantise: bool) -> None:
    path = tmp_path / "lm.ngram"
    write_store(small_model(tmp_path, 3, WORDS[:3], sentences=5), path, quantise)
    texts = random_texts(WORDS[:3], 5, seed=6)
    expected = NgramModel.load(path).score_texts(texts)

    def read(path: Path) -> None:
        assert NgramModel.load(path).score_texts(texts) == expected

    messages = refusals(read, path)
    assert len(messages) > 290
    assert all(str(path) in message for message in messages)


def test_a_file_is_checked_once_and_again_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "lm.ngram"
    write_store(small_model(tmp_path, 2, WORDS), path)
    open_store(path)
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(-20, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-20, os.SEEK_END)
        file.write(bytes([byte ^ 4]))
    # Nothing but the content tells that the file has changed, so it was not read as a whole.
    os.utime(path, ns=(before, before))
    open_store(path)
    os.utime(path, ns=(1, 1))
    for _ in range(2):
        with pytest.raises(InputError, match=r"lm\.ngram: is damaged: its checksum"):
            open_store(path)


def test_files_of_the_version_without_checksums_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lm.ngram"
    write_store(small_model(tmp_path, 2, WORDS), path)
    expected = NgramModel.load(path).score("the cat sat")
    content = re.sub(rb',"checksum":"[0-9a-f]{8}"(.*?}}) *', rb"\1", path.read_bytes()[8:], count=1)
    header, arrays = content.split(b"}}", 1)
    header = header.replace(b'"version":"3"', b'"version":"2"') + b"}}"
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + arrays)
    assert NgramModel.load(path).score("the cat sat") == expected


@pytest.mark.parametrize(
    ("name", "says"), [("none.ngram", "No such file"), ("folder", "directory"), ("empty", "empty")]
)
def test_what_is_no_own_file_is_named(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match=f"{name}: .*{says}"):
        open_store(tmp_path / name)


def test_other_safetensors_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    for facts in (
        None,
        {"format": "pt"},
        {"format": lm.ngram.store.FORMAT, "version": lm.ngram.store.VERSION},
    ):
        save_file({"weights": np.zeros(3)}, path, facts)
        with pytest.raises(InputError, match="not an n-gram model in our format"):
            open_store(path)


@pytest.mark.parametrize("order", [1, 3])
def test_the_format_is_safetensors(tmp_path: Path, order: int) -> None:
    path = tmp_path / "lm.ngram"
    model = small_model(tmp_path, order, WORDS)
    write_store(model, path)
    with safe_open(path, "np") as file:
        facts = file.metadata()
        checksum = facts.pop("checksum")
        assert facts == {
            "format": lm.ngram.store.FORMAT,
            "version": "3",
            "order": str(order),
        }
    content = path.read_bytes()
    assert content.count(checksum.encode()) == 1
    assert int(checksum, 16) == zlib.crc32(content.replace(checksum.encode(), b"0" * 8)[8:])
    tensors = load_file(path)
    assert tensors["text"].tobytes().decode().split("\n") == [*model.vocabulary, ""]
    stored = open_store(path)
    for name, array in stored.arrays._asdict().items():
        assert array.tobytes() == tensors[name].tobytes()
        assert not array.flags.owndata, "it was read, not mapped"
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    """What new files must not allow."""
    before = os.umask(0)
    os.umask(before)
    return before


def test_threads_may_open_the_same_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, 3, WORDS), path)
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(NgramModel.load, [path] * 16))
    assert len({model.score("the cat sat") for model in models}) == 1


def test_code_books_hold_means_of_bins_of_equal_size() -> None:
    draw = np.random.default_rng(1)
    values = -draw.gamma(2.0, 1.0, 100_000).astype(np.float32)
    book = code_book(values, 256)
    codes = coded(values, book)
    assert (np.diff(book) > 0).all()
    error = abs(book[codes] - values)
    assert (
        error[:, None] >= abs(book[None, :] - values[:, None]).min(axis=1)[:, None] - 1e-6
    ).all()
    assert np.median(error) < 0.005
    assert np.bincount(codes, minlength=256).max() < 3 * len(values) / 256
    # A number that most have is kept, and so are few numbers.
    assert np.float32(-0.25) in code_book(np.append(values, np.full(10**6, -0.25, np.float32)), 256)
    few = np.array([-3, -1, -1, 0.5], np.float32)
    assert code_book(few, 255)[coded(few, code_book(few, 255))].tolist() == few.tolist()


def test_no_weight_stays_no_weight_in_8_bits(tmp_path: Path) -> None:
    model = small_model(tmp_path, 4, [f"w{i}" for i in range(60)], sentences=500)
    full, small = (compile_model(model, "model", quantise).arrays for quantise in (False, True))
    assert ((small.inner["backoff"] == 0) == (full.inner["backoff"] == 0)).all()
    assert (small.inner["link"] == full.inner["link"]).all()
    assert (small.backoff_book[:, 0] == 0).all()


def test_numbers_as_arpa_files_write_them(tmp_path: Path) -> None:
    numbers = ["-0.25", "-1e-3", "-2.5E+00", "-99", "-.5", "-0", "-3.", "-12.3456789012345678"]
    grams = "".join(f"{number}\ta w{i}\n" for i, number in enumerate(numbers))
    words = "".join(f"-1\tw{i}\n" for i in range(len(numbers)))
    header = HEADER.format(5 + len(numbers), len(numbers))
    path = written(tmp_path, header + UNIGRAMS + words + "\n\\2-grams:\n" + grams + "\n\\end\\\n")
    np.testing.assert_array_equal(
        read_arpa(path).sections[1].logprob, np.array([float(n) for n in numbers], np.float32)
    )


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"cannot read the language model {tmp_path}"):
        is_store(tmp_path)
