"""Acoustic models that are fine-tuned: their blank, their tokenizer, and a run that diverges."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from transformers import Wav2Vec2CTCTokenizer

from asr import CTCModel
from asr.evaluation.wer import word_errors
from asr.training.ctc import train_acoustic
from asr.training.settings import AcousticTraining, Augmentation
from experiments.cli import main
from lm.errors import InputError
from tests.support.checkpoints import tiny_wav2vec2
from tests.support.ctc_models import save_ctc_model
from tests.support.training import NaNAfter

RATE = 16_000


@pytest.fixture
def settings(tmp_path: Path) -> AcousticTraining:
    """A run of 6 steps that fine-tunes a random wav2vec2."""
    rng = np.random.default_rng(0)
    with (tmp_path / "train.jsonl").open("w", encoding="utf-8") as lines:
        for i, text in enumerate(("THE SEA", "A TREE")):
            signal = 0.1 * rng.standard_normal(2 * RATE)
            soundfile.write(tmp_path / f"{i}.wav", signal, RATE)
            entry = {"audio_filepath": f"{i}.wav", "duration": 2.0, "text": text}
            lines.write(json.dumps(entry) + "\n")
    return AcousticTraining(
        output=str(tmp_path / "out"),
        train=(str(tmp_path / "train.jsonl"),),
        valid=str(tmp_path / "train.jsonl"),
        normaliser="none",
        model=str(tiny_wav2vec2(tmp_path / "model")),
        epochs=6,
        batch_seconds=4.0,
        learning_rate=1e-3,
        augmentation=Augmentation(time_masks=0.0, mel_masks=0),
        save_steps=3,
    )


def test_a_run_that_diverges_names_the_step_and_writes_nothing(
    settings: AcousticTraining, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {
        "output": settings.output,
        "train": list(settings.train),
        "model": settings.model,
        "normaliser": "none",
        "epochs": 6,
        "learning_rate": 1e30,
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    assert main(["train-acoustic", str(tmp_path / "run.yaml")]) == 2
    printed = capsys.readouterr()
    assert "loss:" not in printed.out
    error = printed.err.splitlines()[-1]
    assert " of 6 the loss is " in error and "lower `learning_rate` (it is 1e+30)" in error
    assert not (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("step", [2, 3, 6])
def test_a_run_can_diverge_in_any_step(step: int, settings: AcousticTraining) -> None:
    with pytest.raises(
        InputError, match=r"in step \d of 6 the (held-out )?loss is nan: .*--restart"
    ):
        train_acoustic(settings, callbacks=[NaNAfter(step)])
    assert not (Path(settings.output) / "config.json").exists()


def test_the_blank_of_the_loss_is_that_of_the_tokenizer(
    settings: AcousticTraining, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    labels = ["A", "<s>", "</s>", "<unk>", "|", *"ETOINHSRDLUMWCFGYPBVKXJQZ'", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    with pytest.raises(InputError, match=r"`pad_token_id` 0 \(label 'A'\).* is 31 \('<pad>'\)"):
        train_acoustic(settings)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "blank_token_id": 31}))
    train_acoustic(replace(settings, epochs=60, learning_rate=1e-2, valid=None))
    model = CTCModel.load(settings.output)
    assert model.vocabulary.blank == model.model.config.pad_token_id == 31
    # Most frames of such a model are blank, and no letter is.
    log_probs = model.log_probs([0.1 * np.random.default_rng(1).standard_normal(32_000)])[0]
    assert np.bincount(log_probs.argmax(1), minlength=32).argmax() == 31


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["omniasr_ctc", "lasr_ctc"])
def test_models_with_masks_and_marks_of_their_own_are_tuned(
    kind: str, settings: AcousticTraining, tmp_path: Path
) -> None:
    save_ctc_model(kind, tmp_path / kind)
    line = {"audio_filepath": "0.wav", "duration": 2.0, "text": "the tone"}
    (tmp_path / "one.jsonl").write_text(json.dumps(line) + "\n")
    one = str(tmp_path / "one.jsonl")
    tuned = replace(settings, model=str(tmp_path / kind), train=(one,), valid=one)
    figures = train_acoustic(replace(tuned, epochs=30, save_steps=30, learning_rate=1e-2))
    assert figures["valid_loss"] < figures["loss"]
    # Training counts the words of the text that `transcribe` prints.
    text = CTCModel.load(settings.output).transcribe(tmp_path / "0.wav")
    assert figures["valid_wer"] == word_errors("the tone", text).rate
    assert "<" not in text


def test_a_checkpoint_that_is_not_there(settings: AcousticTraining, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="modle: there is no such folder"):
        train_acoustic(replace(settings, model=str(tmp_path / "modle")))
