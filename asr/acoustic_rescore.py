"""Second-pass scores from emissions or from audio, as a new column of an N-best table.

An emission scorer is any function from the texts of one utterance and its emissions to numbers:

def length(texts, log_probs):
    return np.array([-abs(len(text) / len(log_probs) - 0.3) for text in texts])
rescored = rescore_with_emissions(table, Emissions.open(folder), length, "length")
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from safetensors import SafetensorError

from asr.audio import RATE
from asr.corpus import Utterance, load_utterance, read_corpus
from asr.emissions import Emissions
from asr.forward import full_sums
from asr.log_probs import check_log_probs
from asr.vocabulary import Vocabulary, letters_of, spellings
from lm.errors import InputError, SecondpassError
from lm.rescore import check_name
from lm.scorer import Progress
from lm.text.loss import TextLoss, normalised
from lm.text.normalisers import normaliser as normaliser_of

CONTRACT = (
    "a scorer takes the texts of one utterance and its log-probs (T, V), or its audio, and returns "
    "one natural log for each text"
)


class EmissionScorer(Protocol):
    """Any function that scores the texts of one utterance by its emissions.

    If it raises a SecondpassError, the utterance fails and the others continue.
    """

    def __call__(self, texts: Sequence[str], log_probs: np.ndarray, /) -> np.ndarray:
        """Scores of N texts, (N,) natural log, from log-probs (T, V) in natural log."""


class AudioScorer(Protocol):
    """Any function that scores the texts of one utterance by its audio, such as Seq2SeqScorer."""

    def __call__(self, texts: Sequence[str], signal: np.ndarray, /) -> np.ndarray:
        """Scores of N texts, (N,) natural log, from (samples,) float32 at 16 kHz."""


@dataclass(frozen=True)
class CTCScorer:
    """An emission scorer: exact CTC log-probs, over all paths of a text.

    Attributes:
        vocabulary: Labels of the emissions' columns.
    """

    vocabulary: Vocabulary

    def __call__(self, texts: Sequence[str], log_probs: np.ndarray, /) -> np.ndarray:
        """Scores as `asr.forward.full_sums`; -inf where the labels cannot spell a text."""
        return full_sums(log_probs, self.vocabulary, texts)


@dataclass(frozen=True)
class Rescored:
    """An N-best table with a new column.

    Attributes:
        table: The N-best lists that could be scored; rows keep their order.
        failures: Reason for each utterance that failed; it is not in the table.
    """

    table: pd.DataFrame
    failures: dict[str, str]


def rescore_with_emissions(
    table: pd.DataFrame,
    emissions: Emissions,
    scorer: EmissionScorer,
    name: str,
    normaliser: str = "none",
    workers: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Rescored:
    """Adds the scores of texts given their utterance's emissions.

    Args:
        table: N-best table; it is not changed.
        emissions: Emissions of its utterances.
        scorer: Called from several threads, with all texts of one utterance at a time.
        name: Name of the new column.
        normaliser: Name of the normaliser (see `lm.text`) that turns the spelling of the
            hypotheses into that of the labels.
        workers: Number of threads; by default one for each processor. The results do not depend
            on it.
        progress: Called with the number of rows that have been scored since the last call.
        overwrite: Whether an existing score column of that name may be replaced.

    Raises:
        InputError: The name is used already or not valid, there is no such normaliser, or all
            utterances failed.
    """

    def score(utt: str, texts: Sequence[str]) -> np.ndarray:
        log_probs = emissions[utt]
        if not len(log_probs):
            raise InputError("its emissions have no frames")
        return scorer(texts, check_log_probs(log_probs))

    return _rescore(table, score, name, normaliser, workers, progress, overwrite)


def rescore_with_audio(
    table: pd.DataFrame,
    utterances: Sequence[Utterance],
    scorer: AudioScorer,
    name: str,
    normaliser: str = "none",
    workers: int | None = 1,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Rescored:
    """Adds the scores of texts given the audio; arguments as `rescore_with_emissions`."""
    known: Mapping[str, Utterance] = {utterance.id: utterance for utterance in utterances}

    def score(utt: str, texts: Sequence[str]) -> np.ndarray:
        if utt not in known:
            raise InputError("the manifest does not have this utterance")
        return scorer(texts, load_utterance(known[utt], RATE))

    return _rescore(table, score, name, normaliser, workers, progress, overwrite)


def rescore_ctc(
    table: pd.DataFrame,
    folder: str | Path,
    name: str = "ctc",
    normaliser: str = "none",
    workers: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Rescored:
    """Adds the exact CTC log-prob of every text, as `secondpass decode --exact` does.

    Args:
        folder: Folder of emissions. The other arguments are those of `rescore_with_emissions`.

    Raises:
        InputError: As `rescore_with_emissions`; or there are no emissions in the folder, or their
            labels cannot spell any text of the table.
    """
    emissions = Emissions.open(folder)
    vocabulary = emissions.meta.vocabulary
    found = rescore_with_emissions(
        table, emissions, CTCScorer(vocabulary), name, normaliser, workers, progress, overwrite
    )
    if len(found.table) and np.isneginf(found.table[name]).all():
        letters = "".join(sorted(set("".join(spellings(vocabulary)[0]))))
        raise InputError(
            f"{folder}: no text of the table has a probability; the labels are {letters!r}, the "
            f"first text is {found.table['text'].iloc[0][:60]!r}: choose a --normaliser"
        )
    clean = normaliser_of(normaliser)
    texts = [clean(text) for text in table["text"].unique()]
    known = letters_of(spellings(vocabulary)[0], texts)
    loss = TextLoss(known.__contains__, f"the labels of {folder}", "Choose a --normaliser")
    for text in texts:
        loss.add(text)
    loss.warn("hypotheses")
    return found


def rescore_audio(
    table: pd.DataFrame,
    manifest: str | Path,
    model: str,
    name: str,
    normaliser: str = "none",
    device: str | None = None,
    dtype: str | None = None,
    language: str = "en",
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Rescored:
    """Adds the log-prob of every text under an encoder-decoder model, given the audio.

    `device`, `dtype` and `language` are those of `Seq2SeqScorer.load`; the other arguments are
    those of `rescore_with_emissions`.

    Args:
        manifest: Anything that `asr.corpus.read_corpus` reads.
        model: AutoModelForSpeechSeq2Seq checkpoint, such as Whisper.

    Raises:
        InputError: As `rescore_with_emissions`; or the manifest or the model cannot be loaded.
    """
    check_name(table, name, overwrite)
    utterances = read_corpus(manifest)
    from asr.seq2seq import Seq2SeqScorer  # torch takes seconds to import

    scorer = Seq2SeqScorer.load(model, device, dtype, language)
    return rescore_with_audio(table, utterances, scorer, name, normaliser, 1, progress, overwrite)


Score = Callable[[str, Sequence[str]], np.ndarray]  # from an utterance and its texts


def _rescore(
    table: pd.DataFrame,
    score: Score,
    name: str,
    normaliser: str,
    workers: int | None,
    progress: Progress | None,
    overwrite: bool,
) -> Rescored:
    """Scores one N-best list after the other; a list that fails is left out, with the reason."""
    check_name(table, name, overwrite)
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers cannot score; use 1 or more")
    spelled = normalised(table["text"], normaliser_of(normaliser), "hypotheses")
    codes, utts = pd.factorize(table["utt"])
    order = np.argsort(codes, kind="stable")
    lists = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    texts = table["text"].to_numpy()

    def one(rows: np.ndarray) -> np.ndarray | str:
        utt = str(table["utt"].iloc[rows[0]])
        places, distinct = pd.factorize(np.array([spelled[texts[i]] for i in rows], dtype=object))
        try:
            return _checked(score(utt, list(distinct)), len(distinct))[places]
        # torch raises RuntimeError, for example if the memory is full.
        except (SecondpassError, SafetensorError, OSError, RuntimeError) as error:
            return f"utterance {utt}: {' '.join(str(error).split())[:300]}"
        # A custom scorer may raise any error; the scores of the other utterances are kept.
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return f"utterance {utt}: the scorer failed ({reason}); {CONTRACT}"

    column = np.full(len(table), np.nan)
    failures: dict[str, str] = {}
    for utt, rows, found in zip(utts, lists, _mapped(one, lists, workers), strict=True):
        if isinstance(found, str):
            failures[str(utt)] = found
        else:
            column[rows] = found
        if progress is not None:
            progress(len(rows))
    if failures and len(failures) == len(utts):
        reason = next(iter(failures.values()))
        raise InputError(f"not one of {len(utts)} utterances could be scored: {reason}")
    # The token counts of a column that is overwritten are no longer true.
    kept = table.drop(columns=[f"{name}.tokens"], errors="ignore").assign(**{name: column})
    return Rescored(kept[~np.isnan(column)].reset_index(drop=True), failures)


def _mapped(
    one: Callable[[np.ndarray], np.ndarray | str],
    lists: Sequence[np.ndarray],
    workers: int | None,
) -> Iterator[np.ndarray | str]:
    """Results in the order of the lists."""
    workers = min(workers or os.cpu_count() or 1, max(1, len(lists)))
    if workers == 1:
        yield from map(one, lists)
        return
    with ThreadPoolExecutor(workers) as threads:
        yield from threads.map(one, lists)


def _checked(scores: np.ndarray, count: int) -> np.ndarray:
    """Checks that a scorer returned a log-prob for each text of a list.

    Raises:
        InputError: It did not.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (count,):
        raise InputError(
            f"the scorer returned an array of shape {values.shape} for {count} texts; {CONTRACT}"
        )
    wrong = values[np.isnan(values) | np.isposinf(values)]
    if len(wrong):
        raise InputError(f"the scorer returned {wrong[0]}, which is not a log-prob; {CONTRACT}")
    return values
