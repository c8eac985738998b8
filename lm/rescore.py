"""The second pass: one more column of log-probs in an N-best table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lm.columns import COUNTS, KEYS, TIMES
from lm.errors import InputError
from lm.ngram.model import NgramModel
from lm.ngram.scorer import NgramScorer
from lm.plugin import load_plugin, plugin_file
from lm.scorer import Adjustable, Progress, Scorer, ScorerOptions, TextError, Texts, checked, parts
from lm.text.loss import normalised
from lm.text.normalisers import normaliser as normaliser_of

NGRAM_ENDINGS = (".arpa", ".arpa.gz", ".arpa.bz2", ".arpa.xz", ".ngram")
TEXTS_AT_ONCE = 50_000


def load_scorer(model: str | Path, options: ScorerOptions | None = None) -> Scorer:
    """Loads a language model of any kind that can rescore.

    Args:
        model: An n-gram model (ARPA, plain or gzipped, or our own format), a causal or masked
            language model (hub name or folder), or a custom scorer (`FILE.py:CLASS`).
        options: How it scores.

    Raises:
        InputError: The model cannot be loaded.
    """
    options = options or ScorerOptions()
    if plugin_file(model) is not None:
        return load_plugin(str(model))
    if is_ngram(model):
        return NgramScorer(NgramModel.load(model), options.eos)
    # torch and transformers take seconds to import.
    from lm.neural.masked import MaskedLM, MaskedScorer, is_masked

    if is_masked(str(model)):
        return MaskedScorer(MaskedLM.load(str(model), options), options)
    from lm.neural.causal import CausalLM, CausalScorer

    return CausalScorer(CausalLM.load(str(model), options), options)


def with_options(scorer: Scorer, options: ScorerOptions) -> Scorer:
    """The same loaded model under other settings of scoring; a custom scorer stays as it is."""
    return scorer.with_options(options) if isinstance(scorer, Adjustable) else scorer


def is_ngram(model: str | Path) -> bool:
    """Whether a model is an n-gram model: it is a file, and all other models are folders."""
    return str(model).endswith(NGRAM_ENDINGS) or Path(model).is_file()


def rescore(
    table: pd.DataFrame,
    scorer: Scorer,
    name: str,
    normaliser: str = "none",
    contexts: Mapping[str, tuple[str, ...]] | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
    texts_at_once: int = TEXTS_AT_ONCE,
) -> pd.DataFrame:
    """Adds one language model's scores to an N-best table.

    Equal texts of an N-best list are scored once.

    Args:
        table: N-best table with columns `utt`, `rank` and `text`; it stays as it is.
        scorer: The language model.
        name: The new column's name.
        normaliser: Name of the normaliser from the hypotheses' spelling to the model's (see
            `lm.text`); contexts are normalised too.
        contexts: Earlier texts by utterance, oldest first (see `lm.context`).
        prompt: Text before the contexts; it is not normalised.
        progress: Called with the number of rows that were done since the last call.
        overwrite: Whether a score column of that name may be replaced.
        texts_at_once: Texts that the model gets at once, at most, so that memory does not grow
            with the table; an N-best list stays whole.

    Returns:
        A copy with the columns `name` (natural log, unweighted) and `name.tokens`.

    Raises:
        InputError: The name is in use or not valid, there is no such normaliser, or a text
            cannot be scored; the message names the utterance.
    """
    check_name(table, name, overwrite)
    clean = normaliser_of(normaliser)
    spelled = normalised(table["text"], clean, "hypotheses")
    lists = pd.factorize(table["utt"])[0]
    order = np.lexsort((table["rank"].to_numpy(), lists))
    texts = table["text"].map(spelled).to_numpy()
    before: list[tuple[str, ...]] | None = None
    if contexts is not None:
        by_list = [
            tuple(spelled.get(text) or clean(text) for text in contexts.get(utt, ()))
            for utt in table["utt"].unique()
        ]
        before = [by_list[i] for i in lists]
    logprob = np.zeros(len(table))
    tokens = np.zeros(len(table), dtype=np.int64)
    for rows in parts(lists[order], texts_at_once):
        part = order[rows]
        keys = pd.Series(zip(lists[part], texts[part], strict=True))
        codes, first = pd.factorize(keys)[0], ~keys.duplicated().to_numpy()
        firsts = part[first]
        if progress is not None:
            progress(len(part) - len(firsts))
        batch = Texts(
            list(texts[firsts]),
            None if before is None else [before[i] for i in firsts],
            lists[firsts],
            () if prompt is None else (prompt,),
        )
        try:
            scores = checked(scorer.score(batch, progress), len(firsts))
        except TextError as error:
            raise InputError(f"{_place(table, firsts[error.index])}: {error.reason}") from error
        wrong = np.flatnonzero(np.isnan(scores.logprob) | np.isposinf(scores.logprob))
        if len(wrong):
            raise InputError(
                f"{_place(table, firsts[wrong[0]])}: the model gives {scores.logprob[wrong[0]]}, "
                "which is not a log-prob: use another model"
            )
        logprob[part], tokens[part] = scores.logprob[codes], scores.tokens[codes]
    return table.assign(**{name: logprob, f"{name}.tokens": tokens})


def check_name(table: pd.DataFrame, name: str, overwrite: bool = False) -> None:
    """Whether an N-best table can take a score column of that name.

    Raises:
        InputError: It cannot.
    """
    missing = [column for column in KEYS if column not in table.columns]
    if missing:
        raise InputError(
            f"the N-best table has no column '{missing[0]}': it needs utt, rank and text"
        )
    if not name.strip() or "." in name or "," in name:
        raise InputError(
            f"column name {name!r}: use a name without '.' (as in NAME.tokens) and ',' "
            "(which separates names)"
        )
    if name in (*KEYS, *COUNTS, *TIMES):
        raise InputError(f"column '{name}' is no score and cannot be replaced: use another name")
    if name in table.columns and not overwrite:
        raise InputError(
            f"column '{name}' exists in the N-best table: use another name, or --overwrite"
        )


def _place(table: pd.DataFrame, row: int) -> str:
    """The utterance and rank of a row, for messages."""
    found = table.iloc[int(row)]
    return f"utterance {found['utt']}, rank {found['rank']}"
