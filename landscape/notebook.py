"""Progress for notebooks: one bar a stage, that stays when the stage is done; pass it as ``progress=progress``."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from landscape.errors import UserError
from landscape.progress import Advance

_SECONDS_BETWEEN = 0.2
"""A notebook's page should not be redrawn more often."""


@contextmanager
def progress(stage: str, total: int) -> Iterator[Advance]:
    """Show a stage as a bar in the cell that runs; see `landscape.progress.Progress`.

    Args:
        stage: Its name.
        total: Images in it.

    Raises:
        UserError: IPython is not installed, so that this is no notebook.
    """
    handle = _display(_bar(stage, 0, total, 0.0))
    start = shown = time.perf_counter()
    done = 0

    def advance(images: int) -> None:
        nonlocal done, shown
        done += images
        now = time.perf_counter()
        if handle is not None and now - shown > _SECONDS_BETWEEN:
            shown = now
            handle.update(_bar(stage, done, total, now - start))

    try:
        yield advance
    finally:
        last = _bar(stage, done, total, time.perf_counter() - start)
        if handle is not None:
            handle.update(last)
        else:
            print(last)


class _Bar:
    """What a cell shows: a bar in HTML, and a line where there is no HTML."""

    def __init__(self, markup: str, line: str) -> None:
        self._markup, self._line = markup, line

    def __repr__(self) -> str:
        return self._line

    def _repr_html_(self) -> str:
        return self._markup


def _bar(stage: str, done: int, total: int, seconds: float) -> _Bar:
    left = f", {seconds / done * (total - done):.0f} s left" if 0 < done < total else ""
    line = f"{stage}: {done:,} of {total:,} images, {seconds:.1f} s{left}"
    markup = f'<progress value="{done}" max="{max(total, 1)}" style="width: 16em"></progress> {html.escape(line)}'
    return _Bar(f"<div>{markup}</div>", line)


def _display(bar: _Bar) -> Any:
    """The shown bar, to be replaced; None outside a notebook, where only the end of a stage is told."""
    try:
        from IPython import display
    except ImportError:
        raise UserError("landscape.notebook needs IPython; pip install ipykernel, or leave progress out") from None
    from IPython.core.getipython import get_ipython

    if get_ipython() is None:
        return None
    show: Any = display.display
    return show(bar, display_id=True)
