"""Hot words: never a worse list, whole words or within a text, and how they are spelled."""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from asr.beam import BeamDecoder
from asr.hypothesis import Hypothesis
from asr.options import DecoderOptions
from asr.vocabulary import Vocabulary
from experiments.comparison.arguments import from_arguments
from experiments.decode import add_arguments
from lm.errors import InputError
from tests.support.enumeration import LETTERS, PIECES, certain, enumerated, random_log_probs

OPEN = DecoderOptions(
    decoder="beam", beam_width=20_000, nbest=20_000, token_min_logp=-1e9, beam_prune_logp=-1e9
)
CHINESE = Vocabulary.from_labels(["_", "|", *"今天气很好"], blank=0)


def bonus_of(text: str, hotwords: Mapping[str, float], spaces: bool = True) -> float:
    """What hot words are worth in a text: at each place, as whole words or anywhere."""
    side = " " if spaces else ""
    padded, total = side + text + side, 0.0
    for phrase, weight in hotwords.items():
        places = range(len(padded))
        total += weight * sum(padded.startswith(side + phrase + side, at) for at in places)
    return total


def own_scores(found: list[Hypothesis], hotwords: Mapping[str, float]) -> list[float]:
    """Scores of a list without a language model, best first."""
    return sorted((h.acoustic + bonus_of(h.text, hotwords) for h in found), reverse=True)


def random_problem(rng: random.Random) -> tuple[Vocabulary, DecoderOptions, np.ndarray]:
    """Log-probs of a few frames, a narrow beam, and hot words with small or very large weights."""
    vocabulary = rng.choice([LETTERS, PIECES])
    hotwords = {
        "".join(rng.choices("ab", k=1 + rng.randrange(6))): rng.choice([0.5, 3.0, 30.0, 90.0])
        for _ in range(1 + rng.randrange(3))
    }
    if rng.random() < 0.3:
        hotwords["b a"] = 40.0
    options = DecoderOptions(
        decoder="beam",
        beam_width=1 + rng.randrange(6),
        nbest=1 + rng.randrange(6),
        token_min_logp=rng.choice([-3.0, -6.0]),
        beam_prune_logp=rng.choice([-2.0, -5.0, -25.0]),
        hotwords=hotwords,
    )
    frames = 2 + rng.randrange(12)
    peak = rng.choice([0.5, 1.5, 3.0])
    return vocabulary, options, random_log_probs(frames, vocabulary, rng.randrange(10**6), peak)


def decoded(
    vocabulary: Vocabulary, options: DecoderOptions, log_probs: np.ndarray
) -> list[Hypothesis]:
    """The list of a decoder with little room."""
    return BeamDecoder.build(vocabulary, options, room=300).decode(log_probs)


def test_no_list_is_worse_than_without_hot_words() -> None:
    """By its own score, at every rank, whatever the beam drops."""
    rng = random.Random(1)
    longer = 0
    for _ in range(600):
        vocabulary, options, log_probs = random_problem(rng)
        found = decoded(vocabulary, options, log_probs)
        plain = decoded(vocabulary, replace(options, hotwords={}), log_probs)
        scores, least = (own_scores(one, options.hotwords) for one in (found, plain))
        assert len(scores) >= len(least)
        assert all(a >= b - 1e-6 for a, b in zip(scores, least, strict=False)), options
        # The list is in the order of its scores, and the column has what they say.
        columns = [h.acoustic + (h.more or {})["hotwords"] for h in found]
        assert columns == pytest.approx(scores, abs=1e-6)
        longer += len(scores) > len(least) or scores[0] > least[0] + 1e-6
    assert longer > 20  # hot words do find texts


