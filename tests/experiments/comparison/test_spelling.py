"""Lists that are spelled otherwise than the references get a warning with examples."""

from __future__ import annotations

import pytest

from asr.nbest import Hypothesis, build_nbest
from experiments.comparison.counting import Counting
from experiments.comparison.references import References
from experiments.comparison.spelling import spelling_problem

TRUTH = {"a": "ONE TWO THREE", "b": "FOUR FIVE", "c": "SIX SEVEN EIGHT"}


def problem(texts: dict[str, str]) -> str | None:
    table = build_nbest({utt: [Hypothesis(text, -1.0)] for utt, text in texts.items()})
    return spelling_problem("beam", table, References(TRUTH, Counting()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (str.lower, "upper and lower case differ; set `normaliser: unicode`"),
        (lambda text: text.title().replace(" ", "; ") + ".", "punctuation or other marks differ"),
        (lambda text: "nothing like it", "The spelling is not the reason"),
        (lambda text: "", "The hypotheses are empty"),
    ],
)
def test_warnings_give_examples_and_a_reason(change, reason: str) -> None:
    found = problem({utt: change(text) for utt, text in TRUTH.items()})
    assert found is not None and reason in found
    assert "not one word is spelled as in the references" in found
    assert "reference:  ONE TWO THREE" in found and f"hypothesis: {change(TRUTH['a'])}" in found
    assert found.count("reference: ") == 2


def test_some_right_words_are_no_reason_to_warn() -> None:
    assert problem({**TRUTH, "b": "x y", "c": "six seven EIGHT"}) is None
