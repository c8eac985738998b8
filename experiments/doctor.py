"""Says what is installed, which devices there are, and what would run."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys

from experiments.demo import bundled
from experiments.results import PACKAGES, provenance


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: none."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings; exits with 1 if something that is needed is missing."""
    import torch

    facts = provenance()
    print(f"python {facts['python']}, {facts['machine']}, {os.cpu_count()} processors")
    missing = []
    for name in PACKAGES:
        version = facts["versions"][name]
        print(f"  {name:<14} {version or 'MISSING'}")
        if version is None:
            missing.append(name)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            print(f"GPU {index}: {torch.cuda.get_device_name(index)} (used by default, float16)")
    else:
        print("no GPU: everything runs on the CPU in float32")
    extra = "found" if importlib.util.find_spec("espeakng_loader") else "missing"
    print(f"speech synthesis for rebuilding the demo (extra `demo`): {extra}")
    print(f"bundled demo: {'found' if bundled.CONFIG.is_file() else 'MISSING'}")
    if missing:
        print(f"install what is missing: {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["doctor", *sys.argv[1:]]))
