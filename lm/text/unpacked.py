"""Files of bytes and of UTF-8 text, plain or compressed; damage is an error that names the place.

Python's own `gzip`, `bz2` and `lzma` files end in different exceptions for the same damage, and
take a damaged second stream, as parallel compressors write it, for the end of the file.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from lm.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 16
BYTE_ORDER_MARK = codecs.BOM_UTF8
SHOWN = 20  # characters before a wrong byte that a message shows

# How files begin that are compressed in a way that is read, by the ending of their names.
STARTS = {
    ".gz": re.compile(rb"\x1f\x8b"),
    ".bz2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    ".xz": re.compile(rb"\xfd7zXZ\0"),
}
# How other files begin that are taken for text by mistake.
OTHERS = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\x04\x22\x4d\x18": "compressed by lz4",
    b"LZIP\x01": "compressed by lzip",
    b"\x5d\x00\x00": "compressed by lzma",
    b"\x1f\x9d": "compressed by compress",
}
START = 10  # bytes that decide

UTF_16_AND_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


class Damaged(OSError):
    """The content of a compressed file is damaged or incomplete."""


class Decompressor(Protocol):
    """One compressed stream, as `bz2.BZ2Decompressor` and `lzma.LZMADecompressor` are."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether more compressed bytes must be given."""

    @property
    def unused_data(self) -> bytes:
        """What came after the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes of the content."""


class GzipDecompressor:
    """One gzip stream, whose checksum and length zlib checks."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        """Whether more compressed bytes must be given."""
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What came after the end of the stream."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """At most `max_length` bytes of the content."""
        return self._stream.decompress(self._stream.unconsumed_tail + data, max(0, max_length))


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    ".gz": GzipDecompressor,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
}


class Unpacked(io.RawIOBase):
    """The content of a compressed file, of one stream or several."""

    def __init__(self, packed: IO[bytes], kind: str) -> None:
        """Reads a file that `STARTS` calls `kind`."""
        self._packed = packed
        self._kind = kind
        self._stream = DECOMPRESSORS[kind]()
        self._waiting = b""

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills a part of the buffer; 0 is the end.

        Raises:
            Damaged: The compressed data are damaged or incomplete.
        """
        room = memoryview(buffer)
        try:
            while True:
                if self._stream.eof and not self._next_stream():
                    return 0
                data = self._waiting
                if self._stream.needs_input and not data:
                    data = self._packed.read(BLOCK)
                    if not data:
                        raise EOFError("they end too early")
                self._waiting = b""
                content = self._stream.decompress(data, len(room))
                if content:
                    room[: len(content)] = content
                    return len(content)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError) as error:
            raise Damaged(
                f"the {NAMES[self._kind]} data are damaged or incomplete: {error}"
            ) from error

    def _next_stream(self) -> bool:
        """Begins the stream that follows, perhaps after zeros, which fill blocks of a tape."""
        rest = self._stream.unused_data
        while not (rest := rest.lstrip(b"\0")):
            rest = self._packed.read(BLOCK)
            if not rest:
                return False
        self._stream, self._waiting = DECOMPRESSORS[self._kind](), rest
        return True

    def close(self) -> None:
        """Closes the file, too."""
        self._packed.close()
        super().close()


NAMES = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}


def open_bytes(path: str | Path) -> io.BufferedReader:
    """Opens a file; gzip, bzip2 and xz are unpacked, whatever the name is.

    Reading ends in a `Damaged` (an OSError) if the compressed data are damaged.

    Raises:
        InputError: There is no such file, it cannot be opened, it is compressed in another way, or
            its name says that it is compressed and it is not.
    """
    path = Path(path)
    try:
        file = path.open("rb")
        start = file.peek(START)[:START]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    for kind, pattern in STARTS.items():
        if pattern.match(start):
            return io.BufferedReader(Unpacked(file, kind), BLOCK)
    wrong = next((what for begin, what in OTHERS.items() if start.startswith(begin)), None)
    if wrong is not None:
        file.close()
        raise InputError(f"{path}: is {wrong}, which cannot be read; unpack it first")
    if path.suffix in NAMES:
        file.close()
        what = "does not begin as such a file" if start else "is empty"
        raise InputError(
            f"{path}: is named as {NAMES[path.suffix]} data but {what}; copy it again, or rename it"
        )
    return file


