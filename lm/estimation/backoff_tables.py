"""Back-off models as tables that can be computed with: joined, pruned, normalised, queried.

The n-grams of one or several models share one set of tables. With every n-gram, the tables have its
context (all words but the last) and its suffix (all words but the first), and the rows of both, so
that backing off means to read another row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lm.estimation.counts import Packing
from lm.estimation.radix import sort_rows
from lm.ngram.arpa import BOS, EOS, Arpa, Section
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.store import is_store, open_store, words_of

LOWEST = 1e-99  # zero in an ARPA file: log10 is -99
LEAST_LEFT = 1e-8  # less cannot be distinguished from 0 with the seven digits of an ARPA file


@dataclass(frozen=True)
class Level:
    """The k-grams of one order, sorted by their words' numbers, the first word first.

    Attributes:
        word: (N,) int32, the last word.
        context: (N,) int64, row of the first k-1 words in the level below; 0 for unigrams.
        suffix: (N,) int64, row of the last k-1 words in the level below; 0 for unigrams.
    """

    word: np.ndarray
    context: np.ndarray
    suffix: np.ndarray

    def __len__(self) -> int:
        return len(self.word)


@dataclass(frozen=True)
class Values:
    """One model's numbers for the k-grams of one level.

    Attributes:
        probability: (N,) of the last word given the others, backed off if the model does not
            have the k-gram; 0 for `<s>`, which is never predicted, and for unknown words.
        weight: (N,) back-off weight; 1 if the k-gram is not a context of the model.
        known: (N,) whether the model has the k-gram.
    """

    probability: np.ndarray
    weight: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class Tables:
    """The n-grams of all given models.

    Attributes:
        vocabulary: words in the order of their first occurrence in the models.
        levels: one level per order, unigrams first: unigram w is row w.
    """

    vocabulary: list[str]
    levels: list[Level]

    def rows(self, words: np.ndarray) -> np.ndarray:
        """(N,) rows of (N, k) word numbers; -1 for n-grams that are not in the tables."""
        rows = words[:, 0].astype(np.int64)
        for k in range(1, words.shape[1]):
            rows = self.extended(k, rows, words[:, k])
        return rows

    def extended(self, order: int, rows: np.ndarray, words: np.ndarray) -> np.ndarray:
        """(N,) rows in the next level of k-grams with one more word; -1 if there is none.

        Args:
            order: k of the k-grams.
            rows: (N,) rows of the k-grams; -1 gives -1.
            words: (N,) the words; -1 is in no n-gram.
        """
        if order >= len(self.levels):
            return np.full(len(rows), -1)
        level, types = self.levels[order], len(self.vocabulary)
        keys = level.context * types + level.word
        if not len(keys):
            return np.full(len(rows), -1)
        wanted = rows * types + words
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((keys[found] == wanted) & (rows >= 0) & (words >= 0), found, -1)


def read_model(path: str | Path) -> Arpa:
    """Reads a whole model, ARPA or our own format.

    Raises:
        InputError: The file is missing or damaged.
    """
    if not Path(path).is_file() or not is_store(path):
        return read_arpa(path)
    stored = open_store(path)
    vocabulary, lm = words_of(stored.text), stored.arrays
    leaves = len(lm.inner) - 1  # the node where they begin; unigrams are no leaves
    sections: list[Section] = []
    start, stop = 0, len(vocabulary)
    words = np.zeros((stop, 0), np.int32)
    for k in range(stored.order):
        if k:
            firsts = lm.inner["first"][start : stop + 1]
            words = np.repeat(words, np.diff(firsts), axis=0)
            start, stop = stop, int(firsts[-1])
        if start < leaves or not k:
            nodes = lm.inner[start:stop]
            backoff = nodes["backoff"].copy()
        else:
            nodes = lm.leaf[start - leaves : stop - leaves]
            backoff = np.zeros(len(nodes), lm.inner.dtype["backoff"])
        logprob = nodes["logprob"].copy()
        if len(lm.logprob_book):
            logprob, backoff = lm.logprob_book[k][logprob], lm.backoff_book[k][backoff]
        words = np.column_stack([words, nodes["word"]])
        sections.append(Section(words, logprob, backoff))
    sections[-1].backoff[:] = 0.0
    return Arpa(vocabulary, [in_order(section) for section in sections])


def in_order(section: Section) -> Section:
    """The n-grams sorted by the numbers of their words, as in the ARPA files that we write."""
    rows = np.lexsort(section.words.T[::-1])
    return Section(section.words[rows], section.logprob[rows], section.backoff[rows])


def unite(models: Sequence[Arpa]) -> tuple[Tables, list[list[Values]]]:
    """Puts models into common tables.

    Returns:
        The tables, and the numbers of each model and level. A word that a model does not know has
        probability 0 in it, so that each model's probabilities of all words sum to one.
    """
    number: dict[str, int] = {}
    mapped = []
    for model in models:
        ids = [number.setdefault(word, len(number)) for word in model.vocabulary]
        mapped.append(np.array(ids, np.int32))
    order = max(model.order for model in models)
    sections = [
        [mapped[i][section.words] for section in model.sections] for i, model in enumerate(models)
    ]
    tables = Tables(list(number), [])
    for k, words in enumerate(_closed(sections, order, len(number)), 1):
        if k == 1:
            nothing = np.zeros(len(words), np.int64)
            tables.levels.append(Level(words[:, 0], nothing, nothing))
        else:
            context, suffix = tables.rows(words[:, :-1]), tables.rows(words[:, 1:])
            tables.levels.append(Level(np.ascontiguousarray(words[:, -1]), context, suffix))
    values = [_values(tables, model, sections[i]) for i, model in enumerate(models)]
    return tables, values


def _closed(sections: Sequence[Sequence[np.ndarray]], order: int, types: int) -> list[np.ndarray]:
    """The different (N, k) n-grams per order: those of the models and those inside longer ones."""
    packing = Packing.of(types)
    parts: list[np.ndarray] = []
    levels = []
    for k in range(order, 1, -1):
        parts += [words[k - 1] for words in sections if len(words) >= k]
        keys = sort_rows(np.concatenate([packing.pack(part) for part in parts]), packing.spans(k))
        is_new = np.ones(len(keys), bool)
        is_new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
        words = packing.unpack(keys[is_new], k)
        levels.append(words)
        parts = [words[:, :-1], words[:, 1:]]
    levels.append(np.arange(types, dtype=np.int32)[:, None])
    return levels[::-1]


def _values(tables: Tables, model: Arpa, sections: Sequence[np.ndarray]) -> list[Values]:
    """A model's numbers for all n-grams of the tables."""
    values: list[Values] = []
    for k, level in enumerate(tables.levels):
        weight, known = np.ones(len(level)), np.zeros(len(level), bool)
        if values:
            below = values[-1]
            probability = below.weight[level.context] * below.probability[level.suffix]
        else:
            probability = np.zeros(len(level))
        if k < model.order:
            rows, section = tables.rows(sections[k]), model.sections[k]
            probability[rows] = 10.0 ** section.logprob.astype(float)
            weight[rows] = 10.0 ** section.backoff.astype(float)
            known[rows] = True
            if k == 0 and BOS in tables.vocabulary:
                probability[tables.vocabulary.index(BOS)] = 0.0
        values.append(Values(probability, weight, known))
    return values


