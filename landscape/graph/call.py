"""A call of an ATen operation, as the tables of operations see it, and the nodes that it is turned into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from landscape.graph.ir import Node


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
        constants: Values of those inputs that do not depend on the images; one image's, where `shapes` has their axis.
        module: Path of the module.
        calls: Earlier calls, by the name of their result.
    """

    op: str
    target: Any
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Tensor]
    module: str
    calls: Mapping[str, Call] = field(default_factory=dict)

    def node(
        self, op: str, *inputs: str, weight: Tensor | None = None, bias: Tensor | None = None, **attrs: Any
    ) -> Node:
        """A node that still lacks its readable name."""
        return Node("", op, inputs, self.module, self.shape, attrs, weight, bias)

    def is_value(self, argument: Any) -> bool:
        """Whether the argument is the value of another node."""
        return isinstance(argument, str) and argument.startswith("%")

    def tensor(self, parameter: str) -> Tensor | None:
        """A parameter that must be a constant, see `constant`; None where it is left out."""
        argument = self.arguments.get(parameter)
        if argument is None:
            return None
        constant = self.constant(argument)
        if constant is None:
            raise UnsupportedError(f"{self.op} whose {parameter} depends on the images")
        return constant

    def value(self, parameter: str) -> str:
        """Name of the node that the parameter refers to."""
        argument = self.arguments[parameter]
        if not self.is_value(argument):
            raise UnsupportedError(f"{self.op} of a number")
        return str(argument[1:])

    def constant(self, argument: Any) -> Tensor | None:
        """The value of an argument that does not depend on the images, float64 or whole numbers; else None."""
        found = self.constants.get(argument[1:]) if self.is_value(argument) else None
        return found.double() if found is not None and found.is_floating_point() else found


class Steps:
    """The nodes that one call is turned into, one after the other; the last one holds its value.

    Args:
        call: The call.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self.nodes: list[Node] = []

    def add(
        self,
        op: str,
        shape: tuple[int, ...],
        *inputs: str,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        **attrs: Any,
    ) -> str:
        """Append a node.

        Returns:
            "@0", "@1", ...: the name by which later nodes of the list read it.
        """
        self.nodes.append(Node("", op, inputs, self._call.module, shape, attrs, weight, bias))
        return f"@{len(self.nodes) - 1}"

    def view(self, source: str, shape: tuple[int, ...], function: Callable[..., Tensor], *args: Any) -> str:
        """Append a view: `function` of the value and `args`."""
        return self.add("view", shape, source, call=function, args=args)

    def reshaped(self, source: str, shape: tuple[int, ...]) -> str:
        """Append a reshape."""
        return self.view(source, shape, torch.reshape, shape)

    def permuted(self, source: str, shape: tuple[int, ...], order: tuple[int, ...]) -> str:
        """Append a permutation of the axes of a value of `shape`."""
        return self.view(source, tuple(shape[axis] for axis in order), torch.permute, order)

    def constant(self, value: Tensor, name: str) -> str:
        """Append a constant, named within its module."""
        origin = f"{self._call.module}.{name}".lstrip(".")
        self.nodes.append(Node("", "constant", (), "", tuple(value.shape), {"value": value.double(), "origin": origin}))
        return f"@{len(self.nodes) - 1}"


def pair(value: Any) -> tuple[int, int]:
    """A number for both axes, or one for each."""
    if isinstance(value, int):
        return value, value
    numbers = [int(number) for number in value]
    return numbers[0], numbers[-1]
