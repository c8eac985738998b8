"""Small n-gram models for tests, and their probabilities straight from the ARPA format's rules."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from lm.estimation.counted_text import read_corpus
from lm.estimation.kneser_ney import estimate
from lm.ngram.arpa import Arpa

Gram = tuple[str, ...]


def small_model(
    folder: Path, order: int, words: Sequence[str], seed: int = 0, sentences: int = 80
) -> Arpa:
    """A model of random sentences, the first words the most frequent."""
    draw = random.Random(seed)
    weights = [1 / (i + 1) for i in range(len(words))]
    lines = [" ".join(draw.choices(words, weights, k=draw.randint(1, 6))) for _ in range(sentences)]
    path = write_lines(folder / f"text-{order}-{seed}.txt", lines)
    return estimate(read_corpus([path]), order, discount_fallback=True)


def zipf_lines(sentences: int = 500, types: int = 120, seed: int = 4) -> list[str]:
    """Short sentences of a few frequent words and many rare ones, and one without words."""
    draw = random.Random(seed)
    words = [f"w{i}" for i in range(types)]
    weights = [(i + 1) ** -1.3 for i in range(types)]
    lengths = [draw.randint(1, 7) for _ in range(sentences)]
    return [*(" ".join(draw.choices(words, weights, k=length)) for length in lengths), ""]


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """Writes a text, one sentence a line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


class Dictionary:
    """A model as dictionaries."""

    def __init__(self, model: Arpa) -> None:
        """Spells out the model."""
        self.words = [word for word in model.vocabulary if word != "<s>"]
        self.order = model.order
        self.logprob: dict[Gram, float] = {}
        self.backoff: dict[Gram, float] = {}
        for section in model.sections:
            for i, numbers in enumerate(section.words.tolist()):
                gram = tuple(model.vocabulary[number] for number in numbers)
                self.logprob[gram] = float(section.logprob[i])
                self.backoff[gram] = float(section.backoff[i])

    def probability(self, history: Gram, word: str) -> float:
        """P(word | history); 0 for an unknown word."""
        gram = (*history, word)[-self.order :]
        if gram in self.logprob:
            return float(10 ** self.logprob[gram])
        if len(gram) == 1:
            return 0.0
        return float(10 ** self.backoff.get(gram[:-1], 0.0)) * self.probability(gram[1:-1], word)

    def contexts(self) -> list[Gram]:
        """All n-grams that something can follow, and the empty one."""
        return [(), *(g for g in self.logprob if len(g) < self.order and g[-1] != "</s>")]


TWO_WORDS = """\\data\\
ngram 1=5
ngram 2=5

\\1-grams:
-1.2\t<unk>\t0
-99\t<s>\t-0.3
-0.9\t</s>\t0
-0.7\tthe\t-0.2
-0.8\tcat\t-0.4

\\2-grams:
-0.3\t<s> the
-0.5\tthe cat
-0.4\tcat </s>
-1.1\tthe the
-0.6\tthe </s>

\\end\\
"""


def two_words(path: Path) -> Path:
    """Writes a bigram model of two words."""
    path.write_text(TWO_WORDS, encoding="utf-8")
    return path
