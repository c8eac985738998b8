"""JSON as it comes from users: one error for all that can be wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any

from lm.errors import InputError

HALF = re.compile(r"\\[uU][dD][89a-fA-F]")  # how halves of surrogate pairs are written


def parse_json(text: str, where: str, remedy: str, halves: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: The text.
        where: File and line, for messages.
        remedy: What to do if the text is wrong.
        halves: Whether strings may have halves of surrogate pairs, because each is checked later.

    Raises:
        InputError: It is not JSON, it is nested too deeply, a key occurs twice in an object, or a
            string has half of a surrogate pair, which no file can hold as UTF-8, unless `halves`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"{where}: key {twice!r} occurs twice in an object; keep one of them")
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
        if not halves and HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: {error.object[error.start]!r} is half of a surrogate pair, and no "
            "character; correct it"
        ) from error
    except RecursionError as error:
        raise InputError(
            f"{where}: not JSON (lists or objects are too deep in each other); {remedy}"
        ) from error
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); {remedy}") from error
    return value
