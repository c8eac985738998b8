"""Settings of the first pass, in one place: of the acoustic stage and of the decoders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from lm.errors import InputError

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


@dataclass(frozen=True)
class DecoderOptions:
    """How to decode.

    The search's score, by which lists are ranked, is acoustic + alpha · ngram + beta · words, where
    alpha is also given to the penalty of unknown words; without an n-gram model it is acoustic.

    Attributes:
        decoder: `beam`, `greedy` or `pyctcdecode`.
        lm: n-gram model over words, ARPA or our own format; None searches without one.
        alpha: Weight of the n-gram log-prob in the search.
        beta: Bonus for each word in the search, natural log; only with an n-gram model.
        unknown: Added to the log10 probability of a word that the n-gram model lacks.
        beam_width: Prefixes that are kept after each frame.
        nbest: Longest list.
        token_min_logp: Labels below this natural-log probability in a frame are not followed,
            except the frame's best.
        beam_prune_logp: Prefixes that are worse than the best by more than this natural log are
            dropped. pyctcdecode's own default of -10 leaves lists of a few hypotheses whatever the
            beam width; at -25 the width is what limits the list.
        lookahead: Whether an unfinished word counts as the most frequent word that begins so; else
            it costs nothing as long as some known word does. `beam` only, as all that follows.
        lm_unit: What the n-gram model's words are: `word` or `label`, the vocabulary's own.
        more_lms: Further n-gram models.
        lm_weights: For each n-gram model, `lm` first: its share of a linear mixture, or its factor
            beside alpha in a log-linear one. Empty: equal shares, or factors of 1.
        mixture: `log-linear` (scores are added; each model has a column) or `linear`
            (probabilities are added word by word).
        hotwords: Bonus, natural log, by word or phrase that is favoured.
        exact: Whether to add the column `ctc`, the log-prob over all paths of each text. Takes time
            by frames times letters, more than the search does.
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
        if self.beam_width < 1 or self.nbest < 1:
            raise InputError(
                f"beam_width {self.beam_width} and nbest {self.nbest} must be at least 1"
            )
        numbers = (self.alpha, self.beta, self.unknown, *self.lm_weights)
        limits = (self.token_min_logp, self.beam_prune_logp)
        if not all(map(math.isfinite, numbers)) or any(map(math.isnan, limits)):
            raise InputError(f"{(*numbers, *limits)}: weights and limits must be finite numbers")
        if self.token_min_logp > 0 or self.beam_prune_logp > 0 or self.unknown > 0:
            raise InputError(
                f"token_min_logp {self.token_min_logp}, beam_prune_logp {self.beam_prune_logp} and "
                f"unknown {self.unknown} are logs and must not be above 0"
            )
        if self.alpha < 0:
            raise InputError(f"alpha {self.alpha} must not be negative")
        if self.decoder == "greedy" and self.lm is not None:
            raise InputError("the greedy decoder takes no language model; leave `lm` out")
        if self.more_lms and self.lm is None:
            raise InputError("`more_lms` need a first one; set `lm`")
        if self.lm_weights:
            self._check_weights()
        for name in ("lm_unit", "more_lms", "lm_weights", "mixture", "hotwords", "exact"):
            default = {} if name == "hotwords" else getattr(type(self), name)
            if getattr(self, name) != default and self.decoder != "beam":
                raise InputError(f"`{name}` needs decoder `beam`, not {self.decoder}")

    def _check_weights(self) -> None:
        given = ", ".join(map(str, self.lm_weights))
        if len(self.lm_weights) != len(self.lms):
            raise InputError(f"lm_weights {given} for {len(self.lms)} n-gram models; give as many")
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
        """The columns of the N-best table that not every decoder has."""
        models = len(self.lms) if self.mixture == "log-linear" else 1
        return (
            *(f"ngram{k}" for k in range(2, models + 1)),
            *(["hotwords"] if self.hotwords else []),
            *(["ctc"] if self.exact else []),
        )
