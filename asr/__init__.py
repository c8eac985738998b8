"""The first pass: audio to emissions to N-best lists.

from asr import CTCModel
model = CTCModel.load("facebook/wav2vec2-base-960h")
print(model.transcribe("call.wav"))

In the order in which data pass:

corpus            utterances: manifests, tables, LibriSpeech folders, folders of audio
audio             files as arrays, resampled; noise
acoustic          CTC models: audio to log-probs
vocabulary        what the columns of log-probs stand for
emit              log-probs of many utterances, in batches
emissions         a folder of log-probs on disk
log_probs         log-probs before they are decoded: checked, normalised
options           settings of the decoders
decode            emissions to N-best lists, by any decoder, on all processors
greedy            decoder: the best path
beam              decoder: prefix beam search with n-gram models and hot words
pyctcdecode_beam  decoder: pyctcdecode's beam search with KenLM
hypothesis        one hypothesis of an utterance
nbest             a table of N-best lists on disk
forward           exact CTC log-probs of texts, over all paths
seq2seq           log-probs of texts given audio, by encoder-decoder models
acoustic_rescore  the scores of the two modules above as columns of an N-best table

loading/          what audio files and checkpoints say of themselves
search/           the beam search's compiled parts
formats/          N-best lists and transcripts of other systems
evaluation/       word errors and their significance
training/         training of acoustic models
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.acoustic import CTCModel

__all__ = ["CTCModel"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, which commands without an acoustic model should not wait for.
    if name == "CTCModel":
        from asr.acoustic import CTCModel

        return CTCModel
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
