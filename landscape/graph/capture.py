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
from dataclasses import replace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind
from torch.fx import Node as FxNode

from landscape.errors import UserError
from landscape.graph.call import Call, UnsupportedError
from landscape.graph.ir import Graph, Node
from landscape.graph.operators import COMPOSED, OPERATORS, PARTS, part_of
from landscape.graph.simplify import simplify
from landscape.graph.windows import checked


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
        with warnings.catch_warnings(), _caches_put_aside(module), _without_autocast():
            warnings.simplefilter("ignore")
            program = export(module, (images,), dynamic_shapes=(batch,), strict=False)
            return program.run_decompositions({}) if _writes_into_parts(program) else program
    except Exception as error:  # torch.export raises many kinds; the user needs its first line
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the network cannot be captured by torch.export: {reason.strip()[:300]} "
            "(its computation must not depend on pixel values or on the number of images)"
        ) from error


def _writes_into_parts(program: ExportedProgram) -> bool:
    """Whether an operation changes, in place, a view of a tensor or one of which there are views.

    Then the program has to be rewritten without changes in place, as views would show them.
    """
    calls = [fx for fx in program.graph.nodes if isinstance(fx.target, torch._ops.OpOverload)]
    changed = [fx.args[0] for fx in calls if _name(fx.target).endswith("_") and isinstance(fx.args[0], FxNode)]
    return any(_is_view(fx) or any(_is_view(user) for user in fx.users) for fx in changed)


def _is_view(fx: FxNode) -> bool:
    if not isinstance(fx.target, torch._ops.OpOverload) or _name(fx.target).endswith("_"):
        return False
    return any(result.alias_info is not None for result in fx.target._schema.returns)


def _name(target: Any) -> str:
    """Name of an operation, such as ``add_``."""
    return str(target).split(".")[1]


@contextmanager
def _without_autocast() -> Iterator[None]:
    """Leave out what a module says of number types (``torch.autocast``), which would hide its operations from export.

    The graph computes in float64 whatever it says.
    """
    kind = torch.amp.autocast_mode.autocast
    entered, left = kind.__enter__, kind.__exit__
    kind.__enter__, kind.__exit__ = (lambda self: self), (lambda *_: None)  # type: ignore[method-assign]
    try:
        yield
    finally:
        kind.__enter__, kind.__exit__ = entered, left  # type: ignore[method-assign]


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


