"""The errors that a user is shown as one line."""

from __future__ import annotations


class SecondpassError(Exception):
    """Something went wrong that the message explains: what, where, and what to do."""


class InputError(SecondpassError):
    """The user's file, option or data is wrong; a command that meets it exits with 2."""
