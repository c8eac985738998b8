"""ARPA text: what is written is read back, and damage is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lm.errors import InputError
from lm.ngram.arpa import Arpa, Section, write_arpa
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.store import compile_arpa
from tests.support.arpas import small_model
from tests.support.damage import refusals

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


OTHER_TOOLS: dict[str, Callable[[str], bytes]] = {
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "byte-order mark, first line": lambda text: b"\xef\xbb\xbf" + cut_before(text).encode(),
    "text before": lambda text: b"Made from 3 sentences.\n\\2-grams:\n\n" + text.encode(),
    "nothing before": lambda text: cut_before(text).encode(),
    "no blank line": lambda text: text.replace("\n\n\\1", "\n\\1").encode(),
    "no blank lines": lambda text: text.replace("\n\n", "\n").encode(),
    "blank lines in the header": lambda text: text.replace("ngram 2", "\n \nngram  2").encode(),
    "spaces around =": lambda text: text.replace("=", " = ").encode(),
    "infinite": lambda text: text.replace("0\t<s>", "-inf\t<s>").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "xz, text before": lambda text: lzma.compress(b"Once\r\n" + text.encode()),
}


def cut_before(text: str) -> str:
    """The file from `\\data\\`."""
    return text[text.index("\\data\\") :]


@pytest.mark.parametrize("how", OTHER_TOOLS)
def test_reads_models_as_other_tools_write_them(tmp_path: Path, how: str) -> None:
    expected = read_arpa(_write(tmp_path, SMALL))
    path = tmp_path / "other.arpa"
    path.write_bytes(OTHER_TOOLS[how](SMALL))
    for block in (1, 5, 1 << 20):
        model = read_arpa(path, block)
        assert model.vocabulary == expected.vocabulary
        for found, section in zip(model.sections, expected.sections, strict=True):
            np.testing.assert_array_equal(found.words, section.words)
            np.testing.assert_array_equal(found.backoff, section.backoff)
            never = model.vocabulary.index("<s>")
            probable = found.words[:, -1] != never
            np.testing.assert_array_equal(found.logprob[probable], section.logprob[probable])
            assert (found.logprob[~probable] == (-99 if how == "infinite" else 0)).all()


@pytest.mark.parametrize("at", ["-0.75\tÉTÉ", "-0.2\tÉTÉ", "-0.3\tÉTÉ </s>"])
def test_python_s_own_numbers_are_none(tmp_path: Path, at: str) -> None:
    """A damaged byte in -1.2 can give -1_2, which Python reads as -12."""
    path = tmp_path / "lm.arpa"
    path.write_text(SMALL.replace(at, "-0_" + at[3:]), encoding="utf-8")
    with pytest.raises(InputError, match=r"lm\.arpa:\d+: .*'-0_\d+'"):
        compile_arpa(path)


def test_a_line_with_an_error_keeps_its_number_after_other_text(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    bigrams = SMALL.replace("\n-0.3\tÉTÉ </s>", "\n-0.1\t<s> ÉTÉ")
    path.write_bytes(b"\xef\xbb\xbfMade by hand.\n\\2-grams:\n" + bigrams.encode())
    with pytest.raises(InputError, match=r"lm\.arpa:18: '<s> ÉTÉ' is listed a second time"):
        compile_arpa(path)
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("-0.2\tÉTÉ", "x\tÉTÉ").encode())
    with pytest.raises(InputError, match=r"lm\.arpa:15: "):
        compile_arpa(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x28\xb5\x2f\xfd\x04", "is compressed by zstd"),
        (b"PK\x03\x04", "is a zip archive"),
        (b"SRILM_BINARY_NGRAM_002\n", "binary model of SRILM"),
        (b"blmt 3 4\n", "binary model of IRSTLM"),
        (b"\xd6\xfd\xb2\x7e\x06\0\0\0vector", "OpenFst"),
        (gzip.compress(b"mmap lm http://kheafield.com/code format version 5\n\0"), "KenLM binary"),
        (SMALL.encode("utf-16"), "UTF-16"),
        (b"", "not an ARPA model"),
    ],
    ids=["zstd", "zip", "srilm", "irstlm", "openfst", "kenlm", "utf-16", "empty"],
)
def test_other_kinds_of_files_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        read_arpa(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_damaged_model_is_refused_or_read(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(pack(SMALL.encode()))
    messages = refusals(compile_arpa, path)
    assert len(messages) > 150
    assert all(message.startswith(str(path)) for message in messages)


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
        ("\\data\\", "\\dbta\\", None, "has no \\data\\ line: this is not an ARPA"),
        ("ngram 1=4\nngram 2=3\n", "", 4, "no `ngram 1=…`"),
        ("-0.75\tÉTÉ\t-0.125", "-0.75", 11, "not a 1-gram"),
    ],
)
def test_damage_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int | None, says: str
) -> None:
    assert old in SMALL
    path = _write(tmp_path, SMALL.replace(old, new))
    with pytest.raises(InputError) as raised:
        read_arpa(path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: " if line else f"{path}: ")
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
        ("-0.5\t</s>", "-inf\t</s>", 10),
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