def normalised(
    tables: Tables, probabilities: Sequence[np.ndarray], kept: Sequence[np.ndarray]
) -> list[Values]:
    """Gives every context the back-off weight that makes its probabilities sum to one.

    Args:
        tables: The n-grams.
        probabilities: Per level (N,) probabilities of n-grams; only those of kept n-grams are
            used.
        kept: Per level (N,) whether the model has the n-gram; it has their contexts too.

    Returns:
        The numbers per level. If the kept n-grams of a context leave nothing to other words, or if
        there are no other words, their probabilities are scaled.
    """
    values = [Values(probabilities[0], np.ones(len(tables.levels[0])), kept[0])]
    for k in range(1, len(tables.levels)):
        level, below = tables.levels[k], values[-1]
        has, size = kept[k], len(below.weight)
        context = level.context[has]
        own = np.bincount(context, weights=probabilities[k][has], minlength=size)
        shorter = below.probability[level.suffix[has]]
        left = 1.0 - own
        left_below = 1.0 - np.bincount(context, weights=shorter, minlength=size)
        listed = np.bincount(context, weights=shorter > 0, minlength=size)
        no_others = listed == np.count_nonzero(values[0].probability)
        wanted = np.where(no_others, 0.0, np.maximum(left, LEAST_LEFT))
        is_context = own > 0
        left_below = np.maximum(left_below, LEAST_LEFT)
        np.divide(wanted, left_below, out=below.weight, where=is_context & ~no_others)
        scale = np.ones(size)
        np.divide(1.0 - wanted, own, out=scale, where=is_context & (wanted != left))
        probability = below.weight[level.context] * below.probability[level.suffix]
        probability[has] = probabilities[k][has] * scale[context]
        values.append(Values(probability, np.ones(len(level)), has))
    return values


