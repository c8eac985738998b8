"""Printed text: its files, its sentences and its apostrophes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from lm.text.unpacked import open_utf8

# Marks that are used as apostrophes in print, on keyboards and in old e-texts.
APOSTROPHES = dict.fromkeys(map(ord, "’‘‛ʼ＇´`"), "'")

# A full stop after these does not end a sentence. Words that often do end one ("etc.", "Esq.",
# "Jr.") are not here.
ABBREVIATIONS = """
mr mrs ms messrs mme mlle dr st prof rev hon capt col gen lieut lt maj sergt sgt gov sen rep pres mt
vol ch viz vs cf jas wm chas geo thos
"""
NOT_ENDING = frozenset(ABBREVIATIONS.split())
SENTENCE_END = re.compile(r"""([.?!]+)["'’”)\]_]*\s+(?=["'“‘(\[_]*[A-ZÀ-ÖØ-Þ])""")
OPENING = "\"'“‘([_-"


def sentences(lines: Iterable[str]) -> Iterator[str]:
    """Splits running text, one paragraph per line, into sentences; case and marks stay.

    A sentence ends at full stops, question marks or exclamation marks, perhaps with closing quotes
    or brackets, if white space and a capital letter follow. A single full stop after a title
    ("Mr.", "St.") or an initial ("J.", but not "I.") does not end a sentence. Empty lines are
    skipped, and every line ends a sentence.
    """
    for line in lines:
        start = 0
        for end in SENTENCE_END.finditer(line):
            if end[1] == "." and _is_abbreviation(line[start : end.start()]):
                continue
            yield line[start : end.end()].strip()
            start = end.end()
        rest = line[start:].strip()
        if rest:
            yield rest


def _is_abbreviation(before: str) -> bool:
    """Whether the last word before a full stop is an abbreviation or an initial."""
    words = before.split()
    word = words[-1].lstrip(OPENING) if words else ""
    initial = len(word) == 1 and word.isupper() and word != "I"
    return initial or word.lower() in NOT_ENDING


def open_text(path: str | Path) -> IO[str]:
    """Opens UTF-8 text for reading, plain or compressed by gzip, bzip2 or xz.

    A byte-order mark at the start is left out. Reading raises an InputError with the line if the
    file is damaged or is not UTF-8 text.

    Raises:
        InputError: There is no such file, it cannot be opened, or it is compressed in another way.
    """
    return open_utf8(path)


def read_text(path: str | Path) -> Iterator[str]:
    """Lines of a text that `open_text` opens, without their ends.

    Raises:
        InputError: The file cannot be read, is damaged, or is not UTF-8; the message has the line.
    """
    with open_text(path) as lines:
        for line in lines:
            yield line.rstrip("\n")
