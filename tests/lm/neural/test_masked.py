"""Pseudo-log-likelihoods under masked language models, against a plain loop over positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from lm.errors import InputError
from lm.neural.masked import MaskedLM, MaskedScorer, is_masked
from lm.rescore import load_scorer
from lm.scorer import ScorerOptions, TextError, Texts
from tests.support.causal_models import save_model

TEXTS = ["the cat sat on the mat", "the cat sat on the hat", "the dog sat", "", "naïve 東", "mat"]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.4,
}
CONFIGS: dict[str, Any] = {
    "bert": lambda **k: BertConfig(**SIZES, max_position_embeddings=40, **k),
    "roberta": lambda **k: RobertaConfig(**SIZES, max_position_embeddings=42, **k),
    "distilbert": lambda **k: DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=48, initializer_range=0.4,
        max_position_embeddings=40, **k,
    ),
    "electra": lambda **k: ElectraConfig(
        **SIZES, embedding_size=32, max_position_embeddings=40, **k
    ),
}  # fmt: skip
SPECIAL = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
CPU = ScorerOptions(device="cpu")


def wordpiece() -> PreTrainedTokenizerFast:
    """A tokenizer like BERT's: words in pieces, unknown characters are [UNK]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=40, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat", "the dog and the hat"] * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=40,
    )  # fmt: skip


def bytelevel() -> PreTrainedTokenizerFast:
    """As RoBERTa's: bytes in pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names)


def save_masked(folder: Path, architecture: str) -> Path:
    """A random checkpoint of that architecture."""
    tokenizer = bytelevel() if architecture == "roberta" else wordpiece()
    torch.manual_seed(1)
    config = CONFIGS[architecture](vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(
    lm: MaskedLM, text: str, before: Sequence[str] = (), within_word: bool = False
) -> float:
    """One text, one position at a time, by the model's own logits."""
    tokenizer = lm.tokenizer
    encoded = tokenizer(text)
    ids, words = encoded["input_ids"], encoded.word_ids()
    context = [i for t in before for i in tokenizer(t, add_special_tokens=False)["input_ids"]]
    total = 0.0
    for place, word in enumerate(words):
        if word is None:
            continue
        masked = list(ids)
        masked[place] = tokenizer.mask_token_id
        following = place + 1
        while within_word and words[following] == word:
            masked[following] = tokenizer.mask_token_id
            following += 1
        whole = torch.tensor([[masked[0], *context, *masked[1:]]])
        with torch.no_grad():
            logits = lm.model(input_ids=whole).logits[0, place + len(context)]
        total += float(logits.log_softmax(-1)[ids[place]])
    return total


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> MaskedLM:
    """A random BERT."""
    return MaskedLM.load(save_masked(tmp_path_factory.mktemp("bert"), "bert"), CPU)


