"""Names of a config that become names of files and folders."""

from __future__ import annotations

from collections.abc import Iterable

from lm.errors import InputError

LONGEST = 80  # bytes; the names of stages hold two names, and file systems allow 255 bytes


def check_names(kind: str, names: Iterable[str]) -> None:
    """Checks that names stay inside their folder, as the names of files.

    Args:
        kind: What is named, for messages.
        names: The names.

    Raises:
        InputError: A name would be a path, or cannot be the name of a file.
    """
    for name in names:
        if reason := _wrong(name):
            raise InputError(f"{kind} {name!r} {reason}; it becomes a file's name: give another")


def _wrong(name: str) -> str | None:
    """What is wrong with a name."""
    if not name.strip() or name != name.strip():
        return "is empty or has white space around it"
    if "/" in name or "\\" in name:
        return "has a slash"
    if name.startswith("."):
        return "begins with a dot"
    if not name.isprintable():
        return "has a character that cannot be printed"
    if len(name.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None
