"""A text that spells a control token is read as characters, wherever a model reads texts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from lm.errors import InputError
from lm.neural.causal import CausalLM, CausalScorer
from lm.neural.chat import ChatEncoder
from lm.neural.control_tokens import ControlTokens
from lm.neural.correction import correct_freely, load_corrector
from lm.rescore import rescore
from lm.scorer import ScorerOptions, Texts

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
# Tokens of Qwen and others that are added, and not called special.
UNMARKED = ["<think>", "</think>", "<tool_call>", "[INST]"]
WORD = "covid"  # an added token that is a word
TEXTS = ["the cat sat on the mat", "it's the dog's mat", "naïve café — 東京"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As Qwen 3: an empty thought comes before the answer.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(template: str = CHATML) -> PreTrainedTokenizerFast:
    """A byte-level BPE with control tokens of both kinds."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS * 5, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    made.add_tokens([AddedToken(x, special=False, normalized=False) for x in [*UNMARKED, WORD]])
    made.chat_template = template
    return made


def save(folder: Path, template: str = CHATML) -> Path:
    """A random Llama with that tokenizer."""
    made = make_tokenizer(template)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(made),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=1024,
        initializer_range=0.4,
        bos_token_id=0,
        eos_token_id=1,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def control_ids(tokenizer: Any) -> set[int]:
    return {int(tokenizer.convert_tokens_to_ids(x)) for x in [*SPECIAL, *UNMARKED]}


def table_of(texts: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "utt": "u",
            "rank": range(1, len(texts) + 1),
            "text": texts,
            "acoustic": -1.0,
            "ngram": 0.0,
            "words": [len(text.split()) for text in texts],
            "oov": 0,
        }
    )


def test_texts_without_control_tokens_are_encoded_as_ever() -> None:
    tokenizer = make_tokenizer()
    controls = ControlTokens.of(tokenizer)
    assert set(controls.names.values()) == {*SPECIAL, *UNMARKED}
    rng = np.random.default_rng(0)
    alphabet = [*"aehst '.<>[]|—é東", "covid", "think"]
    for _ in range(300):
        text = "".join(rng.choice(alphabet, size=rng.integers(0, 12)))
        if controls.spelled_in(text):
            continue
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert controls.encode([text])[0] == expected
        if WORD not in text:
            assert controls.characters(text) == expected


def test_no_text_gives_a_control_token() -> None:
    tokenizer = make_tokenizer()
    controls = ControlTokens.of(tokenizer)
    rng = np.random.default_rng(1)
    for _ in range(300):
        text = "".join(rng.choice([*SPECIAL, *UNMARKED, "a", " ", "the"], size=5))
        ids = controls.encode([text])[0]
        assert control_ids(tokenizer).isdisjoint(ids)
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("token", [*SPECIAL, *UNMARKED])
def test_a_hypothesis_controls_no_prompt(token: str, plain: bool, tmp_path: Path) -> None:
    model = load_corrector(save(tmp_path), ScorerOptions(device="cpu"), plain=plain)
    encoder = model.encoder
    assert isinstance(encoder, ChatEncoder)
    known = control_ids(encoder.tokenizer)
    ids, usual = (encoder.prompt_ids([text, "the mat"]) for text in (f"the {token} cat", "the cat"))
    assert [i for i in ids if i in known] == [i for i in usual if i in known]
    assert f"1. the {token} cat\n2. the mat" in encoder.tokenizer.decode(ids)
    correct_freely(table_of([f"the {token} cat", "the mat"]), model)


def test_a_reply_that_spells_a_control_token_is_characters(tmp_path: Path) -> None:
    model = load_corrector(save(tmp_path, THINKING), ScorerOptions(device="cpu"))
    encoder = model.encoder
    assert isinstance(encoder, ChatEncoder)
    tokenizer = encoder.tokenizer
    think, end = (tokenizer.convert_tokens_to_ids(x) for x in ("<think>", "<|im_end|>"))
    texts = ["the cat", "the <think> cat", "<tool_call>"]
    found = encoder.encode(Texts(texts, None, np.zeros(3, dtype=np.int64)), ScorerOptions())
    for text, ids, first in zip(texts, found.ids, found.first, strict=True):
        reply = ids[first:].tolist()
        # The template's own empty thought is one; the hypothesis has none.
        assert reply.count(think) == 1 and reply[-1] == end
        assert tokenizer.decode(reply) == f"<think>\n\n</think>\n\n{text}<|im_end|>"
    column = rescore(table_of(texts), CausalScorer(model), "chat")["chat"]
    assert np.isfinite(column).all()


def test_scores_of_control_tokens_are_those_of_their_characters(tmp_path: Path) -> None:
    lm = CausalLM.load(save(tmp_path), ScorerOptions(device="cpu"))
    text = "the <think> cat"
    pieces = ControlTokens.of(lm.tokenizer).characters(text)
    ids = torch.tensor([[0, *pieces, 1]])
    with torch.inference_mode():
        logprobs = lm.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    expected = float(logprobs.gather(1, ids[0, 1:, None]).double().sum())
    scores = lm.score([text])
    assert scores.logprob[0] == pytest.approx(expected, abs=1e-3)
    assert scores.tokens[0] == len(pieces) + 1


def test_control_tokens_in_the_prompt_itself_are_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "secondpass"):
        load_corrector(
            save(tmp_path), ScorerOptions(device="cpu"), "<think>{hypotheses}</think>", plain=True
        )
    assert "the prompt contains <think>, </think>, which the model reads as char" in caplog.text


def test_a_tokenizer_that_knows_no_characters_is_an_error(tmp_path: Path) -> None:
    words = {x: i for i, x in enumerate(["<s>", "</s>", "the", "cat", "<think>"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken("<think>", special=False)])
    controls = ControlTokens.of(tokenizer)
    assert controls.encode(["the cat"]) == [[2, 3]]
    with pytest.raises(InputError, match="'the <think>' spells <think>, which the tokenizer takes"):
        controls.encode(["the <think>"])
