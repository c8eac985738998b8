"""Language-model training: it learns, resumes, and writes checkpoints that score texts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lm.causal import CausalLM
from lm.errors import InputError
from lm.train import LMTraining, MuonWithAdamW, TokenBatches, train_lm, train_tokenizer

TEXTS = ["the cat sat on the mat", "no one knew the way home", "she sent the mail by sea"]
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


@pytest.fixture
def settings(tmp_path: Path) -> LMTraining:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS * 20) + "\n")
    return LMTraining(
        output=str(tmp_path / "lm"),
        texts=(str(text),),
        valid=str(text),
        architecture=ARCHITECTURE,
        vocab_size=300,
        batch_tokens=128,
        epochs=30,
        learning_rate=5e-3,
    )


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_it_learns_the_text_and_the_checkpoint_scores_it(
    settings: LMTraining, optimizer: str
) -> None:
    figures = train_lm(replace(settings, optimizer=optimizer, save_dtype="float16"))
    assert figures["valid_word_perplexity"] < 6
    model = CausalLM.load(settings.output)
    known, other = model.score([TEXTS[0], "mat the on sat cat the"]).logprob
    assert known > other + 5
    # Held-out figures are what the scorer says of the same text, sentence ends included.
    scores = model.score(TEXTS)
    words = sum(len(text.split()) + 1 for text in TEXTS)
    expected = math.exp(-scores.logprob.sum() / words)
    assert figures["valid_word_perplexity"] == pytest.approx(expected, rel=0.02)
    stored = AutoModelForCausalLM.from_pretrained(settings.output)
    assert next(stored.parameters()).dtype == torch.float16


def test_an_interrupted_run_goes_on_from_its_checkpoint(settings: LMTraining) -> None:
    whole = train_lm(settings)
    first = replace(settings, output=settings.output + "-again", save_steps=5)
    train_lm(replace(first, schedule="constant", epochs=3))
    folder = Path(first.output) / "checkpoints"
    before = {p.name for p in folder.iterdir()}
    assert before
    again = train_lm(first)
    assert again["steps"] == whole["steps"]
    # Steps that were done before are not done again: the logged mean covers the rest only.
    assert again["valid_word_perplexity"] < 10


def test_fine_tuning_starts_from_the_checkpoint(settings: LMTraining, tmp_path: Path) -> None:
    train_lm(settings)
    tuned = replace(
        settings,
        output=str(tmp_path / "tuned"),
        model=settings.output,
        architecture={},
        learning_rate=1e-6,
        epochs=0.1,
    )
    train_lm(tuned)
    one, two = (CausalLM.load(p).score(TEXTS).logprob for p in (settings.output, tuned.output))
    assert np.allclose(one, two, atol=0.05)


def test_words_have_one_encoding_wherever_they_stand() -> None:
    tokenizer = train_tokenizer(iter(TEXTS * 5), 300)
    first = tokenizer("sea cat", add_special_tokens=False)["input_ids"]
    second = tokenizer("cat sea", add_special_tokens=False)["input_ids"]
    assert sorted(first) == sorted(second)
    odd = "naïve – 漢字"
    assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]).strip() == odd


def test_batches_hold_every_line_once_within_the_limit() -> None:
    rng = np.random.default_rng(0)
    sequences = [np.full(n, i) for i, n in enumerate(rng.integers(3, 40, 500))]
    batches = TokenBatches(sequences, 200, pad=0, seed=1)
    seen = np.concatenate(batches.batches)
    assert sorted(seen) == list(range(500))
    for i in range(len(batches)):
        batch = batches[i]
        assert batch["input_ids"].numel() <= 200
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_muon_takes_hidden_matrices_and_shares_the_learning_rate(settings: LMTraining) -> None:
    train_lm(replace(settings, epochs=0.5))
    model = AutoModelForCausalLM.from_pretrained(settings.output)
    optimizer = MuonWithAdamW(model, 1e-3, 0.1)
    muon = {id(p) for g in optimizer.muon.param_groups for p in g["params"]}
    embeddings = id(model.get_input_embeddings().weight)
    assert embeddings not in muon
    assert all((id(p) in muon) == (p.ndim == 2 and id(p) != embeddings) for p in model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    assert optimizer.adamw.param_groups[0]["lr"] == 0.5
    assert AutoTokenizer.from_pretrained(settings.output).eos_token == "</s>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"texts": ()}, "names no file"),
        ({"model": "x"}, "not both"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"texts": ("missing.txt",)}, r"missing\.txt"),
    ],
)
def test_wrong_settings(settings: LMTraining, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_lm(replace(settings, **change))
