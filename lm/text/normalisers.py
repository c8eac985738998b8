"""Normalisers by name: they take text from one system's spelling to another's.

`lm.text.loss` counts the letters that a normaliser removes.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from lm.errors import InputError
from lm.text.letters import ACCENTS, is_letter
from lm.text.prose import APOSTROPHES
from lm.text.truecase import Truecaser, capitalised

DEFAULT = "unicode"  # wherever words are counted

# Upper-case letters that NFKD does not take apart.
LETTERS = str.maketrans({"Æ": "AE", "Œ": "OE", "Ø": "O", "Đ": "D", "Ð": "D", "Ł": "L", "Þ": "TH"})
# Combining accents, soft hyphens and zero-width marks: they are removed without a space.
INVISIBLE = re.compile("[\u0300-\u036f\u00ad\u200b-\u200d\u2060\ufeff]")
UNSPOKEN = re.compile("[^A-Z']+")
# LibriSpeech spells these titles out; "St." is a saint only before a name.
TITLES = {"MR": "MISTER", "MRS": "MISSUS", "DR": "DOCTOR"}
TITLE = re.compile(r"\b(?:MR|MRS|DR)\b")
PRONOUN = re.compile(r"\bi\b")
SAINT = re.compile(r"\bS[tT]\.(?=\s+[A-Z])")
# Marks inside words that belong to them: apostrophes, Catalan l·l, Hebrew abbreviations. Unicode
# Standard Annex #29 calls these MidLetter; its colon is punctuation here.
INNER = "'·׳״"


@dataclass(frozen=True)
class Normaliser:
    """A function from text to text, with the name that configs give it.

    Attributes:
        name: Such as `librispeech` or `truecase:case.tsv+stop`.
        function: What it does.
    """

    name: str
    function: Callable[[str], str]

    def __call__(self, text: str) -> str:
        """The text in the other spelling."""
        return self.function(text)


class _Kept(dict[int, str]):
    """What `unicode_words` makes of each character; each is looked up once."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kept = character in INNER or is_letter(character) or bool(ACCENTS.match(character))
        self[code] = character if kept else " "
        return self[code]


KEPT = _Kept()


def as_it_is(text: str) -> str:
    """The text itself."""
    return text


def librispeech(text: str) -> str:
    """LibriSpeech's spelling: upper case, the letters A to Z, apostrophes inside words, one space.

    Accents are dropped, and typographic apostrophes become plain ones. Hyphens, digits and every
    other mark become spaces: digits are not spelled out, so spell them out before if they matter.
    Apostrophes at the edges of words are dropped too, as in LibriSpeech, because they cannot be
    distinguished from quotation marks. MR, MRS, DR and "St." before a name are spelled out.
    """
    text = SAINT.sub("SAINT", text.translate(APOSTROPHES))
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    text = text.upper()
    if not text.isascii():
        text = INVISIBLE.sub("", text).translate(LETTERS)
    text = TITLE.sub(lambda title: TITLES[title[0]], text)
    words = (word.strip("'") for word in UNSPOKEN.sub(" ", text).split())
    return " ".join(word for word in words if word)


def unicode_words(text: str) -> str:
    """The words of text in any script, without case and punctuation.

    Compatible characters are made equal and case is folded (NFKC and full case folding, Unicode
    Standard, 3.13 and Annex #15). Characters of the categories punctuation, symbol, separator
    and control become spaces; invisible format characters are removed. Letters, digits and marks
    stay, and so do apostrophes, `·`, `׳` and `״` inside words. Nothing is spelled out.
    """
    if text.isascii():
        text = text.replace("`", "'").lower()
    else:
        text = "".join(c for c in text if unicodedata.category(c) != "Cf").translate(APOSTROPHES)
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = (word.strip(INNER) for word in text.translate(KEPT).split())
    return " ".join(word for word in words if ACCENTS.sub("", word))


def lower(text: str) -> str:
    """The text as `librispeech` writes it, in lower case."""
    return librispeech(text).lower()


def sentence(text: str) -> str:
    """The text as `lower` writes it, with the pronoun I and the first letter in upper case."""
    return capitalised(PRONOUN.sub("I", lower(text)))


def whisper() -> Callable[[str], str]:
    """Whisper's normaliser for English (Radford et al. 2022, appendix C), from whisper-normalizer.

    It writes numbers as digits, expands contractions, and changes British to American spelling.
    The one in transformers lacks the list of spellings.
    """
    # Imported here: no other normaliser needs it.
    from whisper_normalizer.english import EnglishTextNormalizer

    english = EnglishTextNormalizer()
    return lambda text: " ".join(english(text).split())


# Each function makes a normaliser when it is needed. A new normaliser is one line here.
NORMALISERS: dict[str, Callable[[], Callable[[str], str]]] = {
    "none": lambda: as_it_is,
    "unicode": lambda: unicode_words,
    "librispeech": lambda: librispeech,
    "lower": lambda: lower,
    "sentence": lambda: sentence,
    "whisper": whisper,
}
# Normalisers that read a file, `NAME:FILE`.
FROM_FILE: dict[str, Callable[[str], Callable[[str], str]]] = {"truecase": Truecaser.load}
STOP = "+stop"
CHOICES = ", ".join(
    [*sorted(NORMALISERS), *(f"{name}:FILE" for name in FROM_FILE), f"each with {STOP}"]
)


def normaliser(name: str) -> Normaliser:
    """The normaliser of that name.

    Args:
        name: One of `NORMALISERS`, or `truecase:FILE`; with `+stop` after it, a text that does
            not end a sentence gets a full stop.

    Raises:
        InputError: There is no normaliser of that name; the message has the nearest name.
    """
    if name.endswith(STOP):
        clean = normaliser(name.removesuffix(STOP))
        return Normaliser(name, lambda text: with_stop(clean(text)))
    if path := normaliser_file(name):
        return Normaliser(name, FROM_FILE[name.partition(":")[0]](path))
    if name not in NORMALISERS:
        near = difflib.get_close_matches(name.lower(), [*NORMALISERS, *FROM_FILE], n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"'{name}' names no normaliser: {hint}there are {CHOICES}")
    return Normaliser(name, NORMALISERS[name]())


def normaliser_file(name: str) -> str | None:
    """The file that a normaliser of that name reads, if it reads one."""
    kind, _, path = name.removesuffix(STOP).partition(":")
    return path or None if kind in FROM_FILE else None


def with_stop(text: str) -> str:
    """The text with a full stop, unless it is empty or ends a sentence already."""
    return text if not text or text[-1] in ".?!" else text + "."
