from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.directions import (
    ALL_DIRECTIONS,
    coordinates_of,
    directions_for,
    eigenvector_directions,
    gradient_directions,
    orthogonal,
    principal_components,
    through_files,
    through_points,
)
from landscape.errors import UserError
from landscape.problem import Problem
from landscape.quant.parameters import save_quantized
from landscape.scan import scan
from landscape.setup import load_problem
from landscape.space import draw_directions


@cache
def digits() -> Problem:
    return load_problem(layers="blocks.7.attn.proj", images=6, calib_images=8)


def rms(rows: torch.Tensor) -> list[float]:
    return rows.square().mean(1).sqrt().tolist()


@pytest.mark.parametrize("kind", ALL_DIRECTIONS)
@pytest.mark.parametrize("dims", [1, 2])
def test_directions_have_unit_rms_over_what_they_move_and_are_orthogonal(kind: str, dims: int) -> None:
    found = directions_for(digits(), kind, dims, 0)
    moved = [row[row != 0] for row in found]
    assert found.shape == (dims, 48)
    assert [float(row.square().mean().sqrt()) for row in moved] == pytest.approx([1.0] * dims)
    if dims == 2 and kind != "sign":
        assert abs(float(found[0] @ found[1])) < 1e-9


@pytest.mark.parametrize("kind", ["gaussian", "sign", "channels"])
def test_kinds_of_the_space_are_drawn_as_they_were(kind: str) -> None:
    problem = digits()
    assert torch.equal(directions_for(problem, kind, 2, 5), draw_directions(problem.space, kind, 2, 5))


def test_the_gradient_direction_points_uphill_on_the_surrogate() -> None:
    problem = digits()
    (found,) = gradient_directions(problem, 1, 0, "loss")
    gradient = problem.gradient(problem.centre, "loss").relative
    assert float(found @ gradient) == pytest.approx(float(gradient.norm() * found.norm()))


def test_a_zero_gradient_gives_no_direction() -> None:
    with pytest.raises(UserError, match="zero"):
        gradient_directions(digits(), 1, 0, "loss", "almost-everywhere")


def test_eigenvectors_are_those_of_the_dense_hessian() -> None:
    problem = digits()
    found = eigenvector_directions(problem, 2, 0, "loss")
    operator = problem.curvature(problem.centre, "hessian", "loss")
    matrix = np.stack([operator.matvec(column) for column in np.eye(48)], 1)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    for row, index in zip(found.numpy(), np.argsort(-np.abs(values))[:2], strict=True):
        assert abs(row @ vectors[:, index]) / np.sqrt(48) == pytest.approx(1, abs=1e-4)
        assert row[np.abs(row).argmax()] > 0


def test_a_line_through_a_solution_reaches_it_at_its_coordinate() -> None:
    problem = digits()
    solution = problem.centre * torch.exp(0.1 * torch.randn(48, generator=torch.Generator().manual_seed(0)).double())
    directions, coordinates = through_points(problem.space, [solution])
    assert rms(directions) == pytest.approx([1.0])
    torch.testing.assert_close(problem.space.at(coordinates[0], directions), solution)


def test_a_plane_through_two_solutions_holds_both() -> None:
    problem = digits()
    noise = 0.1 * torch.randn(2, 48, generator=torch.Generator().manual_seed(0)).double()
    directions, coordinates = through_points(problem.space, list(problem.centre * torch.exp(noise)))
    assert abs(float(directions[0] @ directions[1])) < 1e-9
    for row, e in zip(coordinates, noise, strict=True):
        torch.testing.assert_close(problem.space.at(row, directions), problem.centre * torch.exp(e))


def test_solutions_that_span_nothing_are_refused() -> None:
    space = digits().space
    moved = space.centre * 1.1
    for points, words in (
        ([space.centre], "equals the centre"),
        ([moved, space.centre * 1.21], "one line"),
        ([], "one or two"),
        ([-moved], "positive"),
    ):
        with pytest.raises(UserError, match=words):
            through_points(space, points)


def test_a_quantized_file_is_a_solution(tmp_path: Path) -> None:
    problem = digits()
    solution = problem.centre * 1.05
    file = tmp_path / "solution.safetensors"
    save_quantized(file, problem.network.with_scales(problem.space.scales(solution)), {})
    directions, coordinates = through_files(problem, [file])
    torch.testing.assert_close(directions, torch.ones(1, 48, dtype=torch.float64))
    assert coordinates[0, 0] == pytest.approx(np.log(1.05))


def test_principal_components_of_a_path_in_a_plane_are_that_plane() -> None:
    space = digits().space
    plane = orthogonal(torch.randn(2, 48, generator=torch.Generator().manual_seed(0)).double())
    path = np.random.default_rng(0).standard_normal((20, 2)) * [0.3, 0.02]
    points = torch.stack([space.at(row, plane) for row in path])
    directions, coordinates, shares = principal_components(space, points, 2)
    assert shares.sum() == pytest.approx(1) and shares[0] > 0.9
    assert rms(directions) == pytest.approx([1.0, 1.0])
    for row, point in zip(coordinates, points, strict=True):
        torch.testing.assert_close(space.at(row, directions), point)
    with pytest.raises(UserError, match="fewer than 2"):
        principal_components(space, points[:1], 2)


def test_coordinates_off_the_plane_are_the_nearest() -> None:
    plane = orthogonal(torch.eye(48, dtype=torch.float64)[:2])
    found = coordinates_of(torch.ones(1, 48, dtype=torch.float64), plane)
    np.testing.assert_allclose(found, np.full((1, 2), 1 / np.sqrt(48)))


@pytest.mark.parametrize("kind", ["gradient", "eigenvectors"])
def test_a_scan_runs_along_directions_that_need_the_problem(kind: str) -> None:
    surface = scan(digits(), direction=kind, dims=1, points=3, radius=0.1)
    assert np.isfinite(surface.values["infonce"]).all()


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="gaussian, sign, channels, gradient, eigenvectors"):
        directions_for(digits(), "sideways", 1, 0)
