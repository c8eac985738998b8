"""Earlier utterances as context: their order, and that scorers get them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from lm.context import Context, contexts
from lm.errors import InputError
from lm.rescore import rescore
from lm.scorer import Progress, Scores, Texts, parts


def table(rows: list[tuple[str, int, str]]) -> pd.DataFrame:
    """An N-best table of utterance, rank and text."""
    return pd.DataFrame(rows, columns=["utt", "rank", "text"])


LISTS = table(
    [
        ("a-1-0", 2, "worse"),
        ("a-1-0", 1, "one"),
        ("a-1-1", 1, "two"),
        ("b-7-0", 1, "other"),
        ("a-1-2", 1, ""),
        ("a-1-3", 1, "four"),
        ("alone", 1, "five"),
    ]
)


def test_the_conversation_so_far() -> None:
    found = contexts(LISTS, Context(previous=2))
    assert found == {
        "a-1-0": (),
        "a-1-1": ("one",),
        "b-7-0": (),
        "a-1-2": ("one", "two"),
        "a-1-3": ("one", "two"),  # nothing was heard in between
        "alone": (),
    }
    assert contexts(LISTS, Context(previous=1))["a-1-3"] == ("two",)
    whole = contexts(LISTS, Context(previous=1, conversation=r"(.)[-a].*"))
    assert whole["a-1-3"] == ("two",)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"previous": -1}, "at least 0"),
        ({"conversation": "("}, "no regular expression"),
        ({"conversation": ".*"}, "no group"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Context(**settings)  # type: ignore[arg-type]


class Lengths:
    """Scores a text by its length and by what was said before it."""

    def __init__(self) -> None:
        self.seen: list[Texts] = []

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        batch = Texts.of(batch)
        self.seen.append(batch)
        lengths = [len(t) + 100 * len(batch.context(i)) for i, t in enumerate(batch.texts)]
        return Scores(-np.array(lengths, float), np.ones(len(lengths), np.int64))


def test_scorers_get_lists_best_first_with_their_context() -> None:
    scorer = Lengths()
    before = contexts(LISTS, Context(previous=2))
    repeated = pd.concat([LISTS, LISTS.iloc[[0]].assign(rank=3)], ignore_index=True)
    scored = rescore(repeated, scorer, "length", "librispeech", before)
    (batch,) = scorer.seen
    assert batch.texts == ["ONE", "WORSE", "TWO", "OTHER", "", "FOUR", "FIVE"]
    assert batch.contexts is not None
    assert batch.contexts[4] == batch.contexts[5] == ("ONE", "TWO")
    assert batch.lists is not None
    assert batch.lists.tolist() == [0, 0, 1, 2, 3, 4, 5]
    assert scored["length"].tolist() == [-5, -3, -103, -5, -200, -204, -4, -5]


def test_long_tables_are_scored_in_parts() -> None:
    whole = rescore(LISTS, Lengths(), "length")
    scorer = Lengths()
    pd.testing.assert_frame_equal(rescore(LISTS, scorer, "length", texts_at_once=2), whole)
    assert [len(batch) for batch in scorer.seen] == [2, 2, 2, 1]


def test_parts_do_not_cut_lists() -> None:
    lists = np.array([0, 0, 0, 1, 2, 2, 3])
    assert [(p.start, p.stop) for p in parts(lists, 2)] == [(0, 3), (3, 4), (4, 6), (6, 7)]
    assert [(p.start, p.stop) for p in parts(lists, 4)] == [(0, 4), (4, 7)]
    assert parts(lists[:0], 4) == []
