"""Settings of the first pass: of the acoustic stage and of the decoders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lm.errors import InputError
from lm.ranges import FINITE, IN_32_BITS, POSITIVE, check_ranges

SAVED_DTYPES = ("float16", "float32")
DECODERS = ("beam", "greedy", "pyctcdecode")


@dataclass(frozen=True)
class Acoustic:
    """Settings of the acoustic stage.

    Attributes:
        model: AutoModelForCTC checkpoint, hub name or folder.
        batch_seconds: Seconds of audio in one batch.
        device: torch device; by default the GPU if there is one.
        dtype: Precision of the computation: float32, float16 or bfloat16. By default float16 on a
            GPU, else float32.
        save_dtype: Precision of the stored log-probs: float16 or float32.
    """

    model: str
    batch_seconds: float = 60.0
    device: str | None = None
    dtype: str | None = None
    save_dtype: str = "float16"

    def __post_init__(self) -> None:
        check_ranges(self, {"batch_seconds": POSITIVE})
        if self.save_dtype not in SAVED_DTYPES:
            raise InputError(
                f"save_dtype {self.save_dtype!r} is not one of {', '.join(SAVED_DTYPES)}"
            )


@dataclass(frozen=True)
class DecoderOptions:
    """Settings of a decoder.

    The search ranks a list by the score acoustic + alpha · ngram + beta · words; alpha multiplies
    the penalty of unknown words, too. Without an n-gram model the score is acoustic alone.

    Attributes:
        decoder: `beam`, `greedy` or `pyctcdecode`.
        lm: n-gram model over words: an ARPA file or our own format. Without it the search uses
            the acoustic scores alone.
        alpha: weight of the n-gram log-prob in the search
        beta: bonus for each word in the search, natural log; used with an n-gram model only
        unknown: added to the log10 probability of a word that the n-gram model does not have
        beam_width: number of prefixes that are kept after each frame
        nbest: largest number of hypotheses in a list
        token_min_logp: labels below this natural-log probability in a frame are not followed;
            the best label of the frame is always followed
        beam_prune_logp: prefixes that are worse than the best one by more than this natural log
            are dropped. At pyctcdecode's own default of -10 lists are short whatever the beam
            width; at -25 the beam width decides.
        lookahead: score an unfinished word by the most frequent word with that prefix. Without
            it, an unfinished word costs nothing as long as a known word has that prefix. This
            setting and all that follow need decoder `beam`.
        lm_unit: the words of the n-gram model: `word`, or `label` for a model over the labels of
            the acoustic model
        more_lms: further n-gram models
        lm_weights: one number for each n-gram model, `lm` first: its share in a linear mixture,
            or its factor beside alpha in a log-linear one. If empty, all shares are equal, or all
            factors are 1.
        mixture: how several n-gram models are combined: `log-linear` adds their scores, and each
            model has a column; `linear` adds their probabilities word by word
        hotwords: bonus, natural log, for each of these words or phrases in a text. They are whole
            words; in scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer,
            Burmese) they are found anywhere in a text. The search then runs twice, with and
            without them, and keeps the best of both, so that no weight makes a list worse.
        exact: add the column `ctc`, the log-prob of each text over all of its paths. This takes
            longer than the search itself.
    """

    decoder: str = "beam"
    lm: str | None = None
    alpha: float = 0.5
    beta: float = 1.0
    unknown: float = -10.0
    beam_width: int = 100
    nbest: int = 50
    token_min_logp: float = -6.0
    beam_prune_logp: float = -25.0
    lookahead: bool = True
    lm_unit: str = "word"
    more_lms: tuple[str, ...] = ()
    lm_weights: tuple[float, ...] = ()
    mixture: str = "log-linear"
    hotwords: Mapping[str, float] = field(default_factory=dict)
    exact: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("decoder", self.decoder, DECODERS),
            ("lm_unit", self.lm_unit, ("word", "label")),
            ("mixture", self.mixture, ("log-linear", "linear")),
        ):
            if value not in choices:
                raise InputError(f"{name} {value!r} is not one of {', '.join(choices)}")
        weights = ("alpha", "beta", "unknown", "lm_weights", "hotwords")
        check_ranges(self, dict.fromkeys(weights, FINITE))
        check_ranges(self, dict.fromkeys(("beam_width", "nbest"), IN_32_BITS))
        if self.beam_width < 1 or self.nbest < 1:
            raise InputError(
                f"beam_width {self.beam_width} and nbest {self.nbest} must be at least 1"
            )
        limits = (self.token_min_logp, self.beam_prune_logp)
        if any(map(math.isnan, limits)):
            given = " and ".join(map(str, limits))
            raise InputError(f"token_min_logp and beam_prune_logp must be numbers, not {given}")
        if self.token_min_logp > 0 or self.beam_prune_logp > 0 or self.unknown > 0:
            raise InputError(
                f"token_min_logp {self.token_min_logp}, beam_prune_logp {self.beam_prune_logp} and "
                f"unknown {self.unknown} are logarithms and must not be above 0"
            )
        if self.alpha < 0:
            raise InputError(f"alpha {self.alpha} must not be negative")
        if self.decoder == "greedy" and self.lm is not None:
            raise InputError("the greedy decoder takes no language model; remove `lm`")
        if self.more_lms and self.lm is None:
            raise InputError("`more_lms` needs a first n-gram model; set `lm`")
        if self.lm_weights:
            self._check_weights()
        for name in ("lm_unit", "more_lms", "lm_weights", "mixture", "hotwords", "exact"):
            default = {} if name == "hotwords" else getattr(type(self), name)
            if getattr(self, name) != default and self.decoder != "beam":
                raise InputError(f"`{name}` needs decoder `beam`, not {self.decoder}")

    def _check_weights(self) -> None:
        given = ", ".join(map(str, self.lm_weights))
        if len(self.lm_weights) != len(self.lms):
            raise InputError(
                f"there are lm_weights {given} for {len(self.lms)} n-gram models; give one for each"
            )
        if min(self.lm_weights) <= 0:
            raise InputError(f"lm_weights {given} must be above 0")
        if self.mixture == "linear" and abs(sum(self.lm_weights) - 1) > 1e-6:
            raise InputError(f"lm_weights {given} are shares of a mixture and must add up to 1")

    @property
    def lms(self) -> tuple[str, ...]:
        """All n-gram models."""
        return () if self.lm is None else (self.lm, *self.more_lms)

    @property
    def more_columns(self) -> tuple[str, ...]:
        """The columns of the N-best table that depend on the settings."""
        models = len(self.lms) if self.mixture == "log-linear" else 1
        return (
            *(f"ngram{k}" for k in range(2, models + 1)),
            *(["hotwords"] if self.hotwords else []),
            *(["ctc"] if self.exact else []),
        )
