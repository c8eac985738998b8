"""n-gram models as ARPA text: read, written, and checked without loading.

The format (Doug Paul's, as SRILM and KenLM write it): a `\\data\\` header with the number of
n-grams of each order, one section per order with lines of `log10 probability, n-gram, log10
back-off weight`, and `\\end\\`.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from lm.errors import InputError

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
KENLM_BINARY = b"mmap lm http://kheafield.com"
GZIP_MAGIC = b"\x1f\x8b"
REMEDY = "the file is damaged or incomplete: write or copy it again"
LINES_PER_WRITE = 100_000


@dataclass(frozen=True)
class Section:
    """The n-grams of one order k.

    Attributes:
        words: (N, k) int32, indices into the model's vocabulary.
        logprob: (N,) float32, log10 of the last word's probability given the others.
        backoff: (N,) float32, log10 of the back-off weight; 0 where the n-gram is no context.
    """

    words: np.ndarray
    logprob: np.ndarray
    backoff: np.ndarray

    def __len__(self) -> int:
        return len(self.logprob)


@dataclass(frozen=True)
class Arpa:
    """A back-off n-gram model.

    Attributes:
        vocabulary: the words, `<unk>`, `<s>` and `</s>` among them.
        sections: one per order, unigrams first.
    """

    vocabulary: Sequence[str]
    sections: Sequence[Section]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.sections)


@dataclass(frozen=True)
class ArpaSummary:
    """What `check_arpa` saw.

    Attributes:
        counts: number of n-grams of each order.
        vocabulary: the words of the unigrams, in the file's order.
    """

    counts: tuple[int, ...]
    vocabulary: tuple[str, ...]


def write_arpa(model: Arpa, path: str | Path) -> None:
    """Writes a model; gzipped when the name ends with .gz.

    The file appears under its name only when it is complete.

    Raises:
        InputError: The file cannot be written.
    """
    vocabulary = np.array(model.vocabulary, dtype=object)
    with _replacing(Path(path)) as file:
        counts = (f"ngram {k}={len(s)}\n" for k, s in enumerate(model.sections, 1))
        file.write(("\\data\\\n" + "".join(counts)).encode())
        for k, section in enumerate(model.sections, 1):
            file.write(f"\n\\{k}-grams:\n".encode())
            for start in range(0, len(section), LINES_PER_WRITE):
                rows = slice(start, start + LINES_PER_WRITE)
                columns = [vocabulary[section.words[rows, i]].tolist() for i in range(k)]
                grams = columns[0] if k == 1 else map(" ".join, zip(*columns, strict=True))
                logprobs = section.logprob[rows].tolist()
                # One % per line is several times faster than one f-string with formatted fields.
                if k < model.order:
                    backoffs = section.backoff[rows].tolist()
                    fields = zip(logprobs, grams, backoffs, strict=True)
                    text = "".join(map("%.7g\t%s\t%.7g\n".__mod__, fields))
                else:
                    text = "".join(map("%.7g\t%s\n".__mod__, zip(logprobs, grams, strict=True)))
                file.write(text.encode(errors="surrogateescape"))
        file.write(b"\n\\end\\\n")


def read_arpa(path: str | Path) -> Arpa:
    """Reads a whole model into arrays: for small models and for comparisons.

    Raises:
        InputError: The file is missing, truncated or malformed; names the line.
    """
    with open_arpa(path) as file:
        lines = _numbered(file, path)
        counts = _read_counts(lines, path)
        # Grown, not allocated from the header's numbers, which a damaged file may have wrong.
        words = [array("i") for _ in counts]
        logprobs, backoffs = ([array("f") for _ in counts] for _ in range(2))
        index: dict[bytes, int] = {}
        for order, number, line in _entries(lines, counts, path):
            fields = line.split()
            if len(fields) not in (order + 1, order + 2):
                raise InputError(f"{path}:{number}: not a {order}-gram with its log10 probability")
            if order == 1 and index.setdefault(fields[1], len(index)) != len(words[0]):
                raise InputError(f"{path}:{number}: {_text(fields[1])} is listed a second time")
            try:
                logprobs[order - 1].append(float(fields[0]))
                words[order - 1].extend([index[word] for word in fields[1 : order + 1]])
                backoffs[order - 1].append(float(fields[-1]) if len(fields) == order + 2 else 0.0)
            except ValueError as error:
                raise InputError(f"{path}:{number}: {error}; {REMEDY}") from error
            except KeyError as error:
                word = _text(error.args[0])
                raise InputError(f"{path}:{number}: {word} is not among the unigrams") from error
            if not logprobs[order - 1][-1] <= 0:
                raise InputError(f"{path}:{number}: a log10 probability must be 0 or less")
    sections = [
        Section(
            np.frombuffer(words[k], np.int32).reshape(-1, k + 1),
            np.frombuffer(logprobs[k], np.float32),
            np.frombuffer(backoffs[k], np.float32),
        )
        for k in range(len(counts))
    ]
    return Arpa([_text(word) for word in index], sections)


def check_arpa(path: str | Path) -> ArpaSummary:
    """Streams through a model once to see that it is whole, whatever its size.

    Returns:
        The counts and the vocabulary.

    Raises:
        InputError: The file is missing, truncated, has other numbers of n-grams than its header
            says, or lacks `\\end\\`; names the line.
    """
    with open_arpa(path) as file:
        lines = _numbered(file, path)
        counts = _read_counts(lines, path)
        vocabulary = []
        for order, number, line in _entries(lines, counts, path):
            if order == 1:
                fields = line.split()
                if len(fields) not in (2, 3):
                    raise InputError(f"{path}:{number}: not a unigram with its log10 probability")
                vocabulary.append(_text(fields[1]))
    return ArpaSummary(tuple(counts), tuple(vocabulary))


@contextmanager
def open_arpa(path: str | Path) -> Iterator[IO[bytes]]:
    """Opens ARPA text for reading bytes, gunzipped where it is gzipped, whatever its name.

    Raises:
        InputError: There is no such file, or it is KenLM's binary format.
    """
    try:
        with open(path, "rb") as raw:
            magic = raw.read(len(KENLM_BINARY))
            raw.seek(0)
            if magic == KENLM_BINARY:
                raise InputError(
                    f"{path}: is a KenLM binary, which hides its vocabulary; "
                    "give the ARPA file that it was made from"
                )
            if magic.startswith(GZIP_MAGIC):
                # GzipFile's own line iteration is Python; a buffer around it makes it C.
                with gzip.GzipFile(fileobj=raw) as text, io.BufferedReader(text, 1 << 20) as lines:
                    yield lines
            else:
                yield raw
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give the path of an ARPA model") from error
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: {error.strerror}; give the path of an ARPA model") from error


def _text(word: bytes) -> str:
    """A word of a model; KenLM compares bytes, so what is not UTF-8 must survive the round trip."""
    return word.decode(errors="surrogateescape")


def _numbered(file: IO[bytes], path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1; damage in the compression becomes an InputError."""
    number = 0
    try:
        for line in file:
            number += 1
            yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: gzip data ends or breaks here; {REMEDY}") from error


