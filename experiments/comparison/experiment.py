"""One comparison: what an experiment's config says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from asr.evaluation.alignment import Method
from asr.evaluation.significance import RESAMPLES, Test
from asr.options import Acoustic, DecoderOptions
from experiments.comparison.column import Column
from experiments.comparison.counting import Counting, Unit
from experiments.comparison.names import check_names
from experiments.comparison.split import Split
from experiments.comparison.system import System, resolve
from lm.errors import InputError
from lm.files import SCORES
from lm.ranges import NOT_NEGATIVE, SEED, Range, check_ranges
from lm.text.normalisers import DEFAULT, normaliser

RANGES = {
    "seed": SEED,
    "resamples": Range(1, 10_000_000),
    "folds": NOT_NEGATIVE,
    "explain": NOT_NEGATIVE,
}
NO_FILE = ("no", "off", "none", "false")  # meant as `null`, and no one's file
N_BEST_COLUMNS = ("acoustic", "ngram", "words", "oov")


@dataclass(frozen=True)
class Comparison:
    """An experiment.

    Attributes:
        name: name of the run; results are written to `results/NAME` unless --out names a folder.
        splits: evaluation sets by name.
        systems: rows of the table by name.
        baseline: the system that the others are tested against; by default the first.
        dev: names of the splits that weights are tuned on.
        acoustic: the acoustic stage, for splits of audio.
        first_passes: decoders by name, for splits of audio.
        columns: language models by name, whose scores systems may use.
        normaliser: what is applied to references and hypotheses before words are counted.
        alignment: alignment of hypotheses with references: `jiwer`, or `sclite` as NIST's tool
            does it.
        intervals: what the bootstrap draws, `utterances` or `speakers`.
        significance: where p-values come from: `mapsswe`, the matched-pairs test as NIST's tool
            does it, or `permutation`, the exact test of the same segments.
        note: a text that is printed below the table.
        seed: random seed for tuning and the bootstrap.
        resamples: number of bootstrap samples.
        folds: number of folds of the cross-validation of tuned weights, by speaker where speakers
            are known; 0 skips the cross-validation.
        explain: number of utterances of a split for which the log-probs of tokens are kept, among
            those on which systems differ.
        cache: file of the scores that are kept between runs and shared by all; null keeps none.
    """

    name: str
    splits: Mapping[str, Split]
    systems: Mapping[str, System]
    dev: tuple[str, ...] = ("dev",)
    acoustic: Acoustic | None = None
    first_passes: Mapping[str, DecoderOptions] = field(default_factory=dict)
    columns: Mapping[str, Column] = field(default_factory=dict)
    normaliser: str = DEFAULT
    alignment: Method = "jiwer"
    intervals: Unit = "utterances"
    significance: Test = "mapsswe"
    baseline: str | None = None
    note: str | None = None
    seed: int = 1
    resamples: int = RESAMPLES
    folds: int = 5
    explain: int = 300
    cache: str | None = str(SCORES)

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        check_names("name", [self.name])
        for kind in ("splits", "systems", "first_passes", "columns"):
            check_names(f"{kind}: the name", getattr(self, kind))
        if self.folds == 1:
            raise InputError("`folds` is 1; give 2 or more, or 0 for no cross-validation")
        if self.cache is not None and self.cache.lower() in NO_FILE:
            raise InputError(f"`cache` is {self.cache!r}; give a file, or null to keep no scores")
        if self.baseline is not None and self.baseline not in self.systems:
            raise InputError(
                f"baseline {self.baseline!r} is not one of the systems ({', '.join(self.systems)})"
            )
        for name in self.dev:
            if name not in self.splits and any(s.columns for s in self.systems.values()):
                raise InputError(
                    f"dev split {name!r} is not one of the splits ({', '.join(self.splits)})"
                )
        audio = any(split.manifest is not None for split in self.splits.values())
        for name, plan in resolve(self.systems).items():
            system = plan.system
            if system.systems:
                continue
            if audio and system.lists not in self.first_passes:
                raise InputError(
                    f"system {name!r} picks from {system.lists!r}, which is no first pass "
                    f"({', '.join(self.first_passes)})"
                )
            if not audio:  # what columns imported lists have is seen when they are read
                continue
            own = (*N_BEST_COLUMNS, *self.first_passes[system.lists].more_columns)
            for column in plan.columns:
                if column not in self.columns and column not in own:
                    raise InputError(
                        f"system {name!r} weighs {column!r}, which is no column "
                        f"({', '.join([*own, *self.columns])})"
                    )

    def counting(self) -> Counting:
        """How words are counted and rates compared.

        Raises:
            InputError: There is no such normaliser.
        """
        clean = normaliser(self.normaliser)
        return Counting(
            clean, self.alignment, self.intervals, self.resamples, self.seed, self.significance
        )
