"""flashlight-text's decoders, and torchaudio's decoder, which calls the first of them.

They score in log10. With a lexicon, they know only the words of the language model. Three things
help them, and none of these changes what they search for:
- Labels below the token threshold are masked, and the search follows all labels that are left.
- With a lexicon of characters, a word ends with the delimiter, but speech does not. So one frame
  with the delimiter is added at the end; without it nearly every utterance would lack its last
  word.
- With a lexicon, the search allows silence between words, but not a word's last label once more.
  With characters that is right, because the last label is the delimiter. Pieces that last more than
  one frame are not recognised; silence is then an extra column that is never likely. In the
  corrected search, when a label is the most likely one in several frames in a row, all frames but
  the first are counted as blanks. No user would do this.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.vocabulary import Vocabulary
from experiments.bench.decoders.interface import Fusion, Search, Searches, Width, words_of
from experiments.bench.decoders.synthetic_emissions import LETTERS, Units

NEVER = -1e4  # natural log of masked labels; with -inf, the sums would become NaN
LN10 = float(np.log(10))


@dataclass(frozen=True)
class Mask:
    """Changes of the log-probs before the search.

    Attributes:
        vocabulary: Labels of the V columns.
        least: Labels below this natural log in a frame are masked, except its best.
        closes: Whether a frame with the delimiter is added at the end.
        corrects: Whether repeated frames of a label count as blanks.
    """

    vocabulary: Vocabulary
    least: float
    closes: bool = False
    corrects: bool = False

    def __call__(self, log_probs: np.ndarray) -> tuple[np.ndarray, int]:
        """Masked log-probs, and the largest number of labels that are left in a frame.

        Returns:
            (T, V + 1) float32, or (T + 1, V + 1) with the delimiter at the end; and the number.
        """
        frames, labels = log_probs.shape
        if self.corrects:
            log_probs = without_repeats(log_probs, self.vocabulary.blank)
        kept = log_probs >= self.least
        kept[np.arange(frames), log_probs.argmax(axis=1)] = True
        masked = np.full((frames + self.closes, labels + 1), NEVER, np.float32)
        masked[:frames, :labels][kept] = log_probs[kept]
        if self.closes:
            masked[-1, silence_of(self.vocabulary)] = 0.0
        return masked, int(kept.sum(axis=1).max())


def without_repeats(log_probs: np.ndarray, blank: int) -> np.ndarray:
    """Log-probs in which a label that is best in several frames in a row is best only in the first.

    In the other frames its probability is given to the blank.
    """
    best = log_probs.argmax(axis=1)
    lasting = np.flatnonzero((best[1:] == best[:-1]) & (best[1:] != blank)) + 1
    changed = log_probs.copy()
    changed[lasting, blank] = np.logaddexp(
        log_probs[lasting, blank], log_probs[lasting, best[lasting]]
    )
    changed[lasting, best[lasting]] = NEVER
    return changed


@dataclass(frozen=True)
class FlashlightSearch:
    """A decoder of flashlight-text. It is made again for each utterance, which takes no time.

    Attributes:
        make: Makes a decoder that follows a given number of labels in each frame.
        mask: Applied to the log-probs first.
        text: Makes the text of a result.
    """

    make: Callable[[int], Any]
    mask: Mask
    text: Callable[[Any], str]

    def run(self, log_probs: np.ndarray) -> Any:
        """flashlight-text's results."""
        masked, most = self.mask(log_probs)
        return self.make(most).decode(masked.ctypes.data, *masked.shape)

    def texts(self, found: Any) -> list[str]:
        """Their texts."""
        return [self.text(result) for result in found]


def load_lexicon(corrects: bool, units: Units, fusion: Fusion) -> Searches:
    """The lexicon decoder with KenLM, over the words of the language model."""
    from flashlight.lib.text import decoder as flashlight
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    vocabulary = units.vocabulary
    spellings = lexicon(units, words_of(fusion.lm))
    words = list(spellings)
    model = KenLM(fusion.lm, Dictionary([*words, "<unk>"]))
    silence = silence_of(vocabulary)
    trie = flashlight.Trie(len(vocabulary.labels) + 1, silence)
    start = model.start(False)
    for index, spelled in enumerate(spellings.values()):
        trie.insert(spelled, index, model.score(start, index)[1])
    trie.smear(flashlight.SmearingMode.MAX)

    def search(width: Width, beam: int) -> Search:
        def make(most: int) -> Any:
            options = flashlight.LexiconDecoderOptions(
                beam_size=beam,
                beam_size_token=most,
                beam_threshold=-width.beam_prune_logp,
                lm_weight=fusion.alpha * LN10,
                word_score=fusion.beta,
                unk_score=-np.inf,
                sil_score=0.0,
                log_add=True,
                criterion_type=flashlight.CriterionType.CTC,
            )
            return flashlight.LexiconDecoder(
                options, trie, model, silence, vocabulary.blank, len(words), [], False
            )

        closes = vocabulary.word_delimiter is not None
        return FlashlightSearch(
            make, Mask(vocabulary, width.token_min_logp, closes, corrects), text
        )

    def text(result: Any) -> str:
        return " ".join(words[i] for i in result.words if i >= 0)

    return search


