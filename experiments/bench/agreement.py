"""Whether the beam decoder and pyctcdecode find the same best text, and whose score is better.

python -m experiments.bench.agreement

It decodes AN4's test set and the demo's dev and test sets with our models of them. Both decoders
have the same settings, which are so wide that neither search loses much. pyctcdecode keeps a
prefix twice, with and without a blank after it, so at equal widths its beam is up to twice as
narrow.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asr.beam import BeamDecoder
from asr.nbest import Hypothesis
from asr.options import DecoderOptions
from asr.pyctcdecode_beam import PyctcdecodeBeam
from asr.vocabulary import Vocabulary
from experiments.bench.decoders.tasks import TASKS, Missing

MATCHED = DecoderOptions(beam_width=400, beam_prune_logp=-40.0, lookahead=False)


def total(h: Hypothesis, options: DecoderOptions) -> float:
    """The search's score, from the raw ones."""
    penalty = math.log(10) * options.unknown * h.oov
    return h.acoustic + options.alpha * (h.ngram + penalty) + options.beta * len(h.text.split())


def gains(vocabulary: Vocabulary, lm: str, utterances: Sequence[np.ndarray]) -> list[float]:
    """How much better our best text scores than pyctcdecode's, for utterances where they differ.

    Args:
        vocabulary: Labels of the log-probs.
        lm: ARPA file.
        utterances: Log-probs (T, V) of each utterance, natural log.
    """
    options = replace(MATCHED, lm=lm)
    ours = BeamDecoder.build(vocabulary, options)
    theirs = PyctcdecodeBeam.build(vocabulary, replace(options, decoder="pyctcdecode"))
    found = []
    for log_probs in utterances:
        own, other = ours.decode(log_probs)[0], theirs.decode(log_probs)[0]
        if own.text != other.text:
            found.append(total(own, options) - total(other, options))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints one line for each set."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder for emissions"
    )
    parser.add_argument(
        "--utterances", type=int, default=10_000, help="most utterances of a set (default: all)"
    )
    given = parser.parse_args(arguments)
    for name in ("an4", "demo"):
        try:
            # A task takes four times as many recorded utterances as it is asked for.
            task = TASKS[name](math.ceil(given.utterances / 4), given.work)
        except Missing as error:
            print(f"{name}: skipped: {error}")
            continue
        for part, sounds in task.sets.items():
            found = gains(task.units.vocabulary, task.fusion.lm, sounds.log_probs)
            count = len(sounds.log_probs)
            listed = ", ".join(f"{gain:+.2f}" for gain in found)
            print(
                f"{name} {part}: the same best text in {count - len(found)} of {count} utterances; "
                f"in the others ours scores better by (natural log): {listed or 'none'}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
