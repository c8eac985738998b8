"""Errors that are shown to the user as one line."""

from __future__ import annotations


class SecondpassError(Exception):
    """An error whose message says what is wrong, where, and what to do."""


class InputError(SecondpassError):
    """A file, an option or data of the user are wrong; the command ends with exit code 2."""
