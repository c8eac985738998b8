"""Settings of one column of scores; this module imports no pandas, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from lm.context import Context
from lm.scorer import ScorerOptions


@dataclass(frozen=True, kw_only=True)
class Column(ScorerOptions):
    """One language model whose scores become a column of the N-best table.

    Attributes:
        model: Causal or masked language model (hub name or folder), or the file of an n-gram model.
        normaliser: Normaliser that turns the hypotheses' spelling into the model's (see
            `lm.text.normalisers`).
        context: Settings of the context: what was said before, for models that read it.
    """

    model: str
    normaliser: str = "none"
    context: Context = field(default_factory=Context)

    @property
    def options(self) -> ScorerOptions:
        """How the model scores."""
        return ScorerOptions(**{f.name: getattr(self, f.name) for f in fields(ScorerOptions)})
