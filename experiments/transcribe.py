"""Recognises audio files of any length and prints their text.

secondpass transcribe FILE… --model M
"""

from __future__ import annotations

import argparse
import sys

from experiments.demo import bundled
from lm.errors import SecondpassError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio that libsndfile reads")
    parser.add_argument(
        "--model",
        default=str(bundled.ACOUSTIC),
        help="AutoModelForCTC checkpoint, name or folder (default: the demo's, which has heard "
        "synthetic speech only)",
    )
    parser.add_argument("--device", help="default: the GPU if there is one")


def run(arguments: argparse.Namespace) -> int:
    """Prints one line a file; a file that cannot be read does not stop the others."""
    from asr.acoustic import CTCModel

    model = CTCModel.load(arguments.model, arguments.device)
    failed = 0
    for path in arguments.files:
        try:
            text = model.transcribe(path)
        except SecondpassError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        print(text if len(arguments.files) == 1 else f"{path}\t{text}")
    return 1 if failed else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["transcribe", *sys.argv[1:]]))
