"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tqdm import tqdm


def progress(total: int | None, label: str, unit: str) -> tqdm[Any]:
    """A progress bar on standard error; `total` is None where it is not known."""
    return tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True, leave=False)


def progress_over(items: Iterator[Any], total: int, label: str, unit: str) -> Iterator[Any]:
    """The items, with a progress bar."""
    return iter(tqdm(items, total=total, desc=label, unit=unit, dynamic_ncols=True, leave=False))
