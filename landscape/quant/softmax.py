"""Softmax of integer logits, defined so that its sums are exact.

The logits are integers (codes minus zero point) with one scale s. Each term depends on the integer distance
d = max - logit >= 0 only, so it is tabulated once per scale. Every term is a multiple of one unit and a sum of up to
``MAX_TOKENS`` terms stays within 2^53 units: float64 sums are exact, in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from landscape.quant.log2 import log2_dequantize, zero_code_of

SoftmaxKind = Literal["uniform", "log2"]

MAX_TOKENS = 2**13
"""Longest row whose sum is exact: 2^13 terms of at most 2^40 units stay within 2^53."""

_TERM_BITS = 40
_DISTANCES = 2**16
# Coefficients of exp(x) ~ c0 (x^2 + c1/c0 x + c2/c0) on (-ln 2, 0] as released, from I-BERT (arXiv 2101.01321, eq. 13).
_C0, _C1, _C2 = 0.35815147, 0.96963238 / 0.35815147, 1.0 / 0.35815147
_MINUS_LN2 = -0.6931
_HALVINGS = 30


@dataclass(frozen=True)
class SoftmaxTable:
    """Terms of a softmax by integer distance from the row's largest logit.

    Attributes:
        scale: scale of the logits.
        kind: "uniform" or "log2".
        terms: float64, shape (distances,); ``terms[d]`` is proportional to exp(-scale d), and the last one stands for
            all larger distances.
    """

    scale: float
    kind: SoftmaxKind
    terms: Tensor

    @cached_property
    def units(self) -> Tensor:
        """The terms as integers up to 2^40, int64: in units of 2^-40, or for "log2" of a power of two that fits."""
        if self.kind == "uniform":
            return (self.terms * 2.0**_TERM_BITS).to(torch.int64)
        unit = 2.0 ** max(math.frexp(float(self.terms.max()))[1] - _TERM_BITS, 0)
        return (self.terms / unit).to(torch.int64)


def softmax_table(scale: float, kind: SoftmaxKind) -> SoftmaxTable:
    """Tabulate the terms of a softmax.

    Distances from 2^16 on cannot occur between codes of up to 16 bits, only through a mask. They are not tabulated: the
    last term, that of an infinite distance, stands for them.

    "uniform" (**ours**): exp(-s d) rounded to a multiple of 2^-40; zero from s d = 41 ln 2 on.

    "log2" (**released**, the integer exponential of Log-Int-Softmax, FQ-ViT, arXiv 2111.13824): with
    b = floor(2.7073 / s), c = floor(2.7921 / s^2), m = ceil(0.6931 / s), t = min(d, 30 m), q = floor(t / m) and
    r = q m - t: term = (r (r + b) + c) 2^(30 - q). Constant from d = 30 m on.
    **Ours**: where a sum of 2^13 times the largest term, c 2^30, needs more than 53 bits, bits of smaller terms below
    the last of these are dropped, at most 2^-39 of the largest term. Terms of 8-bit logits (d <= 255) have no such bits
    at any scale from 2e-6 to 1.67: they are as released.

    Args:
        scale: positive scale of the logits.
        kind: which terms.

    Returns:
        The table, at most 2^16 + 1 terms.

    Raises:
        ValueError: if ``kind`` is unknown, or ``scale`` not positive and finite, or for "log2" outside 2^-24 .. 1.67
            (above, c would be 0).
    """
    if not (math.isfinite(scale) and scale > 0.0):
        raise ValueError(f"the scale of the logits is {scale}; expected a positive finite number")
    if kind == "uniform":
        count = min(math.floor((_TERM_BITS + 1) * math.log(2.0) / scale) + 1, _DISTANCES)
        exponentials = np.append(np.exp(-scale * np.arange(count)), 0.0)
        terms = np.rint(exponentials * 2.0**_TERM_BITS) / 2.0**_TERM_BITS
    elif kind == "log2":
        terms = _with_exact_sums(_log_int_terms(scale))
    else:
        raise ValueError(f"there is no softmax of kind {kind!r}; expected 'uniform' or 'log2'")
    return SoftmaxTable(scale, kind, torch.from_numpy(terms))


def uniform_softmax(logits: Tensor, table: SoftmaxTable) -> Tensor:
    """Probabilities term / sum of terms along the last axis, one rounding each.

    Every partial sum is a multiple of 2^-40 below 2^13, hence exact. With exact exponentials p, the result lies within
    (1 + tokens p) 2^-41 of p (and float64 rounding).

    Args:
        logits: integer-valued float64, shape (..., tokens), tokens <= 8192.
        table: of kind "uniform".

    Returns:
        Probabilities, float64, shape of ``logits``.

    Raises:
        ValueError: if the table is of the other kind or a row too long.
    """
    terms = _terms(logits, table, "uniform")
    return terms / terms.sum(-1, keepdim=True)


def log_int_softmax(logits: Tensor, table: SoftmaxTable, bits: int) -> tuple[Tensor, Tensor]:
    """Log-Int-Softmax along the last axis (**released**): powers of two near the probabilities.

    With ratio = round(sum / term) and f = floor(log2 ratio): code = f, plus 1 where ratio - 2^f >= 2^(f - 1); value
    2^-code, and zero where code >= 2^bits. The logarithm is read from the binary exponent and therefore exact.
    Against p = term / sum a value that is not zero lies within 0.625 p .. 1.5 p. Since no term is below about 2^-30 of
    the largest, codes other than the one of zero do not exceed 31 + log2(tokens).

    Args:
        logits: integer-valued float64, shape (..., tokens), tokens <= 8192.
        table: of kind "log2".
        bits: 2 to 8.

    Returns:
        Codes 0..2^bits, where 2^bits stands for zero (see ``log2_quantize``), and values; float64, shape of ``logits``.

    Raises:
        ValueError: if the table is of the other kind, a row too long, or ``bits`` out of range.
    """
    zero_code = zero_code_of(bits)
    terms = _terms(logits, table, "log2")
    ratio = torch.round(terms.sum(-1, keepdim=True) / terms)
    mantissa, exponent = torch.frexp(ratio)
    # ratio = mantissa 2^exponent with 1/2 <= mantissa < 1, so f = exponent - 1 and the upper half starts at 3/4.
    codes = (exponent - 1 + (mantissa >= 0.75)).to(torch.float64).clamp(max=zero_code)
    return codes, log2_dequantize(codes, bits)


def _terms(logits: Tensor, table: SoftmaxTable, kind: SoftmaxKind) -> Tensor:
    if table.kind != kind:
        raise ValueError(f"the table is of kind {table.kind!r}; expected {kind!r}")
    if logits.shape[-1] > MAX_TOKENS:
        raise ValueError(f"a row has {logits.shape[-1]} logits; sums are exact for at most {MAX_TOKENS}")
    distance = logits.amax(-1, keepdim=True) - logits
    return table.terms.to(logits.device)[distance.clamp(max=table.terms.numel() - 1).long()]


def log_int_constants(scale: float) -> tuple[int, int, int]:
    """b, c and m of Log-Int-Softmax, see `softmax_table`."""
    return math.floor(_C1 / scale), math.floor(_C2 / scale**2), -math.floor(_MINUS_LN2 / scale)


def _log_int_terms(scale: float) -> NDArray[np.float64]:
    b, c, m = log_int_constants(scale)
    if c < 1 or scale < 2.0**-24:
        raise ValueError(
            f"log-int-softmax got logits of scale {scale:g}; expected 2^-24 .. 1.67: use more bits for the logits, "
            "or the uniform softmax"
        )
    distance = np.append(np.arange(min(_HALVINGS * m, _DISTANCES)), _HALVINGS * m)
    q = distance // m
    r = (q * m - distance).astype(np.float64)
    # Exact: |r| <= m and b, c below 2^50 make every intermediate result an integer below 2^53; ldexp moves the point.
    terms: NDArray[np.float64] = np.ldexp(r * (r + b) + c, _HALVINGS - q)
    return terms


def _with_exact_sums(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop what lies below the unit in which a sum of ``MAX_TOKENS`` of the largest term needs 53 bits."""
    exponent = math.frexp(MAX_TOKENS * float(terms.max()))[1] - 53
    return np.ldexp(np.floor(np.ldexp(terms, -exponent)), exponent) if exponent > 0 else terms
