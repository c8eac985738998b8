"""Long texts: alignments and votes are those of a whole cost matrix, without keeping it."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.edits import DELETION, HIT, INSERTION, SUBSTITUTION
from asr.evaluation.sclite import sclite_path
from lm.rerank.confusion import networks
from lm.rerank.mbr import Distances
from lm.rerank.pool import Pool
from lm.rerank.slots import EQUAL, align_slots

MEGABYTES = 100  # the whole matrix of 7,000 by 7,000 numbers of 8 bytes has 392

MEMORY = """
import random, resource
import numpy as np

def grown(work, small, large):
    work(small)  # compiled before it is measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(large)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

rng = random.Random(0)
def text(words):
    return [rng.randrange(2000) for _ in range(words)]
"""


def whole_matrix(reference: list[int], hypothesis: list[int]) -> list[int]:
    """sclite's alignment from all costs at once: 4, 3 and 3, pairs before insertions."""
    cost = [[3 * (i + j) for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, word in enumerate(reference, 1):
        for j, other in enumerate(hypothesis, 1):
            pair = cost[i - 1][j - 1] + 4 * (word != other)
            cost[i][j] = min(pair, cost[i - 1][j] + 3, cost[i][j - 1] + 3)
    path = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        same = bool(i and j) and reference[i - 1] == hypothesis[j - 1]
        if i and j and cost[i][j] == cost[i - 1][j - 1] + 4 * (not same):
            path.append(HIT if same else SUBSTITUTION)
            i, j = i - 1, j - 1
        elif j and cost[i][j] == cost[i][j - 1] + 3:
            path.append(INSERTION)
            j -= 1
        else:
            path.append(DELETION)
            i -= 1
    return path[::-1]


def test_alignments_in_blocks_are_those_of_the_whole_matrix() -> None:
    rng = random.Random(1)
    sizes = [(0, 0), (0, 5), (4, 0), (1200, 900), (890, 1300)]
    sizes += [(rng.randint(0, 25), rng.randint(0, 25)) for _ in range(300)]
    for rows, columns in sizes:
        reference, hypothesis = ([rng.randrange(5) for _ in range(n)] for n in (rows, columns))
        assert sclite_path(reference, hypothesis).tolist() == whole_matrix(reference, hypothesis)


def slots_by_whole_matrix(mass: np.ndarray, words: np.ndarray) -> list[int]:
    cost = np.zeros((len(mass) + 1, len(words) + 1))
    cost[1:, 0] = np.cumsum(1.0 - mass[:, 0])
    cost[0, 1:] = np.arange(1, len(words) + 1)
    for slot in range(len(mass)):
        for word in range(len(words)):
            pair = cost[slot, word] + 1.0 - mass[slot, words[word]]
            skip = cost[slot, word + 1] + 1.0 - mass[slot, 0]
            cost[slot + 1, word + 1] = min(pair, skip, cost[slot + 1, word] + 1.0)
    found = [-1] * len(words)
    slot, word = len(mass), len(words)
    while word:
        here = cost[slot, word] + EQUAL
        if slot and cost[slot - 1, word - 1] + 1.0 - mass[slot - 1, words[word - 1]] <= here:
            slot, word = slot - 1, word - 1
            found[word] = slot
        elif slot and cost[slot - 1, word] + 1.0 - mass[slot - 1, 0] <= here:
            slot -= 1
        else:
            word -= 1
    return found


def test_texts_in_networks_are_aligned_as_with_the_whole_matrix() -> None:
    rng = np.random.default_rng(2)
    sizes = [(1100, 1000)] + [tuple(rng.integers(0, 12, 2)) for _ in range(200)]
    for size, width in sizes:
        # Two words and no word in each slot, with masses that are often equal.
        mass = rng.choice([0.25, 0.5, 1.0], (size, 3))
        mass /= mass.sum(axis=1, keepdims=True)
        entries = np.zeros((size, 3), dtype=np.int32)
        entries[:, 1] = rng.integers(1, 4, size)
        entries[:, 2] = entries[:, 1] % 4 + 1
        dense = np.zeros((size, 5))
        np.put_along_axis(dense, entries.astype(np.int64), mass, axis=1)
        words = rng.integers(1, 5, width)
        found = align_slots(entries, mass, size, 1.0, 4, words)
        assert found.tolist() == slots_by_whole_matrix(dense, words)


def test_slots_hold_all_words_of_many_hypotheses() -> None:
    texts = [f"a w{number} b" for number in range(50)]
    table = pd.DataFrame({"utt": "u", "rank": range(1, 51), "text": texts, "acoustic": 0.0})
    pool = Pool.of([table], [table["acoustic"].to_numpy()])
    (network,) = networks(pool, pool.posterior())
    assert network.mass.shape == (3, 53)
    assert network.mass.sum(axis=1) == pytest.approx(1.0)
    assert np.sort(network.mass[1])[-50:] == pytest.approx(0.02)
    assert network.vote()[0] == ["a", "w0", "b"]


def test_distances_of_texts_that_int16_cannot_count() -> None:
    texts = ["a " * 33_000, ""]
    table = pd.DataFrame({"utt": "u", "rank": [1, 2], "text": texts, "acoustic": 0.0})
    pool = Pool.of([table], [np.zeros(2)])
    assert Distances.of(pool).values.tolist() == [0, 33_000, 33_000, 0]


@pytest.mark.parametrize(
    "work",
    [
        """
from asr.evaluation.sclite import sclite_path
print(grown(lambda n: sclite_path(text(n), text(n)), 1500, 7000))
""",
        """
import pandas as pd
from lm.rerank.confusion import networks
from lm.rerank.pool import Pool
def vote(n):
    texts = [" ".join(map(str, text(n))) for _ in range(2)]
    table = pd.DataFrame({"utt": "u", "rank": [1, 2], "text": texts, "acoustic": [0.0, -1.0]})
    pool = Pool.of([table], [table["acoustic"].to_numpy()])
    (network,) = networks(pool, pool.posterior())
    network.vote()
    network.confidences(texts[0])
print(grown(vote, 1500, 7000))
""",
    ],
    ids=["alignment", "vote"],
)
def test_peak_memory_of_long_texts(work: str) -> None:
    found = subprocess.run(
        [sys.executable, "-c", MEMORY + work], capture_output=True, text=True, check=True
    )
    assert float(found.stdout) < MEGABYTES
