"""What was said before: the context in which a model reads an utterance's hypotheses."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# LibriSpeech's and Kaldi's way: speaker-chapter-number, recording_number.
CONVERSATION = r"(.+)[-_.]\d+"


@dataclass(frozen=True)
class Context:
    """What goes before every hypothesis; none of it is scored.

    Attributes:
        prompt: A text that goes first, such as a description of the domain.
        previous: How many of the conversation's earlier utterances go before, each as the first
            pass's best hypothesis. Utterances count as spoken in the order of the table.
        conversation: Regular expression whose first group, matched against the whole of an
            utterance's name, tells its conversation; names that do not match are alone.
    """

    prompt: str | None = None
    previous: int = 0
    conversation: str = CONVERSATION

    def __post_init__(self) -> None:
        if self.previous < 0:
            raise InputError(f"context of {self.previous} previous utterances: use at least 0")
        try:
            groups = re.compile(self.conversation).groups
        except re.error as error:
            raise InputError(
                f"conversation {self.conversation!r} is no regular expression: {error}"
            ) from error
        if groups < 1:
            raise InputError(
                f"conversation {self.conversation!r} has no group: put the part of an utterance's "
                "name that tells the conversation in parentheses"
            )


def contexts(table: pd.DataFrame, context: Context) -> dict[str, tuple[str, ...]]:
    """What was said before each utterance, oldest first, without the prompt.

    Args:
        table: N-best table with the columns `utt`, `rank` and `text`.
        context: What goes before.
    """
    best = table.loc[table.groupby("utt", sort=False)["rank"].idxmin(), ["utt", "text"]]
    pattern = re.compile(context.conversation)
    said: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=context.previous))
    found: dict[str, tuple[str, ...]] = {}
    for utt, text in best.itertuples(index=False):
        match = pattern.fullmatch(utt)
        if match is None:
            found[utt] = ()
            continue
        before = said[match[1]]
        found[utt] = tuple(before)
        if text.strip():
            before.append(text)
    return found
