"""Activation functions in float64, with the points where they turn.

Numpy and scipy evaluate them on the CPU: for the float network, and to build step tables (see ``steps``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, ndtr
from torch import Tensor

Vector = NDArray[np.float64]

# Zeros of the derivative, computed to 40 digits and rounded once.
_GELU_TURN = -0.7517915246935645
_GELU_TANH_TURN = -0.7524614220710163
_SILU_TURN = -1.2784645427610737
_MISH_TURN = -1.1924312145154952

_SMALLEST = 5e-324
"""The smallest positive float64 number."""


@dataclass(frozen=True)
class Elementwise:
    """A real function that is monotone between its turning points.

    Attributes:
        function: maps a float64 vector to a float64 vector; finite or infinite, never NaN, for every finite argument.
        turning_points: ascending; the function is monotone up to and including each, and after it.
    """

    function: Callable[[Vector], Vector]
    turning_points: tuple[float, ...] = ()

    def __call__(self, x: Tensor) -> Tensor:
        """The function of a tensor of any shape; float64, on its device."""
        values = self.function(x.detach().to("cpu", torch.float64).reshape(-1).numpy())
        return torch.from_numpy(values).reshape(x.shape).to(x.device)


def _gelu(x: Vector) -> Vector:
    # x Phi(x) through ndtr: 1 + erf(x / sqrt 2) cancels in the left tail.
    return np.asarray(x * ndtr(x))


def _gelu_tanh(x: Vector) -> Vector:
    # (1 + tanh u) / 2 = expit(2 u), which does not cancel in the left tail. x^3 may overflow, which expit takes well.
    with np.errstate(over="ignore"):
        u = np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)
    return np.asarray(x * expit(2.0 * u))


def _silu(x: Vector) -> Vector:
    return np.asarray(x * expit(x))


def _sigmoid(x: Vector) -> Vector:
    return np.asarray(expit(x))


def _tanh(x: Vector) -> Vector:
    return np.asarray(np.tanh(x))


def _hardsigmoid(x: Vector) -> Vector:
    return np.asarray(np.clip(x + 3.0, 0.0, 6.0) / 6.0)


def _hardswish(x: Vector) -> Vector:
    return x * _hardsigmoid(x)


def _relu(x: Vector) -> Vector:
    return np.asarray(np.maximum(x, 0.0))


def _relu6(x: Vector) -> Vector:
    return np.asarray(np.clip(x, 0.0, 6.0))


def _elu(alpha: float = 1.0) -> Elementwise:
    return Elementwise(lambda x: np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0))), (0.0,))


def _clamp(low: float = -np.inf, high: float = np.inf) -> Elementwise:
    return Elementwise(lambda x: np.clip(x, low, high))


def _leaky_relu(negative_slope: float = 0.01) -> Elementwise:
    return Elementwise(lambda x: np.where(x >= 0.0, x, negative_slope * x), (0.0,))


def _softplus(x: Vector) -> Vector:
    return np.asarray(np.where(x > 20.0, x, np.log1p(np.exp(np.minimum(x, 20.0)))))  # PyTorch's threshold


def _mish(x: Vector) -> Vector:
    # tanh(log(1 + e)) = (e^2 + 2 e) / (e^2 + 2 e + 2) with e = exp(x), which does not cancel; beyond 20 it is 1.
    e = np.exp(np.minimum(x, 20.0))
    return np.asarray(x * (e * (e + 2.0) / (e * (e + 2.0) + 2.0)))


def _exp(x: Vector) -> Vector:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def _square(x: Vector) -> Vector:
    with np.errstate(over="ignore"):
        return np.asarray(x * x)


def _sqrt(x: Vector) -> Vector:
    return np.asarray(np.sqrt(np.maximum(x, 0.0)))


def _reciprocal(x: Vector) -> Vector:
    # Zero of either sign gives plus infinity.
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(1.0 / (x + 0.0))


def _rsqrt(x: Vector) -> Vector:
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / _sqrt(x))


_FIXED = {
    "gelu": Elementwise(_gelu, (_GELU_TURN,)),
    "gelu_tanh": Elementwise(_gelu_tanh, (_GELU_TANH_TURN,)),
    "silu": Elementwise(_silu, (_SILU_TURN,)),
    "sigmoid": Elementwise(_sigmoid),
    "tanh": Elementwise(_tanh),
    "hardsigmoid": Elementwise(_hardsigmoid),
    "hardswish": Elementwise(_hardswish, (-1.5,)),
    "relu": Elementwise(_relu),
    "relu6": Elementwise(_relu6),
    "softplus": Elementwise(_softplus),
    "mish": Elementwise(_mish, (_MISH_TURN,)),
    "exp": Elementwise(_exp),
    "abs": Elementwise(np.abs, (0.0,)),
    "square": Elementwise(_square, (0.0,)),
    "sqrt": Elementwise(_sqrt),
    "rsqrt": Elementwise(_rsqrt),
    "reciprocal": Elementwise(_reciprocal, (-_SMALLEST,)),
}
_WITH_OPTIONS: dict[str, Callable[..., Elementwise]] = {"leaky_relu": _leaky_relu, "elu": _elu, "clamp": _clamp}
_OPTIONS = {"leaky_relu": {"negative_slope"}, "elu": {"alpha"}, "clamp": {"low", "high"}}

ACTIVATIONS = (*_FIXED, *_WITH_OPTIONS)
"""Names that ``activation_function`` knows: those of the PyTorch functions, and gelu_tanh for GELU's approximation."""


def activation_function(name: str, options: Mapping[str, float] | None = None) -> Elementwise:
    """The activation function of a name.

    Args:
        name: one of ``ACTIVATIONS``.
        options: ``negative_slope`` of leaky_relu (0.01), ``alpha`` of elu (1), ``low`` and ``high`` of clamp (none);
            the rest have none.

    Raises:
        ValueError: if the name or an option is unknown.
    """
    options = options or {}
    allowed = _OPTIONS.get(name, set())
    if name not in ACTIVATIONS or not set(options) <= allowed:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"no activation function {name!r} with options {sorted(options)}; there are {known}")
    return _FIXED[name] if name in _FIXED else _WITH_OPTIONS[name](**options)
