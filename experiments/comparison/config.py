"""Settings: frozen dataclasses filled from a YAML file and `key.path=value` overrides.

An unknown key is an error that names the nearest valid one, which is why this is not left to a
configuration library: the libraries that we tried reject the key without a suggestion.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from experiments.comparison.yaml_reader import parse_yaml
from lm.errors import InputError
from lm.text.prose import open_text

T = TypeVar("T")

# YAML 1.1's other words for true and false, see `experiments.comparison.yaml_reader`.
SWITCHES = {"yes": True, "on": True, "no": False, "off": False}
LARGEST = 2**63 - 1  # whole numbers that arrays can hold


def load_config(cls: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """Fills a dataclass from a YAML file and overrides.

    Args:
        cls: A dataclass; its fields may be dataclasses, mappings and tuples of them.
        path: YAML file, or None to start from the defaults.
        overrides: `key.path=value`, or `--key.path value` as two items; values are YAML.

    Raises:
        InputError: The file is missing or is not a YAML mapping, a key is unknown (the message
            names the nearest valid one), a required key is missing, or a value has the wrong type.
    """
    data, where = read_with_overrides(path, overrides)
    return build(cls, data, where, "")


def read_with_overrides(
    path: str | Path | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], str]:
    """A config's mapping after the overrides, and the name of the config for messages."""
    data: dict[str, Any] = {}
    where = "command line"
    if path is not None:
        where = str(path)
        data = read_yaml(path)
    for key, value in parse_overrides(overrides):
        set_path(data, key, value)
    return data, where


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds."""
    with open_text(path) as file:
        text = file.read()
    data = parse_yaml(expand(text, Path(path)), str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: a config is a mapping of keys to values, not a {type(data).__name__}"
        )
    return data


def expand(text: str, path: Path) -> str:
    """Replaces `${here}` by the config file's folder and `${NAME:-default}` by the variable NAME.

    All other paths in a config are relative to the current folder, as on the command line.
    """
    text = text.replace("${here}", os.path.relpath(path.resolve().parent))

    def fill(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        value = os.environ.get(name, default)
        if value is None:
            raise InputError(f"{path}: ${{{name}}} is used, but the variable {name} is not set")
        return value

    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", fill, text)


def parse_overrides(items: Sequence[str]) -> list[tuple[list[str], Any]]:
    """`a.b=1` and `--a.b 1` (or `--a.b=1`) as (["a", "b"], 1)."""
    parsed: list[tuple[list[str], Any]] = []
    rest = list(items)
    while rest:
        item = rest.pop(0)
        key, equals, value = item.partition("=")
        if item.startswith("--"):
            key = key[2:]
            if not equals:
                if not rest:
                    raise InputError(f"{item}: a value must follow")
                value = rest.pop(0)
        elif not equals:
            raise InputError(f"{item!r} is not an override; write key.path=value")
        parsed.append((key.split("."), parse_yaml(value, f"{key}={value}")))
    return parsed


def set_path(data: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Sets `data[path[0]][path[1]]… = value`, and creates the mappings that are missing."""
    for key in path[:-1]:
        inner = data.get(key)
        if not isinstance(inner, dict):
            inner = data[key] = {}
        data = inner
    data[path[-1]] = value


def build(cls: Any, value: Any, where: str, key: str) -> Any:
    """Converts a value that was read from YAML to the type `cls`."""
    origin = typing.get_origin(cls)
    arguments = typing.get_args(cls)
    if cls is Any:
        check_switches(value, where, key)
        return value
    if dataclasses.is_dataclass(cls):
        return build_dataclass(cls, value, where, key)
    if origin in (typing.Union, types.UnionType):
        return build_union(arguments, value, where, key)
    if origin is typing.Literal:
        if value not in arguments:
            wrong(where, key, value, " | ".join(map(str, arguments)))
        return value
    if origin is tuple:
        items = value if isinstance(value, (list, tuple)) else [value]
        if arguments[-1] is not ...:
            if len(items) != len(arguments):
                wrong(where, key, value, f"a list of {len(arguments)} values")
            typed = enumerate(zip(arguments, items, strict=True))
            return tuple(build(kind, v, where, f"{key}[{i}]") for i, (kind, v) in typed)
        return tuple(build(arguments[0], v, where, f"{key}[{i}]") for i, v in enumerate(items))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            wrong(where, key, value, "a mapping")
        return {str(k): build(arguments[1], v, where, f"{key}.{k}") for k, v in value.items()}
    return build_scalar(cls, value, where, key)


def check_switches(value: Any, where: str, key: str) -> None:
    """Checks that a value of no certain type has no `no` or `off`, which Python takes for true."""
    if isinstance(value, dict):
        for name, inner in value.items():
            check_switches(inner, where, f"{key}.{name}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            check_switches(inner, where, f"{key}[{i}]")
    elif isinstance(value, str) and value.lower() in SWITCHES:
        wrong(where, key, value, str(SWITCHES[value.lower()]).lower())


def build_scalar(cls: Any, value: Any, where: str, key: str) -> Any:
    """A string, a number, or true or false."""
    if cls is bool and isinstance(value, str):
        value = SWITCHES.get(value.lower(), value)
    if cls is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 1e-3 as a string
        except (ValueError, OverflowError):
            number = math.nan
        if math.isnan(number):
            wrong(where, key, value, "a number")
        return number
    if not isinstance(value, cls) or (cls is int and isinstance(value, bool)):
        is_text = cls is str and isinstance(value, (bool, int, float))
        wrong(where, key, value, cls.__name__ + ("; put a text like this in quotes" * is_text))
    if cls is int and abs(value) > LARGEST:
        wrong(where, key, value, f"a number of at most {LARGEST}")
    return value


def build_dataclass(cls: Any, value: Any, where: str, key: str) -> Any:
    """A dataclass from a mapping; every key must be one of its fields."""
    if not isinstance(value, dict):
        wrong(where, key, value, "a mapping of settings")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            full = f"{key}.{name}".lstrip(".")
            near = difflib.get_close_matches(str(name), fields, n=1, cutoff=0.0)[0]
            raise InputError(
                f"{where}: unknown key `{full}`; the nearest valid one is "
                f"`{f'{key}.{near}'.lstrip('.')}` (valid: {', '.join(fields)})"
            )
    for name, field in fields.items():
        required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        if required and name not in value:
            raise InputError(f"{where}: `{f'{key}.{name}'.lstrip('.')}` is missing; set it")
    filled = {
        name: build(hints[name], v, where, f"{key}.{name}".lstrip(".")) for name, v in value.items()
    }
    try:
        return cls(**filled)
    except InputError as error:
        raise InputError(f"{where}: {key}{': ' if key else ''}{error}") from error


def build_union(choices: Sequence[Any], value: Any, where: str, key: str) -> Any:
    """Converts a value to the first of several types that accepts it."""
    if value is None and type(None) in choices:
        return None
    errors = []
    for choice in choices:
        if choice is not type(None):
            try:
                return build(choice, value, where, key)
            except InputError as error:
                errors.append(error)
    raise errors[0]


def wrong(where: str, key: str, value: Any, expected: str) -> typing.NoReturn:
    """Raises the error for a value of the wrong type."""
    raise InputError(f"{where}: `{key}` is {value!r}, but should be {expected}")


def to_plain(value: Any) -> Any:
    """A config as plain dicts, lists and scalars, for JSON and for hashing."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
