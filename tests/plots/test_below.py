"""The surface below paths: that of the problem itself, on the plane of the paths, as far as they go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import landscape
from landscape.errors import UserError
from landscape.plots import surface_below, trajectories_info
from landscape.plots.info.plane import best_index, plane_through
from tests.plots.searches import search

STEPS = 6


@pytest.fixture(scope="module")
def problem():
    return landscape.load_problem(bits="w4a8", block=1, images=20, calib_images=20, infonce_batch=20)


@pytest.fixture(scope="module")
def walk(problem):
    """A walk over the problem's scales along two directions of unit RMS, farther along the first, and only forwards."""
    size = problem.space.dimension
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(2, size))
    places = np.stack([0.3 * np.linspace(0, 1, STEPS), 0.1 * np.sin(np.linspace(0, 3, STEPS))], axis=1)
    return search(
        steps=STEPS, coordinates=places @ signs, names=problem.space.names, sizes=problem.space.sizes,
        accepted=np.ones(STEPS, dtype=bool),
    )  # fmt: skip


def test_its_values_are_those_of_the_problem_on_the_plane(problem, walk):
    below = surface_below(problem, [walk], points=4)
    surface, directions = below.surface, torch.from_numpy(below.plane.directions.copy())
    assert surface.beta is not None
    for i, j in ((0, 0), (1, 2)):
        (found,) = problem.evaluate([problem.space.at((surface.alpha[i], surface.beta[j]), directions)])
        assert surface.values["infonce"][i, j] == found.values["infonce"]
        np.testing.assert_array_equal(surface.per_image["loss"][i, j], found.per_image["loss"])


def test_it_reaches_as_far_as_the_paths_and_holds_the_start(problem, walk):
    below = surface_below(problem, [walk], points=4)
    info = trajectories_info([walk], below=below, value="infonce", title="a walk")
    surface, path = info.surface, info.paths[0]
    assert surface is not None and surface.y is not None and info.title == "a walk"
    for axis, places in ((surface.x, path.x), (surface.y, path.y)):
        assert axis.min() < places.min() and places.max() < axis.max() and 0.0 in axis
        assert axis.min() > places.min() - 0.2  # not as far as a square around the start
    np.testing.assert_allclose(path.off, 0.0, atol=1e-9)


def test_another_network_is_refused(problem, walk):
    other = search(steps=30, names=problem.space.names)  # of six and two scales
    with pytest.raises(UserError, match="moved other scales"):
        surface_below(problem, [other], points=3)
    with pytest.raises(UserError, match="at least 3"):
        surface_below(problem, [walk], points=2)


def test_a_plane_through_two_ends_holds_them(walk):
    other = replace(
        walk, label="other", coordinates=walk.coordinates[[0, 1, 1, 2, 3, 2]], value=np.arange(27.0, 21, -1)
    )
    random = search("random", steps=4, names=walk.names, sizes=walk.sizes, coordinates=walk.coordinates[:4] + 0.01)
    plane = plane_through(walk, other, [walk, other, random])
    np.testing.assert_allclose(np.mean(np.square(plane.directions), axis=1), 1.0)
    assert abs(plane.directions[0] @ plane.directions[1]) < 1e-9 * plane.directions.shape[1]
    for each in (walk, other):
        x, y, off = (column[best_index(each)] for column in plane.project(each))
        assert off < 1e-9
        assert x > 0 and (abs(y) < 1e-9) == (each is walk)
    assert (plane.x_label, "the ends of evolq and other" in plane.words) == ("towards the end of evolq, RMS", True)
    with pytest.raises(UserError, match="on one line"):
        plane_through(walk, walk, [walk])
