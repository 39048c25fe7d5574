"""How every PyTorch operation is taken apart: the one table to read, or to extend, for a new network.

Each entry maps the name of an ATen operation (in-place variants without their underscore) to a function that
turns a call of it into a `Node`. What is not in the table cannot be quantized, and `capture` says so by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.graph.ir import Node

MASK_LEVEL = -50.0
"""A constant made of zeros and of values at or below this is an attention mask: exp(-50) is below any 8-bit step."""

_HIDDEN = -1e4
"""Added to the logits of hidden tokens, in place of minus infinity."""

UNARY = (
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "hardswish",
    "hardsigmoid",
    "relu",
    "relu6",
    "hardtanh",
    "leaky_relu",
    "elu",
)
IDENTITY = ("dropout", "feature_dropout", "alias", "contiguous", "clone", "detach", "lift_fresh_copy", "to", "_to_copy")
VIEWS = (
    "flatten", "reshape", "view", "_unsafe_view", "reshape_as", "view_as", "unflatten",
    "transpose", "permute", "t", "numpy_T", "squeeze", "unsqueeze",
    "select", "slice", "narrow", "index", "roll", "flip", "channel_shuffle", "pixel_unshuffle",
)  # fmt: skip
RESHAPING = ("flatten", "reshape", "view", "_unsafe_view", "reshape_as", "view_as", "unflatten")


class UnsupportedError(Exception):
    """An operation, or a way to call it, that the table does not cover; the text says what would be needed."""


@dataclass(frozen=True)
class Call:
    """A call of an ATen operation with its arguments bound by name, as the functions of the table see it.

    Attributes:
        op: Name without overload and in-place underscore, such as ``add``.
        target: The operation itself.
        arguments: By parameter name; a string "%name" stands for the value of another node.
        shape: Shape of the result, -1 for the number of images.
        shapes: Shapes of the nodes it reads, by name.
        constants: Values of those inputs that do not depend on the images.
        module: Path of the module.
    """

    op: str
    target: Any
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Tensor]
    module: str

    def node(
        self, op: str, *inputs: str, weight: Tensor | None = None, bias: Tensor | None = None, **attrs: Any
    ) -> Node:
        """A node that still lacks its readable name."""
        return Node("", op, inputs, self.module, self.shape, attrs, weight, bias)

    def is_value(self, argument: Any) -> bool:
        """Whether the argument is the value of another node."""
        return isinstance(argument, str) and argument.startswith("%")

    def tensor(self, parameter: str) -> Tensor | None:
        """A parameter that must be a constant, as float64."""
        argument = self.arguments.get(parameter)
        if argument is None:
            return None
        if argument[1:] not in self.constants:
            raise UnsupportedError(f"{self.op} whose {parameter} depends on the images")
        return self.constants[argument[1:]]

    def value(self, parameter: str) -> str:
        """Name of the node that the parameter refers to."""
        argument = self.arguments[parameter]
        if not self.is_value(argument):
            raise UnsupportedError(f"{self.op} of a number")
        return str(argument[1:])


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    numbers = [int(number) for number in value]
    return numbers[0], numbers[-1]


def _linear(call: Call) -> Node:
    return call.node("linear", call.value("input"), weight=call.tensor("weight"), bias=call.tensor("bias"))


def _conv2d(call: Call) -> Node:
    a = call.arguments
    weight, dilation = call.tensor("weight"), _pair(a.get("dilation") or 1)
    assert weight is not None
    return call.node(
        "conv2d",
        call.value("input"),
        weight=weight,
        bias=call.tensor("bias"),
        stride=_pair(a.get("stride") or 1),
        padding=_conv_padding(a.get("padding") or 0, _pair(weight.shape[-2:]), dilation),
        dilation=dilation,
        groups=a.get("groups") or 1,
    )


def _conv_padding(padding: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    if padding == "valid":
        return 0, 0
    if padding != "same":
        return _pair(padding)
    total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(number % 2 for number in total):
        raise UnsupportedError("a convolution with padding='same' that pads one side more; pad by a module of its own")
    return total[0] // 2, total[1] // 2


def _matmul(call: Call) -> Node:
    first, second = ("self", "other") if "other" in call.arguments else ("self", "mat2")
    return call.node("matmul", call.value(first), call.value(second), scale=1.0)


def _add(call: Call) -> Node:
    if call.arguments.get("alpha") not in (None, 1):
        raise UnsupportedError("add with alpha other than 1")
    a, b = call.value("self"), call.value("other")
    for one, other in ((a, b), (b, a)):
        if _is_mask(call.constants.get(one)):
            return call.node("mask_add", other, mask=call.constants[one])
    return call.node("add", a, b)


def _is_mask(value: Tensor | None) -> bool:
    """Whether a constant only hides values: zeros, and numbers so low that nothing is left after the softmax."""
    if value is None:
        return False
    hidden = value <= MASK_LEVEL
    return bool(hidden.any()) and bool((hidden | (value == 0)).all())


def _mul(call: Call) -> Node:
    first, second = call.arguments["self"], call.arguments["other"]
    for one, other in ((first, second), (second, first)):
        if isinstance(other, int | float):
            return call.node("scale", one[1:], factor=float(other))
    for one, other in ((first, second), (second, first)):
        vector = call.constants.get(other[1:])
        if vector is not None and vector.numel() == 1:
            return call.node("scale", one[1:], factor=float(vector))
        if vector is not None and vector.numel() == vector.shape[-1] == call.shape[-1]:
            return call.node("affine", one[1:], weight=vector.reshape(-1), axis=-1)
        if vector is not None and vector.ndim >= 3 and vector.numel() == vector.shape[-3] == call.shape[1]:
            return call.node("affine", one[1:], weight=vector.reshape(-1), axis=1)
    return call.node("mul", first[1:], second[1:])


def _div(call: Call) -> Node:
    divisor = call.arguments["other"]
    if call.is_value(divisor):
        constant = call.constants.get(divisor[1:])
        if constant is None or constant.numel() != 1:
            raise UnsupportedError("division by a value that depends on the images, or by a tensor")
        divisor = float(constant)
    return call.node("scale", call.value("self"), factor=1.0 / divisor)


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


def _softmax(call: Call) -> Node:
    if call.arguments["dim"] not in (-1, len(call.shape) - 1):
        raise UnsupportedError("softmax over an axis other than the last")
    return call.node("softmax", call.value("self"))


def _unary(call: Call) -> Node:
    a = call.arguments
    function, options = call.op, {}
    if function == "hardtanh":
        if (a.get("min_val", -1.0), a.get("max_val", 1.0)) != (0.0, 6.0):
            raise UnsupportedError("hardtanh other than ReLU6")
        function = "relu6"
    if function == "gelu" and a.get("approximate", "none") == "tanh":
        function = "gelu_tanh"
    if function == "leaky_relu":
        options["negative_slope"] = a.get("negative_slope", 0.01)
    if function == "elu" and (a.get("alpha", 1), a.get("scale", 1), a.get("input_scale", 1)) != (1, 1, 1):
        raise UnsupportedError("elu with factors other than 1")
    return call.node("unary", call.value("input" if "input" in a else "self"), function=function, **options)


def _mean(call: Call) -> Node:
    dims = call.arguments.get("dim")
    if not dims:
        raise UnsupportedError("mean over all axes, the images included")
    rank = len(call.shapes[call.value("self")])
    return call.node(
        "mean", call.value("self"), dims=tuple(d % rank for d in dims), keepdim=bool(call.arguments.get("keepdim"))
    )


def _adaptive_avg_pool2d(call: Call) -> Node:
    height, width = call.shapes[call.value("self")][-2:]
    out_height, out_width = call.shape[-2:]
    if (out_height, out_width) == (1, 1):
        return call.node("mean", call.value("self"), dims=(2, 3), keepdim=True)
    if height % out_height or width % out_width:
        raise UnsupportedError(
            f"adaptive_avg_pool2d from {height}x{width} to {out_height}x{out_width} (unequal windows)"
        )
    window = (height // out_height, width // out_width)
    return call.node("avg_pool2d", call.value("self"), kernel=window, stride=window, padding=(0, 0))


def _avg_pool2d(call: Call) -> Node:
    a = call.arguments
    kernel, padding = _pair(a["kernel_size"]), _pair(a.get("padding") or 0)
    stride, sizes = _pair(a.get("stride") or kernel), call.shapes[call.value("self")][-2:]
    beyond = a.get("ceil_mode") and any(
        (size + 2 * p - k) % s for size, p, k, s in zip(sizes, padding, kernel, stride, strict=True)
    )
    if beyond or a.get("divisor_override") or (padding != (0, 0) and a.get("count_include_pad") is False):
        raise UnsupportedError(
            "avg_pool2d whose windows have different counts (ceil_mode beyond the edge, count_include_pad=False); "
            "all windows would have to count the same number of values"
        )
    return call.node("avg_pool2d", call.value("self"), kernel=kernel, stride=stride, padding=padding)


def _max_pool2d(call: Call) -> Node:
    a = call.arguments
    kernel = _pair(a["kernel_size"])
    args = (kernel, _pair(a.get("stride") or kernel), _pair(a.get("padding") or 0), _pair(a.get("dilation") or 1))
    return call.node("max_pool2d", call.value("self"), args=(*args, bool(a.get("ceil_mode"))))


def _cat(call: Call) -> Node:
    names = [argument[1:] for argument in call.arguments["tensors"]]
    return call.node("cat", *names, dim=call.arguments.get("dim", 0))


def _expand(call: Call) -> Node:
    if call.value("self") not in call.constants:
        raise UnsupportedError("expand of a value that depends on the images")
    return call.node("expand", call.value("self"), shape=call.shape)


def _pad(call: Call) -> Node:
    a = call.arguments
    if a.get("mode", "constant") != "constant" or (a.get("value") or 0.0) != 0.0:
        raise UnsupportedError(f"padding other than with zeros ({a.get('mode', 'constant')}, {a.get('value')})")
    padding = tuple(a["pad"])
    if not any(padding):
        return call.node("identity", call.value("self"))
    return call.node("view", call.value("self"), call=torch.nn.functional.pad, args=(padding,))


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


def _identity(call: Call) -> Node:
    if call.op.endswith("dropout") and call.arguments.get("train"):
        raise UnsupportedError("dropout in training mode; call .eval() on the network")
    return call.node("identity", call.value("input" if "input" in call.arguments else "self"))


def part_of(call: Call, part: int) -> Node:
    """One part of an `unbind`, `split` or `chunk`, as a view."""
    dim = call.arguments.get("dim", 0)
    source = call.value("self")
    if call.op == "unbind":
        return call.node("view", source, call=torch.select, args=(dim, part))
    size = call.shapes[source][dim]
    if call.op == "chunk":
        lengths: Sequence[int] | int = -(-size // call.arguments["chunks"])
    else:
        lengths = call.arguments.get("split_sizes") or call.arguments["split_size"]
    if isinstance(lengths, int):
        lengths = [lengths] * (part + 1)
    start = sum(lengths[:part])
    return call.node("view", source, call=torch.narrow, args=(dim, start, min(lengths[part], size - start)))


def attention_nodes(call: Call) -> list[Node]:
    """Scaled dot-product attention as the products and the softmax that it stands for.

    Inputs "@0", "@1" ... refer to the nodes of the returned list.
    """
    a = call.arguments
    if a.get("is_causal") or a.get("enable_gqa"):
        raise UnsupportedError("scaled_dot_product_attention that is causal or groups its queries")
    query, key = call.value("query"), call.value("key")
    tokens, width = call.shapes[key][-2:]
    factor = width**-0.5 if a.get("scale") is None else float(a["scale"])
    logits_shape = (*call.shapes[query][:-1], tokens)

    def node(op: str, shape: tuple[int, ...], *inputs: str, **attrs: Any) -> Node:
        return Node("", op, inputs, call.module, shape, attrs)

    nodes = [
        node("view", (*call.shapes[key][:-2], width, tokens), key, call=torch.transpose, args=(-2, -1)),
        node("matmul", logits_shape, query, "@0", scale=factor),
    ]
    nodes += [replace(extra, shape=extra.shape or logits_shape) for extra in _mask_nodes(call)]
    nodes.append(node("softmax", logits_shape, f"@{len(nodes) - 1}"))
    nodes.append(node("matmul", call.shape, f"@{len(nodes) - 1}", call.value("value"), scale=1.0))
    return nodes


def _negated(call: Call) -> Node:
    return call.node("scale", call.value("self"), factor=-1.0)


def difference_nodes(call: Call) -> list[Node]:
    """The difference a - b as a + (-1) b; see `attention_nodes` for the inputs."""
    if call.arguments.get("alpha") not in (None, 1):
        raise UnsupportedError("a difference with alpha other than 1")
    first, second = call.value("self"), call.value("other")
    if call.op == "rsub":
        first, second = second, first
    negative = Node("", "scale", (second,), call.module, call.shapes[second], {"factor": -1.0})
    return [negative, Node("", "add", (first, "@0"), call.module, call.shape)]


def group_norm_nodes(call: Call) -> list[Node]:
    """Group normalisation as a LayerNorm over each group, and a factor and shift per channel."""
    groups, channels = int(call.arguments["num_groups"]), call.shape[1]
    values = math.prod(call.shape[1:]) // groups
    ones, zeros = torch.ones(values, dtype=torch.float64), torch.zeros(values, dtype=torch.float64)
    weight, bias = call.tensor("weight"), call.tensor("bias")
    weight = torch.ones(channels, dtype=torch.float64) if weight is None else weight
    grouped = (-1, groups, values)

    def node(op: str, shape: tuple[int, ...], source: str, **attrs: Any) -> Node:
        return Node("", op, (source,), call.module, shape, attrs)

    norm = node("layer_norm", grouped, "@0", eps=call.arguments.get("eps", 1e-5), grouped=True)
    norm.weight, norm.bias = ones, zeros
    affine = node("affine", call.shape, "@2", axis=1)
    affine.weight, affine.bias = weight, bias
    return [
        node("view", grouped, call.value("input"), call=torch.reshape, args=(grouped,)),
        norm,
        node("view", call.shape, "@1", call=torch.reshape, args=(call.shape,)),
        affine,
    ]


PARTS = ("unbind", "split", "split_with_sizes", "chunk")
"""Operations with several results; each result is a view, see `part_of`."""


def _mask_nodes(call: Call) -> list[Node]:
    """What adds an attention mask to the logits, "@1": numbers such as position biases, and what hides tokens."""
    mask = call.tensor("attn_mask")
    if mask is None:
        return []
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, _HIDDEN).double()
    hidden, source = mask <= MASK_LEVEL, call.value("attn_mask")
    biases = torch.where(hidden, 0.0, mask)
    nodes = []
    if bool(biases.any()):
        if bool(hidden.any()):
            attrs = {"value": biases, "origin": f"{call.module}.attn_mask"}
            nodes.append(Node("", "constant", (), "", tuple(biases.shape), attrs))
            source = "@2"
        nodes.append(Node("", "add", ("@1", source), call.module, ()))
    if bool(hidden.any()):
        attrs = {"mask": torch.where(hidden, _HIDDEN, 0.0).double()}
        nodes.append(Node("", "mask_add", (f"@{len(nodes) + 1}",), call.module, (), attrs))
    return nodes


COMPOSED: dict[str, Callable[[Call], list[Node]]] = {
    "scaled_dot_product_attention": attention_nodes,
    "group_norm": group_norm_nodes,
    "sub": difference_nodes,
    "rsub": difference_nodes,
}
"""Operations that stand for several nodes."""

OPERATORS: dict[str, Callable[[Call], Node]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "matmul": _matmul,
    "bmm": _matmul,
    "add": _add,
    "mul": _mul,
    "div": _div,
    "neg": _negated,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    "mean": _mean,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "avg_pool2d": _avg_pool2d,
    "max_pool2d": _max_pool2d,
    "cat": _cat,
    "expand": _expand,
    "pad": _pad,
    "constant_pad_nd": _pad,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(VIEWS, _view),
    **dict.fromkeys(IDENTITY, _identity),
}
