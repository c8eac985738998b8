"""Whether a file of audio is complete, by what its container says.

libsndfile reads a file that is cut as a shorter one, and one whose header was never finished as an
empty one. The containers are described in the specifications of RIFF/WAVE (Microsoft and IBM 1991),
RF64 (EBU Tech 3306), AIFF (Apple 1989), Sun's audio files, NIST SPHERE, Sonic Foundry's Wave64,
Apple's CAF, and Ogg (RFC 3533).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

# Writers that do not know the length write the largest number, perhaps less a header's length.
UNKNOWN_32 = 0x7FFF_0000
UNKNOWN_64 = 1 << 62
OGG_PAGE = 65_307  # bytes of the longest page
LAST_PAGE = 0x04  # flag of a page that ends a stream
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
Order = Literal["little", "big"]


@dataclass(frozen=True)
class Content:
    """The audio of a file.

    Attributes:
        start: Where it begins, bytes.
        claimed: Its length according to the header, bytes; None if the header does not say it.
        length_at: Where a length of 32 bits is, bytes; None for other headers.
    """

    start: int
    claimed: int | None
    length_at: int | None = None


@dataclass(frozen=True)
class Cut:
    """What is known about a file that is not complete.

    Attributes:
        whole: How many times as long the audio was according to the header; None if that is not
            known.
    """

    whole: float | None = None


def cut_of(path: str | Path) -> Cut | None:
    """Finds out whether the end of a file is missing.

    Returns:
        None if the file is complete, or if its container does not say how long it is.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(4) == b"OggS":
            return None if _ends_as_ogg(file, size) else Cut()
        content = _content(file, size)
    if content is None or content.claimed is None or content.start + content.claimed <= size:
        return None
    there = max(0, size - content.start)
    return Cut(content.claimed / there if there else None)


def finished(path: str | Path) -> BinaryIO | None:
    """A file with the length that its header lacks; None if it does not lack one.

    A recorder that is stopped, or that writes to a pipe, leaves a length of 0 in the header.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = _content(file, size)
        if content is None or content.claimed != 0 or content.length_at is None:
            return None
        file.seek(content.start)
        if content.start == size or _only_chunks(file, content.start, size):
            return None
        file.seek(0)
        whole = bytearray(file.read())
    order: Order = "little" if whole[:4] in (b"RIFF", b"dns.") else "big"
    length = min(size - content.start, UNKNOWN_32 - 1)
    whole[content.length_at : content.length_at + 4] = length.to_bytes(4, order)
    return io.BytesIO(whole)


def _content(file: BinaryIO, size: int) -> Content | None:
    """Where the audio is; None if the container is not known or has none."""
    file.seek(0)
    start = file.read(16)
    for begin, read in READERS.items():
        if start.startswith(begin):
            return read(file, size)
    return None


def _chunks(file: BinaryIO, at: int, size: int, order: Order) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of each chunk of a file with lengths of 32 bits."""
    while at + 8 <= size:
        file.seek(at)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if not name.strip(b"\0"):  # zeros are no chunks, and a damaged file can have many
            return
        yield name, at + 8, length
        at += 8 + length + length % 2


def _only_chunks(file: BinaryIO, at: int, size: int) -> bool:
    """Whether the rest of a file is chunks with names, and no audio."""
    end = at
    for name, start, length in _chunks(file, at, size, "little"):
        end = start + length
        if not re.fullmatch(rb"[\w ]{4}", name) or end > size:
            return False
    return end + end % 2 >= size - 1


def _riff(file: BinaryIO, size: int) -> Content | None:
    file.seek(0)
    order: Order = "big" if file.read(4) == b"RIFX" else "little"
    long_length = None
    for name, start, length in _chunks(file, 12, size, order):
        if name == b"ds64":  # the lengths of RF64
            file.seek(start + 8)
            long_length = int.from_bytes(file.read(8), "little")
        elif name == b"data":
            if length >= UNKNOWN_32:
                known = long_length is not None and 0 < long_length < UNKNOWN_64
                return Content(start, long_length if known else None)
            return Content(start, length, start - 4)
    return None


def _aiff(file: BinaryIO, size: int) -> Content | None:
    for name, start, length in _chunks(file, 12, size, "big"):
        if name == b"SSND":
            return Content(start, length if length < UNKNOWN_32 else None)
    return None


def _au(file: BinaryIO, size: int) -> Content:
    file.seek(0)
    order: Order = "little" if file.read(4) == b"dns." else "big"
    start, length = (int.from_bytes(file.read(4), order) for _ in range(2))
    return Content(start, length if length < UNKNOWN_32 else None, 8)


def _nist(file: BinaryIO, size: int) -> Content | None:
    file.seek(0)
    header = file.read(1024)
    start = re.match(rb"NIST_1A\n\s*(\d{1,9})\n", header)
    if start is None or re.search(rb"sample_coding -s\d+ \S*,", header):  # that is compressed
        return None
    claimed = 1
    for name in (b"sample_count", b"channel_count", b"sample_n_bytes"):
        number = re.search(rb"^" + name + rb" -i (\d{1,15})\s*$", header, re.M)
        claimed *= int(number[1]) if number else 1
        if number is None and name == b"sample_count":
            return None
    return Content(int(start[1]), claimed)


def _w64(file: BinaryIO, size: int) -> Content | None:
    at = 40
    while at + 24 <= size:
        file.seek(at)
        name, length = file.read(16), int.from_bytes(file.read(8), "little")
        if name == W64_DATA:
            known = 24 < length < UNKNOWN_64
            return Content(at + 24, length - 24 if known else None)
        at += max(24, length + -length % 8)
    return None


def _caf(file: BinaryIO, size: int) -> Content | None:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        name, length = file.read(4), int.from_bytes(file.read(8), "big")
        if not name.strip(b"\0"):
            return None
        if name == b"data":
            return Content(at + 12, length if length < UNKNOWN_64 else None)
        at += 12 + length
    return None


READERS: dict[bytes, Callable[[BinaryIO, int], Content | None]] = {
    b"RIFF": _riff,
    b"RIFX": _riff,
    b"RF64": _riff,
    b"FORM": _aiff,
    b".snd": _au,
    b"dns.": _au,
    b"NIST_1A\n": _nist,
    bytes.fromhex("726966662e91cf11"): _w64,
    b"caff": _caf,
}


def _ends_as_ogg(file: BinaryIO, size: int) -> bool:
    """Whether the last page is complete and is marked as the end of its stream."""
    begin = max(0, size - 2 * OGG_PAGE)
    file.seek(begin)
    end = file.read()
    at = end.rfind(b"OggS\0")
    if at < 0 or at + 26 >= len(end):
        return False
    lacing = end[at + 27 : at + 27 + end[at + 26]]
    # Bytes after the page may be a tag that some program has added.
    complete = len(lacing) == end[at + 26] and at + 27 + len(lacing) + sum(lacing) <= len(end)
    return complete and bool(end[at + 5] & LAST_PAGE)
