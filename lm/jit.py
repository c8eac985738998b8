"""Compiled functions: numba with the lock released and the machine code kept on disk.

numba keeps a function's machine code until the file of the function changes. When code from another
file is inlined and that file changes, the machine code would stay old. So the name of the folder
with the machine code depends here on the content of all these files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from lm.files import cache_home

# The types that numba publishes lack the names that are used here.
compiler: Any = numba.njit
settings: Any = numba.config


COMPILED = re.compile(rb"^@(kernel|inner_kernel|inlined)$", re.M)
IMPORTED = re.compile(rb"^from ((?:asr|lm)\.[\w.]+) import", re.M)


@cache
def _folder() -> str:
    """The folder with the machine code of the present sources."""
    return str(cache_home() / "kernels" / digest_of(Path(__file__).parent.parent))


def digest_of(root: Path) -> str:
    """A hash of everything that the machine code is made of.

    These are the files with compiled functions in `asr` and `lm`, at any depth, and the files that
    they import from: constants become part of the machine code.

    Args:
        root: The folder that holds both packages.
    """
    texts = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for package in ("asr", "lm")
        for path in sorted((root / package).rglob("*.py"))
    }
    compiled = [name for name, text in texts.items() if COMPILED.search(text)]
    imported = [
        f"{module.decode().replace('.', '/')}.py"
        for name in compiled
        for module in IMPORTED.findall(texts[name])
    ]
    digest = hashlib.sha256()
    for name in sorted({*compiled, *imported} & texts.keys()):
        digest.update(name.encode() + b"\0" + texts[name])
    return digest.hexdigest()[:16]


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function on its first call; NUMBA_CACHE_DIR overrides where the code is kept."""
    return _compiled(function, {})


def inner_kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function that makes no arrays, for inner loops.

    numba's counting of references is off: it would touch every array of a tuple at every call that
    passes the tuple on.
    """
    return _compiled(function, {"_nrt": False})


def inlined(function: Callable[..., Any]) -> Any:
    """Makes a function part of each inner kernel that calls it: passing on a tuple of many arrays
    takes longer than most of these functions do."""
    return _compiled(function, {"_nrt": False, "forceinline": True})


def _compiled(function: Callable[..., Any], options: dict[str, bool]) -> Any:
    given = settings.CACHE_DIR
    settings.CACHE_DIR = given or _folder()
    try:
        return compiler(nogil=True, cache=True, **options)(function)
    finally:
        settings.CACHE_DIR = given
