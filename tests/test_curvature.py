from __future__ import annotations

import builtins
import json
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh

from landscape.cli import main
from landscape.curvature import (
    CurvatureOptions,
    FitOptions,
    curvature_study,
    hutch_plus_plus,
    hutchinson,
    lanczos,
    model_fits,
    probes,
    spectral_density,
)
from landscape.curvature.fit import Lines, fit, r_squared
from landscape.curvature.float_network import (
    FloatBlock,
    RowLoss,
    moving_layers,
    scale_curvature,
    scale_jacobian,
    weight_curvature,
)
from landscape.curvature.operator import SurrogateCurvature
from landscape.errors import UserError
from landscape.gradient import surrogate_losses
from landscape.problem import Problem
from landscape.setup import load_problem

LAYERS = "blocks.7.attn.proj"
STATM = Path("/proc/self/statm")


@cache
def digits(which: str = "both", **options: Any) -> Problem:
    """48 weight scales (and one activation's) of one small layer."""
    return load_problem(layers=LAYERS, which=which, images=6, calib_images=8, **options)


def dense(operator: LinearOperator) -> np.ndarray:
    return np.stack([operator.matvec(column) for column in np.eye(operator.shape[1])], 1)


def symmetric(size: int, seed: int) -> np.ndarray:
    a = np.random.default_rng(seed).standard_normal((size, size))
    return a + a.T


# The surrogate's operators


@pytest.mark.parametrize("options", [{}, {"bias_correction": "none"}, {"preset": "fq-vit"}])
@pytest.mark.parametrize("loss", ["loss", "infonce"])
def test_the_hessian_is_that_of_the_smooth_surrogate(options: dict[str, str], loss: str) -> None:
    problem = digits(**options)
    hessian = problem.curvature(problem.centre, "hessian", loss)
    for direction in torch.randn(3, problem.space.dimension, generator=torch.Generator().manual_seed(0)).double():
        h = 1e-3
        points = [problem.centre * torch.exp(t * direction) for t in (h, 0.0, -h)]
        ahead, here, behind = surrogate_losses(problem, problem.centre, points, loss).mean(1).tolist()
        form = float(direction.numpy() @ hessian.matvec(direction.numpy()))
        assert (ahead - 2 * here + behind) / h**2 == pytest.approx(form, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("kind", ["hessian", "ggn", "fisher"])
def test_operators_are_symmetric_and_gauss_newton_ones_have_no_negative_eigenvalue(kind: str) -> None:
    problem = digits()
    matrix = dense(problem.curvature(problem.centre, kind, "loss"))
    scale = np.abs(matrix).max()
    assert scale > 0
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10 * scale)
    if kind != "hessian":
        assert np.linalg.eigvalsh(matrix).min() > -1e-10 * scale


def test_the_gauss_newton_matrix_is_the_jacobian_around_the_curvature_in_the_logits() -> None:
    problem = digits()
    matrix = dense(problem.curvature(problem.centre, "ggn", "loss"))
    logits = _surrogate_logits(problem)
    h = 1e-5
    columns = []
    for column in torch.eye(problem.space.dimension, dtype=torch.float64):
        ends = (_surrogate_logits(problem, problem.centre * torch.exp(t * column)) for t in (h, -h))
        columns.append((next(ends) - next(ends)) / (2 * h))
    jacobian = torch.stack(columns, -1)
    p = torch.softmax(logits, 1)
    middle = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    expected = torch.einsum("nca,ncd,ndb->ab", jacobian, middle, jacobian) / len(logits)
    np.testing.assert_allclose(matrix, expected.numpy(), rtol=1e-5, atol=1e-7 * np.abs(matrix).max())


