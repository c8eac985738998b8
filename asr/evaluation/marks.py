"""NIST's marks in transcripts: alternatives `{ um / uh / @ }` and optional words `(uh)`.

They are defined with the formats trn and stm of NIST's scoring toolkit. Alternatives may hold
alternatives; `@` is no word. A hypothesis that has any of the alternatives is right, and a word in
brackets may be missing (`sclite -D`). A fragment such as `wor-` is a word, as in sclite by default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lm.text.letters import letters_of

NO_WORD = "@"
DEEPEST = 50  # alternatives within alternatives
WORD, TOKEN = re.compile(r"[^\s{]\S*|\{"), re.compile(r"[{}/]|[^\s{}/]+")
OPTIONAL = re.compile(r"\(([^()]+)\)")
# A word beside which words in the middle of a text are normalised: some normalisers treat the first
# or the last word of a text differently.
NEIGHBOUR = "x"


class MarkError(ValueError):
    """Marks that are not complete; the message says what is wrong."""


@dataclass(frozen=True)
class Word:
    """A word of a marked text; without text it is `@`, no word.

    Attributes:
        text: the word.
        optional: whether it may be missing.
    """

    text: str
    optional: bool = False


@dataclass(frozen=True)
class Alternatives:
    """Texts of which any one is right.

    Attributes:
        texts: one or more marked texts, none of them without items.
    """

    texts: tuple[Marked, ...]


Marked = tuple["Word | Alternatives", ...]
NULL = Word("")


def parse(text: str, reference: bool = True) -> Marked | None:
    """The words and marks of a text; None if it has no marks.

    Args:
        text: words separated by white space, and marks.
        reference: whether words in brackets, and `@` outside of alternatives, are marks; in a
            hypothesis they are what the recogniser wrote.

    Raises:
        MarkError: A brace is missing, or an alternative is empty.
    """
    if not ("{" in text or "}" in text or (reference and ("(" in text or "@" in text))):
        return None
    tokens = _tokens(text)
    items = tuple(_items(tokens, 0, reference))
    plain = all(isinstance(item, Word) and item.text and not item.optional for item in items)
    return None if plain else items


def _tokens(text: str) -> Iterator[str]:
    """Words and marks; outside of braces a slash is a word, or part of one."""
    place = depth = 0
    while match := (TOKEN if depth else WORD).search(text, place):
        token, place = match[0], match.end()
        depth += (token == "{") - (token == "}")
        if (not depth and token != "}" and re.search("[{}]", token)) or depth < 0:
            raise MarkError(f"there is a brace in {token!r}; separate it by spaces")
        if depth > DEEPEST:
            raise MarkError(f"there are alternatives in more than {DEEPEST} alternatives")
        yield token


def _items(tokens: Iterator[str], depth: int, reference: bool) -> Iterator[Word | Alternatives]:
    """The items up to the end of the text."""
    for token in tokens:
        if token == "{":
            yield _alternatives(tokens, depth + 1, reference)
        elif token == "}":
            raise MarkError("there is a } without {")
        else:
            yield _word(token, reference)


def _alternatives(tokens: Iterator[str], depth: int, reference: bool) -> Alternatives:
    """What is between a brace that was read and the brace that ends it."""
    texts: list[tuple[Word | Alternatives, ...]] = []
    items: list[Word | Alternatives] = []
    for token in tokens:
        if token in "/}":
            if not items:
                raise MarkError(f"an alternative is empty; write {NO_WORD} for no word")
            texts.append(tuple(items))
            items = []
            if token == "}":
                return Alternatives(tuple(texts))
        elif token == "{":
            items.append(_alternatives(tokens, depth + 1, reference))
        else:
            items.append(NULL if token == NO_WORD else _word(token, reference))
    raise MarkError("there is a { without }")


def _word(token: str, reference: bool) -> Word:
    if not reference:
        return Word(token)
    if token == NO_WORD:
        return NULL
    if match := OPTIONAL.fullmatch(token):
        return Word(match[1], optional=True)
    return Word(token)


def written(marked: Marked) -> str:
    """A marked text, with one space between words and marks."""
    parts = []
    for item in marked:
        if isinstance(item, Alternatives):
            parts.append("{ " + " / ".join(written(text) for text in item.texts) + " }")
        elif not item.text:
            parts.append(NO_WORD)
        else:
            parts.append(f"({item.text})" if item.optional else item.text)
    return " ".join(parts)


def normalised(text: str, clean: Callable[[str], str], reference: bool = True) -> str:
    """A text whose words are normalised and whose marks are kept.

    Words that become nothing are left out, and so are alternatives: `{ 5 / five }` is `five` for a
    normaliser that removes digits. Only an alternative without any letter or digit becomes `@`.

    Raises:
        MarkError: As `parse`.
    """
    marked = parse(text, reference)
    if marked is None:
        return clean(text)
    return written(_normalised(marked, clean, True, True))


def _normalised(marked: Marked, clean: Callable[[str], str], first: bool, last: bool) -> Marked:
    """A normalised text.

    Args:
        marked: the text or a part of it.
        clean: the normaliser.
        first: whether the part is at the beginning of the text.
        last: whether the part is at the end of the text.
    """
    found: list[Word | Alternatives] = []
    run: list[str] = []

    def words(texts: list[str], at_first: bool, at_last: bool) -> list[str]:
        before = [] if at_first else [NEIGHBOUR]
        after = [] if at_last else [NEIGHBOUR]
        said = clean(" ".join([*before, *texts, *after])).split()
        ends = [*(said[:1] if before else []), *(said[-1:] if after else [])]
        if len(said) < len(before + after) or any(end.lower()[:1] != NEIGHBOUR for end in ends):
            return clean(" ".join(texts)).split()
        return said[len(before) : len(said) - len(after)]

    for place, item in enumerate(marked):
        begins, ends = first and not place, last and place == len(marked) - 1
        if isinstance(item, Word) and item.text and not item.optional:
            run.append(item.text)
            following = None if ends or place == len(marked) - 1 else marked[place + 1]
            if isinstance(following, Word) and following.text and not following.optional:
                continue
            begins = first and place == len(run) - 1
            found += [Word(word) for word in words(run, begins, ends)]
            run = []
        elif isinstance(item, Word):
            said = words([item.text], begins, ends) if item.text else [""]
            found += [Word(word, item.optional) for word in said]
        else:
            texts = []
            for text in item.texts:
                own = _normalised(text, clean, begins, ends)
                if not own and not letters_of(written(text)):
                    own = (NULL,)
                if own and own not in texts:
                    texts.append(own)
            if len(texts) == 1:
                found += texts[0]
            elif texts:
                found.append(Alternatives(tuple(texts)))
    return tuple(found)


def plain(text: str) -> str:
    """A marked text without its marks, with the first of all alternatives.

    A text whose marks are not complete stays as it is.
    """
    try:
        marked = parse(text)
    except MarkError:
        return text
    return text if marked is None else " ".join(_first(marked))


def _first(marked: Marked) -> Iterator[str]:
    for item in marked:
        if isinstance(item, Alternatives):
            yield from _first(item.texts[0])
        elif item.text:
            yield item.text
