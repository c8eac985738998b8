"""Word perplexity of language models on reference texts, with the number of unknown words.

python -m experiments.demo.perplexity REFS MODEL[:NORMALISER]…

For each model it prints the perplexity per word and sentence end over all words, and the number of
unknown words. A causal LM spells unknown words and pays for every piece. An n-gram LM gives each of
them its one `<unk>` probability, which makes its perplexity look better.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from asr.formats.references import read_references
from experiments.comparison.arguments import REFERENCES
from lm.errors import InputError
from lm.rescore import NgramScorer, load_scorer
from lm.text.normalisers import normaliser


def word_perplexity(texts: Sequence[str], model: str, normalise: str) -> tuple[float, int]:
    """Perplexity per word and sentence end, and the number of unknown words."""
    clean = [normaliser(normalise)(text) for text in texts]
    scorer = load_scorer(model)
    total = -float(scorer.score(clean).logprob.sum())
    unknown = 0
    if isinstance(scorer, NgramScorer):
        unknown = sum(scorer.model.score(text).oov for text in clean)
    words = sum(len(text.split()) + 1 for text in clean)
    return math.exp(total / words), unknown


def main(argv: Sequence[str] | None = None) -> int:
    """Prints one line a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("refs", help=REFERENCES)
    parser.add_argument("models", nargs="+", metavar="MODEL[:NORMALISER]")
    arguments = parser.parse_args(argv)
    try:
        references = read_references(arguments.refs)
        for item in arguments.models:
            model, _, name = item.partition(":")
            found, unknown = word_perplexity(list(references.values()), model, name or "none")
            print(f"{model}: word perplexity {found:.1f}, {unknown} unknown words")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