_IMAGES = 3
"""How many images there are when what depends on their number alone is computed."""


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
        self.calls: dict[str, Call] = {}
        self.lists: dict[str, list[Tensor]] = {}  # results of operations on constants that give several
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
                value = self.tensors[spec.target]
                own = spec.kind != InputKind.CONSTANT_TENSOR  # a parameter or buffer of the network
                self._constant(spec.arg.name, _float64(value) if own else value, spec.target)
        for fx in self.program.graph.nodes:
            if fx.op == "call_function":
                self._record(fx)
            elif fx.op == "output":
                output = self._output(fx)
        try:
            checked(list(self.nodes.values()))
        except UnsupportedError as error:
            raise UserError(f"cannot quantize the network: {error}") from None
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
        self.constants[name] = value.detach()
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
            if source.name in self.lists:
                self._constant(fx.name, self.lists[source.name][int(str(fx.args[1]))], fx.name)
            elif source.name in self.parts and fx.users:
                assert isinstance(value, Tensor)
                part = replace(self.parts[source.name], shape=_shape(value))
                with _named(fx, part.module):
                    self._emit_list(fx.name, part_of(part, int(str(fx.args[1]))))
            return
        several = isinstance(value, list | tuple)
        if not several and not isinstance(value, Tensor):
            return  # arithmetic on the number of images, or an assertion; shapes are recorded already
        if not isinstance(fx.target, torch._ops.OpOverload):
            what = getattr(fx.target, "__name__", fx.target)
            raise UserError(f"cannot quantize the network: it uses {what}, {_where(fx, _module_path(fx))}")
        call = self._call(fx, _shape(value) if isinstance(value, Tensor) else ())
        self.calls[fx.name] = call
        if not self._fold(fx, call):
            with _named(fx, call.module):
                self._take_apart(fx, call, several)
        if _name(fx.target).endswith("_"):  # later readers of the changed tensor see the result
            before, after = self._resolve(fx.args[0]), self._resolve(fx)  # type: ignore[arg-type]
            if before != after:
                self.alias[before] = after

    def _take_apart(self, fx: FxNode, call: Call, several: bool) -> None:
        if several and call.op in PARTS:
            self.parts[fx.name] = call
        elif call.op in COMPOSED:
            self._emit_list(fx.name, COMPOSED[call.op](call))
        elif call.op in OPERATORS:
            self._emit(fx.name, OPERATORS[call.op](call))
        else:
            raise UnsupportedError(
                f"it uses the operation {call.op}, which needs an entry in landscape/graph/operators.py"
            )

    def _call(self, fx: FxNode, shape: tuple[int, ...]) -> Call:
        overload = fx.target
        names = [argument.name for argument in overload._schema.arguments]  # type: ignore[union-attr]
        arguments = {**dict(zip(names, fx.args, strict=False)), **fx.kwargs}
        bound = {
            key: torch.fx.node.map_arg(value, lambda n: f"%{self._resolve(n)}") for key, value in arguments.items()
        }
        op = _name(overload)
        op = op if op.startswith("_") else op.rstrip("_")
        return Call(op, overload, bound, shape, self.shapes, self.constants, _module_path(fx), self.calls)

    def _fold(self, fx: FxNode, call: Call) -> bool:
        """Compute at once what depends on parameters alone, or on them and on how many images there are."""
        tensors = [n for n in fx.all_input_nodes if not isinstance(n.meta.get("val"), torch.SymInt)]
        names = [self._resolve(n) for n in tensors]
        if any(name not in self.constants for name in names) or call.op in ("expand", "expand_as"):
            return False
        try:
            result = self._computed(fx)
        except RuntimeError:  # it writes into a constant that is repeated for every image
            return False
        if isinstance(result, list | tuple):
            self.lists[fx.name] = list(result)
            return True
        if -1 in call.shape:
            axis = call.shape.index(-1)
            first = result.narrow(axis, 0, 1)
            if result.shape[axis] != _IMAGES or not bool((result == first).all()):
                return False  # it tells images apart
            result = first
        self._constant(fx.name, result, self.origin[names[0]] if names else fx.name)
        self.shapes[fx.name] = call.shape
        return True

    def _computed(self, fx: FxNode) -> Any:
        """The result of an operation on constants.

        Parameters are float64; constants that the network makes for itself have the number type that it says.
        """
        arguments = torch.fx.node.map_arg((fx.args, fx.kwargs), self._known)
        tensors = [a for a in pytree.tree_leaves(arguments) if isinstance(a, Tensor) and a.is_floating_point()]
        if any(tensor.dtype == torch.float64 for tensor in tensors):
            if _name(fx.target) in ("to", "_to_copy", "type_as") and fx.meta["val"].is_floating_point():
                return tensors[0]
            arguments = pytree.tree_map(lambda a: _float64(a) if isinstance(a, Tensor) else a, arguments)
        with torch.no_grad():
            return fx.target(*arguments[0], **arguments[1])  # type: ignore[operator]

    def _known(self, fx: FxNode) -> Any:
        """The value of an argument, for `_IMAGES` images."""
        value = fx.meta.get("val")
        if isinstance(value, torch.SymInt):
            expression = value.node.expr
            return int(expression.subs(dict.fromkeys(expression.free_symbols, _IMAGES)))
        name = self._resolve(fx)
        constant, shape = self.constants[name], self.shapes[name]
        return constant.expand([_IMAGES if size == -1 else size for size in shape]) if -1 in shape else constant

    def _emit_list(self, result: str, nodes: list[Node]) -> None:
        names = [f"{result}@{i}" for i in range(len(nodes) - 1)] + [result]
        for name, node in zip(names, nodes, strict=True):
            node.inputs = tuple(names[int(i[1:])] if i.startswith("@") else i for i in node.inputs)
            self._emit(name, node)

    def _emit(self, name: str, node: Node) -> None:
        if node.op == "identity":
            self.alias[name] = node.inputs[0]
            return
        self._add(name, node)

    def _add(self, name: str, node: Node) -> None:
        for source in node.inputs:
            if source in self.constants and source not in self.nodes:
                self._add_constant(source)
        node.name = name
        self.nodes[name] = node
        self.shapes[name] = node.shape

    def _add_constant(self, name: str) -> None:
        value, shape = self.constants[name], self.shapes[name]
        attrs: dict[str, Any] = {"value": value.double(), "origin": self.origin[name]}
        one = f"{name}@one" if -1 in shape else name
        self.nodes[one] = Node(one, "constant", (), "", tuple(value.shape), attrs)
        if one != name:
            self.nodes[name] = Node(name, "expand", (one,), "", shape)


def _float64(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in value.shape)


@contextmanager
def _named(fx: FxNode, module: str) -> Iterator[None]:
    """What an operation cannot do is told with its module."""
    try:
        yield
    except UnsupportedError as error:
        raise UserError(f"cannot quantize the network: {error}, {_where(fx, module)}") from None


def _where(fx: FxNode, module: str) -> str:
    kind = _module_kind(fx)
    return f"in module {module!r} ({kind})" if module else f"at the top level of {kind}"


def _module_kind(fx: FxNode) -> str:
    stack = fx.meta.get("nn_module_stack")
    kind = next(reversed(stack.values()))[1] if stack else "the network"
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2]


def _module_path(fx: FxNode) -> str:
    stack = fx.meta.get("nn_module_stack")
    path = next(reversed(stack.values()))[0] if stack else ""
    return "" if path.startswith("_empty") else re.sub(r"@\d+", "", path)
