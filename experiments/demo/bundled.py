"""Paths of the bundled demo: its config, its models and its data."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CONFIG = FOLDER.parent / "configs" / "demo.yaml"
ACOUSTIC = FOLDER / "acoustic"
