"""n-gram scores: against a back-off computation over the ARPA's own numbers."""

from __future__ import annotations

import gzip
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from lm.errors import InputError
from lm.ngram.arpa import Arpa
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.model import NgramModel
from tests.support.arpas import two_words

KNOWN = math.log(10) * -0.3  # of `the` after <s>, in the model of two words


@pytest.fixture(scope="module")
def reference(shared_data: Path) -> Path:
    return shared_data / "lmplz-reference" / "o4-prune0011.arpa.gz"


class BackOff:
    """log10 probabilities of sentences by the textbook back-off recursion."""

    def __init__(self, model: Arpa) -> None:
        self.order = model.order
        self.number = {word: i for i, word in enumerate(model.vocabulary)}
        self.tables = [
            {
                tuple(words): (logprob, backoff)
                for words, logprob, backoff in zip(
                    section.words.tolist(),
                    section.logprob.tolist(),
                    section.backoff.tolist(),
                    strict=True,
                )
            }
            for section in model.sections
        ]

    def word(self, context: tuple[int, ...], word: int) -> float:
        ngram = (*context, word)
        if ngram in self.tables[len(context)]:
            return float(self.tables[len(context)][ngram][0])
        backoff = self.tables[len(context) - 1].get(context, (0.0, 0.0))[1]
        return float(backoff) + self.word(context[1:], word)

    def sentence(self, text: str) -> float:
        unknown = self.number["<unk>"]
        ids = [self.number.get(word, unknown) for word in ["<s>", *text.split(), "</s>"]]
        spans = (tuple(ids[max(0, i - self.order + 1) : i]) for i in range(1, len(ids)))
        return sum(self.word(span, ids[i]) for i, span in enumerate(spans, 1))


def test_scores_equal_the_backoff_recursion(shared_data: Path, reference: Path) -> None:
    arpa, model = read_arpa(reference), NgramModel.load(reference)
    backoff = BackOff(arpa)
    with gzip.open(shared_data / "lmplz-reference" / "text.txt.gz", "rt") as file:
        texts = [line.strip() for line in file][:300]
    known = set(arpa.vocabulary)
    texts += ["", "ZZYZX", "THE ZZYZX OF THE ZZYZX", "  THE \t HOUSE\u00a0 IS  "]
    for text, score in zip(texts, model.score_texts(texts), strict=True):
        assert score.logprob / math.log(10) == pytest.approx(backoff.sentence(text), abs=2e-4)
        assert score.words == len(text.split())
        assert score.oov == sum(word not in known for word in text.split())


def test_many_texts_and_none(reference: Path) -> None:
    model = NgramModel.load(reference)
    assert model.score_texts([]) == []
    logprobs, first = model.word_logprobs(["", "THE", " "], eos=False)
    assert (len(logprobs), first.tolist()) == (1, [0, 0, 1, 1])
    many = model.score_texts(["THE HOUSE", ""] * 10_000)
    assert many[:2] * 10_000 == many
    assert many[1] == model.score("") == model.score("\u2003")


def test_ids_are_places_in_the_vocabulary(reference: Path) -> None:
    model = NgramModel.load(reference)
    words = ["HOUSE", "ZYZZYX", "<unk>", "</s>", ""]
    expected = [
        model.vocabulary.index(word if word in model.vocabulary else "<unk>") for word in words
    ]
    assert model.ids(words).tolist() == expected
    assert model.ids([]).dtype == np.int32
    assert model.unknown == expected[1] and model.eos == expected[3]


def test_attributes(reference: Path) -> None:
    model = NgramModel.load(reference)
    assert model.order == 4
    assert model.path == reference
    assert list(model.vocabulary) == list(read_arpa(reference).vocabulary)
    assert "HOUSE" in model and "ZYZZYX" not in model


def test_plain_and_gzipped_are_the_same_model(tmp_path: Path, reference: Path) -> None:
    plain = tmp_path / "lm.arpa"
    plain.write_bytes(gzip.decompress(reference.read_bytes()))
    misnamed = tmp_path / "packed.arpa"  # the content decides, not the name
    misnamed.write_bytes(reference.read_bytes())
    text = "IT IS A TRUTH UNIVERSALLY ACKNOWLEDGED"
    scores = {NgramModel.load(path).score(text) for path in (plain, reference, misnamed)}
    assert len(scores) == 1


def test_another_process_can_have_it(reference: Path) -> None:
    model = NgramModel.load(reference)
    again = pickle.loads(pickle.dumps(model))
    assert again.score("THE HOUSE") == model.score("THE HOUSE")


def test_loading_is_silent(reference: Path, capfd: pytest.CaptureFixture[str]) -> None:
    NgramModel.load(reference)
    assert capfd.readouterr() == ("", "")


def test_bad_models_are_named(tmp_path: Path, reference: Path) -> None:
    packed = reference.read_bytes()
    plain = gzip.decompress(packed)
    lines = plain.split(b"\n")
    third = lines.index(b"\\3-grams:") + 1
    cases = {
        "gone.arpa": (None, "no such file"),
        "half.arpa": (plain[: plain.index(b"\n", len(plain) // 2) + 1], "without"),
        "half.arpa.gz": (packed[: len(packed) // 2], "gzip data"),
        "typo.arpa": (plain.replace(lines[third], b"-0,5\tx", 1), "not a 3-gram"),
    }
    for name, (content, says) in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=says) as raised:
            NgramModel.load(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_model_without_the_start_of_sentences_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a model; other tools may write the mark in capitals, where nothing looks for it."""
    path = two_words(tmp_path / "lm.arpa")
    assert NgramModel.load(path).word_logprobs(["the cat"])[0][0] == pytest.approx(KNOWN)
    assert not caplog.messages
    path.write_text(path.read_text().replace("<s>", "<S>"))
    model = NgramModel.load(path)
    for _ in range(2):
        assert model.word_logprobs(["the cat"])[0][0] != pytest.approx(KNOWN)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: the model has no <s>, so sentences begin without a context")
