"""The log of a run, in its results folder: messages, warnings, stages with seconds, versions."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.results import provenance
from lm.errors import SecondpassError

NAME = "compare.log"
LOG = logging.getLogger("secondpass")
LIBRARIES = ("transformers", "huggingface_hub")  # they do not pass their messages on


@contextmanager
def log_file(folder: Path) -> Iterator[Path]:
    """Adds everything that is logged while the block runs to the log of a results folder.

    Warnings of Python and of libraries are written there too. An error that ends the block is
    written before it is passed on.

    Args:
        folder: the results folder; it exists.

    Yields:
        The file.
    """
    path = folder / NAME
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.DEBUG)
    names = ["", *(n for n in LIBRARIES if not logging.getLogger(n).propagate)]
    level = LOG.level
    LOG.setLevel(logging.DEBUG)
    for name in names:
        logging.getLogger(name or None).addHandler(handler)
    # With -v, warnings are still shown, as the other messages of that level are.
    shown = [h for h in LOG.handlers if h.level == logging.DEBUG and h is not handler]
    for one in shown:
        logging.getLogger("py.warnings").addHandler(one)
    try:
        with warnings.catch_warnings():
            logging.captureWarnings(True)
            LOG.debug(f"starts: {_versions()}")
            yield path
            LOG.debug("ends")
    except SecondpassError as error:
        LOG.debug(f"ends with an error: {error}")
        raise
    except BaseException as error:
        LOG.debug(f"ends with {type(error).__name__}", exc_info=True)
        raise
    finally:
        logging.captureWarnings(False)
        for one in shown:
            logging.getLogger("py.warnings").removeHandler(one)
        for name in names:
            logging.getLogger(name or None).removeHandler(handler)
        LOG.setLevel(level)
        handler.close()


def _versions() -> str:
    facts = provenance()
    versions = ", ".join(f"{name} {v}" for name, v in facts["versions"].items() if v)
    commit = f", commit {facts['commit']}" if facts["commit"] else ""
    return f"{versions}, Python {facts['python']} on {facts['machine']}{commit}"