def test_lists_lie_between_those_without_hot_words_and_all_texts() -> None:
    rng = random.Random(2)
    for _ in range(40):
        vocabulary, options, log_probs = random_problem(rng)
        log_probs = log_probs[:5]
        hotwords = options.hotwords
        found = decoded(vocabulary, options, log_probs)
        plain = decoded(vocabulary, replace(options, hotwords={}), log_probs)
        texts = enumerated(log_probs, vocabulary)
        assert all(h.acoustic <= texts[h.text] + 1e-5 for h in found)
        best = max(score + bonus_of(text, hotwords) for text, score in texts.items())
        assert own_scores(plain, hotwords)[0] - 1e-6 <= own_scores(found, hotwords)[0]
        assert own_scores(found, hotwords)[0] <= best + 1e-5
        wide = replace(options, beam_width=5000, token_min_logp=-1e9, beam_prune_logp=-1e9)
        assert own_scores(BeamDecoder.build(vocabulary, wide).decode(log_probs), hotwords)[
            0
        ] == pytest.approx(best, abs=1e-5)


def test_a_hot_word_of_great_weight_that_is_not_in_the_audio() -> None:
    """What it has begun is worth more than all that the search may drop."""
    labels = ["<pad>", "|", *"abcdefgh"]
    vocabulary = Vocabulary.from_labels(labels, blank=0)
    frames = [{letter: 0.8, other: 0.15} for letter, other in zip("hahbhc", "abcdef", strict=True)]
    log_probs = certain(vocabulary, *(frame | {"<pad>": 0.05} for frame in frames))
    options = DecoderOptions(decoder="beam", beam_width=4)
    plain = BeamDecoder.build(vocabulary, options).decode(log_probs)
    assert plain[0].text == "hahbhc"
    for weight in (5.0, 30.0, 200.0, 1e4):
        hot = replace(options, hotwords={"abcdefgh": weight})
        found = BeamDecoder.build(vocabulary, hot).decode(log_probs)
        assert found[0].text == "hahbhc"
        assert found[0].acoustic >= plain[0].acoustic - 1e-6
        assert found[0].more == {"hotwords": 0.0}


@pytest.mark.parametrize("vocabulary", [LETTERS, PIECES], ids=["letters", "pieces"])
def test_chunks_change_nothing_with_hot_words(vocabulary: Vocabulary) -> None:
    options = DecoderOptions(decoder="beam", beam_width=7, nbest=7, hotwords={"ab": 40.0, "b": 1.0})
    log_probs = random_log_probs(40, vocabulary, 5)
    decoder = BeamDecoder.build(vocabulary, options, room=60)
    whole = decoder.decode(log_probs)
    for sizes in ([1] * 40, [7, 0, 13, 20]):
        search = decoder.search()
        for chunk in np.split(log_probs, np.cumsum(sizes)[:-1]):
            search.advance(chunk)
            assert search.hypotheses(3, ended=False)
        assert search.hypotheses() == whole


def test_hot_words_of_scripts_without_spaces_are_found_within_the_text() -> None:
    """No space is put around them, and no letter is repeated."""
    said = "今天天气很好"
    frames = []
    for letter in said:
        frames += [{letter: 0.9, "|": 0.05, "_": 0.05}, {"_": 0.7, "|": 0.25, letter: 0.05}]
    log_probs = certain(CHINESE, *frames)
    for weight in (2.0, 8.0):
        options = DecoderOptions(decoder="beam", hotwords={"天气": weight, "今天": 1.0})
        best = BeamDecoder.build(CHINESE, options).decode(log_probs)[0]
        assert best.text == said
        assert best.more == {"hotwords": weight + 1.0}


