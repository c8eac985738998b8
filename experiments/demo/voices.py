"""The synthetic speakers of the demo: who trains the acoustic model, who tunes, who tests.

A speaker is one of espeak-ng's English accents with one of its voice variants (the vocal tract and
the manner of speaking). No variant is in two of the three sets, so training does not hear the
test speakers, as far as this is possible with a formant synthesiser. Variants that are near copies
of a dev or test variant (`Mike` of `m3`, `aunty` of `f4`, `gustave` of `Michael`) are in no set.
Variants that whisper, echo or sound like robots are in no set either.
"""

from __future__ import annotations

from dataclasses import dataclass

from lm.errors import InputError

RATES = (80, 450)  # words per minute that espeak-ng accepts
PITCHES = (0, 99)

ACCENTS = (
    "en",  # Great Britain; espeak-ng has no voice of the name en-gb
    "en-us",
    "en-us-nyc",
    "en-gb-x-rp",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
)


@dataclass(frozen=True)
class Voice:
    """One way of speaking.

    Attributes:
        accent: Voice of espeak-ng, one of `ACCENTS`.
        variant: Voice variant of espeak-ng, a file name in its `voices/!v`.
        rate: Words a minute, 80 to 450.
        pitch: Pitch from 0 to 99, relative to the variant's own pitch, which is 50.
    """

    accent: str
    variant: str
    rate: int = 170
    pitch: int = 50

    def __post_init__(self) -> None:
        if self.accent not in ACCENTS:
            raise InputError(f"unknown accent {self.accent!r}; choose one of {', '.join(ACCENTS)}")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise InputError(
                f"rate {self.rate} of {self.name}: give {RATES[0]} to {RATES[1]} words a minute"
            )
        if not PITCHES[0] <= self.pitch <= PITCHES[1]:
            raise InputError(
                f"pitch {self.pitch} of {self.name}: give {PITCHES[0]} to {PITCHES[1]}"
            )

    @property
    def name(self) -> str:
        """espeak-ng's name of the speaker; rate and pitch do not make another speaker."""
        return f"{self.accent}+{self.variant}"


# Each woman has more accents than each man, because espeak-ng has far fewer female variants.
TRAIN_WOMEN = ("f1", "f3", "belinda", "anika", "steph", "steph2", "Andrea", "grandma")
TRAIN_MEN = (
    *("m1", "m2", "m5", "m7", "m8", "Alex", "Gene", "pedro", "john", "grandpa", "ed", "rob"),
    *("Nguyen", "robert", "victor", "pablo", "edward", "adam", "Diogo", "Andy"),
)
ACCENT_CYCLE = (
    *("en-us", "en", "en-gb-x-rp", "en-us", "en-gb-scotland", "en-us-nyc"),
    *("en", "en-gb-x-gbclan", "en-us", "en-029", "en-gb-x-gbcwmd"),
)


def _spread(variants: tuple[str, ...], accents: int) -> tuple[Voice, ...]:
    """Gives each variant `accents` accents; steps of two never give the same accent twice."""
    return tuple(
        Voice(ACCENT_CYCLE[(index + 2 * turn) % len(ACCENT_CYCLE)], variant)
        for index, variant in enumerate(variants)
        for turn in range(accents)
    )


TRAIN_VOICES: tuple[Voice, ...] = _spread(TRAIN_WOMEN, 3) + _spread(TRAIN_MEN, 2)
DEV_VOICES: tuple[Voice, ...] = (
    Voice("en-us", "m4", rate=165, pitch=50),
    Voice("en", "f5", rate=175, pitch=45),
    Voice("en-gb-x-rp", "Mario", rate=155, pitch=55),
    Voice("en-us-nyc", "linda", rate=165, pitch=40),
)
TEST_VOICES: tuple[Voice, ...] = (
    Voice("en-us", "m3", rate=170, pitch=50),
    Voice("en-us", "f2", rate=160, pitch=50),
    Voice("en", "m6", rate=180, pitch=45),
    Voice("en-gb-x-rp", "f4", rate=165, pitch=50),
    Voice("en-gb-scotland", "Michael", rate=155, pitch=55),
    Voice("en-gb-x-gbclan", "Annie", rate=170, pitch=40),
)
