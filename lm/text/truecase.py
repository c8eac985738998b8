"""Truecasing: the case that each word mostly has in text (Lita et al. 2003, ACL).

The case of a word is counted only inside sentences: at their start every word is capitalised.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lm.errors import InputError
from lm.files import whole_file
from lm.text.prose import APOSTROPHES, read_text, sentences

HEADER = "# truecase: form, times in this form, times in all"
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
MOST_FORMS = 4_000_000  # when there are more, forms that were seen once are dropped


@dataclass(frozen=True)
class Truecaser:
    """The form of each word inside a sentence.

    Attributes:
        forms: Form by the word in lower case; a word that is missing is written in lower case.
    """

    forms: dict[str, str]

    @classmethod
    def load(cls, path: str | Path) -> Truecaser:
        """Reads a model that `write_truecaser` wrote.

        Raises:
            InputError: The file is missing, or is not such a model; the message names the line.
        """
        forms = {}
        lines = read_text(path)
        if next(lines, "") != HEADER:
            raise InputError(
                f"{path}: this is not a truecasing model; `secondpass truecase` makes one"
            )
        for number, line in enumerate(lines, 2):
            form, *counts = line.split("\t")
            if not form or len(counts) != 2:
                raise InputError(
                    f"{path}, line {number}: not a form and two counts, separated by tabs; make "
                    "the model again"
                )
            forms[form.lower()] = form
        return cls(forms)

    def __call__(self, text: str) -> str:
        """The text with each word in its form and its first letter in upper case.

        If a word with an apostrophe ("boston's") was never seen, the form of the part before the
        apostrophe is used. Marks and spaces stay as they are.
        """
        cased = WORD.sub(lambda word: self._form(word[0]), text.translate(APOSTROPHES))
        return capitalised(cased)

    def _form(self, word: str) -> str:
        word = word.lower()
        if word in self.forms:
            return self.forms[word]
        stem, mark, rest = word.partition("'")
        return self.forms.get(stem, stem) + mark + rest


def capitalised(text: str) -> str:
    """The text with its first letter in upper case."""
    for place, character in enumerate(text):
        if character.isalpha():
            return text[:place] + character.upper() + text[place + 1 :]
    return text


def count_forms(
    lines: Iterable[str],
    most: int = MOST_FORMS,
    progress: Callable[[int], object] | None = None,
) -> Counter[str]:
    """Counts of each form of a word inside sentences.

    Lines without a lower-case letter, such as headings, say nothing about case and are skipped.

    Args:
        lines: Running text, a paragraph or a sentence per line.
        most: Number of forms in memory; when there are more, those seen once so far are dropped.
        progress: Called with the number of lines read since the last call.
    """
    counts: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.isupper():
            for sentence in sentences([line.translate(APOSTROPHES)]):
                counts.update(WORD.findall(sentence)[1:])
        if len(counts) > most:
            counts = Counter({form: count for form, count in counts.items() if count > 1})
        if progress is not None and number % 1000 == 0:
            progress(1000)
    return counts


def write_truecaser(counts: Counter[str], path: str | Path) -> int:
    """Writes the most frequent form of every word that is not mostly in lower case.

    Among equally frequent forms lower case wins, then alphabetical order, so that the same text
    gives the same file. A file whose name ends in `.gz` is compressed.

    Returns:
        The number of forms written.

    Raises:
        InputError: The text has no word in upper case inside a sentence.
    """
    if not any(form != form.lower() for form in counts):
        raise InputError(
            "there is no word in upper case inside a sentence: truecasing is learned from text as "
            "it is printed; give such text, not normalised text"
        )
    total: Counter[str] = Counter()
    best: dict[str, str] = {}
    for form, count in counts.items():
        word = form.lower()
        total[word] += count
        rank = (-count, form != word, form)
        if word not in best or rank < (-counts[best[word]], best[word] != word, best[word]):
            best[word] = form
    path = Path(path)
    chosen = [best[word] for word in sorted(best) if best[word] != word]
    lines = [HEADER, *(f"{form}\t{counts[form]}\t{total[form.lower()]}" for form in chosen)]
    content = ("\n".join(lines) + "\n").encode()
    with whole_file(path) as temporary:
        # The file has no time, so that equal models are equal files.
        temporary.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return len(chosen)
