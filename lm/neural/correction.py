"""Generative correction: an instruction model reads an utterance's N-best list and answers.

In constrained correction, every hypothesis is scored as the model's reply (a column like that of
any other language model). In free correction, the model writes an answer, which may not be in the
list. See Chen et al. 2023 (HyPoradise) and Ma et al. 2023 (Can generative LLMs perform ASR error
correction?).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rapidfuzz.distance import Levenshtein

from lm.columns import is_count
from lm.errors import InputError
from lm.neural.causal import CausalLM
from lm.neural.chat import PROMPT, ChatEncoder
from lm.neural.pretrained import out_of_memory
from lm.scorer import Progress, ScorerOptions
from lm.text.loss import TextLoss, normalised
from lm.text.normalisers import normaliser as normaliser_of

QUOTES = ('""', "''", "“”", "‘’", "„“", "«»", "``")
NUMBER = re.compile(r"^\d{1,3}[.)]\s+")  # a number that a model copies from the list


def load_corrector(
    model: str | Path,
    options: ScorerOptions | None = None,
    prompt: str = PROMPT,
    most: int = 10,
    plain: bool = False,
) -> CausalLM:
    """Loads an instruction model; in `CausalScorer` it scores hypotheses as replies.

    `lm.rescore.rescore` with that scorer is constrained correction. The prompt of a list is
    read once, and so are words with which its replies begin alike (see `lm.neural.token_tree`).

    Args:
        model: Hub name or folder of a causal language model.
        options: Device, dtype and the like.
        prompt: Question to the model, with `{hypotheses}` and, if wanted, `{count}`.
        most: Number of hypotheses that are shown; those of lower rank are scored too.
        plain: Whether the prompt is used without a chat template.

    Raises:
        InputError: It cannot be loaded, has no chat template, or the prompt is wrong.
    """
    loaded = CausalLM.load(model, options)
    return replace(loaded, encoder=ChatEncoder.of(loaded.encoder, prompt, most, plain))


@dataclass(frozen=True)
class Corrected:
    """N-best lists with the model's answers in front.

    Attributes:
        table: Each list with its answer as rank 1, then the others in their order.
        changed: Utterances whose text of rank 1 has changed.
        new: Those of them whose answer was not in the list.
        rejected: Utterances whose answer was empty or too far from the list; their lists have not
            changed.
    """

    table: pd.DataFrame
    changed: tuple[str, ...]
    new: tuple[str, ...]
    rejected: tuple[str, ...]


def correct_freely(
    table: pd.DataFrame,
    model: CausalLM,
    normaliser: str = "none",
    answer_normaliser: str = "none",
    guard: float | None = None,
    progress: Progress | None = None,
) -> Corrected:
    """Lets the model write an answer for every list, by greedy search.

    An answer that is not in the list gets a row of its own. Its scores under other models
    are not known: they are -inf, its counts of tokens and unknown words are 0, and its word times
    are empty. So it has rank 1 in this table, but it cannot win a weighted sum before all models
    have scored it (`secondpass rescore`, with `--emissions` for the acoustic score).

    Args:
        table: N-best table; it stays as it is.
        model: From `load_corrector`.
        normaliser: Name of the normaliser from the hypotheses' spelling to the model's (see
            `lm.text`).
        answer_normaliser: Name of the normaliser from the model's spelling to the hypotheses'.
        guard: Largest word edit distance from the nearest hypothesis, as a share of that one's
            words; an answer beyond it is rejected. None takes any.
        progress: Called with the number of rows that were done since the last call.

    Raises:
        InputError: There is no such normaliser, or a list's prompt is too long for the model.
    """
    clean, back = normaliser_of(normaliser), normaliser_of(answer_normaliser)
    if guard is not None and not guard >= 0:
        raise InputError(f"guard of {guard}: use a share of words, 0 or more")
    spelled = normalised(table["text"], clean, "hypotheses")
    loss = TextLoss.of(back)
    answers: dict[str, str] = {}
    rejected: list[str] = []
    lists = table.sort_values("rank", kind="stable").groupby("utt", sort=False)["text"]
    # All prompts are checked before the first answer, because an answer can take seconds.
    for utt, texts in lists:
        with _named(utt):
            _question(model, [spelled[text] for text in texts])
    for name, texts in lists:
        utt = str(name)
        with _named(utt):
            question = _question(model, [spelled[text] for text in texts])
            said = cleaned(answer_of(model, *question))
            answer = back(said)
            loss.add(said, answer)
        if _acceptable(answer, list(texts), guard):
            answers[utt] = answer
        else:
            rejected.append(utt)
        if progress is not None:
            progress(len(texts))
    loss.warn("answers")
    listed = set(zip(table["utt"], table["text"], strict=True))
    first = table[table["rank"] == 1].set_index("utt")["text"]
    changed = tuple(utt for utt, answer in answers.items() if first[utt] != answer)
    new = tuple(utt for utt in changed if (utt, answers[utt]) not in listed)
    return Corrected(with_answers(table, answers), changed, new, tuple(rejected))


@contextmanager
def _named(utt: Any) -> Iterator[None]:
    """Adds the utterance to messages of errors."""
    try:
        yield
    except InputError as error:
        raise InputError(f"utterance {utt} {error}") from error


def _question(model: CausalLM, texts: list[str]) -> tuple[list[int], int]:
    """See `ChatEncoder.question`."""
    assert isinstance(model.encoder, ChatEncoder), "use load_corrector"
    return model.encoder.question(texts)


@torch.inference_mode()
def answer_of(model: CausalLM, prompt: Sequence[int], most: int) -> str:
    """The most likely next token again and again, up to the end of the turn or of the line.

    What the checkpoint says about sampling or penalties is ignored.

    Args:
        model: From `load_corrector`.
        prompt: Token ids.
        most: Largest number of tokens of the answer.

    Raises:
        InputError: The model gives NaN, or memory runs out.
    """
    encoder, network, name = model.encoder, model.reader.model, model.cache_name
    stated = network.generation_config.eos_token_id
    ends = {encoder.tokenizer.eos_token_id, getattr(encoder, "end", None)}
    ends.update(stated if isinstance(stated, list) else [stated])
    read, found, cache, text = list(prompt), list[int](), None, ""
    while len(found) < most and "\n" not in text.lstrip():
        ids = torch.tensor([read], device=network.device)
        kept = {} if name is None else {name: cache}
        try:
            output = network(input_ids=ids, use_cache=name is not None, **kept)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise InputError(
                f"has {len(prompt)} tokens, for which {model.name} lacks memory; show fewer "
                "hypotheses (--hypotheses), or use a smaller model"
            ) from error
        logits = output.logits[0, -1].float()
        if logits.isnan().any():
            raise InputError(
                f"makes {model.name} give NaN; use --dtype float32 or bfloat16, or another model"
            )
        token = int(logits.argmax())
        if token in ends:
            break
        found.append(token)
        text = encoder.tokenizer.decode(found, skip_special_tokens=True)
        if name is None:
            read.append(token)
        else:
            cache, read = output[name], [token]
    return text


def cleaned(answer: str) -> str:
    """The first line that is not empty, without a number from the list and quotes around it."""
    lines = [" ".join(line.split()) for line in answer.splitlines()]
    line = NUMBER.sub("", next(filter(None, lines), ""))
    if len(line) > 1 and line[0] + line[-1] in QUOTES:
        line = line[1:-1].strip()
    return line


def _acceptable(answer: str, texts: Sequence[str], guard: float | None) -> bool:
    """Whether an answer is accepted; an empty one is, if a hypothesis of the list is empty."""
    if answer in texts:
        return True
    if not answer.strip():
        return False
    if guard is None:
        return True
    words = [text.split() for text in texts]
    nearest = min(Levenshtein.distance(w, answer.split()) / max(1, len(w)) for w in words)
    return bool(nearest <= guard)


def with_answers(table: pd.DataFrame, answers: dict[str, str]) -> pd.DataFrame:
    """The N-best lists with their answers as rank 1; the other hypotheses keep their order.

    Args:
        table: N-best table; utterances keep the order in which they first appear.
        answers: Answer by utterance; a list without one stays as it is.
    """
    listed = set(zip(table["utt"], table["text"], strict=True))
    new = [(utt, answer) for utt, answer in answers.items() if (utt, answer) not in listed]
    rows: dict[str, Any] = {}
    for name in table.columns:
        if name in ("utt", "text"):
            rows[name] = [pair[name == "text"] for pair in new]
        elif name == "words":
            rows[name] = [len(answer.split()) for _, answer in new]
        elif name == "rank" or is_count(name):
            rows[name] = [0] * len(new)
        elif pd.api.types.is_numeric_dtype(table[name]):
            rows[name] = [-np.inf] * len(new)
        else:
            # Word times.
            rows[name] = pd.Series([np.zeros(0, np.float32) for _ in new], dtype=object)
    whole = pd.concat([table, pd.DataFrame(rows)], ignore_index=True) if new else table
    place = {utt: i for i, utt in enumerate(table["utt"].unique())}
    first = whole["utt"].map(answers) == whole["text"]
    lists = whole["utt"].map(place).to_numpy()
    order = np.lexsort((whole["rank"], ~first, lists))
    sorted_table = whole.iloc[order].reset_index(drop=True)
    return sorted_table.assign(rank=sorted_table.groupby("utt", sort=False).cumcount() + 1)
