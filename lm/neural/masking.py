"""Texts with one token masked at a time, as the input of a masked language model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lm.errors import InputError
from lm.neural.control_tokens import ControlTokens
from lm.neural.encoding import OTHER_SPELLING, fitting
from lm.scorer import TextError, Texts
from lm.text.loss import TextLoss, vocabulary_loss


@dataclass(frozen=True)
class Masked:
    """Texts with masks: each text once for every token; equal ones are kept once.

    Attributes:
        ids: M arrays int64 of token ids with masks among them.
        place: (M,) index of the token that is predicted.
        row: (P,) which of the M each of the P predictions uses.
        target: (P,) token ids.
        text: (P,) index of the text.
    """

    ids: list[np.ndarray]
    place: np.ndarray
    row: np.ndarray
    target: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Masking:
    """A tokenizer with what is needed to know which texts a masked model can read.

    Attributes:
        name: name of the model, for messages.
        tokenizer: transformers' tokenizer.
        context: most tokens that the model can read at once, with those around the text; None if
            there is no limit.
        around: token ids that the tokenizer puts before and after a text.
        vocabulary_size: V, number of token ids that the model knows.
    """

    name: str
    tokenizer: Any
    context: int | None
    around: tuple[list[int], list[int]]
    vocabulary_size: int

    @cached_property
    def loss(self) -> TextLoss:
        """The letters of all texts so far, and those that are unknown to the tokenizer."""
        return vocabulary_loss(self.tokenizer, f"the tokenizer of {self.name}", OTHER_SPELLING)

    def mask(self, batch: Texts, within_word: bool) -> Masked:
        """All texts with each of their tokens masked in turn.

        Args:
            batch: N texts, with or without what was said before.
            within_word: Whether the pieces of a word that follow the masked one are masked too.

        Raises:
            TextError: A text is longer than the model's context.
            InputError: The tokenizer does not belong to the model.
        """
        mask = self.tokenizer.mask_token_id
        said = {text for before in batch.contexts or () for text in before}
        spelled = self._spelled({*batch.texts, *said, *batch.prompt})
        longest = batch.longest(np.array([len(spelled[t][0]) for t in batch.texts], np.int64))
        number: dict[tuple[bytes, int], int] = {}
        found: list[np.ndarray] = []
        places, rows, targets, texts = [], [], [], []
        for index, text in enumerate(batch.texts):
            ids, words = spelled[text]
            before = self._before(batch, index, int(longest[index]), spelled)
            whole = np.array([*before, *ids, *self.around[1]], dtype=np.int64)
            for i, token in enumerate(ids):
                stop = i + 1
                while within_word and stop < len(ids) and words[stop] == words[i] is not None:
                    stop += 1
                one = whole.copy()
                one[len(before) + i : len(before) + stop] = mask
                key = (one.tobytes(), len(before) + i)
                if key not in number:
                    number[key] = len(found)
                    found.append(one)
                    places.append(len(before) + i)
                rows.append(number[key])
                targets.append(token)
                texts.append(index)
        arrays = (np.array(values, dtype=np.int64) for values in (places, rows, targets, texts))
        return Masked(found, *arrays)

    @cached_property
    def controls(self) -> ControlTokens:
        """The tokenizer's control tokens."""
        return ControlTokens.of(self.tokenizer)

    def _spelled(self, texts: set[str]) -> dict[str, tuple[list[int], list[int | None]]]:
        """Token ids and the word that each belongs to, by text."""
        if not texts:
            return {}
        different = sorted(texts)
        encoded = self.tokenizer(
            different, add_special_tokens=False, split_special_tokens=True, verbose=False
        )
        size = self.vocabulary_size
        found = {}
        for number, text in enumerate(different):
            ids = encoded["input_ids"][number]
            if max(ids, default=0) >= size:
                raise InputError(
                    f"{self.name}: its tokenizer gives token {max(ids)}, and the model knows "
                    f"{size}: they do not belong together"
                )
            if not self.controls.unmarked.isdisjoint(ids):
                raise InputError(
                    f"the text {text[:60]!r} spells "
                    f"{', '.join(self.controls.spelled_in(text))}, which the tokenizer of "
                    f"{self.name} takes for a control token; remove it from the text"
                )
            found[text] = (ids, encoded.word_ids(number))
            self.loss.add(text)
        self.loss.check("texts")
        return found

    def _before(
        self,
        batch: Texts,
        index: int,
        longest: int,
        spelled: dict[str, tuple[list[int], list[int | None]]],
    ) -> list[int]:
        """Token ids before a text: the start, the prompt, and the earlier texts that fit.

        They must fit together with the longest text of the list.
        """
        start, end = self.around
        before = [*start, *(token for text in batch.prompt for token in spelled[text][0])]
        said = [spelled[text][0] for text in batch.said(index)]
        if self.context is not None:
            own = len(before) + len(spelled[batch.texts[index]][0]) + len(end)
            if own > self.context:
                raise TextError(
                    index,
                    batch.texts[index],
                    f"has {own:,} tokens{' with the prompt' if batch.prompt else ''}, and "
                    f"{self.name} can read {self.context:,}; shorten it, or use a model of "
                    "longer context",
                )
            said = fitting(said, self.context - len(before) - len(end) - longest)
        return [*before, *(token for ids in said for token in ids)]


def tokens_around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The token ids that a tokenizer puts before and after a text."""
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start], whole[start + len(plain) :]
    return [], []
