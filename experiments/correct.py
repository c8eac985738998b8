"""Second pass by an instruction model that reads an utterance's N-best list and answers.

secondpass correct NBEST.parquet --model M -o OUT.parquet

The answer is one of the list: every hypothesis is scored as the model's reply, and the column
NAME (with NAME.tokens) can be weighted as any other. With --free the model writes the answer
itself, and OUT holds it as rank 1, followed by the list; an answer that is new has -inf for the
scores of all other models.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from asr.nbest import read_nbest, write_nbest
from lm.errors import InputError
from lm.rescore import check_name, rescore
from lm.scorer import ScorerOptions
from lm.text.normalisers import normaliser


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
        "--name", default="correct", metavar="COLUMN", help="the scores' column (default: correct)"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a score column of that name"
    )
    parser.add_argument(
        "--hypotheses", type=int, default=10, metavar="N", help="shown to the model (default: 10)"
    )
    parser.add_argument(
        "--prompt",
        metavar="FILE",
        help="what the model is asked instead, with {hypotheses}, perhaps {count}",
    )
    parser.add_argument(
        "--plain", action="store_true", help="for a model without a chat template: prompt as it is"
    )
    parser.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help="from the hypotheses' spelling to the model's (default: none)",
    )
    parser.add_argument(
        "--answer-normaliser",
        default="none",
        metavar="NAME",
        help="with --free: from the model's spelling to the hypotheses' (default: none)",
    )
    parser.add_argument(
        "--guard",
        type=float,
        metavar="SHARE",
        help="with --free: reject an answer that differs in more than this share of words from "
        "every hypothesis (default: take any)",
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=4096, metavar="N", help="of one batch (default: 4096)"
    )
    parser.add_argument("--device", help="torch device (default: the GPU if there is one)")
    parser.add_argument("--dtype", help="float32, float16 or bfloat16 (default: float16 on a GPU)")
    parser.add_argument("--device-map", help="spread a big model over devices: auto, …")
    parser.add_argument("--bits", type=int, choices=(8, 4), help="weights of 8 or 4 bits")


def run(arguments: argparse.Namespace) -> int:
    """Writes the table with the column, or with the answers."""
    output = Path(arguments.output)
    # What can be wrong is looked at before the model is loaded, which can take minutes.
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first")
    for name in (arguments.normaliser, arguments.answer_normaliser):
        normaliser(name)
    if not arguments.free and (
        arguments.guard is not None or arguments.answer_normaliser != "none"
    ):
        raise InputError("--guard and --answer-normaliser are of answers that --free writes")
    table = read_nbest(arguments.nbest)
    if not arguments.free:
        check_name(table, arguments.name, arguments.overwrite)
    options = ScorerOptions(
        batch_tokens=arguments.batch_tokens,
        device=arguments.device,
        dtype=arguments.dtype,
        device_map=arguments.device_map,
        bits=arguments.bits,
    )
    # torch and transformers take seconds to import.
    from lm.neural.causal import CausalScorer
    from lm.neural.chat import PROMPT
    from lm.neural.correction import correct_freely, load_corrector

    prompt = PROMPT if arguments.prompt is None else read_prompt(arguments.prompt)
    model = load_corrector(arguments.model, options, prompt, arguments.hypotheses, arguments.plain)
    with tqdm(total=len(table), desc="correct", unit="hyp", dynamic_ncols=True) as bar:
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
                f"them are in no list; {len(found.rejected)} were rejected and the first pass kept"
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
    print(
        f"wrote {output}: {table['utt'].nunique():,} utterances, {len(table):,} hypotheses; {said}",
        file=sys.stderr,
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
