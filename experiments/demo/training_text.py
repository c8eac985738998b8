"""The training text of the demo's acoustic model, as lines to speak.

    python -m experiments.demo.training_text --assistant ASSISTANT.txt \\
        --utterances librispeech-train-clean-100.txt.xz --novels novels.txt.xz \\
        --without experiments/demo/sentences.tsv --lines 30000 --seed 1 -o TEXT.txt

45 % of the lines are assistant-like, 47 % come from books, 8 % are generated here: spelled words,
digits, telephone numbers, dates, addresses. Lines are lower-case letters and apostrophes. A line
that shares six words in a row with a sentence of the demo is left out.
"""

from __future__ import annotations

import argparse
import lzma
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from experiments.demo.synthesise import read_sentences
from lm.errors import InputError
from lm.files import write_text

ASSISTANT_SHARE, SPELLED_SHARE = 0.45, 0.08  # the rest comes from books
PIECE_WORDS = (3, 25)  # words of a line from a book
SHARED_WORDS = 6  # a line with a run of 6 words of a demo sentence is left out


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
DIGITS = _words("oh zero one two three four five six seven eight nine")
TEENS = _words(
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen",
)
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
MONTHS = _words(
    "january february march april may june july august september october november december"
)
STREETS = _words(
    "oak maple cedar elm pine walnut chestnut hill lake park river church mill station high main "
    "king queen victoria washington lincoln spring garden bridge forest market north south"
)
ROADS = _words("street avenue road lane drive boulevard court place way square")
ORDERS = _words("erase enter rubout repeat spell add delete find call start stop go help")


def normalise(text: str) -> str | None:
    """Lower-case words of a printed sentence; None if it cannot be read aloud as it is written.

    Sentences with figures, with words in capitals or with letters outside ASCII give None.
    """
    text = text.replace("’", "'").replace("‘", "'")
    if re.search(r"\d|\b[A-Z]{2,}\b|[^\W\d_a-zA-Z]", text):
        return None
    words = (word.strip("'") for word in re.sub(r"[^a-z']+", " ", text.lower()).split())
    return " ".join(TITLES.get(word, word) for word in words if word)


def sentences_of(paragraph: str) -> Iterator[str]:
    """Splits a printed paragraph at full stops, question and exclamation marks."""
    kept = re.sub(r"\b(Mr|Mrs|Dr|St)\.", r"\1", paragraph)
    return iter(re.split(r"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]*[A-Z])", kept))


def cut(text: str, generator: random.Random) -> list[str]:
    """Cuts a text without punctuation into pieces of 3 to 25 words and drops a shorter rest."""
    words, pieces = text.split(), []
    while len(words) > PIECE_WORDS[1]:
        length = generator.randint(6, PIECE_WORDS[1] - 3)
        pieces.append(" ".join(words[:length]))
        words = words[length:]
    return [*pieces, " ".join(words)] if len(words) >= PIECE_WORDS[0] else pieces


def number(generator: random.Random) -> str:
    """A number below a hundred, as it is spoken."""
    value = generator.randrange(1, 100)
    if value < 10:
        return DIGITS[value + 1]
    if value < 20:
        return TEENS[value - 10]
    tens, ones = TENS[value // 10 - 2], value % 10
    return f"{tens} {DIGITS[ones + 1]}" if ones else tens


def spelled_line(words: Sequence[str], generator: random.Random) -> str:
    """One generated line: spelled letters, digits, a telephone number, a date or an address.

    Args:
        words: Words that may be spelled.
        generator: Generator of all random numbers.
    """

    def digits(low: int, high: int) -> str:
        return " ".join(generator.choices(DIGITS, k=generator.randint(low, high)))

    def letters() -> str:
        return " ".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 6)))

    def spelled() -> str:
        return " ".join(generator.choice(words).replace("'", ""))

    def ordinal() -> str:
        day = generator.randrange(1, 32)
        if day <= 20:
            return ORDINALS[day - 1]
        return "thirtieth" if day == 30 else f"{TENS[day // 10 - 2]} {ORDINALS[day % 10 - 1]}"

    def date() -> str:
        month = generator.choice(MONTHS)
        day = generator.choice((f"{month} {ordinal()}", f"the {ordinal()} of {month}"))
        century = generator.choice(("nineteen", "eighteen", "twenty"))
        return generator.choice((day, f"{day} {century} {number(generator)}"))

    def address() -> str:
        house = generator.choice((number(generator), f"{number(generator)} {number(generator)}"))
        street = f"{house} {generator.choice(STREETS)} {generator.choice(ROADS)}"
        return generator.choice((street, f"{street} {digits(5, 5)}"))

    def order() -> str:
        return f"{generator.choice(ORDERS)} {letters()} {digits(1, 4)}"

    def word() -> str:
        chosen = generator.choice(words).replace("'", "")
        return f"{generator.choice(('', 'spell '))}{chosen} {' '.join(chosen)}"

    kinds: tuple[Callable[[], str], ...] = (
        *(spelled, word, order, date, address),
        lambda: digits(3, 10),
        lambda: f"{letters()} {digits(2, 4)}",
        lambda: f"{generator.choice(('call', 'my number is', 'dial'))} {digits(7, 10)}",
        lambda: " ".join(number(generator) for _ in range(generator.randint(2, 5))),
        lambda: " ".join(generator.choices(ORDERS, k=generator.randint(2, 3))),
    )
    return generator.choice(kinds)()


