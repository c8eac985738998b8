"""n-gram models in a file that is opened without reading it.

A file has the format of safetensors (a header of 8 bytes with the length of a JSON text, this text,
then the arrays). It holds the arrays of `lm.ngram.query.NgramArrays`, records as bytes, and the
words; the metadata have `format`, `version`, `order` and `checksum`. The system maps the file into
memory, so processes share it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from lm.errors import InputError
from lm.files import cache_home, whole_file
from lm.ngram.arpa import REMEDY, UNKNOWN, UNKNOWN_IN_CAPITALS, Arpa, Section
from lm.ngram.arpa_reader import line_of, stream_arpa
from lm.ngram.quantise import CODES, quantised
from lm.ngram.query import INNER, LEAF, SMALL_INNER, SMALL_LEAF, NgramArrays
from lm.ngram.trie import Misfit, Trie, pieces_of

FORMAT = "secondpass-ngram"
VERSION = "3"
WITHOUT_CHECKSUM = "2"  # an earlier version, which is read too
NO_SUM = b'"checksum":"00000000"'
UNSEEN = -100.0  # log10 probability of <unk> if a model has none, as in KenLM
# In the order of the file, which keeps the larger numbers aligned.
TYPES = {
    "bounds": "I64",
    "logprob_book": "F32",
    "backoff_book": "F32",
    "inner": "U8",
    "leaf": "U8",
    "text": "U8",
}
NUMBERS = {"I64": np.int64, "F32": np.float32, "U8": np.uint8}


@dataclass(frozen=True)
class Stored:
    """A model in arrays.

    Attributes:
        arrays: The n-grams.
        text: uint8, the words, each with a line feed after it.
        order: Length of the longest n-grams.
    """

    arrays: NgramArrays
    text: np.ndarray
    order: int


def compile_model(model: Arpa, where: str, quantise: bool = False) -> Stored:
    """A model as arrays that can be queried.

    Args:
        model: The model that was read or estimated.
        where: Name of the model, for messages.
        quantise: Whether to keep 256 values of log-probs and of back-off weights for each length.

    Raises:
        InputError: An n-gram occurs twice, or the first words of an n-gram are not an n-gram.
    """
    longer = (pieces_of(section) for section in model.sections[1:])
    try:
        return _compiled(model.vocabulary, model.sections[0], longer, model.order, quantise)
    except Misfit as misfit:
        words = model.sections[misfit.order - 1].words[misfit.row]
        gram = " ".join(model.vocabulary[i] for i in words)
        raise InputError(f"{where}: {gram!r} {misfit.reason}; make the model again") from misfit


def compile_arpa(path: str | Path, quantise: bool = False) -> Stored:
    """The same from an ARPA file, which is not read into memory as a whole.

    Raises:
        InputError: As `compile_model`, or the file is missing, truncated or malformed; the message
            names the line.
    """
    try:
        with stream_arpa(path) as arpa:
            return _compiled(arpa.vocabulary, arpa.unigrams, arpa.longer, arpa.order, quantise)
    except Misfit as misfit:
        number, gram = line_of(path, misfit.order, misfit.row)
        raise InputError(f"{path}:{number}: {gram!r} {misfit.reason}; {REMEDY}") from misfit


def _compiled(
    vocabulary: Sequence[str],
    unigrams: Section,
    longer: Iterable[Iterable[Section]],
    order: int,
    quantise: bool,
) -> Stored:
    """See `compile_model`; `longer` has the n-grams of each length from 2."""
    words, numbers = list(vocabulary), unigrams.words[:, 0]
    has_unknown = UNKNOWN in words or UNKNOWN_IN_CAPITALS in words
    if not has_unknown:
        words.append(UNKNOWN)
    logprob, backoff = np.full(len(words), UNSEEN, np.float32), np.zeros(len(words), np.float32)
    logprob[numbers], backoff[numbers] = unigrams.logprob, unigrams.backoff
    trie = Trie(logprob, backoff)
    for length, pieces in enumerate(longer, 2):
        trie.lengthen(pieces, length == order)
    trie.finish()
    if quantise:
        arrays = quantised(trie.inner, trie.leaf, trie.bounds)
    else:
        arrays = NgramArrays(trie.inner, trie.leaf, *no_books())
    text = "".join(f"{word}\n" for word in words).encode(errors="surrogateescape")
    return Stored(frozen(arrays), np.frombuffer(text, np.uint8), order)


def no_books() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last three arrays of `NgramArrays` for a model that is not quantised."""
    return np.zeros((0, CODES), np.float32), np.zeros((0, CODES), np.float32), np.zeros(0, np.int64)


def frozen(arrays: NgramArrays) -> NgramArrays:
    """The arrays made read-only like those of a file, so that the same machine code fits both."""
    for array in arrays:
        array.flags.writeable = False
    return arrays


