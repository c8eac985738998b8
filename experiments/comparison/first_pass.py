"""The first pass, stage by stage, to disk and with progress bars: emissions, then N-best lists."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from asr.corpus import Utterance
from asr.decode import decode
from asr.emissions import Emissions, EmissionsMeta, EmissionsWriter
from asr.nbest import NbestWriter
from asr.options import Acoustic, DecoderOptions
from experiments.comparison.progress import progress, progress_over
from lm.errors import InputError, SecondpassError


@dataclass(frozen=True)
class Written:
    """What the acoustic stage did.

    Attributes:
        failures: Reason by utterance that failed.
        audio_seconds: Audio that was recognised.
    """

    failures: dict[str, str]
    audio_seconds: float


def write_emissions(
    folder: str | Path, utterances: list[Utterance], acoustic: Acoustic, label: str
) -> Written:
    """Audio to log-probs in a folder; utterances that fail are noted, the others continue."""
    from asr.acoustic import CTCModel  # torch takes seconds to import
    from asr.emit import emit

    model = CTCModel.load(acoustic.model, acoustic.device, acoustic.dtype)
    meta = EmissionsMeta(model.vocabulary, model.frame_seconds, model.name, acoustic.save_dtype)
    failures: dict[str, str] = {}
    frames = 0
    with EmissionsWriter(folder, meta) as writer:
        found = emit(model, utterances, acoustic.batch_seconds)
        for utt, result in progress_over(found, len(utterances), label, "utt"):
            if isinstance(result, SecondpassError):
                failures[utt] = str(result)
            else:
                writer.add(utt, result)
                frames += len(result)
    return Written(failures, frames * model.frame_seconds)


@dataclass(frozen=True)
class DecodeSummary:
    """What a first pass did.

    Attributes:
        failures: Reason by utterance that failed.
        utterances: number of utterances that were decoded.
        hypotheses: number of hypotheses in all lists.
        audio_seconds: length of their audio, seconds.
        seconds: Wall time, the loading of language models included.
    """

    failures: dict[str, str]
    utterances: int
    hypotheses: int
    audio_seconds: float
    seconds: float


def decode_to(
    path: Path, emissions: Emissions, options: DecoderOptions, workers: int | None, label: str
) -> DecodeSummary:
    """Decodes to an N-best table on disk, list by list.

    Raises:
        InputError: A language model is wrong, or not one utterance could be decoded.
    """
    begun, audio = time.perf_counter(), 0.0
    failures: dict[str, str] = {}
    meta = emissions.meta
    times = options.decoder == "beam"
    with (
        NbestWriter(path, meta.frame_seconds, options.more_columns, times) as writer,
        progress(len(emissions), label, "utt") as bar,
    ):
        for found in decode(emissions, options, workers):
            if found.hypotheses is None:
                failures[found.utt] = found.reason
            else:
                writer.add(found.utt, found.hypotheses)
                audio += found.frames * meta.frame_seconds
                factor = (time.perf_counter() - begun) / max(audio, meta.frame_seconds)
                bar.set_postfix_str(f"real-time factor {factor:.5f}", refresh=False)
            bar.update(1)
        if not writer.utterances and failures:
            reason = next(iter(failures.values()))
            raise InputError(f"{emissions.folder}: not one utterance could be decoded: {reason}")
    seconds = time.perf_counter() - begun
    return DecodeSummary(failures, writer.utterances, writer.hypotheses, audio, seconds)
