"""Tiny randomly initialised checkpoints of real classes, written to folders."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

LETTERS = "ETAOINHSRDLUMWCFGYPBVKXJQZ'"


def wav2vec2_tokenizer(folder: Path) -> Wav2Vec2CTCTokenizer:
    """The 32 labels of facebook/wav2vec2-base-960h, in a tokenizer of its class."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    path = folder / "vocab.json"
    path.write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    return Wav2Vec2CTCTokenizer(str(path))


def tiny_wav2vec2(folder: Path, seed: int = 0) -> Path:
    """A group-norm wav2vec2 with CTC head, as wav2vec2-base-960h is, of a few thousand weights."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    wav2vec2_tokenizer(folder).save_pretrained(folder)
    return folder


def tiny_gpt2(folder: Path, texts: Iterable[str], seed: int = 0) -> Path:
    """A GPT-2 with a byte-level tokenizer whose only special token is `<|endoftext|>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    mark = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=mark, eos_token=mark, unk_token=mark
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    end = tokenizer.token_to_id(mark)
    config = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_positions=512,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=end,
        eos_token_id=end,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder
