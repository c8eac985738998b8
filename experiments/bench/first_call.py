"""How long the beam decoder takes before it is warm: import, models, compilation.

python -m experiments.bench.first_call LM EMISSIONS.npy

`experiments.bench.decode` runs this in new processes. It prints seconds as JSON, for a vocabulary
of 29 characters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

STEPS = ("import", "load", "first", "second")


def main() -> int:
    """Decodes the emissions twice, in a process in which nothing is warm."""
    lm, emissions = sys.argv[1:]
    times = [time.perf_counter()]
    from asr.decode import BUILDERS
    from asr.options import DecoderOptions
    from asr.vocabulary import Vocabulary

    times.append(time.perf_counter())
    labels = ["<pad>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    vocabulary = Vocabulary.from_labels(labels, blank=0)
    decoder = BUILDERS["beam"](vocabulary, DecoderOptions("beam", lm=lm))
    times.append(time.perf_counter())
    log_probs = np.load(emissions)
    for _ in range(2):
        decoder.decode(log_probs)
        times.append(time.perf_counter())
    print(json.dumps(dict(zip(STEPS, np.diff(times).tolist(), strict=True))))
    return 0


def first_calls(lm: str, log_probs: np.ndarray) -> dict[str, dict[str, float]]:
    """Seconds of each step and of the whole process, first without and then with caches.

    Args:
        lm: ARPA file of a word n-gram model.
        log_probs: (T, 29) float32, natural log; see `decoders.synthetic_emissions`.
    """
    with tempfile.TemporaryDirectory() as folder:
        emissions = Path(folder) / "emissions.npy"
        np.save(emissions, log_probs)
        command = [sys.executable, "-m", "experiments.bench.first_call", lm, str(emissions)]
        # The cache folder has both machine code and compiled language models.
        environment = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
        environment.pop("NUMBA_CACHE_DIR", None)
        found = {}
        for name in ("nothing cached", "cached"):
            start = time.perf_counter()
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            wall = time.perf_counter() - start
            found[name] = {**json.loads(done.stdout), "process": wall}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
