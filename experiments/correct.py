"""Second pass by an instruction model that reads an utterance's N-best list and answers.

secondpass correct NBEST.parquet --model M -o OUT.parquet

By default the answer is one of the list: every hypothesis is scored as the model's reply, and the
column NAME (with NAME.tokens) can be weighted like any other column. With --free the model writes
the answer itself. OUT then holds the answer as rank 1, followed by the list; an answer that is not
in the list has -inf for the scores of all other models.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from experiments.comparison.arguments import add_fields, from_arguments
from lm.errors import InputError
from lm.files import output_file
from lm.scorer import ScorerOptions
from lm.text.normalisers import CHOICES, normaliser

LOG = logging.getLogger("secondpass")
SETTINGS = ("batch_tokens", "device", "dtype", "device_map", "bits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--model", required=True, help="instruction model: hub name or folder")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.parquet")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--constrained",
        dest="free",
        action="store_false",
        default=False,
        help="score every hypothesis as the answer (default)",
    )
    kind.add_argument("--free", action="store_true", help="let the model write the answer")
    parser.add_argument(
        "--name",
        default="correct",
        metavar="COLUMN",
        help="column of the scores (default: %(default)s)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a score column of that name"
    )
    parser.add_argument(
        "--hypotheses",
        type=int,
        default=10,
        metavar="N",
        help="number of hypotheses that the model reads (default: %(default)s)",
    )
    parser.add_argument(
        "--prompt",
        metavar="FILE",
        help="a prompt to use instead of the built-in one; it contains {hypotheses} and may "
        "contain {count}",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="give the prompt as it is, for a model without a chat template",
    )
    parser.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help=f"from the hypotheses' spelling to the model's: {CHOICES} (default: %(default)s)",
    )
    parser.add_argument(
        "--answer-normaliser",
        default="none",
        metavar="NAME",
        help="with --free: from the model's spelling to the hypotheses' (default: %(default)s)",
    )
    parser.add_argument(
        "--guard",
        type=float,
        metavar="SHARE",
        help="with --free: reject an answer that differs in more than this share of words from "
        "every hypothesis (default: accept any answer)",
    )
    add_fields(parser, ScorerOptions, only=SETTINGS)


def run(arguments: argparse.Namespace) -> int:
    """Writes the table with the column, or with the answers."""
    # Everything that can be wrong is checked before the model is loaded, which can take minutes.
    output = output_file(arguments.output)
    for name in (arguments.normaliser, arguments.answer_normaliser):
        normaliser(name)
    if not arguments.free and (
        arguments.guard is not None or arguments.answer_normaliser != "none"
    ):
        raise InputError("--guard and --answer-normaliser need --free: they act on free answers")
    options = from_arguments(ScorerOptions, arguments)
    prompt = None if arguments.prompt is None else read_prompt(arguments.prompt)
    from asr.nbest import read_nbest, write_nbest
    from lm.rescore import check_name, rescore

    table = read_nbest(arguments.nbest)
    if not arguments.free:
        check_name(table, arguments.name, arguments.overwrite)
    from experiments.comparison.progress import progress
    from lm.neural.causal import CausalScorer
    from lm.neural.chat import PROMPT
    from lm.neural.correction import correct_freely, load_corrector

    model = load_corrector(
        arguments.model, options, prompt or PROMPT, arguments.hypotheses, arguments.plain
    )
    with progress(len(table), "correct", "hyp") as bar:
        if arguments.free:
            found = correct_freely(
                table,
                model,
                arguments.normaliser,
                arguments.answer_normaliser,
                arguments.guard,
                bar.update,
            )
            table = found.table
            said = (
                f"{len(found.changed)} answers differ from the first pass, {len(found.new)} of "
                f"them are in no N-best list; {len(found.rejected)} were rejected, so that the "
                "first pass's best was kept"
            )
        else:
            table = rescore(
                table,
                CausalScorer(model, options),
                arguments.name,
                arguments.normaliser,
                progress=bar.update,
                overwrite=arguments.overwrite,
            )
            said = f"column {arguments.name}, {table[f'{arguments.name}.tokens'].sum():,} tokens"
    write_nbest(table, output)
    LOG.info(
        f"wrote {output}: {table['utt'].nunique():,} utterances, {len(table):,} hypotheses; {said}"
    )
    return 0


def read_prompt(path: str) -> str:
    """A prompt from a file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the prompt cannot be read ({error})") from error


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["correct", *sys.argv[1:]]))
