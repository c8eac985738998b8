"""What can happen to a word between a reference and a hypothesis, as numbers in arrays."""

from __future__ import annotations

# The kinds of places of an alignment, in the order of `asr.evaluation.wer.COUNTS`, and last an
# optional reference word that the hypothesis lacks: it counts as a hit, as in sclite.
HIT, SUBSTITUTION, DELETION, INSERTION, SKIPPED = range(5)
