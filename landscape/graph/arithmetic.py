"""Sums, products, quotients and norms of values, constants and numbers, as nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.graph.call import Call, Steps, UnsupportedError
from landscape.graph.ir import Node

MASK_LEVEL = -50.0
"""A constant made of zeros and of values at or below this is an attention mask: exp(-50) is below any 8-bit step."""


def is_mask(value: Tensor | None) -> bool:
    """Whether a constant only hides values: zeros, and numbers so low that nothing is left after the softmax."""
    if value is None:
        return False
    hidden = value <= MASK_LEVEL
    return bool(hidden.any()) and bool((hidden | (value == 0)).all())


def sum_nodes(call: Call) -> list[Node]:
    """``add``, ``sub`` and ``rsub``: of two values, of a value and a mask, or of a value and a number."""
    alpha = call.arguments.get("alpha")
    alpha = 1.0 if alpha is None else float(alpha)
    factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[call.op]
    number, terms = 0.0, list[tuple[str, float]]()
    for argument, factor in zip((call.arguments["self"], call.arguments["other"]), factors, strict=True):
        same = _number(call, argument)
        if same is None:
            terms.append((argument[1:], factor))
        else:
            number += factor * same
    if len(terms) == 1:
        return [_shifted(call, terms[0][0], terms[0][1], number)]
    for (one, factor), (other, of_other) in (terms, reversed(terms)):
        mask = call.constant(f"%{one}")
        if is_mask(mask) and (factor, of_other) == (1.0, 1.0):
            return [call.node("mask_add", other, mask=mask)]
    steps = Steps(call)
    steps.add("add", call.shape, *[_scaled(steps, call, name, factor) for name, factor in terms])
    return steps.nodes


def _number(call: Call, argument: Any) -> float | None:
    """A number, or a constant tensor that holds only one and stretches nothing; None for others."""
    if not call.is_value(argument):
        return float(argument)
    constant = call.constant(argument)
    if constant is None or constant.numel() != 1 or constant.ndim > len(call.shape) or -1 in call.shapes[argument[1:]]:
        return None
    others = [a for a in (call.arguments["self"], call.arguments["other"]) if a is not argument]
    alone = any(call.is_value(other) and call.shapes[other[1:]] == call.shape for other in others)
    return float(constant) if alone else None


def _shifted(call: Call, name: str, factor: float, number: float) -> Node:
    if number == 0.0:
        return call.node("identity", name) if factor == 1.0 else call.node("scale", name, factor=factor)
    axis = 1 if len(call.shape) == 4 else -1
    channels = call.shape[axis]
    if channels == -1:
        raise UnsupportedError(f"{call.op} of a number, where the images lie along the last axis")
    weight = torch.full((channels,), factor, dtype=torch.float64)
    return call.node("affine", name, weight=weight, bias=torch.full_like(weight, number), axis=axis)


def _scaled(steps: Steps, call: Call, name: str, factor: float) -> str:
    if factor == 1.0:
        return name
    constant = call.constant(f"%{name}")
    if constant is not None and -1 not in call.shapes[name]:
        return steps.constant(constant * factor, "constant")
    return steps.add("scale", call.shapes[name], name, factor=factor)


def product_nodes(call: Call) -> list[Node]:
    """``mul`` of two values, of a value and a number, or of a value and a constant."""
    first, second = call.arguments["self"], call.arguments["other"]
    for one, other in ((first, second), (second, first)):
        number = _number(call, other)
        if number is not None:
            return [call.node("scale", one[1:], factor=number)]
    for one, other in ((first, second), (second, first)):
        constant = call.constant(other)
        if constant is not None:
            by_channel = _affine(call, one[1:], constant)
            if by_channel is not None:
                return [by_channel]
    return [call.node("mul", first[1:], second[1:])]


def product_sum_nodes(call: Call) -> list[Node]:
    """``addcmul``: x + value a b."""
    a, b, factor = call.arguments["tensor1"], call.arguments["tensor2"], call.arguments.get("value", 1)
    if all(call.shapes[name[1:]] != call.shape for name in (a, b)):
        raise UnsupportedError("addcmul of a product that is repeated")
    steps = Steps(call)
    steps.nodes += product_nodes(replace(call, arguments={"self": a, "other": b}))
    product = "@0" if float(factor) == 1.0 else steps.add("scale", call.shape, "@0", factor=float(factor))
    steps.add("add", call.shape, call.value("self"), product)
    return steps.nodes


def _affine(call: Call, name: str, factors: Tensor) -> Node | None:
    """A value times a constant with a factor for each channel; None where the constant is another."""
    if call.shapes[name] != call.shape:
        return None
    if factors.numel() == factors.shape[-1] == call.shape[-1]:
        return call.node("affine", name, weight=factors.reshape(-1), axis=-1)
    if factors.ndim >= 3 and factors.numel() == factors.shape[-3] == call.shape[1]:
        return call.node("affine", name, weight=factors.reshape(-1), axis=1)
    return None


def quotient_nodes(call: Call) -> list[Node]:
    """``div``: by a number or constant as the product with its reciprocal; by a value with the function 1 / x.

    A value over its own norm is one node.
    """
    if call.arguments.get("rounding_mode"):
        raise UnsupportedError("a division that rounds its result")
    first, second = call.arguments["self"], call.arguments["other"]
    number = _number(call, second)
    if number is not None:
        return [call.node("scale", call.value("self"), factor=1.0 / number)]
    steps, constant = Steps(call), call.constant(second)
    if constant is not None:
        factors = 1.0 / constant
        by_channel = _affine(call, call.value("self"), factors)
        if by_channel is not None:
            return [by_channel]
        if -1 in call.shapes[second[1:]]:
            raise UnsupportedError("division by a constant that is repeated for every image")
        steps.add("mul", call.shape, call.value("self"), steps.constant(factors, "reciprocal"))
        return steps.nodes
    normalized = _over_its_norm(call)
    if normalized is not None:
        return [normalized]
    inverse = steps.add("unary", call.shapes[second[1:]], second[1:], function="reciprocal")
    if call.is_value(first):
        steps.add("mul", call.shape, first[1:], inverse)
    elif float(first) != 1.0:
        steps.add("scale", call.shape, inverse, factor=float(first))
    return steps.nodes


def _over_its_norm(call: Call) -> Node | None:
    """``torch.nn.functional.normalize`` over the last axis: x / max(norm of x, floor)."""
    source, found = call.value("self"), call.calls.get(call.value("other"))
    floor = 0.0
    while found is not None and found.op in ("expand", "expand_as", "clamp_min", "clamp"):
        if found.op.startswith("clamp"):
            least = found.arguments.get("min")
            if floor or found.arguments.get("max") is not None or not isinstance(least, int | float):
                return None
            floor = float(least)
        found = found.calls.get(found.value("self"))
    if found is None or found.op != "linalg_vector_norm" or found.value("self") != source:
        return None
    if not _is_row_norm(found):
        return None
    width = call.shape[-1]
    weight = torch.full((width,), width**-0.5, dtype=torch.float64)
    return call.node("rms_norm", source, weight=weight, eps=0.0, floor=max(floor * width**-0.5, _LEAST_NORM))


_LEAST_NORM = 1e-30
"""Of rows of zeros where a network would divide zero by zero."""


def _is_row_norm(call: Call) -> bool:
    axes, rank = call.arguments.get("dim"), len(call.shapes[call.value("self")])
    if not axes or float(call.arguments.get("ord", 2)) != 2.0:
        return False
    return axes_of(axes, rank, call.op) == (rank - 1,) and bool(call.arguments.get("keepdim"))


def norm_nodes(call: Call) -> list[Node]:
    """``linalg_vector_norm``: the root of the sum of squares."""
    if float(call.arguments.get("ord", 2)) != 2.0:
        raise UnsupportedError(f"a norm of order {call.arguments['ord']}; only the root of the sum of squares")
    source, steps = call.value("self"), Steps(call)
    squares = steps.add("unary", call.shapes[source], source, function="square")
    total = _total(steps, call, squares, call.arguments.get("dim"))
    steps.add("unary", call.shape, total, function="sqrt")
    return steps.nodes


def total_nodes(call: Call) -> list[Node]:
    """``sum``: the mean, times how many numbers there are."""
    steps = Steps(call)
    _total(steps, call, call.value("self"), call.arguments.get("dim"))
    return steps.nodes


def _total(steps: Steps, call: Call, source: str, dim: int | Sequence[int] | None) -> str:
    axes, count = _reduced(call, dim)
    keep = bool(call.arguments.get("keepdim"))
    mean = steps.add("mean", call.shape, source, dims=axes, keepdim=keep)
    return steps.add("scale", call.shape, mean, factor=float(count))


def _reduced(call: Call, dim: int | Sequence[int] | None) -> tuple[tuple[int, ...], int]:
    """The axes over which a call goes, and how many numbers of its value lie along them; never images."""
    shape = call.shapes[call.value("self")]
    axes = axes_of(dim, len(shape), call.op)
    if any(shape[axis] == -1 for axis in axes):
        raise UnsupportedError(f"{call.op} over images")
    return axes, math.prod(shape[axis] for axis in axes)


def larger_nodes(call: Call) -> list[Node]:
    """``maximum`` and ``minimum`` of two values: b + relu(a - b), or b - relu(b - a)."""
    first, second = (argument[1:] for argument in (call.arguments["self"], call.arguments["other"]))
    steps, sign = Steps(call), 1.0 if call.op == "maximum" else -1.0
    difference = steps.add("add", call.shape, _scaled(steps, call, first, sign), _scaled(steps, call, second, -sign))
    rest = steps.add("unary", call.shape, difference, function="relu")
    steps.add("add", call.shape, second, rest if sign > 0 else steps.add("scale", call.shape, rest, factor=-1.0))
    return steps.nodes


def variance_nodes(call: Call) -> list[Node]:
    """``var`` and ``std``: the mean square of what is left without the mean."""
    a, source, steps = call.arguments, call.value("self"), Steps(call)
    shape, (axes, count) = call.shapes[source], _reduced(call, a.get("dim"))
    unbiased = a.get("unbiased", True) if a.get("correction") is None else int(a["correction"])
    reduced = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    mean = steps.add("mean", reduced, source, dims=axes, keepdim=True)
    rest = steps.add("add", shape, source, steps.add("scale", reduced, mean, factor=-1.0))
    squares = steps.add("unary", shape, rest, function="square")
    result = steps.add("mean", call.shape, squares, dims=axes, keepdim=bool(a.get("keepdim")))
    if unbiased:
        result = steps.add("scale", call.shape, result, factor=count / (count - int(unbiased)))
    if call.op == "std":
        steps.add("unary", call.shape, result, function="sqrt")
    return steps.nodes


def axes_of(dim: int | Sequence[int] | None, rank: int, what: str) -> tuple[int, ...]:
    """Axes as numbers from 0.

    Raises:
        UnsupportedError: All are meant, the images included.
    """
    if dim is None or (not isinstance(dim, int) and not dim):
        raise UnsupportedError(f"{what} over all axes, the images included")
    axes: list[int] = [dim] if isinstance(dim, int) else list(dim)
    return tuple(axis % rank for axis in axes)


def rms_norm(call: Call) -> Node:
    """``rms_norm`` over the last axis."""
    shape = call.arguments["normalized_shape"]
    if len(shape) != 1:
        raise UnsupportedError(f"rms_norm over {len(shape)} axes; only over the last one")
    weight, eps = call.tensor("weight"), call.arguments.get("eps")
    weight = torch.ones(shape[0], dtype=torch.float64) if weight is None else weight
    eps = torch.finfo(torch.float32).eps if eps is None else float(eps)
    return call.node("rms_norm", call.value("input"), weight=weight, eps=eps, floor=0.0)


_POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}


def power(call: Call) -> Node:
    """``pow`` of a value to a number that has a function of its own."""
    exponent = call.arguments["exponent"]
    if call.is_value(exponent) or float(exponent) not in (*_POWERS, 1.0):
        known = ", ".join(f"{number:g}" for number in _POWERS)
        raise UnsupportedError(f"a power other than {known} (in landscape/quant/elementwise.py)")
    if float(exponent) == 1.0:
        return call.node("identity", call.value("self"))
    return call.node("unary", call.value("self"), function=_POWERS[float(exponent)])


def clamp(call: Call) -> Node:
    """``clamp`` and its kin between numbers; between 0 and 6 it is ReLU6, above 0 ReLU."""
    names = {"hardtanh": ("min_val", "max_val")}.get(call.op, ("min", "max"))
    low, high = (call.arguments.get(name) for name in names)
    if call.op == "hardtanh":
        low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
    if any(call.is_value(end) for end in (low, high)):
        raise UnsupportedError(f"{call.op} between values; only between numbers")
    low, high = (-math.inf if low is None else float(low)), (math.inf if high is None else float(high))
    node = call.node("unary", call.value("input" if "input" in call.arguments else "self"), function="clamp")
    if low == 0.0 and high in (6.0, math.inf):
        return replace(node, attrs={"function": "relu6" if high == 6.0 else "relu"})
    return replace(node, attrs={"function": "clamp", "low": low, "high": high})