def word_runs(text: str, length: int = SHARED_WORDS) -> set[tuple[str, ...]]:
    """All runs of `length` words."""
    words = text.split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def read_text(path: Path) -> list[str]:
    """Reads the lines of a text file, plain or `.xz`.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        with lzma.open(path, "rt") if path.suffix == ".xz" else open(path) as file:
            return [line.strip() for line in file]
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this text: {error}") from error


def mix(
    assistant: Sequence[str],
    utterances: Sequence[str],
    novels: Sequence[str],
    lines: int,
    seed: int,
    without: Iterable[str] = (),
) -> list[str]:
    """Draws the training lines from the three sources and the generator, in random order.

    Args:
        assistant: Normalised lines; if there are none, books take their share.
        utterances: Transcripts without punctuation, in upper case.
        novels: Printed paragraphs.
        lines: Number of lines to return; a source that is too small gives all its lines.
        seed: Random seed of all draws.
        without: Sentences with which no line may share six words in a row.
    """
    generator = random.Random(seed)
    forbidden = {run for sentence in without for run in word_runs(sentence)}

    def allowed(line: str) -> bool:
        return bool(line.strip("' ")) and forbidden.isdisjoint(word_runs(line))

    def take(pool: Iterable[str], count: int) -> list[str]:
        kept = [line for line in dict.fromkeys(pool) if allowed(line)]
        return generator.sample(kept, min(count, len(kept)))

    def pieces_of_novels() -> Iterator[str]:
        for paragraph in generator.sample(novels, min(len(novels), lines)):
            for sentence in sentences_of(paragraph):
                text = normalise(sentence)
                if text and PIECE_WORDS[0] <= len(text.split()) <= PIECE_WORDS[1]:
                    yield text

    spelled_count = round(lines * SPELLED_SHARE)
    chosen = take(assistant, round(lines * ASSISTANT_SHARE))
    books = lines - spelled_count - len(chosen)
    chosen += take(pieces_of_novels(), books // 2)
    read = (piece for line in utterances for piece in cut(line.lower(), generator))
    chosen += take(read, books - books // 2)
    words = sorted({word for line in chosen for word in line.split() if len(word) > 2})
    if words:
        chosen += take((spelled_line(words, generator) for _ in range(spelled_count)), lines)
    generator.shuffle(chosen)
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser("experiments.demo.training_text", description=description)
    parser.add_argument("--assistant", type=Path, help="normalised assistant-like lines")
    parser.add_argument("--utterances", type=Path, required=True, help="upper-case transcripts")
    parser.add_argument("--novels", type=Path, required=True, help="printed paragraphs")
    parser.add_argument("--without", type=Path, help="TSV of the demo's sentences")
    parser.add_argument("--lines", type=int, default=30000, help="number of lines (default: 30000)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(argv)
    try:
        lines = mix(
            read_text(args.assistant) if args.assistant else [],
            read_text(args.utterances),
            read_text(args.novels),
            args.lines,
            args.seed,
            [sentence["text"] for sentence in read_sentences(args.without)] if args.without else [],
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    write_text(args.output, "".join(f"{line}\n" for line in lines))
    print(f"{args.output}: {len(lines)} lines", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
