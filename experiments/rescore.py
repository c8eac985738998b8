"""Second pass: adds one model's column to an N-best table.

secondpass rescore NBEST.parquet --model MODEL --name COLUMN -o OUT.parquet
secondpass rescore NBEST.parquet --emissions EMISSIONS --name ctc -o OUT.parquet
secondpass rescore NBEST.parquet --audio MANIFEST --model MODEL --name COLUMN -o OUT.parquet

MODEL is a causal or masked language model (hub name or folder) or an n-gram model's file. The
column holds the sum of natural-log token probabilities of each text, from BOS on (from EOS where
the tokenizer has no BOS), unweighted; COLUMN.tokens says of how many tokens. Of a masked model it
is the pseudo-log-likelihood.

With --emissions it holds the log-prob of each text over all of its CTC paths; with --audio, that of
an encoder-decoder speech model (such as Whisper) that hears the audio.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from asr.nbest import read_nbest, write_nbest
from experiments.comparison.progress import progress
from experiments.comparison.second_pass import Column, Models, score
from lm.cache import ScoreCache
from lm.context import CONVERSATION, Context
from lm.errors import InputError
from lm.files import SCORES
from lm.rescore import check_name
from lm.text.normalisers import normaliser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--model", help="hub name, folder, or file of an n-gram model")
    parser.add_argument("--emissions", metavar="FOLDER", help="score by CTC, without a model")
    parser.add_argument("--audio", metavar="MANIFEST", help="the model hears the audio")
    parser.add_argument("--name", required=True, metavar="COLUMN", help="the new column's name")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.parquet")
    parser.add_argument("--overwrite", action="store_true", help="replace a column of that name")
    text = parser.add_argument_group("what the model reads")
    text.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help="from the hypotheses' spelling to the model's (default: none, the text as it is)",
    )
    text.add_argument(
        "--no-eos",
        dest="eos",
        action="store_false",
        help="leave the end of the sentence out of all scores",
    )
    text.add_argument("--prompt", help="a text that goes first, such as the domain")
    text.add_argument(
        "--previous",
        type=int,
        default=0,
        metavar="N",
        help="earlier utterances of the conversation that go before, each as its first hypothesis",
    )
    text.add_argument(
        "--conversation",
        default=CONVERSATION,
        metavar="REGEX",
        help="its first group is the conversation in an utterance's name (default: %(default)s)",
    )
    text.add_argument(
        "--separator",
        default="\n",
        help="what follows each earlier text; `eos` for the EOS token (default: a line's end)",
    )
    text.add_argument(
        "--too-long",
        default="error",
        choices=("error", "window"),
        help="texts longer than the model can read: an error, or scored by windows",
    )
    text.add_argument(
        "--max-tokens",
        type=int,
        metavar="N",
        help="tokens read at once, where that should be less than the model can",
    )
    text.add_argument("--language", default="en", help="of --audio (default: en)")
    way = parser.add_argument_group("how it computes")
    way.add_argument(
        "--history",
        type=lambda value: value if value == "exact" else int(value),
        default="exact",
        metavar="K",
        help="`exact`, or merge hypotheses of a list that agree in their last K tokens",
    )
    way.add_argument("--method", default="tree", choices=("tree", "padded"))
    way.add_argument(
        "--within-word",
        action="store_true",
        help="masked models: mask the rest of the word too",
    )
    way.add_argument("--device", help="torch device (default: the GPU if there is one)")
    way.add_argument("--dtype", help="float32, float16 or bfloat16 (default: float16 on a GPU)")
    way.add_argument("--device-map", help="spread the model, such as `auto` (needs accelerate)")
    way.add_argument("--bits", type=int, choices=(8, 4), help="quantise (needs bitsandbytes)")
    way.add_argument(
        "--batch-tokens", type=int, default=4096, metavar="N", help="tokens of one batch"
    )
    way.add_argument("--workers", type=int, help="threads of --emissions")
    way.add_argument(
        "--cache",
        default=str(SCORES),
        metavar="FILE",
        help="scores kept between runs (default: %(default)s); `none` keeps none",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table with its new column."""
    output = Path(arguments.output)
    # What can be wrong is looked at before the model is loaded, which can take minutes.
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first")
    if arguments.emissions is not None and (arguments.model or arguments.audio):
        raise InputError("--emissions are scored without --model and --audio; give one")
    if arguments.emissions is None and arguments.model is None:
        raise InputError("give a --model, or --emissions to score by CTC")
    normaliser(arguments.normaliser)
    table = read_nbest(arguments.nbest)
    check_name(table, arguments.name, arguments.overwrite)
    failures: dict[str, str] = {}
    if arguments.emissions is not None or arguments.audio is not None:
        scored, failures = by_ear(arguments, table)
    else:
        scored = by_reading(arguments, table)
    write_nbest(scored, output)
    for reason in failures.values():
        print(reason, file=sys.stderr)
    counts = f"{arguments.name}.tokens"
    tokens = f", {int(scored[counts].sum()):,} tokens" if counts in scored else ""
    failed = f"; {len(failures)} utterances failed and are left out" if failures else ""
    print(f"wrote {output}: {len(scored):,} hypotheses{tokens}{failed}", file=sys.stderr)
    return 1 if failures else 0


def by_reading(arguments: argparse.Namespace, table: pd.DataFrame) -> pd.DataFrame:
    """The table with a language model's column."""
    column = Column(
        model=arguments.model,
        normaliser=arguments.normaliser,
        context=Context(arguments.prompt, arguments.previous, arguments.conversation),
        eos=arguments.eos,
        separator=arguments.separator,
        too_long=arguments.too_long,
        max_tokens=arguments.max_tokens,
        history=arguments.history,
        method=arguments.method,
        within_word=arguments.within_word,
        batch_tokens=arguments.batch_tokens,
        device=arguments.device,
        dtype=arguments.dtype,
        device_map=arguments.device_map,
        bits=arguments.bits,
    )
    models = Models(None if arguments.cache == "none" else ScoreCache.open(arguments.cache))
    return score(table, models, arguments.name, column, "rescore", arguments.overwrite)


def by_ear(
    arguments: argparse.Namespace, table: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The table with a column of what was heard, and why utterances failed."""
    from asr.acoustic_rescore import rescore_audio, rescore_ctc

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
