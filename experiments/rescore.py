"""Second pass: adds the scores of one model to an N-best table.

secondpass rescore NBEST.parquet --model MODEL --name COLUMN -o OUT.parquet
secondpass rescore NBEST.parquet --emissions EMISSIONS --name ctc -o OUT.parquet
secondpass rescore NBEST.parquet --audio MANIFEST --model MODEL --name COLUMN -o OUT.parquet

MODEL is a causal or masked language model (hub name or folder), an n-gram model (a file), or a
custom scorer (FILE.py:CLASS). The column COLUMN holds the sum of the natural-log token
probabilities of each text, from BOS on (from EOS where the tokenizer has no BOS), unweighted;
COLUMN.tokens holds the number of tokens. The score of a masked model is the pseudo-log-likelihood.

With --emissions the column holds the log-probability of each text over all of its CTC paths. With
--audio it holds the log-probability that an encoder-decoder speech model (such as Whisper) gives to
the text when it hears the audio.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from experiments.comparison.arguments import add_fields, from_arguments
from lm.context import Context
from lm.errors import InputError
from lm.files import SCORES, output_file
from lm.scorer import ScorerOptions
from lm.text.normalisers import CHOICES, normaliser

if TYPE_CHECKING:
    import pandas as pd

LOG = logging.getLogger("secondpass")
READS = ("eos", "separator", "too_long", "max_tokens")
COMPUTES = ("history", "method", "within_word", "batch_tokens")
LOADS = ("device", "dtype", "device_map", "bits")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument(
        "--model", help="language model: hub name, folder, n-gram file, or FILE.py:CLASS"
    )
    parser.add_argument(
        "--emissions", metavar="FOLDER", help="score with the CTC log-probs of the first pass"
    )
    parser.add_argument(
        "--audio", metavar="MANIFEST", help="score with a speech model that hears this audio"
    )
    parser.add_argument("--name", required=True, metavar="COLUMN", help="name of the new column")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT.parquet", help="the table to write"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a score column of that name"
    )
    text = parser.add_argument_group("what the model reads")
    text.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help=f"from the hypotheses' spelling to the model's: {CHOICES} (default: %(default)s)",
    )
    add_fields(text, Context)
    add_fields(text, ScorerOptions, only=READS)
    text.add_argument("--language", default="en", help="language of --audio (default: %(default)s)")
    way = parser.add_argument_group("how it computes")
    add_fields(way, ScorerOptions, only=(*COMPUTES, *LOADS))
    way.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads of --emissions (default: one for each processor)",
    )
    way.add_argument(
        "--cache",
        default=str(SCORES),
        metavar="FILE",
        help="scores that are kept between runs (default: %(default)s); `none` keeps none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table with its new column."""
    # Everything that can be wrong is checked before the model is loaded, which can take minutes.
    output = output_file(arguments.output)
    if arguments.emissions is not None and (arguments.model or arguments.audio):
        raise InputError("--emissions needs no --model and no --audio; give only one of them")
    if arguments.emissions is None and arguments.model is None:
        raise InputError("give a --model, or --emissions to score with CTC")
    normaliser(arguments.normaliser)
    options = from_arguments(ScorerOptions, arguments)
    context = from_arguments(Context, arguments)
    from asr.nbest import read_nbest, write_nbest
    from lm.rescore import check_name

    table = read_nbest(arguments.nbest)
    check_name(table, arguments.name, arguments.overwrite)
    failures: dict[str, str] = {}
    if arguments.emissions is not None or arguments.audio is not None:
        scored, failures = from_speech(arguments, table)
    else:
        scored = from_text(arguments, table, options, context)
    write_nbest(scored, output)
    for reason in failures.values():
        LOG.error(reason)
    counts = f"{arguments.name}.tokens"
    tokens = f", {int(scored[counts].sum()):,} tokens" if counts in scored else ""
    failed = f"; {len(failures)} utterances failed and are left out" if failures else ""
    LOG.info(f"wrote {output}: {len(scored):,} hypotheses{tokens}{failed}")
    return 1 if failures else 0


def from_text(
    arguments: argparse.Namespace, table: pd.DataFrame, options: ScorerOptions, context: Context
) -> pd.DataFrame:
    """The table with the column of a language model."""
    from experiments.comparison.column import Column
    from experiments.comparison.second_pass import Models, score
    from lm.cache import ScoreCache

    column = Column(
        model=arguments.model,
        normaliser=arguments.normaliser,
        context=context,
        **vars(options),
    )
    models = Models(None if arguments.cache == "none" else ScoreCache.open(arguments.cache))
    return score(table, models, arguments.name, column, "rescore", arguments.overwrite)


def from_speech(
    arguments: argparse.Namespace, table: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with a column from emissions or audio, and the reasons why utterances failed."""
    from asr.acoustic_rescore import rescore_audio, rescore_ctc
    from experiments.comparison.progress import progress

    with progress(len(table), "rescore", "hyp") as bar:
        if arguments.emissions is not None:
            found = rescore_ctc(
                table,
                arguments.emissions,
                arguments.name,
                arguments.normaliser,
                workers=arguments.workers,
                progress=bar.update,
                overwrite=arguments.overwrite,
            )
        else:
            found = rescore_audio(
                table,
                arguments.audio,
                arguments.model,
                arguments.name,
                arguments.normaliser,
                arguments.device,
                arguments.dtype,
                arguments.language,
                progress=bar.update,
                overwrite=arguments.overwrite,
            )
    return found.table, dict(found.failures)


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["rescore", *sys.argv[1:]]))
