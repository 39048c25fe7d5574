"""How long work tells of its progress: one small interface, silent unless somebody listens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], None]
"""Told how many images have been done since the last call."""

Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Called with the name of a stage and the number of images in it; the stage lasts as long as the context."""


def silent(stage: str, total: int) -> AbstractContextManager[Advance]:
    """Tells nobody."""
    return nullcontext(lambda images: None)
