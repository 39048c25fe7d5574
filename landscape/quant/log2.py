"""Logarithmic quantization of probabilities: code k stands for 2^-k."""

from __future__ import annotations

import torch
from torch import Tensor

_HALF_OCTAVE = 0.5**0.5


def log2_quantize(x: Tensor, bits: int) -> Tensor:
    """Codes k = round(-log2 x) (**released**), where 2^bits stands for zero.

    The codes 0..2^bits - 1 stand for 2^-k. Whatever rounds to k >= 2^bits is replaced by exact zero, as the released
    code does through a mask beside the codes; here that is the additional code 2^bits, so codes alone determine values.
    The logarithm is rounded exactly: with x = m 2^e, 1/2 <= m < 1, k = -e, plus 1 where m < 2^(-1/2). Values above 1
    get code 0.

    Args:
        x: non-negative values, any shape and floating dtype.
        bits: 2 to 8.

    Returns:
        Codes, float64, shape of ``x``.

    Raises:
        ValueError: if ``bits`` is out of range or ``x`` holds negative values or NaN.
    """
    zero_code = zero_code_of(bits)
    if not bool((x >= 0).all()):
        raise ValueError("x holds negative values or NaN; a log2 quantizer expects values >= 0")
    mantissa, exponent = torch.frexp(x.to(torch.float64))
    codes = (mantissa < _HALF_OCTAVE).to(torch.float64) - exponent
    return torch.where(x > 0, codes, float(zero_code)).clamp(0, zero_code)


def log2_dequantize(codes: Tensor, bits: int) -> Tensor:
    """Values 2^-code, and 0 for the code 2^bits; exact, float64, shape of ``codes``.

    Args:
        codes: integers 0..2^bits, any numeric dtype.
        bits: 2 to 8.

    Raises:
        ValueError: if ``bits`` is out of range.
    """
    # Looked up rather than computed: exp2 and pow are not exact on every device.
    values = [2.0**-code for code in range(zero_code_of(bits))] + [0.0]
    return torch.tensor(values, dtype=torch.float64, device=codes.device)[codes.long()]


def zero_code_of(bits: int) -> int:
    """The code 2^bits that stands for zero.

    Raises:
        ValueError: if ``bits`` is not 2 to 8.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits is {bits}; expected 2 to 8")
    return 1 << bits