def load_free(units: Units, fusion: Fusion) -> Searches:
    """The lexicon-free decoder with KenLM over labels, or without an LM if there is none."""
    from flashlight.lib.text import decoder as flashlight
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    vocabulary = units.vocabulary
    if fusion.label_lm is None:
        model = flashlight.ZeroLM()
    else:
        # One more name, for the column of silence that is added for pieces.
        model = KenLM(fusion.label_lm, Dictionary([*vocabulary.labels, "<silence>"]))

    def search(width: Width, beam: int) -> Search:
        def make(most: int) -> Any:
            options = flashlight.LexiconFreeDecoderOptions(
                beam_size=beam,
                beam_size_token=most,
                beam_threshold=-width.beam_prune_logp,
                lm_weight=fusion.alpha * LN10,
                sil_score=0.0,
                log_add=True,
                criterion_type=flashlight.CriterionType.CTC,
            )
            return flashlight.LexiconFreeDecoder(
                options, model, silence_of(vocabulary), vocabulary.blank, []
            )

        return FlashlightSearch(make, Mask(vocabulary, width.token_min_logp), text)

    def text(result: Any) -> str:
        path = np.array(result.tokens)
        path = path[path < len(vocabulary.labels)]
        return vocabulary.text(path[np.flatnonzero(np.diff(path, prepend=-1))].tolist())

    return search


@dataclass(frozen=True)
class TorchaudioSearch:
    """torchaudio's `ctc_decoder`, whose results are words already."""

    decoder: Any
    mask: Mask

    def run(self, log_probs: np.ndarray) -> Any:
        """torchaudio's hypotheses."""
        import torch

        return self.decoder(torch.from_numpy(self.mask(log_probs)[0])[None])[0]

    def texts(self, found: Any) -> list[str]:
        """Their texts."""
        return [" ".join(hypothesis.words) for hypothesis in found]


def load_torchaudio(units: Units, fusion: Fusion) -> Searches:
    """torchaudio's `ctc_decoder` with a lexicon and KenLM."""
    import torch
    from torchaudio.models.decoder import ctc_decoder

    torch.set_num_threads(1)
    vocabulary = units.vocabulary
    labels = [*vocabulary.labels, "<silence>"]
    lines = [
        " ".join([word, *(labels[i] for i in spelled)])
        for word, spelled in lexicon(units, words_of(fusion.lm)).items()
    ]
    closes = vocabulary.word_delimiter is not None

    def search(width: Width, beam: int) -> Search:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lexicon.txt"
            path.write_text("\n".join([*lines, ""]), encoding="utf-8")
            decoder = ctc_decoder(
                lexicon=str(path),
                tokens=labels,
                lm=fusion.lm,
                nbest=beam,
                beam_size=beam,
                beam_threshold=-width.beam_prune_logp,
                lm_weight=fusion.alpha * LN10,
                word_score=fusion.beta,
                log_add=True,
                blank_token=labels[vocabulary.blank],
                sil_token=labels[silence_of(vocabulary)],
            )
        return TorchaudioSearch(decoder, Mask(vocabulary, width.token_min_logp, closes))

    return search


def lexicon(units: Units, words: list[str]) -> dict[str, list[int]]:
    """Label ids of the words that can be spelled; the delimiter comes last if there is one."""
    end = [] if units.vocabulary.word_delimiter is None else [silence_of(units.vocabulary)]
    return {word: [*units.spell(word), *end] for word in words if set(word) <= set(LETTERS)}


def silence_of(vocabulary: Vocabulary) -> int:
    """Column of the silence between words: the delimiter; with pieces, one additional column."""
    if vocabulary.word_delimiter is None:
        return len(vocabulary.labels)
    return vocabulary.labels.index(vocabulary.word_delimiter)
