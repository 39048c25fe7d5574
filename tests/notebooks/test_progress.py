"""Progress in notebooks, and what notebooks show of surfaces and searches."""

from __future__ import annotations

import pytest

from landscape.notebook import _bar, progress
from landscape.plots import trajectory_html
from tests.plots.searches import search


def test_outside_a_notebook_the_end_of_a_stage_is_told(capsys):
    pytest.importorskip("IPython")
    with progress("scan", 30) as advance:
        advance(10)
        advance(20)
    assert capsys.readouterr().out.startswith("scan: 30 of 30 images, ")


def test_a_bar_tells_how_long_it_will_take_and_escapes_its_name():
    bar = _bar("<scan>", 25, 100, 2.0)
    assert repr(bar) == "<scan>: 25 of 100 images, 2.0 s, 6 s left"
    markup = bar._repr_html_()
    assert '<progress value="25" max="100"' in markup and "&lt;scan&gt;" in markup


def test_a_trajectory_shows_start_best_cost_and_result():
    trajectory = search("evolq (released)")
    shown = trajectory._repr_html_()
    assert shown == trajectory_html(trajectory)
    assert "<b>evolq (released), seed 0</b>" in shown and "3,000 images" in shown
    assert "27.00000 &rarr; 26." in shown and "69.00 &rarr; 70.00 %" in shown
    assert "not finished" in search(finished=False)._repr_html_()
    assert "&lt;b&gt;" in search("<b>")._repr_html_()
