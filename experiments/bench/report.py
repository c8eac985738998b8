"""The benchmarks' tables, on the terminal and as Markdown."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from experiments.bench.decoders.interface import NARROW, WIDE
from experiments.bench.decoders.peers import OURS, OURS_LABELS
from experiments.bench.decoders.timing import Entry, Figures, processors
from lm.files import write_text

HEADINGS = (
    *("decoder", "width", "beam", "ms/s", "real time", "all cores", "texts ms/s"),
    *("WER %", "list", "oracle %", "× ours"),
)
PACKAGES = ("numba", "numpy", "pyctcdecode", "kenlm", "flashlight-text", "torchaudio")
NOTES = (
    "ms/s: milliseconds of the decoder's own call for a second of audio, one thread, median of the "
    "rounds, Python's garbage collection off. real time: the same as a fraction of real time; all "
    "cores: the same with as many threads (ours) or processes (the others) as processors. texts: "
    "time to make texts of results that are not yet texts. list: different texts in a list; white "
    "space does not count. × ours: time divided by our time at the same width and beam; searches "
    "with an n-gram model of labels are compared with ours with the same model.",
    f"width: {NARROW} is pyctcdecode's own default; with {WIDE} only the beam limits the list "
    "(labels below the first natural log in a frame are not followed; hypotheses worse than the "
    "best by more than the second are dropped).",
    "All decoders use the same n-gram models and weights and sum over paths. Ours estimates "
    "unfinished words, as it does by default. A search that takes long is timed once.",
    "pyctcdecode scores text that ends with a space as if one more, unknown word followed. "
    "flashlight with a lexicon knows no other words. It gets one more frame with the delimiter at "
    "the end, because the last words would be missing without it. With pieces it takes silence "
    "where a word's last piece lasts more than one frame; in the corrected row such frames are "
    "counted as blanks beforehand.",
)


@dataclass
class Tables:
    """Tables that are printed at once and kept for a Markdown file."""

    console: Console
    parts: list[str] = field(default_factory=list)

    def add(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Prints and keeps a table. Its first two columns are text."""
        table = Table(title=title, title_justify="left")
        for i, heading in enumerate(headings):
            table.add_column(heading, justify="left" if i < 2 else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
        ruler = ["---" if i < 2 else "--:" for i in range(len(headings))]
        lines = ["| " + " | ".join(cells) + " |" for cells in (headings, ruler, *rows)]
        self.parts.append("\n".join([f"### {title}", "", *lines, ""]))

    def say(self, text: str) -> None:
        """Prints and keeps a paragraph."""
        self.console.print(text, highlight=False)
        self.parts.append(text + "\n")

    def write(self, path: Path) -> None:
        """Writes all of it as Markdown."""
        write_text(path, "\n".join(self.parts))


def race_rows(
    entries: Sequence[Entry], figures: Sequence[Figures], seconds: float
) -> list[list[str]]:
    """Rows of one set of utterances, in the order of the entries.

    Args:
        entries: The decoders.
        figures: Results of each decoder.
        seconds: Length of the audio.
    """
    ratios = ratios_to_ours(entries, figures)
    return [
        [
            entry.peer.name,
            entry.width.name if entry.width else "",
            str(entry.beam or ""),
            f"{1000 * done.seconds / seconds:.2f}",
            f"{done.seconds / seconds:.5f}",
            "" if math.isnan(done.all_cores) else f"{done.all_cores / seconds:.5f}",
            f"{1000 * done.texts / seconds:.2f}",
            f"{100 * done.wer.rate:.2f}",
            f"{done.distinct:.1f}",
            f"{100 * done.oracle.rate:.2f}",
            "" if math.isnan(ratio) else f"{ratio:.1f}",
        ]
        for entry, done, ratio in zip(entries, figures, ratios, strict=True)
    ]


def ratios_to_ours(entries: Sequence[Entry], figures: Sequence[Figures]) -> list[float]:
    """Time of each divided by ours with the same settings; NaN if ours did not run with them."""
    ours = {
        (entry.peer.labels, entry.width, entry.beam): done.seconds
        for entry, done in zip(entries, figures, strict=True)
        if entry.peer.name in (OURS, OURS_LABELS)
    }
    return [
        done.seconds / ours.get((entry.peer.labels, entry.width, entry.beam), math.nan)
        for entry, done in zip(entries, figures, strict=True)
    ]


Ratios = dict[tuple[str, str, str, int], list[float]]  # by vocabulary, decoder, width, beam


def collect(
    ratios: Ratios, kind: str, entries: Sequence[Entry], figures: Sequence[Figures]
) -> None:
    """Adds the ratios of one set of utterances."""
    for entry, ratio in zip(entries, ratios_to_ours(entries, figures), strict=True):
        if entry.width and not math.isnan(ratio) and not entry.peer.threads:
            key = (kind, entry.peer.name, entry.width.name, entry.beam)
            ratios.setdefault(key, []).append(ratio)


def summary_rows(ratios: Ratios) -> list[list[str]]:
    """Ratios over all sets of a kind of vocabulary: median, smallest, largest."""
    return [
        [
            kind,
            f"{name}, {width}",
            str(beam),
            *(f"{value:.1f}" for value in (median(found), min(found), max(found))),
            str(len(found)),
        ]
        for (kind, name, width, beam), found in sorted(ratios.items())
    ]


def scaling_rows(times: Mapping[int, float]) -> list[list[str]]:
    """Milliseconds for each size, and how they grow with it."""
    sizes = list(times)
    return [
        [
            str(size),
            f"{1000 * times[size]:.2f}",
            f"{size / sizes[0]:.0f}",
            f"{times[size] / times[sizes[0]]:.2f}",
        ]
        for size in sizes
    ]


def first_call_rows(found: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Seconds of each step."""
    return [[name, *(f"{value:.3f}" for value in times.values())] for name, times in found.items()]


def machine(measured: Sequence[str] = PACKAGES) -> str:
    """The machine and the packages that the figures were measured with.

    Args:
        measured: Packages whose versions are named.
    """
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    packages = []
    for name in measured:
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    return (
        f"{model}, {processors()} processors; "
        f"Python {platform.python_version()}, {', '.join(packages)}."
    )
