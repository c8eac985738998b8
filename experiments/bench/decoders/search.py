"""What the benchmark knows of a decoder: how it is loaded, set and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from asr.pyctcdecode_beam import MARKS
from experiments.bench.decoders.emissions import Units
from lm.ngram.model import NgramModel


@dataclass(frozen=True)
class Width:
    """How far a search looks.

    Attributes:
        name: As the tables call it.
        token_min_logp: Labels below this natural log in a frame are not followed.
        beam_prune_logp: Hypotheses worse than the best by more than this natural log are dropped.
    """

    name: str
    token_min_logp: float
    beam_prune_logp: float

    def __str__(self) -> str:
        return f"{self.name} ({self.token_min_logp:g}, {self.beam_prune_logp:g})"


# pyctcdecode's own defaults; and pruning so far open that the beam alone limits the list. Labels
# down to -8 cost the other packages up to 4 times the time, and down to -10 up to 13 times, and
# make no list longer.
NARROW = Width("narrow", -5.0, -10.0)
WIDE = Width("wide", -6.0, -40.0)


@dataclass(frozen=True)
class Fusion:
    """The language models of a search and their weights, the same for all decoders.

    Attributes:
        lm: ARPA file of a word n-gram model.
        label_lm: ARPA file of an n-gram model of labels, for searches without words; None for none.
        alpha: Weight of a model's natural log.
        beta: Bonus for each word, natural log; with a word model only.
    """

    lm: str
    label_lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.5


class Search(Protocol):
    """A decoder with all its settings, ready for utterances."""

    def run(self, log_probs: np.ndarray) -> Any:
        """What the decoder's own call gives for (T, V) float32, natural log."""

    def texts(self, found: Any) -> list[str]:
        """The list's texts, best first, as they come."""


Searches = Callable[[Width, int], Search]  # of a width and a beam


@dataclass(frozen=True)
class Peer:
    """A decoder that may be installed.

    Attributes:
        name: In the tables.
        load: Loads the language models; gives the searches.
        needs: Modules without which it is skipped.
        kinds: Kinds of vocabulary on which it is run.
        widens: Whether width and beam mean something to it.
        threads: Whether it runs in threads; else it takes processes to use all cores.
        labels: Whether its language model is of labels, not of words.
    """

    name: str
    load: Callable[[Units, Fusion], Searches]
    needs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("characters", "pieces")
    widens: bool = True
    threads: bool = False
    labels: bool = False

    def missing(self) -> str | None:
        """Why it cannot run here, if so."""
        for module in self.needs:
            try:
                import_module(module)
            except (ImportError, OSError) as error:
                return f"{self.name}: skipped, `{module}` cannot be imported ({error})"
        return None


def words_of(lm: str) -> list[str]:
    """A language model's words, without its marks."""
    return [word for word in NgramModel.load(lm).vocabulary if word not in MARKS]
