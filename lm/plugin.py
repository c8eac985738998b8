"""Custom scorers: a class in a Python file, `FILE.py:CLASS` wherever a model is named.

The class is made without arguments and has a method `score(batch, progress)`; `lm.scorer.Scorer`
describes it, and README has an example.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lm.errors import InputError
from lm.scorer import Progress, Scorer, Scores, TextError, Texts, checked

NAME = re.compile(r"(.+\.py):(\w+)")


def plugin_file(model: str | Path) -> Path | None:
    """The Python file of a custom scorer that is named `FILE.py:CLASS`; None for other models."""
    match = NAME.fullmatch(str(model))
    return None if match is None else Path(match[1])


@dataclass(frozen=True)
class CustomScorer:
    """A custom scorer whose mistakes are reported with their place.

    Attributes:
        name: `FILE.py:CLASS`.
        path: The file.
        scorer: An object of the class.
    """

    name: str
    path: Path
    scorer: Scorer

    def score(self, batch: Texts | Sequence[str], progress: Progress | None = None) -> Scores:
        """Scores of the texts.

        Raises:
            TextError: The scorer says that a text cannot be scored.
            InputError: The scorer fails, or does not return `Scores` of all texts.
        """
        batch = Texts.of(batch)
        try:
            return checked(self.scorer.score(batch, progress), len(batch))
        except TextError:
            raise
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error
        # This is somebody else's code: anything may go wrong in it.
        except Exception as error:
            raise InputError(
                f"{self.name}: `score` fails with {type(error).__name__} ({error})"
                f"{_line(error, self.path)}; correct it"
            ) from error


def load_plugin(model: str) -> CustomScorer:
    """Runs a Python file and makes a scorer of the class in it.

    Args:
        model: `FILE.py:CLASS`; the class is called without arguments.

    Raises:
        InputError: There is no such file or class, it fails, or it has no `score` that takes a
            batch and a progress.
    """
    match = NAME.fullmatch(model)
    if match is None or not Path(match[1]).is_file():
        raise InputError(f"{model}: there is no such file; give FILE.py:CLASS")
    path, name = Path(match[1]), match[2]
    spec = importlib.util.spec_from_file_location(f"secondpass_scorer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{model}: cannot be read as Python; give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # As after any import: dataclasses look for their module here.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, name):
            raise InputError(f"{path}: has no class {name!r}; add it, or name another class")
        scorer = getattr(module, name)()
    except InputError:
        raise
    # This is somebody else's code: anything may go wrong in it.
    except Exception as error:
        raise InputError(
            f"{model}: fails with {type(error).__name__} ({error}){_line(error, path)}; correct it"
        ) from error
    _check_method(model, getattr(scorer, "score", None))
    return CustomScorer(model, path, scorer)


def _check_method(model: str, score: object) -> None:
    """Makes sure that a method can be called as `score(batch, progress)`.

    Raises:
        InputError: It cannot.
    """
    if not callable(score):
        raise InputError(
            f"{model}: the class has no method `score`; add `def score(self, batch, "
            "progress=None)`, which returns `lm.scorer.Scores`"
        )
    try:
        signature = inspect.signature(score)
    # Some functions in C do not say what they take.
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise InputError(
            f"{model}: `score{signature}` cannot be called with a batch and a progress ({error}); "
            "define it as `def score(self, batch, progress=None)`"
        ) from error


def _line(error: Exception, path: Path) -> str:
    """The line of the file in which an error was raised, for messages."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f" in line {frames[-1].lineno}" if frames else ""
