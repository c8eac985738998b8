"""The second pass over N-best tables, in Python and as a command."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import kenlm
import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from asr.nbest import read_nbest, write_nbest
from experiments.cli import main
from lm.errors import InputError
from lm.neural.causal import CausalLM, CausalScorer
from lm.ngram.arpa_reader import read_arpa
from lm.ngram.store import write_store
from lm.rescore import NgramScorer, load_scorer, rescore
from lm.scorer import Progress, ScorerOptions, Scores, Texts
from lm.training.causal_lm import train_tokenizer
from tests.support.arpas import two_words

CPU = ScorerOptions(device="cpu")
# What the model of two words says, in log10, worked out by hand.
KNOWN = {
    "the cat": -0.3 - 0.5 - 0.4,
    "the dog": -0.3 + (-0.2 - 1.2) - 0.9,
    "": -0.3 - 0.9,
    "the the": -0.3 - 1.1 - 0.6,
}


@pytest.fixture()
def arpa(tmp_path: Path) -> Path:
    """A bigram model of two words."""
    return two_words(tmp_path / "two.arpa")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 with a tokenizer of ours."""
    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = train_tokenizer(iter(["the cat sat", "the dog"] * 20), 280)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=32,
        initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture()
def table() -> pd.DataFrame:
    """Two lists with common texts, an empty hypothesis, and an index that does not start at 0."""
    texts = ["THE CAT", "The cat", "", "THE DOG", "The cat", "THE THE"]
    return pd.DataFrame(
        {
            "utt": ["a", "a", "a", "b", "b", "b"],
            "rank": [1, 2, 3, 1, 2, 3],
            "text": texts,
            "acoustic": [-1.0, -2.0, -math.inf, -0.5, -0.6, -0.7],
            "ngram": 0.0,
            "words": [len(text.split()) for text in texts],
            "oov": 0,
        }
    )


def test_arpa_by_hand(arpa: Path, table: pd.DataFrame) -> None:
    scored = rescore(table, load_scorer(str(arpa)), "bigram", "lower")
    expected = [KNOWN[text.lower()] * math.log(10) for text in table["text"]]
    np.testing.assert_allclose(scored["bigram"], expected, atol=1e-5)
    np.testing.assert_array_equal(scored["bigram.tokens"], table["words"] + 1)
    assert list(scored.columns) == [*table.columns, "bigram", "bigram.tokens"]
    assert scored["bigram.tokens"].dtype == np.int64
    assert scored[table.columns].equals(table)
    assert "bigram" not in table.columns


def test_arpa_without_the_end(arpa: Path) -> None:
    scores = load_scorer(arpa, ScorerOptions(eos=False)).score(["the cat", "", "the dog"])
    np.testing.assert_allclose(scores.logprob, np.log(10) * np.array([-0.8, 0, -1.7]), atol=1e-5)
    np.testing.assert_array_equal(scores.tokens, [2, 0, 2])


