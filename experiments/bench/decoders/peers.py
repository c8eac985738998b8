"""Decoders side by side: ours and other packages', each called as its users call it.

So that each decoder shows its best:
- Language models are loaded and lexicons are built before the time is taken.
- Only the decoder's own call is timed. Where its results are not yet texts, making the texts is
  timed separately.
- flashlight-text (`flashlight.py`) gets masked labels, a delimiter at the end, and a row in which
  pieces that last more than one frame are corrected.
One weakness remains: pyctcdecode scores text that ends with a space as if one more, unknown word
followed, so some of its texts end with one word too many.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from asr.beam import BeamDecoder
from asr.decode import GreedyDecoder
from asr.options import DecoderOptions
from experiments.bench.decoders.flashlight import load_free, load_lexicon, load_torchaudio
from experiments.bench.decoders.interface import (
    WIDE,
    Fusion,
    Peer,
    Search,
    Searches,
    Width,
    words_of,
)
from experiments.bench.decoders.synthetic_emissions import Units


@dataclass(frozen=True)
class OwnSearch:
    """A decoder of `asr.decode`."""

    decoder: Any

    def run(self, log_probs: np.ndarray) -> Any:
        """Hypotheses."""
        return self.decoder.decode(log_probs)

    def texts(self, found: Any) -> list[str]:
        """Their texts."""
        return [hypothesis.text for hypothesis in found]


def load_greedy(units: Units, fusion: Fusion) -> Searches:
    """The best label of every frame."""
    return lambda width, beam: OwnSearch(GreedyDecoder(units.vocabulary))


def load_ours(lm_unit: str, units: Units, fusion: Fusion) -> Searches:
    """The beam decoder with an LM of words or of labels, which is loaded once for all searches."""
    loaded = BeamDecoder.build(units.vocabulary, own_options(lm_unit, fusion, WIDE, 1))

    def search(width: Width, beam: int) -> Search:
        return OwnSearch(replace(loaded, options=own_options(lm_unit, fusion, width, beam)))

    return search


def own_options(lm_unit: str, fusion: Fusion, width: Width, beam: int) -> DecoderOptions:
    """Settings of the beam decoder that match those of the others."""
    words = lm_unit == "word"
    return DecoderOptions(
        "beam",
        lm=fusion.lm if words else fusion.label_lm,
        lm_unit=lm_unit,
        alpha=fusion.alpha,
        beta=fusion.beta if words else 0.0,
        beam_width=beam,
        nbest=beam,
        token_min_logp=width.token_min_logp,
        beam_prune_logp=width.beam_prune_logp,
    )


@dataclass(frozen=True)
class PyctcdecodeSearch:
    """pyctcdecode's `decode_beams`."""

    decoder: Any
    width: Width
    beam: int

    def run(self, log_probs: np.ndarray) -> Any:
        """Beams: tuples, text first."""
        return self.decoder.decode_beams(
            log_probs,
            beam_width=self.beam,
            token_min_logp=self.width.token_min_logp,
            beam_prune_logp=self.width.beam_prune_logp,
        )

    def texts(self, found: Any) -> list[str]:
        """Their texts."""
        return [beam[0] for beam in found]


def load_pyctcdecode(units: Units, fusion: Fusion) -> Searches:
    """pyctcdecode with KenLM, built by its own `build_ctcdecoder`."""
    from pyctcdecode import build_ctcdecoder

    # It warns of vocabularies without an unknown label and of small language models.
    logging.getLogger("pyctcdecode").setLevel(logging.ERROR)
    vocabulary = units.vocabulary
    labels = ["" if i == vocabulary.blank else text for i, text in enumerate(vocabulary.labels)]
    decoder = build_ctcdecoder(
        labels, fusion.lm, words_of(fusion.lm), alpha=fusion.alpha, beta=fusion.beta
    )
    return partial(PyctcdecodeSearch, decoder)


FLASHLIGHT = ("flashlight.lib.text.decoder", "flashlight.lib.text.decoder.kenlm")
OURS, OURS_LABELS = "ours", "ours, n-gram of labels"
PEERS = (
    Peer("greedy", load_greedy, widens=False),
    Peer("pyctcdecode", load_pyctcdecode, ("pyctcdecode", "kenlm")),
    Peer("flashlight lexicon", partial(load_lexicon, False), FLASHLIGHT),
    Peer("flashlight lexicon, corrected", partial(load_lexicon, True), FLASHLIGHT, ("pieces",)),
    Peer("torchaudio lexicon", load_torchaudio, ("torchaudio.models.decoder", *FLASHLIGHT)),
    Peer("flashlight free", load_free, FLASHLIGHT, labels=True),
    Peer(OURS, partial(load_ours, "word"), threads=True),
    Peer(OURS_LABELS, partial(load_ours, "label"), threads=True, labels=True),
)
