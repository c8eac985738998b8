"""Second pass: adds one language model's column to an N-best table.

secondpass rescore NBEST.parquet --model MODEL --name COLUMN -o OUT.parquet

MODEL is a causal language model (hub name or folder) or an ARPA file. The column holds the sum of
natural-log token probabilities of each text, from BOS on (from EOS where the tokenizer has no
BOS), unweighted; COLUMN.tokens says of how many tokens.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from asr.nbest import read_nbest, write_nbest
from lm.errors import InputError
from lm.rescore import check_name, load_scorer, rescore
from lm.text import normaliser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("nbest", metavar="NBEST.parquet")
    parser.add_argument("--model", required=True, help="hub name, folder, or ARPA file")
    parser.add_argument("--name", required=True, metavar="COLUMN", help="the new column's name")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.parquet")
    parser.add_argument(
        "--normaliser",
        default="none",
        metavar="NAME",
        help="from the hypotheses' spelling to the model's (default: none, the text as it is)",
    )
    parser.add_argument(
        "--no-eos",
        dest="eos",
        action="store_false",
        help="leave the end of the sentence out of all scores",
    )
    parser.add_argument("--device", help="torch device (default: the GPU if there is one)")
    parser.add_argument("--dtype", help="float32, float16 or bfloat16 (default: float16 on a GPU)")
    parser.add_argument(
        "--batch-tokens",
        type=int,
        default=4096,
        metavar="N",
        help="tokens of one batch, padding counted in (default: 4096)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a score column of that name"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the table with its new column."""
    output = Path(arguments.output)
    # What can be wrong is looked at before the model is loaded, which can take minutes.
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no folder {output.parent}; make it first")
    normaliser(arguments.normaliser)
    table = read_nbest(arguments.nbest)
    check_name(table, arguments.name, arguments.overwrite)
    scorer = load_scorer(
        arguments.model,
        eos=arguments.eos,
        device=arguments.device,
        dtype=arguments.dtype,
        batch_tokens=arguments.batch_tokens,
    )
    with tqdm(total=len(table), desc="rescore", unit="hyp", dynamic_ncols=True) as bar:
        scored = rescore(
            table, scorer, arguments.name, arguments.normaliser, bar.update, arguments.overwrite
        )
    write_nbest(scored, output)
    tokens = int(scored[f"{arguments.name}.tokens"].sum())
    print(f"wrote {output}: {len(scored):,} hypotheses, {tokens:,} tokens", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["rescore", *sys.argv[1:]]))
