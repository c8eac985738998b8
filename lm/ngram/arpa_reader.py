"""n-gram models read from ARPA text, in machine code: sections have millions of lines.

Python reads headers, unigrams and lines with errors, line by line. The lines of longer n-grams are
split block by block in machine code, which returns to Python at a line with an error.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from lm.errors import InputError
from lm.ngram.arpa import BOS, REMEDY, Arpa, Section, open_arpa
from lm.ngram.arpa_parser import BACKSLASH, MORE, NOT_WORD, SECTION_ENDS, TOO_MANY, parse
from lm.ngram.words import Words, hashed, text_of
from lm.text.unpacked import BYTE_ORDER_MARK

BLOCK = 8 << 20
DIGITS = 15  # of a number of n-grams
NEVER = -99.0  # log10 probability of a sentence start, which no model predicts, as SRILM writes it


@dataclass(frozen=True)
class ArpaStream:
    """An open file.

    Attributes:
        vocabulary: The words.
        unigrams: Their n-grams.
        longer: For each length from 2, in order, the n-grams piece by piece; each is read once.
        order: Length of the longest n-grams.
    """

    vocabulary: list[str]
    unigrams: Section
    longer: Iterator[Iterator[Section]]
    order: int


@contextmanager
def stream_arpa(path: str | Path, block: int = BLOCK) -> Iterator[ArpaStream]:
    """Opens a model whose longer n-grams are read when they are needed.

    Args:
        path: The file.
        block: Number of bytes that are read at a time.

    Raises:
        InputError: The file is missing, truncated or malformed; names the line.
    """
    with open_arpa(path) as file:
        lines = Lines(file, path, block)
        counts = read_counts(lines)
        read_title(lines, 1)
        vocabulary, unigrams = read_unigrams(lines, counts[0])
        text = np.frombuffer(b"".join(word + b"\n" for word in vocabulary), np.uint8)
        longer = read_longer(lines, counts, hashed(text))
        yield ArpaStream([text_of(word) for word in vocabulary], unigrams, longer, len(counts))


def check_header(path: str | Path) -> None:
    """Reads the header of a model, and no more: whether it is one at all.

    Raises:
        InputError: The file is missing, or it does not begin as an ARPA model.
    """
    with open_arpa(path) as file:
        read_counts(Lines(file, path, 1 << 16))


def read_longer(lines: Lines, counts: Sequence[int], words: Words) -> Iterator[Iterator[Section]]:
    """The n-grams of each length from 2, and the end of the file."""
    for order, count in enumerate(counts[1:], 2):
        read_title(lines, order)
        yield read_section(lines, order, count, words)
    end = lines.next_text()
    if end is None:
        raise lines.error(f"ends in the {len(counts)}-grams, without \\end\\; {REMEDY}")
    if end != b"\\end\\":
        raise lines.error(f"expected \\end\\; {REMEDY}")


def read_arpa(path: str | Path, block: int = BLOCK) -> Arpa:
    """Reads a whole model into arrays.

    Args:
        path: The file.
        block: Number of bytes that are read at a time.

    Raises:
        InputError: As `stream_arpa`.
    """
    with stream_arpa(path, block) as arpa:
        sections = [arpa.unigrams]
        for order, pieces in enumerate(arpa.longer, 2):
            nothing = Section(np.zeros((0, order), np.int32), *np.zeros((2, 0), np.float32))
            columns = zip(
                *((p.words, p.logprob, p.backoff) for p in (nothing, *pieces)), strict=True
            )
            sections.append(Section(*map(np.concatenate, columns)))
        return Arpa(arpa.vocabulary, sections)


def line_of(path: str | Path, order: int, row: int) -> tuple[int, str]:
    """The number of the line of an n-gram, and its words.

    Args:
        path: A file that has been read up to this line.
        order: Length of the n-gram.
        row: Number of the n-gram among those of its length, from 0.
    """
    title = b"\\%d-grams:" % order
    with open_arpa(path) as file:
        lines = enumerate(file, 1)
        for wanted in (b"\\data\\", title):
            next(line for _, line in lines if line.removeprefix(BYTE_ORDER_MARK).strip() == wanted)
        filled = ((number, line.split()) for number, line in lines if line.strip())
        number, fields = next(islice(filled, row, None))
    return number, text_of(b" ".join(fields[1 : order + 1]))


class Lines:
    """A file as blocks of whole lines, with the number of the line that was read last.

    Attributes:
        path: Name of the file, for messages.
        block: (B,) uint8, whole lines.
        at: Where the next line begins.
        number: Number of the last line that was read, from 1.
    """

    def __init__(self, file: IO[bytes], path: str | Path, size: int) -> None:
        """Reads `size` bytes at a time."""
        self.file = file
        self.size = size
        self.path = path
        self.content = b""
        self.block = np.zeros(0, np.uint8)
        self.at = 0
        self.number = 0
        self._rest = b""
        self._started = False

    def fill(self) -> bool:
        """Reads the next block if this one has been read; False at the end of the file."""
        while self.at >= len(self.content):
            try:
                read = self._read()
            except OSError as error:
                self.number += 1
                raise self.error(f"{error.strerror or error}; {REMEDY}") from error
            if not read and not self._rest:
                return False
            joined = self._rest + read
            cut = joined.rfind(b"\n") + 1 if read else len(joined)
            self.content, self._rest, self.at = joined[:cut], joined[cut:], 0
            self.block = np.frombuffer(self.content, np.uint8)
        return True

    def _read(self) -> bytes:
        """The next bytes of the file, without a byte-order mark at its start."""
        if self._started:
            return self.file.read(self.size)
        self._started = True
        mark = self.file.read(len(BYTE_ORDER_MARK))
        return (b"" if mark == BYTE_ORDER_MARK else mark) + self.file.read(self.size)

    def next(self) -> bytes | None:
        """The next line; None at the end of the file."""
        if not self.fill():
            return None
        end = self.content.find(b"\n", self.at)
        end = len(self.content) if end < 0 else end + 1
        line = self.content[self.at : end]
        self.at = end
        self.number += 1
        return line

    def next_text(self) -> bytes | None:
        """The next line that is not blank, without white space around it."""
        while (line := self.next()) is not None:
            if text := line.strip():
                return text
        return None

    def error(self, message: str) -> InputError:
        """An error at the last line."""
        return InputError(f"{self.path}:{self.number}: {message}")


def read_counts(lines: Lines) -> list[int]:
    """Reads the header up to the title of the unigrams, and skips the text before `\\data\\`."""
    while (text := lines.next_text()) != b"\\data\\":
        if text is None:
            raise InputError(f"{lines.path}: has no \\data\\ line: this is not an ARPA model")
    counts: list[int] = []
    while lines.fill() and lines.block[lines.at] != BACKSLASH:
        text = (lines.next() or b"").strip()
        if not text:
            continue
        order, equals, count = text.removeprefix(b"ngram").strip().partition(b"=")
        if not (equals and order.strip() == b"%d" % (len(counts) + 1) and count.strip().isdigit()):
            raise lines.error(f"expected `ngram {len(counts) + 1}=…`; {REMEDY}")
        if len(count.strip()) > DIGITS:
            raise lines.error(f"the number of n-grams is too large; {REMEDY}")
        counts.append(int(count))
    if not lines.fill():
        raise lines.error(f"ends within the header; {REMEDY}")
    if not counts:
        raise lines.error(f"no `ngram 1=…` after \\data\\; {REMEDY}")
    return counts


def read_title(lines: Lines, order: int) -> None:
    """Reads the title of a section."""
    text = lines.next_text()
    where = f"in the {order - 1}-grams" if order > 1 else "after the header"
    if text is None:
        raise lines.error(f"ends {where}, without \\end\\; {REMEDY}")
    if text != b"\\%d-grams:" % order:
        raise lines.error(f"expected \\{order}-grams:; {REMEDY}")


def read_unigrams(lines: Lines, limit: int) -> tuple[list[bytes], Section]:
    """The words, and the unigrams in their order."""
    numbers: dict[bytes, int] = {}
    logprobs, backoffs = array("f"), array("f")
    while lines.fill() and lines.block[lines.at] != BACKSLASH:
        line = lines.next() or b""
        fields = line.split()
        if not fields:
            continue
        if len(numbers) == limit:
            raise lines.error(too_many(1, limit))
        if len(fields) not in (2, 3):
            raise lines.error("this is not a 1-gram with its log10 probability")
        if numbers.setdefault(fields[1], len(numbers)) != len(logprobs):
            raise lines.error(f"{text_of(fields[1])} is listed a second time")
        logprob, backoff = numbers_of(lines, fields, 1)
        logprobs.append(logprob)
        backoffs.append(backoff)
    check_count(lines, 1, len(numbers), limit)
    words = np.arange(len(numbers), dtype=np.int32)[:, None]
    columns = (np.frombuffer(values, np.float32) for values in (logprobs, backoffs))
    return list(numbers), Section(words, *columns)


def numbers_of(lines: Lines, fields: Sequence[bytes], order: int) -> tuple[float, float]:
    """The log10 probability and the back-off weight of a line's fields, checked."""
    try:
        if any(b"_" in field for field in (fields[0], *fields[order + 1 :])):  # Python's own
            raise ValueError(f"{fields[0]!r} or {fields[-1]!r} is not a number")
        logprob = float(fields[0])
        backoff = float(fields[-1]) if len(fields) == order + 2 else 0.0
    except ValueError as error:
        raise lines.error(f"{error}; {REMEDY}") from error
    if logprob == -np.inf and fields[1 : order + 1] == [BOS.encode()]:
        logprob = NEVER
    if not -np.inf < logprob <= 0:
        raise lines.error("a log10 probability must be 0 or less, and finite")
    if not abs(backoff) < np.inf:
        raise lines.error(f"a back-off weight cannot be {backoff}; {REMEDY}")
    return logprob, backoff


