"""n-gram models in arrays, one for each length, and written as ARPA text.

The format (Doug Paul's, as SRILM and KenLM write it): a `\\data\\` header with the number of
n-grams of each order, one section per order with lines of `log10 probability, n-gram, log10
back-off weight`, and `\\end\\`. Text before `\\data\\` is no part of the model.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from lm.errors import InputError
from lm.files import whole_file
from lm.text.unpacked import UTF_16_AND_32, open_bytes

UNKNOWN, BOS, EOS = "<unk>", "<s>", "</s>"
MARKS = (UNKNOWN, UNKNOWN.upper(), BOS, EOS)  # these are not words that can be spelled
UNKNOWN_IN_CAPITALS = "<UNK>"  # KenLM takes this as `<unk>` in a model that has no other
KENLM_BINARY = b"mmap lm http://kheafield.com"
# How other toolkits' files of n-gram models begin.
BINARIES = {
    KENLM_BINARY: "a KenLM binary, which does not have its vocabulary",
    b"SRILM_BINARY_NGRAM": "a binary model of SRILM",
    b"blmt": "a binary model of IRSTLM",
    b"Qblmt": "a binary model of IRSTLM",
    b"\xd6\xfd\xb2\x7e": "a model as a finite-state transducer of OpenFst",
}
REMEDY = "the file is damaged or incomplete: make or copy it again"
LINES_PER_WRITE = 100_000


@dataclass(frozen=True)
class Section:
    """The n-grams of one order k.

    Attributes:
        words: (N, k) int32, indices into the model's vocabulary.
        logprob: (N,) float32, log10 of the last word's probability given the others.
        backoff: (N,) float32, log10 of the back-off weight; 0 where the n-gram is not a context.
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
        vocabulary: the words, with `<unk>`, `<s>` and `</s>`.
        sections: one per order, unigrams first.
    """

    vocabulary: Sequence[str]
    sections: Sequence[Section]

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.sections)


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


@contextmanager
def open_arpa(path: str | Path) -> Iterator[IO[bytes]]:
    """Opens ARPA text for reading as bytes; gzip, bzip2 and xz are unpacked, whatever its name.

    Reading raises an OSError if compressed data are damaged.

    Raises:
        InputError: There is no such file, it is compressed in another way, or it is a binary file
            of another toolkit.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; give the path of an ARPA model")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a directory; give the path of an ARPA model")
    with open_bytes(path) as file:
        try:
            start = file.peek(len(KENLM_BINARY))
        except OSError:  # whoever reads the file reports it with its line
            start = b""
        for begin, what in BINARIES.items():
            if start.startswith(begin):
                raise InputError(f"{path}: this is {what}; give the ARPA file that it was made of")
        if start.startswith(UTF_16_AND_32):
            raise InputError(
                f"{path}: is UTF-16 or UTF-32; convert it, for instance with iconv -f utf-16 -t "
                "utf-8"
            )
        yield file


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file for writing that gets its name only when the block ends without an exception."""
    try:
        with whole_file(path) as partial, open(partial, "wb") as raw:
            if path.suffix == ".gz":
                # It has no time stamp and no name, so that the same model gives the same bytes.
                with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield raw
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); give another place"
        ) from error
