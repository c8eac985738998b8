"""One hypothesis of an utterance, as decoders and readers of other systems' lists give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One hypothesis of an utterance.

    Attributes:
        text: Words separated by single spaces.
        acoustic: Natural log.
        ngram: Natural log; 0 where no n-gram model took part.
        oov: Words that the n-gram model does not know.
        more: Further columns by name, where the decoder has some.
        times: First frame of each word, and the frame after its last; None where not known.
    """

    text: str
    acoustic: float
    ngram: float = 0.0
    oov: int = 0
    more: Mapping[str, float] | None = None
    times: tuple[Sequence[int], Sequence[int]] | None = None
