from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from landscape.engine import Reference
from landscape.errors import UserError
from landscape.gradient import coordinate_difference, directional_difference, surrogate_losses
from landscape.gradient.estimate import SurrogatePasses
from landscape.gradient.straight_through import ESTIMATORS, effective_weight
from landscape.graph import capture
from landscape.images import ImageSet
from landscape.losses import LossOptions
from landscape.problem import Problem, teacher_logits
from landscape.quant.calibrate import quantize_network
from landscape.quant.scheme import Scheme
from landscape.setup import load_problem
from landscape.space import scale_space

SCHEMES = {
    "default": {},
    "uncorrected": {"bias_correction": "none"},
    "moved biases": {"bias_correction": "output"},
    "fq-vit": {"preset": "fq-vit"},
    "float activations": {"bits": "w4a32"},
}


@cache
def digits(block: int = 7, which: str = "both", images: int = 6, **options: Any) -> Problem:
    return load_problem(block=block, which=which, images=images, calib_images=8, **options)


class Linear(nn.Module):
    """One layer, so that everything can be derived by hand."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Linear(6, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(3, 6, generator=generator))
            self.layer.bias.copy_(torch.randn(3, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def one_layer(correction: str = "none", bits: str = "w3a32") -> Problem:
    module = Linear().eval()
    pixels = torch.randint(0, 256, (5, 1, 2, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(5) % 3, tuple("abcde"), (0.5,), (0.2,), "random", "val", 0)
    network = quantize_network(
        capture(module, (1, 2, 3)), Scheme(bias_correction=correction).with_bits(bits), images, False
    )
    teacher = teacher_logits(module, images)
    options = LossOptions(names=("loss", "mse"))
    return Problem(network, scale_space(network, ["layer.weight"]), images, teacher, Reference, options)


def by_hand(problem: Problem) -> tuple[np.ndarray, ...]:
    """Of the one layer, in numpy: inputs, weight, bias, scale, zero point, u = w / s + z, codes."""
    node, quantizer = problem.network.graph["layer"], problem.network.weights["layer"]
    assert node.weight is not None and node.bias is not None
    x = ((problem.images.pixels.numpy() / 255 - 0.5) / 0.2).reshape(5, 6)
    w, b = node.weight.numpy(), node.bias.numpy()
    s, z = quantizer.scale.numpy()[:, None], quantizer.zero_point.numpy()[:, None]
    return x, w, b, s, z, w / s + z, np.clip(np.rint(w / s + z), 0, 7)


def mse_slope(problem: Problem, dweight: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """d mse / d s for dequantized weights and their derivative by the scale of their row."""
    x, _, b, *_ = by_hand(problem)
    logits = x @ weight.T + b
    error = 2 * (logits - problem.teacher.numpy()) / 3
    return np.einsum("ic,ck,ik->c", error, dweight, x) / 5


def test_straight_through_slope_of_one_layer_is_that_of_lsq() -> None:
    problem = one_layer()
    point = problem.centre * torch.tensor([0.6, 1.0, 1.1])  # the first row is clipped at both ends
    moved = replace(problem, network=problem.network.with_scales(problem.space.scales(point)))
    _, w, _, s, z, u, q = by_hand(moved)
    inside = (u > 0) & (u < 7)
    assert not inside[0].all() and inside.any()
    expected = mse_slope(moved, np.where(inside, q - z - w / s, q - z), (q - z) * s)
    found = problem.gradient(point, "mse")
    np.testing.assert_allclose(found.gradient.numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(found.relative.numpy(), expected * point.numpy(), rtol=1e-12)


def test_frozen_weights_give_codes_minus_zero_point_as_the_slope() -> None:
    problem = one_layer()
    *_, s, z, _, q = by_hand(problem)
    expected = mse_slope(problem, q - z, (q - z) * s)
    for name in ("frozen-weights", "almost-everywhere"):  # the same where activations are float
        np.testing.assert_allclose(problem.gradient(problem.centre, "mse", name).gradient.numpy(), expected, rtol=1e-12)


def test_straight_through_slope_passes_through_the_weight_correction() -> None:
    problem = one_layer("weight")
    _, w, _, s, _, u, q = by_hand(problem)
    inside = (u > 0) & (u < 7)

    def corrected(scale: np.ndarray) -> np.ndarray:
        codes = np.where(inside, q + w / scale - w / s, q)  # residuals frozen
        centred = codes - codes.mean(1, keepdims=True)
        return w.mean(1, keepdims=True) + w.std(1, keepdims=True) / codes.std(1, keepdims=True) * centred

    h = 1e-6 * s
    expected = mse_slope(problem, (corrected(s + h) - corrected(s - h)) / (2 * h), corrected(s))
    found = problem.gradient(problem.centre, "mse")
    np.testing.assert_allclose(found.gradient.numpy(), expected, rtol=1e-6)
    assert found.gradient.abs().max() > 0


def test_frozen_weights_have_no_slope_under_the_weight_correction() -> None:
    problem = one_layer("weight")
    found = problem.gradient(problem.centre, "mse", "frozen-weights")
    assert found.gradient.abs().max() == 0
    assert found.cost == 5  # there is nothing to pass back


def test_a_row_of_equal_codes_has_a_slope_that_is_finite() -> None:
    scale = torch.tensor([50.0], dtype=torch.float64, requires_grad=True)
    weight, codes = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[3.0, 3.0]]).double()
    found = effective_weight(weight, codes, scale, torch.tensor([3.0]).double(), 3, True, True)
    assert torch.equal(found.detach(), torch.full((1, 2), 1.5).double())
    (slope,) = torch.autograd.grad(found.sum(), scale)
    assert slope.isfinite().all()


@pytest.mark.parametrize("options", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("how", ESTIMATORS)
def test_the_surrogate_has_the_logits_of_the_exact_engine(options: dict[str, str], how: str) -> None:
    problem = digits(**options)
    point = problem.centre * torch.exp(0.05 * torch.randn(problem.space.dimension, generator=generator()).double())
    passes = SurrogatePasses(problem, point, how)
    exact = passes.exact_logits()
    for rows, selected in passes.chunks():
        logits = passes.logits(passes.operands(point), rows, selected)
        torch.testing.assert_close(logits, exact[rows], rtol=1e-12, atol=1e-12)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("options", SCHEMES.values(), ids=SCHEMES)
@pytest.mark.parametrize("how", ["straight-through", "frozen-weights"])
@pytest.mark.parametrize("loss", ["loss", "infonce"])
def test_the_gradient_is_that_of_the_smooth_surrogate(options: dict[str, str], how: str, loss: str) -> None:
    which = "weight" if options.get("bits") == "w4a32" else "both"
    problem = digits(which=which, **options)
    point = problem.centre
    directions = torch.randn(2, problem.space.dimension, generator=generator(), dtype=torch.float64)
    single = torch.zeros_like(point)
    single[int(problem.gradient(point, loss, how).relative.abs().argmax())] = 1.0
    found = problem.gradient(point, loss, how)
    for direction in (*directions, single):
        h = 1e-5
        ahead, behind = surrogate_losses(
            problem, point, [point * torch.exp(h * direction), point * torch.exp(-h * direction)], loss, how
        ).mean(1)
        slope = float(found.relative @ direction)
        assert float((ahead - behind) / (2 * h)) == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_all_scales_have_gradients_even_that_of_the_images() -> None:
    problem = load_problem(layers="*", which="both", images=3, calib_images=4)
    assert problem.space.names[0] == "input.output"
    found = problem.gradient(problem.centre, "loss")
    index = torch.zeros_like(problem.centre)
    index[0] = 1.0
    h = 1e-6
    points = [problem.centre * torch.exp(sign * h * index) for sign in (1, -1)]
    ahead, behind = surrogate_losses(problem, problem.centre, points, "loss").mean(1)
    assert float(found.relative[0]) == pytest.approx(float((ahead - behind) / (2 * h)), rel=1e-4, abs=1e-8)
    assert (found.relative != 0).double().mean() > 0.9


def test_almost_everywhere_no_weight_scale_has_a_slope_behind_quantized_activations() -> None:
    problem = digits()
    seen = list[int]()
    found = problem.gradient(problem.centre, "loss", "almost-everywhere", progress=seen.append)
    assert found.gradient.abs().max() == 0
    assert sum(seen) == 6


def test_almost_everywhere_the_last_quantizer_has_the_true_slope() -> None:
    problem = load_problem(layers="head", which="both", images=12, calib_images=8, bias_correction="none")
    assert problem.space.names[-1] == "head.output"
    found = problem.gradient(problem.centre, "loss", "almost-everywhere")
    assert found.gradient[:-1].abs().max() == 0
    true = coordinate_difference(problem, problem.centre, problem.space.dimension - 1, 1e-6, "loss")
    # One code sits on a border at most, and codes of the head do not feed another quantizer.
    assert float(found.relative[-1]) == pytest.approx(true.slope, rel=1e-4)


def test_with_float_activations_frozen_weights_give_the_true_slope() -> None:
    problem = digits(which="weight", bits="w4a32", bias_correction="none")
    direction = torch.ones_like(problem.centre)
    true = directional_difference(problem, problem.centre * 1.0001, direction, 1e-8, "loss")
    found = problem.gradient(problem.centre * 1.0001, "loss", "frozen-weights")
    assert float(found.relative @ direction) == pytest.approx(true.slope, rel=1e-4, abs=1e-6)


def test_float32_changes_the_gradient_by_rounding_only() -> None:
    problem = digits()
    exact, quick = (problem.gradient(problem.centre, dtype=dtype) for dtype in ("float64", "float32"))
    assert exact.value == quick.value
    assert (exact.relative - quick.relative).norm() < 1e-4 * exact.relative.norm()


def test_gradients_of_a_partition_of_the_images_average_to_the_whole() -> None:
    problem = load_problem(block=7, images=21, calib_images=8, infonce_batch=7)
    whole = problem.gradient(problem.centre)
    assert whole.value == problem.evaluate([problem.centre])[0].values["infonce"]
    parts = [problem.gradient(problem.centre, images=list(range(k, 21, 3))) for k in range(3)]
    torch.testing.assert_close(sum(part.gradient for part in parts) / 3, whole.gradient, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(np.mean([part.value for part in parts]), whole.value, rtol=1e-12)


def test_the_chunk_does_not_matter_to_a_gradient() -> None:
    problems = [replace(digits(which="weight"), chunk=chunk) for chunk in (1, 4, 6)]
    first, *others = (problem.gradient(problem.centre).gradient for problem in problems)
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-9, atol=1e-15)


def test_a_gradient_costs_three_passes_an_image_and_tells_of_its_progress() -> None:
    problem, seen = digits(which="weight"), list[int]()
    found = problem.gradient(problem.centre, images=5, progress=seen.append)
    assert (found.images, found.cost, sum(seen)) == (5, 15, 5)
    assert found.per_image.shape == (5,)
    assert found.value == pytest.approx(found.per_image.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "top1"}, "no derivative"),
        ({"loss": "nonsense"}, "unknown loss"),
        ({"estimator": "magic"}, "unknown gradient estimator"),
        ({"dtype": "float16"}, "number type"),
        ({"images": 0}, "not among"),
        ({"images": 7}, "not among"),
        ({"images": [-1]}, "not among"),
    ],
)
def test_what_cannot_be_differentiated_is_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    problem = digits(which="weight")
    with pytest.raises(UserError, match=words) as error:
        problem.gradient(problem.centre, **options)
    assert "\n" not in str(error.value)


def test_a_scale_that_is_not_positive_has_no_gradient() -> None:
    problem = digits(which="weight")
    with pytest.raises(UserError, match="positive"):
        problem.gradient(-problem.centre)


def test_a_central_difference_counts_two_evaluations_and_knows_its_error() -> None:
    problem = digits(which="weight")
    direction = torch.ones_like(problem.centre)
    found = directional_difference(problem, problem.centre, direction, 0.05, "loss")
    ahead, behind = (problem.evaluate([problem.centre * np.exp(h)])[0] for h in (0.05, -0.05))
    slopes = (ahead.per_image["loss"] - behind.per_image["loss"]) / 0.1
    assert found.slope == pytest.approx((ahead.values["loss"] - behind.values["loss"]) / 0.1)
    assert found.standard_error == pytest.approx(np.std(slopes, ddof=1) / np.sqrt(6))
    assert found.cost == 12
    with pytest.raises(ValueError, match="positive"):
        directional_difference(problem, problem.centre, direction, 0.0, "loss")
