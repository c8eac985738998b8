"""Fixtures that several test modules need."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from tests.support.data import PROJECT

# Processes that share the processors, each with a thread for each of them, only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell without job control starts background jobs with SIGINT ignored, which Ctrl-C tests need.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Scores of other runs, perhaps by other code, must not reach a test.
os.environ["SECONDPASS_SCORES"] = str(Path(tempfile.mkdtemp(prefix="scores")) / "scores.sqlite")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; the test is skipped where it is missing."""
    folder = Path(os.environ.get("SECONDPASS_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real data: {folder} is missing (set SECONDPASS_DATA)")
    return folder
