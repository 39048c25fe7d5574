"""The study of curvature: spectra and traces of several operators, and how far the quadratic model holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.sparse.linalg import LinearOperator

from landscape.curvature.fit import FitOptions, model_fits
from landscape.curvature.operator import KINDS, SurrogateCurvature
from landscape.curvature.records import Curvature, CurvatureReport
from landscape.curvature.spectrum import hutch_plus_plus, lanczos, probes, spectral_density
from landscape.errors import UserError
from landscape.gradient import DTYPES
from landscape.losses import loss_function
from landscape.progress import Progress, silent

if TYPE_CHECKING:
    from landscape.problem import Problem

NETWORKS = ("surrogate", "float-scales", "float-weights")


@dataclass(frozen=True)
class CurvatureOptions:
    """What is measured of the curvature.

    Attributes:
        loss: Name of a smooth loss.
        kinds: ``hessian``, ``ggn``, ``fisher``, with commas; the Fisher information is that of the surrogate only.
        networks: ``surrogate`` (straight-through, over scales), ``float-scales`` (float network, over the scales
            through dw/ds = q - z), ``float-weights`` (float network, over the layers' weights), with commas. Those of
            the float network need curvlinops.
        eigenvalues: How many from each end of the spectrum.
        steps: Lanczos steps of each probe; the eigenvalues are from the first.
        probes: Random starts, for the spectral density.
        trace_products: Products for the trace (Hutch++); 0 for none.
        dtype: Number type of the products: float64, or float32 for speed.
        lines: Random lines on which models are compared with the surface; 0 for none.
        radii: Number of radii.
        smallest: The smallest radius, in units of the coordinate.
        largest: The largest radius.
        level: The R^2 that a model should reach.
        seed: Of probes, directions and bootstrap.
    """

    loss: str = "infonce"
    kinds: str = "hessian,ggn"
    networks: str = "surrogate,float-scales,float-weights"
    eigenvalues: int = 10
    steps: int = 40
    probes: int = 2
    trace_products: int = 30
    dtype: str = "float64"
    lines: int = 4
    radii: int = 8
    smallest: float = 0.002
    largest: float = 0.3
    level: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        loss_function(self.loss)
        _parts(self.kinds, KINDS, "--kinds")
        _parts(self.networks, NETWORKS, "--networks")
        if self.dtype not in DTYPES:
            raise UserError(f"--dtype {self.dtype!r} is unknown; give one of {', '.join(DTYPES)}")
        for name in ("eigenvalues", "steps", "probes"):
            if getattr(self, name) < 1:
                raise UserError(f"--{name} {getattr(self, name)} is not possible; give at least 1")
        if self.steps < 2 * self.eigenvalues:  # a step gives one value: the two ends would share some
            raise UserError(
                f"--steps {self.steps} cannot give {self.eigenvalues} eigenvalues from each end; "
                f"give --steps {2 * self.eigenvalues} or more, or fewer --eigenvalues"
            )
        if self.smallest > self.largest:
            raise UserError(f"--smallest {self.smallest:g} is above --largest {self.largest:g}; exchange them")
        if not self.level <= 1:
            raise UserError(f"--level {self.level:g} is not possible; R^2 is at most 1")
        if self.trace_products not in (0, *range(3, 10**6)):
            raise UserError(f"--trace-products {self.trace_products} is not possible; give 0, or at least 3")
        if self.lines:
            self.fit()

    def fit(self) -> FitOptions:
        """The part about models."""
        return FitOptions(self.lines, self.radii, self.smallest, self.largest, self.level, seed=self.seed)


def curvature_study(
    problem: Problem, options: CurvatureOptions | None = None, progress: Progress = silent
) -> CurvatureReport:
    """Measure the curvature at a problem's centre, and how far the quadratic model holds.

    Args:
        problem: Network, moving scales and images; the loss must be among its losses for the comparison of models.
        options: What is measured.
        progress: Who is told.
    """
    options = options or CurvatureOptions()
    networks = _parts(options.networks, NETWORKS, "--networks")
    found = []
    for network in networks:
        for kind in _parts(options.kinds, KINDS, "--kinds"):
            if network == "surrogate" or kind != "fisher":
                found.append(_measured(problem, network, kind, options, progress))
    with_weights = any(network.startswith("float") for network in networks)
    fits = (
        model_fits(problem, options.loss, options.fit(), with_weights, progress, options.dtype) if options.lines else []
    )
    return CurvatureReport({**problem.description, "study": asdict(options)}, tuple(found), tuple(fits))


def _measured(problem: Problem, network: str, kind: str, options: CurvatureOptions, progress: Progress) -> Curvature:
    products = options.steps * options.probes + options.trace_products
    with progress(f"{kind}, {network}", products * len(problem.images)) as advance:
        if network == "surrogate":
            layers = problem.space.names
            operator: LinearOperator = SurrogateCurvature(
                problem, problem.centre, kind, options.loss, dtype=options.dtype, progress=advance
            )
            labels = ("surrogate", "scales")
        else:
            from landscape.curvature.float_network import (
                FloatBlock,
                RowLoss,
                moving_layers,
                scale_curvature,
                weight_curvature,
            )

            layers = moving_layers(problem)
            block = FloatBlock(problem, layers, dtype=options.dtype)
            operator = weight_curvature(block, RowLoss(problem, options.loss), kind)
            labels = ("float", "weights")
            if network == "float-scales":
                operator, labels = scale_curvature(problem, problem.centre, operator, layers), ("float", "scales")
            operator = _told(operator, lambda: advance(len(problem.images)))
        return measure(operator, labels, kind, options, layers, len(problem.images))


def measure(
    operator: LinearOperator,
    labels: tuple[str, str],
    kind: str,
    options: CurvatureOptions,
    layers: tuple[str, ...],
    images: int,
) -> Curvature:
    """Eigenvalues, trace and density of an operator.

    Args:
        operator: Symmetric.
        labels: Network, and what the operator is over.
        kind: Of curvature.
        options: How many products for what.
        layers: For the record.
        images: For the record.
    """
    start = time.perf_counter()
    size = int(operator.shape[0])
    runs = [lanczos(operator, vector, options.steps) for vector in probes(size, options.probes, options.seed)]
    trace, error = (float("nan"), float("nan"))
    if options.trace_products:
        trace, error = hutch_plus_plus(operator, options.trace_products, options.seed)
    first, count = runs[0], min(options.eigenvalues, len(runs[0].values))
    made = sum(len(run.values) for run in runs) + options.trace_products
    down, up = slice(None, -count - 1, -1), slice(0, count)
    return Curvature(
        labels[0],
        labels[1],
        kind,
        options.loss,
        layers,
        size,
        images,
        largest=tuple(first.values[down].tolist()),
        smallest=tuple(first.values[up].tolist()),
        largest_residuals=tuple(first.residuals[down].tolist()),
        smallest_residuals=tuple(first.residuals[up].tolist()),
        trace=trace,
        trace_error=error,
        density=spectral_density(runs),
        products=made,
        seconds=time.perf_counter() - start,
    )


def _told(operator: LinearOperator, tell: Callable[[], None]) -> LinearOperator:
    """An operator that tells of its products."""

    def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found = operator.matvec(vector)
        tell()
        return np.asarray(found, dtype=np.float64)

    return LinearOperator(operator.shape, matvec=product, rmatvec=product, dtype=np.float64)


def _parts(text: str, known: tuple[str, ...], flag: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        if part not in known:
            raise UserError(f"{flag} {part!r} is unknown; give some of {', '.join(known)}")
    return parts
