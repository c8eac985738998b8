"""Trains or fine-tunes an acoustic model with CTC.

secondpass train-acoustic CONFIG.yaml [key.path=value …]
"""

from __future__ import annotations

import argparse
import sys

from asr.training.ctc import AcousticTraining, train_acoustic
from experiments.comparison.config import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="settings of asr.training.ctc")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win")
    parser.add_argument("--restart", action="store_true", help="ignore existing checkpoints")


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints the figures."""
    settings = load_config(AcousticTraining, arguments.config, arguments.overrides)
    figures = train_acoustic(settings, resume=not arguments.restart)
    for name, value in figures.items():
        print(f"{name}: {value:.4f}")
    print(f"wrote {settings.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-acoustic", *sys.argv[1:]]))
