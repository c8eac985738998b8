"""Turns running text into training text for language models: normalised, one segment a line.

secondpass prepare-text novels.txt.xz -o novels.txt --normaliser lower --running --join 3 40

With --running, paragraphs are split at the ends of sentences. With --join, neighbouring sentences
of a paragraph are joined again up to a random length, because an utterance of read speech may hold
half a sentence or several. A manifest (.jsonl) gives its transcripts.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import unicodedata
from collections.abc import Iterable, Iterator

from lm.errors import InputError
from lm.files import output_file, whole_file
from lm.text.loss import TextLoss
from lm.text.normalisers import CHOICES, DEFAULT, normaliser
from lm.text.prose import read_text, sentences

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "texts",
        nargs="+",
        metavar="TEXT",
        help="text, plain, .gz, .bz2 or .xz; or a .jsonl manifest",
    )
    parser.add_argument("-o", "--output", required=True, metavar="LINES", help="the file to write")
    parser.add_argument(
        "--normaliser",
        default=DEFAULT,
        metavar="NAME",
        help=f"applied to every line: {CHOICES} (default: %(default)s)",
    )
    parser.add_argument(
        "--running", action="store_true", help="a line is a paragraph: split it into sentences"
    )
    parser.add_argument(
        "--join",
        nargs=2,
        type=int,
        metavar=("MIN", "MAX"),
        help="join neighbouring sentences up to a random number of words",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="random seed for the lengths of --join (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the lines."""
    if arguments.join and not 1 <= arguments.join[0] <= arguments.join[1]:
        raise InputError(f"--join {arguments.join}: give two lengths in words, the smaller first")
    clean = normaliser(arguments.normaliser)
    rng = random.Random(arguments.seed)
    output = output_file(arguments.output, arguments.texts)
    loss = TextLoss.of(clean)
    written = 0
    with whole_file(output) as temporary, temporary.open("w", encoding="utf-8") as out:
        for path in arguments.texts:
            for line in prepared(read(path), arguments.running, arguments.join, rng):
                composed = unicodedata.normalize("NFC", line)
                text = clean(composed)
                loss.add(composed, text)
                if text:
                    out.write(text + "\n")
                    written += 1
        loss.check(", ".join(arguments.texts))
        if not written:
            raise InputError(
                f"there are no words in {', '.join(arguments.texts)}; give other texts"
            )
    LOG.info(f"wrote {output}: {written:,} lines")
    return 0


def read(path: str) -> Iterator[str]:
    """Lines of a text file, or the transcripts of a manifest."""
    if path.endswith(".jsonl"):
        from asr.corpus import read_corpus

        yield from (u.text for u in read_corpus(path) if u.text is not None)
        return
    yield from read_text(path)


def prepared(
    lines: Iterable[str], running: bool, join: list[int] | None, rng: random.Random
) -> Iterator[str]:
    """Lines as they are, or running text as sentences, joined to random lengths if asked."""
    if not running:
        yield from lines
        return
    for line in lines:
        if join is None:
            yield from sentences([line])
        else:
            yield from joined(sentences([line]), join[0], join[1], rng)


def joined(parts: Iterable[str], shortest: int, longest: int, rng: random.Random) -> Iterator[str]:
    """Neighbouring sentences joined up to a length in words that is drawn for each segment."""
    segment: list[str] = []
    words, limit = 0, rng.randint(shortest, longest)
    for part in parts:
        count = len(part.split())
        if segment and words + count > limit:
            yield " ".join(segment)
            segment, words, limit = [], 0, rng.randint(shortest, longest)
        segment.append(part)
        words += count
    if segment:
        yield " ".join(segment)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["prepare-text", *sys.argv[1:]]))
