"""Writes assistant-like training text from the grammar beside this file.

python -m experiments.demo.assistant_text --lines 200000 --seed 1 -o assistant.txt
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lm.errors import InputError
from lm.files import whole_file

GRAMMAR = Path(__file__).with_name("grammar.txt")
SLOT = re.compile(r"<(\w+)>")
WORDS = range(3, 26)  # lines with another number of words are not kept


def read_grammar(path: Path = GRAMMAR) -> dict[str, list[str]]:
    """The alternatives of each name in the grammar.

    Raises:
        InputError: A name is used but not defined, or defined twice.
    """
    rules: dict[str, list[str]] = {}
    last: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith("|"):
            name, _, line = line.partition("=")
            if name.strip() in rules:
                raise InputError(
                    f"{path}: <{name.strip()}> is defined twice; remove one definition"
                )
            last = rules.setdefault(name.strip(), [])
        last += [part.strip() for part in line.strip("|").split("|")]
    unknown = {slot for parts in rules.values() for p in parts for slot in SLOT.findall(p)}
    unknown -= rules.keys()
    if unknown:
        raise InputError(f"{path}: these names are not defined: {', '.join(sorted(unknown))}")
    return rules


def expand(symbol: str, rules: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One random line that the grammar makes from a name."""
    chosen = rng.choice(rules[symbol])
    return SLOT.sub(lambda slot: expand(slot[1], rules, rng), chosen)


def generate(lines: int, seed: int, rules: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Distinct lines of 3 to 25 words.

    Raises:
        InputError: The grammar makes too few different lines.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    tries = 0
    while len(seen) < lines:
        tries += 1
        if tries > 20 * lines + 1000:
            raise InputError(
                f"the grammar makes only about {len(seen)} different lines, not {lines}; "
                "give a smaller --lines"
            )
        line = expand("line", rules, rng)
        if line not in seen and len(line.split()) in WORDS:
            seen.add(line)
            yield line


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lines", type=int, default=200_000, help="number of lines")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the lines")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    with whole_file(arguments.output) as path, path.open("w", encoding="utf-8") as out:
        for line in generate(arguments.lines, arguments.seed, read_grammar()):
            out.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
