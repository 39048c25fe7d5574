"""What all tests share: one thread each, repeatable property tests, and the way to real networks and images."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Before torch is imported anywhere: test processes run side by side, and the networks here are too small to share out.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts what runs in the background. The programs that tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

_DEFAULT_SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real networks and images; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("LANDSCAPE_SHARED_DATA", _DEFAULT_SHARED_DATA))
    if not folder.is_dir():
        pytest.skip(f"no real networks and images: {folder} is no folder, set LANDSCAPE_SHARED_DATA to one")
    return folder
