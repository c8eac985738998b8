"""The labels of a transformers tokenizer, in the one way in which this project writes labels.

Tokenizers write a word's beginning, a byte or the space between words each in their own way:
`▁the`, `Ġthe`, `the` before `##re`, `|`, `<space>`. Here a word's beginning is always `▁` or a
delimiter, and a byte always `<0xC3>`. What was read is checked against the tokenizer's decoding.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lm.errors import InputError

LOG = logging.getLogger("secondpass")
WORD_START = "▁"  # what SentencePiece puts before a word's first piece
CHECKED = 48  # labels that are decoded together in the check
# What a decoder that tidies text puts back to the word before it.
TIDIED = frozenset(".,!?'")


@dataclass(frozen=True)
class ReadLabels:
    """Labels as they were read from a tokenizer.

    Attributes:
        labels: (V,) label of each column.
        special: Columns that never stand for text.
        delimiter: Label between words; None where it is to be found in the labels.
        unspaced: Whether the tokenizer writes no spaces at all.
    """

    labels: list[str]
    special: tuple[int, ...]
    delimiter: str | None = None
    unspaced: bool = False


def read_labels(tokenizer: Any, size: int, blank: int) -> ReadLabels:
    """Reads the labels of the columns 0 to V - 1.

    Args:
        tokenizer: transformers' tokenizer.
        size: V, columns of the model's output.
        blank: Column of the blank, the only label that the tokenizer need not have.

    Raises:
        InputError: The lower case of a label depends on its place in a word.
    """
    labels = [str(tokenizer.convert_ids_to_tokens(i) or "") for i in range(size)]
    special = {i for i in tokenizer.all_special_ids if 0 <= i < size}
    if hasattr(tokenizer, "replace_word_delimiter_char"):
        delimiter = tokenizer.word_delimiter_token
        special -= {i for i, label in enumerate(labels) if label == delimiter}
        lower = bool(getattr(tokenizer, "do_lower_case", False))
        between = str(tokenizer.replace_word_delimiter_char)
        return _ctc_labels(labels, special | {blank}, delimiter, between, lower)
    steps = list(_decoder_steps(tokenizer))
    for step in steps:
        kind = step.get("type")
        spoken = [i for i in range(size) if i not in special]
        if kind == "CTC":
            return _ctc_labels(labels, special, step.get("word_delimiter_token"), " ")
        if kind == "WordPiece":
            prefix = str(step["prefix"])
            for i in spoken:
                inner = labels[i].startswith(prefix) and labels[i] != prefix
                labels[i] = labels[i].removeprefix(prefix) if inner else WORD_START + labels[i]
        elif kind == "ByteLevel":
            for i in spoken:
                labels[i] = _from_byte_level(labels[i])
        elif kind in ("Metaspace", "Replace"):
            for i in spoken:
                labels[i] = labels[i].replace(*_replacement(step))
    if any(step.get("cleanup") for step in steps) and TIDIED & set("".join(labels)):
        LOG.warning(
            f"the tokenizer, a {type(tokenizer).__name__}, removes the spaces before punctuation "
            "(`cleanup`); here they are kept"
        )
    return ReadLabels(labels, tuple(special))


def _ctc_labels(
    labels: list[str], unspoken: set[int], delimiter: str | None, between: str, lower: bool = False
) -> ReadLabels:
    """Labels of a tokenizer for CTC, which writes `between` for its delimiter.

    Raises:
        InputError: The lower case of a label depends on its place in a word.
    """
    if lower and any("Σ" in label for label in labels):
        raise InputError(
            "the lower case of label 'Σ' depends on its place in a word, which labels cannot show; "
            "set `do_lower_case` to false in tokenizer_config.json, and use a normaliser"
        )
    there = delimiter is not None and delimiter in labels
    spaced = between.isspace()
    found = list(labels)
    for i in range(len(labels)):
        if there and labels[i] == delimiter:
            found[i] = labels[i] if spaced else between
        elif lower and i not in unspoken:
            found[i] = labels[i].lower()
    if there and spaced:
        return ReadLabels(found, tuple(unspoken), delimiter)
    if not there and delimiter is not None and " " not in labels:
        # The vocabulary may have a delimiter that the tokenizer does not know.
        return ReadLabels(found, tuple(unspoken))
    space = " " if " " in labels else None
    return ReadLabels(found, tuple(unspoken), space, unspaced=space is None)


def _decoder_steps(tokenizer: Any) -> Iterator[Mapping[str, Any]]:
    """The steps in which a tokenizer of the tokenizers library decodes, as in its files."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend, "decoder") or backend.decoder is None:
        return
    # The whole tokenizer as JSON can have megabytes; a decoder alone is pickled as JSON.
    waiting = [json.loads(backend.decoder.__getstate__())]
    while waiting:
        step = waiting.pop(0)
        if step.get("type") == "Sequence":
            waiting = [*step.get("decoders", []), *waiting]
        else:
            yield step


