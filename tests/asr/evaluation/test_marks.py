"""NIST's marks: alternatives and optional words, counted as sclite counts them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from asr.evaluation.alignment import Alignment, WordIds, align, readings, right_words, word_pairs
from asr.evaluation.marks import DEEPEST, MarkError, normalised, parse, plain, written
from asr.evaluation.significance import mapsswe, segments
from asr.evaluation.wer import ErrorRate, row_errors
from lm.text.normalisers import normaliser
from tests.support.sctk import matched_pairs, needs_sctk, paths, sgml

KINDS = "CSDIC"


def counted(reference: str, hypothesis: str) -> tuple[int, int, int, int]:
    words = WordIds("sclite")
    return words.counts(words.encode(reference, reference=True), words.encode(hypothesis))


def alternatives(rng: random.Random, depth: int, reference: bool) -> str:
    texts = [
        rng.choice(["@", marked(rng, rng.randint(1, 3), depth + 1, reference)])
        for _ in range(rng.randint(1, 3))
    ]
    return "{ " + " / ".join(texts) + " }"


def marked(rng: random.Random, size: int, depth: int, reference: bool) -> str:
    """Random words and marks, alternatives up to three deep."""
    found = []
    for _ in range(size):
        drawn, word = rng.random(), rng.choice("abcde")
        if drawn < 0.2 and depth < 3:
            found.append(alternatives(rng, depth, reference))
        elif drawn < 0.35 and reference:
            found.append(f"({word})")
        elif drawn < 0.43 and reference:
            found.append(rng.choice(["a-", "@"]))
        else:
            found.append(word)
    return " ".join(found)


@needs_sctk
@pytest.mark.parametrize("seed", range(3))
def test_every_place_of_random_marked_texts_is_as_in_sclite(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    references = [marked(rng, rng.randint(1, 8), 0, True) for _ in range(1000)]
    hypotheses = [marked(rng, rng.randint(1, 8), 3 * (n % 3), False) for n in range(1000)]
    expected = paths(sgml(references, hypotheses, tmp_path, "marked", "-D"), 1000)
    words = WordIds("sclite")
    pairs = zip(references, hypotheses, strict=True)
    found = [words.path(words.encode(r, reference=True), words.encode(h)) for r, h in pairs]
    assert ["".join(KINDS[kind] for kind in path) for path in found] == expected


@needs_sctk
def test_long_marked_texts_are_aligned_in_blocks_as_in_sclite(tmp_path: Path) -> None:
    rng = random.Random(4)
    references, hypotheses = [marked(rng, 1500, 0, True)], [marked(rng, 2200, 3, False)]
    expected = paths(sgml(references, hypotheses, tmp_path, "long", "-D"), 1)
    words = WordIds("sclite")
    path = words.path(words.encode(references[0], reference=True), words.encode(hypotheses[0]))
    assert ["".join(KINDS[kind] for kind in path)] == expected


@needs_sctk
def test_matched_pairs_with_optional_words_are_sc_stats(tmp_path: Path) -> None:
    rng = random.Random(1)
    references: list[str] = []
    systems: tuple[list[str], list[str]] = ([], [])
    for _ in range(150):
        words = rng.choices("abcdef", k=rng.randint(3, 20))
        references.append(" ".join(f"({w})" if rng.random() < 0.15 else w for w in words))
        for hypotheses, rate in zip(systems, (0.1, 0.2), strict=True):
            said = [w if rng.random() > rate else rng.choice("abcdef") for w in words]
            hypotheses.append(" ".join(w for w in said if rng.random() > rate) or "g")
    found = matched_pairs(
        {str(n): sgml(references, h, tmp_path, f"s{n}", "-D") for n, h in enumerate(systems)},
        tmp_path,
    )
    ours = mapsswe(*(align(references, hypotheses, "sclite") for hypotheses in systems))
    assert ours.segments == found.segments
    assert ours.mean == pytest.approx(found.mean, abs=6e-4)
    assert ours.z == pytest.approx(found.z, abs=6e-4)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("i've { um / uh / @ } as far", "i've as far", (3, 0, 0, 0)),
        ("i've { um / uh / @ } as far", "i've uh as far", (4, 0, 0, 0)),
        ("i've {um/uh} as far", "i've as far", (3, 0, 1, 0)),
        ("i've { um / uh } as far", "i've hm as far", (3, 1, 0, 0)),
        ("a { b c / { d / e f } g } h", "a e f g h", (5, 0, 0, 0)),
        ("a { b c / { d / e f } g } h", "a d x h", (3, 1, 0, 0)),
        ("i am a (farmer) now", "i am a now", (5, 0, 0, 0)),
        ("i am a (farmer) now", "i am a farmer now", (5, 0, 0, 0)),
        ("i am a (farmer) now", "i am a former now", (4, 1, 0, 0)),
        ("wor- the end", "word the end", (2, 1, 0, 0)),
        ("@", "", (0, 0, 0, 0)),
        ("{ a / @ }", "", (0, 0, 0, 0)),
        ("{ a / @ }", "b", (0, 0, 0, 1)),
        ("", "a b", (0, 0, 0, 2)),
        ("(uh)", "", (1, 0, 0, 0)),
        ("a / b", "a b", (2, 0, 1, 0)),
        ("a b", "a { x / b }", (2, 0, 0, 0)),
        ("(he said) so", "he said so", (1, 2, 0, 0)),  # brackets around one word only are marks
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, counts: tuple[int, int, int, int]) -> None:
    assert counted(reference, hypothesis) == counts
    table = pd.DataFrame({"utt": ["u"], "text": [hypothesis]})
    rows = row_errors(table, {"u": reference}, "sclite")
    assert ErrorRate.total(rows) == ErrorRate(*counts)


def test_best_of_all_readings_by_brute_force() -> None:
    rng = random.Random(7)
    for _ in range(150):
        reference = marked(rng, rng.randint(1, 4), 1, False)
        hypothesis = " ".join(rng.choices("abcde", k=rng.randint(0, 5)))
        costs = []
        for reading in all_readings(reference):
            _, wrong, missing, more = counted(reading, hypothesis)
            costs.append(4 * wrong + 3 * (missing + more))
        _, wrong, missing, more = counted(reference, hypothesis)
        assert 4 * wrong + 3 * (missing + more) == min(costs), (reference, hypothesis)


def all_readings(text: str) -> list[str]:
    """Every choice of alternatives, by replacing the innermost first."""
    if "{" not in text:
        return [" ".join(word for word in text.split() if word != "@")]
    end = text.index("}")
    start = text.rindex("{", 0, end)
    options = text[start + 1 : end].split("/")
    return [r for one in options for r in all_readings(text[:start] + one + text[end + 1 :])]


def test_pairs_and_right_words() -> None:
    reference, hypothesis = "a { b / c d } (e) f", "a c x f g"
    assert word_pairs(reference, hypothesis, "sclite") == [
        *(("a", "a"), ("c", "c"), ("d", "x"), ("f", "f")),
        (None, "g"),
    ]
    right = right_words([reference], [hypothesis], "sclite")
    assert right.tolist() == [True, True, False, True, False]
    assert readings(reference, hypothesis, "sclite") == ("a c d f", hypothesis)
    assert readings(reference, hypothesis) == (reference, hypothesis)


def test_alternatives_are_one_place_of_the_alignment() -> None:
    (found,) = align(["a { b / c d } e"], ["x a c e f"], "sclite")
    assert found.wrong.tolist() == [0, 1, 0]
    assert found.inserted.tolist() == [1, 0, 0, 1]
    assert found.right is not None and found.right.tolist() == [1, 1, 1]
    (inside,) = align(["a { b c / d }"], ["a b x c"], "sclite")
    assert inside.wrong.tolist() == [0, 1] and inside.inserted.sum() == 0


def test_segments_do_not_need_the_same_alternatives() -> None:
    references = ["a { b / c d / @ } e f", "g (h) i"]
    ours = align(references, ["a c d e f", "g i"], "sclite")
    theirs = align(references, ["a e x", "g h j"], "sclite")
    found = [segments(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert found == [[(0, 1)], [(0, 1)]]
    assert mapsswe(ours, theirs).segments == 2


def test_a_plain_alignment_is_that_of_its_lattice() -> None:
    rng = random.Random(9)
    for _ in range(200):
        reference, hypothesis = (
            " ".join(rng.choices("abc", k=rng.randint(1, 7))) for _ in range(2)
        )
        (plainly,) = align([reference], [hypothesis], "sclite")
        # Alternatives that are never chosen make a lattice of the same text.
        (lattice,) = align([reference + " { z / @ }"], [hypothesis + " z"], "sclite")
        assert isinstance(lattice, Alignment)
        assert np.array_equal(lattice.wrong[:-1] > 0, plainly.wrong)
        assert lattice.inserted.tolist() == [*plainly.inserted, 0]


@pytest.mark.parametrize(
    "text",
    ["{ a / b", "a } b", "{ a / } b", "{ / a }", "{ }", "a{b/c}", "{ a { b } / c", "{" * 9],
)
def test_marks_that_are_not_complete(text: str) -> None:
    with pytest.raises(MarkError):
        parse(text)
    assert plain(text) == text
    hits, wrong, missing, _ = counted(text, "a")
    assert hits + wrong + missing == len(text.split())  # they are words


def test_deep_alternatives() -> None:
    deep = "{ " * DEEPEST + "a" + " }" * DEEPEST
    assert counted(deep, "a") == (1, 0, 0, 0)
    with pytest.raises(MarkError, match="more than 50"):
        parse("{ " * 5000 + "a" + " }" * 5000)


def test_any_text_is_read_or_refused() -> None:
    rng = random.Random(11)
    for _ in range(3000):
        text = "".join(rng.choices("ab {}/@()*", k=rng.randint(0, 14)))
        try:
            found = parse(text)
        except MarkError:
            continue
        if found is not None:
            assert parse(written(found)) in (found, None)
        counted(text, "a b")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("librispeech", "I've {um/uh/@} as far (uh)", "I'VE { UM / UH / @ } AS FAR (UH)"),
        ("librispeech", "{ Mr. / Mister } Smith", "MISTER SMITH"),
        ("librispeech", "{ e-mail / mail } (e-mail)", "{ E MAIL / MAIL } (E) (MAIL)"),
        ("librispeech", "{ 5 / five } cats", "FIVE CATS"),
        ("librispeech", "{ -- / well }, so", "{ @ / WELL } SO"),
        ("sentence", "he { um / uh } thought", "He { um / uh } thought"),
        ("lower+stop", "he { um / uh } thought", "he { um / uh } thought."),
        ("whisper", "it is { twenty five / 25 } years", "it is 25 years"),
        ("none", "no marks here", "no marks here"),
        ("none", "said* (so)", "said* (so)"),
    ],
)
def test_normalisers_change_words_and_never_marks(name: str, text: str, expected: str) -> None:
    assert normalised(text, normaliser(name)) == expected


def test_marks_are_written_with_spaces() -> None:
    text = written(parse("a {b/{c/@} d} (e)") or ())
    assert text == "a { b / { c / @ } d } (e)"
    assert plain(text) == "a b e"
