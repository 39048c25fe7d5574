"""From a PyTorch module to a `Graph`, by ``torch.export``.

Export runs the module once on symbolic images and records every operation with its shapes and the path of its
module. That covers any network whose computation does not depend on the pixel values: timm's, or a user's own.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind
from torch.fx import Node as FxNode

from landscape.errors import UserError
from landscape.graph.ir import Graph, Node
from landscape.graph.operators import COMPOSED, OPERATORS, PARTS, Call, UnsupportedError, part_of
from landscape.graph.simplify import simplify


def capture(module: nn.Module, input_shape: tuple[int, int, int]) -> Graph:
    """The graph of a network in evaluation mode.

    Args:
        module: Maps images (N, C, H, W), float32, to logits (N, classes).
        input_shape: (C, H, W).

    Returns:
        The simplified graph, its weights in float64.

    Raises:
        UserError: An operation is not supported (named with its module), or the module cannot be exported.
    """
    if module.training:
        raise UserError("the network is in training mode; call .eval() on it first")
    graph = _Recorder(module, _export(module, input_shape)).graph(input_shape)
    return simplify(graph, module)


def _export(module: nn.Module, input_shape: tuple[int, int, int]) -> ExportedProgram:
    images = torch.zeros(2, *input_shape)
    batch = {0: Dim("batch", min=2, max=1 << 20)}
    parameter = next(iter(module.parameters()), None)
    images = images if parameter is None else images.to(parameter)
    try:
        with warnings.catch_warnings(), _caches_put_aside(module):
            warnings.simplefilter("ignore")
            return export(module, (images,), dynamic_shapes=(batch,), strict=False)
    except Exception as error:  # torch.export raises many kinds; the user needs its first line
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the network cannot be captured by torch.export: {reason.strip()[:300]} "
            "(its computation must not depend on pixel values or on the number of images)"
        ) from error


@contextmanager
def _caches_put_aside(module: nn.Module) -> Iterator[None]:
    """Empty the caches of tensors that modules keep for themselves (timm's LeViT: ``attention_bias_cache``).

    A cached tensor hides which parameter it was made from, and one that export makes is of no use outside of it.
    """
    caches = [
        (part, name, value)
        for part in module.modules()
        for name, value in vars(part).items()
        if name.endswith("cache") and isinstance(value, dict)
    ]
    for part, name, _ in caches:
        setattr(part, name, {})
    try:
        yield
    finally:
        for part, name, value in caches:
            setattr(part, name, value)


class _Recorder:
    """Turns the operations of an exported program into nodes, in order."""

    def __init__(self, module: nn.Module, program: ExportedProgram) -> None:
        self.program = program
        self.nodes: dict[str, Node] = {}
        self.constants: dict[str, Tensor] = {}
        self.origin: dict[str, str] = {}  # constant -> name of the parameter that it was made from
        self.alias: dict[str, str] = {}  # name in the export -> name of the node that now holds its value
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.parts: dict[str, Call] = {}
        self.tensors: dict[str, Tensor] = {**program.state_dict, **program.constants}

    def graph(self, input_shape: tuple[int, int, int]) -> Graph:
        output = ""
        for spec in self.program.graph_signature.input_specs:
            if spec.kind == InputKind.USER_INPUT:
                self.nodes["input"] = Node("input", "input", (), "", (-1, *input_shape))
                self.shapes["input"] = (-1, *input_shape)
                if spec.arg.name != "input":  # as nn.Sequential calls it: no alias of itself
                    self.alias[spec.arg.name] = "input"
            elif spec.target is not None:
                self._constant(spec.arg.name, self.tensors[spec.target], spec.target)
        for fx in self.program.graph.nodes:
            if fx.op == "call_function":
                self._record(fx)
            elif fx.op == "output":
                output = self._output(fx)
        return Graph(self.nodes, output, input_shape)

    def _output(self, fx: FxNode) -> str:
        results = fx.args[0]
        if not isinstance(results, list | tuple) or len(results) != 1 or not isinstance(results[0], FxNode):
            raise UserError("the network returns more than one tensor; its output must be the logits (N, classes)")
        name = self._resolve(results[0])
        if len(self.shapes[name]) != 2:
            raise UserError(
                f"the network returns a tensor with {len(self.shapes[name])} axes; "
                "its output must be the logits (N, classes)"
            )
        return name

    def _constant(self, name: str, value: Tensor, origin: str) -> None:
        self.constants[name] = value.detach().double() if value.is_floating_point() else value.detach()
        self.origin[name] = origin
        self.shapes[name] = tuple(value.shape)

    def _resolve(self, fx: FxNode) -> str:
        name = fx.name
        while name in self.alias:
            name = self.alias[name]
        return name

    def _record(self, fx: FxNode) -> None:
        value = fx.meta.get("val")
        if fx.target is operator.getitem:
            source = fx.args[0]
            assert isinstance(source, FxNode)
            if source.name in self.parts:
                assert isinstance(value, Tensor)
                self._emit(fx, part_of(self._with_shape(self.parts[source.name], value), int(str(fx.args[1]))))
            return
        several = isinstance(value, list | tuple)
        if not several and not isinstance(value, Tensor):
            return  # arithmetic on the number of images, or an assertion; shapes are recorded already
        call = self._call(fx, _shape(value) if isinstance(value, Tensor) else (-1,))
        if not several and self._fold(fx, call):
            return
        try:
            self._take_apart(fx, call)
        except UnsupportedError as error:
            kind = _module_kind(fx)
            where = f"in module {call.module!r} ({kind})" if call.module else f"at the top level of {kind}"
            raise UserError(f"cannot quantize the network: {error}, {where}") from None
        if str(fx.target).split(".")[1].endswith("_"):  # later readers of the changed tensor see the result
            self.alias[self._resolve(fx.args[0])] = self._resolve(fx)  # type: ignore[arg-type]

    def _take_apart(self, fx: FxNode, call: Call) -> None:
        if call.op in PARTS:
            self.parts[fx.name] = call
        elif call.op in COMPOSED:
            self._emit_list(fx, COMPOSED[call.op](call))
        elif call.op in OPERATORS:
            self._emit(fx, OPERATORS[call.op](call))
        else:
            raise UnsupportedError(
                f"it uses the operation {call.op}, which needs an entry in landscape/graph/operators.py"
            )

    def _with_shape(self, call: Call, value: Tensor) -> Call:
        return Call(call.op, call.target, call.arguments, _shape(value), call.shapes, call.constants, call.module)

    def _call(self, fx: FxNode, shape: tuple[int, ...]) -> Call:
        overload = fx.target
        names = [argument.name for argument in overload._schema.arguments]  # type: ignore[union-attr]
        arguments = {**dict(zip(names, fx.args, strict=False)), **fx.kwargs}
        bound = {
            key: torch.fx.node.map_arg(value, lambda n: f"%{self._resolve(n)}") for key, value in arguments.items()
        }
        op = str(overload).split(".")[1]
        op = op if op.startswith("_") else op.rstrip("_")
        return Call(op, overload, bound, shape, self.shapes, self.constants, _module_path(fx))

    def _fold(self, fx: FxNode, call: Call) -> bool:
        """Compute at once what depends on parameters alone."""
        readers = [self._resolve(n) for n in fx.all_input_nodes]
        if any(name not in self.constants for name in readers) or -1 in call.shape:
            return False
        values = torch.fx.node.map_arg((fx.args, fx.kwargs), lambda n: self.constants[self._resolve(n)])
        with torch.no_grad():
            result = fx.target(*values[0], **values[1])  # type: ignore[operator]
        self._constant(fx.name, result, self.origin[readers[0]] if readers else fx.name)
        return True

    def _emit_list(self, fx: FxNode, nodes: list[Node]) -> None:
        names = [f"{fx.name}@{i}" for i in range(len(nodes) - 1)] + [fx.name]
        for name, node in zip(names, nodes, strict=True):
            node.inputs = tuple(names[int(i[1:])] if i.startswith("@") else i for i in node.inputs)
            self._add(name, node)

    def _emit(self, fx: FxNode, node: Node) -> None:
        if node.op == "identity":
            self.alias[fx.name] = node.inputs[0]
            return
        self._add(fx.name, node)

    def _add(self, name: str, node: Node) -> None:
        for source in node.inputs:
            if source in self.constants and source not in self.nodes:
                attrs: dict[str, Any] = {"value": self.constants[source].double(), "origin": self.origin[source]}
                self.nodes[source] = Node(source, "constant", (), "", self.shapes[source], attrs)
        node.name = name
        self.nodes[name] = node
        self.shapes[name] = node.shape


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)


def _module_kind(fx: FxNode) -> str:
    stack = fx.meta.get("nn_module_stack")
    kind = next(reversed(stack.values()))[1] if stack else "the network"
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _module_path(fx: FxNode) -> str:
    stack = fx.meta.get("nn_module_stack")
    path = next(reversed(stack.values()))[0] if stack else ""
    return "" if path.startswith("_empty") else re.sub(r"@\d+", "", path)
