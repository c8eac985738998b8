"""Valid ranges of numeric settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lm.errors import InputError

LARGEST_SEED = 2**32 - 1  # of numpy's older generators, which transformers seeds


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`; infinite numbers and NaN are in no range.

    Attributes:
        least: Smallest number.
        most: Largest number.
        above: Whether `least` itself is too small.
    """

    least: float = -math.inf
    most: float = math.inf
    above: bool = False

    def __contains__(self, number: float) -> bool:
        enough = number > self.least if self.above else number >= self.least
        # Not `isfinite`, which has no answer for whole numbers of more than 308 digits.
        return -math.inf < number < math.inf and enough and number <= self.most

    def __str__(self) -> str:
        if self.least == -math.inf and self.most == math.inf:
            return "a finite number"
        if self.least == -math.inf:
            return f"a number of at most {self.most:,.0f}"
        least = f"above {self.least:,g}" if self.above else f"of {self.least:,g} or more"
        if self.most == math.inf:
            return f"a number {least}"
        if self.above:
            return f"a number {least} and not above {self.most:,.0f}"
        return f"a number from {self.least:,g} to {self.most:,.0f}"


FINITE = Range()
POSITIVE = Range(0, above=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)
SEED = Range(0, LARGEST_SEED)
IN_32_BITS = Range(most=2**31 - 1)


def check_ranges(settings: object, ranges: Mapping[str, Range]) -> None:
    """Checks numbers, and the numbers in tuples and mappings; None is always valid.

    Args:
        settings: A dataclass.
        ranges: Valid range by field.

    Raises:
        InputError: A number is not in its range; the message names the field.
    """
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if isinstance(value, Mapping):
            numbers = {f"{name}.{key}": number for key, number in value.items()}
        elif isinstance(value, tuple):
            numbers = {f"{name}[{i}]": number for i, number in enumerate(value)}
        else:
            numbers = {} if value is None else {name: value}
        for key, number in numbers.items():
            if number not in allowed:
                raise InputError(f"`{key}` is {number}; give {allowed}")
