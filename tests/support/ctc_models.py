"""A tiny random checkpoint of every class of transformers' CTC mapping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCTC,
    LasrTokenizer,
    ParakeetTokenizer,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2CTCTokenizer,
)
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

RATE = 16_000
PIECES = ["▁the", "▁a", "s", "t", "ing", "▁sea", "e", "▁", "h", "o", "n", "▁r"]
LETTERS = "ETAOINHSRDLU'"
BODY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WAVE = BODY | {
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
SEW = BODY | {
    "conv_dim": (8,) * 13,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
# Sizes of a tiny model by type; a type that is not named has the usual sizes of wav2vec2.
SIZES: dict[str, dict[str, Any]] = {
    "sew": SEW,
    "sew-d": SEW,
    "wav2vec2-bert": BODY | {"feature_projection_input_dim": 160},
    "parakeet_ctc": {"encoder_config": BODY | {"subsampling_conv_channels": 8}},
    "lasr_ctc": {"encoder_config": BODY | {"subsampling_conv_channels": 8}},
    "granite_speech5_ctc": {"encoder_config": BODY | {"context_size": 16}},
    "omniasr_ctc": {
        "audio_config": {
            **BODY,
            "conv_dim": (8,) * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        }
    },
}


def ctc_tokenizer(folder: Path) -> Wav2Vec2CTCTokenizer:
    labels = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    return Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))


def piece_tokenizer() -> ParakeetTokenizer:
    """Pieces; `<pad>`, which is the blank, and `<unk>` come first."""
    vocabulary = {piece: i for i, piece in enumerate(["<pad>", "<unk>", *PIECES])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return ParakeetTokenizer(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")


def lasr_tokenizer() -> LasrTokenizer:
    marks = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    extra = [("<extra_id_0>", 0.0)]
    scored = [(piece, -1.0) for piece in PIECES]
    return LasrTokenizer(vocab=[*marks, *scored, *extra], extra_ids=1)


def save_ctc_model(kind: str, folder: Path) -> Any:
    """A random checkpoint of a type; its tokenizer is the one that transformers names for it.

    Raises:
        ImportError: transformers cannot read audio for it, because a package is missing. The
            checkpoint is written nevertheless.
    """
    named = TOKENIZER_MAPPING_NAMES.get(kind)
    tokenizer: Any = {"ParakeetTokenizer": piece_tokenizer, "LasrTokenizer": lasr_tokenizer}.get(
        str(named), lambda: ctc_tokenizer(folder)
    )()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    sizes = dict(SIZES.get(kind, WAVE))
    if kind == "granite_speech5_ctc":
        sizes["encoder_config"] = sizes["encoder_config"] | {"vocab_size": len(tokenizer)}
    model = AutoModelForCTC.from_config(AutoConfig.for_model(kind, **ids, **sizes)).eval()
    model.save_pretrained(folder)
    extractor = FEATURE_EXTRACTOR_MAPPING_NAMES[kind]
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"feature_extractor_type": extractor})
    )
    features = extractor_of(kind, extractor)
    spread_labels(model, features, tokenizer)
    model.save_pretrained(folder)
    features.save_pretrained(folder)
    return tokenizer


def extractor_of(kind: str, name: str) -> Any:
    """The feature extractor of a type, as transformers names it."""
    # The mapping of feature extractors names another one than the processor of this type has.
    if kind == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80)
    return getattr(transformers, name)()


@torch.no_grad()
def spread_labels(model: Any, features: Any, tokenizer: Any) -> None:
    """Makes all labels win in some frames, as in speech, and the marks of sentences in none."""
    for values in model.parameters():
        if values.ndim > 1:
            values += 0.3 * torch.randn_like(values)
    head = model.lm_head if hasattr(model, "lm_head") else model.ctc_head
    inputs = features([noise(3.0, 9)], sampling_rate=RATE, return_tensors="pt")
    logits = model(**inputs).logits[0]
    head.weight /= logits.std(0).reshape(-1, *[1] * (head.weight.ndim - 1))
    head.bias.zero_()
    head.bias -= model(**inputs).logits[0].mean(0)
    head.bias[list(set(tokenizer.all_special_ids) - {tokenizer.pad_token_id})] = -1e4


def noise(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(seconds * RATE)) * 0.3).astype(np.float32)
