"""A training run's folder: where it continues, what it refuses, and Ctrl-C."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import TrainingArguments

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.training.causal_lm import train_lm
from lm.training.loop import use_one_device
from lm.training.resume import Ingredients, Run, newest_checkpoint
from lm.training.settings import LMTraining
from tests.support.data import PROJECT
from tests.support.training import CtrlC, Killed, KilledBefore

TEXTS = ["the cat sat on the mat", "no one knew the way home", "she sent the mail by sea"]
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
}


@dataclass(frozen=True)
class Two:
    """Two settings."""

    rate: float = 0.5
    names: tuple[str, ...] = ("a",)
    output: str = "x"


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="secondpass")


@pytest.fixture
def settings(tmp_path: Path) -> LMTraining:
    text = tmp_path / "text.txt"
    text.write_text("\n".join(TEXTS * 20) + "\n")
    return LMTraining(
        output=str(tmp_path / "lm"),
        texts=(str(text),),
        architecture=ARCHITECTURE,
        vocab_size=300,
        batch_tokens=64,
        epochs=2,
        save_steps=5,
    )


def checkpoint(folder: Path, step: int) -> Path:
    """A whole checkpoint, of files as transformers writes them."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.ones(100)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"step": torch.ones(100)}, path / name)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_run_starts_at_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert Run(tmp_path / "none", None).last is None
    with pytest.raises(InputError, match="there is no checkpoint to continue from"):
        Run(tmp_path / "none", True)
    folder = tmp_path / "run" / "checkpoints"
    for step in (5, 100, 20):  # by number, not by name or time
        checkpoint(folder, step)
    for resume in (None, True):
        run = Run(tmp_path / "run", resume)
        assert run.last == folder / "checkpoint-100" and run.first_step == 100
    assert Run(tmp_path / "run", False).last is None


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json"]
)
def test_a_damaged_checkpoint_is_skipped_with_a_message(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint(tmp_path, 5)
    cut(checkpoint(tmp_path, 10) / name)
    (checkpoint(tmp_path, 15) / name).unlink()
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        str(tmp_path / "checkpoint-15"),
        str(tmp_path / "checkpoint-10"),
    ]
    assert "this checkpoint is skipped" in caplog.text


@pytest.mark.slow
def test_training_continues_from_the_checkpoint_before_a_damaged_one(
    settings: LMTraining, caplog: pytest.LogCaptureFixture
) -> None:
    whole = train_lm(replace(settings, output=settings.output + "-whole"))
    with pytest.raises(Killed):
        train_lm(settings, callbacks=[KilledBefore(13)])
    folder = Path(settings.output) / "checkpoints"
    assert {path.name for path in folder.iterdir()} == {"checkpoint-5", "checkpoint-10", "run.json"}
    cut(folder / "checkpoint-10" / "optimizer.pt")
    figures = train_lm(settings)
    assert figures["first_step"] == 5 and figures["steps"] == whole["steps"]
    assert "checkpoint-10: this checkpoint is skipped: optimizer.pt is" in caplog.text
    assert list(Path(settings.output).parent.glob(".*")) == []  # nothing temporary is left
    assert not folder.exists()
    one, two = (
        CausalLM.load(o).score(TEXTS) for o in (settings.output, settings.output + "-whole")
    )
    assert one.logprob == pytest.approx(two.logprob, rel=1e-5)


def test_what_differs_is_named() -> None:
    known = Ingredients.of(Two(), {"texts": "1", "valid": None}, apart=["output"])
    plain = json.loads(json.dumps({"settings": known.settings, "contents": known.contents}))
    same = Ingredients.of(Two(output="y"), {"texts": "1", "valid": None}, apart=["output"])
    assert same.differences(plain) == []
    whole = Ingredients(settings={"rate": 1, "names": ["a"]}, contents=known.contents)
    assert (
        Ingredients({"rate": 1.0, "names": ["a"]}, known.contents).differences(
            {"settings": whole.settings, "contents": whole.contents}
        )
        == []
    )  # the same number
    other = Ingredients.of(Two(0.25, ("a", "b")), {"texts": "2", "valid": None}, apart=["output"])
    assert other.differences(plain) == [
        "`rate` was 0.5 and is 0.25",
        '`names` was ["a"] and is ["a", "b"]',
        "the content of `texts` has changed",
    ]
    # A setting that this version does not know, and one that the other did not know.
    plain["settings"] = {"rate": 0.5, "old": 3}
    assert same.differences(plain) == ["`old` was 3 and is null", '`names` was null and is ["a"]']


