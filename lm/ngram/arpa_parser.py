"""Lines of ARPA files, split into fields in machine code."""

from __future__ import annotations

import numpy as np

from lm.jit import inlined, inner_kernel
from lm.ngram.words import FNV_OFFSET, LINE_FEED, Words, find_word, hash_on

BACKSLASH, MINUS, PLUS, DOT, ZERO, NINE, LITTLE_E = 92, 45, 43, 46, 48, 57, 101
TENS = 10.0 ** np.arange(0, 40)

# The reasons why the kernel stopped.
MORE, SECTION_ENDS, NOT_FIELDS, NOT_NUMBER, NOT_WORD, POSITIVE, TOO_MANY = range(7)


@inlined
def is_space(value: int) -> bool:
    """Whether a byte is white space, as Python's `bytes.split` sees it."""
    return value == 32 or 9 <= value <= 13


@inner_kernel
def parse_number(block: np.ndarray, begin: int, end: int) -> float:
    """The number in block[begin:end]; NaN if it is not a number."""
    at = begin
    negative = at < end and block[at] == MINUS
    if at < end and (block[at] == MINUS or block[at] == PLUS):
        at += 1
    mantissa, digits, exponent = 0.0, 0, 0
    after_dot = False
    while at < end and block[at] != LITTLE_E and block[at] != 69:
        value = block[at]
        if value == DOT and not after_dot:
            after_dot = True
        elif ZERO <= value <= NINE:
            mantissa = mantissa * 10.0 + (value - ZERO)
            digits += 1
            exponent -= after_dot
        else:
            return np.nan
        at += 1
    if digits == 0 or digits > 30:
        return np.nan
    if at < end:
        at += 1
        minus = at < end and block[at] == MINUS
        if at < end and (block[at] == MINUS or block[at] == PLUS):
            at += 1
        if at == end or end - at > 3:
            return np.nan
        power = 0
        while at < end:
            if not ZERO <= block[at] <= NINE:
                return np.nan
            power = power * 10 + (block[at] - ZERO)
            at += 1
        exponent += -power if minus else power
    while exponent < 0:
        step = min(-exponent, 39)
        mantissa /= TENS[step]
        exponent += step
    while exponent > 0:
        step = min(exponent, 39)
        mantissa *= TENS[step]
        exponent -= step
    return -mantissa if negative else mantissa


@inner_kernel
def parse(
    block: np.ndarray,
    order: int,
    limit: int,
    words: Words,
    grams: np.ndarray,
    logprob: np.ndarray,
    backoff: np.ndarray,
    state: np.ndarray,
) -> int:
    """Splits lines into fields until the section or the block ends.

    Args:
        block: Whole lines.
        order: Number of words of a line.
        limit: Largest number of lines that may follow in the section.
        words: The vocabulary.
        grams: (R, order) int32, and
        logprob: (R,) float32, and
        backoff: (R,) float32 take the n-grams; R is large enough for those of the block.
        state: (3,) where the next line begins, number of n-grams, number of lines so far. It is
            updated, up to a line that is wrong.

    Returns:
        The reason why it stopped.
    """
    at, seen, number = state[0], state[1], state[2]
    stopped = MORE
    while at < len(block):
        begin = at
        while at < len(block) and block[at] != LINE_FEED and is_space(block[at]):
            at += 1
        if at == len(block) or block[at] == LINE_FEED:
            at += 1
            number += 1
            continue
        if block[at] == BACKSLASH:
            stopped = SECTION_ENDS
            at = begin
            break
        if seen == limit:
            stopped = TOO_MANY
            at = begin
            break
        field = 0
        backoff[seen] = 0.0
        while at < len(block) and block[at] != LINE_FEED and stopped == MORE:
            start = at
            value = FNV_OFFSET
            while at < len(block) and not is_space(block[at]):
                value = hash_on(value, block[at])
                at += 1
            if field == 0:
                found = parse_number(block, start, at)
                logprob[seen] = found
                if not -np.inf < found <= 0.0:
                    stopped = POSITIVE
            elif field <= order:
                word = find_word(words, block, start, at, value)
                grams[seen, field - 1] = word
                if word < 0:
                    stopped = NOT_WORD
            elif field == order + 1:
                found = parse_number(block, start, at)
                backoff[seen] = found
                if not abs(found) < np.inf:
                    stopped = NOT_NUMBER
            else:
                stopped = NOT_FIELDS
            field += 1
            while at < len(block) and block[at] != LINE_FEED and is_space(block[at]):
                at += 1
        if stopped == MORE and field <= order:
            stopped = NOT_FIELDS
        if stopped != MORE:
            at = begin
            break
        at += 1
        seen += 1
        number += 1
    state[0], state[1], state[2] = at, seen, number
    return stopped
