"""One picture of each kind against a stored one: small, grey, and compared loosely, so that fonts do not matter.

After a wanted change, UPDATE_PICTURES=1 pytest tests/plots/test_images.py stores new ones; look at the real ones first.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from landscape.plots.kinds import KINDS, make_picture
from landscape.plots.options import PlotOptions
from landscape.plots.paper.animation import draw_frame
from landscape.plots.sources import open_source
from tests.plots.searches import search, stored
from tests.plots.studies import curvature_report, reliability_report
from tests.plots.test_kinds import NEEDS
from tests.report.runs import stored_scan

STORED = Path(__file__).parent / "pictures"
SIZE = (96, 72)
DRAWN = [kind for kind in KINDS if kind != "vtk"]
NEAR = 0.03
"""Mean absolute difference of grey values, of 1; other fonts make about 0.01, another kind 0.05 and more."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    stored_scan(folder / "grid", points=7)
    stored_scan(folder / "other", points=7, block=6, bits="w3a8")
    stored(folder / "searches", [search("evolq (released)", seed) for seed in (0, 1)] + [search("random")])
    (folder / "curvature.json").write_text(json.dumps(curvature_report().to_dict()))
    (folder / "reliability.json").write_text(json.dumps(reliability_report().to_dict()))
    return folder


def _small(sources, kind: str) -> Image.Image:
    picture = make_picture([open_source(sources / name) for name in NEEDS.get(kind, ("grid",))], PlotOptions(kind=kind))
    figure = picture.paper() if picture.paper else draw_frame(picture.info, 1500.0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return Image.open(buffer).convert("L").resize(SIZE, Image.Resampling.BOX)


def _difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean() / 255)


@pytest.mark.parametrize("kind", DRAWN)
def test_a_kind_looks_as_it_did(sources, kind):
    now = _small(sources, kind)
    if os.environ.get("UPDATE_PICTURES"):
        STORED.mkdir(exist_ok=True)
        now.save(STORED / f"{kind}.png", optimize=True)
    with Image.open(STORED / f"{kind}.png") as before:
        assert _difference(now, before) < NEAR


def test_the_comparison_tells_kinds_apart():
    stored = {kind: Image.open(STORED / f"{kind}.png") for kind in DRAWN}
    near = [(a, b) for a in stored for b in stored if a < b and _difference(stored[a], stored[b]) < NEAR]
    assert near == []
