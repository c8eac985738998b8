"""n-gram models as arrays in a file that is opened without reading it.

A file is in safetensors' format (a header of 8 bytes with the length of a JSON text, that text,
then the arrays): the arrays of `lm.query.NgramArrays` and the words, and in the metadata `format`,
`version` and `order`. The system maps it into memory, so processes share it.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from lm.arpa import UNKNOWN, Arpa
from lm.errors import InputError
from lm.jit import inner_kernel
from lm.query import AFTER, INNER, LEAF, SMALL_INNER, SMALL_LEAF, NgramArrays

FORMAT = "secondpass-ngram"
VERSION = "1"
UNSEEN = -100.0  # log10 probability of <unk> where a model has none, as in KenLM
CODES = 256
MOST_NODES = np.iinfo(np.int32).max


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
        model: As read or estimated.
        where: What to call it in messages.
        quantise: Whether to keep 256 values of log-probs and of back-off weights for each length.

    Raises:
        InputError: An n-gram is there twice, or one's first words are not an n-gram themselves.
    """
    vocabulary, unigrams = list(model.vocabulary), model.sections[0]
    logprobs = [np.empty(len(vocabulary), np.float32)]
    backoffs = [np.zeros(len(vocabulary), np.float32)]
    logprobs[0][unigrams.words[:, 0]] = unigrams.logprob
    if model.order > 1:  # else there is nothing to back off from
        backoffs[0][unigrams.words[:, 0]] = unigrams.backoff
    if UNKNOWN not in vocabulary:
        vocabulary.append(UNKNOWN)
        logprobs[0] = np.append(logprobs[0], np.float32(UNSEEN))
        backoffs[0] = np.append(backoffs[0], np.float32(0))
    sizes = [len(vocabulary), *(len(section) for section in model.sections[1:])]
    bounds = np.cumsum([0, *sizes])
    if bounds[-1] > MOST_NODES:
        raise InputError(f"{where}: {bounds[-1]} n-grams are more than {MOST_NODES}; prune it")
    inner = int(bounds[max(1, model.order - 1)])  # unigrams are never leaves
    word = np.empty(bounds[-1], np.int32)
    context = np.full(bounds[-1], -1, np.int32)
    first = np.full(inner + 1, bounds[1], np.int32)
    word[: sizes[0]] = np.arange(sizes[0])
    for k, section in enumerate(model.sections[1:], 2):
        below, start, stop = bounds[k - 2], bounds[k - 1], bounds[k]
        contexts = np.empty(len(section), np.int32)
        missing = locate(section.words, word, first, contexts)
        if missing >= 0:
            gram = " ".join(vocabulary[i] for i in section.words[missing])
            raise InputError(
                f"{where}: has the {k}-gram {gram!r} but not its first {k - 1} words; the model is "
                "damaged: make it again"
            )
        last = section.words[:, -1]
        order = np.lexsort((last, contexts))
        word[start:stop], context[start:stop] = last[order], contexts[order]
        same = (np.diff(word[start:stop]) == 0) & (np.diff(context[start:stop]) == 0)
        if same.any():
            gram = " ".join(vocabulary[i] for i in section.words[order[int(np.argmax(same))]])
            raise InputError(f"{where}: has the {k}-gram {gram!r} twice; make it again")
        children = np.bincount(context[start:stop] - below, minlength=int(start - below))
        first[below:start] = start + np.concatenate([[0], np.cumsum(children)[:-1]])
        first[start:] = stop
        logprobs.append(section.logprob[order])
        backoffs.append(section.backoff[order])
    logprob = np.concatenate(logprobs)
    backoff = np.concatenate(backoffs)[:inner]
    link = np.full(len(word), -1, np.int32)
    link_nodes(word, context, first, backoff, link)
    is_state = (np.diff(first) > 0) | (backoff != 0)
    link[:inner] = np.where(is_state, link[:inner], AFTER - link[:inner])
    link[inner:] = AFTER - link[inner:]
    if quantise:
        logprob, backoff, *books = quantised(logprob, backoff, bounds)
        types = (SMALL_INNER, SMALL_LEAF)
    else:
        books, types = list(no_books()), (INNER, LEAF)
    nodes, leaves = np.zeros(inner + 1, types[0]), np.zeros(len(word) - inner, types[1])
    for name, values in (("word", word), ("logprob", logprob), ("link", link)):
        nodes[name][:-1], leaves[name] = values[:inner], values[inner:]
    nodes["backoff"][:-1], nodes["first"] = backoff, first
    text = "".join(f"{word}\n" for word in vocabulary).encode(errors="surrogateescape")
    arrays = frozen(NgramArrays(nodes, leaves, *books))
    return Stored(arrays, np.frombuffer(text, np.uint8), model.order)


