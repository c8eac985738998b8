"""What is imported before a command knows its arguments is imported quickly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asr.formats.nbest_import import FORMATS

HEAVY = ("torch", "transformers", "numba", "pandas", "pyarrow")
DECLARATIONS = [
    "asr.options",
    "asr.corpus",
    "asr.emissions",
    "asr.decode",
    "asr.hypothesis",
    "asr.evaluation.alignment",
    "asr.formats.nbest_import",
    "asr.formats.transcript_writers",
]
TABLES = ["asr.nbest", "asr.evaluation.wer", "asr.evaluation.significance"]


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (DECLARATIONS, HEAVY),
        (TABLES, HEAVY[:3]),
    ],
    ids=["declarations", "tables"],
)
def test_heavy_packages_are_imported_where_they_work(
    modules: list[str], heavy: tuple[str, ...]
) -> None:
    code = f"import sys, {', '.join(modules)}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_every_reader_has_a_first_line_for_the_help() -> None:
    assert all((read.__doc__ or "").strip() for read in FORMATS.values())