def too_many(order: int, limit: int) -> str:
    """The error of a section with too many n-grams."""
    return f"the header says {limit} {order}-grams, and this is one more; {REMEDY}"


def check_count(lines: Lines, order: int, seen: int, limit: int) -> None:
    """Checks, at the end of a section, that it is as long as the header says."""
    if not lines.fill():
        raise lines.error(f"ends in the {order}-grams, without \\end\\; {REMEDY}")
    if seen < limit:
        lines.number += 1
        raise lines.error(
            f"the header says {limit} {order}-grams, and the section that ends here has {seen}; "
            f"{REMEDY}"
        )


def read_section(lines: Lines, order: int, limit: int, words: Words) -> Iterator[Section]:
    """The n-grams of one length, 2 or more, piece by piece."""
    seen = 0
    while lines.fill():
        # Every field takes at least two bytes, the space after it included.
        room = (len(lines.block) - lines.at) // (2 * order + 2) + 1
        grams = np.empty((room, order), np.int32)
        logprob, backoff = np.empty(room, np.float32), np.empty(room, np.float32)
        state = np.array([lines.at, 0, lines.number], np.int64)
        stopped = parse(lines.block, order, limit - seen, words, grams, logprob, backoff, state)
        lines.at, count, lines.number = state.tolist()
        seen += count
        yield Section(grams[:count].copy(), logprob[:count].copy(), backoff[:count].copy())
        if stopped == SECTION_ENDS:
            break
        if stopped != MORE:
            raise wrong_line(lines, order, limit, stopped)
    check_count(lines, order, seen, limit)


def wrong_line(lines: Lines, order: int, limit: int, stopped: int) -> InputError:
    """The error of the next line."""
    fields = (lines.next() or b"").split()
    if stopped == TOO_MANY:
        return lines.error(too_many(order, limit))
    if stopped == NOT_WORD:
        gram = text_of(b" ".join(fields[1 : order + 1]))
        return lines.error(f"a word of {gram!r} is not among the unigrams")
    if len(fields) not in (order + 1, order + 2):
        return lines.error(f"this is not a {order}-gram with its log10 probability")
    try:
        numbers_of(lines, fields, order)
    except InputError as error:
        return error
    return lines.error(f"a number is not written as in an ARPA file; {REMEDY}")
