"""The JSON Schema of configs: what is right passes, and what `load_config` refuses does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from experiments.comparison.experiment import Comparison
from experiments.comparison.schema import schema_of
from experiments.configs import schema
from tests.support.data import PROJECT

CONFIGS = sorted((PROJECT / "experiments" / "configs").glob("*.yaml"))


@dataclass(frozen=True)
class Inner:
    """Settings.

    Attributes:
        kind: which kind.
        rate: a rate.
    """

    kind: Literal["a", "b"] = "a"
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    """Settings.

    Attributes:
        title: what it is called.
        width: in pixels.
    """

    title: str
    width: int = 1
    names: tuple[str, ...] = ()
    history: int | Literal["exact"] = "exact"
    one: Inner = field(default_factory=Inner)
    many: Mapping[str, Inner] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None


def command_of(config: Path) -> str:
    """The command that a bundled config is for, by its name."""
    name = config.stem
    if not name.startswith("train-"):
        return "compare"
    return next(f"train-{kind}" for kind in ("acoustic", "lm", "rescorer") if f"-{kind}" in name)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_bundled_configs_are_valid(config: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    found = schema(command_of(config))
    jsonschema.Draft202012Validator.check_schema(found)
    jsonschema.validate(yaml.safe_load(config.read_text(encoding="utf-8")), found)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"width": 3, "names": ["x"], "history": 4}, True),
        ({"names": "x"}, True),  # one value is a list of one
        ({"one": {"rate": "1e-3"}}, True),  # as YAML reads it
        ({"one": {"kind": ["a", "b"]}, "width": [1, 2], "names": [["x"], []]}, True),
        ({"many": {"x": {"rate": [0.1, 1]}}, "weights": {"lm": [0.1, 0.2]}}, True),
        ({"weights": None}, True),
        ({"title": None}, False),
        ({"widht": 3}, False),
        ({"width": "wide"}, False),
        ({"width": []}, False),
        ({"one": {"kind": "c"}}, False),
        ({"many": {"x": {"rates": 1}}}, False),
        ({"history": "some"}, False),
    ],
)
def test_values_sweeps_and_mistakes(change: dict[str, Any], valid: bool) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema_of(Outer))
    assert validator.is_valid({"title": "a", **change}) == valid


def test_keys_are_explained_and_complete() -> None:
    found = schema_of(Outer)
    assert found["properties"]["title"]["description"] == "what it is called."
    assert found["required"] == ["title"] and found["additionalProperties"] is False
    assert found["$defs"]["Inner"]["properties"]["kind"]["description"] == "which kind."
    assert found["properties"]["width"]["default"] == 1
    for part in (whole := schema_of(Comparison), *whole["$defs"].values()):
        assert all("description" in about for about in part["properties"].values())
