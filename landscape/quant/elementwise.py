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


def _leaky_relu(negative_slope: float = 0.01) -> Elementwise:
    return Elementwise(lambda x: np.where(x >= 0.0, x, negative_slope * x), (0.0,))


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
}
_WITH_OPTIONS = {"leaky_relu": _leaky_relu, "elu": _elu}

ACTIVATIONS = (*_FIXED, *_WITH_OPTIONS)
"""Names that ``activation_function`` knows: those of the PyTorch functions, and gelu_tanh for GELU's approximation."""


def activation_function(name: str, options: Mapping[str, float] | None = None) -> Elementwise:
    """The activation function of a name.

    Args:
        name: one of ``ACTIVATIONS``.
        options: ``negative_slope`` of leaky_relu (0.01), ``alpha`` of elu (1); the others have none.

    Raises:
        ValueError: if the name or an option is unknown.
    """
    options = options or {}
    allowed = {"leaky_relu": {"negative_slope"}, "elu": {"alpha"}}.get(name, set())
    if name not in ACTIVATIONS or not set(options) <= allowed:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"no activation function {name!r} with options {sorted(options)}; there are {known}")
    return _FIXED[name] if name in _FIXED else _WITH_OPTIONS[name](**options)
