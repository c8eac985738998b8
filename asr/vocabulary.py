"""What the columns of CTC log-probs stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lm.errors import InputError

WORD_START = "▁"  # what SentencePiece puts before a word's first piece
DELIMITERS = ("|", " ")


@dataclass(frozen=True)
class Vocabulary:
    """Labels of a CTC model.

    Attributes:
        labels: (V,) label of each column.
        blank: Column of the CTC blank.
        word_delimiter: Label between words, `|` or a space, of character vocabularies; None for
            pieces, which carry `▁` where a word starts.
        special: Columns that never stand for text: blank, padding, sentence marks, unknown.
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
            raise InputError(f"labels occur twice in the vocabulary: {', '.join(twice)}")

    @property
    def kind(self) -> str:
        """`characters` (with a word delimiter) or `pieces`."""
        return "pieces" if self.word_delimiter is None else "characters"

    def text(self, ids: Iterable[int]) -> str:
        """The text of label ids after CTC's collapse; special ones are left out."""
        labels = [self.labels[i] for i in ids if i not in self.special]
        joined = "".join(labels).replace(self.word_delimiter or WORD_START, " ")
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
            f"pieces that start with {WORD_START!r}; words cannot be told apart"
        )

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, size: int, blank: int) -> Vocabulary:
        """The vocabulary of a transformers tokenizer.

        Args:
            tokenizer: The checkpoint's tokenizer.
            size: Columns V of the model's output.
            blank: Column of the blank.

        Raises:
            InputError: The tokenizer has more or fewer labels than the model has columns, or the
                blank is none of these.
        """
        if not 0 <= blank < size:
            raise InputError(f"blank is column {blank}, but the model has {size} outputs")
        ids = {int(i) for i in tokenizer.get_vocab().values()}
        # Tokenizers of many published checkpoints add sentence marks that the model never had.
        unused = {i for i in tokenizer.all_special_ids if i >= size}
        if (ids - unused) | {blank} != set(range(size)):
            raise InputError(
                f"the model has {size} outputs, its tokenizer {len(ids)} labels; the two do not "
                "belong together"
            )
        # The blank alone may be unknown to the tokenizer.
        labels = [str(tokenizer.convert_ids_to_tokens(i) or "") for i in range(size)]
        special = {i for i in tokenizer.all_special_ids if 0 <= i < size}
        delimiter = getattr(tokenizer, "word_delimiter_token", None)
        special -= {i for i, label in enumerate(labels) if label == delimiter}
        return cls.from_labels(labels, blank, special)
