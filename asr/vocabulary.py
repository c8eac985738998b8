"""The labels that the columns of CTC log-probs stand for."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from asr.loading.tokenizer_labels import WORD_START, differs, read_labels
from lm.errors import InputError
from lm.text.prose import APOSTROPHES

LOG = logging.getLogger("secondpass")

DELIMITERS = ("|", " ")
# A label that stands for one byte of a character's UTF-8, as SentencePiece writes it.
BYTE = re.compile("<0x([0-9A-Fa-f]{2})>")

# Share of a language model's words that must be possible to spell; with fewer, the model was made
# for other labels. The limit is above 0, because other labels can spell a few words as well: an
# apostrophe on its own, or the `I` of text in mixed case.
LEAST_SPELLED = 0.1


@dataclass(frozen=True)
class Vocabulary:
    """Labels of a CTC model.

    Attributes:
        labels: (V,) label of each column. `<0xC3>` stands for a byte; bytes that follow each
            other make characters.
        blank: Column of the CTC blank.
        word_delimiter: Label between words of a vocabulary of characters, such as `|` or a space;
            None for pieces, which have `▁` where a word starts.
        special: Columns that never stand for text: blank, padding, sentence marks, unknown words.
    """

    labels: tuple[str, ...]
    blank: int
    word_delimiter: str | None
    special: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.blank < len(self.labels):
            raise InputError(
                f"blank is column {self.blank}, but there are {len(self.labels)} labels"
            )
        texts = [label for i, label in enumerate(self.labels) if i not in self.special]
        twice = sorted({label for label in texts if texts.count(label) > 1})
        if twice:
            raise InputError(
                f"some labels occur twice in the vocabulary: {', '.join(twice)}; make them unique"
            )

    @property
    def kind(self) -> str:
        """`characters` (with a word delimiter) or `pieces`."""
        return "pieces" if self.word_delimiter is None else "characters"

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """(V,) what each label writes: a space for a word boundary, a byte as its lone surrogate.

        The surrogates are those of Python's error handler `surrogateescape` (PEP 383).
        """
        if self.word_delimiter is not None:
            spaced = [" " if x == self.word_delimiter else x for x in self.labels]
        else:
            spaced = [label.replace(WORD_START, " ") for label in self.labels]
        return tuple(BYTE.sub(_one_byte, label) for label in spaced)

    @cached_property
    def has_bytes(self) -> bool:
        """Whether some label stands for a byte."""
        return any(BYTE.search(x) for i, x in enumerate(self.labels) if i not in self.special)

    def text(self, ids: Iterable[int]) -> str:
        """The text of label ids after CTC's collapse; special labels are left out.

        Bytes that make no character become U+FFFD.
        """
        joined = "".join(self.spelled[i] for i in ids if i not in self.special)
        if self.has_bytes:
            joined = to_bytes(joined).decode(errors="replace")
        return " ".join(joined.split())

    @classmethod
    def from_labels(
        cls, labels: Sequence[str], blank: int, special: Iterable[int] = ()
    ) -> Vocabulary:
        """A vocabulary whose word delimiter is found in the labels.

        Raises:
            InputError: There is neither a delimiter nor a piece that starts a word.
        """
        unspoken = tuple(sorted({blank, *special}))
        texts = [label for i, label in enumerate(labels) if i not in unspoken]
        if any(label.startswith(WORD_START) for label in texts):
            return cls(tuple(labels), blank, None, unspoken)
        for delimiter in DELIMITERS:
            if delimiter in texts:
                return cls(tuple(labels), blank, delimiter, unspoken)
        raise InputError(
            f"the vocabulary has no word delimiter ({' or '.join(map(repr, DELIMITERS))}) and no "
            f"pieces that start with {WORD_START!r}; it is not clear where words begin"
        )

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, size: int, blank: int) -> Vocabulary:
        """The vocabulary of a transformers tokenizer, which decodes as the tokenizer does.

        Args:
            tokenizer: The checkpoint's tokenizer.
            size: Columns V of the model's output.
            blank: Column of the blank.

        Raises:
            InputError: The tokenizer has more or fewer labels than the model has columns, the
                blank is not one of these, or the tokenizer decodes in a way of its own.
        """
        if not 0 <= blank < size:
            raise InputError(f"blank is column {blank}, but the model has {size} outputs")
        ids = {int(i) for i in tokenizer.get_vocab().values()}
        # Tokenizers of many published checkpoints add sentence marks that the model does not have.
        unused = {i for i in tokenizer.all_special_ids if i >= size}
        if (ids - unused) | {blank} != set(range(size)):
            raise InputError(
                f"the model has {size} outputs, its tokenizer {len(ids)} labels; the two do not "
                "belong together"
            )
        read = read_labels(tokenizer, size, blank)
        special = (*read.special, blank)
        if read.delimiter is not None or read.unspaced:
            unspoken = tuple(sorted(set(special)))
            found = cls(tuple(read.labels), blank, read.delimiter, unspoken)
        else:
            found = cls.from_labels(read.labels, blank, special)
        if difference := differs(tokenizer, found.text, found.special, found.labels):
            raise InputError(difference)
        return found


def to_bytes(spelled: str) -> bytes:
    """The UTF-8 of what labels write, see `Vocabulary.spelled`."""
    return spelled.encode("utf-8", "surrogateescape")


def _one_byte(match: re.Match[str]) -> str:
    return bytes([int(match[1], 16)]).decode("utf-8", "surrogateescape")


def _is_text(spelled: str) -> bool:
    return spelled.isascii() or not any("\udc80" <= c <= "\udcff" for c in spelled)


def spellings(vocabulary: Vocabulary) -> tuple[list[str], list[bool], list[bool]]:
    """Each label's text, whether a word ends before it, and whether it stands for text.

    A text may have lone bytes, see `Vocabulary.spelled`.

    Raises:
        InputError: A label writes nothing, or has a word boundary that is not at its beginning.
    """
    texts, boundary, followed = [], [], []
    for i, (label, text) in enumerate(zip(vocabulary.labels, vocabulary.spelled, strict=True)):
        used = i not in vocabulary.special
        words = text.split()
        if used and not text:
            raise InputError(
                f"label {i} of the vocabulary is empty, and only greedy decoding can use it; "
                "declare it as special, or use the greedy decoder"
            )
        if used and (len(words) > 1 or (words and text[-1].isspace())):
            raise InputError(
                f"label {label!r} (column {i}) has a word boundary within; the beam decoder needs "
                "word boundaries at the beginning of labels"
            )
        texts.append(words[0] if used and words else "")
        boundary.append(used and text[:1].isspace())
        followed.append(used)
    return texts, boundary, followed


def letters_of(texts: Sequence[str], words: Iterable[str]) -> set[str]:
    """The letters that labels spell, and those of `words` that their bytes make.

    Args:
        texts: What the labels write, see `Vocabulary.spelled`.
        words: Texts whose letters are of interest.
    """
    letters = set("".join(texts))
    if all(map(_is_text, letters)):
        return letters
    wanted = set().union(*words) - letters
    return letters | {c for c in wanted if {chr(0xDC00 + byte) for byte in c.encode()} <= letters}


def check_spelling(words: Sequence[str], letters: set[str], lm: str) -> None:
    """Checks that a language model's words can be spelled with a vocabulary.

    The search never finds the others: a warning says how many they are, and names some.

    Raises:
        InputError: Less than a tenth of them can.
    """
    strange = [word for word in words if not set(word) <= letters]
    spelled = len(words) - len(strange)
    if spelled >= LEAST_SPELLED * len(words):
        if strange:
            LOG.warning(
                f"{lm}: {len(strange):,} of {len(words):,} words cannot be spelled with the "
                f"acoustic model's labels, such as {', '.join(strange[:3])}; the search never "
                f"finds them{_spelling_hint(strange, letters)}"
            )
        return
    cased = "".join(filter(str.isalpha, letters))
    case = "upper case" if cased.isupper() else "lower case" if cased.islower() else "mixed case"
    remedy = {
        "upper case": "estimate it from text with --normaliser librispeech",
        "lower case": "estimate it from text with --normaliser lower",
        "mixed case": "estimate it from text that is written with these labels",
    }[case]
    raise InputError(
        f"{lm}: {spelled} of its {len(words)} words ({', '.join(words[:3])}, …) can be spelled "
        f"with the acoustic model's labels, which are {case} ({' '.join(sorted(cased)[:8])} …); "
        f"{remedy}"
    )


def _spelling_hint(words: Sequence[str], letters: set[str]) -> str:
    """What would make some words possible to spell, as far as their characters tell."""
    for reading, what in (
        (lambda word: word.translate(APOSTROPHES), "have another apostrophe than the labels"),
        (lambda word: unicodedata.normalize("NFC", word), "have accents as separate characters"),
        (str.upper, "are in lower case"),
        (str.lower, "are in upper case"),
    ):
        if count := sum(set(reading(word)) <= letters for word in words):
            return (
                f". {count:,} of them {what}: estimate the model again from text in the labels' "
                "spelling (`secondpass ngram --normaliser`)"
            )
    return ""
