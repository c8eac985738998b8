"""The first pass: audio to emissions to N-best lists.

from asr import CTCModel
model = CTCModel.load("facebook/wav2vec2-base-960h")
print(model.transcribe("call.wav"))
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
