"""Which characters spell words: letters, digits, and the marks of scripts that write with them."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Accents, which a spelling may drop (é, e), and selectors of the way a character is drawn. Other
# marks, such as the vowel signs of Hindi, are as necessary as letters.
ACCENTS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\U000e0100-\U000e01ef]"
)


@cache
def is_letter(character: str) -> bool:
    """Whether a character spells words: a letter, a digit, or a mark that is no accent.

    The categories are those of the Unicode Character Database: L, N and M.
    """
    category = unicodedata.category(character)[0]
    return category in "LN" or (category == "M" and not ACCENTS.match(character))


def letters_of(text: str) -> list[str]:
    """The characters of a text that spell words, in order."""
    return [character for character in text if is_letter(character)]
