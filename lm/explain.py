"""Why a text has the score that it has: the log-probs of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lm.neural.batching import batches
from lm.neural.causal import CausalScorer
from lm.ngram.scorer import NgramScorer
from lm.scorer import Scorer, Texts

END = "</s>"


@dataclass(frozen=True)
class Pieces:
    """The tokens of one text.

    Attributes:
        pieces: Text of each token, with the space before it where there is one; the end of the
            sentence is `</s>`.
        logprob: float64, natural log-prob of each token; their sum is the text's score.
    """

    pieces: tuple[str, ...]
    logprob: np.ndarray


def explain(scorer: Scorer, batch: Texts | Sequence[str]) -> list[Pieces] | None:
    """Tokens of N texts with their log-probs.

    Args:
        scorer: A causal or n-gram model. For all other models the result is None, because their
            scores are not sums over tokens from left to right.
        batch: The texts, with or without what was said before.

    Raises:
        TextError: A text cannot be scored.
    """
    batch = Texts.of(batch)
    if isinstance(scorer, NgramScorer):
        return _ngram_pieces(scorer, batch)
    if isinstance(scorer, CausalScorer):
        return _causal_pieces(scorer, batch)
    return None


def _ngram_pieces(scorer: NgramScorer, batch: Texts) -> list[Pieces]:
    logprobs, first = scorer.model.word_logprobs(batch.texts, scorer.eos)
    found = []
    for text, (low, high) in zip(batch.texts, pairwise(first.tolist()), strict=True):
        words = [f" {word}" if place else word for place, word in enumerate(text.split())]
        found.append(Pieces((*words, *([END] if scorer.eos else [])), logprobs[low:high]))
    return found


def _causal_pieces(scorer: CausalScorer, batch: Texts) -> list[Pieces]:
    lm, options = scorer.model, scorer.options
    sequences = lm.encoder.encode(batch, options)
    lengths = np.array([len(ids) - 1 for ids in sequences.ids], dtype=np.int64)
    scored: list[np.ndarray] = [np.empty(0)] * len(lengths)
    todo = np.flatnonzero(lengths >= sequences.first).tolist()
    for part in batches(todo, lengths[todo], options.batch_tokens):
        ids = [sequences.ids[i] for i in part]
        found = lm.reader.padded_tokens(ids, sequences.first[list(part)].tolist())
        for index, logprob in zip(part, found, strict=True):
            scored[index] = logprob
    tokens: list[list[int]] = [[] for _ in batch.texts]
    values: list[list[np.ndarray]] = [[] for _ in batch.texts]
    for index, text in enumerate(sequences.text.tolist()):
        tokens[text] += sequences.ids[index][sequences.first[index] :].tolist()
        values[text].append(scored[index])
    return [
        Pieces(_spelled(lm.tokenizer, ids, options.eos), np.concatenate([np.empty(0), *logprob]))
        for ids, logprob in zip(tokens, values, strict=True)
    ]


def _spelled(tokenizer: object, ids: list[int], eos: bool) -> tuple[str, ...]:
    """What each token adds to the text that is read so far.

    A character that is made of several tokens is counted to the last of them.
    """
    own = ids[:-1] if eos else ids
    decode = tokenizer.decode  # type: ignore[attr-defined]
    pieces, before = [], ""
    for count in range(1, len(own) + 1):
        now = decode(own[:count], clean_up_tokenization_spaces=False)
        whole = now.rstrip("\ufffd")  # an unfinished character
        pieces.append(
            whole[len(before) :] if whole.startswith(before) else decode([own[count - 1]])
        )
        before = whole if whole.startswith(before) else before
    return (*pieces, *([END] if eos else []))
