"""The configuration of a new model, from the keys that a user gives."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from lm.errors import InputError


def new_config(architecture: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """A model's configuration; a key that the architecture does not have is an error.

    Args:
        architecture: Keyword arguments of transformers' AutoConfig, `model_type` among them.
        values: Further arguments, which `architecture` may replace.

    Raises:
        InputError: There is no such architecture, or it has no such key.
    """
    try:
        known = AutoConfig.for_model(str(architecture.get("model_type")))
        config = AutoConfig.for_model(**{**values, **architecture})
    # Each configuration checks its values in its own way.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"there is no such `architecture` ({reason}); change it") from error
    _check_names(known, architecture, "architecture")
    return config


def _check_names(known: Any, given: Mapping[str, Any], path: str) -> None:
    """Makes sure that a configuration has the keys that are given, nested ones included."""
    for name, value in given.items():
        if not hasattr(known, name):
            near = difflib.get_close_matches(name, known.to_dict(), n=1, cutoff=0.0)
            raise InputError(
                f"`{path}.{name}` is no setting of {known.model_type}; the nearest one is "
                f"`{path}.{near[0]}`"
            )
        inner = getattr(known, name)
        if isinstance(value, Mapping) and isinstance(inner, PreTrainedConfig):
            _check_names(inner, value, f"{path}.{name}")
