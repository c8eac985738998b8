"""A training that fails says so: no run ends well with a model of NaN, or with no change."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from experiments.cli import main
from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.scorer import Texts
from lm.training.causal_lm import train_lm
from lm.training.loop import training_arguments
from lm.training.minimum_wer import train_mwer
from lm.training.nbest_batches import Judged
from lm.training.resume import Run
from lm.training.settings import LMTraining, MWERTraining
from tests.support.causal_models import CPU, save_model
from tests.support.training import NaNAfter

ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 128,
}


@pytest.fixture
def settings(tmp_path: Path) -> LMTraining:
    """A run of 4 steps."""
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat\n" * 24)
    return LMTraining(
        output=str(tmp_path / "lm"),
        texts=(str(text),),
        valid=str(text),
        architecture=ARCHITECTURE,
        vocab_size=300,
        batch_tokens=60,
        save_steps=2,
        optimizer="adamw",
    )


def judged() -> Judged:
    """A list of two hypotheses, and its reference."""
    texts = Texts(["the cat", "the dog", "the cat"], None, np.zeros(3, dtype=np.int64))
    return Judged(texts, np.array([0, 3]), np.zeros(2), 1.0, ["u"])


def damage(folder: Path, value: float) -> Path:
    """Puts a value among the weights of a checkpoint."""
    weights = load_file(folder / "model.safetensors")
    name = next(n for n, w in weights.items() if "mlp" in n and w.ndim == 2)
    weights[name][0, 0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_language_model_that_diverges_is_not_written(
    settings: LMTraining, optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = {
        name: getattr(settings, name)
        for name in ("output", "valid", "architecture", "vocab_size", "batch_tokens")
    }
    values |= {"texts": list(settings.texts), "optimizer": optimizer, "learning_rate": 1e30}
    path = tmp_path / "lm.yaml"
    path.write_text(yaml.safe_dump(values))
    assert main(["train-lm", str(path)]) == 2
    printed = capsys.readouterr()
    assert "valid_loss" not in printed.out
    error = printed.err.splitlines()[-1]
    assert " of 4 the loss is " in error
    assert "no model was written; lower `learning_rate` (it is 1e+30)" in error
    assert not (tmp_path / "lm" / "config.json").exists()


def test_a_loss_can_be_a_number_and_have_diverged(
    settings: LMTraining, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=r"held-out loss is \d+\.?\d*: the training has diverged"):
        train_lm(replace(settings, learning_rate=100.0))
    assert not (Path(settings.output) / "config.json").exists()
    with pytest.raises(InputError, match="`learning_rate` is inf"):
        replace(settings, learning_rate=float("inf"))
    with pytest.raises(InputError, match="`learning_rate` is 1e\\+38"):
        MWERTraining(learning_rate=1e38)


def test_fine_tuning_that_makes_a_model_worse_is_a_warning(
    settings: LMTraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_lm(replace(settings, epochs=40, learning_rate=5e-3))
    (tmp_path / "other.txt").write_text("zq xj vw\n" * 24)
    tuned = replace(
        settings,
        model=settings.output,
        architecture={},
        output=str(tmp_path / "tuned"),
        texts=(str(tmp_path / "other.txt"),),
        learning_rate=2e-3,
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING, "secondpass"):
        figures = train_lm(tuned)
    assert figures["valid_loss"] > figures["valid_loss_before"]
    assert "the model has become worse" in caplog.text


def test_a_checkpoint_that_has_diverged_is_not_continued(settings: LMTraining) -> None:
    diverging = replace(settings, learning_rate=1e30, save_steps=1)
    with pytest.raises(InputError, match=r"in step \d+ of 4 the loss is"):
        train_lm(diverging)
    with pytest.raises(InputError, match=r"checkpoint of step \d+ gives the loss .*--restart"):
        train_lm(diverging)
    assert train_lm(settings, resume=False)["valid_loss"] < 10


def test_the_last_step_can_diverge_too(settings: LMTraining) -> None:
    # No loss of training is computed after the last step.
    with pytest.raises(InputError, match=r"in step 4 of 4 the held-out loss is nan: .*diverged"):
        train_lm(settings, callbacks=[NaNAfter(4)])
    with pytest.raises(InputError, match=r"after 4 steps the weights .* are no longer numbers"):
        train_lm(replace(settings, valid=None), resume=False, callbacks=[NaNAfter(4)])
    assert not (Path(settings.output) / "config.json").exists()


def test_a_model_that_is_damaged_before_training(settings: LMTraining, tmp_path: Path) -> None:
    damage(save_model(tmp_path / "model", "llama"), torch.nan)
    tuned = replace(settings, model=str(tmp_path / "model"), architecture={})
    with pytest.raises(InputError, match="held-out loss is nan before training"):
        train_lm(tuned)
    with pytest.raises(InputError, match="step 1, before any weight has changed, the loss is nan"):
        train_lm(replace(tuned, valid=None))
    with pytest.raises(InputError, match="held-out lists are nan before training"):
        train_mwer(tmp_path / "model", CPU, judged(), judged(), tmp_path / "out", MWERTraining())
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_rescorer_that_diverges_is_not_written(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "llama")
    settings = MWERTraining(epochs=8, learning_rate=1e30, warmup=0.0)
    with pytest.raises(InputError, match=r"step \d of 8 the .* is .*lower `learning_rate`"):
        train_mwer(model, CPU, judged(), judged(), tmp_path / "out", settings)
    assert not (tmp_path / "out" / "config.json").exists()


def test_weights_that_do_not_fit_the_saved_type(settings: LMTraining, tmp_path: Path) -> None:
    damage(save_model(tmp_path / "model", "llama"), 1e6)
    tuned = replace(
        settings, model=str(tmp_path / "model"), architecture={}, learning_rate=1e-6, epochs=0.3
    )
    with pytest.raises(InputError, match=r"too large for float16; set `save_dtype: float32`"):
        train_lm(replace(tuned, save_dtype="float16"))
    assert train_lm(tuned, resume=False)["steps"] == 2


def test_a_warm_up_over_all_steps_is_named_and_the_model_changes(
    settings: LMTraining, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "secondpass"):
        train_lm(settings)
        assert not caplog.records
        train_lm(replace(settings, warmup=1.0), resume=False)
        assert "the warm-up (`warmup` 1) covers all 4 steps" in caplog.text
        caplog.clear()
        once = replace(settings, batch_tokens=10_000, learning_rate=1e-2, valid=None)
        train_lm(once, resume=False)
        assert "one step only, which is made without a warm-up" in caplog.text
        assert "changed no weight" not in caplog.text
    first = CausalLM.load(settings.output).score(["the cat sat on the mat"]).logprob[0]
    train_lm(replace(once, learning_rate=1e-9), resume=False)
    assert first > CausalLM.load(settings.output).score(["the cat sat on the mat"]).logprob[0] + 0.1


def test_a_training_that_changes_nothing_says_so(
    settings: LMTraining, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "secondpass"):
        train_lm(replace(settings, learning_rate=1e-30))
    assert "the training has changed no weight: raise `learning_rate`" in caplog.text


@pytest.mark.parametrize(
    ("steps", "share", "warming"), [(100, 0.02, 2), (2, 0.02, 1), (1, 0.02, 0), (10, 1.0, 9)]
)
def test_steps_that_warm_up(steps: int, share: float, warming: int, tmp_path: Path) -> None:
    found = training_arguments(tmp_path, steps, 1.0, 1e-3, share, "float32", 1)
    assert found.warmup_steps == warming


def test_a_checkpoint_without_its_tokenizer_is_refused(
    settings: LMTraining, tmp_path: Path
) -> None:
    folder = save_model(tmp_path / "model", "gpt2")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    expected = r"special tokens and nothing else, as if its files .* were missing"
    with pytest.raises(InputError, match=expected):
        train_lm(replace(settings, model=str(folder), architecture={}))
    with pytest.raises(InputError, match=expected):
        CausalLM.load(folder)
    with pytest.raises(InputError, match=expected):
        train_mwer(folder, CPU, judged(), judged(), tmp_path / "out", MWERTraining())
    assert Run(settings.output, None).last is None
