"""What decoders are given from Python: logits and probabilities are not taken for log-probs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from asr.beam import BeamDecoder
from asr.decode import BUILDERS, GreedyDecoder
from asr.forward import full_sums
from asr.hypothesis import Hypothesis
from asr.options import DecoderOptions
from lm.errors import InputError
from tests.support.enumeration import LETTERS, enumerated, random_log_probs

OPTIONS = DecoderOptions(decoder="beam", beam_width=50, nbest=10, exact=True)
NOT_NORMALISED = "the log-probs are not normalised: their probabilities do not sum to one"


def beam(log_probs: np.ndarray) -> list[Hypothesis]:
    return BeamDecoder.build(LETTERS, OPTIONS).decode(log_probs)


def chunks(log_probs: np.ndarray) -> list[Hypothesis]:
    search = BeamDecoder.build(LETTERS, OPTIONS).search()
    for chunk in np.split(log_probs, [3, 3, 4]):
        search.advance(chunk)
    return search.hypotheses()


def greedy(log_probs: np.ndarray) -> list[Hypothesis]:
    return GreedyDecoder(LETTERS).decode(log_probs)


def pyctcdecode(log_probs: np.ndarray) -> list[Hypothesis]:
    pytest.importorskip("pyctcdecode")
    options = DecoderOptions(decoder="pyctcdecode", beam_width=50, nbest=10)
    return BUILDERS["pyctcdecode"](LETTERS, options).decode(log_probs)


Decode = Callable[[np.ndarray], list[Hypothesis]]
EACH = pytest.mark.parametrize("decode", [beam, chunks, greedy, pyctcdecode])


@EACH
def test_logits_are_normalised_with_a_warning(decode: Decode) -> None:
    for seed in range(3):
        log_probs = random_log_probs(6, LETTERS, seed, 2.0)
        rng = np.random.default_rng(seed)
        logits = log_probs + rng.normal(size=(6, 1)).astype(np.float32) * 5 + 3
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = decode(log_probs)
        with pytest.warns(UserWarning, match=NOT_NORMALISED):
            found = decode(logits)
        assert [h.text for h in found] == [h.text for h in expected]
        assert [h.acoustic for h in found] == pytest.approx(
            [h.acoustic for h in expected], abs=1e-4
        )
        # Not one text is more likely than certain.
        truth = enumerated(log_probs, LETTERS)
        assert all(h.acoustic <= truth[h.text] + 1e-4 <= 1e-4 for h in found)


@EACH
def test_probabilities_are_refused(decode: Decode) -> None:
    log_probs = random_log_probs(6, LETTERS, 1)
    with pytest.raises(InputError, match="the log-probs are probabilities; take their natural log"):
        decode(np.exp(log_probs))
    one_hot = np.zeros((6, 4), np.float32)
    one_hot[:, 2] = 1.0
    with pytest.raises(InputError, match="the log-probs are probabilities"):
        decode(one_hot)


@EACH
def test_half_precision_and_certain_frames_are_log_probs(decode: Decode) -> None:
    certain = np.full((6, 4), -math.inf, np.float32)
    certain[np.arange(6), [2, 2, 0, 3, 1, 2]] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(random_log_probs(6, LETTERS, 1).astype(np.float16))
        if decode is not pyctcdecode:
            assert [(h.text, h.acoustic) for h in decode(certain)] == [("ab a", 0.0)]
        if decode in (beam, greedy):
            assert decode(np.zeros((0, 4), np.float32))[0].text == ""


def test_the_exact_column_is_that_of_the_normalised_values() -> None:
    log_probs = random_log_probs(6, LETTERS, 3)
    with pytest.warns(UserWarning, match=NOT_NORMALISED):
        found = beam(log_probs + 7)
    sums = full_sums(log_probs, LETTERS, [h.text for h in found])
    assert [(h.more or {})["ctc"] for h in found] == pytest.approx(sums.tolist(), abs=1e-4)
