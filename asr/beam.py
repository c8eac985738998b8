"""The beam decoder: CTC prefix search with n-gram models, hot words, word times, over chunks.

The search itself is compiled (`asr.search.frames`). This module makes its inputs from a vocabulary,
settings and models, and turns its results into hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from asr.forward import full_sums
from asr.hypothesis import Hypothesis
from asr.options import DecoderOptions
from asr.search.endings import endings
from asr.search.frames import advance
from asr.search.graph import Graph, build_graph
from asr.search.state import Limits, State, begin, enough_room, more_room, new_state, tidy
from asr.vocabulary import Vocabulary
from lm.errors import InputError
from lm.ngram.model import NgramModel

# Prefixes that a search has room for at the beginning: a number, and more for each beam place.
ROOM = 1 << 13
ROOM_PER_SLOT = 64


@dataclass(frozen=True)
class BeamDecoder:
    """A decoder that is ready for utterances; several threads can use it.

    Attributes:
        vocabulary: Labels of the columns of the log-probs.
        options: Settings.
        graph: All that the search needs to know, as arrays.
        bos: (K,) int32, state of each n-gram model at the beginning of a sentence.
        room: Prefixes that a search has room for at the beginning; it gets more if necessary.
        idle: Searches that have ended, whose memory is used again.
    """

    vocabulary: Vocabulary
    options: DecoderOptions
    graph: Graph = field(repr=False)
    bos: np.ndarray = field(repr=False)
    room: int
    idle: list[State] = field(default_factory=list, init=False, repr=False)

    @classmethod
    def build(
        cls, vocabulary: Vocabulary, options: DecoderOptions, room: int | None = None
    ) -> BeamDecoder:
        """Loads the n-gram models and prepares the search.

        Args:
            vocabulary: Labels of the columns of the log-probs.
            options: Settings.
            room: Prefixes that a search has room for at the beginning; by default it depends on
                the beam width.

        Raises:
            InputError: A model is missing or damaged, less than a tenth of its words can be
                spelled with the vocabulary, or a hot word cannot be spelled.
        """
        models = [NgramModel.load(path) for path in options.lms]
        graph = build_graph(vocabulary, options, models)
        bos = np.array([model.bos for model in models], dtype=np.int32)
        room = room or ROOM + ROOM_PER_SLOT * options.beam_width
        return cls(vocabulary, options, graph, bos, room)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first, for log-probs (T, V) in natural log.

        Raises:
            InputError: In some frame only special labels are possible, or a value is NaN.
        """
        search = self.search()
        search.advance(log_probs)
        found = search.hypotheses()
        self.idle.append(search.state)
        if self.options.exact:
            sums = full_sums(log_probs, self.vocabulary, [h.text for h in found]).tolist()
            more = [{**(h.more or {}), "ctc": s} for h, s in zip(found, sums, strict=True)]
            found = [replace(h, more=m) for h, m in zip(found, more, strict=True)]
        return found

    def search(self) -> BeamSearch:
        """A search that has not had any frames yet."""
        columns = len(self.graph.weights)
        try:
            state = self.idle.pop()
        except IndexError:
            state = new_state(self.graph, self.options.beam_width, self.room, columns)
        begin(self.graph, self.bos, state)
        return BeamSearch(self, state)


@dataclass
class BeamSearch:
    """The search of one utterance, chunk by chunk; results do not depend on the chunks' lengths.

    Attributes:
        decoder: The decoder.
        state: The state after the frames so far.
    """

    decoder: BeamDecoder
    state: State = field(repr=False)

    def advance(self, log_probs: np.ndarray) -> None:
        """Continues with the next frames, (T, V) natural log.

        Raises:
            InputError: As `BeamDecoder.decode`; the search cannot continue after it.
        """
        values = np.ascontiguousarray(log_probs, dtype=np.float32)
        labels = len(self.decoder.vocabulary.labels)
        if values.ndim != 2 or values.shape[1] != labels:
            raise InputError(
                f"log-probs of shape {values.shape} do not fit {labels} labels; give (frames, "
                f"{labels})"
            )
        options, graph = self.decoder.options, self.decoder.graph
        limits = Limits(options.beam_width, options.token_min_logp, options.beam_prune_logp)
        frame = 0
        while frame < len(values):
            frame = advance(graph, limits, values, frame, self.state)
            if frame < 0:
                raise broken_frame(values, -1 - frame)
            if frame < len(values):
                tidy(self.state)
                if not enough_room(limits, self.state):
                    self.state = more_room(self.state)

    def hypotheses(self, most: int | None = None, ended: bool = True) -> list[Hypothesis]:
        """The hypotheses for the frames so far, best first by the search's score.

        Args:
            most: Largest number of hypotheses; by default `nbest` of the settings.
            ended: Whether the n-gram models score the end of the sentence.
        """
        options = self.decoder.options
        found = endings(self.decoder.graph, self.state, most or options.nbest, ended)
        texts = found.text.tobytes().decode(errors="replace").split("\n")
        stops = np.cumsum(found.words).tolist()
        since, until = tuple(found.since.tolist()), tuple((found.until + 1).tolist())
        more = [
            *(
                (f"ngram{k + 1}", found.ngram[:, k].tolist())
                for k in range(1, found.ngram.shape[1])
            ),
            *([("hotwords", found.bonus.tolist())] if options.hotwords else []),
        ]
        hypotheses = [
            Hypothesis(
                text,
                acoustic,
                ngram,
                oov,
                {name: values[i] for name, values in more} if more else None,
                (since[begin:stop], until[begin:stop]),
            )
            for i, (text, acoustic, ngram, oov, begin, stop) in enumerate(
                zip(
                    texts,
                    found.acoustic.tolist(),
                    found.ngram[:, 0].tolist(),
                    found.oov.tolist(),
                    [0, *stops],
                    stops,
                    strict=False,
                )
            )
        ]
        if self.decoder.vocabulary.has_bytes:
            # Different bytes that make no character are the same text; the best one is kept.
            different: dict[str, Hypothesis] = {}
            for hypothesis in hypotheses:
                different.setdefault(hypothesis.text, hypothesis)
            hypotheses = list(different.values())
        return hypotheses


def broken_frame(values: np.ndarray, frame: int) -> InputError:
    """Why a frame cannot be searched."""
    if not (values[frame] < np.inf).all():
        return InputError(
            f"the log-probs of frame {frame} contain NaN or +inf; run `secondpass emit` again"
        )
    return InputError(
        f"in frame {frame} only special labels have a probability; the acoustic model does not "
        "work for this input"
    )
