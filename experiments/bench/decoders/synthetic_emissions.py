"""Emissions made from text: what a CTC model might give for a sentence, from peaky to noisy.

A small generative model with known posteriors takes the place of an acoustic model. The labels of a
sentence are placed over the frames, with blanks between them. Each label is heard as its position
in a space of articulation plus Gaussian noise; some words have more noise than others. The
log-probs are the posteriors of that model. So labels that sound or are spelled alike are confused,
and a noisier sound is less certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from asr.vocabulary import WORD_START, Vocabulary
from lm.errors import InputError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
FRAME_SECONDS = 0.02

# Vowel: openness and backness. Consonant: place (lips 0 to throat 1), stop, fricative, nasal,
# liquid, voice. After the chart of the International Phonetic Association; a letter has its most
# frequent sound.
VOWELS = {"A": (1.0, 0.5), "E": (0.6, 0.1), "I": (0.2, 0.0), "O": (0.6, 0.9), "U": (0.2, 0.9)} | {
    "Y": (0.1, 0.2)
}
CONSONANTS = {
    "B": (0.0, 1, 0, 0, 0, 1),
    "C": (0.7, 1, 0.5, 0, 0, 0),
    "D": (0.4, 1, 0, 0, 0, 1),
    "F": (0.1, 0, 1, 0, 0, 0),
    "G": (0.8, 1, 0, 0, 0, 1),
    "H": (1.0, 0, 1, 0, 0, 0),
    "J": (0.5, 0.7, 0.7, 0, 0, 1),
    "K": (0.8, 1, 0, 0, 0, 0),
    "L": (0.4, 0, 0, 0, 1, 1),
    "M": (0.0, 0, 0, 1, 0, 1),
    "N": (0.4, 0, 0, 1, 0, 1),
    "P": (0.0, 1, 0, 0, 0, 0),
    "Q": (0.9, 1, 0, 0, 0, 0),
    "R": (0.5, 0, 0, 0, 1, 1),
    "S": (0.4, 0, 1, 0, 0, 0),
    "T": (0.4, 1, 0, 0, 0, 0),
    "V": (0.1, 0, 1, 0, 0, 1),
    "W": (0.0, 0, 0, 0, 0.7, 1),
    "X": (0.6, 0.5, 1, 0, 0, 0),
    "Z": (0.4, 0, 1, 0, 0, 1),
}
IDENTITY = 1.0  # distance of letters that sound the same, divided by √2
SLOTS = 4  # positions of a piece: three single letters, and all further letters together
SPREAD = 1.25  # standard deviation of the log-odds against the blank
UNEVENNESS = 0.4  # standard deviation of the noise's logarithm between words
FLOOR = 1e-7  # probability that is added to every label in every frame


@dataclass(frozen=True)
class Channel:
    """How well a sentence is heard.

    Attributes:
        noise: Standard deviation of the noise; similar letters have a distance of about 1.
        certainty: Mean log-odds of a label against the blank in its own frame, natural log.
        leak: The same in the frames between labels.
        repeats: Probability that a label lasts one more frame.
    """

    noise: float
    certainty: float
    leak: float
    repeats: float = 0.2


# Greedy decoding has a WER of about 5, 15 and 30 %. Certainty and leak are chosen so that a frame
# has as many likely labels as in the emissions of real models with such WERs.
CHANNELS = {
    "characters": {
        "peaky": Channel(0.185, 6.0, -7.0),
        "middle": Channel(0.242, 4.5, -5.5),
        "noisy": Channel(0.298, 3.0, -4.0),
    },
    "pieces": {
        "peaky": Channel(0.182, 6.0, -7.0),
        "middle": Channel(0.245, 4.5, -5.5),
        "noisy": Channel(0.322, 3.0, -4.0),
    },
}


def character_vocabulary() -> Vocabulary:
    """29 characters: blank, word delimiter, 26 letters and the apostrophe."""
    return Vocabulary.from_labels(["<pad>", "|", *LETTERS], blank=0)


@dataclass(frozen=True)
class Units:
    """A vocabulary and how a sentence is spelled with it.

    Attributes:
        vocabulary: Labels of the V columns.
        tokenizer: Cuts words into pieces; None for characters.
    """

    vocabulary: Vocabulary
    tokenizer: Tokenizer | None = None

    @classmethod
    def characters(cls) -> Units:
        """The 29 characters."""
        return cls(character_vocabulary())

    @classmethod
    def pieces(cls, sentences: Iterable[str], size: int) -> Units:
        """A vocabulary of byte-pair pieces, blank last (Sennrich et al. 2016).

        A letter at the start of a word is a separate letter, so no piece is a bare `▁`. pyctcdecode
        takes such a piece for a word start in any beam that gets the next piece.

        Args:
            sentences: Text in capitals from which the pieces are estimated.
            size: Number of columns V.
        """
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        alphabet = [*LETTERS, *map(_starting, LETTERS)]
        trainer = trainers.BpeTrainer(
            vocab_size=size - 1, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(map(_mark_starts, sentences), trainer)
        pieces = tokenizer.get_vocab()
        labels = [_piece(text) for text in sorted(pieces, key=pieces.__getitem__)]
        return cls(Vocabulary.from_labels([*labels, "<blank>"], blank=len(labels)), tokenizer)

    def spelled(self, sentence: str) -> list[str]:
        """Labels of a sentence."""
        return [self.vocabulary.labels[i] for i in self.spell(sentence)]

    def spell(self, sentence: str) -> list[int]:
        """Label ids of a sentence.

        Raises:
            InputError: It has other characters than letters and apostrophes.
        """
        words = sentence.split()
        strange = sorted(set("".join(words)) - set(LETTERS))
        if strange:
            raise InputError(f"{sentence!r} has {' '.join(strange)}; use --normaliser librispeech")
        if self.tokenizer is None:
            ids = {label: i for i, label in enumerate(self.vocabulary.labels)}
            return [ids[letter] for letter in "|".join(words)]
        return list(self.tokenizer.encode(_mark_starts(" ".join(words))).ids)


def _starting(letter: str) -> str:
    return '"' if letter == "'" else letter.lower()


def _mark_starts(sentence: str) -> str:
    return " ".join(_starting(word[0]) + word[1:] for word in sentence.split())


def _piece(text: str) -> str:
    start = text[0] == '"' or text[0].islower()
    return (WORD_START if start else "") + text.replace('"', "'").upper()


def positions(vocabulary: Vocabulary) -> np.ndarray:
    """Positions of the labels in the space of articulation, (V, D); the blank's row is not used."""
    letters = {letter: _articulation(i, letter) for i, letter in enumerate(LETTERS)}
    width = len(letters["A"])
    found = np.zeros((len(vocabulary.labels), SLOTS * width + 1))
    for row, label in enumerate(vocabulary.labels):
        if row in vocabulary.special:
            continue
        if label == vocabulary.word_delimiter:
            found[row, -1] = (
                2.0  # a word boundary is rarely confused with a letter; it is more often missed
            )
            continue
        spelled = [letters[letter] for letter in label.removeprefix(WORD_START)]
        for slot, heard in enumerate([*spelled[: SLOTS - 1], *_rest(spelled)]):
            found[row, slot * width : (slot + 1) * width] = heard
        found[row, -1] = float(label.startswith(WORD_START))
    return found


