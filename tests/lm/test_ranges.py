"""Numeric settings: no number outside its range reaches the work."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from asr.options import Acoustic, DecoderOptions
from asr.training.settings import AcousticTraining
from experiments.comparison.config import build
from experiments.comparison.experiment import Comparison
from experiments.train_rescorer import RescorerTraining
from lm.errors import InputError
from lm.ranges import COUNT, FINITE, POSITIVE, SEED, Range
from lm.training.settings import LMTraining

SPLIT = {"nbest": "dev.jsonl"}
COLUMN = {"model": "lm.arpa"}
CONFIGS: dict[type, dict[str, Any]] = {
    Comparison: {
        "name": "a",
        "splits": {"dev": SPLIT},
        "systems": {"first": {"lists": "any", "weights": {"acoustic": 1}}},
        "columns": {"lm": {**COLUMN, "context": {}}},
        "first_passes": {"any": {"lm": "lm.arpa", "lm_weights": [1.0], "hotwords": {"a": 1.0}}},
        "acoustic": {"model": "m"},
    },
    LMTraining: {"output": "o", "texts": ["t"], "model": "m", "lora": {}, "optimizer": "adamw"},
    AcousticTraining: {"output": "o", "train": ["t"], "model": "m", "augmentation": {}},
    RescorerTraining: {
        "output": "o",
        "splits": {"dev": SPLIT},
        "columns": {"lm": {**COLUMN, "context": {}}},
        "system": ["acoustic", "lm"],
        "train": "lm",
    },
}
# Log-probs, weights and gains may be negative; these limits may be infinite.
SIGNED = {"alpha", "beta", "unknown", "token_min_logp", "beam_prune_logp", "snr_db", "hotwords"}
SIGNED |= {"weights"}
INFINITE = {"token_min_logp", "beam_prune_logp"}


def numeric(cls: Any, value: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[Any]:
    """Key and kind of every numeric setting of a config, those inside it included."""
    for name, hint in typing.get_type_hints(cls).items():
        choices = [hint]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            choices = list(typing.get_args(hint))
        for choice in choices:
            origin, arguments = typing.get_origin(choice), typing.get_args(choice)
            if choice in (int, float):
                yield (*path, name), choice, (lambda number: number)
            elif dataclasses.is_dataclass(choice):
                yield from numeric(choice, value.get(name) or {}, (*path, name))
            elif origin is tuple and arguments[0] in (int, float):
                length = 2 if name in ("snr_db", "shares") else 1
                yield (*path, name), arguments[0], (lambda number, n=length: [number] * n)
            elif isinstance(origin, type) and issubclass(origin, Mapping):
                for key, inner in value.get(name, {}).items():
                    if dataclasses.is_dataclass(arguments[1]):
                        yield from numeric(arguments[1], inner, (*path, name, key))
                    elif arguments[1] in (int, float):
                        yield (*path, name, key), arguments[1], (lambda number: number)


def with_value(data: Any, path: tuple[str, ...], value: Any) -> Any:
    """A config with another value at one place."""
    inner = data.get(path[0], {})
    new = value if len(path) == 1 else with_value(inner, path[1:], value)
    return {**data, path[0]: new}


EVERY = [
    (cls, path, kind, shape)
    for cls, data in CONFIGS.items()
    for path, kind, shape in numeric(cls, data)
]


def test_there_are_settings_of_every_config() -> None:
    assert len(EVERY) > 60
    assert {cls for cls, *_ in EVERY} == set(CONFIGS)
    names = {path[-1] for _, path, *_ in EVERY}
    assert {"seed", "resamples", "limit", "beam_width", "history", "rank", "speeds"} <= names


@pytest.mark.parametrize(
    ("cls", "path", "kind", "shape"),
    EVERY,
    ids=[f"{c.__name__}.{'.'.join(p)}" for c, p, *_ in EVERY],
)
def test_no_setting_takes_a_number_that_means_nothing(
    cls: type, path: tuple[str, ...], kind: type, shape: Any
) -> None:
    names = set(path)
    wrong: list[float] = [math.nan]
    if not names & INFINITE:
        wrong += [math.inf, -math.inf]
    if not names & SIGNED or path[-1] == "alpha":
        wrong.append(-1 if kind is int else -0.5)
    if kind is int:
        wrong = [number for number in wrong if math.isfinite(number)] + [10**30, -(10**30)]
    for number in wrong:
        with pytest.raises(InputError) as error:
            build(cls, with_value(CONFIGS[cls], path, shape(number)), "config.yaml", "")
        assert str(error.value).startswith("config.yaml: ")
        assert path[-1].split(".")[0] in str(error.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"resamples": 0}, "`resamples` is 0; give a number from 1 to 10,000,000"),
        ({"seed": -1}, "`seed` is -1; give a number from 0 to 4,294,967,295"),
        ({"folds": 1}, "`folds` is 1; give 2 or more, or 0"),
        ({"cache": "off"}, "`cache` is 'off'; give a file, or null"),
    ],
)
def test_messages_say_what_is_valid(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        build(Comparison, {**CONFIGS[Comparison], **change}, "config.yaml", "")


def test_settings_made_in_python_are_checked_too() -> None:
    with pytest.raises(InputError, match="batch_seconds"):
        Acoustic("model", batch_seconds=0)
    with pytest.raises(InputError, match=r"hotwords\.a"):
        DecoderOptions(hotwords={"a": math.inf})


def test_limits_of_ranges() -> None:
    assert 1 in COUNT and 0 not in COUNT
    assert 0 in SEED and 2**32 - 1 in SEED and 2**32 not in SEED
    assert 0 not in POSITIVE and 1e-300 in POSITIVE and math.inf not in POSITIVE
    assert -1e300 in FINITE and math.nan not in FINITE
    assert 10**400 not in SEED and 10**400 in COUNT
    assert str(Range(0, 1)) == "a number from 0 to 1"
    assert str(COUNT) == "a number of 1 or more"
