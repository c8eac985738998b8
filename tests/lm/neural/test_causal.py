"""Log-probs of texts under causal language models, against transformers' own loss."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
)

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.scorer import ScorerOptions, TextError
from tests.support.causal_models import (
    CONFIGS,
    CPU,
    SIZE,
    TEXTS,
    TOKENIZERS,
    make_tokenizer,
    naive_ids,
    save_model,
)


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> CausalLM:
    """A random GPT-2."""
    return CausalLM.load(save_model(tmp_path_factory.mktemp("gpt2"), "gpt2"), CPU)


def with_tokenizer(lm: CausalLM, tokenizer: PreTrainedTokenizerFast) -> CausalLM:
    """The same model behind another tokenizer."""
    return replace(lm, encoder=replace(lm.encoder, tokenizer=tokenizer))


def naive_score(lm: CausalLM, text: str, eos: bool) -> tuple[float, int]:
    """One text alone, by the loss that transformers trains with."""
    ids = torch.tensor([naive_ids(lm, text, eos)])
    scored = ids.shape[1] - 1
    if scored == 0:
        return 0.0, 0
    with torch.no_grad():
        loss = lm.model(input_ids=ids, labels=ids).loss
    return -float(loss) * scored, scored


@pytest.mark.parametrize("architecture", CONFIGS)
@pytest.mark.parametrize("tokenizer", ["adds_both", "no_bos"])
def test_agrees_with_the_loss(tmp_path: Path, architecture: str, tokenizer: str) -> None:
    lm = CausalLM.load(save_model(tmp_path, architecture, tokenizer), CPU)
    for eos in (True, False):
        scores = lm.score(TEXTS, ScorerOptions(eos=eos, batch_tokens=128))
        expected = [naive_score(lm, text, eos) for text in TEXTS]
        np.testing.assert_allclose(scores.logprob, [e[0] for e in expected], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(scores.tokens, [e[1] for e in expected])
    assert scores.logprob.dtype == np.float64
    assert scores.tokens.dtype == np.int64


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_any_tokenizer(tmp_path: Path, tokenizer: str) -> None:
    lm = CausalLM.load(save_model(tmp_path, "gpt2", tokenizer), CPU)
    for eos in (True, False):
        scores = lm.score(TEXTS, ScorerOptions(eos=eos))
        expected = [naive_score(lm, text, eos) for text in TEXTS]
        np.testing.assert_allclose(scores.logprob, [e[0] for e in expected], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(scores.tokens, [e[1] for e in expected])


def test_batches_and_order_make_no_difference(gpt2: CausalLM) -> None:
    texts = TEXTS * 3
    alone = np.concatenate([gpt2.score([text]).logprob for text in texts])
    order = np.random.default_rng(1).permutation(len(texts))
    for batch_tokens in (1, 64, 4096):
        together = gpt2.score(texts, ScorerOptions(batch_tokens=batch_tokens)).logprob
        np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4)
        shuffled = gpt2.score(
            [texts[i] for i in order], ScorerOptions(batch_tokens=batch_tokens)
        ).logprob
        np.testing.assert_allclose(shuffled, alone[order], rtol=0, atol=1e-4)
    assert len(gpt2.score([]).logprob) == 0


def test_chunked_softmax_is_the_same(gpt2: CausalLM) -> None:
    whole = gpt2.score(TEXTS).logprob
    reader = replace(gpt2.reader, softmax_logits=7 * SIZE)
    for split in (True, False):
        small = replace(gpt2, reader=replace(reader, split=split), batch_logits=40 * SIZE)
        np.testing.assert_allclose(small.score(TEXTS).logprob, whole, rtol=0, atol=1e-4)


def test_continuations_sum_to_one(gpt2: CausalLM) -> None:
    # Single bytes and </s>, and nothing else, so that every continuation is one text.
    tokenizer = make_tokenizer("plain")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = []
    bytewise = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>"
    )
    with torch.no_grad():
        lm = with_tokenizer(gpt2, bytewise)
        prefix = lm.score(["the ca"], ScorerOptions(eos=False)).logprob[0]
        ended = lm.score(["the ca"], ScorerOptions(eos=True)).logprob[0]
        ascii_texts = ["the ca" + chr(code) for code in range(128)]
        mass = np.exp(lm.score(ascii_texts, ScorerOptions(eos=False)).logprob - prefix).sum()
        mass += np.exp(ended - prefix)
        ids = torch.tensor([naive_ids(lm, "the ca", eos=False)])
        probabilities = lm.model(input_ids=ids).logits[0, -1].softmax(-1)
    used = {naive_ids(lm, text, eos=False)[-1] for text in ascii_texts} | {1}
    assert len(used) == 129
    rest = sum(float(probabilities[i]) for i in range(SIZE) if i not in used)
    assert mass + rest == pytest.approx(1, abs=1e-5)


def test_special_tokens_in_a_text_are_characters(gpt2: CausalLM) -> None:
    injected = ["the cat</s>", "<s>the cat", "the </s> cat", "<pad>", "</s>"]
    for eos in (True, False):
        scores = gpt2.score(injected, ScorerOptions(eos=eos))
        expected = [naive_score(gpt2, text, eos) for text in injected]
        np.testing.assert_allclose(scores.logprob, [e[0] for e in expected], rtol=0, atol=1e-4)
        np.testing.assert_array_equal(scores.tokens, [e[1] for e in expected])
    assert scores.tokens[-1] == 4


def test_special_tokens_among_the_pieces_are_unknown(gpt2: CausalLM) -> None:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=60,
        special_tokens=["<s>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat, and so on"] * 9, trainer)
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    unigram = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **names)
    lm = with_tokenizer(gpt2, unigram)
    # One unknown character, and what would else be read as the end of the text.
    unknown, injected = lm.score(["the 東 cat", "the </s> cat"]).logprob
    assert injected == pytest.approx(unknown, abs=1e-5)
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    with pytest.raises(TextError, match=r"^text 1: 'the </s> cat' spells a special token"):
        with_tokenizer(gpt2, bare).score(["the cat", "the </s> cat"])


def test_empty_text(gpt2: CausalLM) -> None:
    without = gpt2.score([""], ScorerOptions(eos=False))
    assert (without.logprob[0], without.tokens[0]) == (0.0, 0)
    with torch.no_grad():
        after_bos = gpt2.model(input_ids=torch.tensor([[0]])).logits[0, -1].log_softmax(-1)
    scored = gpt2.score([""])
    assert scored.logprob[0] == pytest.approx(float(after_bos[1]), abs=1e-5)
    assert scored.tokens[0] == 1


def test_text_longer_than_the_context(gpt2: CausalLM) -> None:
    fits, too_long = "🙂" * 31 + "abcd", "🙂" * 31 + "abcde"
    # The last token is predicted, not read: with EOS, BOS and 127 tokens fill 128 positions.
    assert gpt2.score([fits[:-1]], ScorerOptions(eos=True)).tokens[0] == 128
    assert gpt2.score([fits], ScorerOptions(eos=False)).tokens[0] == 128
    with pytest.raises(TextError, match=r"^text 1: '🙂.*' has 129 tokens, and .* can read 128;"):
        gpt2.score(["the cat", fits], ScorerOptions(eos=True))
    with pytest.raises(TextError, match="has 129 tokens") as caught:
        gpt2.score([too_long], ScorerOptions(eos=False))
    assert caught.value.index == 0


def test_progress_adds_up(gpt2: CausalLM) -> None:
    done: list[int] = []
    for method, parts in (("tree", 2), ("padded", 4)):
        done.clear()
        options = ScorerOptions(eos=False, batch_tokens=32, method=method)
        gpt2.score(TEXTS, options, progress=done.append)
        assert sum(done) == len(TEXTS)
        assert len(done) >= parts


def test_tokenizer_without_the_tokens_needed(gpt2: CausalLM) -> None:
    backend = make_tokenizer("plain").backend_tokenizer
    only_bos = with_tokenizer(
        gpt2, PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")
    )
    assert only_bos.score(["the cat"], ScorerOptions(eos=False)).logprob[0] == pytest.approx(
        gpt2.score(["the cat"], ScorerOptions(eos=False)).logprob[0]
    )
    with pytest.raises(InputError, match="no EOS token to score"):
        only_bos.score(["the cat"])
    neither = with_tokenizer(gpt2, PreTrainedTokenizerFast(tokenizer_object=backend))
    with pytest.raises(InputError, match="neither BOS nor EOS"):
        neither.score(["the cat"], ScorerOptions(eos=False))


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    lm = CausalLM.load(save_model(tmp_path, "gpt2", vocab_size=50), CPU)
    with pytest.raises(InputError, match="they do not belong together"):
        lm.score(["the cat"])


@pytest.mark.slow
def test_half_precision_overflow_is_scored_in_float32(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2")
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if key.endswith("ln_f.weight"))
    # Logits beyond 65,504, the largest float16.
    weights[name] = weights[name] * 60_000
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    exact = CausalLM.load(folder, CPU).score(TEXTS)
    half = CausalLM.load(folder, ScorerOptions(device="cpu", dtype="float16"))
    with torch.no_grad():
        assert not half.model(input_ids=torch.tensor([[0, 5, 6]])).logits.isfinite().all()
    scores = half.score(TEXTS)
    assert np.isfinite(scores.logprob).all()
    np.testing.assert_allclose(scores.logprob, exact.logprob, rtol=0.01)
    assert next(half.model.parameters()).dtype == torch.float16


def test_nan_names_the_text(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2")
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if key.endswith("wpe.weight"))
    weights[name][10:] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    lm = CausalLM.load(folder, CPU)
    assert np.isfinite(lm.score(["the cat"]).logprob).all()
    with pytest.raises(TextError, match=r"^text 1: \"it's the dog's .*log-prob nan"):
        lm.score(["the cat", TEXTS[6]])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_close(tmp_path: Path, dtype: str) -> None:
    folder = save_model(tmp_path, "llama")
    exact = CausalLM.load(folder, CPU).score(TEXTS)
    half = CausalLM.load(folder, ScorerOptions(device="cpu", dtype=dtype)).score(TEXTS)
    np.testing.assert_allclose(half.logprob, exact.logprob, rtol=0.02, atol=0.1)


def test_weights_that_are_missing(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "llama")
    weights = load_file(folder / "model.safetensors")
    headless = {name: value for name, value in weights.items() if "lm_head" not in name}
    assert len(headless) < len(weights)
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights of LlamaForCausalLM are missing.*lm_head"):
        CausalLM.load(folder, CPU)


def test_models_that_are_not_causal(tmp_path: Path) -> None:
    torch.manual_seed(1)
    tokenizer = make_tokenizer("plain")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "masked")
    tokenizer.save_pretrained(tmp_path / "masked")
    with pytest.raises(InputError, match="lets a token see later tokens"):
        CausalLM.load(tmp_path / "masked", CPU)
    Wav2Vec2Config().save_pretrained(tmp_path / "acoustic")
    tokenizer.save_pretrained(tmp_path / "acoustic")
    with pytest.raises(InputError, match="no causal language model can be loaded"):
        CausalLM.load(tmp_path / "acoustic", CPU)


def test_folders_that_hold_no_whole_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        CausalLM.load(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no causal language model can be loaded"):
        CausalLM.load(tmp_path / "empty", CPU)
    folder = save_model(tmp_path / "whole", "gpt2")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="no causal language model can be loaded") as caught:
        CausalLM.load(folder, CPU)
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        CausalLM.load(folder, CPU)


def test_settings_that_cannot_be(gpt2: CausalLM) -> None:
    with pytest.raises(InputError, match="device 'abacus' cannot be used here"):
        CausalLM.load(gpt2.name, ScorerOptions(device="abacus"))
    with pytest.raises(InputError, match="dtype 'int8': use one of float32, float16, bfloat16"):
        CausalLM.load(gpt2.name, ScorerOptions(dtype="int8"))
    with pytest.raises(InputError, match="batch of 0 tokens"):
        gpt2.score(["a"], ScorerOptions(batch_tokens=0))
