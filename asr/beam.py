"""The beam decoder: CTC prefix search with n-gram models, hot words, word times, over chunks.

The search itself is compiled (`asr.search.frames`). This module makes its inputs from a vocabulary,
settings and models, and turns its results into hypotheses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from asr.forward import full_sums
from asr.hypothesis import Hypothesis
from asr.log_probs import check_log_probs
from asr.options import DecoderOptions
from asr.search.endings import endings
from asr.search.frames import advance
from asr.search.graph import Graph, build_graph, without_hotwords
from asr.search.hotwords import HotWords, paid
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
        plain: The same without hot words; None where there are none.
        bos: (K,) int32, state of each n-gram model at the beginning of a sentence.
        room: Prefixes that a search has room for at the beginning; it gets more if necessary.
        idle: Searches that have ended, whose memory is used again.
    """

    vocabulary: Vocabulary
    options: DecoderOptions
    graph: Graph = field(repr=False)
    plain: Graph | None = field(repr=False)
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
        plain = without_hotwords(graph) if options.hotwords else None
        return cls(vocabulary, options, graph, plain, bos, room)

    def decode(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """Distinct hypotheses, best first, for log-probs (T, V) in natural log.

        Log-probs whose probabilities do not sum to one are normalised, with a warning.

        Raises:
            InputError: In some frame only special labels are possible, a value is NaN, or the
                values are probabilities.
        """
        search = self.search()
        values = self.checked(log_probs)
        search.follow(values)
        found = search.hypotheses()
        self.idle.extend(search.states)
        if self.options.exact:
            sums = full_sums(values, self.vocabulary, [h.text for h in found]).tolist()
            more = [{**(h.more or {}), "ctc": s} for h, s in zip(found, sums, strict=True)]
            found = [replace(h, more=m) for h, m in zip(found, more, strict=True)]
        return found

    def search(self) -> BeamSearch:
        """A search that has not had any frames yet."""
        graphs = [self.graph] if self.plain is None else [self.graph, self.plain]
        return BeamSearch(self, graphs, [self._begun(graph) for graph in graphs])

    def _begun(self, graph: Graph) -> State:
        """The state of a search before its first frame."""
        try:
            state = self.idle.pop()
        except IndexError:
            state = new_state(graph, self.options.beam_width, self.room, len(graph.weights))
        begin(graph, self.bos, state)
        return state

    def checked(self, log_probs: np.ndarray) -> np.ndarray:
        """Log-probs as the search takes them, (T, V) float32.

        Raises:
            InputError: They do not fit the labels, or they are probabilities.
        """
        values = np.ascontiguousarray(log_probs, dtype=np.float32)
        labels = len(self.vocabulary.labels)
        if values.ndim != 2 or values.shape[1] != labels:
            raise InputError(
                f"log-probs of shape {values.shape} do not fit {labels} labels; give (frames, "
                f"{labels})"
            )
        # The search names the frame of a value that is not a number.
        numbers = len(values) > 0 and bool(values.max() < np.inf)
        return np.ascontiguousarray(
            check_log_probs(values, "the log-probs") if numbers else values, dtype=np.float32
        )


@dataclass
class BeamSearch:
    """The search of one utterance, chunk by chunk; results do not depend on the chunks' lengths.

    With hot words a second search without them follows the same frames. What a hot word has begun
    can take the places of better texts in the beam of the first search, and then lose its bonus.
    The best of both lists is never worse than without hot words.

    Attributes:
        decoder: The decoder.
        graphs: The constant data of each search.
        states: The state of each search after the frames so far.
    """

    decoder: BeamDecoder
    graphs: list[Graph] = field(repr=False)
    states: list[State] = field(repr=False)

    def advance(self, log_probs: np.ndarray) -> None:
        """Continues with the next frames, (T, V) natural log.

        Raises:
            InputError: As `BeamDecoder.decode`; the search cannot continue after it.
        """
        self.follow(self.decoder.checked(log_probs))

    def follow(self, values: np.ndarray) -> None:
        """Continues with frames that are checked already.

        Raises:
            InputError: A frame cannot be searched.
        """
        options = self.decoder.options
        limits = Limits(options.beam_width, options.token_min_logp, options.beam_prune_logp)
        for number, graph in enumerate(self.graphs):
            frame = 0
            while frame < len(values):
                state = self.states[number]
                frame = advance(graph, limits, values, frame, state)
                if frame < 0:
                    raise broken_frame(values, -1 - frame)
                if frame < len(values):
                    tidy(state)
                    if not enough_room(limits, state):
                        self.states[number] = more_room(state)

    def hypotheses(self, most: int | None = None, ended: bool = True) -> list[Hypothesis]:
        """The hypotheses for the frames so far, best first by the search's score.

        Args:
            most: Largest number of hypotheses; by default `nbest` of the settings.
            ended: Whether the n-gram models score the end of the sentence.
        """
        most = most or self.decoder.options.nbest
        found = self._found(0, most, ended)
        if len(self.graphs) > 1:
            found = best_of(found, self._found(1, most, ended), most)
        return [hypothesis for _, hypothesis in found]

    def _found(self, number: int, most: int, ended: bool) -> list[tuple[float, Hypothesis]]:
        """The hypotheses of one of the searches, each with its score, best first."""
        options, graph = self.decoder.options, self.decoder.graph
        found = endings(self.graphs[number], self.states[number], most, ended)
        texts = found.text.tobytes().decode(errors="replace").split("\n")[:-1]
        stops = np.cumsum(found.words).tolist()
        since, until = tuple(found.since.tolist()), tuple((found.until + 1).tolist())
        bonus = found.bonus
        if number > 0:
            hot = HotWords(graph.goto, graph.classes, graph.completed, graph.partial)
            bonus = np.array([paid(hot, text) for text in texts])
        score = found.acoustic + found.ngram @ graph.weights + bonus
        score += graph.word_bonus * found.words + graph.unknown * found.oov
        more = [
            *(
                (f"ngram{k + 1}", found.ngram[:, k].tolist())
                for k in range(1, found.ngram.shape[1])
            ),
            *([("hotwords", bonus.tolist())] if options.hotwords else []),
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
        scored = list(zip(score.tolist(), hypotheses, strict=True))
        # Different bytes that make no character are the same text; the best one is kept.
        return best_of(scored, (), most) if self.decoder.vocabulary.has_bytes else scored


def best_of(
    first: Sequence[tuple[float, Hypothesis]],
    second: Sequence[tuple[float, Hypothesis]],
    most: int,
) -> list[tuple[float, Hypothesis]]:
    """The best of two lists by score; of equal texts the better one, of equal scores the first."""
    kept: dict[str, tuple[float, Hypothesis]] = {}
    for score, hypothesis in (*first, *second):
        known = kept.get(hypothesis.text)
        if known is None or score > known[0]:
            kept[hypothesis.text] = (score, hypothesis)
    return sorted(kept.values(), key=lambda entry: -entry[0])[:most]


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
