"""Newton's method in a trust region, on the Krylov space that Lanczos builds from exact curvature products."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.optimize import brentq

from evolq.objective import Objective, Products
from evolq.optimizer import Answer, Needs, Optimizer, Query
from evolq.space import FloatArray
from landscape.curvature import KINDS
from landscape.errors import UserError


@dataclass(frozen=True)
class NewtonOptions:
    """Settings of the trust-region Newton method.

    Attributes:
        curvature: hessian, ggn or fisher, of the straight-through surrogate.
        images: Images of gradient and curvature, drawn anew for each step.
        products: Lanczos steps.
        radius: First radius of the trust region, as a root mean square of the relative coordinates.
    """

    curvature: str = "ggn"
    images: int = 50
    products: int = 6
    radius: float = 0.01

    def __post_init__(self) -> None:
        if self.curvature not in KINDS:
            raise UserError(f"curvature {self.curvature!r} is unknown; give one of {', '.join(KINDS)}")
        if self.images < 1 or self.products < 1 or not self.radius > 0:
            raise UserError("newton needs images >= 1, products >= 1 and radius > 0")


@dataclass
class TrustRegionNewton(Optimizer):
    """GLTR: Gould, Lucidi, Roma, Toint, SIAM J. Optim. 9 (1999).

    A step asks for a gradient g, builds the Lanczos basis Q of (H, g), minimises g^T s + 1/2 s^T H s over s = Q y with
    |s| <= r, and measures e + s on all search images. The radius follows the ratio of actual to predicted change.
    """

    needs: ClassVar[Needs] = "curvature"
    Options: ClassVar[type[Any]] = NewtonOptions
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {kind: {"options": {"curvature": kind}} for kind in KINDS}
    SPACE: ClassVar[dict[str, Any]] = {"scales": "weights"}
    STATE: ClassVar[tuple[str, ...]] = ("point", "value", "radius", "gradient", "images", "step", "predicted")

    def start(self) -> None:
        """At the start."""
        self.point = np.zeros(self.space.dimension)
        self.value = np.nan
        self.radius = self.options.radius * np.sqrt(self.space.dimension)
        self.gradient = np.zeros(0)
        self.images = np.zeros(0, dtype=np.int64)
        self.step = np.zeros(0)
        self.predicted = 0.0

    def attach(self, problem: Objective) -> None:
        """For curvature products."""
        self.problem = problem

    def know(self, start: Answer) -> None:
        """What the first step is compared with."""
        self.value = float(start.values[0])

    def ask(self) -> Query | None:
        """A gradient, then the point of the step that it leads to."""
        if not len(self.gradient):
            count = min(self.options.images, self.space.images)
            self.images = np.sort(self.generator.permutation(self.space.images)[:count])
            images = tuple(self.images.tolist())
            return Query(self.point[None].copy(), gradient="straight-through", images=images)
        cost = self.problem.product_cost(self.options.curvature) * len(self.images)
        products = min(self.options.products, (self.budget - self.spent - self.space.images) // max(1, cost))
        if products < 1 or not np.isfinite(self.gradient).all() or not self.gradient.any():
            return None
        curvature = self.problem.curvature(self.point, self.options.curvature, self.images.tolist())
        self.step, self.predicted = trust_region_step(curvature, self.gradient, products, float(self.radius))
        return Query((self.point + self.step)[None])

    def tell(self, answer: Answer) -> list[bool]:
        """Move if the loss falls, and adapt the radius."""
        if answer.gradients is not None:
            self.gradient = answer.gradients[0]
            return [True]
        value = float(answer.values[0])
        ratio = (value - self.value) / self.predicted if self.predicted < 0 else np.nan
        accepted = bool(value < self.value or (np.isnan(self.value) and not np.isnan(value)))
        if accepted:
            self.point, self.value = answer.query.points[0].copy(), value
        on_border = np.linalg.norm(self.step) > 0.99 * self.radius
        if not ratio > 0.25:
            self.radius *= 0.25
        elif ratio > 0.75 and on_border:
            self.radius *= 2.0
        self.gradient = np.zeros(0)
        return [accepted]


def trust_region_step(
    curvature: Products, gradient: FloatArray, products: int, radius: float
) -> tuple[FloatArray, float]:
    """Minimise g^T s + 1/2 s^T H s over |s| <= radius in the Krylov space of (H, g).

    Args:
        curvature: v -> H v.
        gradient: g, float64 (dimension,), not zero.
        products: Lanczos steps, with full reorthogonalisation.
        radius: Of the trust region, Euclidean.

    Returns:
        s, and the predicted change of the loss, which is negative.
    """
    basis, diagonal, beside = _lanczos(curvature, gradient, products)
    values, vectors = eigh_tridiagonal(diagonal, beside)
    slope = np.linalg.norm(gradient) * vectors[0]  # the gradient in the eigenbasis of the tridiagonal matrix

    def step(shift: float) -> FloatArray:
        found: FloatArray = -slope / (values + shift)
        return found

    shift = 0.0
    smallest = float(values.min())
    if smallest <= 0 or np.linalg.norm(step(0.0)) > radius:
        low = max(0.0, -smallest) + 1e-12 * max(1.0, abs(smallest))
        high = max(0.0, -smallest) + np.linalg.norm(slope) / radius + 1e-12
        if np.linalg.norm(step(low)) <= radius:
            shift = low  # the hard case: the gradient has no part along the most negative direction
        else:
            shift = float(brentq(lambda s: np.linalg.norm(step(s)) - radius, low, high))
    inner = step(shift)
    predicted = float(slope @ inner + 0.5 * inner @ (values * inner))
    return basis.T @ (vectors @ inner), predicted


def _lanczos(curvature: Products, start: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Orthonormal basis (k, dimension), and the diagonal (k,) and what stands beside it (k - 1,); k <= count."""
    rows = [start / np.linalg.norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        product = curvature(rows[-1])
        diagonal.append(float(rows[-1] @ product))
        basis = np.stack(rows)
        for _ in range(2):  # twice is enough (Parlett)
            product = product - basis.T @ (basis @ product)
        length = float(np.linalg.norm(product))
        if len(rows) == min(count, len(start)) or length <= 1e-10 * max(map(abs, diagonal), default=1.0):
            return basis, np.array(diagonal), np.array(beside)
        beside.append(length)
        rows.append(product / length)
