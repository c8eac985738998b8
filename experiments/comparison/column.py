"""Settings of one column of scores; this module imports no pandas, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from lm.context import Context
from lm.scorer import ScorerOptions


@dataclass(frozen=True, kw_only=True)
class Column(ScorerOptions):
    """One language model whose score is added to the lists.

    Attributes:
        model: A causal or masked language model's checkpoint (hub name or folder), or an n-gram
            model's file.
        normaliser: From the hypotheses' spelling to the LM's, see `lm.text.normalisers`.
        context: What was said before, for models that read it.
    """

    model: str
    normaliser: str = "none"
    context: Context = field(default_factory=Context)

    @property
    def options(self) -> ScorerOptions:
        """How the model scores."""
        return ScorerOptions(**{f.name: getattr(self, f.name) for f in fields(ScorerOptions)})