def _replacement(step: Mapping[str, Any]) -> tuple[str, str]:
    """What a decoder replaces, and by what; spaces are the beginnings of words."""
    if step["type"] == "Metaspace":
        return str(step.get("replacement", WORD_START)), WORD_START
    pattern = step.get("pattern", {}).get("String")
    if not pattern:
        return WORD_START, WORD_START
    return str(pattern), str(step.get("content", "")).replace(" ", WORD_START)


def _byte_level_bytes() -> dict[str, int]:
    """The byte that each character of a byte-level BPE stands for (Radford et al. 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_LEVEL = _byte_level_bytes()


def _from_byte_level(label: str) -> str:
    """A label of a byte-level BPE in this project's way; what is no such label stays."""
    if not all(c in BYTE_LEVEL for c in label):
        return label
    text = bytes(BYTE_LEVEL[c] for c in label).decode("utf-8", "surrogateescape")
    spelled = (f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)
    return "".join(spelled).replace(" ", WORD_START)


def differs(
    tokenizer: Any,
    text: Callable[[Sequence[int]], str],
    special: Sequence[int],
    labels: Sequence[str],
) -> str | None:
    """Why these labels are not what the tokenizer decodes; None if both give the same texts.

    All labels that stand for text are decoded, in random order. Left out are bytes, which not
    every tokenizer makes characters from, and punctuation that a tokenizer moves.

    Args:
        tokenizer: transformers' tokenizer.
        text: The text of label ids, as it was read here.
        special: Columns that never stand for text.
        labels: (V,) label of each column.
    """
    tidies = any(step.get("cleanup") for step in _decoder_steps(tokenizer))
    unspoken = set(special)
    chosen = [
        i
        for i, label in enumerate(labels)
        if i not in unspoken and "<0x" not in label and not (tidies and TIDIED & set(label))
    ]
    # A word's beginning comes first: without it, some tokenizers show how they mark a continuation.
    order = np.random.default_rng(0).permutation(chosen).tolist()
    first = [i for i in order if labels[i].startswith(WORD_START)][:1]
    for start in range(0, len(order), CHECKED):
        ids = [*first, *(i for i in order[start : start + CHECKED] if i not in first)]
        try:
            theirs = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        # Tokenizers are programs of their own, and fail in their own ways.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            return f"its tokenizer, a {type(tokenizer).__name__}, cannot decode labels ({reason})"
        mine, own = (t.replace(WORD_START, " ").split() for t in (text(ids), theirs))
        if mine != own:
            k = next((k for k, (a, b) in enumerate(zip(mine, own, strict=False)) if a != b), -1)
            a, b = (" ".join(words[k : k + 2])[:40] for words in (mine, own))
            return (
                f"its tokenizer, a {type(tokenizer).__name__}, writes {b!r} where its labels spell "
                f"{a!r}; tokenizers of this kind are not supported: give the checkpoint a "
                "Wav2Vec2CTCTokenizer, or a tokenizer whose labels show where words begin"
            )
    return None