def _rest(spelled: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The letters after the first three, heard as one."""
    return [np.sum(spelled[SLOTS - 1 :], axis=0)] if len(spelled) >= SLOTS else []


def _articulation(index: int, letter: str) -> np.ndarray:
    """Features of a letter, (D,): its sound and its identity."""
    identity = np.zeros(len(LETTERS))
    identity[index] = IDENTITY
    vowel = (1.0, *VOWELS[letter]) if letter in VOWELS else (0.0, 0.0, 0.0)
    return np.array([*vowel, *CONSONANTS.get(letter, (0.0,) * 6), *identity])


def synthesise(
    ids: Sequence[int],
    vocabulary: Vocabulary,
    channel: Channel,
    frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """CTC log-probs of a sentence: (T, V) float32, natural log, normalised over V.

    Args:
        ids: Labels of the sentence, without blanks.
        vocabulary: Labels of the V columns.
        channel: How well the sentence is heard.
        frames: Number of frames T.
        rng: Generator of all random numbers.

    Raises:
        InputError: The labels and the blanks between equal ones do not fit into the frames.
    """
    space = positions(vocabulary)
    starts = _starts(ids, frames, rng)
    # The label that a frame belongs to, and its log-odds against the blank.
    owner = np.clip(np.searchsorted(starts, np.arange(frames), side="right") - 1, 0, None)
    odds = rng.normal(channel.leak, SPREAD, frames)
    odds[starts] = rng.normal(channel.certainty, SPREAD, len(ids))
    room = np.diff(starts, append=frames)
    lasting = starts[(rng.random(len(ids)) < channel.repeats) & (room > 2)]
    odds[lasting + 1] = rng.normal(channel.certainty, SPREAD, len(lasting))

    # Errors come in clusters: whole words are badly heard.
    words = _words(ids, vocabulary)
    noise = channel.noise * np.exp(rng.normal(0.0, UNEVENNESS, words[-1] + 1))[words]
    # One sound for a label, so that its frames confuse it with the same labels.
    heard = space[ids] + noise[:, None] * rng.normal(size=(len(ids), space.shape[1]))
    x = heard[owner] + 0.3 * noise[owner, None] * rng.normal(size=(frames, space.shape[1]))
    distance = (x**2).sum(1)[:, None] - 2 * x @ space.T + (space**2).sum(1)[None]
    # What is heard has both noises, so the posterior has the sum of their variances.
    scores = -distance / (2 * (1 + 0.3**2) * noise[owner, None] ** 2)
    scores[:, list(vocabulary.special)] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    label = np.exp(scores)
    label /= label.sum(axis=1, keepdims=True)
    weight = 1 / (1 + np.exp(-odds))
    probs = weight[:, None] * label
    probs[:, vocabulary.blank] += 1 - weight
    probs += FLOOR
    return np.log(probs / probs.sum(axis=1, keepdims=True)).astype(np.float32)


def _words(ids: Sequence[int], vocabulary: Vocabulary) -> np.ndarray:
    """Number of each label's word, (L,), from 0."""
    labels = [vocabulary.labels[i] for i in ids]
    delimiter = vocabulary.word_delimiter
    starts = [
        label.startswith(WORD_START) if delimiter is None else label == delimiter
        for label in labels
    ]
    numbers = np.cumsum(starts)
    return numbers - numbers[0]


def _starts(ids: Sequence[int], frames: int, rng: np.random.Generator) -> np.ndarray:
    """The first frame of each label, (L,) ascending; a blank fits between equal neighbours."""
    least = 1 + (np.diff(ids, append=-1) == 0)  # frames until the next label
    spare = frames - int(least.sum())
    if spare < 0:
        raise InputError(f"{len(ids)} labels need {least.sum()} frames, there are {frames}")
    shares = rng.gamma(3.0, size=len(ids) + 1)  # of silence before, between and after
    ends = np.floor(np.cumsum(shares) / shares.sum() * spare).astype(np.int64)
    starts: np.ndarray = ends[:-1] + np.cumsum(least) - least
    return starts
