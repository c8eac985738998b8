"""JSON Schema of a config, so that an editor completes keys, explains them and marks mistakes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from experiments.comparison.arguments import attribute_docs
from experiments.comparison.config import to_plain

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBER_AS_TEXT = r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"  # YAML 1.1 reads 1e-3 as a text
SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    float: {"anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMBER_AS_TEXT}]},
}


def schema_of(cls: type) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the YAML files that fill a dataclass.

    Keys are explained by the `Attributes:` of the dataclasses' docstrings. A list is allowed where
    a single value is expected, since it makes a sweep; a list of lists where a list is.
    """
    found: dict[str, Any] = {"$schema": DIALECT, "title": cls.__name__}
    definitions: dict[str, Any] = {}
    found |= _mapping(cls, definitions)
    return found | {"$defs": definitions}


def _mapping(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """A dataclass as an object with no further keys."""
    hints, meanings = typing.get_type_hints(cls), attribute_docs(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        about: dict[str, Any] = {}
        if meaning := meanings.get(field.name):
            about["description"] = meaning
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING:
            required.append(field.name)
        else:
            about["default"] = to_plain(default)
        properties[field.name] = about | swept(hints[field.name], definitions)
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return found | {"additionalProperties": False}


def swept(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """A value of a type, or a list of such values to try one after the other."""
    value = _value(hint, definitions)
    if not _can_be_swept(hint):
        return value
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _can_be_swept(hint: Any) -> bool:
    """Whether a list of values is a sweep; the values inside a mapping are swept one by one."""
    if hint is Any or dataclasses.is_dataclass(hint):
        return False
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return True
    return not (isinstance(origin, type) and issubclass(origin, Mapping))


def _value(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """A single value of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if dataclasses.is_dataclass(hint):
        name = typing.cast(type, hint).__name__
        if name not in definitions:
            definitions[name] = {}  # its own keys may refer to it
            definitions[name] = _mapping(hint, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if hint is type(None):
        return {"type": "null"}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_value(choice, definitions) for choice in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        items = _value(arguments[0], definitions)
        # A single value is taken as a list of one.
        return {"anyOf": [{"type": "array", "items": items}, items]}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": swept(arguments[1], definitions)}
    return dict(SCALARS[hint])
