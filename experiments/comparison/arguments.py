"""Command-line options and help texts that are derived from a settings dataclass.

A dataclass says everything once: the fields have types and defaults, and the docstring's
`Attributes:` block has their meanings. A command's options and the list of a config's keys are
generated from that, so that neither can differ from what the code reads.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import logging
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lm.errors import InputError

LOG = logging.getLogger("secondpass")
T = TypeVar("T")

WIDEST = 100  # columns of a help text, where the terminal is wider
NAMES = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any value"}
METAVARS = {int: "N", float: "X"}

# What `asr.formats.references` reads, for commands with references.
REFERENCES = (
    "references: a manifest; Kaldi text; a file that ends in .trn, .stm or .ctm; a .csv, .tsv or "
    ".jsonl file with utt and ref or text"
)


def attribute_docs(cls: type) -> dict[str, str]:
    """The meaning of each attribute, from the docstrings of a class and of its base classes.

    Returns:
        The text of each entry in the Google-style `Attributes:` blocks, joined to one line.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        block = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
        if block is not None:
            entries = re.findall(
                r"^    (\w+): (.+?)(?=^    \w|\Z)", block[1], re.MULTILINE | re.DOTALL
            )
            found |= {name: " ".join(meaning.split()) for name, meaning in entries}
    return found


