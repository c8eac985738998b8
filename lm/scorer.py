"""Scorers: the interface and the settings of every model of the second pass.

A scorer is anything with `score(batch, progress)`. A new kind of model is one module with such a
class and one line in `lm.rescore.load_scorer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from lm.errors import InputError
from lm.ranges import IN_32_BITS, check_ranges

# A function that is called with the number of texts that were scored since the last call.
Progress = Callable[[int], object]


# The settings that say how a model is loaded; the others say how it scores.
LOADING = ("device", "dtype", "device_map", "bits")


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """How texts are scored; a model ignores the settings that do not concern its kind.

    Attributes:
        eos: Whether the end of the sentence is scored (n-gram and causal models).
        separator: Separator of earlier texts and the text in a causal model's context: characters,
            or `eos` for its EOS token, as models of `train-lm running=true` have it.
        too_long: What happens to a text that is longer than the model can read: `error`, or
            `window`, where windows that overlap are read and every token beyond the first window
            has at least half a window before it.
        max_tokens: Number of tokens that a causal model reads at once, start token and context
            included, if that should be less than it can read, such as the length that it was
            trained with.
        history: `exact`, or a number of tokens k: where hypotheses of an N-best list agree in k
            tokens, the words after these are scored once, in the context of the hypothesis that
            the first pass ranks highest (causal models).
        method: `tree` scores the prefix tree of the hypotheses, `padded` every hypothesis by
            itself; the results are equal (causal models).
        within_word: Whether the pieces of a word that follow the masked one are masked too
            (masked models).
        batch_tokens: Number of tokens of one batch; it is halved when memory runs out.
        device: torch device; by default the GPU if there is one.
        dtype: `float32`, `float16` or `bfloat16`; by default float16 on a GPU, else float32.
        device_map: `auto` or another of accelerate's ways to spread a model over devices.
        bits: 8 or 4 for quantised weights; this needs bitsandbytes.
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
        check_ranges(self, {"max_tokens": IN_32_BITS, "batch_tokens": IN_32_BITS})
        if self.history != "exact" and self.history < 1:
            raise InputError(f"history of {self.history} tokens: use `exact`, or at least 1")
        if self.history != "exact" and self.method == "padded":
            raise InputError(
                "`history` merges hypotheses, which needs `method: tree`; remove one of the two"
            )
        if self.max_tokens is not None and self.max_tokens < 2:
            raise InputError(f"max_tokens of {self.max_tokens}: use at least 2")
        if self.batch_tokens < 1:
            raise InputError(
                f"`batch_tokens`: a batch of {self.batch_tokens} tokens; use at least 1"
            )
        if self.device_map is not None and self.device is not None:
            raise InputError("`device` and `device_map` both say where a model runs; give one")

    def identity(self) -> dict[str, Any]:
        """The settings that change scores by more than rounding, as JSON values."""
        apart = ("method", "batch_tokens", "device", "device_map")
        names = (field.name for field in fields(ScorerOptions))
        return {name: getattr(self, name) for name in names if name not in apart}


@dataclass(frozen=True)
class Texts:
    """N texts to be scored, each with what was said before it.

    Attributes:
        texts: N texts as the model should read them (already normalised).
        contexts: N contexts, each a tuple of earlier texts, oldest first, or (); None if no text
            has a context.
        lists: (N,) number of the N-best list of each text; equal numbers are next to each other,
            and the first pass's best hypothesis comes first. None if every text is its own list.
        prompt: Texts before all contexts, such as a description of the domain.
    """

    texts: Sequence[str]
    contexts: Sequence[tuple[str, ...]] | None = None
    lists: np.ndarray | None = None
    prompt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("contexts", self.contexts), ("lists", self.lists)):
            if values is not None and len(values) != len(self.texts):
                raise ValueError(f"{len(values)} {name} for {len(self.texts)} texts")

    def __len__(self) -> int:
        return len(self.texts)

    @classmethod
    def of(cls, texts: Texts | Sequence[str]) -> Texts:
        """Plain strings as `Texts` without context; `Texts` are returned as they are."""
        return texts if isinstance(texts, Texts) else cls(texts)

    def said(self, index: int) -> tuple[str, ...]:
        """What was said before a text."""
        return self.contexts[index] if self.contexts is not None else ()

    def context(self, index: int) -> tuple[str, ...]:
        """Everything before a text: the prompt and what was said before."""
        return (*self.prompt, *self.said(index))

    def chosen(self, indices: Sequence[int] | np.ndarray) -> Texts:
        """Some of the texts, in the order of the indices."""
        return Texts(
            [self.texts[i] for i in indices],
            None if self.contexts is None else [self.contexts[i] for i in indices],
            None if self.lists is None else self.lists[np.asarray(indices, dtype=np.int64)],
            self.prompt,
        )

    def longest(self, lengths: np.ndarray) -> np.ndarray:
        """(N,) length of the longest text in each text's list, of lengths (N,).

        When a context is too long, the same part of it must be left out for all texts of a list;
        otherwise their scores could not be compared.
        """
        if self.lists is None or not len(lengths):
            return lengths
        starts = np.flatnonzero(np.append(True, np.diff(self.lists) != 0))
        counts = np.diff(np.append(starts, len(lengths)))
        return np.repeat(np.maximum.reduceat(lengths, starts), counts)


