"""A run to write to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from landscape.store import RunStore
from tests.store.points import SETTINGS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.create(tmp_path / "run", SETTINGS) as opened:
        yield opened
