"""Machine code on disk is of the sources as they are."""

from __future__ import annotations

from pathlib import Path

from lm.jit import digest_of

KERNEL = "from lm.jit import kernel\n"


def test_the_digest_changes_with_every_file_of_kernels_at_any_depth(tmp_path: Path) -> None:
    nested = tmp_path / "asr" / "search" / "frames.py"
    plain = tmp_path / "lm" / "combine.py"
    for path, text in ((nested, KERNEL), (plain, "WEIGHT = 1\n")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    before = digest_of(tmp_path)
    plain.write_text("WEIGHT = 2\n")
    assert digest_of(tmp_path) == before  # nothing is compiled from it
    nested.write_text(KERNEL + "STEP = 2\n")
    changed = digest_of(tmp_path)
    assert changed != before
    nested.rename(nested.with_name("steps.py"))
    assert digest_of(tmp_path) not in (before, changed)
