"""Checkpoints are loaded without transformers' messages: what matters is reported by our code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hides transformers' warnings and its bars for weights; bars of downloads are still shown.

    Where the log level of transformers is `info` or `debug`, everything is shown.
    """
    verbosity = logging.get_verbosity()
    if verbosity <= logging.INFO:
        yield
        return
    logging.set_verbosity_error()
    hook = logging.set_tqdm_hook(lambda bar, args, kwargs: logging.EmptyTqdm(*args, **kwargs))
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.set_tqdm_hook(hook)
