"""Grids over settings: one run for each value of a list, where a single value is expected.

For a setting that is itself a list, give a list of lists.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from experiments.comparison.config import build, read_with_overrides, set_path, to_plain
from lm.errors import InputError

T = TypeVar("T")
Keys = tuple[str, ...]
WIDTH = 100  # of a line of YAML


@dataclass(frozen=True)
class Point(Generic[T]):
    """One point of a grid.

    Attributes:
        values: values of the swept settings by `key.path`, lists and mappings as one text; empty
            if nothing is swept.
        config: the whole config with these values.
    """

    values: Mapping[str, Any]
    config: T


def load_points(
    cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()
) -> list[Point[T]]:
    """Every combination of the values that a config lists; one point if it lists none.

    Args:
        cls: A dataclass, as for `experiments.comparison.config.load_config`.
        path: YAML file, or None to start from the defaults.
        overrides: `key.path=value`.

    Raises:
        InputError: As `load_config`, for any point; or a list of values is empty, or has a value
            twice.
    """
    data, where = read_with_overrides(path, overrides)
    swept = dict(lists_in(cls, data, ()))
    for keys, every in swept.items():
        texts = [str(as_cell(value)) for value in every]
        if len(set(texts)) != len(texts) or not texts:
            what = "has a value twice" if texts else "is an empty list"
            raise InputError(f"{where}: `{'.'.join(keys)}` {what}; give each value to try once")
    points = []
    for values in itertools.product(*swept.values()):
        here = copy.deepcopy(data)
        for keys, value in zip(swept, values, strict=True):
            inner = here
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = value
        named = {".".join(keys): as_cell(value) for keys, value in zip(swept, values, strict=True)}
        points.append(Point(named, build(cls, here, where, "")))
    return points


def resolved_yaml(cls: type[Any], path: str | Path | None, overrides: Sequence[str] = ()) -> str:
    """A config as YAML, with all defaults and overrides; reading it gives the same points.

    Raises:
        InputError: As `load_points`.
    """
    data, _ = read_with_overrides(path, overrides)
    plain = to_plain(load_points(cls, path, overrides)[0].config)
    for keys, every in lists_in(cls, data, ()):
        set_path(plain, keys, every)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=WIDTH)


def as_cell(value: Any) -> Any:
    """A value of a setting in a form that a table can hold."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={as_cell(part)}" for key, part in value.items())
    return ", ".join(str(as_cell(part)) for part in value) if isinstance(value, list) else value


def lists_in(cls: Any, value: Any, keys: Keys) -> Iterator[tuple[Keys, list[Any]]]:
    """The lists at places where the type expects a single value, with their keys.

    Where the type expects a list, lists of lists are found.
    """
    origin, arguments = typing.get_origin(cls), typing.get_args(cls)
    if cls is Any:
        return
    if origin is tuple:
        if isinstance(value, list) and value and all(isinstance(part, list) for part in value):
            yield keys, value
    elif origin in (typing.Union, types.UnionType):
        choices = [choice for choice in arguments if choice is not type(None)]
        lists = [choice for choice in choices if typing.get_origin(choice) is tuple]
        if isinstance(value, list):
            yield from lists_in(lists[0], value, keys) if lists else [(keys, value)]
        elif isinstance(value, dict):
            for choice in choices:
                if dataclasses.is_dataclass(choice) or typing.get_origin(choice) is not None:
                    yield from lists_in(choice, value, keys)
                    return
    elif dataclasses.is_dataclass(cls) and isinstance(value, dict):
        hints = typing.get_type_hints(cls)
        for name, inner in value.items():
            if name in hints:  # an unknown key is an error when the config is built
                yield from lists_in(hints[name], inner, (*keys, name))
    elif origin is not None and isinstance(value, dict) and issubclass(origin, Mapping):
        for name, inner in value.items():
            yield from lists_in(arguments[1], inner, (*keys, name))
    elif isinstance(value, list):
        yield keys, value
