"""Prints what is installed, which devices are used, and what would run."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys

from experiments.demo import bundled

LOG = logging.getLogger("secondpass")
OPTIONAL = {
    "pyctcdecode": "decoder: pyctcdecode",
    "kenlm": "decoder: pyctcdecode with a language model",
    "espeakng-loader": "building the demo's speech again (extra `demo`)",
    "peft": "fine-tuning by low-rank matrices (extra `lora`)",
    "bitsandbytes": "models in 8 and 4 bits (extra `big`)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments: none."""


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings; returns 1 if something that is needed is missing."""
    from experiments.results import PACKAGES, installed, provenance

    facts = provenance()
    print(f"python {facts['python']}, {facts['machine']}, {os.cpu_count()} processors")
    missing = []
    for name in PACKAGES:
        version = facts["versions"][name]
        print(f"  {name:<16} {version or 'missing'}")
        if version is None and name not in OPTIONAL:
            missing.append(name)
    print("optional:")
    for name, use in OPTIONAL.items():
        print(f"  {name:<16} {installed([name])[name] or 'missing':<10} {use}")
    print(devices())
    print(f"bundled demo: {'found' if bundled.CONFIG.is_file() else 'MISSING'}")
    if missing:
        LOG.error(f"packages are missing: pip install {' '.join(missing)}")
    return 1 if missing else 0


def devices() -> str:
    """Which devices torch can use, one a line."""
    if importlib.util.find_spec("torch") is None:
        return "no device: torch is missing"
    import torch

    if not torch.cuda.is_available():
        return "no GPU: everything runs on the CPU in float32"
    return "\n".join(
        f"GPU {index}: {torch.cuda.get_device_name(index)} (used by default, float16)"
        for index in range(torch.cuda.device_count())
    )


if __name__ == "__main__":
    from experiments.cli import main

    raise SystemExit(main(["doctor", *sys.argv[1:]]))
