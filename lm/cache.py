"""The cache of scores: what a model has scored once, it need not score again.

A file holds log-probs by scope (a string that names the model and everything that changes a score)
and by a digest of the text and of what was said before it. Transcripts are private, so the file
does not hold the texts; but somebody who guesses a text can find out whether it was scored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from lm.cache_file import ScoreCache
from lm.scorer import Progress, Scorer, Scores, TextError, Texts, parts

KEY_BYTES = 16
# Few texts at a time make batches that are not full; many are lost when a run is interrupted.
TEXTS_AT_ONCE = 2048


@dataclass(frozen=True)
class CachedScorer:
    """A scorer that scores only what it has not scored before, in this or another process.

    Attributes:
        load: Function that loads the model; it is called once, when a text must be scored.
        scope: A name of the model and of everything that changes a score.
        cache: Where scores are kept.
        by_list: Whether a score depends on the other texts of its list.
        texts_at_once: Texts that are scored and then kept together, an N-best list always as a
            whole: what an interrupted run loses at most. It is a number of texts and not a time,
            because rounding depends on which texts are in a batch, and two runs should agree.
    """

    load: Callable[[], Scorer]
    scope: str
    cache: ScoreCache
    by_list: bool = False
    texts_at_once: int = TEXTS_AT_ONCE

    @cached_property
    def scorer(self) -> Scorer:
        """The loaded model."""
        return self.load()

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts; new scores are stored part by part.

        Raises:
            TextError: A text cannot be scored.
        """
        batch = Texts.of(batch)
        # How much of the context fits depends on the longest text of the list.
        by_list = self.by_list or (batch.contexts is not None and batch.lists is not None)
        keys = text_keys(batch, by_list)
        scores = self.cache.find(self.scope, keys)
        missing = np.isnan(scores.logprob)
        lists = np.arange(len(batch)) if batch.lists is None else batch.lists
        if by_list:
            missing = np.isin(lists, lists[missing])
        todo = np.flatnonzero(missing)
        if not by_list:
            # Equal texts of different lists are scored once.
            first: dict[bytes, int] = {}
            for i in todo:
                first.setdefault(keys[i], i)
            todo = np.array(list(first.values()), dtype=np.int64)
        tell = progress or (lambda count: None)
        if len(missing) - len(todo):
            tell(len(missing) - len(todo))
        place: dict[bytes, int] = {}
        for rows in parts(lists[todo], self.texts_at_once):
            chosen = todo[rows]
            found = self._scored(batch, chosen, progress)
            scores.logprob[chosen], scores.tokens[chosen] = found.logprob, found.tokens
            self.cache.add(self.scope, [keys[i] for i in chosen], found)
            place.update((keys[i], i) for i in chosen)
        equal = [place[keys[i]] for i in np.flatnonzero(missing)]
        scores.logprob[missing], scores.tokens[missing] = (
            scores.logprob[equal],
            scores.tokens[equal],
        )
        return scores

    def _scored(self, batch: Texts, chosen: np.ndarray, progress: Progress | None) -> Scores:
        """Scores of some of the texts by the model."""
        try:
            return self.scorer.score(batch.chosen(chosen), progress)
        except TextError as error:
            raise error.moved(chosen) from None


def text_keys(batch: Texts, by_list: bool = False) -> list[bytes]:
    """Digests of N texts, each with what was said before it.

    Args:
        batch: The texts.
        by_list: Whether a score depends on the other texts of the list and their order.
    """
    before: dict[tuple[str, ...], bytes] = {}
    keys = []
    for i, text in enumerate(batch.texts):
        context = batch.context(i)
        if context not in before:
            before[context] = _digest(json.dumps(context).encode())
        keys.append(_digest(before[context] + text.encode("utf-8", "surrogatepass")))
    if not by_list:
        return keys
    lists = np.arange(len(batch)) if batch.lists is None else batch.lists
    ends = [*(np.flatnonzero(np.diff(lists)) + 1).tolist(), len(keys)]
    start, whole = 0, []
    for end in ends:
        of_list = _digest(b"".join(keys[start:end]))
        whole += [_digest(of_list + key) for key in keys[start:end]]
        start = end
    return whole


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=KEY_BYTES).digest()