@pytest.mark.parametrize("within_word", [False, True])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_each_position_by_hand(tmp_path: Path, architecture: str, within_word: bool) -> None:
    lm = MaskedLM.load(save_masked(tmp_path, architecture), CPU)
    assert lm.narrow
    expected = [by_hand(lm, text, within_word=within_word) for text in TEXTS]
    assert np.ptp(expected) > 1
    for batch_tokens in (1, 30, 4096):
        options = ScorerOptions(batch_tokens=batch_tokens, within_word=within_word)
        scores = lm.score(TEXTS, options)
        np.testing.assert_allclose(scores.logprob, expected, rtol=0, atol=1e-3)
    counts = [len(lm.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    assert scores.tokens.tolist() == counts
    whole = replace(lm, narrow=False).score(TEXTS, ScorerOptions(within_word=within_word))
    np.testing.assert_allclose(whole.logprob, expected, rtol=0, atol=1e-3)


def test_what_was_said_before(bert: MaskedLM) -> None:
    contexts = [("the dog", "a mat"), (), ("the hat",), ("the cat",), (), ()]
    scores = bert.score(Texts(TEXTS, contexts))
    expected = [by_hand(bert, *pair) for pair in zip(TEXTS, contexts, strict=True)]
    np.testing.assert_allclose(scores.logprob, expected, rtol=0, atol=1e-3)
    long = " ".join(["cat"] * 37)
    found = bert.score(Texts(["the mat"], [(long, "the dog")]))
    assert found.logprob[0] == pytest.approx(by_hand(bert, "the mat", ["the dog"]), abs=1e-3)


def test_texts_that_differ_where_the_mask_is_are_read_once(
    bert: MaskedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    forward = bert.model.forward

    def counting(*args: Any, **inputs: Any) -> Any:
        read.append(len(inputs["input_ids"]))
        return forward(*args, **inputs)

    monkeypatch.setattr(bert.model, "forward", counting)
    done: list[int] = []
    tokens = bert.score(["the cat sat", "the dog sat", "the cat sat"], CPU, done.append).tokens
    pieces = len(bert.tokenizer("cat", add_special_tokens=False)["input_ids"])
    assert sum(read) < tokens.sum()
    if pieces == len(bert.tokenizer("dog", add_special_tokens=False)["input_ids"]) == 1:
        assert sum(read) == 5  # of the second, only the cat's neighbours are new
    assert sum(done) == 3


def test_texts_that_cannot_be_scored(bert: MaskedLM, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"^text 1: .* tokens, and .* can read 40"):
        bert.score(["the", " ".join(["cat"] * 60)])
    bare = wordpiece()
    bare.mask_token = None
    folder = save_masked(tmp_path / "bare", "bert")
    bare.save_pretrained(folder)
    with pytest.raises(InputError, match="no mask token"):
        MaskedLM.load(folder, CPU)


def test_nan_names_the_text(tmp_path: Path) -> None:
    lm = MaskedLM.load(save_masked(tmp_path, "bert"), CPU)
    with torch.no_grad():
        token = lm.tokenizer("mat", add_special_tokens=False)["input_ids"][0]
        lm.model.get_input_embeddings().weight[token] = float("nan")
    lm.model.get_output_embeddings().weight = torch.nn.Parameter(torch.ones(len(lm.tokenizer), 32))
    with pytest.raises(TextError, match=r"^text 1: .the mat. has the score NaN"):
        lm.score(["the cat", "the mat"])


def test_batches_are_halved_when_memory_runs_out(bert: MaskedLM, monkeypatch: Any) -> None:
    expected = bert.score(TEXTS).logprob
    original = MaskedLM._logprobs

    def small(self: MaskedLM, ids: Any, *rest: Any) -> Any:
        if len(ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, ids, *rest)

    monkeypatch.setattr(MaskedLM, "_logprobs", small)
    np.testing.assert_allclose(bert.score(TEXTS).logprob, expected, rtol=0, atol=1e-3)


def test_kinds_are_told_apart(tmp_path: Path) -> None:
    masked = save_masked(tmp_path / "masked", "bert")
    causal = save_model(tmp_path / "causal", "gpt2")
    assert is_masked(str(masked)) and not is_masked(str(causal))
    assert not is_masked(str(tmp_path / "none"))
    scorer = load_scorer(masked, CPU)
    assert isinstance(scorer, MaskedScorer)
    np.testing.assert_allclose(
        scorer.score(TEXTS).logprob, [by_hand(scorer.model, t) for t in TEXTS], rtol=0, atol=1e-3
    )
    with pytest.raises(InputError, match="no masked language model can be loaded"):
        MaskedLM.load(causal, CPU)


def test_positions_that_no_token_has_are_not_counted(tmp_path: Path) -> None:
    folder = save_masked(tmp_path / "roberta", "roberta")
    lm = MaskedLM.load(folder, CPU)
    room = lm.masking.context
    assert room is not None and room < lm.model.config.max_position_embeddings
    around = sum(map(len, lm.masking.around))
    token = lm.tokenizer.decode([lm.tokenizer("a", add_special_tokens=False)["input_ids"][0]])
    fits = token * (room - around)
    assert lm.score([fits]).tokens[0] == room - around
    with pytest.raises(TextError, match=rf"has {room + 1} tokens, and .* can read {room}"):
        lm.score([fits + token])


def test_no_windows(bert: MaskedLM) -> None:
    with pytest.raises(InputError, match="have no windows"):
        bert.score(["the cat"], replace(CPU, too_long="window"))


def test_nan_in_half_precision_is_scored_in_float32(bert: MaskedLM, tmp_path: Path) -> None:
    folder = save_masked(tmp_path / "large", "bert")
    large = MaskedLM.load(folder, CPU)
    with torch.no_grad():  # logits beyond float16, weights within it
        large.model.get_output_embeddings().weight.mul_(1e4)
    expected = large.score(TEXTS).logprob
    large.model.half()
    assert np.isfinite(expected).all()
    found = large.score(TEXTS).logprob
    assert np.isfinite(found).all()
    scored = expected < 0
    assert np.abs(found[scored] / expected[scored] - 1).max() < 0.05


def test_many_texts_are_masked_in_parts(bert: MaskedLM) -> None:
    texts = TEXTS * 3
    lists = np.repeat(np.arange(6), 3)
    whole = bert.score(Texts(texts, None, lists)).logprob
    parted = replace(bert, texts_at_once=4)
    np.testing.assert_allclose(parted.score(Texts(texts, None, lists)).logprob, whole, atol=1e-4)
    with pytest.raises(TextError, match=r"^text 18:"):
        parted.score([*texts, " ".join(["cat"] * 60)])
