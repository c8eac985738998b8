"""The columns of an N-best table that are no log-probs, by what they mean."""

from __future__ import annotations

# Which hypothesis a row is: no weight applies to these.
KEYS = ("utt", "rank", "text")
# Counts, whose weights may be negative: words, words that the n-gram model does not know, and
# tokens of the first pass. Every LM has a count of its own as well, `NAME.tokens`.
COUNTS = ("words", "oov", "tokens")
# When each word begins and ends, in seconds; lists of numbers.
TIMES = ("word_starts", "word_ends")


def is_count(name: str) -> bool:
    """Whether a column holds counts, which may be rewarded as well as penalised."""
    return name in COUNTS or name.endswith(".tokens")
