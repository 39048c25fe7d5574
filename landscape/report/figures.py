"""Figures of plotly inside a page."""

from __future__ import annotations

import json
from typing import Any

import plotly.io as pio


def plain_figure(figure: Any) -> Any:
    """A figure of plotly as plain data, as wide as its place on the page and without the title that the page writes."""
    figure.update_layout(title=None, width=None, margin_t=30, autosize=True)
    figure.layout.template = None  # 7 kB of defaults that the page has itself
    return json.loads(str(pio.to_json(figure, validate=False)))
