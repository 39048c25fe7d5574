"""What a study of curvature finds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Density:
    """Spectral density of a symmetric operator, by stochastic Lanczos quadrature.

    Attributes:
        grid: Eigenvalues, ascending.
        density: Share of eigenvalues per unit of eigenvalue there; integrates to about 1.
        width: Standard deviation of the Gaussian that each quadrature node is drawn as.
        nodes: Quadrature nodes (Ritz values) of all probes.
        weights: Their weights, which add up to 1.
    """

    grid: tuple[float, ...]
    density: tuple[float, ...]
    width: float
    nodes: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Curvature:
    """The curvature of one loss over one block.

    Attributes:
        network: ``surrogate``, the straight-through surrogate of the quantized network, or ``float``.
        over: ``scales``: relative coordinates (s exp(e)) of the scales that may move; ``weights``: the layers' weights.
            For the float network, scales move the weights by dw/ds = q - z.
        kind: ``hessian``, ``ggn`` or ``fisher``.
        loss: Name of the loss.
        layers: Scales or layers.
        dimension: Rows of the operator.
        images: What the loss is averaged over.
        largest: Algebraically largest eigenvalues, descending.
        smallest: Algebraically smallest eigenvalues, ascending.
        largest_residuals: |H v - lambda v| for each of `largest`, v of length 1.
        smallest_residuals: Likewise.
        trace: Estimate by Hutch++.
        trace_error: Its standard error; 0.0 where it is exact, NaN from a single probe.
        density: Spectral density.
        products: Products with the operator that all of this took.
        seconds: Time that it took.
    """

    network: str
    over: str
    kind: str
    loss: str
    layers: tuple[str, ...]
    dimension: int
    images: int
    largest: tuple[float, ...]
    smallest: tuple[float, ...]
    largest_residuals: tuple[float, ...]
    smallest_residuals: tuple[float, ...]
    trace: float
    trace_error: float
    density: Density | None
    products: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ModelFit:
    """How well a local model predicts the real surface, by radius.

    R^2 at a radius is 1 - sum (L - model)^2 / sum (L - mean L)^2 over all points of the lines whose |coordinate| is at
    most the radius, the centre included: 1 for a perfect prediction, 0 for one as good as the best constant.

    Attributes:
        model: ``quadratic``: value, gradient and Hessian of the straight-through surrogate at the centre;
            ``surrogate``: the surrogate itself; ``float-weights``: second order in the weights of the float network, at
            the weights that the codes stand for.
        loss: Name of the loss.
        radii: Ascending, in units of the coordinate.
        r2: R^2 at each radius.
        low: Lower end of its 95 % bootstrap interval over images.
        high: Upper end.
        real_change: RMS of the real loss minus its value at the centre, over the points at just this radius.
        predicted_change: The same of the model.
        level: The R^2 asked for.
        valid_radius: The largest radius with R^2 of at least `level`; None where there is none.
        holds_from: The smallest such radius; below it the jumps of single code flips hide the model.
        images: What the losses are averaged over.
        lines: Number of random directions.
    """

    model: str
    loss: str
    radii: tuple[float, ...]
    r2: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    real_change: tuple[float, ...]
    predicted_change: tuple[float, ...]
    level: float
    valid_radius: float | None
    holds_from: float | None
    images: int
    lines: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True)
class CurvatureReport:
    """All of a study.

    Attributes:
        settings: Of the problem and the study.
        curvatures: One for each network, space and kind.
        fits: One for each model.
    """

    settings: Mapping[str, Any]
    curvatures: tuple[Curvature, ...]
    fits: tuple[ModelFit, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "settings": dict(self.settings),
            "curvatures": [each.to_dict() for each in self.curvatures],
            "fits": [each.to_dict() for each in self.fits],
        }