def _surrogate_logits(problem: Problem, point: torch.Tensor | None = None) -> torch.Tensor:
    from landscape.gradient.estimate import SurrogatePasses

    passes, centre = SurrogatePasses(problem, problem.centre), problem.centre
    found = []
    for rows, exact in passes.chunks():
        anchors: dict[str, torch.Tensor] = {}
        for where in (centre, centre if point is None else point):
            scales = problem.space.scales(where)
            weights = passes.surrogate.moved_weights(passes.network, scales, passes.how)
            out = passes.surrogate.logits(passes.network, scales, weights, exact, len(rows), passes.how, anchors)
        found.append(out)
    return torch.cat(found)


def test_fisher_equals_the_gauss_newton_matrix_of_the_cross_entropy_and_ignores_the_loss() -> None:
    problem = digits()
    vector = np.random.default_rng(0).standard_normal(problem.space.dimension)
    ggn = problem.curvature(problem.centre, "ggn", "loss").matvec(vector)
    for loss in ("loss", "infonce"):
        fisher = problem.curvature(problem.centre, "fisher", loss).matvec(vector)
        np.testing.assert_allclose(fisher, ggn, rtol=1e-9, atol=1e-12 * np.abs(ggn).max())


def test_relative_and_plain_coordinates_obey_the_chain_rule() -> None:
    problem = digits()
    point = problem.centre * 1.01
    s, g = point.numpy(), problem.gradient(point, "loss").gradient.numpy()
    for kind, slope in (("hessian", np.diag(s * g)), ("ggn", 0.0)):
        relative, plain = (dense(problem.curvature(point, kind, "loss", relative=r)) for r in (True, False))
        expected = np.diag(s) @ plain @ np.diag(s) + slope
        np.testing.assert_allclose(relative, expected, rtol=1e-7, atol=1e-9 * np.abs(relative).max())


@pytest.mark.skipif(not STATM.exists(), reason="the memory of a process is read from /proc, which Linux has")
def test_a_product_holds_the_graph_of_few_images_at_a_time() -> None:
    problem = load_problem(layers="*", images=24, calib_images=4)
    held: list[int] = []
    SurrogateCurvature(
        problem, problem.centre, "ggn", images=24, progress=lambda _: held.append(int(STATM.read_text().split()[1]))
    ).matvec(np.ones(problem.space.dimension))
    pages = held[-1] - held[1]  # the first chunk finds its memory; the graph of an image is about 10 MB
    assert len(held) == 6 and pages * resource.getpagesize() < 40e6


def test_a_product_counts_its_passes_and_float32_is_near() -> None:
    problem = digits()
    vector = np.random.default_rng(0).standard_normal(problem.space.dimension)
    exact, quick = (problem.curvature(problem.centre, "hessian", "loss", dtype=d) for d in ("float64", "float32"))
    a, b = exact.matvec(vector), quick.matvec(vector)
    assert np.linalg.norm(a - b) < 1e-3 * np.linalg.norm(a)
    assert (exact.products, exact.cost) == (1, 6 * 6)


@pytest.mark.parametrize(
    ("options", "words"), [({"kind": "magic"}, "unknown kind"), ({"loss": "top1"}, "no derivative")]
)
def test_what_has_no_curvature_is_refused(options: dict[str, Any], words: str) -> None:
    problem = digits()
    with pytest.raises(UserError, match=words):
        problem.curvature(problem.centre, **options)