def to_arpa(tables: Tables, values: Sequence[Values]) -> Arpa:
    """The model with the n-grams that it knows; its order is that of the longest of them."""
    words = np.flatnonzero(values[0].known)
    renumbered = np.full(len(tables.vocabulary), -1, np.int32)
    renumbered[words] = np.arange(len(words), dtype=np.int32)
    sections = []
    for k, of_level in enumerate(values):
        rows = np.flatnonzero(of_level.known)
        if not len(rows):
            break
        logprob = np.log10(np.maximum(of_level.probability[rows], LOWEST)).astype(np.float32)
        backoff = np.log10(np.maximum(of_level.weight[rows], LOWEST)).astype(np.float32)
        grams = np.empty((len(rows), k + 1), np.int32)
        for position in range(k, -1, -1):
            grams[:, position] = renumbered[tables.levels[position].word[rows]]
            rows = tables.levels[position].context[rows]
        sections.append(Section(grams, np.minimum(logprob, 0.0), backoff))
    if BOS in tables.vocabulary:
        # lmplz writes this value, which is never used.
        sections[0].logprob[renumbered[tables.vocabulary.index(BOS)]] = 0.0
    return Arpa([tables.vocabulary[word] for word in words], sections)


def numbered(tables: Tables, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers, each from `<s>` to `</s>` if the tables have `</s>`.

    Returns:
        (T,) numbers of the words, -1 for unknown words; (T,) whether a text begins here.
    """
    number = {word: i for i, word in enumerate(tables.vocabulary)}
    ends = [EOS] if EOS in number else []
    split = [[BOS, *text.split(), *ends] for text in texts]
    tokens = [number.get(word, -1) for words in split for word in words]
    begins = np.zeros(len(tokens), bool)
    begins[np.cumsum([0, *map(len, split)])[:-1]] = True
    return np.array(tokens, np.int64), begins


def word_probabilities(
    tables: Tables, models: Sequence[Sequence[Values]], tokens: np.ndarray, begins: np.ndarray
) -> np.ndarray:
    """Probability of every word under every model.

    A history ends at the last `<s>`, and after a word that no model knows.

    Args:
        tables: The n-grams.
        models: Their numbers.
        tokens: (T,) see `numbered`.
        begins: (T,) see `numbered`.

    Returns:
        (models, W) for the W tokens where no text begins; 0 for unknown words.
    """
    rows = tokens  # rows of the k-grams that end at each token, -1 if there is none
    result = np.zeros((len(models), len(tokens)))
    for i, values in enumerate(models):
        result[i] = np.where(rows >= 0, values[0].probability[rows], 0.0)
    for k in range(1, len(tables.levels)):
        before = np.concatenate([[-1], rows[:-1]])
        before[begins] = -1
        rows = tables.extended(k, before, tokens)
        for i, values in enumerate(models):
            weight = np.where(before >= 0, values[k - 1].weight[before], 1.0)
            result[i] = np.where(rows >= 0, values[k].probability[rows], weight * result[i])
    return result[:, ~begins]
