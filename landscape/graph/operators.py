"""How every PyTorch operation is taken apart: the one table to read, or to extend, for a new network.

Each entry maps the name of an ATen operation (in-place variants without their underscore) to a function that
turns a call of it into a `Node`. What is not in the table cannot be quantized, and `capture` says so by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from landscape.graph import composed, convolutions, windows
from landscape.graph.arithmetic import (
    axes_of,
    clamp,
    larger_nodes,
    norm_nodes,
    power,
    product_nodes,
    product_sum_nodes,
    quotient_nodes,
    rms_norm,
    sum_nodes,
    total_nodes,
    variance_nodes,
)
from landscape.graph.call import Call, UnsupportedError
from landscape.graph.ir import Node

UNARY = (
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "hardswish",
    "hardsigmoid",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "softplus",
    "mish",
    "exp",
    "abs",
    "square",
    "sqrt",
    "rsqrt",
    "reciprocal",
)
IDENTITY = (
    "dropout", "feature_dropout", "alias", "contiguous", "clone", "detach", "lift_fresh_copy", "to", "_to_copy",
    "type_as",
)  # fmt: skip
VIEWS = (
    "flatten", "reshape", "view", "_unsafe_view", "reshape_as", "view_as", "unflatten",
    "transpose", "permute", "t", "numpy_T", "squeeze", "unsqueeze",
    "select", "slice", "narrow", "index", "roll", "flip", "unfold",
    "channel_shuffle", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
RESHAPING = ("flatten", "reshape", "view", "_unsafe_view", "reshape_as", "view_as", "unflatten")


def _linear(call: Call) -> Node:
    return call.node("linear", call.value("input"), weight=call.tensor("weight"), bias=call.tensor("bias"))


def _matmul(call: Call) -> Node:
    first, second = ("self", "other") if "other" in call.arguments else ("self", "mat2")
    return call.node("matmul", call.value(first), call.value(second), scale=1.0)


def _batch_norm(call: Call) -> Node:
    if call.arguments.get("training"):
        raise UnsupportedError("batch_norm in training mode; call .eval() on the network")
    mean, variance = call.tensor("running_mean"), call.tensor("running_var")
    if mean is None or variance is None:
        raise UnsupportedError("batch_norm without running statistics")
    weight, bias = call.tensor("weight"), call.tensor("bias")
    gain = torch.rsqrt(variance + call.arguments["eps"])
    gain = gain if weight is None else gain * weight
    shift = -mean * gain if bias is None else bias - mean * gain
    return call.node("affine", call.value("input"), weight=gain, bias=shift, axis=1)


def _layer_norm(call: Call) -> Node:
    shape = call.arguments["normalized_shape"]
    if len(shape) != 1:
        raise UnsupportedError(f"layer_norm over {len(shape)} axes; only over the last one")
    weight, bias = call.tensor("weight"), call.tensor("bias")
    weight = torch.ones(shape, dtype=torch.float64) if weight is None else weight
    bias = torch.zeros(shape, dtype=torch.float64) if bias is None else bias
    return call.node("layer_norm", call.value("input"), weight=weight, bias=bias, eps=call.arguments.get("eps", 1e-5))


def _unary(call: Call) -> Node:
    a = call.arguments
    function, options = call.op, {}
    if function == "gelu" and a.get("approximate", "none") == "tanh":
        function = "gelu_tanh"
    if function == "leaky_relu":
        options["negative_slope"] = a.get("negative_slope", 0.01)
    if function == "elu" and (a.get("alpha", 1), a.get("scale", 1), a.get("input_scale", 1)) != (1, 1, 1):
        raise UnsupportedError("elu with factors other than 1")
    if function == "softplus" and (a.get("beta", 1), a.get("threshold", 20)) != (1, 20):
        raise UnsupportedError("softplus with beta or threshold of its own")
    return call.node("unary", call.value("input" if "input" in a else "self"), function=function, **options)


def _mean(call: Call) -> Node:
    rank = len(call.shapes[call.value("self")])
    axes = axes_of(call.arguments.get("dim"), rank, "mean")
    return call.node("mean", call.value("self"), dims=axes, keepdim=bool(call.arguments.get("keepdim")))


def _cat(call: Call) -> Node:
    names = [argument[1:] for argument in call.arguments["tensors"]]
    return call.node("cat", *names, dim=call.arguments.get("dim", 0))


def _view(call: Call) -> Node:
    name = call.value("self")
    if call.op in RESHAPING:  # the recorded shape says it all, and needs no other value
        if call.shape.count(-1) > 1:
            raise UnsupportedError(f"{call.op} that spreads the images over two axes")
        return call.node("view", name, call=torch.reshape, args=(call.shape,))
    if call.op == "index":
        options = {"indices": [None if i is None else call.constants[i[1:]].long() for i in call.arguments["indices"]]}
    else:
        options = {key: value for key, value in call.arguments.items() if key != "self"}
    if any(call.is_value(option) for option in options.values()):
        raise UnsupportedError(f"{call.op} whose arguments depend on the images")
    return call.node("view", name, call=call.target, kwargs=options)


def _copied(call: Call) -> Node:
    source = call.value("src")
    if call.shapes[source] != call.shape:
        raise UnsupportedError("copying into a tensor of another shape")
    return call.node("identity", source)


def _identity(call: Call) -> Node:
    if call.op.endswith("dropout") and call.arguments.get("train"):
        raise UnsupportedError("dropout in training mode; call .eval() on the network")
    return call.node("identity", call.value("input" if "input" in call.arguments else "self"))


def part_of(call: Call, part: int) -> list[Node]:
    """One part of an `unbind`, `split` or `chunk`, as a view; of a maximum the numbers."""
    if call.op in ("max", "adaptive_max_pool2d"):
        if part != 0:
            raise UnsupportedError("the places of a maximum")
        return composed.maximum_nodes(call) if call.op == "max" else [windows.adaptive_maximum_pool(call)]
    if call.op.startswith("_native_batch_norm"):
        return [_batch_norm(call)]
    dim = call.arguments.get("dim", 0)
    source = call.value("self")
    if call.op == "unbind":
        return [call.node("view", source, call=torch.select, args=(dim, part))]
    size = call.shapes[source][dim]
    if call.op == "chunk":
        lengths: Sequence[int] | int = -(-size // call.arguments["chunks"])
    else:
        lengths = call.arguments.get("split_sizes") or call.arguments["split_size"]
    if isinstance(lengths, int):
        lengths = [lengths] * (part + 1)
    start = sum(lengths[:part])
    return [call.node("view", source, call=torch.narrow, args=(dim, start, min(lengths[part], size - start)))]


def _negated(call: Call) -> Node:
    return call.node("scale", call.value("self"), factor=-1.0)


PARTS = (
    "unbind", "split", "split_with_sizes", "chunk",
    "max", "adaptive_max_pool2d", "_native_batch_norm_legit_no_training",
)  # fmt: skip
"""Operations with several results, see `part_of`."""


COMPOSED: dict[str, Callable[[Call], list[Node]]] = {
    "scaled_dot_product_attention": composed.attention_nodes,
    "group_norm": composed.group_norm_nodes,
    "add": sum_nodes,
    "sub": sum_nodes,
    "rsub": sum_nodes,
    "mul": product_nodes,
    "div": quotient_nodes,
    "maximum": larger_nodes,
    "minimum": larger_nodes,
    "sum": total_nodes,
    "var": variance_nodes,
    "std": variance_nodes,
    "addcmul": product_sum_nodes,
    "linalg_vector_norm": norm_nodes,
    "softmax": composed.softmax_nodes,
    "masked_fill": composed.masked_fill_nodes,
    "einsum": composed.einsum_nodes,
    "stack": composed.stack_nodes,
    "amax": composed.maximum_nodes,
    "slice_scatter": composed.replaced_nodes,
    "select_scatter": composed.replaced_nodes,
    "conv1d": convolutions.convolution_1d_nodes,
    "conv3d": convolutions.convolution_3d_nodes,
    "conv_transpose2d": convolutions.transposed_convolution_nodes,
    "avg_pool1d": windows.average_pool_1d_nodes,
    "im2col": windows.windows_nodes,
    "pad": windows.padding_nodes,
    "constant_pad_nd": windows.padding_nodes,
}
"""Operations that stand for several nodes."""

OPERATORS: dict[str, Callable[[Call], Node]] = {
    "linear": _linear,
    "conv2d": convolutions.convolution,
    "matmul": _matmul,
    "bmm": _matmul,
    "neg": _negated,
    "pow": power,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": rms_norm,
    "mean": _mean,
    "adaptive_avg_pool2d": windows.adaptive_average_pool,
    "avg_pool2d": windows.average_pool,
    "max_pool2d": windows.maximum_pool,
    "col2im": windows.folded,
    "cat": _cat,
    "expand": composed.expanded,
    "expand_as": composed.expanded,
    "upsample_nearest2d": windows.nearest,
    **dict.fromkeys(("upsample_bilinear2d", "upsample_bicubic2d"), windows.resampled),
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), windows.resampled),
    **dict.fromkeys(("repeat", "tile", "repeat_interleave"), composed.repeated),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh"), clamp),
    "copy": _copied,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(VIEWS, _view),
    **dict.fromkeys(IDENTITY, _identity),
}
