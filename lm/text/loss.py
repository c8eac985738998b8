"""Counts what is lost when text passes a normaliser or a vocabulary: letters, digits and words.

A text whose letters are removed is a shorter text, or none: errors that are counted on it, and
scores of it, say nothing about the text itself. So whatever passes text on also counts what is
lost, warns of a part, and refuses a loss of most letters.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from lm.errors import InputError
from lm.text.letters import is_letter
from lm.text.normalisers import Normaliser

LOG = logging.getLogger("secondpass")
MOST = 0.5  # share of lost letters above which a text does not stand for itself
EXAMPLES = 2
SHOWN = 60  # characters of an example
ANOTHER = (
    "Choose another normaliser: `unicode` keeps the letters and digits of every script, `none` "
    "changes nothing"
)


class TextLoss:
    """The letters and digits of texts, and those of them that something cannot spell.

    Args:
        keeps: Whether a letter or digit is kept.
        culprit: What removes the others, for messages: a noun phrase.
        remedy: What the user can do, a sentence without its full stop.
    """

    def __init__(self, keeps: Callable[[str], bool], culprit: str, remedy: str) -> None:
        self.culprit = culprit
        self.remedy = remedy
        self.keeps = keeps
        self._seen: set[str] = set()
        self._letters: set[str] = set()
        self._gone: set[str] = set()
        self._characters: Counter[str] = Counter()
        self._words_gone = self._texts = self._emptied = 0
        self._examples: list[str] = []
        self._warned = False

    @classmethod
    def of(cls, clean: Normaliser) -> TextLoss:
        """What a normaliser removes: a letter is lost if nothing is left of it alone."""
        return cls(lambda letter: bool(clean(letter)), f"the normaliser `{clean.name}`", ANOTHER)

    def add(self, text: str, result: str | None = None) -> None:
        """Counts one text.

        Args:
            text: The text before.
            result: What became of it; it may be left out where letters alone decide.
        """
        characters = set(text)
        if new := characters - self._seen:
            self._seen |= new
            letters = set(filter(is_letter, new))
            self._letters |= letters
            self._gone |= {letter for letter in letters if not self.keeps(letter)}
        self._characters.update(text)
        lost = not self._gone.isdisjoint(characters)
        if lost:
            words = [set(filter(is_letter, word)) for word in text.split()]
            self._words_gone += sum(bool(word) and word <= self._gone for word in words)
        spoken = not self._letters.isdisjoint(characters)
        self._texts += spoken
        emptied = result is not None and spoken and not result.strip()
        self._emptied += emptied
        if (lost or emptied) and len(self._examples) < EXAMPLES:
            became = "" if result is None else f" becomes {quoted(result)}"
            example = f"{quoted(text)}{became}"
            if example not in self._examples:
                self._examples.append(example)

    def problem(self) -> str | None:
        """What was lost, in one sentence with examples; None if nothing was."""
        if not self.lost and not self._emptied:
            return None
        if not self.lost:
            what = f"leaves nothing of {self._emptied:,} of {self._texts:,} texts"
        else:
            frequent = Counter({c: self._characters[c] for c in self._gone}).most_common(8)
            shown = " ".join(letter for letter, _ in frequent)
            more = " …" if len(self._gone) > len(frequent) else ""
            what = f"loses {self.lost:,} of {self.letters:,} letters and digits ({shown}{more})"
            if self._words_gone:
                plural = "s" if self._words_gone > 1 else ""
                what += f", with them {self._words_gone:,} whole word{plural}"
        return f"{self.culprit} {what}, for example: {'; '.join(self._examples)}"

    @property
    def letters(self) -> int:
        """Number of letters and digits in the texts."""
        return sum(self._characters[letter] for letter in self._letters)

    @property
    def lost(self) -> int:
        """Number of these that were lost."""
        return sum(self._characters[character] for character in self._gone)

    def check(self, what: str) -> None:
        """Warns if letters were lost, once.

        Args:
            what: What the texts are, such as `references`; a name of a file is more useful.

        Raises:
            InputError: Most letters were lost, or no text has anything left.
        """
        if self.lost > MOST * self.letters or 0 < self._texts == self._emptied:
            raise InputError(f"{what}: {self.problem()}. {self.remedy}")
        self.warn(what)

    def warn(self, what: str) -> None:
        """Warns if letters were lost, once, however many they are."""
        problem = None if self._warned else self.problem()
        if problem is not None:
            self._warned = True
            LOG.warning(f"{what}: {problem}. {self.remedy}")


def vocabulary_loss(tokenizer: Any, culprit: str, remedy: str) -> TextLoss:
    """What the vocabulary of a transformers tokenizer lacks: letters that are unknown to it.

    If its tokens are whole words, a letter is known if it occurs in one of them.
    """
    in_words = _word_letters(tokenizer)

    def keeps(letter: str) -> bool:
        ids = tokenizer(letter, add_special_tokens=False)["input_ids"]
        known = bool(ids) and tokenizer.unk_token_id not in ids
        return known or in_words(letter)

    return TextLoss(keeps, culprit, remedy)


def _word_letters(tokenizer: Any) -> Callable[[str], bool]:
    """Whether a letter occurs in a token of a vocabulary of whole words; never for others."""
    from tokenizers import Tokenizer, models  # text that passes normalisers only needs no tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer) or not isinstance(backend.model, models.WordLevel):
        return lambda letter: False
    letters = set().union(*set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens))
    normalise = backend.normalizer.normalize_str if backend.normalizer else str
    return lambda letter: letters.issuperset(normalise(letter))


def normalised(texts: Iterable[str], clean: Normaliser, what: str) -> dict[str, str]:
    """Each different text with what a normaliser makes of it.

    Raises:
        InputError: Most letters would be lost, see `TextLoss.check`.
    """
    loss = TextLoss.of(clean)
    found = {}
    for text in texts:
        if text not in found:
            found[text] = clean(text)
            loss.add(text, found[text])
    loss.check(what)
    return found


def quoted(text: str) -> str:
    """A text in quotation marks for a message, shortened if it is long."""
    return repr(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
