"""Compiled functions: numba with the lock released and the machine code kept on disk.

numba keeps a function's machine code until the function's own file changes; code inlined from
another file would stay old. Here the folder of the machine code is named for all of these files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

# numba's type hints lack what is set here.
compiler: Any = numba.njit
settings: Any = numba.config


def cache_home() -> Path:
    """The folder for what can be made again: `secondpass` in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "secondpass"


@cache
def _folder() -> str:
    """The folder of the machine code of these sources."""
    return str(cache_home() / "kernels" / digest_of(Path(__file__).parent.parent))


def digest_of(root: Path) -> str:
    """A hash of every file with compiled functions in `asr` and `lm`, at any depth.

    Args:
        root: The folder that holds both packages.
    """
    digest = hashlib.sha256()
    for package in ("asr", "lm"):
        for path in sorted((root / package).rglob("*.py")):
            text = path.read_bytes()
            if b"from lm.jit import" in text:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + text)
    return digest.hexdigest()[:16]


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function on its first call; NUMBA_CACHE_DIR overrides where the code is kept."""
    return _compiled(function, {})


def inner_kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function that makes no arrays, for inner loops.

    Without numba's counting of references, which would otherwise touch every array of a tuple that
    is handed on, at every call.
    """
    return _compiled(function, {"_nrt": False})


def inlined(function: Callable[..., Any]) -> Any:
    """A part of inner kernels that becomes part of each: to hand on a tuple of many arrays takes
    longer than most of these functions do."""
    return _compiled(function, {"_nrt": False, "forceinline": True})


def _compiled(function: Callable[..., Any], options: dict[str, bool]) -> Any:
    given = settings.CACHE_DIR
    settings.CACHE_DIR = given or _folder()
    try:
        return compiler(nogil=True, cache=True, **options)(function)
    finally:
        settings.CACHE_DIR = given