@pytest.mark.parametrize(
    "operator", ["problem.curvature(problem.centre)", "weight_curvature(FloatBlock(problem, [layer]), loss, 'ggn')"]
)
def test_the_first_product_of_a_process_warns_of_nothing(operator: str) -> None:
    code = f"""
import numpy as np
from landscape.curvature.float_network import FloatBlock, RowLoss, weight_curvature
from landscape.setup import load_problem
layer = {LAYERS!r}
problem = load_problem(layers=layer, images=4, calib_images=8, engine="reference")
loss = RowLoss(problem, "loss")
operator = {operator}
operator.matvec(np.ones(operator.shape[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


# The float network's operators


@pytest.mark.parametrize("loss", ["loss", "infonce"])
def test_curvlinops_gives_the_dense_hessian_over_scales_and_weights(loss: str) -> None:
    problem = digits(which="weight")
    layers = moving_layers(problem)
    block, row_loss = FloatBlock(problem, layers), RowLoss(problem, loss)
    over_weights = weight_curvature(block, row_loss)
    jacobian = dense(scale_jacobian(problem, problem.centre, layers))

    def total(e: torch.Tensor) -> torch.Tensor:
        weight = block.weights[0].detach() + (torch.from_numpy(jacobian) @ e).reshape(block.weights[0].shape)
        values = []
        for batch, rows in block.batches:
            logits = torch.func.functional_call(block, {"weights.0": weight}, (batch,))
            values.append(row_loss.single(logits, rows).sum())
        return torch.stack(values).sum() / len(problem.images)

    e = torch.zeros(jacobian.shape[1], dtype=torch.float64)
    expected = torch.autograd.functional.hessian(total, e).numpy()
    assert float(total(e)) == pytest.approx(problem.float_values()[loss], rel=1e-6)
    found = dense(scale_curvature(problem, problem.centre, over_weights, layers))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10 * np.abs(expected).max())


def test_the_gauss_newton_matrix_over_weights_is_positive_and_hessian_free() -> None:
    problem = digits(which="weight")
    layers = moving_layers(problem)
    operator = weight_curvature(FloatBlock(problem, layers), RowLoss(problem, "loss"), "ggn")
    matrix = dense(scale_curvature(problem, problem.centre, operator, layers))
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > -1e-12 * np.abs(matrix).max()


def test_scales_move_dequantized_weights_by_their_codes() -> None:
    problem = digits(which="weight", bias_correction="none")
    layers = moving_layers(problem)
    e = 1e-9 * np.random.default_rng(0).standard_normal(problem.space.dimension)
    moved = problem.network.with_scales(problem.space.scales(problem.centre * torch.from_numpy(np.exp(e))))
    change = moved.operand(layers[0]).dequantized() - problem.network.operand(layers[0]).dequantized()
    found = scale_jacobian(problem, problem.centre, layers).matvec(e)
    np.testing.assert_allclose(found, change.numpy().ravel(), rtol=1e-5, atol=1e-15)


def test_changed_weights_give_the_losses_of_the_changed_network_and_leave_no_trace() -> None:
    problem = digits(which="weight")
    block, row_loss = FloatBlock(problem, moving_layers(problem)), RowLoss(problem, "loss")
    change = 0.1 * torch.randn(block.weights[0].numel(), generator=torch.Generator().manual_seed(0)).double()
    first, again, moved = block.moved_losses([0 * change, 0 * change, change], row_loss)
    assert torch.equal(first, again) and not torch.equal(first, moved)
    assert torch.equal(block.moved_losses([0 * change], row_loss)[0], first)


def test_without_curvlinops_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "curvlinops":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    problem = digits(which="weight")
    block, row_loss = FloatBlock(problem, moving_layers(problem)), RowLoss(problem, "loss")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"evolq-landscape\[curvature\]"):
        weight_curvature(block, row_loss)


# Eigenvalues, trace, density


@given(st.integers(2, 12), st.integers(0, 5))
def test_lanczos_over_the_whole_space_finds_all_eigenvalues(size: int, seed: int) -> None:
    matrix = symmetric(size, seed)
    run = lanczos(aslinearoperator(matrix), np.random.default_rng(seed).standard_normal(size), size)
    np.testing.assert_allclose(run.values, np.linalg.eigvalsh(matrix), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(run.vectors.T @ run.vectors, np.eye(size), atol=1e-8)
    assert run.weights.sum() == pytest.approx(1)


def test_lanczos_agrees_with_scipy_and_its_residuals_are_true() -> None:
    matrix = symmetric(200, 1)
    run = lanczos(aslinearoperator(matrix), probes(200, 1, 0)[0], 80)
    expected = eigsh(matrix, 2, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(run.values[-2:], np.sort(expected), rtol=1e-6)
    for index in (0, 40, -1):
        residual = np.linalg.norm(matrix @ run.vectors[:, index] - run.values[index] * run.vectors[:, index])
        assert run.residuals[index] == pytest.approx(residual, abs=1e-8)


def test_lanczos_stops_at_an_invariant_subspace() -> None:
    run = lanczos(aslinearoperator(np.diag([1.0, 2.0, 3.0, 4.0])), np.array([1.0, 1.0, 0.0, 0.0]), 4)
    np.testing.assert_allclose(run.values, [1, 2])
    zero = lanczos(aslinearoperator(np.zeros((3, 3))), np.ones(3), 3)
    np.testing.assert_array_equal(zero.values, [0.0])


def test_lanczos_refuses_what_it_cannot_use() -> None:
    operator = aslinearoperator(np.eye(3))
    with pytest.raises(ValueError, match="zero"):
        lanczos(operator, np.zeros(3), 2)
    with pytest.raises(ValueError, match="steps"):
        lanczos(operator, np.ones(3), 0)
    with pytest.raises(ValueError, match="finite"):
        lanczos(aslinearoperator(np.full((3, 3), np.nan)), np.ones(3), 2)


@pytest.mark.parametrize("estimate", [hutchinson, hutch_plus_plus])
def test_traces_are_unbiased_and_know_their_error(estimate: Any) -> None:
    matrix = symmetric(60, 2)
    found = np.array([estimate(aslinearoperator(matrix), 30, seed) for seed in range(200)])
    truth = np.trace(matrix)
    assert abs(found[:, 0].mean() - truth) < 4 * found[:, 0].std() / np.sqrt(200)
    assert found[:, 0].std() == pytest.approx(np.sqrt(np.mean(found[:, 1] ** 2)), rel=0.3)


def test_hutch_plus_plus_is_exact_for_low_rank_and_where_the_products_suffice() -> None:
    a = np.random.default_rng(0).standard_normal((50, 3))
    assert hutch_plus_plus(aslinearoperator(a @ a.T), 12, 0)[0] == pytest.approx(np.trace(a @ a.T))
    matrix = symmetric(5, 0)
    trace, error = hutch_plus_plus(aslinearoperator(matrix), 15, 0)
    assert trace == pytest.approx(np.trace(matrix)) and error == 0.0
    with pytest.raises(ValueError, match="at least 3"):
        hutch_plus_plus(aslinearoperator(matrix), 2, 0)


def test_the_spectral_density_has_unit_mass_and_the_moments_of_the_matrix() -> None:
    matrix = symmetric(300, 3)
    starts = probes(300, 8, 0)
    runs = [lanczos(aslinearoperator(matrix), start, 40) for start in starts]
    density = spectral_density(runs)
    grid, values = np.array(density.grid), np.array(density.density)
    assert np.trapezoid(values, grid) == pytest.approx(1, abs=1e-3)
    nodes, weights = np.array(density.nodes), np.array(density.weights)
    eigenvalues = np.linalg.eigvalsh(matrix)
    # Gauss quadrature is exact for the probes' own moments, which estimate those of the matrix.
    assert weights @ nodes**2 == pytest.approx(np.mean(np.square(starts @ matrix)), rel=1e-9)
    below = weights[nodes < 0].sum()
    assert below == pytest.approx(np.mean(eigenvalues < 0), abs=0.05)


# Models and the surface


def lines_of(real: np.ndarray, radii: np.ndarray) -> Lines:
    coordinates = np.concatenate([-radii[::-1], radii])
    return Lines(
        torch.ones(1, 3), coordinates, np.zeros(len(coordinates), dtype=int), [], real, np.zeros(real.shape[1])
    )


def test_r_squared_is_one_for_the_truth_zero_for_the_mean_and_nan_on_a_plateau() -> None:
    real = np.array([0.0, 1.0, 4.0])
    assert r_squared(real, real) == 1
    assert r_squared(real, np.full(3, real.mean())) == pytest.approx(0)
    assert np.isnan(r_squared(np.ones(3), np.ones(3)))


def test_the_radius_of_a_model_is_where_its_r_squared_falls_below_the_level() -> None:
    options = FitOptions(lines=1, radii=6, smallest=0.05, largest=1.6, level=0.9)
    radii = options.values()
    alpha = np.concatenate([-radii[::-1], radii])[:, None]
    images = np.ones((1, 5))
    quadratic, real = alpha**2 @ images, (1 - np.cos(2 * alpha)) / 2 @ images
    found = fit("quadratic", "loss", lines_of(real, radii), quadratic, options)
    scores = []
    for radius in radii:
        some = np.abs(alpha[:, 0]) <= radius * (1 + 1e-9)
        y, m = np.append(real[some, 0], 0.0), np.append(quadratic[some, 0], 0.0)
        scores.append(1 - np.sum((y - m) ** 2) / np.sum((y - y.mean()) ** 2))
    np.testing.assert_allclose(found.r2, scores)
    expected = max(radius for radius, score in zip(radii, scores, strict=True) if score >= 0.9)
    assert found.valid_radius == pytest.approx(expected) and 0.1 < expected < 1.6
    np.testing.assert_allclose(found.real_change, [(1 - np.cos(2 * r)) / 2 for r in radii])
    np.testing.assert_allclose(found.low, found.r2)  # all images are equal


def test_the_models_of_a_real_network_are_compared_on_the_same_images() -> None:
    problem = digits(which="weight", bits="w8a32", bias_correction="none")
    fits = {f.model: f for f in model_fits(problem, "loss", FitOptions(lines=2, radii=3, smallest=0.05, largest=0.5))}
    assert set(fits) == {"quadratic", "surrogate", "float-weights"}
    for each in fits.values():
        assert np.all(np.array(each.low) <= np.array(each.high))
        assert all(change > 0 for change in each.real_change)
    # With float activations the loss is a smooth function of the weights that the codes stand for.
    assert fits["float-weights"].r2[0] > 0.9


def test_the_study_measures_everything_and_survives_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "curvature.json"
    arguments = [
        "curvature",
        "--layers",
        LAYERS,
        "--images",
        "4",
        "--calib-images",
        "4",
        "--steps",
        "8",
        "--eigenvalues",
        "4",
        "--lines",
        "1",
    ]
    arguments += ["--radii", "2", "--trace-products", "3", "--loss", "kl", "--kinds", "hessian,fisher", "--json"]
    assert main([*arguments, "--out", str(file)]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads(file.read_text())
    assert [(c["network"], c["over"], c["kind"]) for c in printed["curvatures"]] == [
        ("surrogate", "scales", "hessian"),
        ("surrogate", "scales", "fisher"),
        ("float", "scales", "hessian"),
        ("float", "weights", "hessian"),
    ]
    assert written["fits"][0]["model"] == "quadratic" and written["settings"]["study"]["loss"] == "kl"
    assert main(arguments[:-1]) == 0
    assert "R^2 within radius" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": "third"}, "--kinds"),
        ({"networks": "quantum"}, "--networks"),
        ({"dtype": "int8"}, "--dtype"),
        ({"steps": 0}, "at least 1"),
        ({"steps": 5}, "give --steps 20"),
        ({"trace_products": 2}, "at least 3"),
        ({"smallest": 0.5, "largest": 0.1}, "exchange"),
        ({"level": 2.0}, "at most 1"),
    ],
)
def test_options_of_the_study_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CurvatureOptions(**options)


def test_the_study_at_its_defaults_needs_no_comparison_of_models() -> None:
    problem = digits(which="weight")
    report = curvature_study(
        problem, CurvatureOptions(networks="surrogate", kinds="ggn", steps=5, eigenvalues=2, lines=0)
    )
    assert report.fits == () and len(report.curvatures) == 1
    assert report.curvatures[0].smallest[0] >= -1e-9
