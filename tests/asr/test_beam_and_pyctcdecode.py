"""The beam decoder and pyctcdecode on the same speech."""

from __future__ import annotations

import numpy as np
import pytest

from asr.acoustic import CTCModel
from asr.corpus import read_corpus
from asr.emit import emit
from experiments.bench.agreement import gains
from tests.support.data import PROJECT

DEMO = PROJECT / "experiments" / "demo"


@pytest.mark.slow
def test_same_best_text_on_the_demo() -> None:
    model = CTCModel.load(str(DEMO / "acoustic"), device="cpu")
    # `python -m experiments.bench.agreement` takes all 305 utterances, and more minutes.
    utterances = read_corpus(DEMO / "dev.jsonl")[:60]
    found = [log_probs for _, log_probs in emit(model, utterances, 60.0)]
    log_probs = [each for each in found if isinstance(each, np.ndarray)]
    assert len(log_probs) == 60
    better = gains(model.vocabulary, str(DEMO / "lm.arpa.gz"), log_probs)
    # In each of the others pyctcdecode has missed the text of the better score.
    assert len(better) <= 1
    assert all(gain > 0 for gain in better)
