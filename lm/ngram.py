"""n-gram models for scoring: ARPA files behind KenLM."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kenlm

from lm.arpa import GZIP_MAGIC, check_arpa, open_arpa
from lm.errors import InputError


@dataclass(frozen=True)
class NgramScore:
    """One text under an n-gram model.

    Attributes:
        logprob: natural log of the text's probability, from `<s>` to `</s>` inclusive.
        words: number of words, without `<s>` and `</s>`.
        oov: how many of them the model does not know.
    """

    logprob: float
    words: int
    oov: int


@dataclass(frozen=True)
class NgramModel:
    """A loaded n-gram model.

    Attributes:
        path: the ARPA file.
        order: length of its longest n-grams.
        vocabulary: its words, `<unk>`, `<s>` and `</s>` among them.
        kenlm: the KenLM model, for decoders that query it word by word.
    """

    path: Path
    order: int
    vocabulary: tuple[str, ...] = field(repr=False)
    kenlm: Any = field(repr=False, compare=False)

    @classmethod
    def load(cls, path: str | Path) -> NgramModel:
        """Loads an ARPA file, plain or gzipped.

        Raises:
            InputError: The file is missing, truncated, malformed, or has unigrams only.
        """
        path = Path(path)
        summary = check_arpa(path)
        if len(summary.counts) < 2:
            raise InputError(
                f"{path}: has unigrams only, which KenLM cannot load; "
                "estimate a model with --order 2 or more"
            )
        config = kenlm.Config()
        config.show_progress = False
        config.arpa_complain = kenlm.ARPALoadComplain.NONE
        with _plain(path) as plain:
            try:
                model = kenlm.Model(str(plain), config)
            except OSError as error:
                reason = str(error).replace(str(plain), str(path)).replace("\n", " ")
                raise InputError(f"{path}: KenLM cannot load it: {reason}") from error
        return cls(path, model.order, summary.vocabulary, model)

    def score(self, text: str) -> NgramScore:
        """Scores one text; words are separated by white space."""
        words = text.split()
        # KenLM splits at ASCII white space only: joining makes both see the same words.
        log10 = self.kenlm.score(" ".join(words), bos=True, eos=True)
        oov = sum(word not in self.kenlm for word in words)
        return NgramScore(log10 * math.log(10), len(words), oov)

    def score_texts(self, texts: Sequence[str]) -> list[NgramScore]:
        """Scores texts one by one, in their order."""
        return [self.score(text) for text in texts]

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        """Pickles as its path: another process loads the file again."""
        return NgramModel.load, (self.path,)


@contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary plain copy of a gzipped one: pip's KenLM reads no gzip."""
    with open(path, "rb") as file:
        gzipped = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    if not gzipped:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="secondpass-") as folder:
        copy = Path(folder) / "plain.arpa"
        with open_arpa(path) as packed, open(copy, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        yield copy