def test_an_arpa_model_of_another_spelling_is_reported(
    arpa: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = load_scorer(arpa)
    scorer.score(["the cat", "THE cat"])
    assert not caplog.records
    scorer.score(["the THE CAT", ""])
    assert "2 of 3 words are unknown to the n-gram model, such as 'THE'" in caplog.text


def test_arpa_agrees_with_kenlm(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lmplz-reference" / "o3.arpa.gz"
    scorer = load_scorer(path)
    assert isinstance(scorer, NgramScorer)
    texts = ["he said that he would go", "zyzzyva and the house", "", "a"]
    plain = tmp_path / "plain.arpa"
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    other = kenlm.Model(str(plain))
    for text, logprob, tokens in zip(texts, *_lists(scorer.score(texts)), strict=True):
        steps = [score for score, _, _ in other.full_scores(text)]
        assert tokens == len(steps)
        assert logprob == pytest.approx(sum(steps) * math.log(10), rel=1e-5)


def test_own_format_and_thousands_of_texts(arpa: Path, tmp_path: Path) -> None:
    own = tmp_path / "two.ngram"
    write_store(read_arpa(arpa), own)
    texts = list(KNOWN) * 2000
    for path in (arpa, own):
        done: list[int] = []
        scores = load_scorer(path).score(texts, done.append)
        np.testing.assert_allclose(
            scores.logprob / np.log(10), list(KNOWN.values()) * 2000, atol=1e-5
        )
        assert sum(done) == len(texts)
    with pytest.raises(InputError, match="no such file"):
        load_scorer(tmp_path / "none.ngram")


def test_causal_model_scores_each_text_once(checkpoint: Path, table: pd.DataFrame) -> None:
    lm = CausalLM.load(checkpoint, CPU)
    seen: list[str] = []

    class Counting(CausalScorer):
        """Notes what it is asked."""

        def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
            seen.extend(Texts.of(batch).texts)
            return super().score(batch, progress)

    done: list[int] = []
    scored = rescore(table, Counting(lm), "llm", "lower", progress=done.append)
    # Equal texts of one list are scored once; the same text in two lists is another utterance.
    unique = {(u, t.lower()) for u, t in zip(table["utt"], table["text"], strict=True)}
    assert sorted(seen) == sorted(text for _, text in unique)
    assert sum(done) == len(table)
    expected = lm.score([text.lower() for text in table["text"]])
    np.testing.assert_allclose(scored["llm"], expected.logprob, atol=1e-4)
    np.testing.assert_array_equal(scored["llm.tokens"], expected.tokens)


def test_rows_may_come_in_any_order(checkpoint: Path, table: pd.DataFrame) -> None:
    scorer = load_scorer(str(checkpoint), CPU)
    scored = rescore(table, scorer, "llm")
    order = np.random.default_rng(1).permutation(len(table))
    shuffled = rescore(table.iloc[order], scorer, "llm")
    np.testing.assert_allclose(shuffled["llm"], scored["llm"].to_numpy()[order], atol=1e-4)
    assert shuffled.index.tolist() == order.tolist()
    assert rescore(table.iloc[:0], scorer, "llm")["llm"].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "column 'text' is no score"),
        ("words", "column 'words' is no score"),
        ("acoustic", "column 'acoustic' exists in the N-best table: use another name"),
        ("word_starts", "column 'word_starts' is no score and cannot be replaced"),
        ("llm.tokens", r"column name 'llm\.tokens': use a name without"),
        ("a,b", "column name 'a,b'"),
        (" ", "column name ' '"),
    ],
)
def test_names_that_cannot_be(arpa: Path, table: pd.DataFrame, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rescore(table, load_scorer(arpa), name)
    if "no score" in message:
        with pytest.raises(InputError, match=message):
            rescore(table, load_scorer(arpa), name, overwrite=True)


def test_overwriting(arpa: Path, table: pd.DataFrame) -> None:
    scorer = load_scorer(arpa)
    once = rescore(table, scorer, "lm")
    with pytest.raises(InputError, match="column 'lm' exists"):
        rescore(once, scorer, "lm", "lower")
    twice = rescore(once, scorer, "lm", "lower", overwrite=True)
    assert list(twice.columns) == list(once.columns)
    assert twice["lm"].iloc[0] > once["lm"].iloc[0]


def test_text_that_cannot_be_scored_names_its_utterance(
    checkpoint: Path, table: pd.DataFrame
) -> None:
    table.loc[4, "text"] = "zq " * 50
    with pytest.raises(InputError, match=r"^utterance b, rank 2: 'zq zq .*' … has"):
        rescore(table, load_scorer(checkpoint, CPU), "llm")


def test_nan_never_gets_into_a_table(table: pd.DataFrame) -> None:
    class Broken:
        """A scorer with a mistake."""

        def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
            texts = Texts.of(batch).texts
            logprob = np.full(len(texts), -1.0)
            logprob[list(texts).index("THE DOG")] = math.nan
            return Scores(logprob, np.ones(len(texts), dtype=np.int64))

    with pytest.raises(InputError, match="utterance b, rank 1: the model gives nan"):
        rescore(table, Broken(), "llm")


def test_impossible_texts_are_legal(table: pd.DataFrame) -> None:
    class Strict:
        """A model that gives every text the probability 0."""

        def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
            return Scores(np.full(len(batch), -np.inf), np.ones(len(batch), dtype=np.int64))

    assert np.isneginf(rescore(table, Strict(), "llm")["llm"]).all()


def test_command(
    checkpoint: Path,
    arpa: Path,
    table: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lists, first, both = (str(tmp_path / f"{name}.parquet") for name in ("in", "one", "two"))
    write_nbest(table, lists)
    common = ["--normaliser", "lower", "--device", "cpu"]
    assert main(["rescore", lists, "--model", str(arpa), "--name", "bi", "-o", first, *common]) == 0
    options = ["--model", str(checkpoint), "--name", "llm", "-o", both, "--no-eos", *common]
    assert main(["rescore", first, *options]) == 0
    written = read_nbest(both)
    expected = rescore(table, load_scorer(arpa), "bi", "lower")
    expected = rescore(
        expected, load_scorer(checkpoint, ScorerOptions(eos=False, device="cpu")), "llm", "lower"
    )
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    capsys.readouterr()
    for arguments, message in [
        ([first, "--model", str(arpa), "--name", "bi", "-o", both], "column 'bi' exists"),
        ([lists, "--model", str(tmp_path / "no.arpa"), "--name", "bi", "-o", both], "no.arpa"),
        ([lists, "--model", str(arpa), "--name", "bi", "-o", f"{both}/x/y"], "cannot be written"),
        (
            [lists, "--model", str(arpa), "--name", "b", "-o", both, "--normaliser", "x"],
            "'x' names",
        ),
    ]:
        assert main(["rescore", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    overwrite = ["--model", str(arpa), "--name", "bi", "-o", first, "--overwrite"]
    assert main(["rescore", first, *overwrite]) == 0


def _lists(scores: Scores) -> tuple[list[float], list[int]]:
    return scores.logprob.tolist(), scores.tokens.tolist()
