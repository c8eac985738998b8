"""Every class of transformers' CTC mapping gives transformers' own text, or one line why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import AutoFeatureExtractor, AutoModelForCTC, ParakeetTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

from asr import CTCModel
from asr.greedy import greedy
from experiments.cli import main
from lm.errors import InputError
from tests.support.ctc_models import RATE, noise, save_ctc_model


def own_text(folder: Path, tokenizer: Any, signal: np.ndarray) -> str:
    """The text as transformers' documentation has it: argmax and the tokenizer's decoding."""
    model = AutoModelForCTC.from_pretrained(folder).eval()
    features = AutoFeatureExtractor.from_pretrained(folder)
    inputs = features([signal], sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        best = model(**inputs).logits.argmax(-1)
    return str(tokenizer.batch_decode(best)[0])


@pytest.mark.parametrize("kind", MODEL_FOR_CTC_MAPPING_NAMES)
def test_each_class_gives_the_text_of_transformers_or_one_line(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        tokenizer = save_ctc_model(kind, tmp_path)
    except ImportError as missing:
        package = "torchaudio"
        assert package in str(missing)
        with pytest.raises(InputError, match=package) as error:
            CTCModel.load(tmp_path)
        assert "\n" not in str(error.value)
        return
    model = CTCModel.load(tmp_path)
    signals = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 2.3, 0.7))]
    expected = [own_text(tmp_path, tokenizer, signal).split() for signal in signals]
    assert len({letter for words in expected for word in words for letter in word}) > 6
    assert [model.transcribe(signal).split() for signal in signals] == expected
    # A batch gives what one at a time gives.
    together = [greedy(found, model.vocabulary)[0].split() for found in model.log_probs(signals)]
    assert together == expected
    soundfile.write(tmp_path / "a.wav", signals[0], RATE, subtype="FLOAT")
    assert main(["transcribe", str(tmp_path / "a.wav"), "--model", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == expected[0]


def test_the_blank_of_omniasr_is_not_its_padding(tmp_path: Path) -> None:
    """As published: the blank is `<s>`, the padding another label, and texts leave out both."""
    tokenizer = save_ctc_model("omniasr_ctc", tmp_path)
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, " ": 4}
    vocabulary |= {letter: i for i, letter in enumerate("abcdefghi", 5)}
    assert len(vocabulary) == len(tokenizer)
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.decoder = decoders.Fuse()
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    published = ParakeetTokenizer(tokenizer_object=backend, **marks)
    published.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"blank_token_id": 0, "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = CTCModel.load(tmp_path)
    assert model.vocabulary.blank == 0
    rng = np.random.default_rng(4)
    for _ in range(50):
        best = rng.choice([0, 0, *range(4, 14)], size=30)
        log_probs = np.full((30, 14), -9.0, np.float32)
        log_probs[np.arange(30), best] = 0.0
        expected = published.decode(best.tolist(), skip_special_tokens=True)
        assert greedy(log_probs, model.vocabulary)[0] == " ".join(expected.split())
