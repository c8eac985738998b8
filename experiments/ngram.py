"""Makes n-gram language models: from texts, or from other models.

secondpass ngram TEXT… -o LM.arpa.gz --order 4 --prune 0 0 1      modified Kneser-Ney
secondpass ngram DOMAIN GENERAL -o LM.arpa.gz --order 3 --weights 3 1
secondpass ngram --models A.arpa B.arpa --heldout DEV.txt -o MIX.ngram   mixed, tuned on DEV.txt
secondpass ngram --models A.arpa -o A.ngram                       converted

The name of the output decides its format: .ngram is the project's own, which opens at once; every
other name is ARPA, gzipped if it ends with .gz. Texts may be plain, .gz, .bz2 or .xz.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tqdm import tqdm

from lm.errors import InputError
from lm.files import output_file
from lm.text.normalisers import CHOICES, Normaliser, normaliser

if TYPE_CHECKING:
    from lm.estimation.external_sort import Workspace
    from lm.ngram.arpa import Arpa

LOG = logging.getLogger("secondpass")

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
DEFAULT_MEMORY = 4 << 30
LEAST_MEMORY = 600 << 20
PROGRAM_MEMORY = 500 << 20  # measured with 200 M words and a vocabulary of 110 k
ONLY_TEXTS = ("prune", "weights", "vocabulary", "vocabulary_size", "discount_fallback")
ONLY_MODELS = ("mix_weights",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="text, one sentence a line")
    parser.add_argument("-o", "--output", required=True, metavar="LM", help="the model to write")
    texts = parser.add_argument_group("from texts")
    texts.add_argument("--order", type=int, help="length of the longest n-grams")
    texts.add_argument(
        "--prune",
        type=int,
        nargs="+",
        metavar="N",
        help="one number per order, from order 1: leave out n-grams that occur N times or fewer; "
        "the last N is also used for higher orders (default: 0, keep all)",
    )
    texts.add_argument(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="whole numbers, one per TEXT: the text counts as if it were given W times",
    )
    texts.add_argument(
        "--vocabulary", metavar="FILE", help="keep only words of this list that the text has"
    )
    texts.add_argument(
        "--vocabulary-size", type=int, metavar="N", help="keep only the N most frequent words"
    )
    texts.add_argument(
        "--discount-fallback",
        action="store_true",
        help="use the discounts 0.5, 1 and 1.5 for an order whose counts do not give any",
    )
    texts.add_argument(
        "--memory",
        default=None,
        metavar="SIZE",
        help="such as 800M or 4G; more data than that is sorted on disk (default: 4G, or half of "
        "the machine's memory if that is less)",
    )
    texts.add_argument(
        "--temp-folder", metavar="DIR", help="folder for the data that are sorted on disk"
    )
    models = parser.add_argument_group("from models")
    models.add_argument(
        "--models", nargs="+", metavar="LM", help="models to mix, or one to convert or prune"
    )
    models.add_argument(
        "--mix-weights",
        type=float,
        nargs="+",
        metavar="W",
        help="the mixture's weights, one per model, instead of choosing them on held-out text",
    )
    both = parser.add_argument_group("from texts or models")
    both.add_argument(
        "--heldout",
        metavar="TEXT",
        help="report perplexity on this text, and choose a mixture's weights on it",
    )
    both.add_argument(
        "--quantise", action="store_true", help="8 bits for each value, in an .ngram file"
    )
    both.add_argument(
        "--entropy-prune",
        type=float,
        metavar="T",
        help="leave out n-grams whose removal raises the perplexity by a share of less than T, "
        "such as 1e-8",
    )
    both.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help=f"applied to every line of text: {CHOICES} (default: none)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Makes and writes the model; progress goes to stderr."""
    _check(arguments)
    inputs = [*arguments.texts, *(arguments.models or ()), arguments.heldout, arguments.vocabulary]
    output = output_file(arguments.output, inputs)
    from lm.estimation.counted_text import read_lines
    from lm.estimation.entropy_pruning import prune
    from lm.estimation.mixture import heldout_perplexity
    from lm.ngram.arpa import write_arpa
    from lm.ngram.model import NgramModel
    from lm.ngram.store import compile_model, write_store

    normalise = None if arguments.normaliser == "none" else normaliser(arguments.normaliser)
    heldout = read_lines(arguments.heldout, normalise) if arguments.heldout else None
    if arguments.models:
        model = _from_models(arguments, heldout)
    else:
        model = _from_texts(arguments, normalise, _workspace(arguments))
    if arguments.entropy_prune is not None:
        full, model = model, prune(model, arguments.entropy_prune)
        for k, (before, after) in enumerate(zip_longest(full.sections, model.sections), 1):
            _report(f"{k}-grams: {len(after or ())} of {len(before)} kept by entropy")
    if output.suffix == ".ngram":
        write_store(model, output, arguments.quantise)
    else:
        write_arpa(model, output)
    _report(f"wrote {output}")
    if heldout is not None:
        compiled = NgramModel(output, compile_model(model, str(output), arguments.quantise))
        words, unknown, value = heldout_perplexity(compiled, heldout)
        _report(f"perplexity {value:.2f} on {words} held-out words, {unknown} unknown left out")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuses options that contradict each other."""
    if bool(arguments.texts) == bool(arguments.models):
        raise InputError("give either texts to estimate a model from, or --models")
    foreign, remedy = (
        ((*ONLY_TEXTS, "order", "memory", "temp_folder"), "give texts, or leave it out")
        if arguments.models
        else (ONLY_MODELS, "estimate models first, then mix them with --models")
    )
    for name in foreign:
        if getattr(arguments, name) not in (None, False):
            option = "--" + name.replace("_", "-")
            other = "estimating from texts" if arguments.models else "mixing models"
            raise InputError(f"{option} is for {other}; {remedy}")
    if arguments.quantise and Path(arguments.output).suffix != ".ngram":
        raise InputError("--quantise is for our own format; name the output LM.ngram")
    if arguments.models:
        return
    if arguments.order is None:
        raise InputError("--order is missing; give the length of the longest n-grams, such as 3")
    if arguments.vocabulary and arguments.vocabulary_size is not None:
        raise InputError("--vocabulary and --vocabulary-size both choose the words; give one")


def _from_texts(
    arguments: argparse.Namespace, normalise: Normaliser | None, workspace: Workspace
) -> Arpa:
    from lm.estimation.counted_text import most_frequent, read_corpus, read_words
    from lm.estimation.kneser_ney import estimate

    allowed = read_words(arguments.vocabulary) if arguments.vocabulary else None
    with _Bars() as bars:
        corpus = read_corpus(arguments.texts, normalise, arguments.weights, workspace, bars.advance)
        if arguments.vocabulary_size is not None:
            allowed = most_frequent(corpus, arguments.vocabulary_size)
        elif allowed is not None:
            missing = len(allowed.difference(corpus.vocabulary))
            _report(f"{missing} of the {len(allowed)} listed words are not in the text")
        return estimate(
            corpus,
            arguments.order,
            arguments.prune or (0,),
            allowed,
            arguments.discount_fallback,
            workspace,
            _report,
            bars.advance,
        )


def _from_models(arguments: argparse.Namespace, heldout: Sequence[str] | None) -> Arpa:
    from lm.estimation.backoff_tables import read_model
    from lm.estimation.mixture import interpolate

    models = [read_model(path) for path in arguments.models]
    if len(models) == 1 and arguments.mix_weights is None:
        return models[0]
    mixture = interpolate(models, arguments.mix_weights, heldout)
    seen = mixture.heldout
    for i, path in enumerate(arguments.models):
        line = f"{path}: weight {mixture.weights[i]:.4f}"
        if seen:
            line += f", perplexity {seen.perplexities[i]:.2f}, {seen.missing[i]} words unknown"
        _report(line)
    if seen:
        _report(f"mixed word by word: perplexity {seen.mixed:.2f}, {seen.unknown} unknown to all")
    return mixture.model


def _workspace(arguments: argparse.Namespace) -> Workspace:
    """What of the memory is left beside the program and its blocks of rows."""
    from lm.estimation.external_sort import Workspace

    if arguments.memory is None:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = min(DEFAULT_MEMORY, machine // 2)
    else:
        size = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([KMGT]?)B?", arguments.memory.strip().upper())
        if not size:
            raise InputError(f"--memory {arguments.memory}: give a size such as 800M or 4G")
        memory = int(float(size[1]) * UNITS[size[2]])
        if memory < LEAST_MEMORY:
            raise InputError(f"--memory {arguments.memory} is too little; give 600M or more")
    return Workspace(max(memory, LEAST_MEMORY) - PROGRAM_MEMORY, arguments.temp_folder)


def _report(line: str) -> None:
    """A line of the log, above the progress bars."""
    with tqdm.external_write_mode(file=sys.stderr):
        LOG.info(line)


class _Bars:
    """A progress bar per kind of work, on stderr."""

    def __init__(self) -> None:
        """No bar yet."""
        self._bar: tqdm | None = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, what: str, more: int, total: int) -> None:
        """See `lm.estimation.counted_text.Progress`."""
        if self._bar is None or self._bar.desc != what:
            if self._bar is not None:
                self._bar.close()
            self._bar = tqdm(desc=what, total=total or None, unit_scale=True, leave=False)
            self._bar.desc = what
        self._bar.update(more)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["ngram", *sys.argv[1:]]))
