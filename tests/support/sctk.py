"""NIST's scoring toolkit as the reference for our counts (Debian's package sctk)."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_sctk = pytest.mark.skipif(
    shutil.which("sctk") is None, reason="NIST's sctk is not installed (Debian: sctk)"
)


@dataclass(frozen=True)
class Segments:
    """What sc_stats prints of its matched-pairs test, three decimals."""

    segments: int
    mean: float
    deviation: float
    z: float


def sgml(
    references: Sequence[str], hypotheses: Sequence[str], folder: Path, name: str, *options: str
) -> str:
    """sclite's alignments, in its SGML form."""
    for kind, texts in (("ref", references), ("hyp", hypotheses)):
        lines = (f"{text} (speaker_{number})\n" for number, text in enumerate(texts))
        (folder / f"{name}.{kind}").write_text("".join(lines), encoding="utf-8")
    command = ["sctk", "sclite", "-r", f"{name}.ref", "trn", "-h", f"{name}.hyp", "trn", name]
    command += ["-i", "spu_id", "-s", "-o", "sgml", "-O", ".", *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return (folder / f"{name}.hyp.sgml").read_text(encoding="utf-8")


def paths(found: str, count: int) -> list[str]:
    """The kind of every place of sclite's alignments (C, S, D, I), by utterance."""
    by_number = {number: "" for number in range(count)}
    for number, words in re.findall(r'<PATH id="\(speaker_(\d+)\)"[^>]*>\n(.*)\n', found):
        by_number[int(number)] = "".join(p[0] for p in words.split(":")) if "," in words else ""
    return list(by_number.values())


def matched_pairs(systems: Mapping[str, str], folder: Path) -> Segments:
    """sc_stats' matched-pairs sentence-segment word error test of two systems.

    Args:
        systems: sclite's SGML of each, by name.
        folder: Folder in which sc_stats writes its files.
    """
    command = ["sctk", "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "pair"]
    text = "".join(systems.values())
    subprocess.run(command, cwd=folder, input=text, text=True, check=True, capture_output=True)
    report = (folder / "pair.stats.mapsswe").read_text(encoding="utf-8")
    found = re.search(
        r"# segs: (\d+)\).*\(mean: (\S+)\) \(std dev: (\S+)\) \(Z Stat: (\S+)\)", report
    )
    assert found, report
    return Segments(int(found[1]), float(found[2]), float(found[3]), float(found[4]))
