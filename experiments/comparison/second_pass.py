"""The second pass as a stage: each language model adds one column of scores.

A model is loaded only when it must score a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.comparison.column import Column
from experiments.comparison.progress import progress
from experiments.comparison.stages import Fingerprints, Recipe, Stage, run_stage
from lm.cache import CachedScorer, ScoreCache
from lm.context import contexts
from lm.plugin import plugin_file
from lm.rescore import is_ngram, load_scorer, rescore, with_options
from lm.scorer import LOADING, Scorer, ScorerOptions
from lm.text.normalisers import normaliser_file

Load = Callable[[str, ScorerOptions], Scorer]
# Increase this number when a change of the code changes the scores of the same model and texts.
RESCORE_FORM = 1


class Models:
    """The models of one run; each is loaded once, when it must score a text.

    Args:
        cache: where scores are kept between runs; None if they are not kept.
        load: function that loads a model.

    Attributes:
        cache: where scores are kept between runs.
        fingerprints: hashes of the models' files.
    """

    def __init__(self, cache: ScoreCache | None = None, load: Load = load_scorer) -> None:
        self.cache = cache
        self.fingerprints = Fingerprints()
        self._load_model = load
        self._loaded: dict[tuple[Any, ...], Scorer] = {}

    def scorer(self, model: str | Path, options: ScorerOptions) -> Scorer:
        """The model with the cache in front of it."""
        if self.cache is None:
            return self._load(str(model), options)
        scope = score_scope(model, options, self.fingerprints)
        by_list = options.history != "exact"
        return CachedScorer(lambda: self._load(str(model), options), scope, self.cache, by_list)

    def loaded(self, model: str | Path, options: ScorerOptions) -> Scorer:
        """The model without the cache."""
        return self._load(str(model), options)

    def _load(self, model: str, options: ScorerOptions) -> Scorer:
        key = (model, *(getattr(options, name) for name in LOADING))
        if key not in self._loaded:
            self._loaded[key] = self._load_model(model, options)
        return with_options(self._loaded[key], options)


def score_scope(
    model: str | Path, options: ScorerOptions, fingerprints: Fingerprints | None = None
) -> str:
    """The key of a model's scores in the cache: the model and every setting that changes scores."""
    facts = {"model": (fingerprints or Fingerprints()).of(model), **options.identity()}
    if options.dtype is None and not is_ngram(model) and plugin_file(model) is None:
        from lm.neural.pretrained import (  # torch takes seconds to import
            usable_device,
            usable_dtype,
        )

        facts["dtype"] = str(usable_dtype(None, usable_device(options.device)))
    return f"{Path(model).name} {json.dumps(facts, sort_keys=True)}"


def score(
    table: pd.DataFrame,
    models: Models,
    name: str,
    column: Column,
    label: str,
    overwrite: bool = False,
) -> pd.DataFrame:
    """Adds a column to an N-best table, with a progress bar."""
    before = contexts(table, column.context) if column.context.previous else None
    scorer = models.scorer(column.model, column.options)
    with progress(len(table), label, "hyp") as bar:
        return rescore(
            table,
            scorer,
            name,
            column.normaliser,
            before,
            column.context.prompt,
            bar.update,
            overwrite,
        )


def add_column(
    split: str,
    lists: str,
    table: pd.DataFrame,
    name: str,
    column: Column,
    root: Path,
    models: Models,
) -> Stage:
    """Scores every hypothesis of a table with one LM, or reads the scores if they exist."""

    def make(folder: Path) -> Mapping[str, Any]:
        scored = score(table, models, name, column, f"{split}: rescore {lists} with {name}")
        scored[[name, f"{name}.tokens"]].to_parquet(folder / "scores.parquet", index=False)
        return {"model_hash": models.fingerprints.of(column.model)}

    return run_stage(root, column_recipe(split, lists, table, name, column, models), make)


def column_recipe(
    split: str, lists: str, table: pd.DataFrame, name: str, column: Column, models: Models
) -> Recipe:
    """The recipe of the scores of one column."""
    inputs = {"texts": texts_hash(table), "name": name, **identity_of(column, models.fingerprints)}
    return Recipe(f"rescore-{split}-{lists}-{name}", inputs, RESCORE_FORM)


def identity_of(column: Column, fingerprints: Fingerprints) -> dict[str, Any]:
    """Everything that a column's scores depend on, except the texts."""
    case_file = normaliser_file(column.normaliser)
    return {
        "model": fingerprints.of(column.model),
        "normaliser": column.normaliser,
        "normaliser_file": fingerprints.of(case_file) if case_file else None,
        "context": asdict(column.context),
        **column.options.identity(),
    }


def texts_hash(table: pd.DataFrame) -> str:
    """A hash of the hypotheses of a table, without their scores."""
    rows = pd.util.hash_pandas_object(table[["utt", "rank", "text"]], index=False)
    return fingerprint_array(rows.to_numpy())


def fingerprint_array(values: np.ndarray) -> str:
    """A hash of an array's content."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]