def test_a_folder_with_other_things_is_not_replaced(settings: LMTraining, tmp_path: Path) -> None:
    output = Path(settings.output)
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    for resume in (None, True, False):
        with pytest.raises(InputError, match=r"holds something already \(notes.txt\)"):
            train_lm(settings, resume)
    (output / "config.json").write_text("{}")  # a model of unknown origin
    with pytest.raises(InputError, match="replace it with --restart"):
        train_lm(settings)
    assert (output / "notes.txt").read_text() == "mine"
    train_lm(settings, resume=False)
    assert (output / "model.safetensors").is_file() and not (output / "notes.txt").exists()
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="`output` is a file"):
        Run(file, None)


def test_checkpoints_of_unknown_origin_are_refused(settings: LMTraining) -> None:
    with pytest.raises(Killed):
        train_lm(settings, callbacks=[KilledBefore(7)])
    (Path(settings.output) / "checkpoints" / "run.json").unlink()
    with pytest.raises(InputError, match=r"run.json: cannot be read.*--restart"):
        train_lm(settings)


@pytest.mark.slow
def test_an_old_model_stays_until_the_new_one_is_complete(settings: LMTraining) -> None:
    old = train_lm(settings)
    other = replace(settings, seed=2)
    weights = (Path(settings.output) / "model.safetensors").read_bytes()
    with pytest.raises(Killed):
        train_lm(other, resume=False, callbacks=[KilledBefore(7)])
    assert (Path(settings.output) / "model.safetensors").read_bytes() == weights
    # The run that was begun anew continues; the one before is refused.
    with pytest.raises(InputError, match="`seed` was 2 and is 1"):
        train_lm(settings)
    assert train_lm(other)["first_step"] == 5
    assert (Path(settings.output) / "model.safetensors").read_bytes() != weights
    assert train_lm(other) != old


def test_ctrl_c_writes_a_checkpoint_first(
    settings: LMTraining, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_lm(settings, callbacks=[CtrlC(7)])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "interrupted at step 7; wrote a checkpoint; the same command continues" in caplog.text
    assert train_lm(settings)["first_step"] == 7
    with pytest.raises(KeyboardInterrupt):
        train_lm(settings, resume=False, callbacks=[CtrlC(2)])
    assert "at step 2; wrote a checkpoint; the same command without --restart" in caplog.text


@pytest.mark.slow
def test_ctrl_c_of_the_command(settings: LMTraining, tmp_path: Path) -> None:
    """A process that gets SIGINT ends with 130, and the same command continues."""
    config = tmp_path / "lm.yaml"
    values = {"output": settings.output, "texts": list(settings.texts), "vocab_size": 300}
    values |= {"architecture": ARCHITECTURE, "batch_tokens": 64, "save_steps": 5, "epochs": 4000}
    config.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "experiments", "train-lm", str(config)]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, text=True, stderr=subprocess.PIPE
    )
    folder = Path(settings.output) / "checkpoints"
    while not list(folder.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    message = next(line for line in error.splitlines() if line.startswith("interrupted at step"))
    assert message.endswith("; wrote a checkpoint; the same command continues from it")
    step = int(message.split(";")[0].split()[-1].replace(",", ""))
    assert (folder / f"checkpoint-{step}" / "trainer_state.json").is_file()
    process = subprocess.Popen(
        command, cwd=PROJECT, env=environment, text=True, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.strip() == f"continues from the checkpoint of step {step:,}"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_several_gpus_do_not_share_a_batch() -> None:
    arguments = TrainingArguments(output_dir="none", use_cpu=True, report_to=[])
    arguments._n_gpu = 2
    use_one_device(arguments)
    assert arguments.train_batch_size == arguments.per_device_train_batch_size
