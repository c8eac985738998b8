"""The transcript of an utterance, and confidences of its words.

There are three ways: the hypothesis with the best weighted sum (`map`), the one with the fewest
expected word errors (`mbr`), and a vote word by word (`vote`), whose result may be in no list. The
last two need posteriors, and so a temperature, which is tuned on dev.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lm.errors import InputError
from lm.rerank.confidence import Calibration, normalised_cross_entropy
from lm.rerank.confusion import Network, networks
from lm.rerank.mbr import Distances, least_risk
from lm.rerank.methods import METHODS, Method
from lm.rerank.pool import Pool

TEMPERATURES = tuple(np.geomspace(0.0625, 64, 16).round(4).tolist())
NOTHING = (1.0, 0.7, 1.4, 0.5, 2.0)
FACTORS = (0.25, 0.5, 2.0, 4.0)  # shares of one system that are tried; those of the others follow

# A function from a transcript for each of U utterances to the word errors (U,).
Count = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Choice:
    """How a transcript is chosen.

    Attributes:
        method: `map`, `mbr` or `vote`.
        temperature: temperature of the posteriors, see `Pool.posterior`; `map` needs none.
        nothing: factor of the mass of no word in a vote.
        shares: shares of several systems, with sum 1; empty if all are equal.
    """

    method: Method = "map"
    temperature: float = 1.0
    nothing: float = 1.0
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(
                f"there is no way to choose named {self.method!r}; use {', '.join(METHODS)}"
            )


@dataclass(frozen=True)
class Trust:
    """How word confidences are made.

    Attributes:
        temperature: temperature of the posteriors from which confidences are made.
        calibration: map from posterior mass to confidence.
    """

    temperature: float = 1.0
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class Chosen:
    """A transcript for each of U utterances.

    Attributes:
        texts: the transcripts.
        positions: int (U,), which hypothesis of the pool it is; -1 if it is in no list.
    """

    texts: list[str]
    positions: np.ndarray


def choose(pool: Pool, choice: Choice) -> Chosen:
    """A transcript for every utterance.

    Args:
        pool: the N-best lists; with several systems `map` takes the likeliest hypothesis of all.
        choice: the way to choose, with its settings.
    """
    if choice.method == "vote":
        texts = _vote(networks(pool, pool.posterior(choice.temperature, choice.shares)), choice)
        return Chosen(texts, _found(pool, texts))
    best = _best(pool, choice, Distances.of(pool) if choice.method == "mbr" else None)
    return Chosen([pool.texts[n] for n in best], best)


def tune_choice(pool: Pool, method: Method, count: Count) -> Choice:
    """The temperature, and a vote's other settings, with the fewest word errors on dev.

    Every temperature of a fixed grid is tried (for a vote, with every factor of no word), then the
    systems' shares, one after the other, until none lowers the errors. With equal errors the lower
    temperature, a factor of 1, and equal shares are preferred.

    Args:
        pool: the N-best lists of dev.
        method: way to choose; with one system, `map` has nothing to tune.
        count: function that counts the word errors of transcripts.
    """
    systems = int(pool.system.max()) + 1
    if method == "map" and systems == 1:
        return Choice()
    distances = Distances.of(pool) if method == "mbr" else None
    tried: dict[Choice, int] = {}

    def errors(choice: Choice) -> int:
        if choice not in tried:
            if method == "vote":
                built = networks(pool, pool.posterior(choice.temperature, choice.shares))
                for nothing in NOTHING:  # the same networks
                    other = replace(choice, nothing=nothing)
                    tried[other] = int(count(_vote(built, other)).sum())
            else:
                texts = [pool.texts[n] for n in _best(pool, choice, distances)]
                tried[choice] = int(count(texts).sum())
        return tried[choice]

    factors = NOTHING if method == "vote" else (1.0,)
    grid = [Choice(method, t, n) for t in TEMPERATURES for n in factors]
    best = min(grid, key=errors)
    while systems > 1:
        shares = np.array(best.shares or np.full(systems, 1 / systems))
        trials = [best]
        for system, factor in itertools.product(range(systems), FACTORS):
            moved = shares.copy()
            moved[system] *= factor
            moved /= moved.sum()
            trials += [replace(best, shares=tuple(moved.tolist()), nothing=n) for n in factors]
        found = min(trials, key=errors)
        if errors(found) == errors(best):
            break
        best = found
    return best


def confidences(
    pool: Pool, texts: Sequence[str], trust: Trust, shares: Sequence[float] = ()
) -> list[np.ndarray]:
    """The confidence of every word of each transcript, U arrays.

    It is the calibrated posterior mass of the word in its slot of the utterance's confusion
    network; NaN for the words of an utterance that is `Pool.hopeless`.
    """
    built = networks(pool, pool.posterior(trust.temperature, shares))
    found = []
    for network, text, hopeless in zip(built, texts, pool.hopeless, strict=True):
        mass = network.confidences(text)
        known = trust.calibration(mass) if len(mass) else mass
        found.append(np.full(len(mass), np.nan) if hopeless else known)
    return found


def tune_trust(
    pool: Pool, texts: Sequence[str], right: np.ndarray, shares: Sequence[float] = ()
) -> Trust:
    """The temperature and calibration that say most about which words are right, on dev.

    Args:
        pool: the N-best lists of dev.
        texts: the U transcripts that were chosen.
        right: bool (W,), whether each of their words is right, one after the other.
        shares: shares of several systems.

    Returns:
        The identity at temperature 1 if all words are right, or all wrong. Words whose confidence
        is not known are left out.
    """
    best, most = Trust(), -np.inf
    for temperature in TEMPERATURES[::2]:  # the calibration does the rest
        raw = np.concatenate(confidences(pool, texts, Trust(temperature), shares))
        known = ~np.isnan(raw)
        calibration = Calibration.fit(raw[known], right[known])
        gain = normalised_cross_entropy(calibration(raw[known]), right[known])
        if gain > most:
            best, most = Trust(temperature, calibration), gain
    return best


def _best(pool: Pool, choice: Choice, distances: Distances | None) -> np.ndarray:
    """The position of the chosen hypothesis of every utterance, (U,)."""
    posterior = pool.posterior(choice.temperature, choice.shares)
    if distances is not None:
        return least_risk(pool, distances, posterior)
    # The totals decide: where all posteriors but one underflow, these are equal.
    order = np.lexsort((pool.rank, -pool.totals, -posterior, pool.owner))
    found: np.ndarray = order[pool.lists[:-1]]
    return found


def _vote(built: Sequence[Network], choice: Choice) -> list[str]:
    """The winning words of every network."""
    return [" ".join(network.vote(choice.nothing)[0]) for network in built]


def _found(pool: Pool, texts: Sequence[str]) -> np.ndarray:
    """Position of each text in its utterance's lists, the best total of equals; -1 if in none."""
    found = np.full(len(texts), -1)
    for utt, text in enumerate(texts):
        for position in range(pool.lists[utt], pool.lists[utt + 1]):
            better = found[utt] < 0 or pool.totals[position] > pool.totals[found[utt]]
            if better and " ".join(pool.texts[position].split()) == text:
                found[utt] = position
    return found
