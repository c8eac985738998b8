"""Damaged copies of files: a reader has to give a result or an InputError for every one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from lm.errors import InputError

COPIES = 300

# Bytes that mean something to readers: ends of lines, separators, quotes, brackets, parts of UTF-8,
# a byte-order mark, a line separator, half of a surrogate pair.
TELLING = [bytes([byte]) for byte in b"\0\n\r\t \"'{[]}:,-09\x80\xc3\xff"]
TELLING += [b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xed\xa0\x80"]


def damaged_copies(content: bytes, number: int = COPIES, seed: int = 0) -> Iterator[bytes]:
    """Copies of a file, each with one to three faults; the same seed gives the same copies.

    Args:
        content: The bytes of a file that can be read; short files give fast tests.
        number: How many copies to make.
        seed: Random seed.

    Yields:
        The bytes of a damaged copy, never equal to `content`.
    """
    rng = random.Random(seed)
    made = 0
    while made < number:
        copy = content
        for _ in range(rng.choice([1, 1, 2, 3])):
            copy = rng.choice(FAULTS)(copy, rng)
        if copy != content:
            made += 1
            yield copy


def refusals(
    read: Callable[[Path], object],
    path: Path,
    number: int = COPIES,
    seed: int = 0,
) -> list[str]:
    """Reads damaged copies of a file in its place, and puts the file back at the end.

    Args:
        read: Reads the file, or the folder that it is in, to the end; iterators must be used up.
            Only an InputError may leave it.
        path: The whole file.
        number: How many damaged copies to read.
        seed: Random seed.

    Returns:
        The messages of the copies that were refused, each one line. The others were read.

    Raises:
        AssertionError: Something other than an InputError left `read`, or a message has several
            lines.
    """
    content = path.read_bytes()
    messages = []
    try:
        for copy in damaged_copies(content, number, seed):
            path.write_bytes(copy)
            try:
                read(path)
            except InputError as error:
                messages.append(str(error))
                assert len(messages[-1].splitlines()) == 1, messages[-1]
            except Exception as error:
                shown = copy if len(copy) < 2000 else copy[:2000] + b"..."
                raise AssertionError(f"{type(error).__name__}: {error} for {shown!r}") from error
    finally:
        path.write_bytes(content)
    return messages


def _flip_bit(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _replace_byte(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + _bytes(rng) + content[at + 1 :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + _bytes(rng) * rng.choice([1, 1, 1, 3]) + content[at:]


def _cut_end(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _remove_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + content[end:]


def _repeat_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:end] + content[start:]


def _swap_blocks(content: bytes, rng: random.Random) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def _zero_block(content: bytes, rng: random.Random) -> bytes:
    start, end = _block(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _block(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice([1, 2, 8, 64]))


def _bytes(rng: random.Random) -> bytes:
    return rng.choice([bytes([rng.randrange(256)]), rng.choice(TELLING)])


FAULTS = [
    _flip_bit,
    _replace_byte,
    _insert,
    _cut_end,
    _remove_block,
    _repeat_block,
    _swap_blocks,
    _zero_block,
]
