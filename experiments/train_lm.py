"""Trains or fine-tunes a causal language model.

secondpass train-lm CONFIG.yaml [key.path=value …]
"""

from __future__ import annotations

import argparse
import sys

from experiments.config import load_config
from lm.train import LMTraining, train_lm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("config", metavar="CONFIG.yaml", help="settings of lm.train.LMTraining")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win")
    parser.add_argument("--restart", action="store_true", help="ignore existing checkpoints")


def run(arguments: argparse.Namespace) -> int:
    """Trains; prints the figures."""
    settings = load_config(LMTraining, arguments.config, arguments.overrides)
    figures = train_lm(settings, resume=not arguments.restart)
    for name, value in figures.items():
        print(f"{name}: {value:.4f}")
    print(f"wrote {settings.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["train-lm", *sys.argv[1:]]))
