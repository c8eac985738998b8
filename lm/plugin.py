"""Scorers of your own: a class in a Python file, `FILE.py:CLASS` wherever a model is named."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from pathlib import Path

from lm.errors import InputError
from lm.scorer import Scorer

NAME = re.compile(r"(.+\.py):(\w+)")


def plugin_file(model: str | Path) -> Path | None:
    """The Python file of a scorer that is named by file and class; None for other models."""
    match = NAME.fullmatch(str(model))
    return None if match is None else Path(match[1])


def load_plugin(model: str) -> Scorer:
    """Runs a Python file and makes a scorer of the class in it.

    Args:
        model: `FILE.py:CLASS`; the class is called without arguments.

    Raises:
        InputError: There is no such file or class, it fails, or it has no `score`.
    """
    match = NAME.fullmatch(model)
    if match is None or not Path(match[1]).is_file():
        raise InputError(f"{model}: there is no such file; give FILE.py:CLASS")
    path, name = Path(match[1]), match[2]
    spec = importlib.util.spec_from_file_location(f"secondpass_scorer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{model}: cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    # As for any import: dataclasses look their module up.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, name):
            raise InputError(f"{path}: has no class {name!r}")
        scorer = getattr(module, name)()
    except InputError:
        raise
    # It is somebody else's code: anything may go wrong in it.
    except Exception as error:
        raise InputError(
            f"{model}: fails with {type(error).__name__} ({error}){_line(error, path)}; mend it"
        ) from error
    if not callable(getattr(scorer, "score", None)):
        raise InputError(f"{model}: has no method `score(batch, progress)`; see lm/scorer.py")
    found: Scorer = scorer
    return found


def _line(error: Exception, path: Path) -> str:
    """Where in the file an error came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f" in line {frames[-1].lineno}" if frames else ""
