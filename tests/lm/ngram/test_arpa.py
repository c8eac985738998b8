"""ARPA text: what is written is read back, and damage is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from lm.errors import InputError
from lm.ngram.arpa import Arpa, Section, write_arpa
from lm.ngram.arpa_reader import read_arpa
from tests.support.arpas import small_model

# Written by hand after the format's description, with a comment, CRLF-free, one missing back-off.
SMALL = """# a comment

\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-1.5\t<unk>\t0
0\t<s>\t-0.25
-0.5\t</s>\t0
-0.75\tÉTÉ\t-0.125

\\2-grams:
-0.1\t<s> ÉTÉ
-0.2\tÉTÉ ÉTÉ
-0.3\tÉTÉ </s>

\\end\\
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "lm.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_handwritten_model(tmp_path: Path) -> None:
    model = read_arpa(_write(tmp_path, SMALL))
    assert model.order == 2
    assert list(model.vocabulary) == ["<unk>", "<s>", "</s>", "ÉTÉ"]
    unigrams, bigrams = model.sections
    assert unigrams.words.tolist() == [[0], [1], [2], [3]]
    np.testing.assert_allclose(unigrams.logprob, [-1.5, 0, -0.5, -0.75])
    np.testing.assert_allclose(unigrams.backoff, [0, -0.25, 0, -0.125])
    assert bigrams.words.tolist() == [[1, 3], [3, 3], [3, 2]]
    np.testing.assert_allclose(bigrams.backoff, 0)


@pytest.mark.parametrize(
    ("old", "new"), [("\t", " "), ("\t", "  \t"), ("\n", "\r\n"), ("\n-0.", "\n\n \n-0.")]
)
def test_reads_other_white_space(tmp_path: Path, old: str, new: str) -> None:
    expected = read_arpa(_write(tmp_path, SMALL))
    (tmp_path / "lm.arpa").write_bytes(SMALL.replace(old, new).encode())
    model = read_arpa(tmp_path / "lm.arpa")
    assert model.vocabulary == expected.vocabulary
    for found, section in zip(model.sections, expected.sections, strict=True):
        for name in ("words", "logprob", "backoff"):
            np.testing.assert_array_equal(getattr(found, name), getattr(section, name))


def test_reads_blocks_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    write_arpa(small_model(tmp_path, 4, ["a", "bb", "ccc", "ß"]), path)
    expected = read_arpa(path)
    for size in (1, 7, 64, 1000):
        model = read_arpa(path, size)
        for found, section in zip(model.sections, expected.sections, strict=True):
            np.testing.assert_array_equal(found.words, section.words)
            np.testing.assert_array_equal(found.logprob, section.logprob)


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(3)
    vocabulary = ["<unk>", "<s>", "</s>", "a", "ß", "it's", "a\u00a0b"]
    sections = []
    for k in (1, 2, 3):
        grams = np.array(np.unravel_index(np.arange(7**k), (7,) * k), np.int32).T
        values = -random.gamma(1.0, 3.0, (2, len(grams))).astype(np.float32)
        sections.append(Section(grams, values[0], values[1] if k < 3 else 0 * values[1]))
    path = tmp_path / name
    write_arpa(Arpa(vocabulary, sections), path)

    assert (path.read_bytes()[:2] == b"\x1f\x8b") == (name == "lm.arpa.gz")
    again = read_arpa(path)
    assert list(again.vocabulary) == vocabulary
    for before, after in zip(sections, again.sections, strict=True):
        assert np.array_equal(before.words, after.words)
        np.testing.assert_allclose(after.logprob, before.logprob, rtol=1e-6)
        np.testing.assert_allclose(after.backoff, before.backoff, rtol=1e-6)
    assert [entry.name for entry in tmp_path.iterdir()] == [name], "a partial file was left"


def test_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = read_arpa(_write(tmp_path, SMALL))
    for name in ("one.arpa.gz", "two.arpa.gz"):
        write_arpa(model, tmp_path / name)
    assert (tmp_path / "one.arpa.gz").read_bytes() == (tmp_path / "two.arpa.gz").read_bytes()


def test_every_truncation_is_found(tmp_path: Path) -> None:
    whole = SMALL.encode()
    path = tmp_path / "lm.arpa"
    for length in range(len(whole) - len("\\\n")):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"lm\.arpa"):
            read_arpa(path)


def test_every_truncation_of_a_gzipped_model_is_found(tmp_path: Path) -> None:
    whole = gzip.compress(SMALL.encode())
    path = tmp_path / "lm.arpa.gz"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"lm\.arpa\.gz"):
            read_arpa(path)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("\\end\\\n", "", 17, "without \\end\\"),
        ("ngram 2=3", "ngram 2=4", 18, "says 4 2-grams"),
        ("ngram 2=3", "ngram 2=2", 16, "one more"),
        ("ngram 1=4", "ngram 1=3", 11, "one more"),
        ("ngram 1=4", "ngram 1=5", 13, "says 5 1-grams"),
        ("ngram 2=3", "ngram 3=3", 5, "expected `ngram 2=…`"),
        ("ngram 2=3", "ngram 2=x", 5, "expected `ngram 2=…`"),
        ("\\2-grams:", "\\3-grams:", 13, "expected \\2-grams:"),
        ("# a comment", "Once upon a time", 1, "not an ARPA"),
        ("-0.75\tÉTÉ\t-0.125", "-0.75", 11, "not a 1-gram"),
    ],
)
def test_damage_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    assert old in SMALL
    path = _write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(InputError) as raised:
        read_arpa(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ")
    assert says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("-0.2\tÉTÉ ÉTÉ", "-0.2\tÉTÉ OTHER", 15),
        ("-0.2\tÉTÉ ÉTÉ", "-0.2\tÉTÉ", 15),
        ("-0.2\tÉTÉ ÉTÉ", "-0..2\tÉTÉ ÉTÉ", 15),
        ("-0.2\tÉTÉ ÉTÉ", "0.2\tÉTÉ ÉTÉ", 15),
        ("-0.75\tÉTÉ", "-0.75\t</s>", 11),
        ("-0.75\tÉTÉ", "-inf\tÉTÉ", 11),
        ("-0.75\tÉTÉ", "nan\tÉTÉ", 11),
    ],
)
def test_reading_checks_every_ngram(tmp_path: Path, old: str, new: str, line: int) -> None:
    path = _write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(InputError, match=f":{line}: "):
        read_arpa(path)


def test_a_missing_file_a_folder_and_a_binary_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_arpa(tmp_path / "none.arpa")
    with pytest.raises(InputError, match="directory"):
        read_arpa(tmp_path)
    binary = tmp_path / "lm.bin"
    binary.write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    with pytest.raises(InputError, match="KenLM binary"):
        read_arpa(binary)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = _write(tmp_path, SMALL)
    model = read_arpa(path)
    broken = Arpa(model.vocabulary[:2], model.sections)
    with pytest.raises(IndexError):
        write_arpa(broken, path)
    assert path.read_text(encoding="utf-8") == SMALL
    assert [entry.name for entry in tmp_path.iterdir()] == ["lm.arpa"]
