"""The ways to choose a transcript, by name."""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["map", "mbr", "vote"]
METHODS: tuple[Method, ...] = get_args(Method)
