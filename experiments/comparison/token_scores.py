"""Transcripts on which systems differ, with the log-probs of their tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.comparison.plan import Plan
from experiments.comparison.second_pass import (
    Column,
    Models,
    fingerprint_array,
    identity_of,
    texts_hash,
)
from experiments.comparison.stages import Recipe, run_stage
from lm.context import contexts
from lm.scorer import Texts
from lm.text.normalisers import normaliser

# Raised whenever the tokens or log-probs of the same model and texts change.
EXPLAIN_FORM = 1
COLUMNS = ("split", "column", "utt", "text", "position", "piece", "logprob")


def explanations(
    plan: Plan,
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
    utterances: pd.DataFrame,
    stages: Path,
    models: Models,
) -> pd.DataFrame:
    """One row a token of the transcripts that some, but not all systems chose.

    Args:
        plan: the comparison.
        tables: N-best tables by split and first pass.
        utterances: One row a system, split and utterance; `chosen` is the hypothesis as it is
            in the table.
        stages: Folder of the stages.
        models: Loads the language models.

    Returns:
        Columns split, column, utt, text, position, piece, logprob (natural log).
    """
    found = [pd.DataFrame(columns=list(COLUMNS))]
    for split, rows in utterances.groupby("split", sort=False):
        chosen = rows[["utt", "chosen"]].drop_duplicates()
        differing = chosen["utt"].value_counts()
        most = plan.comparison.explain
        kept = [utt for utt in chosen["utt"].unique() if differing[utt] > 1][:most]
        chosen = chosen[chosen["utt"].isin(kept)].reset_index(drop=True)
        for name, column in plan.comparison.columns.items():
            users = [p for p in plan.systems.values() if p.system.lists and name in p.columns]
            lists = users[0].system.lists if users else None
            if len(chosen) and lists is not None:
                table = tables[str(split)][lists]
                found.append(_explained(str(split), name, column, chosen, table, stages, models))
    return pd.concat([part for part in found if len(part)] or found, ignore_index=True)


def _explained(
    split: str,
    name: str,
    column: Column,
    chosen: pd.DataFrame,
    table: pd.DataFrame,
    stages: Path,
    models: Models,
) -> pd.DataFrame:
    """Tokens of some transcripts under one model, or read back."""

    def make(folder: Path) -> Mapping[str, Any]:
        from lm.explain import explain  # torch takes seconds to import

        clean = normaliser(column.normaliser)
        before = contexts(table, column.context) if column.context.previous else {}
        batch = Texts(
            [clean(text) for text in chosen["chosen"]],
            [tuple(map(clean, before.get(utt, ()))) for utt in chosen["utt"]],
            pd.factorize(chosen["utt"])[0],
            () if column.context.prompt is None else (column.context.prompt,),
        )
        explained = explain(models.loaded(column.model, column.options), batch) or []
        rows = [
            (split, name, utt, text, position, piece, logprob)
            for (utt, text), found in zip(chosen.itertuples(index=False), explained, strict=False)
            for position, (piece, logprob) in enumerate(
                zip(found.pieces, found.logprob.tolist(), strict=True)
            )
        ]
        pd.DataFrame(rows, columns=list(COLUMNS)).to_parquet(folder / "pieces.parquet")
        return {}

    texts = pd.util.hash_pandas_object(chosen, index=False).to_numpy()
    inputs = {
        "texts": fingerprint_array(texts),
        "lists": texts_hash(table) if column.context.previous else None,
        "name": name,
        **identity_of(column, models.fingerprints),
    }
    stage = run_stage(stages, Recipe(f"explain-{split}-{name}", inputs, EXPLAIN_FORM), make)
    return pd.read_parquet(stage.folder / "pieces.parquet")
