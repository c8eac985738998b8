"""Machine code on disk belongs to the present sources."""

from __future__ import annotations

from pathlib import Path

from lm.jit import digest_of

KERNEL = "from asr.options import STEP\nfrom lm.jit import kernel\n\n\n@kernel\ndef step(): ...\n"


def test_the_digest_changes_with_every_file_of_kernels_at_any_depth(tmp_path: Path) -> None:
    nested = tmp_path / "asr" / "search" / "frames.py"
    constants = tmp_path / "asr" / "options.py"
    plain = tmp_path / "lm" / "combine.py"
    files = ((nested, KERNEL), (constants, "STEP = 1\n"), (plain, "WEIGHT = 1\n"))
    for path, text in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    before = digest_of(tmp_path)
    plain.write_text("WEIGHT = 2\n")
    assert digest_of(tmp_path) == before  # nothing is compiled from it
    seen = {before}
    nested.write_text(KERNEL + "# changed\n")
    seen.add(digest_of(tmp_path))
    constants.write_text("STEP = 2\n")
    seen.add(digest_of(tmp_path))
    nested.rename(nested.with_name("steps.py"))
    seen.add(digest_of(tmp_path))
    assert len(seen) == 4