def no_books() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last three of `NgramArrays` of a model that is not quantised."""
    return np.zeros((0, CODES), np.float32), np.zeros((0, CODES), np.float32), np.zeros(0, np.int64)


def frozen(arrays: NgramArrays) -> NgramArrays:
    """Read-only, as the arrays of a file are, so that both meet the same machine code."""
    for array in arrays:
        array.flags.writeable = False
    return arrays


@inner_kernel
def find_child(word: np.ndarray, low: int, high: int, wanted: int) -> int:
    """The node from low to high - 1 with that last word, or -1."""
    while low < high:
        middle = (low + high) >> 1
        found = word[middle]
        if found == wanted:
            return middle
        if found < wanted:
            low = middle + 1
        else:
            high = middle
    return -1


@inner_kernel
def locate(words: np.ndarray, word: np.ndarray, first: np.ndarray, contexts: np.ndarray) -> int:
    """Fills `contexts` (R,) with the nodes of all but the last of `words` (R, k).

    Returns:
        The first row whose words are not there; -1 if all are.
    """
    for row in range(len(words)):
        node = words[row, 0]
        for k in range(1, words.shape[1] - 1):
            node = find_child(word, first[node], first[node + 1], words[row, k])
            if node < 0:
                return row
        contexts[row] = node
    return -1


@inner_kernel
def link_nodes(
    word: np.ndarray, context: np.ndarray, first: np.ndarray, backoff: np.ndarray, link: np.ndarray
) -> None:
    """Fills `link` (N,) with the longest state that is a proper suffix of each n-gram."""
    for node in range(len(word)):
        if context[node] < 0:
            continue
        # The longest state that ends as the node's context does, and goes on with its word.
        state = link[context[node]]
        suffix = -1
        while state >= 0 and suffix < 0:
            suffix = find_child(word, first[state], first[state + 1], word[node])
            state = link[state]
        if suffix < 0:
            suffix = word[node]
        is_state = first[suffix + 1] > first[suffix] or backoff[suffix] != 0
        link[node] = suffix if is_state else link[suffix]


def quantised(
    logprobs: np.ndarray, backoffs: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes of 8 bits for log-probs and back-off weights, and the books: see `NgramArrays`.

    Codes stand for the means of bins of equally many n-grams (Whittaker and Raj,
    "Quantization-based language model compression", 2001). Code 0 of back-off weights is kept for
    no weight at all.
    """
    order = len(bounds) - 1
    logprob_book, backoff_book = np.zeros((2, order, CODES), np.float32)
    logprob = np.zeros(len(logprobs), np.uint8)
    backoff = np.zeros(len(backoffs), np.uint8)
    for k in range(order):
        rows = slice(bounds[k], bounds[k + 1])
        logprob[rows], logprob_book[k] = _binned(logprobs[rows], 0)
        if bounds[k + 1] <= len(backoff):
            weights = backoffs[rows]
            some = weights != 0
            codes = np.zeros(len(weights), np.uint8)
            codes[some], backoff_book[k] = _binned(weights[some], 1)
            backoff[rows] = codes
    return logprob, backoff, logprob_book, backoff_book, np.asarray(bounds, np.int64)


def _binned(values: np.ndarray, lowest: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes from `lowest` on for values, and the (CODES,) mean of each code's values."""
    book = np.zeros(CODES, np.float32)
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    room = CODES - lowest
    if len(distinct) <= room:
        bins = np.arange(len(distinct))
    else:
        middle = np.cumsum(counts) - counts / 2
        bins = np.minimum((middle * room / len(values)).astype(int), room - 1)
    sums = np.bincount(bins, distinct.astype(float) * counts, room)
    sizes = np.bincount(bins, counts, room)
    book[lowest:] = np.divide(sums, sizes, out=np.zeros(room), where=sizes > 0)
    return (bins[inverse] + lowest).astype(np.uint8), book


def save(stored: Stored, path: str | Path) -> None:
    """Writes a model; the file takes its name when it is whole."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    tensors = {**stored.arrays._asdict(), "text": stored.text}
    # The format has no records: these are their bytes.
    tensors |= {name: tensors[name].view(np.uint8) for name in ("inner", "leaf")}
    facts = {"format": FORMAT, "version": VERSION, "order": str(stored.order)}
    try:
        save_file({n: np.ascontiguousarray(a) for n, a in tensors.items()}, temporary, facts)
        os.chmod(temporary, 0o644)  # the package makes files that only their owner can read
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_store(model: Arpa, path: str | Path, quantise: bool = False) -> None:
    """Writes a model in our own format.

    Raises:
        InputError: As `compile_model`, or the file cannot be written.
    """
    save(compile_model(model, str(path), quantise), path)


def is_store(path: str | Path) -> bool:
    """Whether a file is in our own format, by its content."""
    with open(path, "rb") as file:
        start = file.read(4096)
    return start[8:9] == b"{" and FORMAT.encode() in start


def open_store(path: str | Path) -> Stored:
    """Opens a file in our own format; its arrays are read when they are needed.

    Raises:
        InputError: It is cut off, of another version, or no such file.
    """
    remedy = "make it again with `secondpass ngram`"
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(length, size)))
            facts = header.pop("__metadata__")
            if facts["format"] != FORMAT:
                raise ValueError("it is something else")
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no n-gram model in our format ({error}); {remedy}"
            ) from error
        if facts["version"] != VERSION:
            raise InputError(
                f"{path}: version {facts['version']} of the format, this is {VERSION}; {remedy}"
            )
        if not {*NgramArrays._fields, "text"} <= header.keys():
            raise InputError(f"{path}: lacks some of its arrays; {remedy}")
        if size != 8 + length + max(entry["data_offsets"][1] for entry in header.values()):
            raise InputError(f"{path}: is cut off; {remedy}")
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    types = {"F32": np.float32, "U8": np.uint8, "I64": np.int64}

    def array(name: str, dtype: np.dtype | None = None) -> np.ndarray:
        entry = header[name]
        begin, end = entry["data_offsets"]
        stored = dtype or np.dtype(types[entry["dtype"]])
        flat = np.frombuffer(content, stored, (end - begin) // stored.itemsize, 8 + length + begin)
        return flat if dtype else flat.reshape(entry["shape"])

    books = [array(name) for name in NgramArrays._fields[2:]]
    inner, leaf = (SMALL_INNER, SMALL_LEAF) if len(books[-1]) else (INNER, LEAF)
    arrays = NgramArrays(array("inner", inner), array("leaf", leaf), *books)
    return Stored(arrays, array("text"), int(facts["order"]))


def words_of(text: np.ndarray) -> Sequence[str]:
    """The words of `Stored.text`."""
    return text.tobytes().decode(errors="surrogateescape").split("\n")[:-1]
