"""Unbiased estimates of squared measures of the population's surface, with intervals, floors and power (ours).

Let d_i in R^K be the rows of a `Form` for image (or batch) i of n, independent with mean mu and covariance Sigma. The
measured value |mean d|^2 has expectation theta + tr Sigma / n, where theta = |mu|^2 is the population's: roughness of
the sample is added to it. Products of different images do not have that part, and their mean, a U-statistic,

    U = sum_{i != j} d_i . d_j / (n (n - 1)) = |mean d|^2 - tr S / n,        S the sample covariance,

is unbiased for theta. It is the average of the products of the means of two disjoint halves over all splits. Its
variance is exactly

    Var U = 4 mu' Sigma mu / n + 2 tr Sigma^2 / (n (n - 1)).

Near theta = 0 the distribution of U is skewed (a weighted sum of centred chi-squares), and its variance depends on
theta; a bootstrap of U would triple the second term there. So intervals are found by inverting a test: the
distribution of U at a theta is taken as a shifted gamma (Pearson type III) with its first three moments, and the
interval holds every theta for which the observed U lies in the middle 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtri

from landscape.bootstrap import FloatArray

FEWEST_UNITS = 4
"""Units below which the fourth-order moments do not exist."""

POWER = 0.8
"""Probability with which a roughness has to be found."""

_NORMAL_SKEWNESS = 1e-3
_MOST_UNITS = 1e12


@dataclass(frozen=True)
class SquaredEstimate:
    """An estimate of theta, and what is known about its error.

    Attributes:
        units: n.
        measured: |mean d|^2.
        trace: tr S, unbiased for tr Sigma.
        trace_of_square: Unbiased for tr Sigma^2, for any distribution (Himeno and Yamada 2014), kept to its possible
            range.
        along: Variance of the images along the mean: Rayleigh quotient m' S m / m' m of the mean m. With noise alone
            its expectation is about tr Sigma^2 / tr Sigma, so that the variance of U is right at theta = 0 too.
    """

    units: int
    measured: float
    trace: float
    trace_of_square: float
    along: float

    @property
    def sample_part(self) -> float:
        """What the choice of n images adds to the measured value, in expectation: tr S / n."""
        return self.trace / self.units

    @property
    def estimate(self) -> float:
        """U, unbiased for theta; below zero by chance where theta is near zero."""
        return self.measured - self.sample_part

    @property
    def standard_error(self) -> float:
        """Root of the variance of U at theta = max(U, 0)."""
        return math.sqrt(self._moments(max(self.estimate, 0.0), self.units)[0])

    def interval(self, level: float) -> tuple[float, float]:
        """Interval for theta >= 0 of that coverage."""
        tail = (1.0 - level) / 2.0
        return self._theta_with(lambda theta: self._quantile(1.0 - tail, theta)), self._theta_with(
            lambda theta: self._quantile(tail, theta)
        )

    def floor(self, level: float) -> float:
        """What |mean d|^2 stays below with probability `level` if theta = 0."""
        return self.sample_part + self._quantile(level, 0.0)

    def detectable(self, level: float, power: float = POWER) -> float:
        """Smallest theta for which |mean d|^2 exceeds the floor with probability `power`."""
        threshold = self._quantile(level, 0.0)
        return self._theta_with(lambda theta: self._quantile(1.0 - power, theta), threshold)

    def units_needed(self, level: float, power: float = POWER) -> float:
        """Number of units with which a theta of the size of U is found with probability `power`; infinity if U <= 0."""
        theta = self.estimate
        if theta <= 0.0:
            return math.inf

        def found(units: float) -> float:
            return self._quantile(1.0 - power, theta, units) - self._quantile(level, 0.0, units)

        few, many = 2.0, 4.0
        if found(few) >= 0.0:
            return few
        while found(many) < 0.0:
            few, many = many, 2.0 * many
            if many > _MOST_UNITS:
                return math.inf
        return float(math.ceil(brentq(found, few, many, xtol=0.5)))

    def _moments(self, theta: float, units: float) -> tuple[float, float]:
        """Variance and third central moment of U at a theta."""
        variance = 4.0 * self.along * theta / units + 2.0 * self.trace_of_square / (units * (units - 1.0))
        cube = self.trace_of_square**2 / self.trace if self.trace > 0.0 else 0.0  # tr Sigma^3 of a scaled chi-square
        return variance, 8.0 * cube / units**3 + 24.0 * self.along**2 * theta / units**2

    def _quantile(self, probability: float, theta: float, units: float | None = None) -> float:
        """Quantile of U at a theta."""
        variance, third = self._moments(theta, units or self.units)
        if variance <= 0.0:
            return theta
        skewness = third / (variance * math.sqrt(variance))
        if skewness < _NORMAL_SKEWNESS:
            return theta + math.sqrt(variance) * float(ndtri(probability))
        shape = 4.0 / skewness**2
        return theta + math.sqrt(variance / shape) * (float(gammaincinv(shape, probability)) - shape)

    def _theta_with(self, quantile: Callable[[float], float], at: float | None = None) -> float:
        """The theta >= 0 whose quantile is `at` (U by default); 0 where it is that high at theta = 0 already."""
        target = self.estimate if at is None else at
        if quantile(0.0) >= target:
            return 0.0
        scale = max(self.measured, self.sample_part, target)
        upper = scale
        while quantile(upper) < target:
            upper *= 2.0
        return float(brentq(lambda theta: quantile(theta) - target, 0.0, upper, xtol=1e-9 * scale, rtol=1e-9))


def squared_estimate(rows: FloatArray) -> SquaredEstimate:
    """The estimate from the rows of a form.

    Args:
        rows: Shape (K, n), one column a unit.

    Raises:
        ValueError: Fewer than 4 units, or no rows.
    """
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] < FEWEST_UNITS:
        raise ValueError(f"rows have shape {rows.shape}; expected (K, n) with K > 0 and n >= {FEWEST_UNITS}")
    units = int(rows.shape[1])
    mean = rows.mean(axis=1)
    centred = rows - mean[:, None]
    lengths = np.square(centred).sum(axis=0)
    trace = float(lengths.sum()) / (units - 1)
    measured = float(mean @ mean)
    square = _trace_of_square(centred, lengths, trace)
    along = float(np.square(mean @ centred).sum()) / (units - 1) / measured if measured > 0.0 else 0.0
    return SquaredEstimate(units, measured, trace, square, along)


def _trace_of_square(centred: FloatArray, lengths: FloatArray, trace: float) -> float:
    """Himeno and Yamada 2014 (J. Multivariate Anal. 130, 27-38): unbiased for tr Sigma^2, without normality."""
    size, n = int(centred.shape[0]), int(centred.shape[1])
    gram = centred @ centred.T if size <= n else centred.T @ centred
    of_sample = float(np.square(gram).sum()) / (n - 1) ** 2
    fourth = float(np.square(lengths).sum()) / (n - 1)
    unbiased = (n - 1) / (n * (n - 2) * (n - 3)) * ((n - 1) * (n - 2) * of_sample + trace**2 - n * fourth)
    return float(min(max(unbiased, trace**2 / size), trace**2))  # tr^2 / K <= tr Sigma^2 <= tr^2 for every covariance


def cross_product(one: FloatArray, other: FloatArray) -> float:
    """Unbiased for mu . nu, the product of two forms' population means on the same images: pairs of different ones.

    Args:
        one: Rows (K, n) of the one value.
        other: Rows (K, n) of the other, the same units in the same order.
    """
    units = int(one.shape[1])
    return float(one.sum(axis=1) @ other.sum(axis=1) - np.sum(one * other)) / (units * (units - 1))
