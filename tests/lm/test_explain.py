"""Tokens of a text with their log-probs: they add up to its score and spell the text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lm.explain import END, explain
from lm.neural.causal import CausalLM, CausalScorer
from lm.rescore import load_scorer
from lm.scorer import ScorerOptions, Texts
from tests.support.arpas import two_words
from tests.support.causal_models import CPU, TEXTS, save_model


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("context", [False, True])
def test_tokens_add_up_and_spell_the_text(tmp_path: Path, eos: bool, context: bool) -> None:
    options = replace(CPU, eos=eos)
    scorer = CausalScorer(CausalLM.load(save_model(tmp_path, "llama"), options), options)
    said = [("the dog", "the mat")] * len(TEXTS) if context else None
    batch = Texts(TEXTS, said, np.zeros(len(TEXTS), dtype=np.int64), ("cats",) if context else ())
    found = explain(scorer, batch)
    assert found is not None
    scores = scorer.score(batch)
    for text, pieces, logprob, tokens in zip(
        TEXTS, found, scores.logprob, scores.tokens, strict=True
    ):
        assert pieces.logprob.sum() == pytest.approx(logprob, abs=1e-3)
        assert len(pieces.pieces) == len(pieces.logprob) == tokens
        own = pieces.pieces[:-1] if eos else pieces.pieces
        assert "".join(own) == text
        assert not eos or pieces.pieces[-1] == END


def test_words_of_an_ngram_model(tmp_path: Path) -> None:
    scorer = load_scorer(two_words(tmp_path / "two.arpa"), ScorerOptions())
    texts = ["the cat", "", "the the dog"]
    found = explain(scorer, texts)
    assert found is not None
    assert found[2].pieces == ("the", " the", " dog", END)
    sums = [pieces.logprob.sum() for pieces in found]
    np.testing.assert_allclose(sums, scorer.score(texts).logprob)


def test_other_scorers_are_not_explained() -> None:
    class Other:
        def score(self, batch: object, progress: object = None) -> None: ...

    assert explain(Other(), ["a"]) is None  # type: ignore[arg-type]