@pytest.mark.parametrize("hotwords", [{"天气": 1.5}, {"天": 0.5, "天天": 2.0, "气 天": 1.0}])
def test_every_place_within_a_text_is_paid(hotwords: dict[str, float]) -> None:
    vocabulary = Vocabulary.from_labels(["_", "|", *"天气"], blank=0)
    log_probs = random_log_probs(5, vocabulary, 3)
    texts = enumerated(log_probs, vocabulary)
    found = BeamDecoder.build(vocabulary, replace(OPEN, hotwords=hotwords)).decode(log_probs)
    assert {h.text for h in found} == set(texts)
    within = {phrase: weight for phrase, weight in hotwords.items() if " " not in phrase}
    whole = {phrase: weight for phrase, weight in hotwords.items() if " " in phrase}
    for h in found:
        bonus = bonus_of(h.text, within, spaces=False) + bonus_of(h.text, whole)
        assert h.more == pytest.approx({"hotwords": bonus})


def test_labels_without_a_space_match_within_the_text() -> None:
    vocabulary = Vocabulary(("_", "a", "b"), 0, None, (0,))
    log_probs = random_log_probs(4, vocabulary, 3)
    found = BeamDecoder.build(vocabulary, replace(OPEN, hotwords={"ab": 1.0})).decode(log_probs)
    assert {h.text for h in found} == set(enumerated(log_probs, vocabulary))
    for h in found:
        assert h.more == pytest.approx({"hotwords": bonus_of(h.text, {"ab": 1.0}, spaces=False)})
    with pytest.raises(InputError, match="hot word 'a b' has a space, which no label spells"):
        BeamDecoder.build(vocabulary, replace(OPEN, hotwords={"a b": 1.0}))


@pytest.mark.parametrize(
    ("labels", "hotword", "spelled"),
    [
        ("cafés", "cafe\u0301s", "cafés"),
        ("cafe\u0301s", "cafés", "cafe\u0301s"),
        ("it's", "it’s", "it's"),
    ],
)
def test_what_looks_the_same_is_spelled_with_the_labels(
    labels: str, hotword: str, spelled: str
) -> None:
    vocabulary = Vocabulary.from_labels(["_", "|", *dict.fromkeys(labels)], blank=0)
    frames = [step for letter in spelled for step in ({letter: 1.0}, {"_": 1.0})]
    options = DecoderOptions(decoder="beam", hotwords={hotword: 3.0})
    best = BeamDecoder.build(vocabulary, options).decode(certain(vocabulary, *frames))[0]
    assert best.text == spelled and best.more == {"hotwords": 3.0}


@pytest.mark.parametrize(
    ("labels", "hotwords", "message"),
    [
        (
            "IT'SXY",
            ["it’s"],
            "hot word 'it’s' has i s t ’, which no label spells; did you mean IT'S?",
        ),
        ("straße", ["STRAßE"], "did you mean straße?"),
        ("STRAE", ["straße"], "did you mean STRASSE?"),
        ("abc", ["b", "x", "A", "y"], "'x' has x, .* (and 2 more hot words cannot be spelled)"),
    ],
)
def test_hot_words_that_the_labels_do_not_spell(
    labels: str, hotwords: list[str], message: str
) -> None:
    vocabulary = Vocabulary.from_labels(["_", "|", *dict.fromkeys(labels)], blank=0)
    options = DecoderOptions(decoder="beam", hotwords=dict.fromkeys(hotwords, 1.0))
    pattern = message.replace("?", r"\?").replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(InputError, match=pattern):
        BeamDecoder.build(vocabulary, options)


def test_of_hot_words_given_twice_the_last_counts(caplog: pytest.LogCaptureFixture) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    given = ["--hotwords", "ab=2", "--hotwords", "b=1", "--hotwords", "ab=5"]
    options = from_arguments(
        DecoderOptions, parser.parse_args(["emissions", "-o", "x.parquet", *given])
    )
    assert options.hotwords == {"ab": 5.0, "b": 1.0}
    assert "--hotwords: 'ab' is given twice; the last value counts, 5 and not 2" in caplog.text
    caplog.clear()
    BeamDecoder.build(LETTERS, DecoderOptions(decoder="beam", hotwords={"a b": 1.0, "a  b": 2.0}))
    assert "'a b' and 'a  b' are the same text; the weight of the last one counts, 2" in caplog.text
