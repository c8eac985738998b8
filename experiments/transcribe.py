"""Recognises audio files of any length and prints their text.

secondpass transcribe FILE… --model M

The text of one file is printed alone; with several files each line starts with the file's name and
a tab. A file that cannot be read is reported, the others are recognised, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import logging
import sys

from experiments.demo import bundled
from lm.errors import SecondpassError

LOG = logging.getLogger("secondpass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio that libsndfile reads")
    parser.add_argument(
        "--model",
        default=str(bundled.ACOUSTIC),
        help="AutoModelForCTC checkpoint, hub name or folder (default: the model of the bundled "
        "demo, which was trained on synthetic speech only)",
    )
    parser.add_argument("--device", help="torch device (default: the GPU if there is one)")
    parser.add_argument(
        "--dtype",
        metavar="TYPE",
        help="float32, float16 or bfloat16 (default: float16 on a GPU, else float32)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints one line a file."""
    from asr.acoustic import CTCModel

    model = CTCModel.load(arguments.model, arguments.device, arguments.dtype)
    failed = 0
    for path in arguments.files:
        try:
            text = model.transcribe(path)
        except SecondpassError as error:
            LOG.error(error)
            failed += 1
            continue
        print(text if len(arguments.files) == 1 else f"{path}\t{text}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["transcribe", *sys.argv[1:]]))