class Utf8(io.RawIOBase):
    """Checks that the bytes of a file are UTF-8, and counts their lines for messages."""

    def __init__(self, file: IO[bytes], path: str | Path) -> None:
        """Checks a file whose name is `path`."""
        self._file = file
        self._path = path
        self._lines = 0  # ends of lines so far
        self._after_return = False  # a line feed now ends the same line
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._started = False
        self._end = b""  # of the block before, for messages

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills a part of the buffer; 0 is the end.

        Raises:
            InputError: The file is damaged, or is not UTF-8 text.
        """
        room = memoryview(buffer)
        try:
            content = self._file.read(len(room))
        except OSError as error:
            raise InputError(
                f"{self._path}: damaged after line {self._lines} ({error.strerror or error}); copy "
                "or unpack the file again"
            ) from error
        if not self._started:
            self._started = True
            if content.startswith(UTF_16_AND_32):
                raise InputError(
                    f"{self._path}: is UTF-16 or UTF-32, not UTF-8; convert it, for instance with "
                    "iconv -f utf-16 -t utf-8"
                )
            if content.startswith(BYTE_ORDER_MARK):
                # The mark that Windows programs write first is not text.
                content = content[len(BYTE_ORDER_MARK) :] or self._file.read(len(room))
        self._check(content)
        room[: len(content)] = content
        return len(content)

    def _check(self, content: bytes) -> None:
        """Decodes the next bytes; no bytes are the end.

        Raises:
            InputError: They are not UTF-8 text.
        """
        wrong = None
        # The first bytes of a character may have been at the end of the block before.
        known = content
        try:
            # Decoding takes longer than to see that all bytes are ASCII.
            if not content.isascii() or not content or self._decoder.getstate()[0]:
                self._decoder.decode(content, final=not content)
        except UnicodeDecodeError as error:
            wrong = error.object[error.start]
            known = error.object[: error.start]
            started = len(error.object) - len(content)
            self._end = self._end[: len(self._end) - started]
        before, zero, _ = known.partition(b"\0")
        if zero or wrong is not None:
            place = f"{self._path}, line {self._count(before)[0] + 1}"
            line = re.split(rb"[\r\n]", self._end + before)[-1].decode("utf-8", "ignore")
            after = f" after {line[-SHOWN:]!r}" if line else ""
            if zero:
                raise InputError(
                    f"{place}: not text (a zero byte{after}); is the file binary, or UTF-16?"
                )
            raise InputError(
                f"{place}: not UTF-8 (byte 0x{wrong:02X}{after}); correct it, or convert the file, "
                "for instance with iconv -f latin1 -t utf-8"
            )
        self._lines, self._after_return = self._count(content)
        self._end = content[-4 * SHOWN :]

    def _count(self, content: bytes) -> tuple[int, bool]:
        """Number of ends of lines up to the end of `content`, and whether a return is the last."""
        ends = content.count(b"\n")
        if b"\r" in content:
            ends += content.count(b"\r") - content.count(b"\r\n")
        ends -= self._after_return and content.startswith(b"\n")
        last = content.endswith(b"\r") if content else self._after_return
        return self._lines + ends, last

    def close(self) -> None:
        """Closes the file, too."""
        self._file.close()
        super().close()


def open_utf8(path: str | Path) -> IO[str]:
    """Opens UTF-8 text, plain or compressed, without a byte-order mark.

    Reading raises an InputError with the line if the file is damaged, or is not UTF-8 text. The
    text before that place may not have been read yet, because files are read in blocks.

    Raises:
        InputError: As `open_bytes`.
    """
    checked = Utf8(open_bytes(path), path)
    return io.TextIOWrapper(io.BufferedReader(checked, BLOCK), encoding="utf-8")
