"""Checkpoints of acoustic models: what is wrong with one is said in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Wav2Vec2CTCTokenizer

from asr import CTCModel
from lm.errors import InputError
from tests.support.checkpoints import tiny_gpt2, tiny_wav2vec2

RATE = 16_000


def noise(seconds: float) -> np.ndarray:
    samples = round(seconds * RATE)
    return (np.random.default_rng(0).standard_normal(samples) * 0.1).astype(np.float32)


def test_a_checkpoint_without_a_head_is_refused(tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    path = tmp_path / "model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.startswith("lm_head")}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="no CTC head"):
        CTCModel.load(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    (tmp_path / "vocab.json").write_text(json.dumps({**vocabulary, "Ä": 32}))
    with pytest.raises(InputError, match="32 outputs"):
        CTCModel.load(tmp_path)


def test_a_tokenizer_may_add_marks_that_the_model_never_had(tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    labels = ["<pad>", "|", "<unk>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'-."]  # and <s>, </s> behind them
    (tmp_path / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    assert len(CTCModel.load(tmp_path).vocabulary.labels) == 32


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def without_blank(folder: Path) -> None:
    edit_config(pad_token_id=None)(folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "pad_token": None}))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    "truncated": (lambda f: (f / "model.safetensors").write_bytes(b"12345"), "SafetensorError"),
    "no tokenizer": (lambda f: (f / "vocab.json").unlink(), "tokenizer"),
    "no features": (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config"),
    "other head": (edit_config(vocab_size=40), "lm_head.*do not belong together"),
    "no blank": (without_blank, "pad_token_id"),
    "two blanks": (edit_config(pad_token_id=7), "`pad_token_id` 7 .*'A'.* is 0 .*'<pad>'"),
    "blank outside": (edit_config(pad_token_id=77), "blank is column 77"),
    "wrong type": (edit_config(num_hidden_layers="two"), "num_hidden_layers"),
    "no CTC": (lambda f: tiny_gpt2(f, ["a"]), "GPT2Config"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_folders_are_one_line(name: str, tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    change, message = BROKEN[name]
    change(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        CTCModel.load(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_folder_device_and_type(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        CTCModel.load(tmp_path / "none")
    tiny_wav2vec2(tmp_path)
    with pytest.raises(InputError, match="device 'moon'"):
        CTCModel.load(tmp_path, device="moon")
    with pytest.raises(InputError, match="'int8'"):
        CTCModel.load(tmp_path, dtype="int8")
    with pytest.raises(InputError, match="needs a GPU"):
        CTCModel.load(tmp_path, device="cpu", dtype="float16")


def test_names_of_models_that_look_like_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    for name in ("models/tiyn", "./tiny", "a/b/c", "tiny/", "~/tiny"):
        with pytest.raises(InputError, match=f"^{name}: there is no such folder"):
            CTCModel.load(name)
    with pytest.raises(InputError, match=r"no folder 'tiny' here, so it was taken for a hub name"):
        CTCModel.load("tiny")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: this is a file"):
        CTCModel.load("file")
    with pytest.raises(InputError, match="name of a model is empty"):
        CTCModel.load("")


@pytest.mark.parametrize("explicit", [False, True])
def test_the_blank_is_the_tokenizers_padding_or_named(explicit: bool, tmp_path: Path) -> None:
    tiny_wav2vec2(tmp_path)
    labels = ["A", "<s>", "</s>", "<unk>", "|", *"ETOINHSRDLUMWCFGYPBVKXJQZ'", "<pad>"]
    (tmp_path / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json")).save_pretrained(tmp_path)
    signal = noise(2.0)
    # The library's default is 0, which is a letter here.
    with pytest.raises(InputError, match=r"`pad_token_id` 0 \(label 'A'\).* is 31 \('<pad>'\)"):
        CTCModel.load(tmp_path)
    change = {"blank_token_id": 31} if explicit else {"pad_token_id": 31}
    edit_config(**change)(tmp_path)
    model = CTCModel.load(tmp_path)
    assert model.vocabulary.blank == 31
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    values = model.features(signal, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        logits = model.model(values).logits[0]
        logits[:, [1, 2, 3]] = -torch.inf  # the marks of sentences, which are never spoken
    expected = tokenizer.decode(logits.argmax(-1))
    assert "A" in expected
    assert model.transcribe(signal) == " ".join(expected.split())
