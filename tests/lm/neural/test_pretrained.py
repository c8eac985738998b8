"""Names of models: what a name stands for is said where no model can be loaded from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from asr.nbest import write_nbest
from experiments.cli import main
from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.masked import MaskedLM
from tests.support.causal_models import CPU, save_model


def save_adapter(base: Path, folder: Path) -> Path:
    """A LoRA adapter of a model, as peft writes it."""
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    config.init_lora_weights = False
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


def test_a_folder_of_an_adapter_says_what_it_is(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", "llama")
    adapter = save_adapter(base, tmp_path / "adapter")
    with pytest.raises(
        InputError, match=rf"holds a LoRA adapter of {base}, not a whole model"
    ) as e:
        CausalLM.load(adapter, CPU)
    assert "merge_and_unload" in str(e.value)
    assert "\n" not in str(e.value)
    # With the tokenizer beside it, transformers puts the two together.
    AutoTokenizer.from_pretrained(base).save_pretrained(adapter)
    text = ["the cat"]
    found, plain = (CausalLM.load(folder, CPU).score(text).logprob for folder in (adapter, base))
    assert abs(found[0] - plain[0]) > 1e-3
    shutil.rmtree(base)
    with pytest.raises(InputError, match=r"holds a LoRA adapter of .*sure that the base model"):
        CausalLM.load(adapter, CPU)


def test_a_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "models" / "llama", "llama")
    for name in ("models/lama", "./lama", "a/b/lama", "~/lama", "lama/"):
        for kind in (CausalLM, MaskedLM):
            with pytest.raises(InputError, match=f"^{name}: there is no such folder"):
                kind.load(name, CPU)
    with pytest.raises(InputError, match=r"There is no folder 'lama' here, so it was taken for a"):
        CausalLM.load("lama", CPU)
    with pytest.raises(InputError, match="name of a model is empty"):
        CausalLM.load("", CPU)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: this is a file, not a checkpoint"):
        CausalLM.load("file", CPU)
    assert CausalLM.load("models/llama", CPU).name == "models/llama"

    row = {"utt": "u", "rank": 1, "text": "a", "acoustic": 0.0, "ngram": 0.0, "words": 1, "oov": 0}
    write_nbest(pd.DataFrame([row]), tmp_path / "x.parquet")
    for command in (["correct"], ["rescore", "--name", "lm"]):
        arguments = [*command[:1], "x.parquet", "--model", "models/lama", "-o", "y.parquet"]
        assert main([*arguments, *command[1:]]) == 2
        assert "models/lama: there is no such folder" in capsys.readouterr().err


def test_a_checkpoint_without_its_tokenizer_is_named(tmp_path: Path) -> None:
    folder = save_model(tmp_path, "gpt2")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(InputError, match=r"special tokens and nothing else, as if its files"):
        CausalLM.load(folder, CPU)
