"""What was said before: the context in which a model reads an utterance's hypotheses."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lm.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

# The names of LibriSpeech and Kaldi: speaker-chapter-number, recording_number.
CONVERSATION = r"(.+)[-_.]\d+"


@dataclass(frozen=True)
class Context:
    """What goes before every hypothesis; none of it is scored.

    Attributes:
        prompt: Text that comes first, such as a description of the domain.
        previous: Number of earlier utterances of the conversation that come before, each as the
            first pass's best hypothesis. The table's order is taken as the order of speaking.
        conversation: Regular expression for the whole name of an utterance; its first group is the
            name of the conversation. An utterance whose name does not match has no context.
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
                f"conversation {self.conversation!r} is no regular expression ({error}); correct it"
            ) from error
        if groups < 1:
            raise InputError(
                f"conversation {self.conversation!r} has no group: put the part of an utterance's "
                "name that is the conversation in parentheses"
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