def keys_help(cls: type) -> str:
    """A list of all keys of a config: name, type, default and meaning.

    Keys of nested settings are named by their path, `key.path`. NAME is a name that the user
    chooses.
    """
    width = min(shutil.get_terminal_size().columns - 2, WIDEST)
    lines = ["keys of the config:"]
    for path, kind, default, meaning in _keys(cls, ""):
        lines += [f"  {path}  ({kind}{default})"]
        lines += textwrap.wrap(meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def add_fields(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    cls: type,
    skip: Collection[str] = (),
    only: Sequence[str] | None = None,
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Adds an option for every field of a dataclass, with its meaning and default in the help.

    A field without a default becomes a required option. A bool becomes `--x` and `--no-x`. A tuple
    becomes an option that may be repeated, and so does a mapping to numbers, which takes
    `PHRASE=WEIGHT`. The fields of a nested dataclass become options beside the others.

    Args:
        parser: A parser, or a group of one.
        cls: The dataclass.
        skip: Fields that get no option.
        only: Fields that get an option, in this order; by default all.
        more: Settings of `add_argument` by field, such as `metavar`; they replace derived ones.
    """
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name in known if only is None else only:
        hint = hints[name]
        if name in skip:
            continue
        if dataclasses.is_dataclass(hint):
            add_fields(parser, typing.cast(type, hint), skip, None, more)
            continue
        settings = _option(hint) | {"help": docs.get(name, "")}
        default = _default(known[name])
        if default is dataclasses.MISSING:
            settings["required"] = True
        elif settings.get("action") == "append":
            settings["help"] = _sentences(settings["help"], "May be given more than once.")
        else:
            settings["default"] = default
            if default not in (None, ""):
                plain = isinstance(default, str) and default.isprintable()
                shown = default if plain else json.dumps(default)
                settings["help"] = _sentences(settings["help"], f"Default: {shown}.")
        settings |= (more or {}).get(name, {})
        settings["help"] = settings["help"].replace("%", "%%")
        action = parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **settings)
        action.help = settings["help"]  # some versions of argparse add a default of their own


def from_arguments(cls: type[T], arguments: argparse.Namespace) -> T:
    """The dataclass that the options of `add_fields` describe.

    A field for which there is no option keeps its default.

    Raises:
        InputError: A value has the wrong form, or the dataclass refuses it.
    """
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            values[field.name] = from_arguments(typing.cast(type, hint), arguments)
        elif hasattr(arguments, field.name):
            values[field.name] = _value(getattr(arguments, field.name), hint, field.name)
    return cls(**values)


def _keys(cls: type, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Path, type, default and meaning of each key, nested keys after the key that holds them."""
    hints, docs = typing.get_type_hints(cls), attribute_docs(cls)
    for field in dataclasses.fields(cls):
        hint, meaning = hints[field.name], docs.get(field.name, "")
        path = f"{prefix}{field.name}"
        inner = _inner(hint)
        default = _default(field)
        shown = ""
        if default is dataclasses.MISSING:
            shown = ", required"
        elif default is not None and not dataclasses.is_dataclass(default):
            shown = f", default: {json.dumps(default, ensure_ascii=False, default=str)}"
        yield path, _kind(hint), shown, meaning
        if inner is not None:
            yield from _keys(inner, f"{path}.NAME." if _origin(hint) is Mapping else f"{path}.")


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default value; `dataclasses.MISSING` where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _required(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(one for one in typing.get_args(hint) if one is not type(None))
    return (hint,)


def _origin(hint: Any) -> Any:
    """What a type is made with: `tuple`, `Mapping`, `Literal`, or None for a plain type."""
    return typing.get_origin(_required(hint)[0])


def _inner(hint: Any) -> type | None:
    """The dataclass that a key holds, itself or as the values of a mapping."""
    first = _required(hint)[0]
    if _origin(hint) is Mapping:
        first = typing.get_args(first)[1]
    return first if isinstance(first, type) and dataclasses.is_dataclass(first) else None


def _kind(hint: Any) -> str:
    """A type in words."""
    words = []
    for one in _required(hint):
        origin, inner = typing.get_origin(one), typing.get_args(one)
        if origin is typing.Literal:
            words += [json.dumps(value).strip('"') for value in inner]
        elif origin is tuple:
            several = inner[-1] is Ellipsis
            kind = _kind(inner[0])
            words.append(f"list of {kind}" if several else f"list of {len(inner)}: {kind}")
        elif origin is Mapping:
            words.append(
                "settings by NAME" if _inner(one) is not None else f"mapping to {_kind(inner[1])}"
            )
        elif dataclasses.is_dataclass(one):
            words.append("settings")
        else:
            words.append(NAMES.get(one, "text"))
    return " or ".join(words)


def _option(hint: Any) -> dict[str, Any]:
    """How an option of a type is declared, apart from its default and its help."""
    kinds = _required(hint)
    first = kinds[0]
    if first is bool:
        return {"action": argparse.BooleanOptionalAction}
    if _origin(hint) is tuple:
        inner = typing.get_args(first)[0]
        return {"action": "append", "type": inner}
    if _origin(hint) is Mapping:
        return {"action": "append", "metavar": "PHRASE=WEIGHT"}
    if len(kinds) == 1 and _origin(hint) is typing.Literal:
        choices = typing.get_args(first)
        return {"choices": choices, "type": type(choices[0])}
    if len(kinds) > 1:
        return {"type": _either(kinds)}
    if first in METAVARS:
        return {"type": first, "metavar": METAVARS[first]}
    return {"type": str}


def _either(kinds: Sequence[Any]) -> Callable[[str], Any]:
    """Reads a value that is one of several types, such as a number or a fixed word."""

    def read(text: str) -> Any:
        for kind in kinds:
            if typing.get_origin(kind) is typing.Literal:
                if text in typing.get_args(kind):
                    return text
                continue
            try:
                return kind(text)
            except ValueError:
                continue
        expected = " or ".join(map(_kind, kinds))
        raise argparse.ArgumentTypeError(f"{text!r} is wrong; give {expected}")

    return read


def _value(value: Any, hint: Any, name: str) -> Any:
    """The value of an option as the field has it."""
    if _origin(hint) is tuple:
        return tuple(value or ())
    if _origin(hint) is not Mapping:
        return str(value) if isinstance(value, Path) else value
    found: dict[str, float] = {}
    for item in value or ():
        option = f"--{name.replace('_', '-')}"
        phrase, equals, weight = item.rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"{option} {item!r}: write PHRASE=WEIGHT")
        if phrase in found:
            LOG.warning(
                f"{option}: {phrase!r} is given twice; the last value counts, {number:g} and not "
                f"{found[phrase]:g}"
            )
        found[phrase] = number
    return found


def _sentences(text: str, last: str) -> str:
    """A text with one more sentence."""
    return f"{text}{'' if not text or text.endswith('.') else '.'} {last}".strip()