def _read_counts(lines: Iterator[tuple[int, bytes]], path: str | Path) -> list[int]:
    """Reads the header up to the blank line after it."""
    number = 0
    for number, line in lines:
        text = line.strip()
        if text == b"\\data\\":
            break
        if text and not text.startswith(b"#"):
            raise InputError(f"{path}:{number}: expected \\data\\: this is not an ARPA model")
    else:
        raise InputError(f"{path}: has no \\data\\ line: this is not an ARPA model")
    counts: list[int] = []
    for number, line in lines:
        text = line.strip()
        if not text:
            if counts:
                return counts
            raise InputError(f"{path}:{number}: no `ngram 1=…` after \\data\\; {REMEDY}")
        order, equals, count = text.removeprefix(b"ngram").strip().partition(b"=")
        if not (equals and order.strip() == b"%d" % (len(counts) + 1) and count.strip().isdigit()):
            raise InputError(f"{path}:{number}: expected `ngram {len(counts) + 1}=…`; {REMEDY}")
        counts.append(int(count))
    raise InputError(f"{path}:{number}: ends within the header; {REMEDY}")


def _entries(
    lines: Iterator[tuple[int, bytes]], counts: Sequence[int], path: str | Path
) -> Iterator[tuple[int, int, bytes]]:
    """Yields (order, line number, line) of every n-gram and checks all that surrounds them."""
    order, seen, limit, number = 0, 0, 0, 0
    for number, line in lines:
        # n-grams begin with a number; one comparison tells, where splitting costs ten times more.
        if b"-" <= line < b":":
            seen += 1
            if seen > limit:
                raise InputError(
                    f"{path}:{number}: the header says {limit} {order}-grams and here is one more; "
                    f"{REMEDY}"
                )
            yield order, number, line
            continue
        text = line.strip()
        if not text:
            continue
        if seen < limit:
            raise InputError(
                f"{path}:{number}: the header says {limit} {order}-grams and the section "
                f"that ends here has {seen}; {REMEDY}"
            )
        order += 1
        expected = b"\\%d-grams:" % order if order <= len(counts) else b"\\end\\"
        if text != expected:
            raise InputError(f"{path}:{number}: expected {expected.decode()}; {REMEDY}")
        if order > len(counts):
            return
        seen, limit = 0, counts[order - 1]
    where = f"in the {order}-grams" if order else "after the header"
    raise InputError(f"{path}:{number}: ends {where}, without \\end\\; {REMEDY}")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file for writing that takes its name only when the block ends without an exception."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as raw:
            if path.suffix == ".gz":
                # No time stamp and no name in it: the same model gives the same bytes.
                with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
