"""Plain and compressed files: their content, or an error that names the place."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lm.errors import InputError
from lm.text.prose import open_text, read_text
from lm.text.unpacked import BLOCK, open_bytes
from tests.support.damage import damaged_copies, refusals

PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
TEXT = "one two\nÜber naïve café\n\n三 四\nlast"


@pytest.mark.parametrize("suffix", PACK)
def test_content_decides_how_a_file_is_unpacked(tmp_path: Path, suffix: str) -> None:
    for name in (f"a.txt{suffix}", "a.txt"):
        (tmp_path / name).write_bytes(PACK[suffix](TEXT.encode()))
        assert list(read_text(tmp_path / name)) == TEXT.split("\n")


@pytest.mark.parametrize("suffix", PACK)
def test_several_streams_and_zeros_between_them(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(3)
    parts = [rng.randbytes(size) for size in (0, 1, BLOCK - 1, 3 * BLOCK + 7)]
    packed = b"".join(PACK[suffix](part) + b"\0" * 4 * i for i, part in enumerate(parts))
    (tmp_path / "a").write_bytes(packed)
    with open_bytes(tmp_path / "a") as file:
        assert file.read() == b"".join(parts)


@pytest.mark.parametrize("suffix", PACK)
def test_a_damaged_second_stream_is_not_the_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    second = PACK[suffix](b"two\n")
    path.write_bytes(PACK[suffix](b"one\n") + b"\x01" + second[1:])
    with pytest.raises(InputError, match="damaged after line"):
        list(read_text(path))


@pytest.mark.parametrize("suffix", PACK)
def test_a_damaged_compressed_text_is_refused_or_the_same(tmp_path: Path, suffix: str) -> None:
    whole = "".join(f"line {i} é {i * i % 97}\n" for i in range(60))
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACK[suffix](whole.encode()))

    def read(path: Path) -> None:
        assert "".join(f"{line}\n" for line in read_text(path)) == whole

    messages = refusals(read, path)
    assert len(messages) > 200
    assert all(message.startswith(str(path)) for message in messages)


def test_a_damaged_text_is_read_as_python_reads_it_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for copy in damaged_copies(TEXT.replace("\n", "\r\n").encode()):
        path.write_bytes(copy)
        try:
            expected = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            expected = None
        if expected is None or "\0" in expected:
            with pytest.raises(InputError, match=r"a\.txt"):
                list(read_text(path))
        else:
            with open_text(path) as file:
                assert file.read() == expected


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_of_a_wrong_byte_is_named(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.txt"
    rng = random.Random(5)
    for lines in (1, 2, 700, 9000):
        # The lines are long enough for several blocks, whose limits are within lines and ends.
        text = end.join("é" * rng.randint(0, 30) for _ in range(lines - 1)) + end * (lines > 1)
        for wrong, shown in ((b"caf\xe9", "byte 0xE9 after 'caf'"), (b"\xe4", "byte 0xE4")):
            path.write_bytes(text.encode() + wrong + end.encode() + b"more\n" * 50_000)
            with pytest.raises(InputError) as error:
                list(read_text(path))
            assert f"a.txt, line {lines}: not UTF-8 ({shown})" in str(error.value)
    path.write_bytes(b"one\ntwo\ncut \xe2\x80")
    with pytest.raises(InputError, match=r"line 3: not UTF-8 \(byte 0xE2 after 'cut '\)"):
        list(read_text(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TEXT.encode("utf-16"), "UTF-16"),
        (b"one\nt\0wo\n", r"line 2: not text \(a zero byte after 't'\)"),
        (TEXT.encode("utf-16-le"), r"line 1: not text \(a zero byte after 'o'\)"),
        (b"PK\x03\x04\x14\x00", "is a zip archive"),
        (b"\x28\xb5\x2f\xfd\x04", "compressed by zstd"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_text(tmp_path / "a.txt"))


def test_a_name_that_promises_compressed_data(tmp_path: Path) -> None:
    for content, message in ((b"", "is empty"), (b"plain text\n", "does not begin as such a file")):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(InputError, match=f"named as gzip data but {message}"):
            open_text(tmp_path / "a.gz")
    with pytest.raises(InputError, match="cannot be read"):
        open_text(tmp_path / "none.txt")
    with pytest.raises(InputError, match="cannot be read"):
        open_text(tmp_path)


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    for content, expected in ((b"the\n", ["the"]), (b"", []), ("\ufeffx".encode(), ["\ufeffx"])):
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf" + content)
        assert list(read_text(tmp_path / "a.txt")) == expected
        (tmp_path / "a.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + content))
        assert list(read_text(tmp_path / "a.gz")) == expected
