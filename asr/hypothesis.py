"""One hypothesis of an utterance, as decoders and readers of other systems' lists give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One hypothesis of an utterance.

    Attributes:
        text: Words separated by single spaces.
        acoustic: Acoustic log-prob, natural log.
        ngram: n-gram log-prob, natural log; 0 where there was no n-gram model.
        oov: Number of words that the n-gram model does not know.
        more: Values of further columns by name; None where there are none.
        times: First frame of each word, and the frame after its last one; None where not known.
    """

    text: str
    acoustic: float
    ngram: float = 0.0
    oov: int = 0
    more: Mapping[str, float] | None = None
    times: tuple[Sequence[int], Sequence[int]] | None = None
