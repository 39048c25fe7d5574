"""The page around an interactive picture: complete in itself, and usable in a narrow window."""

from __future__ import annotations

import html
from typing import Any

from landscape.plots.screen.dress import CONFIG

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: "Open Sans", verdana, arial, sans-serif; max-width: {width}px; margin: 1em auto; color: #2a3f5f; }}
.picture, .table {{ overflow-x: auto; }}
.notes {{ font-size: 14px; line-height: 1.5; margin: 0 1em 2em; }}
td, th {{ text-align: right; padding: 0.1em 0.6em; font-variant-numeric: tabular-nums; }}
td:first-child, th:first-child {{ text-align: left; padding-left: 0; }}
</style>
</head>
<body>
<div class="picture" tabindex="0">{figure}</div>
<div class="notes">{notes}</div>
</body>
</html>
"""


def page_around(figure: Any, title: str, notes: str = "") -> str:
    """A page that needs no network: plotly.js is in it. A picture wider than the window scrolls inside its frame.

    Args:
        figure: Of plotly.
        title: Of the page; it is escaped.
        notes: Markup below the picture.
    """
    body = figure.to_html(full_html=False, include_plotlyjs=True, include_mathjax=False, config=CONFIG)
    return _PAGE.format(title=html.escape(title), figure=body, notes=notes, width=int(figure.layout.width or 920))
