"""Tiny random causal language models of many architectures, and their texts token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from lm.neural.causal import CausalLM
from lm.scorer import ScorerOptions

SIZE = 300
CPU = ScorerOptions(device="cpu")
TEXTS = [
    "the cat sat on the mat",
    "THE CAT SAT ON THE MAT",
    "",
    "a",
    " leading and  double space",
    "naïve café — 東京 🙂",
    "it's the dog's mat and the cat's hat and nothing more was said that day by anyone at all",
    "the cat",
]
HIDDEN: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    # Far from zero, so that mistakes are far larger than the tolerance.
    "initializer_range": 0.4,
}
CONFIGS: dict[str, Callable[..., Any]] = {
    "gpt2": lambda **k: GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.4, **k
    ),
    "llama": lambda **k: LlamaConfig(**HIDDEN, num_key_value_heads=2, **k),
    "opt": lambda **k: OPTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        word_embed_proj_dim=32,
        max_position_embeddings=128,
        init_std=0.4,
        **k,
    ),
    "gpt_neox": lambda **k: GPTNeoXConfig(**HIDDEN, **k),
    "qwen2": lambda **k: Qwen2Config(**HIDDEN, num_key_value_heads=2, **k),
    "gemma2": lambda **k: Gemma2Config(**HIDDEN, num_key_value_heads=2, head_dim=8, **k),
    "phi": lambda **k: PhiConfig(**HIDDEN, **k),
    "mistral": lambda **k: MistralConfig(**HIDDEN, num_key_value_heads=2, sliding_window=8, **k),
    "bloom": lambda **k: BloomConfig(
        hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4, **k
    ),
    "mamba": lambda **k: MambaConfig(
        hidden_size=32, num_hidden_layers=2, state_size=4, initializer_range=0.4, **k
    ),
}
# Name: BOS, EOS and padding tokens, which of them the tokenizer adds itself, and padding side.
TOKENIZERS: dict[str, tuple[dict[str, str], str, str]] = {
    "plain": ({"bos_token": "<s>", "eos_token": "</s>"}, "$A", "right"),
    "adds_both": ({"bos_token": "<s>", "eos_token": "</s>"}, "<s> $A </s>", "left"),
    "adds_bos": ({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}, "<s> $A", "left"),
    "adds_eos": ({"eos_token": "</s>", "pad_token": "</s>"}, "$A </s>", "right"),
    "no_bos": ({"eos_token": "</s>"}, "$A", "right"),
    "same": ({"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"}, "</s> $A", "left"),
}


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens; <s>, </s> and <pad> are the first three."""
    names, template, side = TOKENIZERS[kind]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side=side, **names)


def save_model(
    folder: Path,
    architecture: str,
    tokenizer: str = "plain",
    configs: Mapping[str, Callable[..., Any]] = CONFIGS,
    **changes: Any,
) -> Path:
    """A random checkpoint of that architecture."""
    made = make_tokenizer(tokenizer)
    torch.manual_seed(1)
    changes = {"vocab_size": len(made), "bos_token_id": 0, "eos_token_id": 1, **changes}
    config = configs[architecture](pad_token_id=None, **changes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def naive_ids(lm: CausalLM, text: str, eos: bool) -> list[int]:
    """The ids of a text by way of the tokenizer's own pieces, and of the boundaries."""
    backend = lm.tokenizer.backend_tokenizer
    pieces = [
        piece
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)
        for piece in backend.model.tokenize(word)
    ]
    bos, end = lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id
    return [end if bos is None else bos, *(piece.id for piece in pieces), *([end] if eos else [])]
