"""flashlight-text's decoders, and torchaudio's, which calls the first of them.

They score in log10 and, with a lexicon, know no words but the language model's. Three things help
them, none of which changes what they look for:
- Labels below the token threshold are masked, and as many labels a frame are looked at as are left.
- With a lexicon of characters a word ends with the delimiter, which speech does not end with: a
  frame with it is put at the end, or nearly every utterance would lack its last word.
- With a lexicon, silence may be taken between words, but not a word's last label once more. With
  characters that is right, as the last label is the delimiter. Pieces that last over a frame
  break; silence is then a column of its own that is never likely. In the mended search the further
  frames of a label that is the likeliest in each are counted as blanks, which no user would do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.vocabulary import Vocabulary
from experiments.bench.decoders.emissions import LETTERS, Units
from experiments.bench.decoders.search import Fusion, Search, Searches, Width, words_of

NEVER = -1e4  # natural log for labels that are not to be followed; -inf makes NaN of its sums
LN10 = float(np.log(10))


@dataclass(frozen=True)
class Mask:
    """What is done to log-probs before the search.

    Attributes:
        vocabulary: Of their V columns.
        least: Labels below this natural log in a frame are masked, but for its best.
        closes: Whether to put a certain delimiter at the end.
        mends: Whether the further frames of a label count as blanks.
    """

    vocabulary: Vocabulary
    least: float
    closes: bool = False
    mends: bool = False

    def __call__(self, log_probs: np.ndarray) -> tuple[np.ndarray, int]:
        """(T, V + 1) or, closed, (T + 1, V + 1) float32; and the most labels left in a frame."""
        frames, labels = log_probs.shape
        if self.mends:
            log_probs = mend(log_probs, self.vocabulary.blank)
        kept = log_probs >= self.least
        kept[np.arange(frames), log_probs.argmax(axis=1)] = True
        masked = np.full((frames + self.closes, labels + 1), NEVER, np.float32)
        masked[:frames, :labels][kept] = log_probs[kept]
        if self.closes:
            masked[-1, silence_of(self.vocabulary)] = 0.0
        return masked, int(kept.sum(axis=1).max())


def mend(log_probs: np.ndarray, blank: int) -> np.ndarray:
    """Log-probs in which a label that is the best in frames on end is a blank after the first."""
    best = log_probs.argmax(axis=1)
    lasting = np.flatnonzero((best[1:] == best[:-1]) & (best[1:] != blank)) + 1
    mended = log_probs.copy()
    mended[lasting, blank] = np.logaddexp(
        log_probs[lasting, blank], log_probs[lasting, best[lasting]]
    )
    mended[lasting, best[lasting]] = NEVER
    return mended


@dataclass(frozen=True)
class FlashlightSearch:
    """A decoder of flashlight-text, made anew for each utterance, which costs it nothing.

    Attributes:
        make: A decoder that looks at so many labels a frame.
        mask: Applied before.
        text: A result's text.
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


def load_lexicon(mends: bool, units: Units, fusion: Fusion) -> Searches:
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
        return FlashlightSearch(make, Mask(vocabulary, width.token_min_logp, closes, mends), text)

    def text(result: Any) -> str:
        return " ".join(words[i] for i in result.words if i >= 0)

    return search


def load_free(units: Units, fusion: Fusion) -> Searches:
    """The lexicon-free decoder with KenLM over labels; without a model where there is none."""
    from flashlight.lib.text import decoder as flashlight
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    vocabulary = units.vocabulary
    if fusion.label_lm is None:
        model = flashlight.ZeroLM()
    else:
        # One name more, for the column of silence that pieces get.
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
    """torchaudio's `ctc_decoder`, which makes words of its results itself."""

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
    """Label ids of the words that can be spelled, the delimiter last where there is one."""
    end = [] if units.vocabulary.word_delimiter is None else [silence_of(units.vocabulary)]
    return {word: [*units.spell(word), *end] for word in words if set(word) <= set(LETTERS)}


def silence_of(vocabulary: Vocabulary) -> int:
    """What may stand between words: the delimiter; with pieces, one column more than there are."""
    if vocabulary.word_delimiter is None:
        return len(vocabulary.labels)
    return vocabulary.labels.index(vocabulary.word_delimiter)
