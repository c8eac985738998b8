"""Settings of the second pass's models, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from lm.errors import InputError

# The settings that say how a model is loaded; the others say how it scores.
LOADING = ("device", "dtype", "device_map", "bits")


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """How texts are scored; what a kind of model has no use for is left unused.

    Attributes:
        eos: Whether the end of the sentence is scored (n-gram and causal models).
        separator: What stands between earlier texts and the text in a causal model's context:
            characters, or `eos` for its EOS token, as models of `train-lm running=true` have it.
        too_long: What happens to a text longer than the model can read: `error`, or `window`:
            every token is scored with at least half of what the model can read before it.
        max_tokens: Tokens that a causal model reads at once, start token and context counted in,
            where that should be less than it can, such as what it was trained on.
        history: `exact`, or a number of tokens k: hypotheses of a list that agree in their last k
            tokens share what follows, with the context of the one that the first pass likes best
            (causal models).
        method: `tree` scores the prefix tree of the hypotheses, `padded` every hypothesis whole;
            the results are equal (causal models).
        within_word: Whether the pieces of a word that follow the masked one are masked too
            (masked models).
        batch_tokens: Tokens of one batch; halved when memory runs out.
        device: torch device; by default the GPU if there is one.
        dtype: `float32`, `float16` or `bfloat16`; by default float16 on a GPU, else float32.
        device_map: `auto` or another of accelerate's ways to spread a model over devices.
        bits: 8 or 4 loads the weights quantised, where bitsandbytes is installed.
    """

    eos: bool = True
    separator: str = "\n"
    too_long: Literal["error", "window"] = "error"
    max_tokens: int | None = None
    history: int | Literal["exact"] = "exact"
    method: Literal["tree", "padded"] = "tree"
    within_word: bool = False
    batch_tokens: int = 4096
    device: str | None = None
    dtype: str | None = None
    device_map: str | None = None
    bits: Literal[8, 4] | None = None

    def __post_init__(self) -> None:
        if self.history != "exact" and self.history < 1:
            raise InputError(f"history of {self.history} tokens: use `exact`, or at least 1")
        if self.history != "exact" and self.method == "padded":
            raise InputError("`history` merges hypotheses, which only `method: tree` can do")
        if self.max_tokens is not None and self.max_tokens < 2:
            raise InputError(f"max_tokens of {self.max_tokens}: use at least 2")
        if self.batch_tokens < 1:
            raise InputError(f"batch of {self.batch_tokens} tokens: use at least 1")
        if self.device_map is not None and self.device is not None:
            raise InputError("`device` and `device_map` both say where a model runs; give one")

    def identity(self) -> dict[str, Any]:
        """The settings that change scores by more than rounding, as JSON values."""
        apart = ("method", "batch_tokens", "device", "device_map")
        names = (field.name for field in fields(ScorerOptions))
        return {name: getattr(self, name) for name in names if name not in apart}
