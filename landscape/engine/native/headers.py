"""The C structures of the kernels' plans, field by field as in their headers."""

from __future__ import annotations

import ctypes
from typing import Any

from torch import Tensor

_P, _I, _N, _D, _F = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_double, ctypes.c_float


class Fast(ctypes.Structure):
    """See `Fast` in layer.h."""

    _fields_ = (("gain", _P), ("offset", _P), ("bias", _P), ("tolerance", _F), ("per_total", _F), ("saturate", _I))


class Layer(ctypes.Structure):
    """See `Layer` in layer.h."""

    _fields_ = (
        ("depth", _N), ("outputs", _N), ("zero", _I), ("weights", _P), ("init", _P), ("shift", _P), ("gain", _P),
        ("offset", _P), ("bias", _P), ("fast", Fast),
    )  # fmt: skip


class Steps(ctypes.Structure):
    """See `Steps` in layer.h."""

    _fields_ = (
        ("thresholds", _P), ("codes", _P), ("count", _N), ("coefficients", _P), ("highest", _F), ("last", _F),
    )  # fmt: skip


class Sum(ctypes.Structure):
    """See `Sum` in layer.h."""

    _fields_ = (
        ("a_wide", _I), ("b_wide", _I), ("a_zero", _I), ("b_zero", _I), ("a_scale", _D), ("b_scale", _D),
        ("quantizer", _P), ("a_gain", _P), ("b_gain", _P), ("tolerance", _F),
    )  # fmt: skip


class LayerStep(ctypes.Structure):
    """See `LayerStep` in layer.h."""

    _fields_ = (("layer", Layer), ("finish", _I), ("quantizer", _P), ("steps", _P), ("sum", _P))


class Norm(ctypes.Structure):
    """See `Norm` in norm.h."""

    _fields_ = (
        ("width", _N), ("wide", _I), ("zero", _I), ("spread_offset", _D), ("weight", _P), ("bias", _P),
        ("quantizer", _P), ("gain", _P), ("shift", _P), ("tolerance", _F), ("saturate", _I),
        ("around_zero", _I), ("floor", _D), ("integer", _I), ("scale", _D), ("largest_gain", _F), ("per_mean", _F),
    )  # fmt: skip


class Product(ctypes.Structure):
    """See `Product` in attention.h."""

    _fields_ = (("layer", Layer), ("b_zero", _I), ("quantizer", _P), ("steps", _P))


class Softmax(ctypes.Structure):
    """See `Softmax` in softmax.h."""

    _fields_ = (
        ("planes", _P), ("units", _P), ("terms", _P), ("quantizer", _P), ("span", _I), ("tolerance", _F),
        ("saturate", _I), ("reaches", _I * 16), ("powers", _I), ("smallest", _I),
    )  # fmt: skip


class Attention(ctypes.Structure):
    """See `Attention` in attention.h."""

    _fields_ = (("logits", Product), ("output", Product), ("softmax", Softmax))


class Matrices(ctypes.Structure):
    """See `Matrices` in matrices.h."""

    _fields_ = (("product", Product), ("count", _N), ("rows", _N), ("columns", _I))


class Windows(ctypes.Structure):
    """See `Windows` in windows.h."""

    _fields_ = tuple(
        (name, _I if name == "zero" else _N)
        for name in (
            "channels", "height", "width", "row_stride", "column_stride", "out_height", "out_width", "kernel_height",
            "kernel_width", "down", "right", "top", "left", "high", "wide", "zero",
        )
    )  # fmt: skip


class Convolution(ctypes.Structure):
    """See `Convolution` in convolution.h."""

    _fields_ = (
        ("step", LayerStep), ("windows", Windows), ("groups", _N), ("outputs", _N), ("taps", _P), ("wide", _P),
        ("rows", _I), ("multiplier", _I),
    )  # fmt: skip


class Pooling(ctypes.Structure):
    """See `Pooling` in pooling.h."""

    _fields_ = (("windows", Windows), ("quantizer", _P), ("scale", _D), ("count", _D))


class Table(ctypes.Structure):
    """See `Table` in plan.h."""

    _fields_ = (("codes", _P), ("channels", _N))


class Taps(ctypes.Structure):
    """See `Taps` in resample.h."""

    _fields_ = (("places", _P), ("weights", _P), ("count", _N), ("length", _N))


class Resample(ctypes.Structure):
    """See `Resample` in resample.h."""

    _fields_ = (
        ("width", _N), ("channels", _N), ("row_stride", _N), ("column_stride", _N), ("rows", Taps), ("columns", Taps),
        ("zero", _I), ("scale", _D), ("quantizer", _P),
    )  # fmt: skip


class Runs(ctypes.Structure):
    """See `Runs` in plan.h."""

    _fields_ = (("runs", _P), ("count", _N), ("bytes", _N), ("zero", _I))


class WeightJob(ctypes.Structure):
    """See `WeightJob` in weights.h."""

    _fields_ = (
        ("weight", _P), ("outputs", _N), ("depth", _N), ("scale", _P), ("zero_point", _P), ("highest", _D),
        ("mean", _P), ("squared_deviations", _P), ("packed", _P), ("centre", _P), ("code_sums", _P),
        ("gain", _P), ("offset", _P),
    )  # fmt: skip


class Finish:
    """See `Finish` in layer.h."""

    QUANTIZE, POWERS_OF_TWO, STEPS, SUM, PLAIN = range(5)


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers lie; null for None."""
    return None if tensor is None else tensor.data_ptr()


def address_of(struct: Any) -> int:
    """Where a structure lies."""
    return ctypes.addressof(struct)