def save(stored: Stored, path: str | Path) -> None:
    """Writes a model; the file gets its name when it is complete.

    Raises:
        InputError: It cannot be written.
    """
    arrays = {**stored.arrays._asdict(), "text": stored.text}
    facts = {"format": FORMAT, "version": VERSION, "order": str(stored.order)}
    facts["checksum"] = "0" * 8
    header: dict[str, Any] = {"__metadata__": facts}
    at = 0
    for name, dtype in TYPES.items():
        array = arrays[name]
        shape = [array.nbytes] if dtype == "U8" else list(array.shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # `array.tofile` would not say why it fails.
    contents = [np.ascontiguousarray(arrays[name]).view(np.uint8).data for name in TYPES]
    total = reduce(lambda found, content: zlib.crc32(content, found), contents, zlib.crc32(text))
    text = text.replace(NO_SUM, NO_SUM.replace(b"0" * 8, b"%08x" % total))
    try:
        with whole_file(path) as partial, open(partial, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for content in contents:
                file.write(content)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); give another place"
        ) from error


def write_store(model: Arpa, path: str | Path, quantise: bool = False) -> None:
    """Writes a model in our own format.

    Raises:
        InputError: As `compile_model`, or the file cannot be written.
    """
    save(compile_model(model, str(path), quantise), path)


def is_store(path: str | Path) -> bool:
    """Whether a file is in our own format, by its content.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError as error:
        raise InputError(f"cannot read the language model {path}: {error.strerror}") from None
    return start[8:9] == b"{" and FORMAT.encode() in start


def open_store(path: str | Path) -> Stored:
    """Opens a file in our own format; its arrays are read when they are needed.

    The checksum of a file is computed when it is opened for the first time, and again after it has
    changed; the cache folder remembers which files were whole.

    Raises:
        InputError: The file is cut off or damaged, has another version, or is not such a file.
    """
    remedy = "make it again with `secondpass ngram`"
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = os.fstat(file.fileno()).st_size
            text = file.read(min(length, size))
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = json.loads(text)
        facts = header["__metadata__"]
        if facts["format"] != FORMAT:
            raise ValueError("it is something else")
        if facts["version"] not in (VERSION, WITHOUT_CHECKSUM):
            raise InputError(
                f"{path}: has version {facts['version']} of the format, not {VERSION}; {remedy}"
            )
        if size != 8 + length + max(header[name]["data_offsets"][1] for name in TYPES):
            raise InputError(f"{path}: is cut off; {remedy}")
        if facts["version"] == VERSION and not _was_whole(path):
            if facts["checksum"] != _checksum(text, content):
                raise InputError(f"{path}: is damaged: its checksum is another; {remedy}")
            _remember(path)
        is_small = header["bounds"]["shape"] != [0]
        records = {
            "inner": SMALL_INNER if is_small else INNER,
            "leaf": SMALL_LEAF if is_small else LEAF,
        }
        arrays = {
            name: _array(content, 8 + length, header[name], records.get(name)) for name in TYPES
        }
        order, words = int(facts["order"]), arrays.pop("text")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give an n-gram model"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not an n-gram model in our format ({reason}); {remedy}"
        ) from error
    return Stored(frozen(NgramArrays(**arrays)), words, order)


def _checksum(header: bytes, content: mmap.mmap) -> str:
    """CRC-32 of a file: its header with a checksum of zeros, then its arrays."""
    without = re.sub(rb'"checksum":"[0-9a-f]{8}"', NO_SUM, header, count=1)
    with memoryview(content) as whole, whole[8 + len(header) :] as arrays:
        return f"{zlib.crc32(arrays, zlib.crc32(without)):08x}"


def _mark(path: str | Path) -> Path:
    """The empty file that says that a file, as it is now, was whole."""
    stat = os.stat(path)
    state = f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
    name = hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()[:24]
    return cache_home() / "ngram-whole" / name


def _was_whole(path: str | Path) -> bool:
    return _mark(path).is_file()


def _remember(path: str | Path) -> None:
    # Without a place for the mark, the checksum is computed again.
    with suppress(OSError):
        mark = _mark(path)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def _array(
    content: mmap.mmap, start: int, entry: dict[str, Any], record: np.dtype | None
) -> np.ndarray:
    """One of a file's arrays, which begin at `start`."""
    begin, end = entry["data_offsets"]
    dtype = record or np.dtype(NUMBERS[entry["dtype"]])
    flat = np.frombuffer(content, dtype, (end - begin) // dtype.itemsize, start + begin)
    return flat if record else flat.reshape(entry["shape"])


def words_of(text: np.ndarray) -> Sequence[str]:
    """The words of `Stored.text`."""
    return text.tobytes().decode(errors="surrogateescape").split("\n")[:-1]
