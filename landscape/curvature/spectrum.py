"""Eigenvalues, trace and spectral density of a symmetric linear operator, from products with vectors only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import LinearOperator

from landscape.curvature.records import Density

FloatArray = npt.NDArray[np.float64]

_BREAKDOWN = 1e-12
"""An invariant subspace is found when the next Lanczos vector is that small against the operator."""


@dataclass(frozen=True)
class Lanczos:
    """What a Lanczos run found.

    Attributes:
        values: Ritz values, ascending, shape (m,).
        vectors: Ritz vectors, orthonormal columns, shape (n, m).
        residuals: |A v - lambda v| of each, shape (m,): some eigenvalue lies that near to the Ritz value.
        weights: Squared components of the start vector along the Ritz vectors, shape (m,), which add up to 1: weights
            of a Gauss quadrature for the spectral density.
    """

    values: FloatArray
    vectors: FloatArray
    residuals: FloatArray
    weights: FloatArray


def lanczos(operator: LinearOperator, start: FloatArray, steps: int) -> Lanczos:
    """Lanczos iteration with full reorthogonalization (Golub & Van Loan, Matrix Computations, section 10.3).

    Args:
        operator: Symmetric, (n, n).
        start: Any vector but zero, shape (n,).
        steps: Products; at most n are made, fewer where an invariant subspace is found.

    Raises:
        ValueError: The start is zero, a product is not finite, or there are no steps.
    """
    size = operator.shape[0]
    if steps < 1:
        raise ValueError(f"steps is {steps}; expected at least 1")
    norm = float(np.linalg.norm(start))
    if not norm > 0:
        raise ValueError("the start of a Lanczos iteration is zero; expected any other vector")
    basis = [start / norm]
    diagonal: list[float] = []
    beside: list[float] = []
    for step in range(min(steps, size)):
        product = np.asarray(operator.matvec(basis[step]), dtype=np.float64)
        if not np.isfinite(product).all():
            raise ValueError("a product with the operator is not finite")
        diagonal.append(float(basis[step] @ product))
        rows = np.stack(basis)
        for _ in range(2):  # twice is enough (Parlett): after it the basis is orthogonal to rounding
            product = product - rows.T @ (rows @ product)
        beside.append(float(np.linalg.norm(product)))
        largest = max(np.abs(diagonal).max(), max(beside))
        if beside[-1] <= _BREAKDOWN * largest or step + 1 == min(steps, size):
            break
        basis.append(product / beside[-1])
    values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[:-1]))
    ritz = np.stack(basis).T @ vectors
    found = (values, ritz, beside[-1] * np.abs(vectors[-1]), vectors[0] ** 2)
    return Lanczos(*(np.asarray(part, dtype=np.float64) for part in found))


def probes(size: int, count: int, seed: int) -> FloatArray:
    """Random vectors of +1 and -1, shape (count, size)."""
    draws = np.random.default_rng([seed, 17]).integers(0, 2, (count, size))
    return np.where(draws == 0, -1.0, 1.0)


def spectral_density(runs: list[Lanczos], points: int = 400, width: float | None = None) -> Density:
    """Stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017; Ghorbani et al. 2019, arXiv 1901.10159).

    Args:
        runs: Lanczos runs from independent random starts, such as `probes`.
        points: Of the grid.
        width: Standard deviation of the Gaussian at each node; a hundredth of the spectrum's range if None.
    """
    nodes = np.concatenate([run.values for run in runs])
    weights = np.concatenate([run.weights for run in runs]) / len(runs)
    span = float(nodes.max() - nodes.min()) or max(abs(float(nodes[0])), 1.0)
    sigma = span / 100 if width is None else width
    grid = np.linspace(nodes.min() - 4 * sigma, nodes.max() + 4 * sigma, points)
    bumps = np.exp(-0.5 * ((grid[:, None] - nodes) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    return Density(tuple(grid.tolist()), tuple((bumps @ weights).tolist()), sigma, tuple(nodes), tuple(weights))


def hutch_plus_plus(operator: LinearOperator, products: int, seed: int) -> tuple[float, float]:
    """Trace by Hutch++ (Meyer et al. 2021, arXiv 2010.09649, algorithm 1), and its standard error.

    A third of the products finds the range of the largest eigenvalues, whose trace is then exact; Hutchinson's estimate
    takes the rest, with independent probes that tell its error.

    Args:
        operator: Symmetric, (n, n).
        products: At least 3; from 3 n on the trace is exact.
        seed: Of the probes.

    Returns:
        The trace, and the standard error of its random part: 0.0 where it is exact, NaN with a single probe.
    """
    if products < 3:
        raise ValueError(f"products is {products}; Hutch++ needs at least 3")
    size, count = operator.shape[0], products // 3
    if count >= size:
        return float(sum(operator.matvec(column) @ column for column in np.eye(size))), 0.0
    vectors = probes(size, 2 * count, seed)
    sketch = np.stack([operator.matvec(vector) for vector in vectors[:count]], 1)
    basis, _ = np.linalg.qr(sketch)
    known = float(sum(operator.matvec(column) @ column for column in basis.T))
    rest = vectors[count:].T
    rest = rest - basis @ (basis.T @ rest)
    samples = np.array([operator.matvec(column) @ column for column in rest.T])
    error = float(samples.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return known + float(samples.mean()), error


def hutchinson(operator: LinearOperator, products: int, seed: int) -> tuple[float, float]:
    """Trace by Hutchinson's estimator with random signs, and its standard error (NaN with a single probe)."""
    vectors = probes(operator.shape[0], products, seed)
    samples = np.array([operator.matvec(vector) @ vector for vector in vectors])
    error = float(samples.std(ddof=1) / np.sqrt(products)) if products > 1 else float("nan")
    return float(samples.mean()), error
