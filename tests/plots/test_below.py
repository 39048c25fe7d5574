"""The surface below paths: that of the problem itself, on the plane of the paths, as far as they go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import landscape
from landscape.errors import UserError
from landscape.plots import surface_below, trajectories_info
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
