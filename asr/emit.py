"""The acoustic stage: the log-probs of many utterances, in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from asr.acoustic import NOT_A_NUMBER, CTCModel
from asr.corpus import Utterance, load_utterance
from lm.errors import InputError, SecondpassError

# Utterances, and seconds of audio, that are loaded and sorted by length together.
WINDOW = 256
WINDOW_SECONDS = 3600.0

Loaded = tuple[Utterance, np.ndarray]  # an utterance and its audio, (samples,) float32
Emitted = tuple[str, np.ndarray | SecondpassError]


def emit(
    model: CTCModel, utterances: Iterable[Utterance], batch_seconds: float = 60.0
) -> Iterator[Emitted]:
    """Log-probs of many utterances, in batches of similar length.

    Args:
        model: The acoustic model.
        utterances: Any number of utterances. They are read in windows, so that memory does not
            grow.
        batch_seconds: Audio in one batch, padding included, seconds.

    Yields:
        Id of the utterance and (T, V) float32 log-probs, or the error of an utterance that failed;
        the others continue. Within a window the longest utterances come first.
    """
    window: list[Loaded] = []
    samples = 0
    for utterance in utterances:
        try:
            signal = load_utterance(utterance, model.rate)
        except SecondpassError as error:
            yield utterance.id, error
            continue
        window.append((utterance, signal))
        samples += len(signal)
        if len(window) == WINDOW or samples > WINDOW_SECONDS * model.rate:
            yield from _emit_window(model, window, batch_seconds)
            window, samples = [], 0
    yield from _emit_window(model, window, batch_seconds)


def _emit_window(model: CTCModel, window: list[Loaded], batch_seconds: float) -> Iterator[Emitted]:
    """Log-probs of a window's utterances, longest first: memory is full at once or never."""
    batch: list[Loaded] = []
    for loaded in sorted(window, key=lambda pair: -len(pair[1])):
        longest = len(batch[0][1]) if batch else 0
        if batch and (len(batch) + 1) * longest > batch_seconds * model.rate:
            yield from _emit_batch(model, batch)
            batch = []
        batch.append(loaded)
    if batch:
        yield from _emit_batch(model, batch)


def _emit_batch(model: CTCModel, batch: list[Loaded]) -> Iterator[Emitted]:
    """Log-probs of a batch; if it fails as a whole, of one utterance at a time."""
    try:
        found = model.log_probs([signal for _, signal in batch])
    except (SecondpassError, RuntimeError) as error:
        if len(batch) > 1:
            for loaded in batch:
                yield from _emit_batch(model, [loaded])
            return
        utterance = batch[0][0]
        reason = " ".join(str(error).split())[:300]
        yield (
            utterance.id,
            InputError(f"utterance {utterance.id}: {utterance.audio_filepath}: {reason}"),
        )
        return
    for (utterance, _), log_probs in zip(batch, found, strict=True):
        if np.isnan(log_probs).any():
            yield (
                utterance.id,
                SecondpassError(
                    f"utterance {utterance.id}: {utterance.audio_filepath}: {NOT_A_NUMBER}"
                ),
            )
        else:
            yield utterance.id, log_probs
