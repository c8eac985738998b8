"""Control tokens, such as `<think>` or `<|im_start|>`, and texts that happen to spell them.

A hypothesis is what somebody may have said. If it spells a control token, its characters are read,
and nothing is controlled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from lm.errors import InputError

# How control tokens are written. Added tokens that are written otherwise are words or spaces.
BRACKETED = re.compile(r"\s*(<.+>|\[.+\])\s*", re.DOTALL)


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of a tokenizer.

    Attributes:
        tokenizer: transformers' tokenizer.
        names: How they are written, by id: all special tokens, and others in brackets.
        unmarked: Ids of those that the tokenizer does not call special.
    """

    tokenizer: Any
    names: dict[int, str]
    unmarked: frozenset[int]

    @classmethod
    def of(cls, tokenizer: Any) -> ControlTokens:
        """Finds them among the tokens that were added to the tokenizer's vocabulary."""
        added = {int(i): token for i, token in tokenizer.added_tokens_decoder.items()}
        unmarked = {
            i for i, t in added.items() if not t.special and BRACKETED.fullmatch(t.content)
        } - {int(i) for i in tokenizer.all_special_ids}
        special = {i for i, token in added.items() if token.special and token.content.strip()}
        names = {i: added[i].content for i in sorted(special | unmarked)}
        return cls(tokenizer, names, frozenset(unmarked))

    def spelled_in(self, text: str) -> list[str]:
        """The control tokens that a text spells."""
        return [name for name in self.names.values() if name in text]

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of texts, whose characters are never control tokens.

        A unigram tokenizer may still have special tokens among its pieces.

        Raises:
            InputError: The tokenizer has no way to read a text as characters.
        """
        found = self.encode_as_written(texts)
        for index, ids in enumerate(found):
            if not self.unmarked.isdisjoint(ids):
                found[index] = self.characters(texts[index])
        return found

    def encode_as_written(self, texts: list[str]) -> list[list[int]]:
        """Token ids of texts that may contain control tokens other than special ones."""
        if not texts:
            return []
        encoded: list[list[int]] = self.tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            padding=False,
            truncation=False,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return encoded

    def characters(self, text: str) -> list[int]:
        """Token ids of a text by the steps of the tokenizer that come after the added tokens.

        Raises:
            InputError: The tokenizer has no such steps, or still gives a control token.
        """
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        ids: list[int] = []
        if isinstance(backend, Tokenizer):
            normal = backend.normalizer.normalize_str(text) if backend.normalizer else text
            parts = [normal]
            if backend.pre_tokenizer is not None:
                parts = [part for part, _ in backend.pre_tokenizer.pre_tokenize_str(normal)]
            ids = [token.id for part in parts for token in backend.model.tokenize(part)]
        if (not ids and text) or not self.unmarked.isdisjoint(ids):
            raise InputError(
                f"the text {text[:60]!r} spells {', '.join(self.spelled_in(text))}, which the "
                "tokenizer takes for a control token; remove it from the text"
            )
        return ids
