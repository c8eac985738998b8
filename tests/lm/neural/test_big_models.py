"""Large models: spread over devices, quantised, and clear about what is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig

from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.scorer import ScorerOptions
from tests.support.causal_models import HIDDEN, TEXTS, save_model


@pytest.mark.slow
def test_spread_over_devices(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    folder = save_model(tmp_path, "llama")
    expected = CausalLM.load(folder, ScorerOptions(device="cpu")).score(TEXTS)
    found = CausalLM.load(folder, ScorerOptions(device_map="auto", dtype="float32")).score(TEXTS)
    np.testing.assert_allclose(found.logprob, expected.logprob, rtol=0, atol=1e-3)


def small_llama(**changes: Any) -> LlamaConfig:
    """A configuration whose width is filled by blocks of quantisation, with ordinary weights."""
    sizes = {**HIDDEN, "hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.05}
    return LlamaConfig(**sizes, num_key_value_heads=2, **changes)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_quantised(tmp_path: Path, bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    folder = save_model(tmp_path, "small", configs={"small": small_llama})
    expected = CausalLM.load(folder, ScorerOptions(device="cpu")).score(TEXTS)
    options = ScorerOptions(device="cpu", bits=bits, dtype="float32")  # type: ignore[arg-type]
    lm = CausalLM.load(folder, options)
    assert any("bit" in type(module).__name__ for module in lm.model.modules())
    found = lm.score(TEXTS, options)
    assert np.abs(found.logprob - expected.logprob).max() > 0
    np.testing.assert_allclose(found.logprob, expected.logprob, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("options", "package"),
    [(ScorerOptions(bits=8), "bitsandbytes"), (ScorerOptions(device_map="auto"), "accelerate")],
)
def test_packages_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, options: ScorerOptions, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"needs the package {package}: pip install {package}"):
        CausalLM.load("anything", options)
