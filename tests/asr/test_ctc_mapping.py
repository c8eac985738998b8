"""Every class of transformers' CTC mapping gives transformers' own text, or one line why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoFeatureExtractor, AutoModelForCTC
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
