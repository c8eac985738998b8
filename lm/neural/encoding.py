"""Texts as the token ids that a causal model reads, with what was said before in front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lm.errors import InputError
from lm.neural.control_tokens import ControlTokens
from lm.scorer import ScorerOptions, TextError, Texts
from lm.text.loss import TextLoss, vocabulary_loss

OTHER_SPELLING = "Use a normaliser to the model's spelling, or another model"


@dataclass(frozen=True)
class Sequences:
    """Token ids of texts; a text that is read in windows has several.

    Attributes:
        ids: P arrays int32, from the start token to the last token that is scored.
        first: (P,) index of the first token that is scored, at least 1.
        text: (P,) index of the text.
    """

    ids: list[np.ndarray]
    first: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with what is needed to know which texts a model can read.

    Special tokens are added here and not by the tokenizer, because only some tokenizers add them.

    Attributes:
        name: Name of the model, for messages.
        tokenizer: transformers' tokenizer.
        context: Most tokens that the model can read at once, the start token included; None if
            there is no limit.
        vocabulary_size: V, number of token ids that the model knows.
    """

    name: str
    tokenizer: Any
    context: int | None
    vocabulary_size: int

    @cached_property
    def loss(self) -> TextLoss:
        """The letters of all texts so far, and those that are unknown to the tokenizer."""
        return vocabulary_loss(self.tokenizer, f"the tokenizer of {self.name}", OTHER_SPELLING)

    def encode(self, batch: Texts, options: ScorerOptions) -> Sequences:
        """Sequences of token ids: start, prompt, earlier texts with separators, the text, EOS.

        Earlier texts that do not fit into the model's context with the longest text of the list are
        left out for the whole list, oldest first; the prompt stays.

        Raises:
            TextError: A text with the prompt is longer than the model's context, or it has a
                character that the tokenizer would leave out.
            InputError: The tokenizer lacks the tokens needed, or does not belong to the model.
        """
        start, end = self._boundaries(options.eos)
        limits = [limit for limit in (self.context, options.max_tokens) if limit is not None]
        context = min(limits, default=None)
        earlier = {text for said in batch.contexts or () for text in said} | {*batch.prompt}
        separator = self._separator(options.separator) if earlier else []
        spelled = self._ids(batch, earlier)
        prompt = [start, *(token for text in batch.prompt for token in spelled[text] + separator)]
        lengths = np.array([len(spelled[text]) + options.eos for text in batch.texts], np.int64)
        ids, first, owner = [], [], []
        for index, longest in enumerate(batch.longest(lengths)):
            text = batch.texts[index]
            own = [*spelled[text], end] if options.eos else spelled[text]
            said = [spelled[t] + separator for t in batch.said(index)]
            if context is not None:
                said = fitting(said, context - len(prompt) - int(longest) + 1)
            before = [*prompt, *(token for ids_of in said for token in ids_of)]
            if context is not None and len(before) + len(own) - 1 > context:
                if options.too_long == "error":
                    raise TextError(
                        index,
                        text,
                        f"has {len(before) + len(own) - 1:,} tokens"
                        f"{' with the prompt' if batch.prompt else ''}, and {self.name} can read "
                        f"{context:,}; shorten it, score it with `too_long: window`, or use a "
                        "model of longer context",
                    )
                windows = _windows(len(before) + len(own), context)
            else:
                windows = [(0, len(before), len(before) + len(own))]
            whole = np.array([*before, *own], dtype=np.int32)
            for begin, scored, stop in windows:
                ids.append(whole[begin:stop])
                first.append(scored - begin)
                owner.append(index)
        self._check_known(ids)
        return Sequences(ids, np.array(first, dtype=np.int64), np.array(owner, dtype=np.int64))

    def _boundaries(self, eos: bool) -> tuple[int, int | None]:
        """The start token, BOS or else EOS, and EOS."""
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if end is None and (eos or start is None):
            wanted = "no EOS token to score: do without it" if eos else "neither BOS nor EOS token"
            raise InputError(f"{self.name}: its tokenizer has {wanted}, or name one in its folder")
        return (end if start is None else start), end

    def _separator(self, separator: str) -> list[int]:
        """Ids of the separator of earlier texts and the text."""
        if separator == "eos":
            if self.tokenizer.eos_token_id is None:
                raise InputError(
                    f"{self.name}: its tokenizer has no EOS token; use another separator"
                )
            return [self.tokenizer.eos_token_id]
        return list(self._tokenize([separator])[0])

    @cached_property
    def controls(self) -> ControlTokens:
        """The tokenizer's control tokens."""
        return ControlTokens.of(self.tokenizer)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        return self.controls.encode(texts)

    def _ids(self, batch: Texts, earlier: set[str]) -> dict[str, list[int]]:
        """Ids by text; characters that look like a special token are taken as characters."""
        different = list(dict.fromkeys([*batch.texts, *sorted(earlier)]))
        found = dict(zip(different, self._tokenize(different), strict=True))
        self._check_spelled(batch, different)
        for text in different:
            self.loss.add(text)
        self.loss.check("texts")
        special = set(self.tokenizer.all_special_ids) - {self.tokenizer.unk_token_id}
        unknown = self.tokenizer.unk_token_id
        for text, ids in found.items():
            if special.isdisjoint(ids):
                continue
            if unknown is None:
                index = next(
                    i for i, t in enumerate(batch.texts) if t == text or text in batch.context(i)
                )
                raise TextError(
                    index,
                    text,
                    f"spells a special token of {self.name}, whose tokenizer has no unknown token "
                    "to take its place; remove it from the text",
                )
            # A unigram tokenizer has "</s>" among its pieces.
            found[text] = [unknown if token in special else token for token in ids]
        return found

    def _check_spelled(self, batch: Texts, texts: list[str]) -> None:
        """Makes sure that no letter or digit vanishes, which would make its text more probable."""
        letters = sorted(filter(str.isalnum, set().union(*texts)))
        spelled = self._tokenize(letters)
        gone = {
            letter
            for letter, ids in zip(letters, spelled, strict=True)
            if not self.tokenizer.decode(ids).strip()
        }
        for index in range(len(batch) if gone else 0):
            for text in (batch.texts[index], *batch.context(index)):
                if lost := sorted(gone.intersection(text)):
                    raise TextError(
                        index,
                        text,
                        f"has {lost[0]!r}, which the tokenizer of {self.name} leaves out; use a "
                        "normaliser to the model's spelling, or another model",
                    )

    def _check_known(self, ids: list[np.ndarray]) -> None:
        highest = max((int(sequence.max()) for sequence in ids), default=0)
        if highest >= self.vocabulary_size:
            raise InputError(
                f"{self.name}: its tokenizer gives token {highest}, and the model knows "
                f"{self.vocabulary_size}: they do not belong together"
            )


def fitting(said: list[list[int]], room: int) -> list[list[int]]:
    """The earlier texts without the oldest, so that they fit into `room` tokens."""
    while said and sum(map(len, said)) > room:
        said = said[1:]
    return said


def _windows(length: int, context: int) -> list[tuple[int, int, int]]:
    """Windows over a sequence that is too long: where each begins, is scored from, and ends.

    Every token has at least half a window before it, except those of the first window.

    Args:
        length: Number of tokens of the sequence, the start token included.
        context: Number of tokens that a model reads; it predicts one more.
    """
    windows = [(0, 1, min(length, context + 1))]
    step = max(1, context // 2)
    while windows[-1][2] < length:
        stop = min(length, windows[-1][2] + step)
        windows.append((stop - context - 1, windows[-1][2], stop))
    return windows
