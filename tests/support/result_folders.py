"""Results folders of random lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from asr.nbest import Hypothesis, build_nbest
from experiments.comparison.counting import Counting
from experiments.comparison.evaluation import ScoredSplit, evaluate
from experiments.comparison.references import References, hypotheses_of
from experiments.comparison.system import System, resolve
from experiments.comparison.tuning import Decision
from experiments.results import TABLES, write_results
from lm.rerank.confidence import Calibration
from lm.rerank.decision import Trust

# Words that stand nowhere else in a report, so that a search for them tells.
VOCABULARY = ("ZQALPHA", "ZQBRAVO", "ZQCHARLIE", "ZQDELTA", "ZQECHO", "ZQFOXTROT")
HOSTILE = "<script>alert(1)</script> </script><!-- & \"ZQ' <img/src=x/onerror=alert(2)>"
AUDIO_SECONDS = 0.75
SPEAKERS = ("ann", "<b>bob</b>", '<a href="http://example.org">eve</a>')
COUNTING = Counting(resamples=50)
WEIGHTS = {"acoustic": 1.0, "llm": 0.6, "words": -0.3}
TRUST = Trust(4.0, Calibration(0.8, 0.3))
DECISIONS = {"first-pass": Decision(), "weighted": Decision(WEIGHTS, trust=TRUST)}
SYSTEMS = {"first-pass": System("beam"), "weighted": System("beam", weights=WEIGHTS)}


def random_results(
    folder: Path,
    seed: int = 0,
    utterances: int = 12,
    hypotheses: int = 6,
    counting: Counting = COUNTING,
) -> Path:
    """A results folder with all that it may hold: splits `dev` and `test`, two systems.

    The references do not depend on the seed. One reference of `test`, its hypotheses, and a tag's
    values are markup that must stay text.
    """
    summaries, details, lists, tokens = [], [], [], []
    for number, split in enumerate(("dev", "test")):
        references = random_references(np.random.default_rng(number), split, utterances)
        rng = np.random.default_rng([seed, number])
        table = random_lists(rng, references, hypotheses)
        if split == "test":
            first = f"{split}-0000"
            references[first] = HOSTILE
            table.loc[table["utt"] == first, "text"] = HOSTILE.replace("alert(1)", "alert(3)")
        tags = pd.DataFrame(
            {
                "tag.speaker": [SPEAKERS[i % len(SPEAKERS)] for i in range(utterances)],
                "tag.name": [f"name{i}" for i in range(utterances)],
            },
            index=pd.Index(references, name="utt"),
        )
        truth = References(references, counting)
        scored = ScoredSplit(split, {"beam": table}, truth, tags)
        found = evaluate(scored, resolve(SYSTEMS), DECISIONS)
        summaries.append(found.systems)
        details.append(found.utterances)
        lists.append(hypotheses_of(split, "beam", table, truth))
        for utt, text in found.utterances[["utt", "hyp"]].drop_duplicates().to_numpy():
            pieces = [(f" {word}", float(-rng.random() * 9)) for word in text.split()]
            tokens.append(token_rows(split, "llm", utt, text, pieces))
    config = {
        "name": "random",
        "dev": ["dev"],
        "alignment": counting.alignment,
        "systems": {name: {"lists": system.lists} for name, system in SYSTEMS.items()},
        "first_passes": {"beam": {"beam_width": 8, "hotwords": {"SECRETHOTWORD": 2.0}}},
    }
    meta = {"config": config, "stage_seconds": {"test": {"decode.beam": 1.5}}}
    rows = pd.concat(details, ignore_index=True)
    (folder / "audio").mkdir(parents=True)
    sound = np.zeros(int(16_000 * AUDIO_SECONDS), dtype=np.float32)
    soundfile.write(folder / "audio" / "speech.wav", sound, 16_000)
    audio = rows["utt"].map({"test-0001": "audio/speech.wav", "test-0002": "gone.wav"})
    systems = pd.concat(summaries, ignore_index=True)
    tables = {
        "systems": systems,
        "utterances": rows.assign(audio=audio),
        "hypotheses": pd.concat(lists, ignore_index=True),
        "pieces": pd.concat(tokens, ignore_index=True),
    }
    write_results(folder, tables, meta)
    return folder


def random_references(rng: np.random.Generator, split: str, utterances: int) -> dict[str, str]:
    """Texts of random words by utterance."""
    return {
        f"{split}-{i:04d}": " ".join(rng.choice(VOCABULARY, int(rng.integers(3, 16))))
        for i in range(utterances)
    }


def random_lists(
    rng: np.random.Generator, references: Mapping[str, str], hypotheses: int
) -> pd.DataFrame:
    """N-best lists of references with words changed; scores loosely follow the errors."""
    lists: dict[str, list[Hypothesis]] = {}
    for utt, reference in references.items():
        found = []
        for _ in range(hypotheses):
            words = [w for w in reference.split() if rng.random() > 0.08]
            words = [w if rng.random() > 0.1 else str(rng.choice(VOCABULARY)) for w in words]
            wrong = sum(a != b for a, b in zip(words, reference.split(), strict=False))
            found.append(Hypothesis(" ".join(words), -float(wrong + rng.random() * 4)))
        lists[utt] = sorted(found, key=lambda h: -h.acoustic)
    table = build_nbest(lists)
    table["llm"] = -4.0 * table["words"] - rng.random(len(table)) * 8
    table.loc[rng.random(len(table)) < 0.05, "llm"] = -np.inf
    return table.assign(**{"llm.tokens": table["words"] + 1})


def sweep_results(folder: Path, widths: Sequence[int]) -> Path:
    """A sweep over the beam width, as one folder."""
    key = "sweep.first_passes.beam.beam_width"
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for seed, width in enumerate(widths):
        part = random_results(folder.with_name(f"{folder.name}-{width}"), seed)
        for name, parts in tables.items():
            parts.append(pd.read_parquet(part / f"{name}.parquet").assign(**{key: width}))
    meta = json.loads((part / "meta.json").read_text(encoding="utf-8"))
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    write_results(folder, joined, meta)
    return folder


def token_rows(
    split: str, column: str, utt: str, text: str, tokens: Sequence[tuple[str, float]]
) -> pd.DataFrame:
    """Rows of `pieces.parquet` for one text."""
    return pd.DataFrame(
        {
            "split": split,
            "column": column,
            "utt": utt,
            "text": text,
            "position": np.arange(len(tokens)),
            "piece": [piece for piece, _ in tokens],
            "logprob": [logprob for _, logprob in tokens],
        }
    )
