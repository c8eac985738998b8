"""What the benchmark knows of a decoder: how it is loaded, set and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from asr.pyctcdecode_beam import MARKS
from experiments.bench.decoders.synthetic_emissions import Units
from lm.ngram.model import NgramModel


@dataclass(frozen=True)
class Width:
    """How far a search looks.

    Attributes:
        name: Name in the tables.
        token_min_logp: Labels below this natural-log probability in a frame are not followed.
        beam_prune_logp: Hypotheses that are worse than the best by more than this natural log are
            dropped.
    """

    name: str
    token_min_logp: float
    beam_prune_logp: float

    def __str__(self) -> str:
        return f"{self.name} ({self.token_min_logp:g}, {self.beam_prune_logp:g})"


# pyctcdecode's own defaults; and pruning so wide that only the beam limits the list. Even wider
# pruning makes no list longer: labels down to -8 cost the other packages up to 4 times the time,
# and labels down to -10 up to 13 times.
NARROW = Width("narrow", -5.0, -10.0)
WIDE = Width("wide", -6.0, -40.0)


@dataclass(frozen=True)
class Fusion:
    """The language models of a search and their weights, the same for all decoders.

    Attributes:
        lm: ARPA file of a word n-gram model.
        label_lm: ARPA file of an n-gram model of labels, for searches without words; may be None.
        alpha: Weight of a model's natural log.
        beta: Bonus for each word, natural log; only with a word model.
    """

    lm: str
    label_lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.5


class Search(Protocol):
    """A decoder with all its settings, ready for utterances."""

    def run(self, log_probs: np.ndarray) -> Any:
        """Result of the decoder's own call for log-probs (T, V) float32, natural log."""

    def texts(self, found: Any) -> list[str]:
        """The texts of the result, best first, unchanged."""


Searches = Callable[[Width, int], Search]  # makes the search of a width and a beam


@dataclass(frozen=True)
class Peer:
    """A decoder that may be installed.

    Attributes:
        name: Name in the tables.
        load: Loads the language models and returns the searches.
        needs: Modules without which the decoder is skipped.
        kinds: Kinds of vocabulary on which it is run.
        widens: Whether it has a width and a beam.
        threads: Whether it runs in threads on all cores; otherwise it needs processes.
        labels: Whether its language model is one of labels, not of words.
    """

    name: str
    load: Callable[[Units, Fusion], Searches]
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("characters", "pieces")
    widens: bool = True
    threads: bool = False
    labels: bool = False

    def missing(self) -> str | None:
        """The reason why it cannot run here; None if it can."""
        for module in self.needs:
            try:
                import_module(module)
            except (ImportError, OSError) as error:
                return f"{self.name}: skipped, `{module}` cannot be imported ({error})"
        return None


def words_of(lm: str) -> list[str]:
    """A language model's words, without its marks."""
    return [word for word in NgramModel.load(lm).vocabulary if word not in MARKS]
