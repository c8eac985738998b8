"""Normalises the words of texts with NIST's marks, and warns where marks count as words."""

from __future__ import annotations

import logging

from asr.evaluation.alignment import Method
from asr.evaluation.marks import Marked, MarkError, Word, normalised, parse
from lm.text.loss import quoted
from lm.text.normalisers import Normaliser

LOG = logging.getLogger("secondpass")
EXAMPLES = 3


class Marks:
    """Texts as they are counted, and what is noticed of their marks.

    Args:
        clean: normaliser of the words.
        alignment: only sclite's has marks; otherwise the normaliser gets the whole text.
    """

    def __init__(self, clean: Normaliser, alignment: Method) -> None:
        self._clean = clean
        self._counts = alignment == "sclite"
        self._unused: dict[str, str] = {}
        self._broken: dict[str, str] = {}
        self._warned = False

    def reference(self, utt: str, text: str) -> str:
        """A reference with its words normalised."""
        try:
            marked = parse(text)
            if marked is None:
                return self._clean(text)
            if self._counts:
                return normalised(text, self._clean)
            if has_choice(marked):
                self._unused[utt] = text
        except MarkError as error:
            if self._counts:
                self._broken[utt] = str(error)
        return self._clean(text)

    def hypothesis(self, text: str) -> str:
        """A hypothesis with its words normalised; with sclite's alignment it has alternatives."""
        if not self._counts or "{" not in text:
            return self._clean(text)
        try:
            found = normalised(text, self._clean, reference=False)
        except MarkError:
            return self._clean(text)
        if not self._warned:
            self._warned = True
            LOG.warning(
                f"hypotheses have alternatives in braces, such as {quoted(text)}: the one that "
                "fits the reference best counts, as in sclite. Remove them for a fair comparison"
            )
        return found

    def warn(self) -> None:
        """Warns of references whose marks count as words."""
        if self._unused:
            shown = "; ".join(f"{u}: {quoted(t)}" for u, t in list(self._unused.items())[:EXAMPLES])
            LOG.warning(
                f"{len(self._unused)} references have alternatives or optional words as NIST marks "
                f"them ({shown}), and all of these count as words. Set `alignment: sclite` "
                "(--alignment sclite), which counts the marks as sclite does, or remove them"
            )
        if self._broken:
            shown = "; ".join(f"{utt}: {why}" for utt, why in list(self._broken.items())[:EXAMPLES])
            LOG.warning(
                f"the marks of {len(self._broken)} references are not complete, so they are taken "
                f"as text ({shown}). Correct these references"
            )


def has_choice(marked: Marked) -> bool:
    """Whether a text has alternatives or optional words; `@` alone may be text."""
    return any(not isinstance(item, Word) or item.optional for item in marked)