@dataclass(frozen=True)
class Scores:
    """Scores of N texts by a model.

    Attributes:
        logprob: (N,) float64, natural log of each text's probability; -inf is legal, NaN is not.
        tokens: (N,) int64, number of scored tokens, the end of the sentence included if it was
            scored.
    """

    logprob: np.ndarray
    tokens: np.ndarray


class Scorer(Protocol):
    """A model that scores whole texts."""

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts, in their order.

        Args:
            batch: The texts; `Texts.of` makes them out of plain strings.
            progress: Called with the number of texts that were scored since the last call.

        Raises:
            TextError: A text cannot be scored.
        """


@runtime_checkable
class Adjustable(Scorer, Protocol):
    """A scorer whose settings can be changed without loading its model again: all of ours."""

    def with_options(self, options: ScorerOptions) -> Scorer:
        """The same model under other settings of scoring."""


def checked(found: object, count: int) -> Scores:
    """What a scorer returned, as arrays of the right types.

    Args:
        found: Anything.
        count: N, the number of texts.

    Raises:
        InputError: It is no `Scores` of N texts; the message says what it is.
    """
    if not hasattr(found, "logprob") or not hasattr(found, "tokens"):
        raise _wrong(_described(found), count)
    logprob, tokens = _array(found.logprob), _array(found.tokens)
    for name, array, kinds, wanted in (
        ("logprob", logprob, "fiu", "numbers"),
        ("tokens", tokens, "iu", "integers"),
    ):
        if array is None or array.ndim != 1:
            raise _wrong(f"as `{name}` {_described(getattr(found, name))}", count)
        if len(array) and array.dtype.kind not in kinds:
            raise _wrong(f"as `{name}` values of type {array.dtype}, not {wanted}", count)
    assert logprob is not None and tokens is not None
    if not len(logprob) == len(tokens) == count:
        raise _wrong(
            f"{len(logprob)} log-probs and {len(tokens)} token counts for {count} texts", count
        )
    return Scores(logprob.astype(np.float64), tokens.astype(np.int64))


def _array(values: Any) -> np.ndarray | None:
    """Values as an array; None where they are none, such as rows of different lengths."""
    try:
        return np.asarray(values)
    # A tensor on a GPU, say, refuses in its own way.
    except Exception:
        return None


def _described(value: object) -> str:
    """A value for messages: its type, and its shape or length where it has one."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _wrong(what: str, count: int) -> InputError:
    return InputError(
        f"`score` returns {what}; it must return `lm.scorer.Scores(logprob, tokens)`: two "
        f"NumPy arrays of shape ({count},), natural-log probabilities and numbers of tokens, one "
        "for each text in the order of the texts"
    )


class TextError(InputError):
    """One text cannot be scored.

    Attributes:
        index: place of the text among all texts, from 0.
        reason: what is wrong and what to do, without the place.
    """

    def __init__(self, index: int, text: str, reason: str) -> None:
        start = " ".join(text.split()[:6])
        self.index = index
        self.reason = f"{shortened(start)!r}{' …' if start != text else ''} {reason}"
        super().__init__(f"text {index}: {self.reason}")

    def moved(self, indices: np.ndarray) -> TextError:
        """The same error with the text's place among more texts, of which these were scored."""
        self.index = int(indices[self.index])
        self.args = (f"text {self.index}: {self.reason}",)
        return self


def parts(lists: np.ndarray, size: int) -> list[slice]:
    """Cuts rows into parts of about `size` rows; no N-best list is cut.

    Args:
        lists: (N,) numbers of N-best lists; equal numbers are next to each other.
        size: Number of rows of a part; a longer list is a part of its own.
    """
    ends = np.append(np.flatnonzero(np.diff(lists)) + 1, len(lists))
    cuts, start = [], 0
    while start < len(lists):
        fitting = ends[(ends > start) & (ends <= start + size)]
        stop = int(fitting[-1] if len(fitting) else ends[ends > start][0])
        cuts.append(slice(start, stop))
        start = stop
    return cuts


def shortened(text: str, longest: int = 60) -> str:
    """The text's beginning, for messages."""
    return text if len(text) <= longest else text[: longest - 1] + "…"
